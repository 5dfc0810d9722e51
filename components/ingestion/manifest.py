"""Which data a run was made from, so exactly that the very examples can be brought back: from where they are, or from their source."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion import ingest, row_hash, tfrecord
from components.ingestion.fingerprint import Fingerprint
from components.ingestion.options import SPLITS, DataOptions
from components.privacy.options import PrivacyOptions
from components.validation import schema_file

FILE_NAME = "manifest.json"

_ARROW_TYPES = {schema_pb2.BYTES: pa.string(), schema_pb2.INT: pa.int64(), schema_pb2.FLOAT: pa.float32()}


@dataclasses.dataclass(frozen=True)
class Version:
    """The content of one split.

    Attributes:
      rows: How many rows it has.
      fingerprint: SHA-256 of the rows as a multiset, see Fingerprint.
    """

    rows: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What was ingested, from where, and what came of it.

    Attributes:
      data: The `data:` section.
      privacy: The `privacy:` section.
      schema: The curated schema, as text.
      paths: What was read in place of the source's own path: files of a span, or the region of a database; None for all of the source.
      span: The number of the span that was read; None where the source has none.
      splits: The content of each split.
      parlance: The version of Parlance that read it.
    """

    data: DataOptions
    privacy: PrivacyOptions
    schema: str
    paths: tuple[str, ...] | None
    span: int | None
    splits: Mapping[str, Version]
    parlance: str

    def to_json(self) -> dict[str, Any]:
        """Returns the manifest as plain JSON values."""
        return {
            "source": self.data.source.model_dump(mode="json"),
            "span": self.span,
            "paths": None if self.paths is None else list(self.paths),
            "splits": {name: dataclasses.asdict(version) for name, version in self.splits.items()},
            "parlance": self.parlance,
            "data": self.data.model_dump(mode="json"),
            "privacy": self.privacy.model_dump(mode="json"),
            "schema": self.schema,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Manifest:
        """Reads what `to_json` wrote.

        Raises:
          ValueError: It has other options than this version of Parlance knows.
        """
        return cls(
            data=DataOptions.model_validate(values["data"]),
            privacy=PrivacyOptions.model_validate(values["privacy"]),
            schema=values["schema"],
            paths=None if values["paths"] is None else tuple(values["paths"]),
            span=values["span"],
            splits={name: Version(**version) for name, version in values["splits"].items()},
            parlance=values["parlance"],
        )

    def write(self, folder: str) -> None:
        """Writes the manifest beside the examples."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False)
        (pathlib.Path(folder) / FILE_NAME).write_text(text, encoding="utf-8")


def versions(summary: Mapping[str, Any]) -> dict[str, Version]:
    """Returns the content of each split according to ingestion's summary."""
    return {name: Version(summary["rows"][name], summary["split_fingerprints"][name]) for name in SPLITS}


def stored(folder: pathlib.Path, schema: schema_pb2.Schema) -> dict[str, Version]:
    """Reads examples back and returns the content of each split as it is now; splits whose files are damaged are left out.

    Args:
      folder: With the folders `Split-<split>`.
      schema: Of the stored columns.
    """
    found = {}
    for name in SPLITS:
        fingerprint = Fingerprint(schema)
        try:
            for file in sorted((folder / f"Split-{name}").glob("*.gz")):
                for block in tfrecord.read(file):
                    fingerprint.add(row_hash.hash_rows(_as_stored(block.rows, schema)))
        except (UsageError, pa.ArrowException, OSError):
            continue
        found[name] = Version(fingerprint.rows, fingerprint.hexdigest())
    return found


def ingest_again(manifest: Manifest, folder: pathlib.Path) -> None:
    """Reads the source once more and leaves the examples in a folder, if they are the same.

    Args:
      manifest: Of the examples.
      folder: Where they go; it exists and is empty.

    Raises:
      UsageError: The source cannot be read any more, or its rows are others now.
      EnvironmentFailure: See `ingest.ingest`.
    """
    schema = schema_file.parse(manifest.schema, "The schema of the manifest")
    paths = None if manifest.paths is None else list(manifest.paths)
    with tempfile.TemporaryDirectory() as quarantine:
        try:
            summary = ingest.ingest(manifest.data, schema, paths, str(folder), quarantine, manifest.privacy)
        except UsageError as error:
            raise UsageError(f"The source cannot be ingested again as it was: {error}") from error
    now = versions(summary)
    if now != dict(manifest.splits):
        changed = "; ".join(
            f"{name}: {manifest.splits[name].rows} rows then, {now[name].rows} now"
            + (", of other content" if manifest.splits[name].rows == now[name].rows else "")
            for name in SPLITS
            if now[name] != manifest.splits[name]
        )
        raise UsageError(
            f"The source holds other rows than those that were ingested ({changed}), or Parlance {manifest.parlance} read them"
            " differently; bring the source's old state back, or the examples from a backup"
        )
    manifest.write(str(folder))


def _as_stored(rows: pa.RecordBatch, schema: schema_pb2.Schema) -> pa.RecordBatch:
    """Gives every column of the schema its type; a column without a value in all of a block is not in it."""
    there = dict(zip(rows.schema.names, rows.columns, strict=True))
    columns = {}
    for feature in schema.feature:
        kind = _ARROW_TYPES[feature.type]
        columns[feature.name] = there[feature.name].cast(kind) if feature.name in there else pa.nulls(rows.num_rows, kind)
    return pa.RecordBatch.from_pydict(columns)
