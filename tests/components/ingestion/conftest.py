"""Small tables and schemas for the ingestion tests."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion.options import DataOptions

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
