"""How far one column of a data set is from the same column of another, measured on TFDV's statistics.

Rows are counted in cells that both data sets share: the values of a category, the ranges between the older set's deciles, and one cell
for missing values. Every measure is a function of the two vectors of counts, and says with its formula what it means.

A distance alone alarms on noise when rows are few; a test alone alarms on nothing when rows are many. So both are given: the tests say
whether a difference is more than chance, PSI and the other distances whether it is large enough to matter.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special
from tensorflow_metadata.proto.v0 import statistics_pb2

MISSING = "(missing)"
RARE = "(rare values)"
NEW = "(new values)"
PRESENT = "(any value)"
OTHER = "(other values)"

_Feature = statistics_pb2.FeatureNameStatistics
# Values that fewer rows have share one cell: identifiers, long tails and names would be nothing but noise.
_MIN_SHARE = 0.005
# One customer or conversation with that many rows is a flood.
_MIN_FLOOD_SHARE = 0.05
# A value that only a few rows have could identify a person, and is not named however large its share.
_MIN_NAMED_ROWS = 5
# Below this expected count the chi-square approximation of the G-test is not trusted (Cochran 1954).
_MIN_EXPECTED = 5.0
# What one cell gets in both data sets before PSI is taken, since the logarithm of an empty cell is infinite (Jeffreys' prior).
_PSI_PRIOR = 0.5


@dataclasses.dataclass(frozen=True)
class Cells:
    """Rows of two data sets in the same cells.

    Attributes:
      names: What is in each cell: a value, a range, or MISSING, RARE, NEW.
      before: Rows of the older data set in each cell.
      after: Rows of the newer one.
    """

    names: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the shares of the rows in each cell, before and after."""
        return self.before / self.before.sum(), self.after / self.after.sum()


@dataclasses.dataclass(frozen=True)
class Contribution:
    """What one cell adds to the distance.

    Attributes:
      cell: Its name; of values that few rows have, RARE.
      before, after: The shares of rows in it.
    """

    cell: str
    before: float
    after: float


def jensen_shannon(cells: Cells) -> float:
    """Returns the Jensen-Shannon divergence in bits: 0 (equal) to 1 (nothing in common).

    With shares p and q and m = (p + q) / 2: JSD = sum(p log2(p / m)) / 2 + sum(q log2(q / m)) / 2, where 0 log 0 is 0.
    (J. Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37, 1991.)
    """
    p, q = cells.shares()
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum() / (2 * np.log(2))
    return float(min(max(divergence, 0.0), 1.0))


def l_infinity(cells: Cells) -> float:
    """Returns the largest difference of shares of one cell, max |p - q|: 0 to 1. TFDV's comparators use it for categories."""
    p, q = cells.shares()
    return float(np.abs(p - q).max())


def psi(cells: Cells) -> float:
    """Returns the population stability index, sum((q - p) ln(q / p)): 0 (equal) and up, by custom 0.1 is moderate and 0.25 large.

    It is Jeffreys' divergence in nats (H. Jeffreys, Proceedings of the Royal Society A 186, 1946; under this name N. Siddiqi, Credit
    Risk Scorecards, 2006). Half a row is added to each cell of both data sets, so that an empty cell does not make it infinite.
    """
    return float(_psi_terms(cells).sum())


def g_test(cells: Cells) -> float:
    """Returns the probability of a difference at least this large if both data sets are samples of one population.

    G = 2 sum(O ln(O / E)) over the cells of both data sets, with O the rows there and E those expected from the totals, follows
    a chi-square distribution with one degree of freedom less than there are cells. (B. Woolf, Annals of Human Genetics 21, 1957.)
    Cells in which fewer than 5 rows are expected are taken together. 1.0 if that leaves one cell.
    """
    total = cells.before.sum() + cells.after.sum()
    pooled = cells.before + cells.after
    smaller = min(cells.before.sum(), cells.after.sum()) / total
    few = pooled * smaller < _MIN_EXPECTED
    observed = np.array(
        [np.append(counts[~few], counts[few].sum()) if few.any() else counts for counts in (cells.before, cells.after)]
    )
    observed = observed[:, observed.sum(axis=0) > 0]
    if observed.shape[1] < 2:
        return 1.0
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / total
    statistic = 2 * special.rel_entr(observed, expected).sum()
    return float(special.chdtrc(observed.shape[1] - 1, max(statistic, 0.0)))


def adjust(probabilities: Sequence[float]) -> list[float]:
    """Returns probabilities corrected for how many tests were made, in their order.

    The i-th smallest of m becomes the least p_j m / j over j >= i. Of the tests called significant at a level, at most that share is
    expected to be false alarms. (Y. Benjamini, Y. Hochberg, Journal of the Royal Statistical Society B 57, 1995.)
    """
    values = np.asarray(probabilities, dtype=float)
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted.tolist()


