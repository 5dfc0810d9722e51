"""Small tables and schemas for the ingestion tests."""

import contextlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion import database
from components.ingestion.options import DataOptions
from tests.components.ingestion import ferretdb, postgres

MESSAGES = {"text": "BYTES", "label": "BYTES"}


@pytest.fixture
def make_schema():
    """Builds a schema from feature names and types: make_schema(text="BYTES", fare="FLOAT")."""

    def make(**features):
        schema = schema_pb2.Schema()
        for name, kind in features.items():
            schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        return schema

    return make


@pytest.fixture
def make_options():
    """Builds the `data:` section for a file of messages; keywords replace its settings."""

    def make(path, **settings):
        kind = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}[path.suffix]
        return DataOptions.model_validate(
            {"source": {"type": kind, "path": str(path)}, "text": "text", "label": "label", "split": {"eval": 0.2, "test": 0.2}}
            | settings
        )

    return make


@pytest.fixture
def write_rows(tmp_path):
    """Writes columns to a file of a format and returns its path: write_rows("csv", a=[1, 2])."""

    def write(kind, name="table", **columns):
        path = tmp_path / f"{name}.{kind}"
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if kind == "parquet":
            pq.write_table(pa.table(columns), path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            lines = [",".join(columns), *(",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows)]
            path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def postgresql():
    """The folder of the socket of a PostgreSQL server; see `postgres`."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(postgres.server())
        except postgres.Unavailable as error:
            pytest.skip(str(error))
        yield folder


@pytest.fixture(scope="session")
def mongodb_url(tmp_path_factory):
    """The address of a server of MongoDB's protocol; see `ferretdb`."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(ferretdb.server(tmp_path_factory.mktemp("ferretdb")))
        except ferretdb.Unavailable as error:
            pytest.skip(str(error))
        yield url


class Rows:
    """A table in memory, as `database.Table` describes one: what a region means, said once more in Python."""

    name = "rows"

    def __init__(self, *rows):
        self.rows = list(rows)

    def newest(self, column):
        return max((row[column] for row in self.rows if row.get(column) is not None), default=None)

    def count(self, region):
        return len(self.of(region))

    def without_value(self, region):
        return sum(any(row.get(column) is None for column in region.columns) for row in self.rows)

    def of(self, region):
        return [row for row in self.rows if self._inside(row, region)]

    def blocks(self, region, columns):
        rows = self.of(region)
        names = [name for name in self.rows[0] if columns is None or name in columns]
        batch = pa.RecordBatch.from_pydict({name: [row[name] for row in rows] for name in names})
        yield database.Block(batch, np.arange(1, len(rows) + 1), tuple(self.rows[0]))

    def _inside(self, row, region):
        if any(row.get(column) is None for column in region.columns):
            return False
        after_start = region.start is None or row[region.start.column] >= region.start.value
        before = bool(region.since) and all(self._within(row, bound) for bound in region.since)
        return after_start and not before and all(self._within(row, bound) for bound in region.until)

    def _within(self, row, bound):
        value = row[bound.column]
        return value <= bound.value if bound.inclusive else value < bound.value


@pytest.fixture
def table():
    """An empty table in memory."""
    return Rows()
