"""The columns of one split beside those of another, from TFDV's statistics: quantiles, shares of values, and how far they are apart."""

from __future__ import annotations

import bisect
import copy
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.reporting.formats import is_number, number, shorten
from components.reporting.statistics import MIN_VALUE_COUNT, VALUE_LENGTH

SHOWN_VALUES = 12
# A column whose most frequent values together cover less than this is an identifier, and a chart of it says nothing.
IDENTIFIER_COVERAGE = 0.05

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList
_Feature: TypeAlias = statistics_pb2.FeatureNameStatistics


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A numeric column.

    Attributes:
      name: The column.
      quantiles: By split, the edges of TFDV's quantile buckets: smallest value, deciles, largest value.
      histograms: By split, (low, high, share of the split's values) of ten buckets of equal width.
    """

    name: str
    quantiles: Mapping[str, tuple[float, ...]]
    histograms: Mapping[str, tuple[tuple[float, float, float], ...]]


@dataclasses.dataclass(frozen=True)
class Values:
    """A column of categories.

    Attributes:
      name: The column.
      unique: By split, how many different values it has.
      shares: The most frequent values, and which share of the rows of each split has them; a split in which fewer than
        MIN_VALUE_COUNT rows have a value is absent.
      identifier: Whether those values cover so few rows that the column must be an identifier.
    """

    name: str
    unique: Mapping[str, int]
    shares: Mapping[str, Mapping[str, float]]
    identifier: bool


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far a column of one split is from the same column of another.

    Attributes:
      column: The column.
      divergence: TFDV's Jensen-Shannon divergence in bits, 0 (equal) to 1 (nothing in common); None if TFDV has none.
      largest: The largest difference of shares of rows: of one value (categories), or of the rows up to one number (numbers).
      where: That value or number, in words; empty if so few rows have it that it could identify somebody.
      before, after: The two shares.
    """

    column: str
    divergence: float | None
    largest: float
    where: str
    before: float
    after: float


def without_messages(statistics: Statistics, text_columns: Collection[str]) -> Statistics:
    """Returns a copy that may be shown to anybody: without values of text columns and without values of few rows.

    TFDV keeps up to 1,000 values of every column of bytes, and its own view embeds them all in the page.

    Args:
      statistics: The statistics of any number of splits.
      text_columns: Columns that hold messages.
    """
    shareable = copy.deepcopy(statistics)
    for dataset in shareable.datasets:
        for feature in dataset.features:
            if feature.WhichOneof("stats") != "string_stats":
                continue
            strings, hidden = feature.string_stats, _name(feature) in text_columns
            _keep(strings.top_values, [value for value in strings.top_values if not hidden and _shown(value.frequency)])
            buckets = strings.rank_histogram.buckets
            _keep(buckets, [bucket for bucket in buckets if not hidden and _shown(bucket.sample_count)])
    return shareable


def numbers(by_split: Mapping[str, Statistics]) -> list[Numbers]:
    """Returns the numeric columns that have a value in any split.

    Args:
      by_split: One data set per split.
    """
    columns = []
    for name, features in _columns(by_split):
        stats = {split: feature.num_stats for split, feature in features.items() if feature.HasField("num_stats")}
        quantiles = {split: _quantiles(numeric) for split, numeric in stats.items()}
        if any(quantiles.values()):
            present = {split: edges for split, edges in quantiles.items() if edges}
            columns.append(Numbers(name, present, {split: _histogram(stats[split]) for split in present}))
    return columns


def values(
    by_split: Mapping[str, Statistics],
    columns: Collection[str] | None = None,
    skip: Collection[str] = (),
    limit: int = SHOWN_VALUES,
) -> list[Values]:
    """Returns the columns of categories.

    Args:
      by_split: One data set per split, without messages (see `without_messages`).
      columns: Which columns; all if None.
      skip: Which columns not.
      limit: How many values of a column at most.
    """
    found = []
    for name, features in _columns(by_split):
        if name in skip or (columns is not None and name not in columns):
            continue
        strings = {split: feature.string_stats for split, feature in features.items() if feature.HasField("string_stats")}
        shares = {split: dict(_shares(stats)) for split, stats in strings.items()}
        if not any(shares.values()):
            continue
        order = list(dict.fromkeys(value for by_value in shares.values() for value in by_value))[:limit]
        coverage = sum(next(iter(shares.values())).get(value, 0.0) for value in order)
        found.append(
            Values(
                name=name,
                unique={split: stats.unique for split, stats in strings.items()},
                shares={
                    shorten(value, VALUE_LENGTH): {split: of[value] for split, of in shares.items() if value in of}
                    for value in order
                },
                identifier=coverage < IDENTIFIER_COVERAGE,
            )
        )
    return found


def with_comparators(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """Returns a copy of a schema that makes TFDV measure the Jensen-Shannon divergence of every column.

    `validate_statistics` measures only what has a threshold; one of 0 makes an anomaly of every difference, however small, so only
    the measurements mean something (`drift_skew_info`).
    """
    measuring = copy.deepcopy(schema)
    for feature in measuring.feature:
        feature.drift_comparator.Clear()
        feature.drift_comparator.jensen_shannon_divergence.threshold = 0.0
    return measuring


def distances(
    before: Statistics, after: Statistics, measured: anomalies_pb2.Anomalies, skip: Collection[str] = ()
) -> list[Distance]:
    """Returns how far each column of two splits is apart, the largest difference of shares first.

    TFDV's divergence of a numeric column compares ten buckets of equal width, so one far outlier moves it a lot. The largest
    difference of cumulative shares (the Kolmogorov-Smirnov distance), here between TFDV's deciles, does not have this weakness.

    Args:
      before: One data set.
      after: The other one.
      measured: What TFDV measured with `with_comparators`.
      skip: Columns that differ by intention or must not be shown.
    """
    divergences = {
        ".".join(info.path.step): info.drift_measurements[0].value for info in measured.drift_skew_info if info.drift_measurements
    }
    found = []
    for name, features in _columns({"before": before, "after": after}):
        if name not in skip and len(features) == 2 and (largest := _largest_difference(features["before"], features["after"])):
            where, first, second = largest
            found.append(Distance(name, divergences.get(name), abs(second - first), where, first, second))
    return sorted(found, key=lambda distance: -distance.largest)


def _largest_difference(before: _Feature, after: _Feature) -> tuple[str, float, float] | None:
    """Where two columns differ most, and the two shares there; None if there is nothing to compare."""
    if before.HasField("num_stats") and after.HasField("num_stats"):
        first, second = _cumulative(before.num_stats), _cumulative(after.num_stats)
        if not first or not second:
            return None
        known = {value: _nearest(_up_to(first, value), _up_to(second, value)) for value in sorted({*first[0], *second[0]})}
        at = max(known, key=lambda value: abs(known[value][0] - known[value][1]))
        return f"up to {number(at)}", *known[at]
    shares = [dict(_shares(feature.string_stats)) for feature in (before, after)]
    if not all(shares):
        return None
    value = max({**shares[0], **shares[1]}, key=lambda value: abs(shares[0].get(value, 0.0) - shares[1].get(value, 0.0)))
    rows = [_rows(feature.string_stats.common_stats) for feature in (before, after)]
    shown = any(_shown(of.get(value, 0.0) * n) for of, n in zip(shares, rows, strict=True))
    return shorten(value, VALUE_LENGTH) if shown else "", shares[0].get(value, 0.0), shares[1].get(value, 0.0)


def _columns(by_split: Mapping[str, Statistics]) -> Iterator[tuple[str, dict[str, _Feature]]]:
    features: dict[str, dict[str, _Feature]] = {}
    for split, statistics in by_split.items():
        for dataset in statistics.datasets:
            for feature in dataset.features:
                features.setdefault(_name(feature), {})[split] = feature
    yield from features.items()


def _name(feature: _Feature) -> str:
    return feature.name or ".".join(feature.path.step)


def _shares(strings: statistics_pb2.StringStatistics) -> Iterator[tuple[str, float]]:
    rows = _rows(strings.common_stats)
    for bucket in strings.rank_histogram.buckets:
        yield bucket.label, bucket.sample_count / rows if rows else 0.0


def _rows(common: statistics_pb2.CommonStatistics) -> int:
    return common.num_non_missing


def _shown(count: float) -> bool:
    # Counts of a share and of rows may differ by rounding.
    return round(count) >= MIN_VALUE_COUNT


def _keep(repeated: Any, kept: Sequence[Any]) -> None:
    kept = [copy.copy(message) for message in kept]
    del repeated[:]
    repeated.extend(kept)


def _buckets(numeric: statistics_pb2.NumericStatistics, kind: int) -> list[tuple[float, float, float]]:
    """(low, high, share of the values) of the buckets of one kind of histogram, leaving out those without finite edges."""
    for histogram in numeric.histograms:
        total = sum(bucket.sample_count for bucket in histogram.buckets)
        if histogram.type == kind and total:
            edges = [(bucket.low_value, bucket.high_value, bucket.sample_count / total) for bucket in histogram.buckets]
            return [(low, high, share) for low, high, share in edges if is_number(low) and is_number(high)]
    return []


def _histogram(numeric: statistics_pb2.NumericStatistics) -> tuple[tuple[float, float, float], ...]:
    return tuple(_buckets(numeric, statistics_pb2.Histogram.STANDARD))


def _quantiles(numeric: statistics_pb2.NumericStatistics) -> tuple[float, ...]:
    buckets = _buckets(numeric, statistics_pb2.Histogram.QUANTILES)
    return (buckets[0][0], *(high for _, high, _ in buckets)) if buckets else ()


def _cumulative(numeric: statistics_pb2.NumericStatistics) -> tuple[list[float], list[float]] | None:
    """The edges of the quantile buckets and the share of values up to each."""
    buckets = _buckets(numeric, statistics_pb2.Histogram.QUANTILES)
    if not buckets:
        return None
    edges, shares = [buckets[0][0]], [0.0]
    for _, high, share in buckets:
        edges.append(high)
        shares.append(min(1.0, shares[-1] + share))
    return edges, shares


def _up_to(cumulative: tuple[list[float], list[float]], value: float) -> tuple[float, float]:
    """The share of values up to a value, as the least and the most it can be.

    Between two deciles values are taken to be spread evenly. Below the first and above the last one they are not: one far outlier
    stretches that bucket, so all that is known there is the share at its ends.
    """
    edges, shares = cumulative
    after = bisect.bisect_right(edges, value)
    if after == 0 or after == len(edges):
        return (0.0, 0.0) if after == 0 else (1.0, 1.0)
    low, high = edges[after - 1], edges[after]
    if value == low:
        return shares[after - 1], shares[after - 1]
    if after in (1, len(edges) - 1):
        return shares[after - 1], shares[after]
    share = shares[after - 1] + (shares[after] - shares[after - 1]) * (value - low) / (high - low)
    return share, share


def _nearest(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """The two shares, one out of each range, that are closest to each other."""
    if first[1] < second[0]:
        return first[1], second[0]
    if second[1] < first[0]:
        return first[0], second[1]
    return max(first[0], second[0]), max(first[0], second[0])
