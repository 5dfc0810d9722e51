"""Alarms as findings: one sentence each, what moves together said once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from components.findings import Finding, Severity
from components.monitoring.detect import POINT, SHIFT, Alarm, Judged
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import LEVEL, MISSING, ROWS, SHARE, Series, Timeline
from serving.redaction import redact

VERSIONS = "model_version"
"""The column of versions in a request log: another one is a release, not an anomaly."""

CHECK = "monitoring"
HISTORY = f"{CHECK}: history"
"""The check that says that nothing could be judged yet."""
_NAMED_BESIDE = 3
_LONGEST_VALUE = 60
_ORDER = (ROWS, MISSING, SHARE, LEVEL)


def of_alarms(judged: Judged, options: MonitoringOptions, since: int = 0) -> list[Finding]:
    """Returns the findings of a timeline, worst first, newest first among equals.

    Alarms of values of one column in the same period are one finding: when one share grows, the others shrink.

    Args:
      judged: The timeline.
      options: From which change on a finding is an error.
      since: Index of the first period to report on: alarms that end before are left out.
    """
    series = judged.timeline.series
    alarms = [alarm for alarm in judged.alarms if alarm.last >= since]

    def together(alarm: Alarm) -> tuple[int, str, str, str]:
        return -alarm.noticed, series[alarm.series].measure, series[alarm.series].column, alarm.kind

    grouped = itertools.groupby(sorted(alarms, key=together), key=together)
    # Of two values that change as much, the one that grew.
    groups = [sorted(group, key=lambda alarm: (-round(abs(alarm.change), 9), -alarm.change)) for _, group in grouped]
    rated = [(severity(series[group[0].series], group[0], options), group) for group in groups]

    def urgency(entry: tuple[Severity, list[Alarm]]) -> tuple[int, int, int, float]:
        rating, (worst, *_) = entry
        measure = series[worst.series].measure
        return list(Severity).index(rating), -worst.noticed, _ORDER.index(measure), -abs(worst.change)

    return [_finding(judged.timeline, group, rating) for rating, group in sorted(rated, key=urgency)]


def severity(one: Series, alarm: Alarm, options: MonitoringOptions) -> Severity:
    """Returns how much an alarm matters."""
    if one.column == VERSIONS and one.measure == SHARE:
        return Severity.INFO
    limit = {ROWS: options.error.rows, LEVEL: options.error.level}.get(one.measure, options.error.share)
    return Severity.ERROR if abs(alarm.change) >= limit else Severity.WARNING


def of_state(timeline: Timeline, options: MonitoringOptions) -> list[Finding]:
    """Returns what there is to say before anything is judged: rows that belong to no period, too little history."""
    found = []
    if timeline.undated:
        rows = f"{timeline.undated:,}"
        message = f"{rows} rows have no time that can be read and are counted nowhere"
        found.append(Finding(f"{CHECK}: time", Severity.WARNING, message, expected="a time", observed=f"{rows} without"))
    if timeline.future:
        rows = f"{timeline.future:,}"
        message = f"{rows} rows are of a time that has not come yet and are counted nowhere; is the unit seconds since the epoch?"
        found.append(
            Finding(f"{CHECK}: time", Severity.WARNING, message, expected="a time that has passed", observed=f"{rows} later")
        )
    seen = len(timeline.periods)
    if seen <= options.needed_history:
        there = f"There is 1 {timeline.unit}" if seen == 1 else f"There are {seen} {timeline.unit}s"
        message = f"{there}; one is judged when {options.needed_history} came before it (monitoring.minimum_history)"
        found.append(Finding(HISTORY, Severity.INFO, message, expected=f"> {options.needed_history}", observed=str(seen)))
    return found


def subject(one: Series) -> str:
    """Returns what a series is about: `rows`, `language=de`, `length of text`."""
    if one.measure == ROWS:
        return ROWS
    return f"{one.column}={shown(one)}" if one.measure == SHARE else one.column


def shown(one: Series) -> str:
    """Returns the label or segment value of a share as it may be shown: cut, and without personal data it may be or hold."""
    # A version is a time in seconds, and looks like a telephone number.
    text = one.value if one.column == VERSIONS else redact(one.value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def written(one: Series, value: float) -> str:
    """Returns a value of a series as text: `1,204`, `12.5%`, `0.81`."""
    if one.measure == ROWS:
        return f"{value:,.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")
    if one.measure == LEVEL:
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:.1%}" if value >= 0.0005 or value < 0.00005 else f"{value:.2%}"


def _finding(timeline: Timeline, group: Sequence[Alarm], rating: Severity) -> Finding:
    alarm = group[0]
    one = timeline.series[alarm.series]
    expected = written(one, alarm.expected)
    if alarm.low < alarm.expected or alarm.high > alarm.expected:
        expected = f"{written(one, alarm.low)} to {written(one, alarm.high)}"
    observed = written(one, alarm.observed)
    message = f"{_when(timeline, alarm)}, {_what(one)} {_was(alarm)} {observed}, expected {expected} ({_change(one, alarm)})"
    if alarm.kind == SHIFT:
        noticed = f"noticed {timeline.name(alarm.noticed)}, " if alarm.noticed > alarm.first else ""
        message += f"; {noticed}the baseline is learned anew from there"
    if others := list(_beside(timeline, group[1:])):
        message += f"; also {', '.join(others)}"
    return Finding(f"{CHECK}: {_check(one, alarm)}", rating, message, subject(one), expected, observed)


def _check(one: Series, alarm: Alarm) -> str:
    name = {ROWS: "number of rows", MISSING: "missing cells", LEVEL: "typical value"}.get(one.measure, "share")
    if one.measure == SHARE and alarm.expected < 0.001:
        name = "new value"
    return f"{name}, lasting change" if alarm.kind == SHIFT else name


def _when(timeline: Timeline, alarm: Alarm) -> str:
    first, last = timeline.name(alarm.first), timeline.name(alarm.last)
    if alarm.kind == SHIFT:
        return f"Since {first}"
    on = "In the " if timeline.unit == "week" else "In " if timeline.unit == "span" else "On "
    return f"{on}{first}" if alarm.first == alarm.last else f"From {first} to {last}"


def _what(one: Series) -> str:
    if one.measure == ROWS:
        return "the number of rows"
    if one.measure == MISSING:
        return f"the share of rows without {one.column}"
    return f"the share of {subject(one)}" if one.measure == SHARE else f"the typical {one.column}"


def _was(alarm: Alarm) -> str:
    if alarm.kind == SHIFT:
        return "is"
    return "was" if alarm.kind == POINT and alarm.first == alarm.last else "was up to" if alarm.change > 0 else "was down to"


def _change(one: Series, alarm: Alarm) -> str:
    if one.measure in (ROWS, LEVEL):
        if alarm.change >= 2:
            return f"{alarm.change + 1:,.1f} times as much"
        return f"{alarm.change:+.0%}"
    return f"{100 * alarm.change:+.1f} points"


def _beside(timeline: Timeline, others: Sequence[Alarm]) -> Iterable[str]:
    for alarm in others[:_NAMED_BESIDE]:
        one = timeline.series[alarm.series]
        yield f"{shown(one)} {written(one, alarm.observed)} (expected {written(one, alarm.expected)})"
    if len(others) > _NAMED_BESIDE:
        yield f"{len(others) - _NAMED_BESIDE} more"
