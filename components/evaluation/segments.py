"""What rows are sliced by: values of columns, buckets of numeric columns, buckets of message length, and crosses of these.

Every row is in exactly one slice of every segment: a row without a value is in the slice `(missing)`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.errors import UsageError

MISSING = "(missing)"

MOST_VALUES = 5000
"""A segment with more values identifies rows rather than groups of them, and is not sliced."""

# A number with this few distinct quantiles is a category.
_FEW_VALUES = 4

# Of a bucket's limit.
_MOST_DIGITS = 10

_LENGTH_LIMITS = (10, 20, 40, 80, 160, 320)


@dataclasses.dataclass(frozen=True)
class SegmentColumn:
    """One column to slice by.

    Attributes:
      name: Its name; a length segment's is `length(<column>)`.
      source: The column it is computed from.
      kind: `values` as they are, `buckets` of a number, or `length` of a text in characters.
      edges: Lower limits of all buckets but the first, rising.
    """

    name: str
    source: str
    kind: Literal["values", "buckets", "length"] = "values"
    edges: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Segment:
    """One column, or a cross of several; `declared` in the pipeline file, or made up here."""

    columns: tuple[SegmentColumn, ...]
    declared: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)

    @property
    def kind(self) -> str:
        """`cross`, or the kind of its one column."""
        return self.columns[0].kind if len(self.columns) == 1 else "cross"


def plan(
    declared: Sequence[Sequence[str]], text: Sequence[str], quantiles: Mapping[str, Sequence[float]], with_length: bool
) -> tuple[Segment, ...]:
    """Returns the segments of an evaluation, declared ones first.

    Args:
      declared: Columns, or crosses of columns, of the pipeline file.
      text: Text columns.
      quantiles: Of each numeric column, quantiles of its training values, rising; they become its buckets. A column with few
        distinct ones is sliced by its values.
      with_length: Whether to slice by the length of each text column.
    """

    def column(name: str) -> SegmentColumn:
        edges = bucket_edges(quantiles[name]) if len(set(quantiles.get(name, ()))) > _FEW_VALUES else ()
        return SegmentColumn(name, name, "buckets", edges) if edges else SegmentColumn(name, name)

    segments = [Segment(tuple(column(name) for name in names)) for names in declared]
    if with_length:
        limits = tuple(float(limit + 1) for limit in _LENGTH_LIMITS)
        segments += [Segment((SegmentColumn(f"length({name})", name, "length", limits),), declared=False) for name in text]
    return tuple(segments)


def training_quantiles(statistics: statistics_pb2.DatasetFeatureStatisticsList, columns: Iterable[str]) -> dict[str, list[float]]:
    """Returns quantiles of the numeric ones among some columns, from TFDV's statistics of the train split."""
    wanted, found = set(columns), {}
    for feature in statistics.datasets[0].features if statistics.datasets else ():
        name = feature.path.step[0] if feature.path.step else feature.name
        for histogram in feature.num_stats.histograms:
            if name in wanted and histogram.type == statistics_pb2.Histogram.QUANTILES and histogram.buckets:
                found[name] = [histogram.buckets[0].low_value, *(bucket.high_value for bucket in histogram.buckets)]
    return found


def bucket_edges(quantiles: Sequence[float], buckets: int = 4) -> tuple[float, ...]:
    """Returns limits that cut a column into buckets of about equal size, at numbers that are easy to read.

    Args:
      quantiles: Values at equal steps of probability, from the smallest value to the largest; infinite ones are left out.
      buckets: How many buckets at most; fewer where one value is very frequent, one (no limits) where nearly all values are equal.
    """
    finite = np.asarray(quantiles, np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return ()
    cuts = np.quantile(finite, np.linspace(0, 1, buckets + 1)[1:-1])
    inner = {value for value in cuts.tolist() if finite[0] < value < math.inf}
    edges: tuple[float, ...] = ()
    # As few digits as keep the limits apart: years need more of them than amounts.
    for digits in range(2, _MOST_DIGITS + 1):
        edges = tuple(sorted({edge for edge in (float(f"{value:.{digits}g}") for value in inner) if edge > finite[0]}))
        if len(edges) == len(inner):
            break
    return edges


def slice_values(column: SegmentColumn, values: pa.Array) -> pa.DictionaryArray:
    """Returns the slice value of each row as text: dictionary array [n].

    Args:
      column: What to slice by.
      values: The source column, [n]: text or numbers, null where a row has none. An empty text and NaN are no values either.

    Raises:
      UsageError: A text in a column of numbers is not one.
    """
    if column.kind == "values":
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        return _or_missing(values.cast(pa.string())).dictionary_encode()
    numbers = _numbers(column, pc.utf8_length(values.cast(pa.string())) if column.kind == "length" else values)
    bucket = np.where(np.isnan(numbers), len(column.edges) + 1, np.searchsorted(column.edges, numbers, side="right"))
    names = [*bucket_names(column), MISSING]
    return pa.DictionaryArray.from_arrays(pa.array(bucket, pa.int32()), pa.array(names, pa.string()))


def bucket_names(column: SegmentColumn) -> list[str]:
    """Returns the buckets of a column as text, lowest first; `2 to 5` is from 2 on and below 5, `2 to 5` characters includes 5."""
    limits = [f"{edge:.{_MOST_DIGITS}g}" for edge in column.edges]
    if column.kind == "length":
        between = [f"{low:g} to {high - 1:g}" for low, high in itertools.pairwise((0, *column.edges))]
    else:
        between = [f"below {limits[0]}", *(f"{low} to {high}" for low, high in itertools.pairwise(limits))]
    return [*between, f"{limits[-1]} or more"]


def sort_key(segment: Segment, values: Sequence[str]) -> tuple:
    """Orders the slices of a segment: buckets by size, values by name, missing ones last."""
    key: list[tuple[int, str]] = []
    for column, value in zip(segment.columns, values, strict=True):
        order = bucket_names(column).index(value) if column.kind != "values" and value != MISSING else 0
        key.append((1_000_000 if value == MISSING else order, value))
    return tuple(key)


def _numbers(column: SegmentColumn, values: pa.Array) -> np.ndarray:
    """Returns numbers, or the numbers that texts spell, NaN where there is none: float64 [n]."""
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        text = values.cast(pa.string())
        values = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    try:
        # Integers beyond 2**53 may be rounded.
        return pc.fill_null(values.cast(pa.float64(), safe=False), math.nan).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        # Arrow's message would quote the row.
        raise UsageError(
            f"Column {column.source!r} held numbers in the train split and is sliced by size, so every test row needs a number there; "
            "received text that is not a number"
        ) from None


def _or_missing(values: pa.Array) -> pa.Array:
    # An empty string is what an absent value looks like in many tables.
    empty = pc.fill_null(pc.equal(values, ""), True)
    return pc.if_else(empty, MISSING, values)
