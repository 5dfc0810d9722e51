"""Rows for the trainer: tf.Examples read, transformed by the exported graph in large batches, kept in memory where they fit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from components.transform.columns import LABEL, Columns

# One of these is parsed, transformed and shuffled at once. Large enough to make per-call overhead vanish, small enough that the
# n-grams of 4,096 long messages stay below a gibibyte.
_POOL_ROWS = 4096

# Batches are drawn from this many pools in turn.
_POOLS_AT_ONCE = 4

# Serialized rows shuffled before they are pooled, because files are often sorted.
_SHUFFLED_ROWS = 200_000

# Compressed messages grow about fiftyfold as n-gram identifiers; below this size the transformed rows stay in memory.
_CACHED_BYTES = 32 * 2**20


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
) -> tf.data.Dataset:
    """Reads a split.

    Args:
      patterns: Globs of gzipped TFRecord files.
      columns: The model's columns.
      transform: The exported preprocessing graph.
      seed: Of the shuffle before pooling.
      unseen_labels: Whether to keep the rows whose label training has not seen.
      share: What to read of it: whole files where they can be dealt out equally, else every so many rows.

    Returns:
      Pools: transformed features by name, each with up to `_POOL_ROWS` rows.
    """
    files = sorted(tf.io.gfile.glob(list(patterns)))
    by_file = len(files) % share.readers == 0
    if by_file:
        files = files[share.index :: share.readers]
    spec = raw_spec(columns)

    def transform_pool(serialized):
        features = transform(tf.io.parse_example(serialized, spec))
        return features if unseen_labels else with_seen_labels(features)

    records = tf.data.TFRecordDataset(files, compression_type="GZIP", buffer_size=8 * 2**20)
    if not by_file:
        records = records.shard(share.readers, share.index)
    pools = records.shuffle(_SHUFFLED_ROWS, seed=seed, reshuffle_each_iteration=False).batch(_POOL_ROWS)
    pools = pools.map(transform_pool, num_parallel_calls=2)
    return pools.cache() if sum(os.path.getsize(file) for file in files) <= _CACHED_BYTES else pools.prefetch(1)


def with_seen_labels(pool: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns a pool without the rows whose label training has not seen."""
    seen = tf.where(pool[LABEL] >= 0)[:, 0]
    return {name: tf.gather(values, seen) for name, values in pool.items()}


def batches(pools: tf.data.Dataset, inputs: Sequence[str], classes: int, batch_size: int, seed: int | None) -> tf.data.Dataset:
    """Cuts pools into batches.

    Args:
      pools: What `transformed_pools` returned.
      inputs: The features the network reads.
      classes: How many labels there are.
      batch_size: Rows a batch.
      seed: Of the order of rows, which differs between epochs; None keeps the order.

    Returns:
      Pairs of features by name and one-hot labels, float32 [B, classes]; zeros for a label that training has not seen.
    """

    def cut(pool):
        rows = tf.data.Dataset.range(tf.shape(pool[LABEL], tf.int64)[0])
        if seed is not None:
            rows = rows.shuffle(_POOL_ROWS, seed=seed)
        return rows.batch(batch_size).map(lambda chosen: take(pool, chosen))

    def take(pool, chosen):
        return {name: tf.gather(pool[name], chosen) for name in inputs}, tf.one_hot(tf.gather(pool[LABEL], chosen), classes)

    if seed is None:
        return pools.flat_map(cut).prefetch(2)
    return pools.shuffle(64, seed=seed).interleave(cut, cycle_length=_POOLS_AT_ONCE, num_parallel_calls=2).prefetch(4)
