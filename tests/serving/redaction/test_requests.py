import dataclasses

import numpy as np
import pytest

from serving.messages import Example
from serving.redaction import FILE, DetectorFile, EntityRule, MissingDetectorError, MissingKeyError, RedactionRules
from serving.redaction.categories import pseudonym
from serving.redaction.category_rule import CategoryRule
from serving.redaction.requests import RequestRedactor

REDACTOR = RequestRedactor(RedactionRules.of(["email", "phone"], ["text"]))


def example(**features):
    made = Example()
    for name, value in features.items():
        made.features.feature[name].bytes_list.value.append(value.encode())
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ("a@b.org", "[email]"),
        (b"a@b.org", b"[email]"),
        (["a@b.org", "light"], ["[email]", "light"]),
        (("a@b.org",), ("[email]",)),
        ([[b"\xff a@b.org"]], [[b"\xff [email]"]]),
        (5, 5),
        ([1.5], [1.5]),
    ],
)
def test_text_in_any_shape_of_python(value, redacted):
    assert REDACTOR.columns({"text": value}) == {"text": redacted}


@pytest.mark.parametrize("dtype", [object, "S", "U"])
def test_arrays(dtype):
    sent = np.array([["a@b.org"], ["light"]], dtype)
    redacted = REDACTOR.values("text", sent)
    assert redacted.shape == (2, 1)
    assert [value if isinstance(value, str) else value.decode() for value in redacted.ravel()] == ["[email]", "light"]
    assert sent.ravel()[0] in ("a@b.org", b"a@b.org")


def test_categories_are_what_the_rules_of_their_columns_say():
    rules = RedactionRules.of(["email", "phone"], ["text"])
    rules = dataclasses.replace(rules, categories={"plan": CategoryRule(("c@d.org",)), "chat": CategoryRule(pseudonym=True)})
    redactor = RequestRedactor(rules)
    inputs = {"text": "c@d.org", "plan": ["a@b.org", "c@d.org", "basic"], "chat": np.array([b"030/1234567"], object)}
    redacted = redactor.columns({**inputs, "other": "a@b.org"})
    assert (redacted["text"], redacted["plan"]) == ("[email]", ["[email]", "c@d.org", "basic"])
    assert redacted["chat"].tolist() == [pseudonym("030/1234567", None).encode()]
    assert redacted["other"] == "a@b.org"
    [sent] = redactor.examples([example(text="c@d.org", plan="a@b.org", other="a@b.org")])
    features = Example.FromString(sent).features.feature
    assert [features[name].bytes_list.value[0] for name in ("text", "plan", "other")] == [b"[email]", b"[email]", b"a@b.org"]


def test_other_columns_are_left_alone():
    inputs = {"text": "x", "plan": "a@b.org", "number": [1]}
    assert REDACTOR.columns(inputs) == inputs


def test_examples():
    sent = [example(text="call 030/1234567", plan="a@b.org"), example(plan="a@b.org"), b"\xff no example"]
    redacted = REDACTOR.examples(sent)
    features = Example.FromString(redacted[0]).features.feature
    assert features["text"].bytes_list.value == [b"call [phone]"]
    assert features["plan"].bytes_list.value == [b"a@b.org"]
    assert redacted[1:] == sent[1:]


class TestLoad:
    def write(self, folder, rules):
        (folder / FILE).parent.mkdir(exist_ok=True)
        (folder / FILE).write_bytes(rules if isinstance(rules, bytes) else rules.dumps())
        return folder

    def test_reads_what_a_model_carries(self, tmp_path):
        rules = RedactionRules.of(["email"], ["text"])
        redactor = RequestRedactor.load(self.write(tmp_path, rules))
        assert redactor.rules == rules
        assert redactor.text("a@b.org") == "[email]"

    def test_a_model_without_rules_has_no_redactor(self, tmp_path):
        assert RequestRedactor.load(tmp_path) is None

    def test_rules_that_cannot_be_followed_are_an_error(self, tmp_path, monkeypatch):
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        with pytest.raises(ValueError, match="Expecting value"):
            RequestRedactor.load(self.write(tmp_path, b"nothing"))
        hashed = b'{"format":1,"revision":1,"columns":[],"key":"env:NO_SUCH_KEY","entities":{"email":{"mode":"hash","detectors":["x"]}}}'
        with pytest.raises(MissingKeyError, match="NO_SUCH_KEY"):
            RequestRedactor.load(self.write(tmp_path, hashed))
        tagged = b'{"format":1,"revision":1,"columns":[],"key":null,"entities":{"person":{"mode":"mask","detectors":["tagger"]}}}'
        with pytest.raises(MissingDetectorError, match="tagger"):
            RequestRedactor.load(self.write(tmp_path, tagged))

    def test_who_cannot_run_the_tagger_is_told_who_can(self, tmp_path):
        rules = RedactionRules(
            {"person": EntityRule(detectors=("tagger",))}, ("text",), files={"tagger": DetectorFile("tagger", "5f")}
        )
        with pytest.raises(
            MissingDetectorError, match="person is found by a trained tagger, .* Send text as it is to the embedded server"
        ):
            RequestRedactor.load(self.write(tmp_path, rules))
