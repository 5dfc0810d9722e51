"""Tables, in files or of a server, read as a stream of Arrow record batches.

Nothing here trusts a column to keep its type: CSV cells are read as text, each block of JSON lines is typed on its own, and every
column arrives as string, int64 or float64 (see `cells.plain`). What a cell should be is the schema's word, not the
reader's guess.
A row that cannot be represented is set aside with its reason and position; a file that cannot be read is the user's to fix.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import glob
import io
import json
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from components.errors import UsageError
from components.ingestion import cells, csv_blocks
from components.ingestion.options import (
    DatabaseSource,
    FileSource,
    HomeAssistantIntentsSource,
    MongoSource,
    PredictionLogSource,
    TaggedTextSource,
)
from components.ingestion.quarantine import Rejected, Sieve

EXTENSIONS = {"csv": (".csv", ".tsv", ".txt"), "jsonl": (".jsonl", ".ndjson", ".json"), "parquet": (".parquet", ".pq")}
# Records are no table that their extension would tell.
_RECORD_EXTENSIONS = {"tfrecord": (".tfrecord", ".tfrecords", ".gz"), "prediction_log": (".tfrecord",)}
# The name of a request log's file while a server writes it.
_UNFINISHED = ".tfrecord.partial"

# A block bounds memory; it must also hold the longest row, and messages of several megabytes do turn up.
_BLOCK_BYTES = 16 << 20
# A CSV row beyond this is a quote that nobody closed.
_LONGEST_ROW_BYTES = 64 << 20
_ROWS_PER_BATCH = 65_536
# Of Parquet, so much of a column is read at a time; without it all of a row group, which may be all of a file.
_READ_BYTES = 4 << 20
_DELIMITERS = ",;\t|"

_FOREIGN_CONTENT = {
    b"\x1f\x8b": "gzip data; decompress it first",
    b"PK\x03\x04": "a zip archive or an Excel workbook; save the table as CSV",
    b"\x28\xb5\x2f\xfd": "zstd data; decompress it first",
    b"BZh": "bzip2 data; decompress it first",
    b"PAR1": "Parquet; set source.type to parquet",
    b"\xff\xfe": "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8",
}


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one source.

    Attributes:
      source: The name of the file, table or collection.
      columns: The columns there are, asked for or not. In JSON lines each block has its own.
      rows: The good rows: those of the columns asked for that there are, each string, int64 or float64. Without any such column
        it has no length; positions has.
      positions: int64 [rows], 1-based numbers of the rows in the source: data rows in CSV and Parquet, lines in JSON lines,
        records of tf.Examples; of a database the order of reading, or the key (see `SqlSource`).
      rejected: The rows set aside.
      skipped: What the source holds besides its rows and passes over, each with how much of it.
      part: Which of the paths it is read from, e.g. which span of a window; from 0.
    """

    source: str
    columns: tuple[str, ...]
    rows: pa.RecordBatch
    positions: np.ndarray
    rejected: list[Rejected]
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    part: int = 0


def columns_vary(source: FileSource | DatabaseSource | HomeAssistantIntentsSource | TaggedTextSource) -> bool:
    """Says whether a chunk of a source may be without a column that another one has."""
    return isinstance(source, FileSource | MongoSource) and source.type in ("jsonl", "tfrecord", "prediction_log", "mongodb")


def read_batches(
    source: FileSource | DatabaseSource | HomeAssistantIntentsSource | TaggedTextSource,
    paths: Iterable[str] | None = None,
    columns: Collection[str] | None = None,
) -> Iterator[Chunk]:
    """Streams the rows of a source, in the order of file names and rows.

    Args:
      source: What to read.
      paths: Files, folders or globs in place of the source's own path, e.g. a span already resolved. For a database, the JSON of one
        `watermark.Region`.
      columns: The columns to read; by default all.

    Yields:
      Chunks of bounded size.

    Raises:
      UsageError: A file is missing, empty, of another type than the source says, damaged, or repeats a column name. A table does not
        exist, or its query is wrong.
      EnvironmentFailure: A server cannot be reached, or the package that speaks to it is not installed.
    """
    if isinstance(source, DatabaseSource):
        yield from _read_database(source, paths, columns)
        return
    if isinstance(source, HomeAssistantIntentsSource | TaggedTextSource):
        yield from _sampled(source, columns)
        return
    read: Callable[[pathlib.Path, Collection[str] | None], Iterator[Chunk]]
    if isinstance(source, PredictionLogSource):
        read = functools.partial(_read_prediction_log, source)
    else:
        read = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet, "tfrecord": _read_tfrecord}[source.type]
    places = [source.path] if paths is None else paths
    files = [(part, path) for part, place in enumerate(places) for path in find_files(source.type, [place])]
    for part, path in files:
        try:
            for chunk in read(path, columns):
                yield from _parts(dataclasses.replace(chunk, part=part))
        except (pa.ArrowException, csv.Error, OSError) as error:
            raise UsageError(f"{path} cannot be read as {source.type}: {error}") from error


