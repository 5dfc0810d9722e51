"""TFRecord files of tf.Examples as tables, without TensorFlow: a feature is a column, plain files and gzip alike."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from tfx_bsl.coders import example_coder

from components.errors import UsageError
from components.ingestion import value_columns
from components.ingestion.quarantine import Rejected
from serving import tfrecords
from serving.messages import Example

NO_EXAMPLE = "not a tf.Example"

# A block bounds memory.
_RECORDS_PER_BLOCK = 16_384
_BLOCK_BYTES = 16 << 20
_GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive records of one file.

    Attributes:
      rows: One column for every feature that one of them has. A feature of several values is JSON text.
      positions: int64 [rows], 1-based numbers of the records.
      rejected: The records set aside.
    """

    rows: pa.RecordBatch
    positions: np.ndarray
    rejected: list[Rejected]


def read(path: pathlib.Path) -> Iterator[Block]:
    """Streams a file of tf.Examples.

    Raises:
      UsageError: A record or the compression is torn or damaged. Training on the beginning of a file would go unnoticed.
      OSError: The file cannot be read.
    """
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    pending: list[bytes] = []
    before = size = 0
    with _opened(path) as file:
        try:
            for record in tfrecords.records(file):
                pending.append(record)
                size += len(record)
                if len(pending) >= _RECORDS_PER_BLOCK or size >= _BLOCK_BYTES:
                    yield _block(decoder, pending, before)
                    before, pending, size = before + len(pending), [], 0
        except (tfrecords.TornRecordError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            number = before + len(pending) + 1
            raise UsageError(
                f"{path} cannot be read as tfrecord: record {number} is torn or damaged, and what follows it is lost."
                " Write the file again, or copy it again from where it is whole"
            ) from error
    if pending:
        yield _block(decoder, pending, before)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        # Names do not tell: the frameworks compress without a suffix as well.
        compressed = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if compressed:
            with gzip.open(file) as content:
                yield cast(BinaryIO, content)
        else:
            yield file


def _block(decoder: example_coder.ExamplesToRecordBatchDecoder, records: list[bytes], before: int) -> Block:
    positions = np.arange(before + 1, before + len(records) + 1, dtype=np.int64)
    try:
        lists = decoder.DecodeBatch(records)
    except RuntimeError:
        # No example, or features of one name and several types. The decoder gives up on all of them; one by one they can be read.
        return _one_by_one(records, positions)
    columns = [_single_values(column) for column in lists.columns]
    return Block(pa.RecordBatch.from_arrays(columns, names=lists.schema.names), positions, [])


def _one_by_one(records: list[bytes], positions: np.ndarray) -> Block:
    rows = [_row(record) for record in records]
    good = np.array([row is not None for row in rows], dtype=bool)
    there = [row for row in rows if row is not None]
    names = dict.fromkeys(name for row in there for name in row)
    columns = [value_columns.column([row.get(name) for row in there]) for name in names]
    rejected = [] if good.all() else [Rejected(NO_EXAMPLE, positions[~good])]
    return Block(pa.RecordBatch.from_arrays(columns, names=list(names)), positions[good], rejected)


def _row(record: bytes) -> dict[str, Any] | None:
    try:
        example = Example.FromString(record)
    except DecodeError:
        return None
    row = {}
    for name, feature in sorted(example.features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind is not None else []
        row[name] = values[0] if len(values) == 1 else _text(values)
    return row


def _single_values(column: pa.Array) -> pa.Array:
    """Takes values out of their lists where no list has more than one."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return column
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    if pc.max(lengths).as_py() in (0, 1):
        single = pc.equal(lengths, 1)
        indices = pc.subtract(pc.cumulative_sum(pc.cast(single, pa.int64())), 1)
        return column.flatten().take(pc.if_else(single, indices, pa.scalar(None, pa.int64())))
    return pa.array([_text(values) for values in column.to_pylist()], pa.binary())


def _text(values: list[bytes | int | float] | None) -> bytes | None:
    if not values:
        return None
    if len(values) == 1:
        return values[0] if isinstance(values[0], bytes) else str(values[0]).encode()
    return json.dumps(values, ensure_ascii=False, default=lambda value: value.decode("utf-8", "replace")).encode()
