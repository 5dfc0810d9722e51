"""How differently the model treats groups: gap and ratio between the best and the worst one, and every group with its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.reporting import metric_names
from components.reporting.axis import Axis, share_axis
from components.reporting.formats import EMPTY, is_interval, is_number

ENTRIES = 24
GROUPS = 16


@dataclasses.dataclass(frozen=True)
class Group:
    """One group: its value of the metric with its interval, None where there is none; `small` ones take no part in the gap."""

    value: str
    n: int
    metric: Any
    interval: Sequence[float] | None
    small: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One metric compared between the groups of one segment.

    Attributes:
      title: What is compared: `Recall of refund by language`.
      criterion: The fairness criterion it stands for, empty for a plain metric.
      lower_is_better: Whether the group with the smallest value is the best.
      worst, best: The groups the gap is between; None with fewer than two groups.
      ends: What those are called: a share of predictions has no worse and better end.
      gap, gap_interval, ratio, ratio_interval: Best minus worst and worst over best, with intervals; None where not defined.
      groups: The shown groups: worst first, small ones last.
      left_out: How many groups are not shown; they are in the middle of the order.
      axis: The common axis of the groups; None if the metric is no share.
      note: Why something is missing.
    """

    title: str
    criterion: str
    lower_is_better: bool
    worst: Group | None
    best: Group | None
    ends: tuple[str, str]
    gap: Any
    gap_interval: Sequence[float] | None
    ratio: Any
    ratio_interval: Sequence[float] | None
    groups: tuple[Group, ...]
    left_out: int
    axis: Axis | None
    note: str


def comparisons(entries: Sequence[Mapping[str, Any]]) -> tuple[list[Comparison], int]:
    """Returns the comparisons to show, widest gap first, and how many are left out.

    Args:
      entries: `fairness` of metrics.json.
    """
    built = sorted(map(_comparison, entries), key=lambda entry: -entry.gap if is_number(entry.gap) else 1.0)
    return built[:ENTRIES], max(0, len(built) - ENTRIES)


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    groups = [
        Group(group["value"] or EMPTY, group["n"], group["metric"], _interval(group.get("interval")), group["small"])
        for group in entry["groups"]
    ]
    shown, left_out = _both_ends(groups)
    bounds = [value for group in shown for value in (group.metric, *(() if group.small else group.interval or ()))]
    return Comparison(
        title=f"{metric_names.title(entry['metric'])} by {entry['segment']}",
        criterion=metric_names.criterion(entry.get("criterion")),
        lower_is_better=entry["lower_is_better"],
        worst=next((group for group in groups if group.value == (entry["worst"] or EMPTY) and not group.small), None),
        best=next((group for group in groups if group.value == (entry["best"] or EMPTY) and not group.small), None),
        ends=("Lowest", "Highest") if metric_names.is_neutral(entry["metric"]) else ("Worst", "Best"),
        gap=entry["gap"],
        gap_interval=_interval(entry.get("gap_interval")),
        ratio=entry["ratio"],
        ratio_interval=_interval(entry.get("ratio_interval")),
        groups=tuple(shown),
        left_out=left_out,
        axis=share_axis(bounds) if metric_names.is_share(entry["metric"]) else None,
        note=entry.get("note") or "",
    )


def _both_ends(groups: Sequence[Group]) -> tuple[list[Group], int]:
    """The worst and the best groups, where there are too many for a chart; small ones are spared first, then those in between."""
    if len(groups) <= GROUPS:
        return list(groups), 0
    judged = [group for group in groups if not group.small and is_number(group.metric)] or list(groups)
    if len(judged) <= GROUPS:
        return judged, len(groups) - len(judged)
    half = GROUPS // 2
    return [*judged[:half], *judged[-half:]], len(groups) - 2 * half


def _interval(bounds: Any) -> Sequence[float] | None:
    return bounds if is_interval(bounds) else None
