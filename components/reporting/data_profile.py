"""What the data looks like: rows per split, labels, and every column with small histograms."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from components.reporting.formats import is_number, number, percent

LABELS = 200
COLUMNS = 150
SEGMENT_VALUES = 40
QUARANTINE_REASONS = 30
REMOVED_COLUMNS = 10
SPLITS = ("train", "eval", "test")
CHART_WIDTH, CHART_HEIGHT = 96, 26
_SHOWN_VALUES = 3
# A value of a segment with more characters that fewer rows have may be a message.
_LONG, _FEW_ROWS = 24, 5
_LONG_VALUE = "(long and rare values)"


@dataclasses.dataclass(frozen=True)
class Share:
    """A named number of rows and which share of all it is."""

    name: str
    n: int
    share: float


@dataclasses.dataclass(frozen=True)
class LabelRow:
    """Rows of one label by split; `share` is of the train rows, `length` of the longest bar."""

    name: str
    counts: tuple[int, ...]
    share: float
    length: float


@dataclasses.dataclass(frozen=True)
class Labels:
    """The label's distribution, most frequent first; `only_later` are labels that no train row has."""

    rows: tuple[LabelRow, ...]
    left_out: int
    only_later: int
    smallest: int
    imbalance: float


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of a histogram in chart units (CHART_WIDTH x CHART_HEIGHT, y downwards)."""

    x: float
    y: float
    width: float
    height: float


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: what it holds in words, which share is missing (by split if they differ), and histograms of train and test."""

    name: str
    type: str
    missing: tuple[str, ...]
    description: str
    charts: Mapping[str, tuple[Bar, ...]]


def splits(rows: Mapping[str, int]) -> list[Share]:
    """Returns the rows of each split and of the quarantine."""
    return _shares(rows, [*SPLITS, "quarantined"], sum(rows.values()))


def quarantine(reasons: Mapping[str, int]) -> list[Share]:
    """Returns why rows were set aside, most frequent first; rare reasons beyond QUARANTINE_REASONS are summed up."""
    return _largest(reasons, QUARANTINE_REASONS)


@dataclasses.dataclass(frozen=True)
class AsideInSegment:
    """Rows of one segment value that were set aside, which share of the value's rows they are, and why, the most frequent first."""

    segment: str
    value: str
    n: int
    share: float
    reasons: tuple[str, ...]


def quarantine_by_segment(
    aside: Mapping[str, Mapping[str, Mapping[str, int]]], stored: Mapping[str, Mapping[str, int]]
) -> list[AsideInSegment]:
    """Returns the segment values that lost the largest share of their rows, at most SEGMENT_VALUES of them.

    Args:
      aside: Rows set aside by segment column, value and reason.
      stored: Stored rows by segment column and value.
    """
    found = [
        AsideInSegment(segment, value, n, n / (n + stored.get(segment, {}).get(value, 0)), tuple(reasons)[:_SHOWN_VALUES])
        for segment, values in aside.items()
        for value, reasons in values.items()
        if (n := sum(reasons.values()))
    ]
    return sorted(found, key=lambda entry: (-entry.share, -entry.n, entry.segment, entry.value))[:SEGMENT_VALUES]


@dataclasses.dataclass(frozen=True)
class Removed:
    """One kind of personal data: what took its place, how often it was found, in how many rows, and how often in each column."""

    entity: str
    mode: str
    found: int
    rows: int
    columns: tuple[Share, ...]


def removed(audit: Mapping[str, Any]) -> list[Removed]:
    """Returns what was removed as personal data, most frequent first (see BatchRedactor.audit)."""
    entities = audit.get("entities", {}).items()
    return sorted(
        (
            Removed(entity, found["mode"], found["found"], found["rows"], tuple(_largest(found["columns"], REMOVED_COLUMNS)))
            for entity, found in entities
        ),
        key=lambda entry: (-entry.found, entry.entity),
    )


