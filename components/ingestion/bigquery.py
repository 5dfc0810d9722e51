"""Answers of BigQuery as a stream of Arrow.

Not through TFX's BigQueryExampleGen: it writes the rows as they are, into a bucket and into an artifact, before anything could redact
them or set them aside.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import database
from components.ingestion.database import Block
from components.ingestion.options import BigQuerySource
from components.ingestion.watermark import Bound, Region

try:
    from google.api_core import exceptions as api_exceptions
    from google.auth import exceptions as auth_exceptions
    from google.cloud import bigquery
except ImportError as missing:
    raise database.missing("bigquery", "google-cloud-bigquery") from missing

_TYPES = {int: "INT64", float: "FLOAT64", datetime.date: "DATE", str: "STRING"}


@contextlib.contextmanager
def opened(source: BigQuerySource) -> Iterator[BigQueryAnswer]:
    """Checks the query of a source with a dry run, which costs nothing.

    Raises:
      UsageError: The query is wrong.
      EnvironmentFailure: There are no credentials, they do not suffice, or BigQuery cannot be reached.
    """
    with _errors(), bigquery.Client(project=source.project, location=source.location) as client:
        yield BigQueryAnswer(source, client)


class BigQueryAnswer:
    """See `database.Table`."""

    name = "query"

    def __init__(self, source: BigQuerySource, client: bigquery.Client):
        self._client = client
        # The line ends a comment that the query may end with.
        self._from = f"FROM ({source.query.strip().rstrip(';')}\n)"
        planned = client.query(f"SELECT * {self._from}", bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
        self._columns = tuple(field.name for field in planned.schema or ())

    def newest(self, column: str) -> Any:
        """See `database.Table`."""
        return self._value(f"SELECT MAX({self._quoted(column)}) {self._from}")

    def count(self, region: Region) -> int:
        """See `database.Table`."""
        where, parameters = self._where(region)
        return int(self._value(f"SELECT COUNT(*) {self._from} {where}", parameters))

    def without_value(self, region: Region) -> int:
        """See `database.Table`."""
        absent = " OR ".join(f"{self._quoted(column)} IS NULL" for column in region.columns)
        return int(self._value(f"SELECT COUNT(*) {self._from} WHERE {absent}"))

    def blocks(self, region: Region, columns: Collection[str] | None) -> Iterator[Block]:
        """See `database.Table`."""
        names = [name for name in self._columns if columns is None or name in columns]
        where, parameters = self._where(region)
        # Without a column there still are rows to count.
        selected = ", ".join(map(self._quoted, names)) or "1 AS one_row"
        rows = self._run(f"SELECT {selected} {self._from} {where}", parameters).result(page_size=database.ROWS_PER_BLOCK)
        before, yielded = 0, False
        for batch in rows.to_arrow_iterable():
            positions = np.arange(before + 1, before + batch.num_rows + 1, dtype=np.int64)
            yield Block(batch.select(names), positions, self._columns)
            before, yielded = before + batch.num_rows, True
        if not yielded:
            nothing = pa.RecordBatch.from_arrays([pa.nulls(0) for _ in names], names=names)
            yield Block(nothing, np.arange(0, dtype=np.int64), self._columns)

    def _run(self, statement: str, parameters: list[bigquery.ScalarQueryParameter]) -> bigquery.QueryJob:
        return self._client.query(statement, bigquery.QueryJobConfig(query_parameters=parameters))

    def _value(self, statement: str, parameters: list[bigquery.ScalarQueryParameter] | None = None) -> Any:
        return next(iter(self._run(statement, parameters or []).result()))[0]

    def _quoted(self, column: str) -> str:
        if column not in self._columns:
            raise database.unknown_column(column, self._columns, "data.source")
        return f"`{column}`"

    def _where(self, region: Region) -> tuple[str, list[bigquery.ScalarQueryParameter]]:
        parameters: list[bigquery.ScalarQueryParameter] = []

        def compared(bound: Bound, operator: str) -> str:
            name = f"bound_{len(parameters)}"
            parameters.append(bigquery.ScalarQueryParameter(name, _type(bound.value), bound.value))
            return f"{self._quoted(bound.column)} {operator} @{name}"

        def within(bounds: tuple[Bound, ...]) -> str:
            return " AND ".join(compared(bound, "<=" if bound.inclusive else "<") for bound in bounds)

        conditions = [within(region.until)] if region.until else []
        if region.since:
            conditions.append(f"NOT ({within(region.since)})")
        if region.start is not None:
            conditions.append(compared(region.start, ">="))
        return f"WHERE {' AND '.join(conditions)}" if conditions else "", parameters


def _type(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        return "DATETIME" if value.tzinfo is None else "TIMESTAMP"
    return _TYPES[type(value)]


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except auth_exceptions.GoogleAuthError as error:
        raise EnvironmentFailure(
            "BigQuery takes credentials: name a key file in GOOGLE_APPLICATION_CREDENTIALS, or call"
            f" gcloud auth application-default login. {type(error).__name__}"
        ) from None
    except (api_exceptions.Unauthorized, api_exceptions.Forbidden) as error:
        raise database.failure(EnvironmentFailure, "BigQuery does not allow it", error) from None
    except api_exceptions.ClientError as error:
        raise database.failure(UsageError, "data.source.query cannot be read", error) from None
    except (api_exceptions.GoogleAPIError, OSError) as error:
        raise database.failure(EnvironmentFailure, "BigQuery cannot be reached", error) from None
