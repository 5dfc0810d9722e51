"""Alarms as sentences."""

import numpy as np
import pytest

from components.findings import Severity
from components.monitoring import detect, findings
from components.monitoring.detect import POINT, SHIFT, Alarm, Judged
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import LEVEL, MISSING, ROWS, SHARE, Series, Timeline

OPTIONS = MonitoringOptions()
COUNTS = np.ones(30)


def one(measure, column="", value=""):
    return Series(measure, column, value, COUNTS, COUNTS)


def judged(*entries, unit="day", **about):
    """Series, each with its alarms as (kind, first, last, observed, expected, low, high)."""
    alarms = []
    for index, (series, *raised) in enumerate(entries):
        for kind, first, last, observed, expected, low, high in raised:
            change = detect.change_of(series.measure, observed, expected)
            alarms.append(
                Alarm(index, kind, first, last, last if kind == SHIFT else first, observed, expected, low, high, change)
            )
    timeline = Timeline(unit, np.arange(20_451, 20_481), tuple(entry[0] for entry in entries), **about)
    nothing = np.full((30, len(entries)), np.nan)
    return Judged(timeline, nothing, nothing, nothing, tuple(alarms))


class TestSentences:
    @pytest.mark.parametrize(
        ("series", "alarm", "message"),
        [
            (
                one(ROWS), (POINT, 29, 29, 12, 1200, 1000, 1400),
                "On 2026-01-27, the number of rows was 12, expected 1,000 to 1,400 (-99%)",
            ),
            (
                one(ROWS), (POINT, 27, 29, 6000, 1200, 1000, 1400),
                "From 2026-01-25 to 2026-01-27, the number of rows was up to 6,000, expected 1,000 to 1,400 (5.0 times as much)",
            ),
            (
                one(SHARE, "language", "de"), (POINT, 29, 29, 0.4, 0.2, 0.15, 0.25),
                "On 2026-01-27, the share of language=de was 40.0%, expected 15.0% to 25.0% (+20.0 points)",
            ),
            (
                one(MISSING, "city"), (POINT, 29, 29, 1.0, 0.0004, 0.0, 0.01),
                "On 2026-01-27, the share of rows without city was 100.0%, expected 0.0% to 1.0% (+100.0 points)",
            ),
            (
                one(LEVEL, "length of text"), (SHIFT, 20, 25, 12.0, 31.5, 31.5, 31.5),
                "Since 2026-01-18, the typical length of text is 12, expected 31.5 (-62%);"
                " noticed 2026-01-23, the baseline is learned anew from there",
            ),
        ],
    )  # fmt: skip
    def test_say_when_what_and_what_was_expected(self, series, alarm, message):
        [finding] = findings.of_alarms(judged((series, alarm)), OPTIONS)
        assert finding.message == message

    def test_weeks_and_spans_have_their_own_words(self):
        alarm = (POINT, 3, 3, 12, 1200, 1000, 1400)
        [week] = findings.of_alarms(judged((one(ROWS), alarm), unit="week"), OPTIONS)
        assert week.message.startswith("In the week of ")
        [span] = findings.of_alarms(judged((one(ROWS), alarm), unit="span", names=tuple(f"run {i}" for i in range(30))), OPTIONS)
        assert span.message.startswith("In run 3, the number of rows was 12")

    def test_personal_data_in_a_segment_value_is_not_shown(self):
        alarm = (POINT, 29, 29, 0.4, 0.0, 0.0, 0.01)
        [finding] = findings.of_alarms(judged((one(SHARE, "customer", "ann@example.org"), alarm)), OPTIONS)
        assert "ann@" not in str(finding.to_json())
        assert finding.subject == "customer=[email]"

    def test_a_version_is_no_telephone_number(self):
        alarm = (POINT, 29, 29, 1.0, 0.0, 0.0, 0.01)
        [finding] = findings.of_alarms(judged((one(SHARE, "model_version", "1795279459"), alarm)), OPTIONS)
        assert finding.subject == "model_version=1795279459"


class TestSeverity:
    @pytest.mark.parametrize(
        ("series", "observed", "expected", "severity"),
        [
            (one(ROWS), 700, 1000, Severity.WARNING),
            (one(ROWS), 500, 1000, Severity.ERROR),
            (one(SHARE, "label", "a"), 0.3, 0.2, Severity.WARNING),
            (one(SHARE, "label", "a"), 0.05, 0.2, Severity.ERROR),
            (one(MISSING, "city"), 0.2, 0.0, Severity.ERROR),
            (one(LEVEL, "latency_ms"), 14, 10, Severity.WARNING),
            (one(LEVEL, "latency_ms"), 15, 10, Severity.ERROR),
            (one(SHARE, "model_version", "7"), 1.0, 0.0, Severity.INFO),
        ],
    )
    def test_is_a_matter_of_size(self, series, observed, expected, severity):
        [finding] = findings.of_alarms(judged((series, (POINT, 29, 29, observed, expected, expected, expected))), OPTIONS)
        assert finding.severity is severity


class TestTogether:
    def test_values_of_a_column_are_one_finding_with_the_largest_change_first(self):
        changed = {"a": (0.5, 0.2), "b": (0.1, 0.2), "c": (0.1, 0.2), "d": (0.1, 0.13), "e": (0.2, 0.25)}
        entries = [
            (one(SHARE, "label", value), (POINT, 29, 29, observed, expected, expected, expected))
            for value, (observed, expected) in changed.items()
        ]
        [finding] = findings.of_alarms(judged(*entries), OPTIONS)
        assert finding.subject == "label=a"
        assert finding.message.endswith(
            "also b 10.0% (expected 20.0%), c 10.0% (expected 20.0%), e 20.0% (expected 25.0%), 1 more"
        )

    def test_errors_come_first_then_the_newest(self):
        found = findings.of_alarms(
            judged(
                (one(SHARE, "label", "a"), (POINT, 20, 20, 0.3, 0.2, 0.1, 0.25), (POINT, 25, 25, 0.3, 0.2, 0.1, 0.25)),
                (one(ROWS), (POINT, 22, 22, 0, 100, 80, 120)),
            ),
            OPTIONS,
        )
        assert [finding.message.split(",")[0] for finding in found] == ["On 2026-01-20", "On 2026-01-23", "On 2026-01-18"]

    def test_what_ended_before_is_left_out_and_what_goes_on_is_not(self):
        entries = (one(ROWS), (POINT, 20, 22, 0, 100, 80, 120), (POINT, 26, 29, 0, 100, 80, 120))
        assert len(findings.of_alarms(judged(entries), OPTIONS, since=22)) == 2
        assert len(findings.of_alarms(judged(entries), OPTIONS, since=29)) == 1


class TestState:
    def test_too_little_history_is_said(self):
        [finding] = findings.of_state(Timeline("day", np.arange(5), (one(ROWS),)), OPTIONS)
        assert finding.severity is Severity.INFO
        assert "There are 5 days; one is judged when 14 came before it" in finding.message

    def test_so_are_rows_that_belong_to_no_period(self):
        found = findings.of_state(Timeline("day", np.arange(30), (one(ROWS),), undated=3, future=1204), OPTIONS)
        assert [finding.severity for finding in found] == [Severity.WARNING] * 2
        assert "3 rows have no time" in found[0].message
        assert "1,204 rows are of a time that has not come yet" in found[1].message
