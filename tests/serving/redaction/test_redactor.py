import pickle
import random
import re
import string

import pytest

from serving.redaction import (
    KINDS,
    MASK,
    Detector,
    EntityRule,
    MissingDetectorError,
    MissingKeyError,
    Mode,
    RedactionRules,
    Redactor,
    Span,
    Trigger,
    redact,
)

KEY = b"0123456789abcdef"


def rules(mode, entity="email"):
    return RedactionRules(
        {entity: EntityRule(mode, RedactionRules.of([entity]).entities[entity].detectors)}, key="env:REDACTION_KEY"
    )


class Names(Detector):
    """Finds Ann, and Ann only."""

    name = "names"
    entities = ("person", "place")

    def __init__(self):
        self.seen = []

    def find_all(self, texts):
        self.seen.append(list(texts))
        return [
            [Span(found.start(), found.end(), "person", self.name, 10) for found in re.finditer("Ann", text)] for text in texts
        ]


class TestModes:
    def test_a_placeholder_says_what_was_there(self):
        assert Redactor(rules(Mode.PLACEHOLDER)).redact("a@b.org") == "[email]"

    def test_a_mask_does_not_even_say_how_long_it_was(self):
        redactor = Redactor(rules(Mode.MASK))
        assert redactor.redact("a@b.org or ann.lee@example.org") == f"{MASK} or {MASK}"

    def test_a_hash_is_the_same_for_the_same_value_and_key(self):
        redactor = Redactor(rules(Mode.HASH), key=KEY)
        assert redactor.redact("Ann@B.org") == redactor.redact("ann＠b.org")
        assert re.fullmatch(r"\[email:[0-9a-f]{16}\]", redactor.redact("ann@b.org"))
        assert redactor.redact("ann@b.org") != redactor.redact("bob@b.org")
        assert redactor.redact("ann@b.org") != Redactor(rules(Mode.HASH), key=b"another key, 16 bytes").redact("ann@b.org")

    def test_a_hash_of_a_number_does_not_depend_on_how_it_is_grouped(self):
        redactor = Redactor(rules(Mode.HASH, "card"), key=KEY)
        assert (
            redactor.redact("4111 1111 1111 1111")
            == redactor.redact("4111-1111-1111-1111")
            == redactor.redact("4111111111111111")
        )

    def test_a_hash_needs_its_key(self):
        with pytest.raises(MissingKeyError, match="their key env:REDACTION_KEY is not here"):
            Redactor(rules(Mode.HASH))


class TestKinds:
    def test_can_be_chosen(self):
        assert Redactor(("email",)).redact("a@b.org 192.168.0.1") == "[email] 192.168.0.1"
        with pytest.raises(ValueError, match="no such kind of personal data: mail; there are: "):
            Redactor(("mail",))

    def test_that_overlap_go_together(self):
        assert redact("https://example.org/ann@example.org") == "[url]"
        assert redact("my password is ann@example.org") == "my password is [email]"
        assert redact("account number 4111 1111 1111 1111") == "account number [card]"

    def test_spans_lie_in_the_text_as_it_was_written(self):
        text = "１２ and a\u200bnn@example．org, ok"
        [found] = Redactor(("email",)).find(text)
        assert text[found.start : found.end] == "a\u200bnn@example．org"


