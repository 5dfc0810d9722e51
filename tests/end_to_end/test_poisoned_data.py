"""A day of bad data after a week of good ones: it is stopped or flagged, and the first lines a user sees say what happened to it."""

import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.end_to_end.poisoned_days import GOOD_DAYS, POISONS, WORDS

pytestmark = [pytest.mark.end_to_end, pytest.mark.tensorflow]

# Mark, id, seconds and message of the node; the verdict repeats the message, and other findings follow it.
FIRST_LINES = 3


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """What each day of the table `POISONS`, and the good ones before it, made a user see."""
    shown = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.poisoned_days", str(tmp_path_factory.mktemp("days"))],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr[-2000:]
    return json.loads(shown.stdout.splitlines()[-1])


def verdict(day):
    """The lines that say how the run ended, without those of nodes that went well."""
    lines = day["shown"].splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith(("succeeded", "rejected")))
    return lines[first : first + FIRST_LINES]


def test_good_days_pass_without_a_warning(days):
    for name in ("nothing", *(f"good day {day}" for day in range(GOOD_DAYS))):
        assert days[name]["exit_code"] == 0, days[name]["shown"]
        assert days[name]["findings"] == [], name


def test_every_poison_is_asked_about():
    assert {*STOPPED, *FLAGGED, TOO_MANY_SET_ASIDE, "nothing"} == POISONS.keys()


STOPPED = {
    "another unit": "Column 'amount' looks multiplied by 100",
    "swapped categories": "Column 'channel' seems to have changed places with column 'language'",
    "swapped numbers": "Column 'amount' seems to have changed places with column 'minutes'",
    "text in a category": "Column 'channel' seems to have changed places with column 'text'",
    "a new language": "Column 'language' has values missing from the schema: el (32.6%)",
    "labels of the row before": "Column 'queue' looks shifted by one row",
    "labels of the next class": "Column 'queue' looks as if classes had changed places ('delivery' where 'billing' is expected",
    "an emptied column": "Column 'channel' has no values any more",
    "an emptied required column": "Column 'amount' has no value in 700 of 700 rows (100.0%)",
}


# Every row of these breaks a rule of the schema, so that there is nothing to compute statistics of.
LEFT_NOTHING = ("swapped categories", "text in a category", "an emptied required column")


@pytest.mark.parametrize("poison", STOPPED)
def test_is_stopped_with_its_reason_in_the_first_line(days, poison):
    day = days[poison]
    assert day["exit_code"] == 1, day["shown"]
    assert verdict(day)[0].startswith("rejected: Column")
    assert STOPPED[poison] in verdict(day)[0]
    [failed] = [line for line in day["shown"].splitlines() if "✗" in line]
    assert ("ExampleGen" if poison in LEFT_NOTHING else "DataGate") in failed
    assert STOPPED[poison] in failed


TOO_MANY_SET_ASIDE = "amounts that are no numbers"


def test_more_rows_set_aside_than_are_tolerated_stop_the_run(days):
    day = days[TOO_MANY_SET_ASIDE]
    assert day["exit_code"] == 1, day["shown"]
    assert "70 of 700 rows (10.00%) were set aside: amount: not a number (70)" in verdict(day)[0]
    assert "at most 5.00% are tolerated (validation.max_quarantined)" in verdict(day)[0]


FLAGGED = {
    "a flood": "Column 'customer' is flooded by one value, now in 50.1% of the rows",
    "a new language unsaid": "Greek 0.0% -> 30.4%",
}


@pytest.mark.parametrize("poison", FLAGGED)
def test_is_flagged_in_the_first_lines(days, poison):
    day = days[poison]
    assert day["exit_code"] == 0, day["shown"]
    assert [line for line in verdict(day) if line.startswith("warn") and FLAGGED[poison] in line], day["shown"]


# English words are also the report's own.
MESSAGES = {word for language in ("de", "el") for text in WORDS[language].values() for word in text.split()}


@pytest.mark.parametrize("poison", POISONS)
def test_nobodys_words_are_in_what_is_shown_or_in_the_record(days, poison):
    assert not [word for word in MESSAGES if word in days[poison]["shown"] + days[poison]["record"]]


@pytest.mark.parametrize("poison", POISONS)
def test_nobodys_words_are_in_the_report(days, poison):
    assert not [word for word in MESSAGES if word in days[poison]["report"]]