def find_files(kind: str, paths: Iterable[str]) -> list[pathlib.Path]:
    """Lists the files that files, folders and globs stand for.

    Args:
      kind: csv, jsonl, parquet, tfrecord or prediction_log: what the files must be. In folders and globs other files are passed over.
      paths: Files, folders (not searched deeper) or globs.

    Raises:
      UsageError: Nothing is there, or nothing with an extension of this type.
    """
    files: list[pathlib.Path] = []
    extensions = {**EXTENSIONS, **_RECORD_EXTENSIONS}
    for path in paths:
        if os.path.isfile(path):
            found = [path]
        else:
            pattern = os.path.join(glob.escape(path), "*") if os.path.isdir(path) else path
            found = sorted(entry for entry in glob.glob(pattern, recursive=True) if os.path.isfile(entry))
        if not found:
            raise UsageError(f"There is no file at {path}; data.source.path takes a file, a folder or a glob")
        fitting = [pathlib.Path(entry) for entry in found if entry.lower().endswith(extensions[kind])]
        if not fitting and kind == "prediction_log" and any(entry.endswith(_UNFINISHED) for entry in found):
            raise UsageError(
                f"The server has finished no file of its request log in {path} yet. It does when it stops, and every"
                " --request_log_file_seconds (an hour, if it was not told otherwise)"
            )
        if not fitting:
            names = ", ".join(os.path.basename(entry) for entry in found[:5])
            raise UsageError(
                f"source.type is {kind}, so files end in {', '.join(extensions[kind])}; {path} holds {names}."
                f" Rename the files or set source.type to one of: {', '.join(extensions)}"
            )
        files += fitting
    return files


def _sampled(source: HomeAssistantIntentsSource | TaggedTextSource, columns: Collection[str] | None) -> Iterator[Chunk]:
    batches: Iterable[pa.RecordBatch]
    if isinstance(source, TaggedTextSource):
        from components.ingestion import tagged_text

        table = tagged_text.MarkedTexts(source.table, source.entities, source.copies) if source.table else None
        batches = tagged_text.batches(source.languages, source.texts, source.seed, table)
    else:
        from components.ingestion import home_assistant_intents  # brings a grammar parser that no table needs

        table = home_assistant_intents.sample(source.languages, source.rows, source.seed)
        batches = table.to_batches(max_chunksize=_ROWS_PER_BATCH)
    start = 0
    for batch in batches:
        names = batch.schema.names
        yield _chunk(source.type, batch.select(_wanted(names, columns)), _positions(start, batch.num_rows), names)
        start += batch.num_rows


def _read_csv(path: pathlib.Path, columns: Collection[str] | None) -> Iterator[Chunk]:
    _refuse_foreign_content(path)
    header, delimiter = _csv_header(path)
    _refuse_duplicates(path, header)
    wanted = _wanted(header, columns)
    convert = pa_csv.ConvertOptions(
        # Binary, because text is checked cell by cell where one bad byte must not end the file.
        column_types=dict.fromkeys(header, pa.binary()),
        include_columns=wanted or header[:1],
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    start = 0
    for number, block in enumerate(csv_blocks.blocks(path, delimiter, _BLOCK_BYTES, _LONGEST_ROW_BYTES)):
        rows, bad = _parse_csv(block, delimiter, header if number else None, convert)
        rejected = [Rejected("wrong number of fields", start + bad)] if len(bad) else []
        yield _chunk(path.name, rows.select(wanted), start + _positions_around(bad, rows.num_rows), header, rejected)
        start += rows.num_rows + len(bad)


def _parse_csv(
    block: bytes, delimiter: str, header: list[str] | None, convert: pa_csv.ConvertOptions
) -> tuple[pa.RecordBatch, np.ndarray]:
    """Parses some rows, the line of column names before them where no names are given.

    Returns:
      The rows, and the numbers of those that have another number of fields, int64, counted from 1.
    """
    bad: list[int] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        bad.append(row.number - (header is None))  # Arrow counts the names
        return "skip"

    # Arrow numbers bad rows only when it reads with one thread.
    read = pa_csv.ReadOptions(block_size=len(block) + 1, column_names=header, use_threads=False)
    parse = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip)
    table = pa_csv.read_csv(pa.BufferReader(block), read, parse, convert)
    batches = table.combine_chunks().to_batches()
    rows = batches[0] if batches else pa.RecordBatch.from_pydict({field.name: pa.nulls(0, field.type) for field in table.schema})
    return rows, np.array(bad, dtype=np.int64)