class TestDetectors:
    def test_others_can_be_added(self):
        person = RedactionRules({"person": EntityRule(detectors=("names",))})
        assert Redactor(person, detectors=[Names()]).redact("Ann: ann@b.org") == "[person]: ann@b.org"

    def test_find_only_what_the_rules_name(self):
        place = RedactionRules({"place": EntityRule(detectors=("names",))})
        assert Redactor(place, detectors=[Names()]).redact("Ann") == "Ann"

    def test_one_that_judges_a_whole_text_is_asked_once_for_all_texts(self):
        names = Names()
        both = RedactionRules({"person": EntityRule(detectors=("names",)), **RedactionRules.of(["email"]).entities})
        texts = ["Ann a@b.org", "nothing", "a@b.org"]
        redactor = Redactor(both, detectors=[names])
        found = redactor.find_all(texts)
        assert names.seen == [texts]
        assert [redactor.replace(*one) for one in zip(texts, found, strict=True)] == ["[person] [email]", "nothing", "[email]"]

    def test_one_that_is_not_there_is_named(self):
        with pytest.raises(MissingDetectorError, match="no detector is called tagger; there are: email_address"):
            Redactor(RedactionRules({"person": EntityRule(detectors=("tagger",))}))

    def test_a_trigger_is_the_same_in_re2(self):
        trigger = Trigger(3, ("pin", "naïve"))
        for text, fires in {"pin 123": True, "pin 12": False, "123": False, "NAÏVE1 2 3": True}.items():
            assert trigger.fires(text.lower(), sum(map(str.isdigit, text))) is fires
            assert all(re.search(pattern, text) for pattern in trigger.re2()) is fires


def random_text(rng):
    """A text of pieces that detectors look for, broken and joined at random."""
    pieces = [
        *("ann@example.org", "4111 1111 1111 1111", "DE89370400440532013000", "+49 30 1234567", "https://a.b/c", "192.168.0.1"),
        *(
            "password is ",
            "my account number ",
            "ssn ",
            "born on ",
            "[email]",
            "[card:0123456789abcdef]",
            "####",
            "[",
            "]",
            ":",
            "@",
            ".",
        ),
        *(
            "\u200b",
            "\ufffc",
            "\x00",
            "\ud800",
            "١٢٣",
            "𝟒𝟏",
            "é",
            "今日",
            " ",
            "\n",
            "-",
            "/",
            "is",
            "and",
            "12",
            "0",
            "x",
            "com",
            "dot",
            " at ",
        ),
        *string.printable[:60:7],
    ]
    return "".join(rng.choice(pieces) for _ in range(rng.randint(0, 14)))


class TestAnyText:
    @pytest.mark.parametrize("seed", range(8))
    def test_is_redacted_once_and_for_all(self, seed):
        rng = random.Random(seed)
        redactors = [Redactor(KINDS), Redactor(rules(Mode.HASH), key=KEY), Redactor(rules(Mode.MASK, "phone"))]
        for _ in range(60):
            text = random_text(rng)
            for redactor in redactors:
                once = redactor.redact(text)
                assert redactor.redact(once) == once, ascii(text)

    def test_of_a_batch_is_treated_as_alone(self):
        rng = random.Random(1)
        texts = [random_text(rng) for _ in range(150)]
        redactor = Redactor(KINDS)
        assert redactor.find_all(texts) == [redactor.find(text) for text in texts]

    def test_placeholders_are_left_alone(self):
        text = "[email] said her password is [password], see [card:0123456789abcdef] and ####"
        assert redact(text) == text

    def test_whoever_writes_a_placeholder_hides_nothing_with_it(self):
        assert "ann" not in redact("[email]ann@example.org[email]")
        assert "secret1" not in redact("password is [email]secret1")

    def test_redactors_travel(self):
        assert pickle.loads(pickle.dumps(Redactor(KINDS).rules)) == Redactor(KINDS).rules


HOSTILE = [
    "1",
    "1-",
    "a.",
    "a@",
    "DE12",
    ":",
    "http://",
    "password is ",
    "born 1 ",
    "account number ",
    "(",
    "a at b dot ",
    "gmail",
    "1 a ",
    "[email]",
]


class TestHostileText:
    """What is counted is steps of the regular expressions, by what they take for a text of twice the length."""

    @pytest.mark.parametrize("piece", HOSTILE)
    def test_takes_time_in_proportion_to_its_length(self, piece, thread_seconds):
        redactor = Redactor(KINDS)
        redactor.redact(piece * 50)
        short = min(thread_seconds(lambda: redactor.redact(piece * (6_000 // len(piece)))) for _ in range(2))
        long = min(thread_seconds(lambda: redactor.redact(piece * (24_000 // len(piece)))) for _ in range(2))
        # Four times the text: four times the time if it is linear, sixteen times if it is not.
        assert long < 9 * short + 0.02
