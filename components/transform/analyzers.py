"""Analyzers that look at all columns of a role at once.

TensorFlow Transform's own look at one column each, and every one of them costs about a second of planning in Beam.
"""

from __future__ import annotations

import collections
import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import beam as tft_beam
from tfx_bsl import sketches

from components.transform.columns import ABSENT_CATEGORY, RESERVED_CATEGORIES

# The sketch keeps its error bound up to this many rows.
_MOST_ROWS = 2**32

# TensorFlow Transform traces the graph once before it has analysed anything, and a table cannot be made of an empty file.
_BEFORE_ANALYSIS = b"nothing yet"


def quantiles(numbers: tf.Tensor, count: int, error: float) -> tf.Tensor:
    """Returns what parts each column's training values into equally many.

    Args:
      numbers: One column per number, float32 [B, N]; NaN where absent.
      count: How many parts.
      error: How far a boundary may be off, as a share of the rows.

    Returns:
      Boundaries in ascending order, float32 [N, count - 1]; zeros for a column without any value.
    """
    columns = numbers.shape[1]
    [boundaries] = tft.experimental.ptransform_analyzer(
        [numbers],
        _Quantiles(columns, count, error),
        output_dtypes=[tf.float32],
        output_shapes=[[columns, count - 1]],
    )
    return boundaries


def categories(values: tf.Tensor, most: int, least_rows: int, name: str) -> tf.Tensor:
    """Writes the training values of each column into one file, a table of all columns' identifiers.

    A line is a key, see `category_keys`. Each column has a block of lines, and a category's identifier is its place in the block:
    first come the reserved ones, then the values, the most frequent first.

    Args:
      values: One column per category, strings [B, C]; empty where absent.
      most: At most this many values of each column are kept.
      least_rows: Values in fewer rows are not kept.
      name: Of the file.

    Returns:
      The path of the file, a scalar string.
    """
    [path] = tft.experimental.ptransform_analyzer(
        [values],
        _Categories(values.shape[1], most, least_rows, name),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=[_BEFORE_ANALYSIS],
    )
    return path


def category_keys(values: tf.Tensor) -> tf.Tensor:
    """Returns the key of each value [B, C] in the file that `categories` writes; an empty one has its column's first line."""
    prefixes = [_key(column, b"") for column in range(values.shape[1])]
    return tf.strings.join([tf.broadcast_to(tf.constant(prefixes), tf.shape(values)), values])


def identifiers_per_column(lines: Iterable[bytes], columns: int) -> list[int]:
    """Returns how many identifiers each column has, reserved ones included.

    Args:
      lines: Of the file that `categories` wrote.
      columns: How many columns there are.
    """
    return np.bincount([int(line.partition(b"\t")[0]) for line in lines], minlength=columns).tolist()