@dataclasses.dataclass(frozen=True)
class RemovedInSegment:
    """Rows of one segment value that held one kind of personal data."""

    entity: str
    segment: str
    value: str
    n: int


def removed_by_segment(audit: Mapping[str, Any]) -> tuple[list[RemovedInSegment], int]:
    """Returns where most was removed, at most SEGMENT_VALUES kinds and values of each segment, and how many are left out.

    A value that may be a message is not named; see `segment_values`.
    """
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for entity, found in audit.get("entities", {}).items():
        for segment, values in found["segments"].items():
            of_segment = counts.setdefault(segment, {})
            for value, n in values.items():
                shown = _LONG_VALUE if _may_be_a_message(value, n) else value
                of_segment[entity, shown] = of_segment.get((entity, shown), 0) + n
    ranked = {
        segment: [
            RemovedInSegment(entity, segment, value, n)
            for (entity, value), n in sorted(of_segment.items(), key=lambda item: (-item[1], item[0]))
        ]
        for segment, of_segment in sorted(counts.items())
    }
    shown = [entry for entries in ranked.values() for entry in entries[:SEGMENT_VALUES]]
    return shown, sum(map(len, ranked.values())) - len(shown)


def segment_values(segments: Mapping[str, Mapping[str, int]]) -> dict[str, list[Share]]:
    """Returns the rows of each value of each segment, most frequent first; rare values beyond SEGMENT_VALUES are summed up.

    So are long ones that hardly any row has: on a day on which columns have changed places they are messages.
    """
    return {
        name: _largest(values, SEGMENT_VALUES, {value for value, rows in values.items() if _may_be_a_message(value, rows)})
        for name, values in segments.items()
    }


def _may_be_a_message(value: str, rows: int) -> bool:
    return len(value) > _LONG and rows < _FEW_ROWS


def labels(by_split: Mapping[str, Mapping[str, int]]) -> Labels | None:
    """Returns how the label is distributed, or None if there are no labels."""
    train = by_split.get("train", {})
    names = sorted({name for counts in by_split.values() for name in counts}, key=lambda name: (-train.get(name, 0), name))
    if not names:
        return None
    total, largest = sum(train.values()) or 1, max(train.values(), default=0) or 1
    rows = [
        LabelRow(
            name=name,
            counts=tuple(by_split.get(split, {}).get(name, 0) for split in SPLITS),
            share=train.get(name, 0) / total,
            length=train.get(name, 0) / largest,
        )
        for name in names
    ]
    seen = [n for n in train.values() if n]
    return Labels(
        rows=tuple(rows[:LABELS]),
        left_out=max(0, len(rows) - LABELS),
        only_later=sum(not train.get(name) for name in names),
        smallest=min(seen, default=0),
        imbalance=largest / min(seen, default=1),
    )


def columns(statistics: Mapping[str, Mapping[str, Any]]) -> tuple[list[Column], int]:
    """Returns every column, in the order of the train split, and how many are left out."""
    by_split = {
        split: {feature["name"]: feature for feature in statistics[split]["features"]}
        for split in [*SPLITS, *statistics]
        if split in statistics
    }
    names = list(dict.fromkeys(name for features in by_split.values() for name in features))
    built = [_column(name, {split: features[name] for split, features in by_split.items() if name in features}) for name in names]
    return built[:COLUMNS], max(0, len(built) - COLUMNS)


def _column(name: str, by_split: Mapping[str, Mapping[str, Any]]) -> Column:
    reference = next(iter(by_split.values()))
    return Column(
        name=name,
        type=reference["type"],
        missing=_missing(by_split),
        description=_describe(reference),
        charts=_charts({split: by_split[split] for split in ("train", "test") if split in by_split}),
    )


