"""Curves of a model as plots: how far its scores can be trusted, what abstaining buys, and, for two classes, ROC and precision-recall.

A plot holds coordinates in the units of its drawing (WIDTH x HEIGHT, y downwards) and the same numbers as a table, so that it can be
drawn without scripts and read without eyes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from components.reporting.axis import Axis, share_axis
from components.reporting.formats import count, fraction, is_number, percent

WIDTH, HEIGHT = 360, 244
LEFT, RIGHT, TOP, BOTTOM = 52, 350, 10, 206
TABLE_ROWS = 24
_LARGEST_DOT = 6.5
_WHOLE = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
_TICK_DIGITS = 2

_Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in units of the drawing."""

    at: float
    text: str


@dataclasses.dataclass(frozen=True)
class Line:
    """A line as an SVG path; `kind` is `this`, `baseline`, or `ideal` (what a perfect or an ignorant model would show)."""

    kind: str
    path: str


@dataclasses.dataclass(frozen=True)
class Dot:
    """A point with its radius; `text` says its values."""

    x: float
    y: float
    radius: float
    text: str


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar of a histogram; `kind` is `right` or `wrong`."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    text: str


@dataclasses.dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
      title: What it shows.
      summary: What can be seen in it, in a sentence.
      x_label, y_label: What the axes measure.
      x_ticks, y_ticks: Their labelled places.
      lines, dots, bars: What is drawn.
      marks: Single points to point out.
      header, rows: The numbers as a table.
    """

    title: str
    summary: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    dots: tuple[Dot, ...] = ()
    bars: tuple[Bar, ...] = ()
    marks: tuple[Dot, ...] = ()
    # The drawing's size and where its axes are, for the template.
    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT
    left: ClassVar[int] = LEFT
    right: ClassVar[int] = RIGHT
    top: ClassVar[int] = TOP
    bottom: ClassVar[int] = BOTTOM


def plots(metrics: Mapping[str, Any]) -> list[Plot]:
    """Returns the plots that the measured models have numbers for.

    Args:
      metrics: The content of metrics.json.
    """
    candidate, baseline = metrics["candidate"], metrics.get("baseline") or {}
    built = [
        _reliability(candidate, baseline, candidate["slices"][0]["metrics"].get("calibration_error")),
        _scores(candidate),
        _coverage(candidate, baseline, metrics.get("abstain_threshold")),
    ]
    if candidate.get("threshold_curve"):
        built += [_roc(candidate, baseline), _precision_recall(candidate, baseline)]
    return [plot for plot in built if plot]


def _reliability(candidate: _Row, baseline: _Row, error: Any) -> Plot | None:
    bins = _filled_bins(candidate)
    if not bins:
        return None
    largest = max(row["n"] for row in bins)
    lines = [Line("ideal", _path([(0.0, 0.0), (1.0, 1.0)], _WHOLE, _WHOLE))]
    if before := _filled_bins(baseline):
        lines.append(Line("baseline", _path([(row["confidence"], row["accuracy"]) for row in before], _WHOLE, _WHOLE)))
    lines.append(Line("this", _path([(row["confidence"], row["accuracy"]) for row in bins], _WHOLE, _WHOLE)))
    return Plot(
        title="Calibration",
        summary=f"Scores and accuracy differ by {fraction(error)} on average. Below the dashed line it is surer than right.",
        x_label="mean score of the answer",
        y_label="share of right answers",
        x_ticks=_x_ticks(_WHOLE),
        y_ticks=_y_ticks(_WHOLE),
        lines=tuple(lines),
        dots=tuple(
            Dot(
                _x(_WHOLE, row["confidence"]),
                _y(_WHOLE, row["accuracy"]),
                # A dot's area stands for its rows.
                round(max(1.5, _LARGEST_DOT * (row["n"] / largest) ** 0.5), 1),
                f"score {fraction(row['confidence'])}, right {fraction(row['accuracy'])}, {count(row['n'])} rows",
            )
            for row in bins
        ),
        header=("Mean score", "Right", "Rows"),
        rows=tuple((fraction(row["confidence"]), fraction(row["accuracy"]), count(row["n"])) for row in bins),
    )


def _scores(candidate: _Row) -> Plot | None:
    """Right answers upwards, wrong ones downwards, each as shares of their own number: a few wrong ones must still be seen."""
    bins = [row for row in candidate.get("calibration") or () if is_number(row["n"]) and is_number(row.get("correct"))]
    right, wrong = sum(row["correct"] for row in bins), sum(row["n"] - row["correct"] for row in bins)
    if not right + wrong:
        return None
    shares = [
        (row, row["correct"] / right if right else 0.0, (row["n"] - row["correct"]) / wrong if wrong else 0.0) for row in bins
    ]
    tallest = max(max(up, down) for _, up, down in shares)
    middle, reach = (TOP + BOTTOM) / 2, (BOTTOM - TOP) / 2 - 4
    bars = []
    for row, up, down in shares:
        x, width = _x(_WHOLE, row["low"]), _x(_WHOLE, row["high"]) - _x(_WHOLE, row["low"]) - 1
        for kind, share, n in (("right", up, row["correct"]), ("wrong", down, row["n"] - row["correct"])):
            if n > 0:
                height = max(1.0, reach * share / tallest)
                text = f"scores {fraction(row['low'])} to {fraction(row['high'])}: {percent(share)} of the {kind} answers, {count(n)} rows"
                bars.append(
                    Bar(
                        kind, x, round(middle - height if kind == "right" else middle, 1), round(width, 1), round(height, 1), text
                    )
                )
    said = f"Half of the right answers score {_median(bins, 'right')} or more"
    said += f", half of the wrong ones below {_median(bins, 'wrong')}." if wrong else "; none is wrong."
    return Plot(
        title="Scores of right and wrong answers",
        summary=said,
        x_label="score of the answer",
        y_label="wrong  ·  right",
        x_ticks=_x_ticks(_WHOLE),
        y_ticks=(
            Tick(round(middle - reach, 1), percent(tallest)),
            Tick(middle, "0"),
            Tick(round(middle + reach, 1), percent(tallest)),
        ),
        lines=(),
        bars=tuple(bars),
        header=("Score", "Right answers", "Wrong answers"),
        rows=tuple(
            (f"{fraction(row['low'])} to {fraction(row['high'])}", count(row["correct"]), count(row["n"] - row["correct"]))
            for row in bins
        ),
    )


def _coverage(candidate: _Row, baseline: _Row, threshold: Any) -> Plot | None:
    points = _answered(candidate)
    if not points:
        return None
    before = _answered(baseline)
    axis = share_axis(row["accuracy"] for row in [*points, *before])
    lines = [Line("baseline", _path([(row["coverage"], row["accuracy"]) for row in before], _WHOLE, axis))] if before else []
    lines.append(Line("this", _path([(row["coverage"], row["accuracy"]) for row in points], _WHOLE, axis)))
    summary = "No abstain threshold is set: every message is answered."
    marks: tuple[Dot, ...] = ()
    if is_number(threshold):
        nearest = min(points, key=lambda row: abs(row["threshold"] - threshold))
        summary = (
            f"Abstaining below a score of {fraction(threshold)} answers {percent(nearest['coverage'])} of the messages, "
            f"{percent(nearest['accuracy'])} of them right."
        )
        marks = (Dot(_x(_WHOLE, nearest["coverage"]), _y(axis, nearest["accuracy"]), 5.5, summary),)
    return Plot(
        title="Coverage and accuracy",
        summary=summary,
        x_label="share of messages answered",
        y_label="share of answers right",
        x_ticks=_x_ticks(_WHOLE),
        y_ticks=_y_ticks(axis),
        lines=tuple(lines),
        marks=marks,
        header=("Answered from score", "Answered", "Right"),
        rows=_sample([(fraction(row["threshold"]), percent(row["coverage"]), fraction(row["accuracy"])) for row in points]),
    )


def _roc(candidate: _Row, baseline: _Row) -> Plot | None:
    return _rates(
        candidate,
        baseline,
        title="ROC",
        summary="The dashed line is a model that guesses. The ring is the threshold nearest 0.5.",
        x_label="false-positive rate",
        y_label="true-positive rate",
        x=lambda row: _ratio(row["fp"], row["fp"] + row["tn"]),
        y=lambda row: _ratio(row["tp"], row["tp"] + row["fn"]),
        ideal=lambda row: [(0.0, 0.0), (1.0, 1.0)],
    )


def _precision_recall(candidate: _Row, baseline: _Row) -> Plot | None:
    def base_rate(row: _Row) -> list[tuple[float, float]]:
        share = _ratio(row["tp"] + row["fn"], row["tp"] + row["fn"] + row["fp"] + row["tn"]) or 0.0
        return [(0.0, share), (1.0, share)]

    return _rates(
        candidate,
        baseline,
        title="Precision and recall",
        summary="The dashed line is a model that guesses. The ring is the threshold nearest 0.5.",
        x_label="recall",
        y_label="precision",
        x=lambda row: _ratio(row["tp"], row["tp"] + row["fn"]),
        y=lambda row: _ratio(row["tp"], row["tp"] + row["fp"]),
        ideal=base_rate,
    )


def _rates(
    candidate: _Row,
    baseline: _Row,
    *,
    title: str,
    summary: str,
    x_label: str,
    y_label: str,
    x: Callable[[_Row], float | None],
    y: Callable[[_Row], float | None],
    ideal: Callable[[_Row], list[tuple[float, float]]],
) -> Plot | None:
    def curve(model: _Row) -> list[tuple[_Row, float, float]]:
        found = [(row, x(row), y(row)) for row in model.get("threshold_curve") or ()]
        return [(row, right, up) for row, right, up in found if right is not None and up is not None]

    points = curve(candidate)
    if not points:
        return None
    lines = [Line("ideal", _path(ideal(points[0][0]), _WHOLE, _WHOLE))]
    if before := curve(baseline):
        lines.append(Line("baseline", _path([point[1:] for point in before], _WHOLE, _WHOLE)))
    lines.append(Line("this", _path([point[1:] for point in points], _WHOLE, _WHOLE)))
    row, right, up = min(points, key=lambda point: abs(point[0]["threshold"] - 0.5))
    text = f"threshold {fraction(row['threshold'])}: {x_label} {fraction(right)}, {y_label} {fraction(up)}"
    return Plot(
        title=title,
        summary=summary,
        x_label=x_label,
        y_label=y_label,
        x_ticks=_x_ticks(_WHOLE),
        y_ticks=_y_ticks(_WHOLE),
        lines=tuple(lines),
        marks=(Dot(_x(_WHOLE, right), _y(_WHOLE, up), 5.5, text),),
        header=("Threshold", x_label.capitalize(), y_label.capitalize()),
        rows=_sample([(fraction(row["threshold"]), fraction(right), fraction(up)) for row, right, up in points]),
    )


def _filled_bins(model: _Row) -> list[_Row]:
    return [
        row for row in model.get("calibration") or () if row["n"] and is_number(row["accuracy"]) and is_number(row["confidence"])
    ]


def _median(bins: Sequence[_Row], kind: str) -> str:
    """The edge between bins nearest to the median score of the right or wrong answers."""
    counts = [row["correct"] if kind == "right" else row["n"] - row["correct"] for row in bins]
    below = 0.0
    edges = [(abs(sum(counts) / 2 - (below := below + n)), row["high"]) for row, n in zip(bins, counts, strict=True)]
    return f"{min(edges)[1]:.2f}"


def _answered(model: _Row) -> list[_Row]:
    points = [row for row in model.get("coverage") or () if is_number(row["coverage"]) and is_number(row["accuracy"])]
    return sorted(points, key=lambda row: (row["coverage"], -row["threshold"]))


def _sample(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """At most TABLE_ROWS rows, evenly spread, both ends among them."""
    if len(rows) <= TABLE_ROWS:
        return tuple(rows)
    return tuple(rows[round(step * (len(rows) - 1) / (TABLE_ROWS - 1))] for step in range(TABLE_ROWS))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _path(points: Iterable[tuple[float, float]], x_axis: Axis, y_axis: Axis) -> str:
    places = [f"{_x(x_axis, right):g} {_y(y_axis, up):g}" for right, up in points]
    return "M" + "L".join(places)


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * axis.at(value) / 100, 1)


def _y(axis: Axis, value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * axis.at(value) / 100, 1)


def _x_ticks(axis: Axis) -> tuple[Tick, ...]:
    return tuple(Tick(_x(axis, value), f"{value:.{_TICK_DIGITS}g}") for value in axis.ticks)


def _y_ticks(axis: Axis) -> tuple[Tick, ...]:
    return tuple(Tick(_y(axis, value), f"{value:.{_TICK_DIGITS}g}") for value in axis.ticks)
