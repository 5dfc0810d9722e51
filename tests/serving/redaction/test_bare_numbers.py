import pytest

from serving.redaction import GROUPS, RedactionRules, Redactor, redact

CHAT = Redactor(["patterns", "number"])


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("4417", "[number]"),
        ("ann 4417", "ann [number]"),
        ("sure its 5566 and 7788", "sure its [number] and [number]"),
        ("4 4 1 7", "[number]"),
        ("4-4-1-7", "[number]"),
        ("4417 63", "[number]"),
        ("4417 6", "[number] 6"),
        ("move 500 from 3641 to 9748", "move 500 from [number] to [number]"),
        ("it is ４４１７", "it is [number]"),
        ("٤٤١٧", "[number]"),
        ("4.41712E+15", "[number]"),
        ("441 e 15", "[number]"),
        ("44171 e15 and 4417", "[number] and [number]"),
        ("1917", "[number]"),
        ("2058 and 2081", "[number] and [number]"),
        ("please transfer to 2569", "please transfer to [number]"),
        ("95318", "[number]"),
    ],
)
def test_numbers_that_nothing_introduces_go(text, redacted):
    assert CHAT.redact(text) == redacted
    assert CHAT.redact(redacted) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("the pin is 4417", "the pin is [password]"),
        ("ssn 4417", "ssn [us_ssn]"),
        ("account 44170", "account [account]"),
        ("4111 1111 1111 1111", "[card]"),
        ("503 555 0182", "[phone]"),
        ("account 4417, ann 7788", "account [account], ann [number]"),
    ],
)
def test_what_a_number_is_counts_where_it_is_known(text, redacted):
    assert CHAT.redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        *("417", "44 17", "220 25", "220 125", "1,234,567", "12.3456", "4417.50", "10:4417", "x4417", "4417b"),
        *("2017", "in 1984", "1984-85", "june 14 2018", "i20 2017", "20180614", "06142018"),
        *("92018", "062018", "140618", "the amount is to be 4417"),
        *(
            "2500",
            "9000",
            "150000",
            "$4417",
            "€ 4417",
            "4417 dollars",
            "4417$",
            "rs. 4417",
            "it costs 4417",
            "the amount is 4417",
        ),
        *(
            "transfer 4417",
            "about 4417",
            "4417 kelvin",
            "4417 km",
            "at 1130",
            "1130 am",
            "um 1130 uhr",
            "zip code 10115",
            "version 4417",
        ),
    ],
)
def test_years_amounts_measures_and_times_stay(text):
    assert CHAT.redact(text) == text


def test_a_long_number_is_no_amount():
    assert (
        Redactor(["number"]).redact("transfer 441712345 to me, about 44171 people")
        == "transfer [number] to me, about 44171 people"
    )


def test_only_on_request():
    assert "number" not in GROUPS["patterns"]
    assert redact("ann 4417") == "ann 4417"
    # What was put there stays, whoever looks at it next.
    assert redact("my password is [number]") == "my password is [number]"


def test_not_in_columns_that_are_no_text():
    rules = RedactionRules.of(["number", "email"], ["text"])
    assert rules.of_patterns().entities.keys() == {"email"}
    assert Redactor(rules.of_patterns()).redact("44171") == "44171"


@pytest.mark.parametrize(
    "piece", ["1", "12 ", "12-", "1 ", "1-2 3", "1e1", "12 e ", "for of the ", "cost is is is ", "44 x", "1.2e+"]
)
def test_takes_time_in_proportion_to_the_length_of_hostile_text(piece, thread_seconds):
    CHAT.redact(piece * 50)
    short = min(thread_seconds(lambda: CHAT.redact(piece * (6_000 // len(piece)))) for _ in range(2))
    long = min(thread_seconds(lambda: CHAT.redact(piece * (24_000 // len(piece)))) for _ in range(2))
    # Four times the text: four times the time if it is linear, sixteen times if it is not.
    assert long < 9 * short + 0.02