def _csv_header(path: pathlib.Path) -> tuple[list[str], str]:
    """Returns the column names and the delimiter: the one of `_DELIMITERS` that makes most columns, a comma if in doubt."""
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as text:
        lines = "".join(line for line, _ in zip(text, range(100), strict=False))
    if not lines.strip():
        raise UsageError(f"{path} is empty; a CSV file starts with a line of column names")
    headers = {
        delimiter: next(filter(None, csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter)))
        for delimiter in _DELIMITERS
    }
    delimiter = max(_DELIMITERS, key=lambda candidate: len(headers[candidate]))
    return headers[delimiter], delimiter


def _positions_around(bad: np.ndarray, rows: int) -> np.ndarray:
    """Row numbers of good rows: the k-th good row stands behind every bad row that has at most k good rows before it."""
    counts = np.arange(rows)
    good_before = bad - 1 - np.arange(len(bad))
    return counts + 1 + np.searchsorted(good_before, counts, side="right")


def _read_jsonl(path: pathlib.Path, columns: Collection[str] | None) -> Iterator[Chunk]:
    _refuse_foreign_content(path)
    with open(path, "rb") as file:
        start = 0
        while lines := file.readlines(_BLOCK_BYTES):
            if start == 0:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                if lines[0].lstrip().startswith(b"["):
                    raise UsageError(f"{path} holds a JSON array; write one object per line, e.g. with: jq -c '.[]'")
            batch, positions, rejected = _parse_block(lines), _positions(start, len(lines)), []
            # Arrow's types for nested values depend on all values of a block; their JSON text does not.
            if batch is None or _has_nested(batch.select(_wanted(batch.schema.names, columns))):
                batch, positions, rejected = _parse_lines(lines, start)
            names = batch.schema.names
            yield _chunk(path.name, batch.select(_wanted(names, columns)), positions, names, rejected)
            start += len(lines)


def _parse_block(lines: list[bytes]) -> pa.RecordBatch | None:
    """Parses lines with Arrow; None where it refuses, or skips blank lines and so would shift row numbers."""
    block = pa.py_buffer(b"".join(lines))
    options = pa_json.ReadOptions(use_threads=False, block_size=block.size + 1)
    try:
        table = pa_json.read_json(pa.BufferReader(block), options)
        # Arrow takes text that looks like a date for one, and so would change it.
        dates = pa.schema([(field.name, pa.string()) for field in table.schema if pa.types.is_timestamp(field.type)])
        if dates.names:
            table = pa_json.read_json(pa.BufferReader(block), options, pa_json.ParseOptions(explicit_schema=dates))
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if table.num_rows != len(lines):
        return None
    return table.combine_chunks().to_batches()[0]


def _has_nested(batch: pa.RecordBatch) -> bool:
    return any(map(pa.types.is_nested, batch.schema.types))


def _parse_lines(lines: list[bytes], start: int) -> tuple[pa.RecordBatch, np.ndarray, list[Rejected]]:
    """Parses line by line: slow, but nothing one line holds keeps another from being read. Only for blocks Arrow refuses."""
    records: list[dict[str, Any]] = []
    positions: list[int] = []
    bad: dict[str, list[int]] = {}
    for position, line in enumerate(lines, start + 1):
        if not line.strip():
            continue
        try:
            records.append(_parse_object(line))
            positions.append(position)
        except UnicodeError:
            bad.setdefault("invalid UTF-8", []).append(position)
        except (ValueError, RecursionError):
            bad.setdefault("not a JSON object", []).append(position)
    names = dict.fromkeys(name for record in records for name in record)
    arrays = [_json_column([record.get(name) for record in records]) for name in names]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(names))
    rejected = [Rejected(reason, np.array(rows, dtype=np.int64)) for reason, rows in bad.items()]
    return batch, np.array(positions, dtype=np.int64), rejected


