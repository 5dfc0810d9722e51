import json
import random

import pyarrow as pa
import pytest

from components.errors import EnvironmentFailure, UsageError
from components.privacy.batch import BatchRedactor
from components.privacy.options import PrivacyOptions
from serving.redaction import DETECTORS, Detector, Redactor, Span
from serving.redaction.category_rule import CategoryRule

PATTERNS = PrivacyOptions(redact=["patterns"])
TEXTS = ["mail ann@example.org or bob@example.org", "turn on the light", None, "", "call 030/1234567", "4111 1111 1111 1111"]


def batch(texts=TEXTS, **columns):
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string()), **columns})


def redacted(redactor, texts):
    return redactor.redact(batch(texts), ["text"]).column(0).to_pylist()


class Names(Detector):
    """Finds Ann."""

    name = "tagger"
    entities = ("person",)

    def find_all(self, texts):
        return [[Span(0, 3, "person", self.name)] if text.startswith("Ann") else [] for text in texts]


class TestRedact:
    def test_rows(self):
        assert redacted(BatchRedactor(PATTERNS), TEXTS) == [
            "mail [email] or [email]",
            "turn on the light",
            None,
            "",
            "call [phone]",
            "[card]",
        ]

    @pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
    def test_types_and_other_columns_stay(self, kind):
        rows = pa.RecordBatch.from_pydict({"plan": ["a@b.org"], "text": pa.array(["a@b.org"], kind), "n": [1]})
        result = BatchRedactor(PATTERNS).redact(rows, ["text"])
        assert result.schema == rows.schema
        assert result.to_pydict() == {"plan": ["a@b.org"], "text": ["[email]"], "n": [1]}

    def test_a_slice_of_an_array(self):
        rows = batch().slice(3)
        assert BatchRedactor(PATTERNS).redact(rows, ["text"]).column(0).to_pylist() == ["", "call [phone]", "[card]"]

    def test_columns_may_be_named(self):
        options = PrivacyOptions(redact=["email"], columns=("note",))
        result = BatchRedactor(options).redact(batch(["a@b.org"], note=["a@b.org"]), ["text"])
        assert result.to_pydict() == {"text": ["a@b.org"], "note": ["[email]"]}

    def test_no_rows_and_no_rules(self):
        assert redacted(BatchRedactor(PATTERNS), []) == []
        assert redacted(BatchRedactor(PrivacyOptions()), TEXTS) == TEXTS

    def test_a_tagger_sees_every_text(self):
        redactor = BatchRedactor(PrivacyOptions(redact=["person"], tagger="tagger"), detectors=[Names()])
        assert redacted(redactor, ["Ann is here", None, "nobody"]) == ["[person] is here", None, "nobody"]

    def test_hashes_of_equal_values_are_equal(self):
        options = PrivacyOptions(redact={"email": {"mode": "hash"}}, key="env:K")
        first, second, other = redacted(BatchRedactor(options, key=b"0" * 16), ["a@b.org", "A@B.org", "c@b.org"])
        assert first == second != other

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            (
                PrivacyOptions(redact=["person"], tagger="no/such/tagger"),
                UsageError,
                "privacy.tagger: there is nothing at no/such/tagger",
            ),
            (PrivacyOptions(redact={"email": {"mode": "hash"}}, key="env:K"), EnvironmentFailure, "their key env:K is not here"),
        ],
    )
    def test_what_is_missing_is_named(self, options, error, message):
        with pytest.raises(error, match=message):
            BatchRedactor(options)

    def test_columns_that_are_no_text_are_named(self):
        with pytest.raises(UsageError, match="there is no column 'txet' .*columns: text, n"):
            BatchRedactor(PATTERNS).redact(batch(["x"], n=[1]), ["txet"])
        with pytest.raises(UsageError, match="removed from text; 'n' is int64"):
            BatchRedactor(PATTERNS).redact(batch(["x"], n=[1]), ["n"])