def contributions(cells: Cells, limit: int = 5) -> list[Contribution]:
    """Returns the cells that contribute most to PSI, the largest contribution first."""
    p, q = cells.shares()
    terms = _psi_terms(cells)
    largest = [int(index) for index in np.argsort(-terms, kind="stable")[:limit] if p[index] != q[index]]
    named = np.maximum(cells.before, cells.after) >= _MIN_NAMED_ROWS
    return [Contribution(cells.names[i] if named[i] else RARE, float(p[i]), float(q[i])) for i in largest]


def distribution(cells: Cells, limit: int = 30) -> list[Contribution]:
    """Returns both distributions, cell by cell in their order.

    Args:
      cells: What the two data sets were compared by.
      limit: How many cells to return at most. Of more, those in which neither data set has many rows are one, OTHER.
    """
    p, q = cells.shares()
    named = np.maximum(cells.before, cells.after) >= _MIN_NAMED_ROWS
    largest = set(np.argsort(-np.maximum(p, q), kind="stable")[: limit - 2].tolist()) if len(p) > limit else set(range(len(p)))
    found: dict[str, list[float]] = {}
    for place, name in enumerate(cells.names):
        cell = found.setdefault(RARE if not named[place] else name if place in largest else OTHER, [0.0, 0.0])
        cell[0] += float(p[place])
        cell[1] += float(q[place])
    # What is left of many has no place among them, and could be the largest.
    return [Contribution(name, *found[name]) for name in sorted(found, key=lambda name: name == OTHER)]


def of_features(before: _Feature, after: _Feature, rows: tuple[float, float], identifier: bool = False) -> Cells | None:
    """Counts the rows of a column of two data sets in the same cells.

    Args:
      before: The column's statistics in the older data set.
      after: Those in the newer one.
      rows: How many rows the two data sets have.
      identifier: Whether values name single things, e.g. customers or conversations. Those are new by nature, so only one that
        has a large share of the rows is a cell. New values of any other category are a cell of their own, however rare each is.

    Returns:
      The cells; None if a data set has no rows or the column is a number in one and none in the other.
    """
    if not all(rows):
        return None
    numeric = [_edges(feature) for feature in (before, after)]
    if before.WhichOneof("stats") == after.WhichOneof("stats") == "num_stats":
        counted = _of_numbers(*numeric, present(before), present(after), after.type == _Feature.INT)
    elif before.HasField("string_stats") and after.HasField("string_stats"):
        counted = _of_values(before.string_stats, after.string_stats, identifier)
    else:
        return None
    return _with_missing(counted, before, after, rows)


def of_presence(before: _Feature, after: _Feature, rows: tuple[float, float]) -> Cells | None:
    """Counts the rows in which a column of two data sets has a value; None if a data set has no rows."""
    return _with_missing({PRESENT: [present(before), present(after)]}, before, after, rows) if all(rows) else None


def by_name(dataset: statistics_pb2.DatasetFeatureStatistics) -> Mapping[str, _Feature]:
    """Returns the columns' statistics by the column's name."""
    return {feature.name or ".".join(feature.path.step): feature for feature in dataset.features}


def _with_missing(counted: dict[str, list[float]], before: _Feature, after: _Feature, rows: tuple[float, float]) -> Cells | None:
    for side, (feature, total) in enumerate(zip((before, after), rows, strict=True)):
        if missing := max(total - present(feature), 0.0):
            counted.setdefault(MISSING, [0.0, 0.0])[side] = missing
    table = np.array(list(counted.values()), dtype=float).reshape(-1, 2)
    return Cells(tuple(counted), table[:, 0], table[:, 1]) if table.sum(axis=0).all() else None


def _psi_terms(cells: Cells) -> np.ndarray:
    p, q = (counts + _PSI_PRIOR for counts in (cells.before, cells.after))
    p, q = p / p.sum(), q / q.sum()
    return (q - p) * np.log(q / p)


def present(feature: _Feature) -> float:
    """Returns how many rows of a column hold a value."""
    kind = feature.WhichOneof("stats")
    return float(getattr(feature, kind).common_stats.num_non_missing) if kind else 0.0


def rows(feature: _Feature) -> float:
    """Returns how many rows a column's statistics are of, with those in which it is missing."""
    kind = feature.WhichOneof("stats")
    return float(getattr(feature, kind).common_stats.num_missing) + present(feature) if kind else 0.0


def joined(features: Sequence[_Feature]) -> _Feature:
    """Returns the statistics of a category over several splits, as far as `of_features` asks for them.

    Args:
      features: Those of each split; the first is what is returned if one of them is no category.
    """
    result = _Feature()
    result.CopyFrom(features[0])
    if len(features) == 1 or not all(feature.HasField("string_stats") for feature in features):
        return result
    stats, parts = result.string_stats, [feature.string_stats for feature in features]
    counted: dict[str, float] = {}
    for part in parts:
        for bucket in part.rank_histogram.buckets:
            counted[bucket.label] = counted.get(bucket.label, 0.0) + bucket.sample_count
    complete = all(len(part.rank_histogram.buckets) >= part.unique for part in parts)
    # How many values splits have in common is not known unless all of them are listed.
    stats.unique = len(counted) if complete else max(sum(part.unique for part in parts), len(counted) + 1)
    stats.common_stats.num_non_missing = sum(part.common_stats.num_non_missing for part in parts)
    stats.common_stats.num_missing = sum(part.common_stats.num_missing for part in parts)
    stats.rank_histogram.Clear()
    for value, count in sorted(counted.items(), key=lambda item: -item[1]):
        stats.rank_histogram.buckets.add(label=value, sample_count=count)
    return result


