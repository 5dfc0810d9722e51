"""Rows for the trainer: tf.Examples read and transformed by the exported graph in pools of many rows, and pools cut into batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from components.transform.columns import LABEL, Columns

# A pool is parsed, transformed and shuffled at once: large enough to make per-call overhead vanish. Rows of long texts make smaller
# pools, because a text grows about thirtyfold as identifiers of n-grams and a hundredfold on the way; a table's rows do not grow.
_POOL_ROWS = 4096
_TEXT_POOL_BYTES = 2**20
_TABLE_POOL_BYTES = 16 * 2**20

# No pool is made smaller than this, so that shuffling its rows means something.
_FEWEST_POOL_ROWS = 64

# Batches are drawn from this many pools in turn.
_POOLS_AT_ONCE = 4

# Pools are drawn in an order that is mixed among so many of them.
POOLS_SHUFFLED = 64

# Serialized rows shuffled before they are pooled, because files are often sorted; fewer where they are long.
_SHUFFLED_ROWS = 200_000
_SHUFFLED_BYTES = 256 * 2**20

# Files read in turn. A number of its own, and not one that TensorFlow chooses by the machine: it decides on the order of rows.
_FILES_AT_ONCE = 8

# How long rows are is estimated by the first rows of some files.
_SAMPLED_FILES, _SAMPLED_ROWS = 8, 256


@dataclasses.dataclass(frozen=True)
class Share:
    """A part of a split: that of reader `index` of `readers`. All shares together are the split, and no row is in two of them."""

    readers: int
    index: int


ALL_ROWS = Share(1, 0)

Transform = Callable[[Mapping[str, tf.SparseTensor]], Mapping[str, tf.Tensor]]


def raw_spec(columns: Columns, with_label: bool = True) -> dict[str, tf.io.VarLenFeature]:
    """Returns how a serialized row is parsed: the model's inputs and, for training, the label; every value may be absent."""
    spec = {name: tf.io.VarLenFeature(tf.string) for name in columns.inputs}
    spec |= {name: tf.io.VarLenFeature(tf.float32) for name in columns.numeric}
    spec |= {name: tf.io.VarLenFeature(tf.int64) for name in columns.integers}
    if with_label:
        spec[columns.label] = tf.io.VarLenFeature(tf.string)
    return spec


def transformed_pools(
    patterns: Sequence[str],
    columns: Columns,
    transform: Transform,
    seed: int,
    unseen_labels: bool = False,
    share: Share = ALL_ROWS,
    order_seed: int | None = None,
) -> tf.data.Dataset:
    """Reads a split.

    Args:
      patterns: Globs of gzipped TFRecord files.
      columns: The model's columns.
      transform: The exported preprocessing graph.
      seed: Of the shuffle before pooling.
      unseen_labels: Whether to keep the rows whose label training has not seen.
      share: What to read of it: whole files where they can be dealt out equally, else every so many rows.
      order_seed: Of the order of pools, which differs between readings; None keeps it.

    Returns:
      Pools: transformed features by name, each with up to `_POOL_ROWS` rows. What is held at once is bounded in bytes: serialized rows
      to shuffle, and the few pools that are being transformed.
    """
    files = sorted(tf.io.gfile.glob(list(patterns)))
    by_file = len(files) % share.readers == 0
    if by_file:
        files = files[share.index :: share.readers]
    spec = raw_spec(columns)

    # Converting Python to graph code costs a second each time, and there is nothing to convert.
    @tf.autograph.experimental.do_not_convert
    def transform_pool(serialized):
        features = transform(tf.io.parse_example(serialized, spec))
        return features if unseen_labels else with_seen_labels(features)

    row_bytes = _row_bytes(files)
    pool_rows = _pool_rows(row_bytes, _TEXT_POOL_BYTES if columns.text else _TABLE_POOL_BYTES)
    records = _records(files)
    if not by_file:
        records = records.shard(share.readers, share.index)
    shuffled_rows = min(_SHUFFLED_ROWS, max(1, int(_SHUFFLED_BYTES / row_bytes)))
    pools = records.shuffle(shuffled_rows, seed=seed, reshuffle_each_iteration=False).batch(pool_rows)
    if order_seed is not None:
        pools = pools.shuffle(POOLS_SHUFFLED, seed=order_seed)
    return pools.map(transform_pool, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)


def with_seen_labels(pool: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns a pool without the rows whose label training has not seen."""
    seen = tf.where(pool[LABEL] >= 0)[:, 0]
    return {name: tf.gather(values, seen) for name, values in pool.items()}


def batches(pools: tf.data.Dataset, inputs: Sequence[str], classes: int, batch_size: int, seed: int | None) -> tf.data.Dataset:
    """Cuts pools into batches.

    Args:
      pools: Transformed features by name and many rows, as `transformed_pools` returns them.
      inputs: The features the network reads.
      classes: How many labels there are.
      batch_size: Rows a batch.
      seed: Of the order of rows in a pool, the same in each epoch: what differs between epochs is which pools take turns. None keeps
        the order of rows and of pools.

    Returns:
      Pairs of features by name and one-hot labels, float32 [B, classes]; zeros for a label that training has not seen.
    """

    @tf.autograph.experimental.do_not_convert
    def cut(pool):
        rows = tf.data.Dataset.range(tf.shape(pool[LABEL], tf.int64)[0])
        if seed is not None:
            rows = rows.shuffle(_POOL_ROWS, seed=seed)
        return rows.batch(batch_size).map(tf.autograph.experimental.do_not_convert(lambda chosen: take(pool, chosen)))

    def take(pool, chosen):
        return {name: tf.gather(pool[name], chosen) for name in inputs}, tf.one_hot(tf.gather(pool[LABEL], chosen), classes)

    if seed is None:
        return pools.flat_map(cut).prefetch(2)
    return pools.interleave(cut, cycle_length=_POOLS_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _records(files: Sequence[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(
        list(files),
        compression_type="GZIP",
        buffer_size=8 * 2**20,
        num_parallel_reads=min(len(files), _FILES_AT_ONCE) if len(files) > 1 else None,
    )


def _row_bytes(files: Sequence[str]) -> float:
    """Returns how many bytes a serialized row has, about; 1 where there is none."""
    sampled = list(files)[:: max(1, len(files) // _SAMPLED_FILES)]
    lengths = [
        length for file in sampled for length in _records([file]).take(_SAMPLED_ROWS).map(tf.strings.length).as_numpy_iterator()
    ]
    return max(1.0, float(np.mean(lengths))) if lengths else 1.0


def _pool_rows(row_bytes: float, most_bytes: int) -> int:
    """Returns how many rows make a pool: halved until they fit, so that batches of a power of two cut it without a remainder."""
    rows = _POOL_ROWS
    while rows > _FEWEST_POOL_ROWS and rows * row_bytes > most_bytes:
        rows //= 2
    return rows
