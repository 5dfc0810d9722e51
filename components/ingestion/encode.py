"""Record batches to compressed TFRecord files of tf.Examples.

The bytes of an example are laid down column by column, not row by row: what stands before a value in it (field tags, lengths, the
column's name) depends on the value's length alone, so that it is made once for every length there is, and Arrow joins those headers
and the values of all rows. tfx_bsl's encoder and a Python loop around it take more than twice as long, and hold Python's lock meanwhile.

The TFRecord frame around each example (length, checksum of the length, example, checksum of the example) is laid here as well, because
TensorFlow's writer takes records one by one and drags TensorFlow into a stage that needs nothing else of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal import isal_zlib

ROWS_PER_SHARD = 200_000

# Bounds the serialized examples held at once, and Arrow's offsets have 32 bits.
_ROWS_PER_BLOCK = 16_384
_BYTES_PER_BLOCK = 16 << 20
GZIP_LEVEL = 2
"""Level of ISA-L, which is five times as fast as zlib's first, with files a little smaller. zlib's sixth, the default everywhere, takes ten
times as long for files a seventh smaller, which are read a few times and kept for one run (`python -m benchmarks.intents --compression`).
"""
_GZIP_FORMAT = 16 + zlib.MAX_WBITS

# Of protocol buffers: a field's number and that its value has a length before it.
_FIELD_1, _FIELD_2, _FIELD_3 = 0x0A, 0x12, 0x1A
_LONGEST_VARINT = 10
# Of a TFRecord, bytes before and behind the example.
_FRAME_HEADER, _FRAME_FOOTER = 12, 4
# Lengths are counted in a table up to this one, and sorted beyond.
_LONGEST_COUNTED = 1 << 20
# Headers by length that are kept ready.
_MOST_HEADERS = 1 << 14


@dataclasses.dataclass(frozen=True)
class Block:
    """Encoded rows.

    Attributes:
      rows: How many.
      content: Their records, as a gzip member: one after another, members are a gzip file.
    """

    rows: int
    content: bytes


class ExampleWriter:
    """Writes the tf.Examples of one split; a context manager.

    Shards appear under their final names, `data_tfrecord-00000-of-00002.gz`, when the writer is closed without an error, in place of
    any that were there; after an error nothing is left.

    Args:
      folder: Where the shards go; it is made if needed.
      rows_per_shard: A shard is closed before it would have more rows.

    Attributes:
      rows: Rows written so far.
      bytes: Size of the shards, known once closed.
    """

    def __init__(self, folder: pathlib.Path, rows_per_shard: int = ROWS_PER_SHARD):
        self.rows = 0
        self.bytes = 0
        self._folder = folder
        self._rows_per_shard = rows_per_shard
        self._shards: list[pathlib.Path] = []
        self._open_files = contextlib.ExitStack()
        self._file: BinaryIO | None = None
        self._rows_in_shard = 0

    def __enter__(self) -> ExampleWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        # An attempt that was killed while it published may have left some, of another number.
        for shard in self._folder.glob("data_tfrecord-*.gz"):
            shard.unlink()
        return self

    def write(self, rows: pa.RecordBatch) -> None:
        """Encodes and appends rows, see `blocks`."""
        self.append(blocks(rows))

    def append(self, blocks: Iterable[Block]) -> None:
        """Appends rows that have been encoded."""
        for block in blocks:
            if self._file is not None and self._rows_in_shard + block.rows > self._rows_per_shard:
                self._close_shard()
            if self._file is None:
                self._open_shard()
            self._file.write(block.content)
            self._rows_in_shard += block.rows
            self.rows += block.rows

    def end_shard(self) -> None:
        """Has the next rows begin a new shard."""
        if self._file is not None:
            self._close_shard()

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            if error_type is None:
                self._publish()
        finally:
            for shard in self._shards:
                shard.unlink(missing_ok=True)
            self._open_files.close()

    def _open_shard(self) -> None:
        # A leading dot keeps an unfinished shard out of every reader's `*`.
        self._shards.append(self._folder / f".data_tfrecord-{len(self._shards):05d}.partial")
        self._file = self._open_files.enter_context(open(self._shards[-1], "wb"))  # noqa: SIM115 - the stack closes it
        self._rows_in_shard = 0

    def _close_shard(self) -> None:
        self._open_files.close()
        self._file = None

    def _publish(self) -> None:
        self.end_shard()
        for index, shard in enumerate(self._shards):
            self.bytes += shard.stat().st_size
            os.replace(shard, self._folder / f"data_tfrecord-{index:05d}-of-{len(self._shards):05d}.gz")


def blocks(rows: pa.RecordBatch) -> Iterator[Block]:
    """Encodes rows.

    Args:
      rows: Columns of string, int64 or float32; a null becomes a feature without a value, which TensorFlow and TFDV read as they read
        an absent one.

    Yields:
      The rows in order, so many at a time that memory is bounded.
    """
    columns = [_column(name, column) for name, column in zip(rows.schema.names, rows.columns, strict=True)]
    ends = np.cumsum(sum((column.sizes for column in columns), np.zeros(rows.num_rows, np.int64)))
    start = 0
    while start < rows.num_rows:
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + _BYTES_PER_BLOCK, side="right"))
        stop = max(start + 1, min(stop, start + _ROWS_PER_BLOCK))
        compressor = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_FORMAT)
        content = compressor.compress(_frame([column.slice(start, stop) for column in columns], stop - start))
        yield Block(stop - start, content + compressor.flush())
        start = stop


@dataclasses.dataclass(frozen=True)
class _Column:
    """One column's part of the examples.

    Attributes:
      values: [rows], the encoded values; null where there is none.
      headers: What stands before values of a length, by `places`.
      places: int [rows], indices into `headers`.
      sizes: int64 [rows], bytes of header and value.
    """

    values: pa.BinaryArray
    headers: pa.BinaryArray
    places: np.ndarray
    sizes: np.ndarray

    def slice(self, start: int, stop: int) -> _Column:
        return _Column(self.values[start:stop], self.headers, self.places[start:stop], self.sizes[start:stop])

    def parts(self) -> tuple[pa.BinaryArray, pa.BinaryArray]:
        """The headers and the values, to be joined."""
        return self.headers.take(pa.array(self.places)), self.values


def _column(name: str, column: pa.Array) -> _Column:
    if pa.types.is_string(column.type):
        values, header = column.cast(pa.binary()), _bytes_header
    elif pa.types.is_int64(column.type):
        values, header = _varints(column), _ints_header
    else:
        values, header = _floats(column), _floats_header
    lengths = pc.fill_null(pc.binary_length(values), -1).to_numpy(zero_copy_only=False)
    headers, places = _by_length(lengths, functools.partial(header, name))
    sizes = np.array([len(header) for header in headers], np.int64)[places] + np.maximum(lengths, 0)
    return _Column(values, pa.array(headers, pa.binary()), places, sizes)


def _by_length(lengths: np.ndarray, make: Callable[[int], bytes]) -> tuple[list[bytes], np.ndarray]:
    """Makes something for every length there is; returns it and, [rows], where in it each row's is."""
    longest = int(lengths.max(initial=0))
    if longest > _LONGEST_COUNTED:
        distinct, places = np.unique(lengths, return_inverse=True)
    else:
        distinct = np.flatnonzero(np.bincount(lengths + 1)) - 1
        place = np.empty(longest + 2, np.int32)
        place[distinct + 1] = np.arange(len(distinct))
        places = place[lengths + 1]
    return [make(length) for length in distinct.tolist()], places


