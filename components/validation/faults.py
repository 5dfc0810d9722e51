"""Faults of data that explain why columns differ: two that changed places, another unit, an emptied column, one value all over.

A difference says that something happened; these say what. Each is recognised by what it does to statistics, which a change in the world
hardly does: the world does not exchange two columns, or multiply all deciles of a number by 1,000.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.validation import distances

_Feature = statistics_pb2.FeatureNameStatistics

# Ratios of units that are mistaken for each other, with their names where a factor alone does not tell.
_FACTORS = {
    **dict.fromkeys((10.0, 24.0, 60.0, 100.0, 1000.0, 3600.0, 86_400.0, 1e6, 1e9), ""),
    1.609344: "miles to kilometres",
    2.204623: "kilograms to pounds",
    2.54: "inches to centimetres",
    3.28084: "metres to feet",
}
# From here on all deciles of a number do not grow alike unless its unit changed.
_NO_GROWTH = 10.0
# How far one decile, and the middle one, may be off a factor (natural logarithm), because both sides are samples; of small factors less.
_SPREAD, _OFF, _SMALL_SPREAD, _SMALL_OFF = 0.4, 0.2, 0.1, 0.05
_LEAST_DECILES = 5
# Two columns changed places if that explains three quarters of a difference which is large by custom.
_LARGE_PSI, _LEFT_OVER = 0.25, 0.25
# Texts are told apart by their mean length: equal up to a quarter, different from one half on.
_SAME_LENGTH, _OTHER_LENGTH = 1.25, 1.5
# One of many values is all over if it has a tenth of the rows, and had less than a third of that before.
_MANY_VALUES, _FLOOD, _GROWTH = 50, 0.1, 3.0


@dataclasses.dataclass(frozen=True)
class Fault:
    """What seems to have happened to a column.

    Attributes:
      text: It, as the end of a sentence that begins with the column's name.
      certain: Whether the world does not do such things.
      holds_text: Whether the column may hold messages now, none of which may be shown.
    """

    text: str
    certain: bool
    holds_text: bool = False


def find(
    old: Mapping[str, _Feature],
    new: Mapping[str, _Feature],
    cells: Mapping[str, distances.Cells],
    different: Collection[str],
    text: Collection[str],
) -> dict[str, Fault]:
    """Looks for faults among columns that differ.

    Args:
      old: Statistics of the older data by column.
      new: Those of the newer data.
      cells: What the two were compared by.
      different: The columns that differ.
      text: Message columns, whose values nobody looks at.

    Returns:
      The fault by column; those without one are left out.
    """
    found: dict[str, Fault] = {}
    for one, other in _exchanged(old, new, cells, different, text):
        for name, place in ((one, other), (other, one)):
            found[name] = Fault(f"seems to have changed places with column {place!r}", True, place in text)
    for name in sorted(set(different) - found.keys()):
        if distances.present(old[name]) and not distances.present(new[name]):
            found[name] = Fault("has no values any more", True)
        elif (times := factor(old[name], new[name])) is not None:
            found[name] = Fault(_of_factor(times), max(times, 1 / times) >= _NO_GROWTH)
        elif name not in text and name in cells and (flood := _flood(old[name], cells[name])):
            found[name] = Fault(flood, False)
    return found


def factor(before: _Feature, after: _Feature) -> float | None:
    """Returns by what every decile of a number seems to have been multiplied, if it is the ratio of two units; otherwise None."""
    deciles = [_inner_deciles(feature) for feature in (before, after)]
    if len(deciles[0]) != len(deciles[1]):
        return None
    old, new = map(np.asarray, deciles)
    zero = old == 0
    if (zero != (new == 0)).any() or (~zero).sum() < _LEAST_DECILES or (old[~zero] * new[~zero] < 0).any():
        return None
    logs = np.log(new[~zero] / old[~zero])
    middle = float(np.median(logs))
    known = min(_FACTORS, key=lambda times: abs(math.log(times) - abs(middle)))
    spread, off = (_SPREAD, _OFF) if known >= _NO_GROWTH else (_SMALL_SPREAD, _SMALL_OFF)
    if abs(math.log(known) - abs(middle)) > off or np.abs(logs - middle).max() > spread:
        return None
    return known if middle > 0 else 1 / known


def _of_factor(times: float) -> str:
    known = max(times, 1 / times)
    known = min(_FACTORS, key=lambda one: abs(one - known))
    amount = f"{known:,.0f}" if known >= _NO_GROWTH else f"{known:.4g}"
    units = _FACTORS[known]
    if times < 1 and units:
        units = " to ".join(reversed(units.split(" to ")))
    how = f"looks {'multiplied' if times > 1 else 'divided'} by {amount}"
    return f"{how}, as from {units}" if units else f"{how}, as in another unit"


def _inner_deciles(feature: _Feature) -> list[float]:
    for histogram in feature.num_stats.histograms if feature.HasField("num_stats") else ():
        if histogram.type == statistics_pb2.Histogram.QUANTILES:
            edges = [bucket.high_value for bucket in histogram.buckets][:-1]
            return edges if np.isfinite(edges).all() else []
    return []


def _exchanged(
    old: Mapping[str, _Feature],
    new: Mapping[str, _Feature],
    cells: Mapping[str, distances.Cells],
    different: Collection[str],
    text: Collection[str],
) -> Sequence[tuple[str, str]]:
    """Pairs of columns of which each looks like the other one did, the most similar first, each column once."""
    ranked = []
    # Texts have no cells by which they could differ.
    candidates = sorted({*different, *(name for name in text if name in old.keys() & new.keys())})
    for one, other in itertools.combinations(candidates, 2):
        texts = one in text or other in text
        left = _left_of_texts(old, new, one, other) if texts else _left_of_values(old, new, cells, one, other)
        if left is not None:
            ranked.append((left, one, other))
    pairs: list[tuple[str, str]] = []
    for _, one, other in sorted(ranked):
        if not {one, other} & set(itertools.chain.from_iterable(pairs)):
            pairs.append((one, other))
    return pairs


def _left_of_values(
    old: Mapping[str, _Feature], new: Mapping[str, _Feature], cells: Mapping[str, distances.Cells], one: str, other: str
) -> float | None:
    """The share of the difference that is left once two columns are exchanged back; None if they did not change places."""
    own = [distances.psi(cells[name]) for name in (one, other)]
    if min(own) < _LARGE_PSI:
        return None
    crossed = []
    for before, after in ((one, other), (other, one)):
        counted = distances.of_features(old[before], new[after], (distances.rows(old[before]), distances.rows(new[after])))
        if counted is None:
            return None
        crossed.append(distances.psi(counted))
    left = sum(crossed) / sum(own)
    return left if left <= _LEFT_OVER and max(crossed) <= _LARGE_PSI else None


def _left_of_texts(old: Mapping[str, _Feature], new: Mapping[str, _Feature], one: str, other: str) -> float | None:
    """The same where one of them is text: by mean length and by how many values are distinct, never by the values."""
    lengths = [
        [feature.string_stats.avg_length for feature in (known[one], known[other])] for known in (old, new)
    ]  # [[one, other] before, [one, other] after]
    if not all(itertools.chain.from_iterable(lengths)):
        return None
    moved = [abs(math.log(lengths[1][side] / lengths[0][side])) for side in (0, 1)]
    crossed = [abs(math.log(lengths[1][1 - side] / lengths[0][side])) for side in (0, 1)]
    if min(moved) < math.log(_OTHER_LENGTH) or max(crossed) > math.log(_SAME_LENGTH):
        return None
    distinct = [[_distinct(known[name]) for name in (one, other)] for known in (old, new)]
    as_it_was = sum(abs(distinct[0][side] - distinct[1][side]) for side in (0, 1))
    exchanged = sum(abs(distinct[0][side] - distinct[1][1 - side]) for side in (0, 1))
    return sum(crossed) / sum(moved) if exchanged <= as_it_was else None


def _flood(before: _Feature, cells: distances.Cells) -> str:
    """Says that one of many values has a large share of the rows now; empty if none has."""
    if before.string_stats.unique < _MANY_VALUES:
        return ""
    p, q = cells.shares()
    named = [place for place, name in enumerate(cells.names) if name not in (distances.MISSING, distances.RARE, distances.NEW)]
    place = max(named, key=lambda one: q[one] - p[one], default=None)
    if place is None or q[place] < _FLOOD or q[place] < _GROWTH * p[place]:
        return ""
    return f"is flooded by one value, now in {q[place]:.1%} of the rows"


def _distinct(feature: _Feature) -> float:
    return feature.string_stats.unique / max(distances.present(feature), 1.0)
