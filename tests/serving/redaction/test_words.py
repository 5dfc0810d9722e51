import pytest

from serving.redaction import EntityRule, RedactionRules, Redactor
from serving.redaction.words import WordList, read

ENTRIES = ["Acme Rockets", "acme", "Zoë", "Łódź-Team 7", "東京商事", "  "]


@pytest.fixture
def redactor():
    rules = RedactionRules({"customer": EntityRule(detectors=("customer_words",))})
    return Redactor(rules, detectors=[WordList("customer", ENTRIES)])


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("ACME called", "[customer] called"),
        ("acme rockets and acme", "[customer] and [customer]"),
        ("Acme-Rockets, twice", "[customer], twice"),
        ("acmes and macme stay", "acmes and macme stay"),
        ("Zoe\u0308 is Zoë", "[customer] is [customer]"),
        ("zoe is somebody else", "zoe is somebody else"),
        ("ask łódź team 7!", "ask [customer]!"),
        ("łódź team 8", "łódź team 8"),
        ("私は東京商事です", "私は[customer]です"),
        ("ａｃｍｅ", "[customer]"),
        ("ac\u200bme", "[customer]"),
        ("the [customer] stays", "the [customer] stays"),
        ("", ""),
    ],
)
def test_finds_whole_words_as_people_write_them(redactor, text, redacted):
    assert redactor.redact(text) == redacted


def test_the_longest_entry_wins():
    [span] = WordList("x", ["new", "new york", "york city"]).find("in new york city")
    assert (span.start, span.end) == (3, 11)


def test_is_read_from_a_file_of_lines(tmp_path):
    path = tmp_path / "customers.txt"
    path.write_text("\ufeff# our customers\nAcme Rockets\n\n  Zoë \n", encoding="utf-8")
    words = read("customer", path)
    assert (words.name, words.entities) == ("customer_words", ("customer",))
    assert [(span.start, span.end) for span in words.find("zoë of acme rockets; customers")] == [(0, 3), (7, 19)]


@pytest.mark.parametrize(
    ("content", "message"), [(b"# nobody\n\n --", "received none for customer"), (b"\xff\xfe", "is UTF-8 text")]
)
def test_a_file_without_entries_is_refused(tmp_path, content, message):
    path = tmp_path / "customers.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read("customer", path)