@functools.lru_cache(_MOST_HEADERS)
def _bytes_header(name: str, length: int) -> bytes:
    if length < 0:
        return _feature_header(name, b"", 0)
    value = bytes([_FIELD_1]) + _varint(length)
    return _feature_header(name, bytes([_FIELD_1]) + _varint(len(value) + length) + value, length)


@functools.lru_cache(_MOST_HEADERS)
def _ints_header(name: str, length: int) -> bytes:
    return _numbers_header(name, _FIELD_3, length)


@functools.lru_cache(_MOST_HEADERS)
def _floats_header(name: str, length: int) -> bytes:
    return _numbers_header(name, _FIELD_2, length)


def _numbers_header(name: str, kind: int, length: int) -> bytes:
    if length < 0:
        return _feature_header(name, b"", 0)
    packed = bytes([_FIELD_1]) + _varint(length)
    return _feature_header(name, bytes([kind]) + _varint(len(packed) + length) + packed, length)


def _feature_header(name: str, before: bytes, length: int) -> bytes:
    """What stands before a value in the entry of `Features.feature` that holds it.

    Args:
      name: The column's.
      before: What stands before the value in its Feature.
      length: Bytes of the value.
    """
    key = name.encode()
    entry = bytes([_FIELD_1]) + _varint(len(key)) + key + bytes([_FIELD_2]) + _varint(len(before) + length) + before
    return bytes([_FIELD_1]) + _varint(len(entry) + length) + entry


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _varints(column: pa.Int64Array) -> pa.BinaryArray:
    """Encodes whole numbers: seven bits a byte, the lowest first, and the eighth says that there are more; negative ones in ten."""
    there = column.is_valid().to_numpy(zero_copy_only=False)
    numbers = column.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
    shifted = numbers[:, None] >> (7 * np.arange(_LONGEST_VARINT, dtype=np.uint64))
    lengths = np.maximum(np.count_nonzero(shifted, axis=1), 1)
    place = np.arange(_LONGEST_VARINT)
    encoded = (shifted & np.uint64(0x7F)).astype(np.uint8) | np.where(place < lengths[:, None] - 1, 0x80, 0).astype(np.uint8)
    return _binary(encoded[(place < lengths[:, None]) & there[:, None]], np.where(there, lengths, 0), there)