class TestCategories:
    CATEGORIES = {"plan": CategoryRule(("asp.net", "basic")), "chat": CategoryRule(pseudonym=True), "note": CategoryRule()}

    def redact(self, columns, options=PATTERNS, **settings):
        redactor = BatchRedactor(options, categories=self.CATEGORIES, **settings)
        rows = pa.RecordBatch.from_pydict({name: pa.array(values, pa.string()) for name, values in columns.items()})
        return redactor.redact(rows, ["text"]).to_pydict(), redactor

    def test_each_by_its_rule(self):
        columns = {
            "text": ["a@b.org", "x", None, "asp.net"],
            "plan": ["asp.net", "basic", None, "a@b.org"],
            "chat": ["+49 30 5550 1234", "+49 30 5550 1235", "+49 30 5550 1234", None],
            "note": ["asp.net", "my card is 4111 1111 1111 1111", "my card is 4111 1111 1111 1111", ""],
        }
        redacted, redactor = self.redact(columns)
        assert redacted["text"] == ["[email]", "x", None, "[url]"]
        assert redacted["plan"] == ["asp.net", "basic", None, "[email]"]
        first, second, again, missing = redacted["chat"]
        assert first == again != second
        assert missing is None
        assert redacted["note"] == ["[url]", "my card is [card]", "my card is [card]", ""]
        audit = redactor.audit()
        assert (audit["rows"], audit["redacted_rows"]) == (4, 4)
        assert audit["entities"]["card"]["columns"] == {"note": 2}
        assert audit["entities"]["phone"] | {"segments": {}} == {
            "mode": "placeholder",
            "found": 3,
            "rows": 3,
            "columns": {"chat": 3},
            "segments": {},
        }
        assert audit["entities"]["email"]["columns"] == {"plan": 1, "text": 1}

    def test_found_twice_in_a_value_is_counted_twice_and_in_one_row(self):
        _, redactor = self.redact(
            {"text": ["x"] * 3, "plan": ["basic"] * 3, "chat": ["x"] * 3, "note": ["a@b.org, c@d.org", "-", "a@b.org, c@d.org"]}
        )
        email = redactor.audit()["entities"]["email"]
        assert (email["found"], email["rows"]) == (4, 2)

    def test_a_tagger_is_not_asked_about_them(self):
        options = PrivacyOptions(redact=["person", "email"], tagger="tagger")
        redacted, _ = self.redact(
            {"text": ["Ann is here"], "plan": ["Ann"], "chat": ["Ann"], "note": ["Ann a@b.org"]}, options, detectors=[Names()]
        )
        assert redacted == {"text": ["[person] is here"], "plan": ["Ann"], "chat": ["Ann"], "note": ["Ann [email]"]}

    def test_columns_that_are_named_are_the_only_ones(self):
        columns = {"text": ["a@b.org"], "plan": ["a@b.org"], "chat": ["a@b.org"], "note": ["a@b.org"]}
        redacted, redactor = self.redact(columns, PrivacyOptions(redact=["email"], columns=("text", "note")))
        assert redacted == {**columns, "text": ["[email]"], "note": ["[email]"]}
        assert redactor.rules.categories == {}

    def test_without_rules_or_patterns_nothing_happens_to_them(self):
        columns = {"text": ["Ann"], "plan": ["a@b.org"], "chat": ["a@b.org"], "note": ["a@b.org"]}
        assert self.redact(columns, PrivacyOptions())[0] == columns
        tagged = PrivacyOptions(redact=["person"], tagger="tagger")
        assert self.redact(columns, tagged, detectors=[Names()])[0] == {**columns, "text": ["[person]"]}

    def test_segments_are_shown_as_they_are_stored(self):
        redactor = BatchRedactor(PATTERNS, categories=self.CATEGORIES)
        rows = batch(["a@b.org"] * 3, plan=["asp.net", "c@d.org", "basic"], chat=["x"] * 3, note=["x"] * 3)
        redactor.redact(rows, ["text"], {"plan": rows.column("plan")})
        assert redactor.audit()["entities"]["email"]["segments"] == {"plan": {"asp.net": 1, "[email]": 1, "basic": 1}}


