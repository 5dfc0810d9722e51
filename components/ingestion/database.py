"""Tables that a server holds: one small interface over SQL databases, MongoDB and BigQuery."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from components.errors import EnvironmentFailure, ParlanceError, UsageError
from components.ingestion.options import BigQuerySource, DatabaseSource, MongoSource, SqlSource
from components.ingestion.watermark import Region
from serving.redaction import redact

# Bounds the memory that rows take while they are Python values.
ROWS_PER_BLOCK = 8192
BYTES_PER_BLOCK = 16 << 20

_EXTRA = "pip install 'parlance-tfx[sources]'"
_LONGEST_DETAIL = 300


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive rows of a table.

    Attributes:
      rows: Those of the columns asked for that there are.
      positions: int64 [rows], where each row is in the table.
      columns: All columns of the table, as far as they are known.
      skipped: What the table holds besides the rows that are read, each with how much of it.
    """

    rows: pa.RecordBatch
    positions: np.ndarray
    columns: tuple[str, ...]
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Table(Protocol):
    """What ingestion asks of a database."""

    @property
    def name(self) -> str:
        """What the quarantine calls it."""
        ...

    def newest(self, column: str) -> Any:
        """Returns the greatest value of a column; None if there is none."""
        ...

    def count(self, region: Region) -> int:
        """Returns the number of rows in a region."""
        ...

    def without_value(self, region: Region) -> int:
        """Returns the number of rows that are in no region, because a column that decides has no value."""
        ...

    def blocks(self, region: Region, columns: Collection[str] | None) -> Iterator[Block]:
        """Streams the rows of a region.

        Args:
          region: Which rows.
          columns: Which columns, as far as there are such; all if None.

        Yields:
          Blocks of bounded size, at least one.
        """
        ...


@contextlib.contextmanager
def opened(source: DatabaseSource) -> Iterator[Table]:
    """Connects to a source's database.

    Raises:
      UsageError: The address, the table or a column is wrong.
      EnvironmentFailure: The server cannot be reached, or the package that speaks to it is not installed.
    """
    # Each driver is an import that others can do without.
    if isinstance(source, SqlSource):
        from components.ingestion import sql

        with sql.opened(source) as table:
            yield table
    elif isinstance(source, MongoSource):
        from components.ingestion import mongodb

        with mongodb.opened(source) as collection:
            yield collection
    elif isinstance(source, BigQuerySource):
        from components.ingestion import bigquery

        with bigquery.opened(source) as answer:
            yield answer
    else:
        raise TypeError(f"no database has the source {type(source).__name__}")


def blocks(table: Table, region: Region, columns: Collection[str] | None) -> Iterator[Block]:
    """Streams a region with an account of the rows that are near it and in no span.

    Args:
      table: The table.
      region: Which rows.
      columns: Which columns; all if None.
    """
    skipped: dict[str, int] = {}
    if region.until and (nowhere := table.without_value(region)):
        skipped[f"rows without a value of {' or '.join(map(repr, region.columns))}"] = nowhere
    if region.since and (late := table.count(region.before) - region.since_rows) > 0:
        skipped["rows that appeared below the last watermark after it was taken (see incremental.arrival and lag)"] = late
    for block in table.blocks(region, columns):
        yield dataclasses.replace(block, skipped=skipped)
        skipped = {}


def version(table: Table, column: str) -> str:
    """Returns a text that is another one when rows were added, removed or given a newer value of a column."""
    # A hash, because a value may be anything and this is kept with the run.
    newest = hashlib.sha256(str(table.newest(column)).encode()).hexdigest()
    return f"{table.count(Region())} rows, {newest}"


def address(url: str) -> str:
    """Returns the address that a source's `url` stands for.

    Raises:
      EnvironmentFailure: The environment variable it names is not set here.
    """
    if not url.startswith("env:"):
        return url
    name = url.removeprefix("env:")
    if name not in os.environ:
        raise EnvironmentFailure(f"data.source.url is env:{name}, but the environment variable {name} is not set here")
    return os.environ[name]


def missing(kind: str, package: str) -> EnvironmentFailure:
    """Returns the error for a driver that is not installed."""
    return EnvironmentFailure(f"source.type {kind} needs the package {package}, which is not installed: {_EXTRA}")


def failure(error_type: type[ParlanceError], what: str, error: Exception, *secrets: str | None) -> ParlanceError:
    """Returns the error for what a driver raised.

    Args:
      error_type: The kind of error.
      what: What cannot be done.
      error: The driver's, of which the first line is shown, without anything that looks like personal data. It is not to be the cause
        of ours: tracebacks would show the rest.
      *secrets: What must not be shown: the address, the password.
    """
    lines = str(getattr(error, "message", error)).strip().splitlines()
    detail = lines[0].strip()[:_LONGEST_DETAIL] if lines else ""
    for secret in secrets:
        if secret:
            detail = detail.replace(secret, "***")
    return error_type(f"{what}: {type(error).__name__}: {redact(detail)}")


def unknown_column(name: str, there: Collection[str], asked_by: str) -> UsageError:
    """Returns the error for a column that the source's options name and the table does not have."""
    return UsageError(f"{asked_by} names {name!r}, but there is no such column; there are: {', '.join(map(repr, there))}")
