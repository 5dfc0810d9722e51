import pytest

from serving.redaction import FILLER, RedactionRules, Redactor
from serving.redaction.categories import CategoryRedactor, pseudonym
from serving.redaction.category_rule import CategoryRule

PATTERNS = Redactor(["patterns"])
KEY = b"0123456789abcdef"


def redactor(key=None, **rule):
    return CategoryRedactor(CategoryRule(**rule), PATTERNS, key)


class TestCategory:
    @pytest.mark.parametrize(
        ("value", "redacted"),
        [("support", "support"), ("ann@example.org", "[email]"), ("desk of ann@example.org", "desk of [email]"), ("", "")],
    )
    def test_what_has_a_form_is_replaced(self, value, redacted):
        assert redactor().redact(value) == redacted

    def test_what_the_schema_lists_stays_whatever_it_looks_like(self):
        known = redactor(known=("asp.net", "+49 30 5550 1234"))
        assert [known.redact(value) for value in known.rule.known] == list(known.rule.known)
        assert known.redact("node.org") == "[url]"
        assert known.redact("ASP.NET") == "[url]"


class TestPseudonym:
    def test_stands_for_the_whole_of_a_value_with_personal_data(self):
        group = redactor(key=KEY, pseudonym=True)
        first, second = group.redact("chat with ann@example.org"), group.redact("chat with bob@example.org")
        assert first != second
        assert first == group.redact("chat with ann@example.org") == pseudonym("chat with ann@example.org", KEY)
        assert "chat" not in first
        assert group.redact("conversation seven") == "conversation seven"

    def test_is_anothers_with_another_key(self):
        assert pseudonym("a@b.org", KEY) != pseudonym("a@b.org", KEY[::-1])

    def test_without_a_key_is_shared_by_many_values_yet_they_are_many(self):
        names = {pseudonym(f"+49 30 {number}", None) for number in range(60_000)}
        assert 4_000 < len(names) <= 4_096

    @pytest.mark.parametrize("key", [None, KEY])
    def test_is_not_looked_at_again(self, key):
        group = redactor(key=key, pseudonym=True)
        names = [pseudonym(f"+49 30 {number}", key) for number in range(5_000)]
        assert [group.redact(name) for name in names] == names

    def test_of_text_that_is_no_unicode(self):
        assert pseudonym("\udcff 1", None).startswith("[id:")
        assert FILLER not in pseudonym(FILLER, KEY)


def test_rules_of_patterns_leave_out_taggers_and_lists_of_words():
    rules = RedactionRules.from_json(
        {
            "format": 2,
            "revision": 1,
            "columns": ["text"],
            "key": None,
            "entities": {
                "email": {"mode": "mask", "detectors": ["email_address", "email_words"]},
                "person": {"mode": "placeholder", "detectors": ["tagger"]},
            },
            "files": {"tagger": {"path": "tagger", "sha256": "5f"}},
        }
    )
    assert rules.of_patterns().entities.keys() == {"email"}
    assert rules.of_patterns().entities["email"].detectors == ("email_address",)
    assert rules.of_patterns().files == {}