class Combination(Protocol):
    """How what an analyzer reads is combined without Beam, see `analysis`; the methods are those of Beam's CombineFn."""

    def reduce(self, values: tf.Tensor) -> list[tf.Tensor]:
        """Returns what of a batch's values is to be combined, inside TensorFlow's graph."""

    def create_accumulator(self) -> Any:
        """Returns the accumulator of no batches; accumulators can be pickled."""

    def add_input(self, accumulator: Any, *reduced: np.ndarray) -> Any:
        """Adds what `reduce` returned to an accumulator, which may be changed, and returns the new one."""

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Returns the accumulator of all; the first may be changed."""


class ValueCounts:
    """Counts how often each value occurs in each column of batches, strings [B, C].

    An accumulator has a mapping of values to rows for each column.
    """

    def __init__(self, columns: int):
        self._columns = columns

    def reduce(self, values: tf.Tensor) -> list[tf.Tensor]:
        """Returns for each column the distinct values, strings [D], and in how many rows they are, int64 [D]."""
        counted = [tf.unique_with_counts(column, tf.int64) for column in tf.unstack(values, self._columns, axis=1)]
        return [tensor for column in counted for tensor in (column.y, column.count)]

    def create_accumulator(self) -> list[dict[bytes, int]]:
        """See Combination."""
        return [{} for _ in range(self._columns)]

    def add_input(self, accumulator: list[dict[bytes, int]], *reduced: np.ndarray) -> list[dict[bytes, int]]:
        """See Combination."""
        for counts, values, rows in zip(accumulator, reduced[::2], reduced[1::2], strict=True):
            _add(counts, zip(values.tolist(), rows.tolist(), strict=True))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[dict[bytes, int]]]) -> list[dict[bytes, int]]:
        """See Combination."""
        first, *others = accumulators
        for other in others:
            for counts, more in zip(first, other, strict=True):
                _add(counts, more.items())
        return first


class ColumnSketches(beam.CombineFn):
    """Combines batches, float32 [B, N], into boundaries between equally large parts of each column, float32 [N, count - 1].

    An accumulator is a sketch of all columns, and which of them have had a value.
    """

    def __init__(self, columns: int, count: int, error: float):
        super().__init__()
        self._columns, self._count, self._error = columns, count, error

    def reduce(self, values: tf.Tensor) -> list[tf.Tensor]:
        """See Combination."""
        return [values]

    def create_accumulator(self):
        return sketches.QuantilesSketch(self._error, _MOST_ROWS, self._columns), np.zeros(self._columns, bool)

    def add_input(self, accumulator, batch):
        sketch, seen = accumulator
        sketch.AddValues(pa.array(batch.ravel()))
        return sketch, seen | ~np.isnan(batch).all(axis=0)

    def merge_accumulators(self, accumulators):
        accumulators = iter(accumulators)
        sketch, seen = next(accumulators)
        for other, also_seen in accumulators:
            sketch.Merge(other)
            seen = seen | also_seen
        return sketch, seen

    def extract_output(self, accumulator):
        sketch, seen = accumulator
        # The sketch leaves columns without values out of its answer. NaN is no value, so this row changes none of the others.
        sketch.AddValues(pa.array(np.where(seen, np.nan, 0.0)))
        return np.array(sketch.GetQuantiles(self._count).to_pylist(), np.float32)[:, 1:-1]


class _Quantiles(beam.PTransform):
    def __init__(self, columns: int, count: int, error: float):
        super().__init__()
        self.combination = ColumnSketches(columns, count, error)

    def expand(self, batches):
        return batches | "TakeNumbers" >> beam.Map(lambda batch: batch[0]) | "Sketch" >> beam.CombineGlobally(self.combination)

    def result(self, accumulator, folder: str) -> np.ndarray:
        """Returns the boundaries."""
        return self.combination.extract_output(accumulator)


class _Categories(tft_beam.experimental.PTransformAnalyzer):
    def __init__(self, columns: int, most: int, least_rows: int, name: str):
        super().__init__()
        self.combination = ValueCounts(columns)
        self._columns, self._most, self._least_rows, self._name = columns, most, least_rows, name

    def result(self, accumulator: list[dict[bytes, int]], folder: str) -> np.ndarray:
        """Writes the file to a folder and returns its path."""
        ranked = {
            column: most_frequent(
                ((rows, value) for value, rows in counts.items() if _is_line(value)), self._most, self._least_rows
            )
            for column, counts in enumerate(accumulator)
        }
        return write_lines(os.path.join(folder, self._name), _lines(ranked, self._columns))

    def expand(self, batches):
        least_rows, columns = self._least_rows, self._columns
        path = os.path.join(self.base_temp_dir, self._name)
        return (
            batches
            | "CountInBatch" >> beam.FlatMap(_count)
            | "Count" >> beam.CombinePerKey(sum)
            | "Frequent" >> beam.Filter(lambda counted: counted[1] >= least_rows)
            | "ByColumn" >> beam.Map(lambda counted: (counted[0][0], (counted[1], counted[0][1])))
            | "MostFrequent" >> beam.combiners.Top.PerKey(self._most)
            | "Gather" >> beam.combiners.ToList()
            | "Write" >> beam.Map(lambda ranked: write_lines(path, _lines(dict(ranked), columns)))
        )


def _count(batch: Sequence[np.ndarray]) -> Iterator[tuple[tuple[int, bytes], int]]:
    """Yields ((column, value), rows) of a batch, strings [B, C], without values that cannot be a line of a file."""
    for column, values in enumerate(batch[0].T):
        for value, rows in collections.Counter(values.tolist()).items():
            if _is_line(value):
                yield (column, value), rows


def _lines(ranked: dict[int, list[tuple[int, bytes]]], columns: int) -> Iterator[bytes]:
    """Yields the lines of the file, from the (rows, value) pairs of each column in order."""
    for column in range(columns):
        # Every key has a tab; lines without one hold the places of identifiers that nothing is looked up for.
        reserved = [b"%d" % column] * RESERVED_CATEGORIES
        reserved[ABSENT_CATEGORY] = _key(column, b"")
        yield from reserved
        yield from (_key(column, value) for _, value in ranked.get(column, ()))


def _key(column: int, value: bytes) -> bytes:
    return b"%d\t%s" % (column, value)


def _is_line(value: bytes) -> bool:
    return bool(value) and b"\n" not in value and b"\r" not in value


def _add(counts: dict[bytes, int], more: Iterable[tuple[bytes, int]]) -> None:
    for value, rows in more:
        counts[value] = counts.get(value, 0) + rows


def most_frequent(counted: Iterable[tuple[int, bytes]], most: int | None, least_rows: int) -> list[tuple[int, bytes]]:
    """Ranks values as TensorFlow Transform ranks a vocabulary.

    Args:
      counted: Pairs (rows, value).
      most: How many to return; None for all.
      least_rows: Of a value to be among them.

    Returns:
      The pairs in descending order, equally frequent values in descending order of their bytes.
    """
    frequent = (pair for pair in counted if pair[0] >= least_rows)
    return sorted(frequent, reverse=True) if most is None else heapq.nlargest(most, frequent)


def write_lines(path: str, lines: Iterable[bytes]) -> np.ndarray:
    """Writes a file of lines and returns its path, a scalar string."""
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    return np.array(path)