def _missing(by_split: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    shares = {split: percent(feature["missing"]) for split, feature in by_split.items()}
    if len(set(shares.values())) == 1:
        return (next(iter(shares.values())),)
    return tuple(f"{split} {share}" for split, share in shares.items())


def _describe(feature: Mapping[str, Any]) -> str:
    if feature["missing"] == 1:
        return "no values"
    if feature["type"] == "numeric":
        spread = f"{number(feature.get('min'))} to {number(feature.get('max'))}, median {number(feature.get('median'))}"
        return f"{spread}, mean {number(feature.get('mean'))} ± {number(feature.get('std'))}"
    different = f"{number(feature.get('unique'))} different"
    if feature["type"] == "text":
        return f"{different}, {number(feature.get('avg_length'))} bytes on average"
    top = ", ".join(f"{value} ({number(n)})" for value, n in feature.get("top", ())[:_SHOWN_VALUES])
    return f"{different}: {top}" if top else different


def _charts(by_split: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Bar, ...]]:
    """One chart per split on a common horizontal axis, so that a shift between splits is seen as one."""
    kinds = {feature["type"] for feature in by_split.values()}
    if kinds == {"numeric"}:
        buckets = {split: [bucket for bucket in feature.get("histogram", ()) if bucket[2]] for split, feature in by_split.items()}
        edges = [edge for histogram in buckets.values() for low, high, _ in histogram for edge in (low, high)]
        if not edges:
            return {}
        low, high = min(edges), max(edges)
        return {split: _histogram(histogram, low, high) for split, histogram in buckets.items()}
    if kinds == {"categorical"}:
        order = list(dict.fromkeys(value for feature in by_split.values() for value, _ in feature.get("top", ())))
        return {split: _value_bars(dict(feature.get("top", ())), order) for split, feature in by_split.items()} if order else {}
    return {}


def _histogram(buckets: Sequence[Sequence[float]], low: float, high: float) -> tuple[Bar, ...]:
    scale = CHART_WIDTH / (high - low) if high > low else 0.0
    tallest = max((count for _, _, count in buckets), default=0.0)
    return tuple(
        _bar((left - low) * scale, (right - left) * scale if scale else CHART_WIDTH, count, tallest)
        for left, right, count in buckets
    )


def _value_bars(counts: Mapping[str, float], order: Sequence[str]) -> tuple[Bar, ...]:
    pitch = CHART_WIDTH / len(order)
    tallest = max(counts.values(), default=0)
    return tuple(
        _bar(position * pitch, min(pitch * 0.8, CHART_HEIGHT), counts[value], tallest)
        for position, value in enumerate(order)
        if value in counts
    )


def bars_of_shares(counts: Sequence[float], tallest: float | None = None) -> tuple[Bar, ...]:
    """Returns a histogram of parts in their order, each as wide; empty ones have no bar.

    Args:
      counts: How much each part holds.
      tallest: What the full height stands for; the largest part if not given.
    """
    pitch = CHART_WIDTH / len(counts)
    full = max(counts, default=0) if tallest is None else tallest
    return tuple(_bar(place * pitch, pitch * 0.85, part, full) for place, part in enumerate(counts) if part)


def _bar(x: float, width: float, count: float, tallest: float) -> Bar:
    # A bucket that holds anything is visible, however small.
    height = max(1.0, CHART_HEIGHT * count / tallest)
    return Bar(round(x, 1), round(CHART_HEIGHT - height, 1), round(max(width, 1.0), 1), round(height, 1))


def _shares(counts: Mapping[str, int], names: Sequence[str], total: int) -> list[Share]:
    return [Share(name, counts.get(name, 0), counts.get(name, 0) / total if total else 0.0) for name in names]


def _largest(counts: Mapping[str, int], limit: int, hidden: Collection[str] = ()) -> list[Share]:
    total = sum(counts.values())
    ranked = sorted((item for item in counts.items() if is_number(item[1])), key=lambda item: (-item[1], item[0]))
    shown = [name for name, _ in ranked if name not in hidden][:limit]
    shares = _shares(counts, shown, total)
    rest = sum(n for _, n in ranked) - sum(counts[name] for name in shown)
    return [*shares, Share(f"{len(ranked) - len(shown)} others", rest, rest / total)] if rest else shares
