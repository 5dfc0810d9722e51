"""What the examples of a run may be compressed with: how large they become, and what writing and reading them costs.

`print_comparison` encodes a table's rows as ingestion does and compresses the same records block by block, each way in turn. They are
read by TensorFlow's TFRecord reader, which all nodes behind ingestion share. It knows gzip and zlib; zstd, which it does not know, stands
there to see what is missed, unpacked by Arrow before TensorFlow reads it. All seconds are the processor's.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from isal import isal_zlib

from benchmarks import measure
from components.ingestion import encode

READS = 4
"""How often a run reads its examples: statistics, the analysis of Transform, the trainer, the evaluator."""
_ROUNDS = 3
_GZIP = 16 + zlib.MAX_WBITS
_PLAIN, _GZIPPED = "", "GZIP"


@dataclasses.dataclass(frozen=True)
class Codec:
    """A way to compress.

    Attributes:
      name: For people.
      compress: Compresses the records of one block.
      reader: TFRecord's name of the compression, or None if its readers have none of this kind.
      decompress: What reads it where they do not.
    """

    name: str
    compress: Callable[[bytes], bytes]
    reader: str | None = _GZIPPED
    decompress: Callable[[bytes, int], Any] | None = None


def _isal(level: int) -> Callable[[bytes], bytes]:
    def compress(records: bytes) -> bytes:
        compressor = isal_zlib.compressobj(level, isal_zlib.DEFLATED, _GZIP)
        return compressor.compress(records) + compressor.flush()

    return compress


def _zlib(level: int) -> Callable[[bytes], bytes]:
    def compress(records: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        return compressor.compress(records) + compressor.flush()

    return compress


def _zstd(level: int) -> Codec:
    codec = pa.Codec("zstd", compression_level=level)
    return Codec(f"zstd {level}", lambda records: codec.compress(records, asbytes=True), None, codec.decompress)


CODECS = (
    Codec("none", bytes, _PLAIN),
    *(Codec(f"gzip by ISA-L, level {level}", _isal(level)) for level in range(4)),
    *(Codec(f"gzip by zlib, level {level}", _zlib(level)) for level in (1, 6)),
    _zstd(1),
    _zstd(3),
)


def compare(table: pa.Table, rounds: int = _ROUNDS) -> list[dict[str, Any]]:
    """Compresses and reads a table's rows, each way in turn; returns for each its name, `mib`, and seconds to write and to read.

    Raises:
      RuntimeError: Something read was not what was written.
    """
    rows = table.combine_chunks().to_batches()[0]
    # Blocks as ingestion makes them, without its compression.
    blocks = [gzip.decompress(block.content) for block in encode.blocks(rows)]
    found: dict[str, list[dict[str, float]]] = {codec.name: [] for codec in CODECS}
    for _ in range(rounds):
        for codec in CODECS:
            started = time.process_time()
            compressed = [codec.compress(block) for block in blocks]
            written = time.process_time()
            took = _read(codec, compressed, [len(block) for block in blocks], rows.num_rows)
            mib = sum(map(len, compressed)) / 2**20
            found[codec.name].append({"mib": mib, "write_s": written - started, "read_s": took})
    return [
        {"name": codec.name, "used": codec.name == chosen(), "readable": codec.reader is not None}
        | {number: measure.median(found[codec.name], number) for number in ("mib", "write_s", "read_s")}
        for codec in CODECS
    ]


def chosen() -> str:
    """Returns the name of what ingestion uses."""
    return f"gzip by ISA-L, level {encode.GZIP_LEVEL}"


def _read(codec: Codec, compressed: Sequence[bytes], sizes: Sequence[int], rows: int) -> float:
    """Seconds of the processor to read what was compressed."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "records"
        path.write_bytes(b"".join(compressed))
        started = time.process_time()
        if codec.decompress is not None:
            path.write_bytes(b"".join(codec.decompress(block, size) for block, size in zip(compressed, sizes, strict=True)))
        batches = tf.data.TFRecordDataset([str(path)], codec.reader or _PLAIN, buffer_size=1 << 20).batch(1024)
        read = int(batches.reduce(tf.constant(0, tf.int64), lambda count, batch: count + tf.size(batch, tf.int64)))
        seconds = time.process_time() - started
    if read != rows:
        raise RuntimeError(f"{codec.name}: {rows} examples were written, {read} read")
    return seconds


def print_comparison(table: pa.Table) -> None:
    """Prints a table and one JSON object."""
    found = compare(table)
    plain = found[0]
    print(f"{table.num_rows:,} rows; medians of {_ROUNDS}; seconds of the processor\n")
    print(f"| compression | MiB | of none | write s | MiB/s | read s | one write and {READS} reads, s | TFRecord reads it |")
    print("|---|---|---|---|---|---|---|---|")
    for one in found:
        one["run_s"] = one["write_s"] + READS * one["read_s"]
        speed = f"{plain['mib'] / one['write_s']:,.0f}" if one["write_s"] > 0.001 else ""
        print(
            f"| {one['name']}{' (used)' if one['used'] else ''} | {one['mib']:.1f} | {one['mib'] / plain['mib']:.2f} "
            f"| {one['write_s']:.2f} | {speed} | {one['read_s']:.2f} | {one['run_s']:.2f} | {'yes' if one['readable'] else 'no'} |"
        )
    print(json.dumps({"area": "compression", "rows": table.num_rows, "ours": None, "stock": None, "detail": found}))
