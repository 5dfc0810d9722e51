"""Transformed rows kept in local files, so that they are parsed and transformed once, however many epochs and networks read them.

Files, and not memory, because identifiers of n-grams take ten times the bytes of their texts, and many more than these once
compressed. What was written last is in the operating system's page cache all the same, where there is memory for it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from components.training.examples import POOLS_SHUFFLED

Pool = Mapping[str, Any]
Reading = Callable[[int | None], tf.data.Dataset]

# The rest of the disk is for whoever else writes, the exported model among them.
_SHARE_OF_FREE_BYTES = 0.5

_log = logging.getLogger(__name__)


def keep(read: Reading, folder: str, look: Callable[[Pool], None], most_bytes: int | None = None) -> Reading:
    """Reads a split once, and keeps its pools where there is space for them.

    Args:
      read: Reads and transforms the split; takes the seed of the order of pools, or None.
      folder: Where the files go; it is made, and removed again where there is too little space.
      look: Sees each pool once.
      most_bytes: At most so many are written; half of the free ones if None.

    Returns:
      What reads the same pools again, by the same argument: from the files, or as before.
    """
    os.makedirs(folder)
    left = most_bytes if most_bytes is not None else int(shutil.disk_usage(folder).free * _SHARE_OF_FREE_BYTES)
    source = read(None)
    count = 0
    for pool in source:
        look(pool)
        if left < 0:
            continue
        serialized = _serialize(pool).numpy()
        left -= len(serialized)
        if left < 0 or not _is_written(serialized, os.path.join(folder, str(count))):
            _log.info("Transformed rows do not fit into %s: they are made anew in every epoch", folder)
            shutil.rmtree(folder)
            left = -1
            continue
        count += 1
    return read if left < 0 else _files(folder, count, source.element_spec)


def _is_written(content: bytes, path: str) -> bool:
    """Writes a file, and says whether there was space for it: others may have filled the disk meanwhile."""
    try:
        with open(path, "wb") as file:
            file.write(content)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return False
    return True


def _files(folder: str, count: int, spec: Any) -> Reading:
    parts = tf.nest.flatten(spec, expand_composites=True)

    @tf.autograph.experimental.do_not_convert
    def load(number):
        serialized = tf.io.read_file(tf.strings.join([folder, os.sep, tf.strings.as_string(number)]))
        stored = tf.unstack(tf.io.parse_tensor(serialized, tf.string), len(parts))
        tensors = [
            tf.ensure_shape(tf.cast(tf.io.parse_tensor(tensor, _stored(part.dtype)), part.dtype), part.shape)
            for tensor, part in zip(stored, parts, strict=True)
        ]
        return tf.nest.pack_sequence_as(spec, tensors, expand_composites=True)

    def read(seed: int | None) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(count)
        if seed is not None:
            numbers = numbers.shuffle(POOLS_SHUFFLED, seed=seed)
        return numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)

    return read


@tf.function(autograph=False, reduce_retracing=True)
def _serialize(pool: Pool) -> tf.Tensor:
    tensors = tf.nest.flatten(pool, expand_composites=True)
    return tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(tf.cast(part, _stored(part.dtype))) for part in tensors]))


def _stored(kind: tf.DType) -> tf.DType:
    """Returns what a tensor is stored as: identifiers, and where rows begin in a pool, are far below 2**31."""
    return tf.int32 if kind == tf.int64 else kind
