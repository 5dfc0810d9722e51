"""Record batches to compressed TFRecord files of tf.Examples.

tfx_bsl turns a batch into serialized examples in C++. The TFRecord frame around each (length, checksum of the length, example,
checksum of the example) is laid here, a batch at a time, because TensorFlow's writer takes records one by one and drags
TensorFlow into a stage that needs nothing else of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import zlib

import google_crc32c
import numpy as np
import pyarrow as pa
from tfx_bsl.coders import example_coder

ROWS_PER_SHARD = 200_000

# Bounds the serialized examples held at once.
_ROWS_PER_WRITE = 16_384
# Level 6, the default, takes four times as long for files a fifth smaller, which are read a few times and kept for one run.
_GZIP_LEVEL = 1
_GZIP_FORMAT = 16 + zlib.MAX_WBITS


class ExampleWriter:
    """Writes the tf.Examples of one split; a context manager.

    Shards appear under their final names, `data_tfrecord-00000-of-00002.gz`, when the writer is closed without an error; after an
    error nothing is left.

    Args:
      folder: Where the shards go; it is made if needed.
      rows_per_shard: A shard is closed once it has this many rows.

    Attributes:
      rows: Rows written so far.
      bytes: Size of the shards, known once closed.
    """

    def __init__(self, folder: pathlib.Path, rows_per_shard: int = ROWS_PER_SHARD):
        self.rows = 0
        self.bytes = 0
        self._folder = folder
        self._rows_per_shard = rows_per_shard
        self._encoder = example_coder.RecordBatchToExamplesEncoder()
        self._shards: list[pathlib.Path] = []
        self._open_files = contextlib.ExitStack()
        self._file = None

    def __enter__(self) -> ExampleWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, rows: pa.RecordBatch) -> None:
        """Appends rows.

        Args:
          rows: Columns of string, int64 or float32; a null becomes a feature without a value, which TensorFlow and TFDV
            read as they read an absent one.
        """
        start = 0
        while start < rows.num_rows:
            if self._file is None:
                self._open_shard()
            room = self._rows_per_shard - self.rows % self._rows_per_shard
            part = rows.slice(start, min(_ROWS_PER_WRITE, room))
            self._file.write(self._compressor.compress(frame(self._encoder.encode(as_lists(part)))))
            start += part.num_rows
            self.rows += part.num_rows
            if self.rows % self._rows_per_shard == 0:
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
        self._compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)

    def _close_shard(self) -> None:
        self._file.write(self._compressor.flush())
        self._open_files.close()
        self._file = None

    def _publish(self) -> None:
        if self._file is not None:
            self._close_shard()
        for index, shard in enumerate(self._shards):
            self.bytes += shard.stat().st_size
            os.replace(shard, self._folder / f"data_tfrecord-{index:05d}-of-{len(self._shards):05d}.gz")


def as_lists(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Makes every column a column of lists, as tfx_bsl wants them: one value a row, and null for a missing one."""
    columns = []
    for column in rows.columns:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(~missing)]).astype(np.int32)
        values = column.drop_null()
        if pa.types.is_string(values.type):
            values = values.cast(pa.binary())
        columns.append(pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(missing)))
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def frame(records: list[bytes]) -> bytes:
    """Lays records into the TFRecord format."""
    lengths = np.fromiter(map(len, records), dtype="<u8", count=len(records))
    # Few lengths are distinct, and each has one checksum.
    distinct, inverse = np.unique(lengths, return_inverse=True)
    headers = np.empty(len(distinct), dtype=[("length", "<u8"), ("checksum", "<u4")])
    headers["length"] = distinct
    headers["checksum"] = _checksums([length.tobytes() for length in distinct])
    footers = _checksums(records)
    packed_headers = headers.view("V12")[inverse].tolist()
    packed_footers = footers.astype("<u4").view("V4").tolist()
    return b"".join(itertools.chain.from_iterable(zip(packed_headers, records, packed_footers, strict=True)))


def _checksums(parts: list[bytes]) -> np.ndarray:
    """CRC-32C, rotated and shifted as TFRecord wants it, so that a checksum of data that holds checksums stays a good one."""
    checksums = np.fromiter(map(google_crc32c.value, parts), dtype=np.uint32, count=len(parts))
    return ((checksums >> np.uint32(15)) | (checksums << np.uint32(17))) + np.uint32(0xA282EAD8)