def _parse_object(line: bytes) -> dict[str, Any]:
    record = json.loads(line.decode("utf-8"))
    if not isinstance(record, dict):
        raise ValueError("not an object")
    if b"\\ud" in line or b"\\uD" in line:
        json.dumps(record, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is valid JSON and no text
    return record


def _json_column(values: list[Any]) -> pa.Array:
    """Returns numbers as numbers; as soon as one value is anything else, all are text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds and kinds <= {int, float}:
        try:
            return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
        except (OverflowError, pa.ArrowInvalid):
            pass
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.array(texts, pa.string())


def _read_parquet(path: pathlib.Path, columns: Collection[str] | None) -> Iterator[Chunk]:
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty, not even a Parquet footer; write it again")
    with pq.ParquetFile(path, buffer_size=_READ_BYTES) as file:
        header = file.schema_arrow.names
        _refuse_duplicates(path, header)
        wanted = _wanted(header, columns)
        start = 0
        for batch in file.iter_batches(batch_size=_batch_size(file.metadata, wanted), columns=wanted):
            yield _chunk(path.name, batch, _positions(start, batch.num_rows), header)
            start += batch.num_rows


def _batch_size(metadata: pq.FileMetaData, columns: Collection[str]) -> int:
    """How many rows make a block, as far as the file says how long they are."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    parts = [group.column(index) for group in groups for index in range(group.num_columns)]
    # Nested columns have several parts, `a.list.element`.
    size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in columns)
    return max(1, min(_ROWS_PER_BATCH, _BLOCK_BYTES * metadata.num_rows // max(size, 1)))


def _read_tfrecord(path: pathlib.Path, columns: Collection[str] | None) -> Iterator[Chunk]:
    from components.ingestion import tfrecord  # brings the server's messages, which no table needs

    for block in tfrecord.read(path):
        names = block.rows.schema.names
        yield _chunk(path.name, block.rows.select(_wanted(names, columns)), block.positions, names, block.rejected)


def _read_database(source: DatabaseSource, regions: Iterable[str] | None, columns: Collection[str] | None) -> Iterator[Chunk]:
    from components.ingestion import database, watermark

    with database.opened(source) as table:
        for text in [watermark.Region().to_json()] if regions is None else regions:
            for block in database.blocks(table, watermark.region(text), columns):
                chunk = _chunk(table.name, block.rows, block.positions, block.columns)
                yield dataclasses.replace(chunk, skipped=block.skipped)


def _read_prediction_log(source: PredictionLogSource, path: pathlib.Path, columns: Collection[str] | None) -> Iterator[Chunk]:
    from components.ingestion import prediction_log  # brings the server's messages, which no table needs

    for block in prediction_log.read(path, source):
        names = block.rows.schema.names
        chunk = _chunk(path.name, block.rows.select(_wanted(names, columns)), block.positions, names, block.rejected)
        yield dataclasses.replace(chunk, skipped=block.skipped)


def _refuse_foreign_content(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        start = file.read(4)
    for magic, content in _FOREIGN_CONTENT.items():
        if start.startswith(magic):
            raise UsageError(f"{path} holds {content}")


def _refuse_duplicates(path: pathlib.Path, header: list[str]) -> None:
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        names = ", ".join(map(repr, repeated))
        raise UsageError(f"Column names must be unique; {path} repeats {names}. Rename or drop one of each")


def _wanted(names: Iterable[str], columns: Collection[str] | None) -> list[str]:
    return [name for name in names if columns is None or name in columns]


def _positions(start: int, rows: int) -> np.ndarray:
    return np.arange(start + 1, start + rows + 1, dtype=np.int64)


def _parts(chunk: Chunk) -> Iterator[Chunk]:
    """Cuts a chunk into some that can be worked on side by side; blocks of short rows hold very many."""
    yield dataclasses.replace(chunk, rows=chunk.rows[:_ROWS_PER_BATCH], positions=chunk.positions[:_ROWS_PER_BATCH])
    for start in range(_ROWS_PER_BATCH, len(chunk.positions), _ROWS_PER_BATCH):
        part = slice(start, start + _ROWS_PER_BATCH)
        yield dataclasses.replace(chunk, rows=chunk.rows[part], positions=chunk.positions[part], rejected=[], skipped={})


def _chunk(
    source: str, batch: pa.RecordBatch, positions: np.ndarray, columns: Iterable[str], rejected: Iterable[Rejected] = ()
) -> Chunk:
    sieve = Sieve(positions)
    names = batch.schema.names
    arrays = [cells.plain(array, name, sieve) for name, array in zip(names, batch.columns, strict=True)]
    rows, kept = pa.RecordBatch.from_arrays(arrays, names=names), sieve.kept()
    if not kept.all():
        rows, positions = rows.filter(pa.array(kept)), positions[kept]
    return Chunk(source, tuple(columns), rows, positions, [*rejected, *sieve.rejected()])