class TestIsWhatOneByOneWouldBe:
    """The screening in C++ must let through whatever a detector finds."""

    PIECES = (
        *(
            "a@b.org",
            "ann (at) b.org",
            "x gmailcom",
            "http://a.b",
            "a.com",
            "::1",
            "10.0.0.1",
            "00:1b:44:11:3a:b7",
            "PASSWORD IS x1",
        ),
        *(
            "SSN 8437",
            "ﬁ",
            "İ",
            "ß",
            "K",
            "٤١١١",
            "１２",
            "\u200b",
            "CONTRASEÑA: hola9",
            "PRÜFNUMMER 123",
            "4111111111111111",
            "é",
            "\n",
        ),
        *(
            "RSSMRA85T10A562S",
            "ABCPE1234F",
            "AB123456C",
            "order no 12",
            "Born on 3 May 1990",
            "12",
            "3",
            "-",
            " ",
            "is",
            "and",
            "ПАРОЛЬ: x12",
        ),
    )

    @pytest.mark.parametrize("seed", range(3))
    def test_for_any_text(self, seed):
        rng = random.Random(seed)
        texts = ["".join(rng.choice(self.PIECES) for _ in range(rng.randint(0, 5))) for _ in range(300)]
        alone = Redactor(["patterns"])
        assert redacted(BatchRedactor(PATTERNS), texts) == [alone.redact(text) for text in texts]

    @pytest.mark.parametrize("name", sorted(DETECTORS))
    def test_for_each_detector_alone(self, name):
        [entity] = DETECTORS[name].entities
        options = PrivacyOptions(redact={entity: {"detectors": [name]}})
        alone = Redactor(options.rules([]))
        assert redacted(BatchRedactor(options), list(self.PIECES)) == [alone.redact(text) for text in self.PIECES]

    def test_a_few_digits_alone_are_not_worth_a_look(self):
        texts = pa.array(["set the timer to 53 minutes and 20 seconds", "my pan is ABCPE1234F", "rssmra 85t10 a562s"])
        assert BatchRedactor(PATTERNS)._texts.worth_a_look(texts).tolist() == [False, True, True]


class TestAudit:
    def test_counts(self):
        redactor = BatchRedactor(PATTERNS)
        languages = pa.array(["en", "en", "de", None, "de", None])
        redactor.redact(batch(), ["text"], {"language": languages})
        redactor.redact(batch(["a@b.org"]), ["text"], {"language": pa.array(["de"])})
        audit = redactor.audit()
        assert (audit["rows"], audit["redacted_rows"]) == (7, 4)
        assert audit["entities"] == {
            "card": {
                "mode": "placeholder",
                "found": 1,
                "rows": 1,
                "columns": {"text": 1},
                "segments": {"language": {"(none)": 1}},
            },
            "email": {
                "mode": "placeholder",
                "found": 3,
                "rows": 2,
                "columns": {"text": 3},
                "segments": {"language": {"en": 1, "de": 1}},
            },
            "phone": {"mode": "placeholder", "found": 1, "rows": 1, "columns": {"text": 1}, "segments": {"language": {"de": 1}}},
        }
        assert audit["rules_sha256"] == redactor.rules.sha256()

    def test_parts_that_were_redacted_apart_add_up(self):
        texts, languages = [*TEXTS, "a@b.org", "c@d.org"], [*["en", "de"] * (len(TEXTS) // 2 + 1)][: len(TEXTS)] + ["de", "fr"]
        whole, merged = BatchRedactor(PATTERNS), BatchRedactor(PATTERNS)
        whole.redact(batch(texts), ["text"], {"language": pa.array(languages)})
        for start in range(0, len(texts), 3):
            part = merged.fresh()
            part.redact(batch(texts[start : start + 3]), ["text"], {"language": pa.array(languages[start : start + 3])})
            merged.merge(part)
        assert merged.audit() == whole.audit()
        assert merged.rules == whole.rules
        assert merged.fresh().audit()["entities"] == {}

    def test_never_holds_a_value(self):
        redactor = BatchRedactor(PATTERNS)
        redactor.redact(
            batch(["mail ann@example.org", "4111 1111 1111 1111"]), ["text"], {"customer": pa.array(["ann@example.org", "x"])}
        )
        text = json.dumps(redactor.audit())
        assert "ann" not in text
        assert "4111" not in text
        assert redactor.audit()["entities"]["email"]["segments"] == {"customer": {"[email]": 1}}

    def test_of_several_columns(self):
        redactor = BatchRedactor(PATTERNS)
        redactor.redact(batch(["a@b.org", "x"], more=["a@b.org", "10.0.0.1"]), ["text", "more"])
        entities = redactor.audit()["entities"]
        assert (entities["email"]["found"], entities["email"]["rows"], entities["email"]["columns"]) == (
            2,
            1,
            {"more": 1, "text": 1},
        )
        assert redactor.rules.columns == ("text", "more")
