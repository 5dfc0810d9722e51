"""Sampling utterances from the grammar in home-assistant-intents."""

import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import home_assistant_intents as package
import pyarrow as pa
import pytest

from components.errors import UsageError
from components.ingestion import home_assistant_intents

INGESTION = Path(home_assistant_intents.__file__).parent
VOCABULARY = tomllib.loads((INGESTION / "household_vocabulary.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table():
    return home_assistant_intents.sample(["en", "th", "zh-CN"], 3000, seed=1)


class TestSample:
    def test_columns_are_strings_without_nulls(self, table):
        assert table.schema == pa.schema([(name, pa.string()) for name in ("text", "intent", "language", "template")])
        assert all(table[name].null_count == 0 for name in table.column_names)

    def test_languages_share_the_rows_equally_and_are_interleaved(self, table):
        assert Counter(table["language"].to_pylist()) == {"en": 1000, "th": 1000, "zh-CN": 1000}
        assert table["language"].to_pylist()[:4] == ["en", "th", "zh-CN", "en"]

    def test_no_utterance_repeats_within_a_language(self, table):
        pairs = list(zip(table["language"].to_pylist(), table["text"].to_pylist(), strict=True))
        assert len(set(pairs)) == len(pairs)

    def test_texts_are_plain_sentences(self, table):
        odd = re.compile(r"[][(){}<>|]|\s\s|^\s|\s$|[\t\n]|^$")
        assert [text for text in table["text"].to_pylist() if odd.search(text)] == []

    def test_every_intent_of_the_grammar_occurs(self, table):
        intents = {intent for code in ("en", "th", "zh-CN") for intent in package.get_intents(code)["intents"]}
        assert set(table["intent"].to_pylist()) == intents

    def test_no_intent_dominates(self, table):
        assert max(Counter(table["intent"].to_pylist()).values()) < 0.15 * table.num_rows

    def test_a_template_belongs_to_one_intent(self, table):
        pairs = zip(table["template"].to_pylist(), table["intent"].to_pylist(), strict=True)
        assert all(template.startswith(f"{intent}:") for template, intent in pairs)

    def test_templates_hold_many_utterances(self, table):
        assert len(set(table["template"].to_pylist())) < table.num_rows / 2

    def test_names_suit_the_domain_that_a_template_asks_for(self):
        texts = home_assistant_intents.sample(["en"], 3000, seed=0)
        docks = [row["text"] for row in texts.to_pylist() if row["intent"] == "HassVacuumReturnToBase"]
        assert docks
        assert all(re.search("vacuum|roomba", text, re.IGNORECASE) for text in docks)


class TestDeterminism:
    def test_a_sample_does_not_depend_on_string_hashing(self):
        program = (
            "from components.ingestion.home_assistant_intents import sample;"
            "import hashlib; print(hashlib.sha256(repr(sample(['de', 'ml'], 300, 7).to_pylist()).encode()).hexdigest())"
        )
        digests = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                cwd=INGESTION.parents[1],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for hash_seed in ("1", "2")
        }
        assert len(digests) == 1

    def test_another_seed_is_another_sample(self):
        first, second = (home_assistant_intents.sample(["en"], 200, seed) for seed in (0, 1))
        assert first["text"] != second["text"]

    def test_a_language_is_drawn_alike_whatever_the_others(self):
        alone = home_assistant_intents.sample(["sk"], 100, 0)["text"].to_pylist()
        together = home_assistant_intents.sample(["cs", "sk"], 200, 0).to_pylist()
        assert [row["text"] for row in together if row["language"] == "sk"] == alone


class TestSmallGrammars:
    @pytest.fixture
    def tiny(self, monkeypatch):
        def get_intents(language):
            sentence = "(a|b|c)" if language == "en" else "{timer_minutes} (a|b|c)"
            lists = {"timer_minutes": {"range": {"from": 1, "to": 100}}}
            return {"lists": lists, "expansion_rules": {}, "intents": {"HassOnly": {"data": [{"sentences": [sentence]}]}}}

        monkeypatch.setattr(package, "get_intents", get_intents)

    @pytest.mark.usefixtures("tiny")
    def test_what_a_language_cannot_fill_goes_to_the_others(self):
        table = home_assistant_intents.sample(["en", "de", "fr"], 90, 0)
        assert Counter(table["language"].to_pylist()) == {"en": 3, "de": 44, "fr": 43}

    @pytest.mark.usefixtures("tiny")
    def test_more_rows_than_the_grammars_yield_are_refused_rather_than_repeated(self):
        with pytest.raises(UsageError, match=r"about 3 distinct utterances; received 4\. Ask for fewer rows or add languages"):
            home_assistant_intents.sample(["en"], 4, 0)


class TestLanguages:
    def test_every_language_has_a_grammar(self):
        assert set(home_assistant_intents.languages()) <= set(package.get_languages())

    def test_an_unknown_language_is_answered_with_the_valid_ones(self):
        with pytest.raises(UsageError, match=r"received \['xx'\]\. Valid: bg, ca, .*zh-TW"):
            home_assistant_intents.sample(["en", "xx"], 10, 0)

    def test_a_repeated_language_is_refused(self):
        with pytest.raises(UsageError, match=r"each language once; received \['en'\]"):
            home_assistant_intents.sample(["en", "de", "en"], 10, 0)

    @pytest.mark.parametrize("language", home_assistant_intents.languages())
    def test_every_template_of_every_language_can_be_drawn_from(self, language):
        pools = home_assistant_intents._templates_by_intent(language, lambda: 0.0)
        assert all(isinstance(template.draw(), str) for pool in pools for template in pool)


class TestVocabulary:
    @pytest.mark.parametrize("language", sorted(VOCABULARY))
    def test_every_language_has_the_same_entries_with_distinct_plain_words(self, language):
        entries = VOCABULARY[language]
        assert entries.keys() == VOCABULARY["en"].keys()
        for words in entries.values():
            assert len(set(words)) == len(words) > 1
            assert not any(re.search(r"[][(){}<>|]", word) for word in words)


class TestFingerprint:
    def test_it_is_a_digest_that_stays(self):
        assert re.fullmatch("[0-9a-f]{64}", home_assistant_intents.fingerprint())
        assert home_assistant_intents.fingerprint() == home_assistant_intents.fingerprint()

    def test_another_release_of_the_grammar_changes_it(self, monkeypatch):
        before = home_assistant_intents.fingerprint()
        monkeypatch.setattr(home_assistant_intents.importlib.metadata, "version", lambda package: "0.0.1")
        assert home_assistant_intents.fingerprint() != before
