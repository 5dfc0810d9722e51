"""The page of `parlance monitor`: what is unusual, and every series over time with the band that was expected.

It holds numbers, labels and segment values, never a message, and needs nothing but itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np

from components.findings import Finding, Severity
from components.monitoring import findings as monitoring_findings
from components.monitoring.detect import Alarm, Judged
from components.monitoring.series import LEVEL, MISSING, ROWS, SHARE, Series
from components.reporting import page
from components.reporting.formats import plural

_WIDTH, _HEIGHT = 300, 118
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 294, 8, 96
# Newest periods in a chart; more would be less than a point each.
_MOST_PERIODS = 366
# Small multiples of a column; the rest is left out, those with alarms last.
_MOST_CHARTS = 8
_TABLE_ROWS = 14
_TICK_STEPS = (1, 2, 2.5, 5, 10)
_TITLES = {ROWS: "Rows", MISSING: "Missing cells", LEVEL: "Typical values"}
_TONES = {Severity.ERROR: ("bad", "✕ error"), Severity.WARNING: ("warn", "! warning"), Severity.INFO: ("plain", "– info")}


@dataclasses.dataclass(frozen=True)
class Mark:
    """Something unusual in a chart; `text` says what."""

    x: float
    y: float
    text: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """One series over time.

    Attributes:
      title: What it is.
      summary: Its newest value and what was expected, in words.
      line: What was seen, as an SVG path.
      band: What was expected, as the SVG path of an area.
      marks: Periods that stray.
      steps: Where lasting changes begin, as places on the x axis.
      y_ticks, x_ticks: Places and texts.
      rows: The newest periods as a table: period, seen, limits.
    """

    title: str
    summary: str
    line: str
    band: str
    marks: tuple[Mark, ...]
    steps: tuple[Mark, ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str, str], ...]
    rows: tuple[tuple[str, str, str], ...]
    width: ClassVar[int] = _WIDTH
    height: ClassVar[int] = _HEIGHT
    left: ClassVar[int] = _LEFT
    right: ClassVar[int] = _RIGHT
    top: ClassVar[int] = _TOP
    bottom: ClassVar[int] = _BOTTOM


@dataclasses.dataclass(frozen=True)
class Group:
    """The charts of one column, and how many of its series were left out."""

    title: str
    charts: tuple[Chart, ...]
    left_out: int


def render(pipeline: str, source: str, judged: Judged, found: Sequence[Finding], since: int) -> str:
    """Returns the page.

    Args:
      pipeline: Its name.
      source: What was looked at, in words.
      judged: The series and what was expected of them.
      found: The findings.
      since: Index of the first period the findings are about.
    """
    timeline = judged.timeline
    count = len(timeline.periods)
    counts = {severity: sum(finding.severity is severity for finding in found) for severity in Severity}
    serious, odd = counts[Severity.ERROR], counts[Severity.WARNING]
    title, tone = "Nothing unusual", "good"
    if serious + odd:
        title = ", ".join(plural(n, noun) for n, noun in ((serious, "error"), (odd, "warning")) if n)
        tone = "bad" if serious else "warn"
    elif any(finding.check == monitoring_findings.HISTORY for finding in found):
        title, tone = "Too little history to judge", "plain"
    return page.render(
        "monitoring.html.j2",
        pipeline=pipeline,
        title=title,
        tone=tone,
        source=source,
        reach=f"{timeline.name(0)} to {timeline.name(-1)}" if count else "no period is over yet",
        reported=timeline.name(since) if since < count else "",
        periods=plural(count, timeline.unit),
        series=len(timeline.series),
        findings=[{"tone": _TONES[finding.severity], "finding": finding} for finding in found],
        groups=groups(judged),
    )


def groups(judged: Judged) -> list[Group]:
    """Returns the charts by column: the number of rows first, those of a column with alarms before the others."""
    timeline = judged.timeline
    if not len(timeline.periods):
        return []
    alarms: dict[int, list[Alarm]] = {}
    for alarm in judged.alarms:
        alarms.setdefault(alarm.series, []).append(alarm)
    by_column: dict[tuple[str, str], list[int]] = {}
    for index, one in enumerate(timeline.series):
        column = one.column if one.measure == SHARE else ""
        if one.measure == ROWS or one.totals.any():
            by_column.setdefault((one.measure, column), []).append(index)
    made = []
    for (measure, column), members in by_column.items():
        # What never had an alarm and hardly occurs says least.
        members = sorted(members, key=lambda index: (-len(alarms.get(index, ())), -timeline.series[index].counts.sum()))
        if measure == MISSING:
            members = [index for index in members if index in alarms or timeline.series[index].counts.sum() > 0]
        charts = tuple(_chart(judged, index, alarms.get(index, ())) for index in members[:_MOST_CHARTS])
        if charts:
            made.append(Group(_TITLES.get(measure, column), charts, len(members) - len(charts)))
    return made


def _chart(judged: Judged, index: int, alarms: Iterable[Alarm]) -> Chart:
    timeline, one = judged.timeline, judged.timeline.series[index]
    count = len(timeline.periods)
    first = max(0, count - _MOST_PERIODS)
    seen, low, high = one.values[first:], judged.low[first:, index], judged.high[first:, index]
    axis = _Scale(seen, one.measure)

    def x(place: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (place / max(count - first - 1, 1)), 1)

    marks, steps = [], []
    for alarm in alarms:
        text = f"{timeline.name(alarm.first)}: {monitoring_findings.written(one, alarm.observed)}"
        text += f", expected {monitoring_findings.written(one, alarm.expected)}"
        if alarm.kind == "shift" and alarm.first >= first:
            steps.append(Mark(x(alarm.first - first), _TOP, f"lasting change since {text}"))
        for period in range(max(alarm.first, first), alarm.last + 1):
            value = float(one.values[period])
            if alarm.kind == "point" and math.isfinite(value):
                marks.append(Mark(x(period - first), axis.y(value), text))
    newest = count - 1
    ends = [timeline.name(period).removeprefix("week of ") for period in (first, newest)]
    return Chart(
        title=monitoring_findings.shown(one) if one.measure == SHARE else one.column or "all",
        summary=_summary(judged, index, newest),
        line=_line(seen, x, axis),
        band=_band(low, high, x, axis),
        marks=tuple(marks),
        steps=tuple(steps),
        y_ticks=tuple((axis.y(value), _tick(one, value)) for value in axis.ticks),
        x_ticks=((x(0), ends[0], "start"), (x(newest - first), ends[1], "end")),
        rows=tuple(
            (timeline.name(period), _written(one, one.values[period]), _limits(judged, index, period))
            for period in range(newest, max(first, count - _TABLE_ROWS) - 1, -1)
        ),
    )


class _Scale:
    """A y axis of what was seen; limits beyond it end at its ends."""

    def __init__(self, seen: np.ndarray, measure: str):
        finite, is_share = seen[np.isfinite(seen)], measure in (SHARE, MISSING)
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        if measure == ROWS or low < 0.4 * high:
            low = min(low, 0.0)
        if high - low < 1e-9:
            # A constant needs an axis as well.
            high = low + (0.1 * abs(low) or (0.1 if is_share else 1.0))
            if is_share and high > 1:
                low, high = 0.9, 1.0
        step = _step((high - low) / 2)
        if is_share:
            step = max(step, 0.001)
        self._low, self._high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        n = round((self._high - self._low) / step)
        self.ticks = [self._low + number * step for number in range(n + 1)]

    def y(self, value: float) -> float:
        """Returns the place of a value."""
        share = (value - self._low) / (self._high - self._low)
        return round(_BOTTOM - (_BOTTOM - _TOP) * min(max(share, 0.0), 1.0), 1)


def _step(wanted: float) -> float:
    size = 10.0 ** math.floor(math.log10(wanted))
    return size * next(step for step in _TICK_STEPS if step * size >= wanted - 1e-12)


def _line(seen: np.ndarray, x: Callable[[int], float], axis: _Scale) -> str:
    path, pen = "", "M"
    for place, value in enumerate(seen):
        if not math.isfinite(value):
            pen = "M"
            continue
        # A period between two without a value is a dot.
        path += f"{pen}{x(place):g} {axis.y(value):g}" + ("h.01" if pen == "M" else "")
        pen = "L"
    return path


def _band(low: np.ndarray, high: np.ndarray, x: Callable[[int], float], axis: _Scale) -> str:
    path, run = "", []
    for place in range(len(low) + 1):
        if place < len(low) and math.isfinite(low[place]):
            run.append(place)
        elif run:
            upper = "L".join(f"{x(at):g} {axis.y(high[at]):g}" for at in run)
            lower = "L".join(f"{x(at):g} {axis.y(low[at]):g}" for at in reversed(run))
            path += f"M{upper}L{lower}z"
            run = []
    return path


def _summary(judged: Judged, index: int, period: int) -> str:
    one = judged.timeline.series[index]
    limits = _limits(judged, index, period)
    return f"{_written(one, one.values[period])} at the end" + (f", expected {limits}" if limits else ", too little to judge")


def _limits(judged: Judged, index: int, period: int) -> str:
    one, low, high = judged.timeline.series[index], judged.low[period, index], judged.high[period, index]
    if not math.isfinite(low):
        return ""
    return f"{monitoring_findings.written(one, float(low))} to {monitoring_findings.written(one, float(high))}"


def _written(one: Series, value: float) -> str:
    return monitoring_findings.written(one, float(value)) if math.isfinite(value) else "–"


def _tick(one: Series, value: float) -> str:
    if one.measure in (SHARE, MISSING):
        return f"{100 * value:.3g}%"
    return f"{value:,.4g}" if value < 10_000 else f"{value / 1000:,.4g}k"
