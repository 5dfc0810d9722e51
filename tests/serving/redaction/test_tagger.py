import re

import pytest

from serving.redaction import FILLER, EntityRule, RedactionRules, Redactor, tagger
from serving.redaction.tagger import Tagger, describe, most_likely, tokens


def scores(label, share=0.97):
    labels = (tagger.NOTHING, *tagger.ENTITIES)
    return {each: share if each == label else (1 - share) / 3 for each in labels}


class KnowsWords:
    """A model that knows a few words and no context."""

    def __init__(self):
        self.calls = []
        self.closed = False

    def __call__(self, words):
        self.calls.append(list(words))
        return [scores(self.label(re.search(r"(?:^| )0(\S+)", described)[1])) for described in words]

    def label(self, word):
        if word in ("ann", "smith", "jean", "obrien"):
            return "person"
        if word in ("00", "main", "street", "u2c", "dover"):
            return "address"
        return "organisation" if word in ("acme", "ltd") else tagger.NOTHING

    def close(self):
        self.closed = True


@pytest.fixture
def model():
    return KnowsWords()


def found(model, text):
    return [(text[span.start : span.end], span.entity) for span in Tagger(model).find(text)]


class TestTokens:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("my name's John.", ["my", "name", "'", "s", "John", "."]),
            ("O'Brien, Jean-Luc", ["O'Brien", ",", "Jean-Luc"]),
            ("12a Main\nSt", ["12", "a", "Main", "\n", "St"]),
            (f"call {FILLER * 3} now", ["call", FILLER * 3, "now"]),
            ("naïve 今日は", ["naïve", "今日は"]),
            ("", []),
        ],
    )
    def test_are_words_numbers_and_signs(self, text, words):
        assert [text[start:end] for start, end in tokens(text)] == words


class TestDescribe:
    def test_a_word_is_described_with_its_neighbours(self):
        text = "i am Jürgen O'Brien, 12"
        described = describe(text, tokens(text))[2]
        assert described == (
            "b3edge b2i b1am 0jurgen a1obrien a2u2c a300 pjur s2en s3gen s4rgen sbam saien"
            " hb2small hb1small h0name ha1mixed ha2u2c tinside cmixed"
        )

    def test_descriptions_are_words_of_letters_and_digits(self):
        text = f"¿Qué?! {FILLER} (Ana) #5\nЖ 今"
        assert all(re.fullmatch(r"[a-z0-9ж今 ]+", described) for described in describe(text, tokens(text)))

    def test_where_a_word_stands_in_its_line_is_told(self):
        text = "So. Ann\nBob"
        assert [described.split()[-2] for described in describe(text, tokens(text))] == [
            *("tfirst", "tinside", "tsentence", "tinside", "tline"),
        ]

    @pytest.mark.parametrize(("text", "casing"), [("ann", "csmall"), ("ANN 1", "ccapitals"), ("Ann", "cmixed")])
    def test_a_text_in_one_case_is_told_apart(self, text, casing):
        assert describe(text, tokens(text))[0].endswith(casing)


class TestTagger:
    @pytest.mark.parametrize(
        ("text", "spans"),
        [
            ("i am Ann Smith.", [("Ann Smith", "person")]),
            ("Ann\nSmith", [("Ann", "person"), ("Smith", "person")]),
            ("see 12 Main Street, Dover, ok", [("12 Main Street, Dover", "address")]),
            ("flight 12", []),
            ("acme ltd, Jean O'Brien", [("acme ltd", "organisation"), ("Jean O'Brien", "person")]),
            ("ok", []),
            ("", []),
        ],
    )
    def test_neighbours_of_one_label_are_one_find(self, model, text, spans):
        assert found(model, text) == spans

    def test_a_text_of_plain_words_is_not_looked_at(self, model):
        assert found(model, "ok thank you, 12 of 13!") == []
        assert model.calls == []

    def test_many_texts_are_judged_together_and_equal_rows_once(self, model):
        texts = ["ann", "turn on the light", "ann", "i am smith"]
        assert [[span.entity for span in spans] for spans in Tagger(model).find_all(texts)] == [
            ["person"],
            [],
            ["person"],
            ["person"],
        ]
        [words] = model.calls
        assert len(words) == len(set(words)) == 8

    def test_is_one_detector_among_others(self, model):
        rules = RedactionRules(
            {"person": EntityRule(detectors=("tagger",)), "email": EntityRule(detectors=("email_address",))}, ("text",)
        )
        redactor = Redactor(rules, detectors=[Tagger(model)])
        # What the rules do not name stays, and what has a form keeps its name.
        assert redactor.redact("ann smith of acme ltd, ann.smith@example.org") == "[person] of acme ltd, [email]"
        assert redactor.redact("[person] of acme ltd, [email]") == "[person] of acme ltd, [email]"

    def test_closes_its_model(self, model):
        Tagger(model).close()
        assert model.closed


class TestMostLikely:
    def test_a_change_has_to_be_worth_its_cost(self):
        doubtful = {tagger.NOTHING: 0.55, "person": 0.45}
        sure = {tagger.NOTHING: 0.01, "person": 0.99}
        assert most_likely([sure, doubtful, sure], change=0.7) == ["person"] * 3
        assert most_likely([sure, doubtful, sure], change=0.0) == ["person", tagger.NOTHING, "person"]

    def test_one_word(self):
        assert most_likely([scores("address")]) == ["address"]

    def test_a_score_of_nothing_is_no_error(self):
        assert most_likely([{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}]) == ["a", "b"]
