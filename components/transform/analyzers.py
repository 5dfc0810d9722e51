"""Analyzers that look at all columns of a role at once.

TensorFlow Transform's own look at one column each, and every one of them costs about a second of planning in Beam.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator, Sequence

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


class ColumnSketches(beam.CombineFn):
    """Combines batches, float32 [B, N], into boundaries between equally large parts of each column, float32 [N, count - 1].

    An accumulator is a sketch of all columns, and which of them have had a value.
    """

    def __init__(self, columns: int, count: int, error: float):
        super().__init__()
        self._columns, self._count, self._error = columns, count, error

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
        self._combine = ColumnSketches(columns, count, error)

    def expand(self, batches):
        return batches | "TakeNumbers" >> beam.Map(lambda batch: batch[0]) | "Sketch" >> beam.CombineGlobally(self._combine)


class _Categories(tft_beam.experimental.PTransformAnalyzer):
    def __init__(self, columns: int, most: int, least_rows: int, name: str):
        super().__init__()
        self._columns, self._most, self._least_rows, self._name = columns, most, least_rows, name

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
            | "Write" >> beam.Map(lambda ranked: _write(path, _lines(dict(ranked), columns)))
        )


def _count(batch: Sequence[np.ndarray]) -> Iterator[tuple[tuple[int, bytes], int]]:
    """Yields ((column, value), rows) of a batch, strings [B, C], without values that cannot be a line of a file."""
    for column, values in enumerate(batch[0].T):
        for value, rows in collections.Counter(values.tolist()).items():
            if value and b"\n" not in value and b"\r" not in value:
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


def _write(path: str, lines: Iterable[bytes]) -> np.ndarray:
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
    return np.array(path)