def _of_values(
    before: statistics_pb2.StringStatistics, after: statistics_pb2.StringStatistics, identifier: bool
) -> dict[str, list[float]]:
    """Rows by value. TFDV lists the 1,000 most frequent values; the rest is among the rare ones."""
    listed = [{bucket.label: bucket.sample_count for bucket in stats.rank_histogram.buckets} for stats in (before, after)]
    totals = [float(stats.common_stats.num_non_missing) for stats in (before, after)]
    complete = len(listed[0]) >= before.unique
    least = _MIN_FLOOD_SHARE if identifier else _MIN_SHARE
    counted: dict[str, list[float]] = {}
    for value in dict.fromkeys([*listed[0], *listed[1]]):
        rows = [by_value.get(value, 0.0) for by_value in listed]
        frequent = any(count >= least * total > 0 for count, total in zip(rows, totals, strict=True))
        name = value if frequent else NEW if not identifier and complete and value not in listed[0] else RARE
        cell = counted.setdefault(name, [0.0, 0.0])
        for side in (0, 1):
            cell[side] += rows[side]
    for side, total in enumerate(totals):
        unlisted = total - sum(listed[side].values())
        if unlisted >= 1:
            counted.setdefault(RARE, [0.0, 0.0])[side] += unlisted
    return counted


def _edges(feature: _Feature) -> tuple[list[float], list[float]] | None:
    """The edges of TFDV's decile buckets and the share of values up to each; None without finite edges."""
    for histogram in feature.num_stats.histograms if feature.HasField("num_stats") else ():
        total = sum(bucket.sample_count for bucket in histogram.buckets)
        if histogram.type == statistics_pb2.Histogram.QUANTILES and total:
            edges = [histogram.buckets[0].low_value, *(bucket.high_value for bucket in histogram.buckets)]
            counts = [bucket.sample_count / total for bucket in histogram.buckets]
            return (edges, [0.0, *np.minimum(np.cumsum(counts), 1.0)]) if np.isfinite(edges).all() else None
    return None


def _of_numbers(
    before: tuple[list[float], list[float]] | None,
    after: tuple[list[float], list[float]] | None,
    rows_before: float,
    rows_after: float,
    whole: bool,
) -> dict[str, list[float]]:
    """Rows between the older data set's deciles.

    Where the newer deciles leave open how many of its rows are below an edge, the number closest to the older share is taken: what
    is not known is no difference.
    """
    if before is None or after is None:
        # Without values there is one cell, so that only the share of missing ones can differ.
        return {PRESENT: [rows_before, rows_after]}
    edges = sorted(set(before[0]))
    first = [_up_to(before, edge, whole)[0] for edge in edges]
    second = [
        min(max(share, low), high) for share, (low, high) in zip(first, (_up_to(after, e, whole) for e in edges), strict=True)
    ]
    names = [f"up to {edges[0]:.6g}", *(f"{low:.6g} to {high:.6g}" for low, high in zip(edges, edges[1:], strict=False))]
    names.append(f"above {edges[-1]:.6g}")
    counts = [np.diff([0.0, *shares, 1.0]) * rows for shares, rows in ((first, rows_before), (second, rows_after))]
    counted: dict[str, list[float]] = {}
    for name, *sides in zip(names, *counts, strict=True):
        cell = counted.setdefault(name, [0.0, 0.0])
        cell[:] = [max(old + new, 0.0) for old, new in zip(cell, map(float, sides), strict=True)]
    return {name: cell for name, cell in counted.items() if any(cell)}


def _up_to(known: tuple[list[float], list[float]], value: float, whole: bool) -> tuple[float, float]:
    """The share of values up to a value, as the least and the most it can be.

    Between two deciles fractions are taken to be spread evenly; whole numbers may all sit on one of them. Nothing is known inside the
    outermost buckets either, which one far outlier stretches.
    """
    edges, shares = known
    after = bisect.bisect_right(edges, value)
    if after == 0 or after == len(edges):
        return (0.0, 0.0) if after == 0 else (1.0, 1.0)
    low, high = edges[after - 1], edges[after]
    if value == low:
        return shares[after - 1], shares[after - 1]
    if whole or after in (1, len(edges) - 1):
        return shares[after - 1], shares[after]
    share = shares[after - 1] + (shares[after] - shares[after - 1]) * (value - low) / (high - low)
    return share, share
