import json
import random

import pyarrow as pa
import pytest

from components.errors import EnvironmentFailure, UsageError
from components.privacy.batch import BatchRedactor
from components.privacy.options import PrivacyOptions
from serving.redaction import DETECTORS, Detector, Redactor, Span

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
        assert BatchRedactor(PATTERNS)._worth_a_look(texts).tolist() == [False, True, True]


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
