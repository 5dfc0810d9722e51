"""How good the model is: overall, by segment and by class, beside the baseline and the majority class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.reporting import metric_names
from components.reporting.axis import Axis, share_axis
from components.reporting.formats import EMPTY, is_interval, is_number

SLICES_PER_SEGMENT = 50
SMALL_SLICES_PER_SEGMENT = 30
SEGMENTS = 8
CLASSES = 250

Interval = Sequence[float]
_Metrics = Mapping[str, Any]
_SliceKey = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """One metric on all test rows.

    Attributes:
      label: Its name.
      lower_is_better: Whether a smaller value is the better one.
      candidate, interval: The model's value and its interval, None where not computed.
      baseline, majority: What the baseline and the majority class have.
      change, change_interval: Candidate minus baseline on the same rows, and its paired interval.
      tone: `better` or `worse` if the whole interval of the change is on that side, `unclear` if it holds 0, empty without one.
      on_axis: Whether the value has a place on the axis of shares: those that are better when larger.
      digits: How many decimals it is written with.
    """

    label: str
    lower_is_better: bool
    candidate: Any
    interval: Interval | None
    baseline: Any
    majority: Any
    change: float | None
    change_interval: Interval | None
    tone: str
    on_axis: bool
    digits: int


@dataclasses.dataclass(frozen=True)
class Overall:
    """Every metric on all test rows, with the axis of those that are shares."""

    rows: tuple[MetricRow, ...]
    axis: Axis


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """One slice of a segment.

    Attributes:
      name: The slice's value or values.
      n: Test rows.
      small: Whether it has too few rows to judge.
      accuracy, interval: The candidate's accuracy and its interval.
      majority: Accuracy of always predicting the most frequent training class.
      change, change_interval, tone: Against the baseline on the same rows (see MetricRow).
      macro_f1: The candidate's.
      link: Address of the slice's own page, empty without one.
    """

    name: str
    n: int
    small: bool
    accuracy: Any
    interval: Interval | None
    majority: Any
    change: float | None
    change_interval: Interval | None
    tone: str
    macro_f1: Any
    link: str


@dataclasses.dataclass(frozen=True)
class Segment:
    """The slices of one segment, worst first.

    Attributes:
      name: Its columns.
      declared: Whether the pipeline file names it; the others are automatic.
      rows, left_out: The slices shown, and how many are not.
      small, small_left_out: The same of those with too few rows to judge.
      axis: The common axis of their accuracies.
    """

    name: str
    declared: bool
    rows: tuple[SliceRow, ...]
    left_out: int
    small: tuple[SliceRow, ...]
    small_left_out: int
    axis: Axis


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """Precision, recall and F1 by class, worst first and classes without test rows last; `left_out` are not shown."""

    rows: tuple[Mapping[str, Any], ...]
    left_out: int


def overall(metrics: Mapping[str, Any]) -> Overall:
    """Returns every metric on all test rows."""
    measured = overall_slice(metrics)
    majority = _by_key((metrics.get("majority") or {}).get("slices", ())).get((), {}).get("metrics", {})
    compared = _comparison(metrics).get((), {})
    rows = [
        _metric_row(name, value, measured, majority, compared, metrics.get("top_k"))
        for name, value in measured["metrics"].items()
    ]
    values = [value for row in rows if row.on_axis for value in (row.candidate, row.baseline, *(row.interval or ()))]
    return Overall(tuple(rows), share_axis(values))


def overall_slice(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the candidate's entry for all test rows."""
    return next(row for row in metrics["candidate"]["slices"] if not row["slice"])


def segments(metrics: Mapping[str, Any], links: Mapping[_SliceKey, str] | None = None) -> tuple[list[Segment], int]:
    """Returns the segments with their slices, and how many segments are left out.

    Args:
      metrics: The content of metrics.json.
      links: Addresses of the slices' own pages, by `slice_key`.
    """
    majority, compared = _by_key((metrics.get("majority") or {}).get("slices", ())), _comparison(metrics)
    grouped: dict[tuple[str, ...], list[SliceRow]] = {}
    for row in metrics["candidate"]["slices"]:
        if row["slice"]:
            key = slice_key(row["slice"])
            built = _slice_row(row, majority.get(key, {}), compared.get(key, {}), metrics["min_rows"], (links or {}).get(key, ""))
            grouped.setdefault(tuple(row["slice"]), []).append(built)
    declared = {tuple(segment["columns"]): segment["declared"] for segment in metrics.get("segments", ())}
    chosen = list(grouped.items())[:SEGMENTS]
    return [_segment(columns, declared.get(columns, True), rows) for columns, rows in chosen], len(grouped) - len(chosen)


