"""How good the model is: overall, by segment and by class, beside the baseline and the majority class."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.reporting.formats import is_number

# Below this a slice's accuracy is mostly chance: at 100 rows its 95% interval is still up to 20 points wide.
SMALL_SLICE = 100
SLICES_PER_SEGMENT = 50
SEGMENTS = 8
CLASSES = 250

_LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "top_k_accuracy": "Top-k accuracy",
    "log_loss": "Log loss",
    "auc": "AUC",
}
_LOWER_IS_BETTER = ("log_loss",)
_Z_95 = 1.96

_Metrics = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """One metric on all test rows. `gain` is the change against the baseline, positive where the candidate is better."""

    label: str
    lower_is_better: bool
    candidate: Any
    baseline: Any
    majority: Any
    change: float | None
    gain: float | None


@dataclasses.dataclass(frozen=True)
class SliceRow:
    """One slice of a segment.

    Attributes:
      name: The slice's value or values.
      n: Test rows.
      small: Whether it has too few rows to judge.
      accuracy, low, high: The candidate's accuracy and its 95% interval.
      majority: Accuracy of always predicting the most frequent training class.
      change: Accuracy minus the baseline's; None without a baseline.
      macro_f1, auc: The candidate's, where there are such.
    """

    name: str
    n: int
    small: bool
    accuracy: Any
    low: float
    high: float
    majority: Any
    change: float | None
    macro_f1: Any
    auc: Any


@dataclasses.dataclass(frozen=True)
class Segment:
    """The slices of one segment, worst first and those with too few rows last; `left_out` are not shown."""

    name: str
    rows: tuple[SliceRow, ...]
    left_out: int
    has_baseline: bool
    has_auc: bool


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """Precision, recall and F1 by class, worst first and classes without test rows last; `left_out` are not shown."""

    rows: tuple[Mapping[str, Any], ...]
    left_out: int


def overall(metrics: Mapping[str, Any]) -> list[MetricRow]:
    """Returns every metric on all test rows."""
    candidate, baseline, majority = (_overall(metrics.get(model)) for model in ("candidate", "baseline", "majority"))
    rows = []
    for name, value in candidate.items():
        lower = name in _LOWER_IS_BETTER
        change = _difference(value, baseline.get(name))
        rows.append(
            MetricRow(
                label=_LABELS.get(name, name).replace("-k ", f"-{metrics.get('top_k', 'k')} "),
                lower_is_better=lower,
                candidate=value,
                baseline=baseline.get(name),
                majority=majority.get(name),
                change=change,
                gain=-change if lower and change is not None else change,
            )
        )
    return rows


def measured_rows(metrics: Mapping[str, Any]) -> int:
    """Returns how many rows the model was measured on."""
    return next((row["n"] for row in metrics["candidate"]["slices"] if not row["slice"]), 0)


def segments(metrics: Mapping[str, Any]) -> tuple[list[Segment], int]:
    """Returns the segments with their slices, and how many segments are left out."""
    baseline, majority = _by_slice(metrics.get("baseline")), _by_slice(metrics.get("majority"))
    grouped: dict[tuple[str, ...], list[SliceRow]] = {}
    for row in metrics["candidate"]["slices"]:
        if row["slice"]:
            key = _key(row["slice"])
            grouped.setdefault(tuple(row["slice"]), []).append(_slice_row(row, baseline.get(key, {}), majority.get(key, {})))
    built = [
        Segment(
            name=" × ".join(columns),
            rows=tuple(sorted(rows, key=_worst_first)[:SLICES_PER_SEGMENT]),
            left_out=max(0, len(rows) - SLICES_PER_SEGMENT),
            has_baseline=bool(metrics.get("baseline")),
            has_auc=any(is_number(row.auc) for row in rows),
        )
        for columns, rows in grouped.items()
    ]
    return built[:SEGMENTS], max(0, len(built) - SEGMENTS)


def classes(per_class: Iterable[Mapping[str, Any]]) -> ClassTable:
    """Returns the per-class table of metrics.json, worst F1 first."""
    rows = sorted(per_class, key=lambda row: (row["n"] == 0, row["f1"] if is_number(row["f1"]) else -1.0, -row["n"]))
    return ClassTable(tuple(rows[:CLASSES]), max(0, len(rows) - CLASSES))


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Returns the 95% Wilson score interval of a share seen in n independent rows."""
    if not n or not is_number(share):
        return 0.0, 1.0
    squared = _Z_95**2 / n
    centre = (share + squared / 2) / (1 + squared)
    half = _Z_95 * math.sqrt(share * (1 - share) / n + squared / (4 * n)) / (1 + squared)
    return max(0.0, centre - half), min(1.0, centre + half)


def _slice_row(row: Mapping[str, Any], baseline: _Metrics, majority: _Metrics) -> SliceRow:
    metrics, n = row["metrics"], row["n"]
    low, high = wilson_interval(metrics.get("accuracy"), n)
    return SliceRow(
        name=" × ".join(str(value) for value in row["slice"].values()),
        n=n,
        small=n < SMALL_SLICE,
        accuracy=metrics.get("accuracy"),
        low=low,
        high=high,
        majority=majority.get("accuracy"),
        change=_difference(metrics.get("accuracy"), baseline.get("accuracy")),
        macro_f1=metrics.get("macro_f1"),
        auc=metrics.get("auc"),
    )


def _worst_first(row: SliceRow) -> tuple[bool, float, str]:
    return row.small, row.accuracy if is_number(row.accuracy) else -1.0, row.name


def _overall(model: Mapping[str, Any] | None) -> _Metrics:
    return _by_slice(model).get((), {})


def _by_slice(model: Mapping[str, Any] | None) -> dict[tuple[tuple[str, str], ...], _Metrics]:
    slices: Sequence[Mapping[str, Any]] = model["slices"] if model else ()
    return {_key(row["slice"]): row["metrics"] for row in slices}


def _key(slice_: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(slice_.items()))


def _difference(value: Any, other: Any) -> float | None:
    return value - other if is_number(value) and is_number(other) else None