def _floats(column: pa.FloatArray) -> pa.BinaryArray:
    there = column.is_valid().to_numpy(zero_copy_only=False)
    numbers = column.drop_null().to_numpy(zero_copy_only=False).astype("<f4", copy=False)
    return _binary(np.ascontiguousarray(numbers).view(np.uint8), np.where(there, 4, 0), there)


def _binary(content: np.ndarray, lengths: np.ndarray, there: np.ndarray) -> pa.BinaryArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    validity = pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.BinaryArray.from_buffers(pa.binary(), len(there), [validity, pa.py_buffer(offsets), pa.py_buffer(content)])


def _frame(columns: list[_Column], rows: int) -> np.ndarray:
    """Lays rows into the TFRecord format, one record after another; uint8."""
    headers, places = _by_length(sum((column.sizes for column in columns), np.zeros(rows, np.int64)), _record_header)
    first = pa.array(headers, pa.binary()).take(pa.array(places))
    parts = [part for column in columns for part in column.parts()]
    # Room for the checksum, and nothing between the parts.
    last = pa.scalar(bytes(_FRAME_FOOTER), pa.binary()), pa.scalar(b"", pa.binary())
    records = pc.binary_join_element_wise(first, *parts, *last, null_handling="replace", null_replacement=b"")
    _, offsets_buffer, data = records.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[: rows + 1]
    content = data.to_pybytes()
    starts, ends = (offsets[:-1] + _FRAME_HEADER).tolist(), (offsets[1:] - _FRAME_FOOTER).tolist()
    # The one loop over rows, because the package takes one record at a time.
    examples = map(content.__getitem__, map(slice, starts, ends))
    checksums = _masked(np.fromiter(map(google_crc32c.value, examples), np.uint32, rows))
    framed = np.frombuffer(content, np.uint8).copy()
    framed[offsets[1:, None] - np.arange(_FRAME_FOOTER, 0, -1)] = (
        checksums.astype("<u4").view(np.uint8).reshape(-1, _FRAME_FOOTER)
    )
    return framed


@functools.lru_cache(_MOST_HEADERS)
def _record_header(features: int) -> bytes:
    """What stands before the features of an example: the frame's length and its checksum, and the tag and length of the features."""
    before = bytes([_FIELD_1]) + _varint(features)
    length = struct.pack("<Q", len(before) + features)
    checksum = _masked(np.array([google_crc32c.value(length)], np.uint32))
    return length + checksum.astype("<u4").tobytes() + before


def _masked(checksums: np.ndarray) -> np.ndarray:
    """CRC-32C, rotated and shifted as TFRecord wants it, so that a checksum of data that holds checksums stays a good one."""
    return ((checksums >> np.uint32(15)) | (checksums << np.uint32(17))) + np.uint32(0xA282EAD8)