def worst_groups(segments: Iterable[Segment]) -> list[tuple[str, SliceRow]]:
    """Returns the slice with the lowest accuracy of each declared segment that has one large enough, by the segment's name."""
    found = [(segment.name, segment.rows[0]) for segment in segments if segment.declared and len(segment.rows) > 1]
    return [(name, row) for name, row in found if is_number(row.accuracy)]


def classes(candidate: Iterable[Mapping[str, Any]], baseline: Iterable[Mapping[str, Any]] = ()) -> ClassTable:
    """Returns the per-class table, worst F1 first; `change` is F1 minus the baseline's, None where either has none."""
    before = {row["class"]: row["f1"] for row in baseline}
    rows = []
    for row in candidate:
        f1, earlier = row["f1"], before.get(row["class"])
        change = f1 - earlier if is_number(f1) and is_number(earlier) else None
        rows.append({**row, "class": row["class"] or EMPTY, "change": change})
    rows.sort(key=lambda row: (row["n"] == 0, row["f1"] if is_number(row["f1"]) else -1.0, -row["n"]))
    return ClassTable(tuple(rows[:CLASSES]), max(0, len(rows) - CLASSES))


def slice_key(slice_: Mapping[str, str]) -> _SliceKey:
    """Returns what identifies a slice, whatever the order of its columns."""
    return tuple(sorted(slice_.items()))


def slice_name(slice_: Mapping[str, str]) -> str:
    """Returns a slice's values as a reader sees them."""
    return " × ".join(value or EMPTY for value in slice_.values())


def _metric_row(
    name: str, value: Any, measured: Mapping[str, Any], majority: _Metrics, compared: Mapping[str, Any], top_k: int | None
) -> MetricRow:
    change, interval = _change(compared, name)
    lower = metric_names.lower_is_better(name)
    return MetricRow(
        label=metric_names.title(name, top_k),
        lower_is_better=lower,
        candidate=value,
        interval=_interval(measured, name),
        baseline=compared.get("baseline", {}).get(name),
        majority=majority.get(name),
        change=change,
        change_interval=interval,
        tone="" if metric_names.is_neutral(name) else _tone(interval, lower),
        # Errors near 0 would stretch the axis until differences between the others cannot be seen.
        on_axis=metric_names.is_share(name) and is_number(value) and not lower,
        digits=metric_names.digits(name),
    )


def _slice_row(
    row: Mapping[str, Any], majority: Mapping[str, Any], compared: Mapping[str, Any], min_rows: int, link: str
) -> SliceRow:
    change, interval = _change(compared, "accuracy")
    return SliceRow(
        name=slice_name(row["slice"]),
        n=row["n"],
        small=row["n"] < min_rows,
        accuracy=row["metrics"].get("accuracy"),
        interval=_interval(row, "accuracy"),
        majority=majority.get("metrics", {}).get("accuracy"),
        change=change,
        change_interval=interval,
        tone=_tone(interval, lower_is_better=False),
        macro_f1=row["metrics"].get("macro_f1"),
        link=link,
    )


def _segment(columns: Sequence[str], declared: bool, rows: Sequence[SliceRow]) -> Segment:
    judged = sorted((row for row in rows if not row.small), key=_worst_first)
    small = sorted((row for row in rows if row.small), key=lambda row: (-row.n, row.name))
    shown = judged[:SLICES_PER_SEGMENT]
    return Segment(
        name=" × ".join(columns),
        declared=declared,
        rows=tuple(shown),
        left_out=len(judged) - len(shown),
        small=tuple(small[:SMALL_SLICES_PER_SEGMENT]),
        small_left_out=max(0, len(small) - SMALL_SLICES_PER_SEGMENT),
        axis=share_axis(value for row in (shown or small) for value in (row.accuracy, *(row.interval or ()))),
    )


def _worst_first(row: SliceRow) -> tuple[float, str]:
    return row.accuracy if is_number(row.accuracy) else -1.0, row.name


def _change(compared: Mapping[str, Any], metric: str) -> tuple[float | None, Interval | None]:
    change = compared.get("metrics", {}).get(metric)
    return (change, _interval(compared, metric)) if is_number(change) else (None, None)


def _tone(interval: Interval | None, lower_is_better: bool) -> str:
    if interval is None:
        return ""
    low, high = sorted(-bound if lower_is_better else bound for bound in interval)
    return "better" if low > 0 else "worse" if high < 0 else "unclear"


def _interval(row: Mapping[str, Any], metric: str) -> Interval | None:
    bounds = (row.get("intervals") or {}).get(metric)
    return bounds if is_interval(bounds) else None


def _comparison(metrics: Mapping[str, Any]) -> dict[_SliceKey, Mapping[str, Any]]:
    return _by_key((metrics.get("comparison") or {}).get("slices", ()))


def _by_key(slices: Iterable[Mapping[str, Any]]) -> dict[_SliceKey, Mapping[str, Any]]:
    return {slice_key(row["slice"]): row for row in slices}
