"""The table that ingestion reads: a source with its derived columns, and who needs which of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion import columns, derive, readers, splits
from components.ingestion.options import DatabaseSource, DataOptions, FileSource, MongoSource, PredictionLogSource, SqlSource


class Table:
    """The source with its derived columns.

    Attributes:
      needed: Every column someone needs, read or derived, each with who needs it.
    """

    def __init__(self, options: DataOptions, schema: schema_pb2.Schema, paths: list[str] | None, optional: Collection[str] = ()):
        """Describes what to read; nothing is read yet.

        Args:
          options: The `data:` section.
          schema: Lists the columns to store.
          paths: In place of the source's own path, see `readers.read_batches`.
          optional: Columns that may be missing although someone needs them.
        """
        self._optional = optional
        self._source = options.source
        self._named = {*options.exclude, options.timestamp}
        self._paths = paths
        self._stored = {feature.name for feature in schema.feature}
        self._derived = {name: derive.parse(text) for name, text in options.derive.items()}
        self.needed = {
            **dict.fromkeys(self._stored, "The schema lists"),
            **splits.columns(options),
            **dict.fromkeys(options.text, "data.text names"),
            options.label: "data.label names",
        }
        self._seen: dict[str, None] = {}

    def scan(self, name: str) -> Iterator[pa.Array]:
        """Streams one column."""
        for chunk in self.chunks({name: self.needed[name]}):
            yield chunk.rows.column(name)

    def chunks(self, wanted: dict[str, str]) -> Iterator[readers.Chunk]:
        """Streams some columns; null where JSON lines or logged requests leave one out, as long as some have it.

        Args:
          wanted: The columns, each with who needs it.

        Raises:
          UsageError: The source cannot be read, see `readers.read_batches`; a column is missing, or is there that `data.derive` makes.
        """
        raw = self._raw(wanted)
        for chunk in readers.read_batches(self._source, self._paths, raw):
            self._seen.update(dict.fromkeys(chunk.columns))
            if not self._columns_vary():
                self._require(raw, chunk.columns)
            if clash := sorted(self._derived.keys() & set(chunk.columns)):
                names = ", ".join(map(repr, clash))
                raise UsageError(f"data.derive makes {names}, but the table has it already; choose another name")
            there = dict(zip(chunk.rows.schema.names, chunk.rows.columns, strict=True))
            length = len(chunk.positions)
            rows = pa.RecordBatch.from_pydict({name: there.get(name, pa.nulls(length, pa.string())) for name in raw})
            for name, expression in self._derived.items():
                if set(expression.columns) <= set(rows.schema.names):
                    rows = rows.append_column(name, expression.evaluate(rows))
            yield dataclasses.replace(chunk, rows=rows)
        if self._seen:
            self._require(raw, self._seen)

    def lacking(self) -> set[str]:
        """Returns the columns that are needed, may be missing and are."""
        return {name for name in self._raw(self.needed) if name in self._optional and name not in self._seen}

    def ignored(self) -> list[str]:
        """Lists the table's columns that are not stored."""
        return [name for name in self._seen if name not in self._stored]

    def new(self) -> list[str]:
        """Lists the table's columns that nobody knows of; of a source that makes its own columns there are none."""
        if not isinstance(self._source, FileSource | DatabaseSource) or isinstance(self._source, PredictionLogSource):
            return []
        derivation = {name for expression in self._derived.values() for name in expression.columns}
        known = {*self._raw(self.needed), *self._named, *derivation, *_named_by(self._source)}
        return [name for name in self.ignored() if name not in known]

    def _require(self, raw: dict[str, str], there: Collection[str]) -> None:
        for name, asked_by in raw.items():
            if name not in self._optional:
                columns.require([name], there, asked_by)

    def _columns_vary(self) -> bool:
        return readers.columns_vary(self._source)

    def _raw(self, wanted: dict[str, str]) -> dict[str, str]:
        """Replaces derived columns by those they are made of."""
        raw = dict(wanted)
        # An expression may use columns derived before it, so the last one is taken apart first.
        for name, expression in reversed(self._derived.items()):
            if raw.pop(name, None):
                raw = {**dict.fromkeys(expression.columns, f"data.derive.{name} ({expression.text}) reads"), **raw}
        return raw


def _named_by(source: FileSource | DatabaseSource) -> Iterator[str]:
    """The columns that a database is read by, and the fields that others are taken from."""
    if isinstance(source, DatabaseSource):
        spans = source.incremental
        ordering = () if spans is None else (spans.column, spans.arrival)
        yield from (name for name in (source.version, *ordering) if name is not None)
    if isinstance(source, SqlSource) and source.key:
        yield source.key
    if isinstance(source, MongoSource):
        yield "_id"
        yield from (path.split(".")[0] for path in source.fields.values())
