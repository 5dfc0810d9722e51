"""The data of a run in a notebook: rows, columns, labels and segments of each split, and how far the splits are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from components.reporting import data_profile, split_comparison, statistics, verdict
from components.reporting.axis import Axis, share_axis
from components.reporting.notebook import Html, piece
from components.reporting.split_comparison import Distance, Numbers, Statistics

LABELS = 60
# Of columns that were asked for by name.
NAMED_VALUES = 40
_TEMPLATE = "notebook_data.html.j2"
# Beyond the middle eight tenths a strip shows this much more of the axis; single far values would squeeze the rest into a line.
_TAIL = 0.4


@dataclasses.dataclass(frozen=True)
class Marks:
    """One row of a chart: a mark for each split at its value, in percent of the axis."""

    name: str
    values: Mapping[str, float]
    at: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class MarksChart:
    """Rows with a mark per split on one axis; `left_out` rows are not shown."""

    title: str
    heading: str
    splits: tuple[str, ...]
    axis: Axis
    rows: tuple[Marks, ...]
    left_out: int = 0

    @property
    def incomplete(self) -> bool:
        """Whether a split has no mark in some row."""
        return any(len(row.values) < len(self.splits) for row in self.rows)


@dataclasses.dataclass(frozen=True)
class Strip:
    """One split of a numeric column.

    Attributes:
      split: Its name.
      boxes: (left, width, opacity) between neighbouring deciles in percent of the axis, darker towards the median.
      median: Where the median is, in percent of the axis.
      bars: (left, width, height) of the histogram over the whole range, in percent.
      numbers: Smallest value, first decile, median, ninth decile, largest value.
    """

    split: str
    boxes: tuple[tuple[float, float, float], ...]
    median: float
    bars: tuple[tuple[float, float, float], ...]
    numbers: tuple[float, ...]


def rows(ingestion: Mapping[str, Any]) -> Html:
    """Shows the rows of each split, and why rows were set aside.

    Args:
      ingestion: Ingestion's summary.json.
    """
    return piece(
        _TEMPLATE,
        "rows",
        splits=data_profile.splits(ingestion["rows"]),
        quarantine=data_profile.quarantine(ingestion.get("quarantine_reasons", {})),
    )


def columns(by_split: Mapping[str, Statistics], text_columns: Collection[str]) -> Html:
    """Shows every column: what it holds, and which share of its rows is missing in each split.

    Args:
      by_split: One data set per split, without messages (see `split_comparison.without_messages`).
      text_columns: Columns that hold messages.
    """
    summary = {split: _only(statistics.summarize(of, text_columns)) for split, of in by_split.items()}
    features = {split: {feature["name"]: feature for feature in of["features"]} for split, of in summary.items()}
    shown, left_out = data_profile.columns(summary)
    missing = {
        column.name: {split: of[column.name]["missing"] for split, of in features.items() if column.name in of}
        for column in shown
    }
    incomplete = {name: shares for name, shares in missing.items() if any(shares.values())}
    chart = _marks_chart("Missing values", "Column", list(summary), incomplete)
    return piece(_TEMPLATE, "columns", columns=shown, splits=list(summary), chart=chart, left_out=left_out)


def numbers(by_split: Mapping[str, Statistics]) -> Html:
    """Shows the quantiles and the histogram of every numeric column in each split.

    Args:
      by_split: One data set per split.
    """
    return piece(_TEMPLATE, "numbers", columns=[(column.name, *_strips(column)) for column in split_comparison.numbers(by_split)])


def values(by_split: Mapping[str, Statistics], only: Collection[str] | None = None, skip: Collection[str] = ()) -> Html:
    """Shows which share of each split has the most frequent values of columns of categories.

    Args:
      by_split: One data set per split, without messages (see `split_comparison.without_messages`).
      only: Which columns; all if None.
      skip: Which columns not.
    """
    charts = []
    identifiers = []
    limit = split_comparison.SHOWN_VALUES if only is None else NAMED_VALUES
    for column in split_comparison.values(by_split, only, skip, limit):
        if column.identifier:
            identifiers.append((column.name, max(column.unique.values())))
            continue
        unique = max(column.unique.values())
        charts.append(
            _marks_chart(
                column.name,
                "Value",
                list(by_split),
                column.shares,
                left_out=max(0, unique - len(column.shares)),
            )
        )
    return piece(_TEMPLATE, "values", charts=charts, identifiers=identifiers)


def labels(counts: Mapping[str, Mapping[str, int]]) -> Html:
    """Shows which share of each split has each label, most frequent in train first.

    Args:
      counts: Rows by split and label, `labels` of ingestion's summary.json.
    """
    totals = {split: sum(of.values()) or 1 for split, of in counts.items()}
    profile = data_profile.labels(counts)
    names = [row.name for row in profile.rows] if profile else []
    shares = {name: {split: of.get(name, 0) / totals[split] for split, of in counts.items()} for name in names[:LABELS]}
    chart = _marks_chart(
        "Labels",
        "Label",
        list(counts),
        shares,
        left_out=len(names) - len(shares) + (profile.left_out if profile else 0),
    )
    return piece(_TEMPLATE, "labels", chart=chart, profile=profile)


def findings(gate: Sequence[Mapping[str, Any]]) -> Html:
    """Shows the data gate's findings.

    Args:
      gate: The findings, as plain values.
    """
    return piece(_TEMPLATE, "findings", decisions=verdict.decisions(gate))


def distances(found: Sequence[Distance], before: str, after: str) -> Html:
    """Shows how far the columns of two splits are apart, the farthest first.

    Args:
      found: The distances.
      before, after: Names of the two splits.
    """
    axis = share_axis([0.0, *(distance.largest for distance in found)])
    return piece(_TEMPLATE, "distances", found=found, axis=axis, before=before, after=after)


def facets(before: Statistics, after: Statistics) -> Html:
    """Shows TFDV's own view of two splits, folded: it fetches scripts from the network, and is blank without.

    Args:
      before, after: One data set each, without messages (see `split_comparison.without_messages`), because the view embeds them.
    """
    from tensorflow_data_validation.utils import display_util

    markup = display_util.get_statistics_html(before, after, "train", "eval")
    return Html(f'<details class="own-view"><summary>Facets, train and eval</summary>\n{markup}\n</details>')


def _only(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    [content] = summary.values()
    return content


def _marks_chart(
    title: str,
    heading: str,
    splits: Sequence[str],
    shares: Mapping[str, Mapping[str, float]],
    left_out: int = 0,
) -> MarksChart:
    axis = share_axis([0.0, *(share for of in shares.values() for share in of.values())])
    built = [Marks(name, of, {split: axis.at(share) for split, share in of.items()}) for name, of in shares.items()]
    return MarksChart(title, heading, tuple(splits), axis, tuple(built), left_out)


def _strips(column: Numbers) -> tuple[Axis, list[Strip]]:
    """The strips of a column's splits on one axis, which reaches from the lowest first to the highest ninth decile and some more."""
    edges = list(column.quantiles.values())
    low, high = min(of[1] for of in edges), max(of[-2] for of in edges)
    reach = (high - low) * _TAIL or abs(high) * _TAIL or 1.0
    low, high = max(low - reach, min(of[0] for of in edges)), min(high + reach, max(of[-1] for of in edges))
    if high <= low:
        low, high = low - reach, high + reach
    axis = Axis(low, high, (low, (low + high) / 2, high))
    ends = [edge for of in column.histograms.values() for left, right, _ in of for edge in (left, right)]
    whole = Axis(min(ends), max(ends), ()) if ends and max(ends) > min(ends) else None
    return axis, [_strip(split, of, column.histograms.get(split, ()), axis, whole) for split, of in column.quantiles.items()]


def _strip(
    split: str, edges: Sequence[float], histogram: Sequence[tuple[float, float, float]], axis: Axis, whole: Axis | None
) -> Strip:
    middle = (len(edges) - 1) / 2
    boxes = []
    for index, (left, right) in enumerate(zip(edges, edges[1:], strict=False)):
        opacity = round(0.85 - 0.7 * abs(index + 0.5 - middle) / middle, 2)
        boxes.append((axis.at(left), max(0.3, round(axis.at(right) - axis.at(left), 2)), opacity))
    tallest = max((share for _, _, share in histogram), default=1.0) or 1.0
    bars = tuple(
        (whole.at(left), max(0.5, round(whole.at(right) - whole.at(left) - 0.5, 2)), round(100 * max(0.04, share / tallest), 1))
        for left, right, share in histogram
        if whole and share > 0
    )
    half = len(edges) // 2
    return Strip(split, tuple(boxes), axis.at(edges[half]), bars, (edges[0], edges[1], edges[half], edges[-2], edges[-1]))
