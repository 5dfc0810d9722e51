"""Tables and queries of SQL databases, through SQLAlchemy: one SELECT after the other, read from a cursor that the server keeps."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from components.errors import EnvironmentFailure, ParlanceError, UsageError
from components.ingestion import database, value_columns
from components.ingestion.database import Block
from components.ingestion.options import SqlSource
from components.ingestion.watermark import Bound, Region

try:
    import sqlalchemy as sa
except ImportError as missing:
    raise database.missing("sql", "SQLAlchemy") from missing

_ROWS_PER_FETCH = 1000
_CONNECT_SECONDS = 10


@contextlib.contextmanager
def opened(source: SqlSource) -> Iterator[SqlTable]:
    """Connects to the database of a source and looks at its table.

    Raises:
      UsageError: The URL, the table, the query or a column is wrong.
      EnvironmentFailure: The database cannot be reached, or its driver is not installed.
    """
    url = _url(source)
    arguments = {"connect_timeout": _CONNECT_SECONDS} if url.drivername.startswith("postgresql") else {}
    if url.query.get("connect_timeout"):
        arguments = {}
    errors = _Errors(source, url)
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise database.missing("sql", f"{error.name} (for {url.drivername})") from error
    except sa.exc.SQLAlchemyError as error:
        raise errors.say(UsageError, "data.source.url is no address of a database", error) from None
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _keep_bad_text)
    try:
        connection = engine.connect()
    except sa.exc.SQLAlchemyError as error:
        raise errors.say(EnvironmentFailure, "The database of data.source.url cannot be reached", error) from None
    with connection:
        if engine.dialect.name == "postgresql":
            # All queries see the table at one time, and none changes it.
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield SqlTable(source, connection, errors)


class SqlTable:
    """See `database.Table`."""

    def __init__(self, source: SqlSource, connection: sa.Connection, errors: _Errors):
        self._source = source
        self._connection = connection
        self._errors = errors
        self.name = source.table or "query"
        self._columns = self._column_names()
        columns: list[Any] = [sa.column(name) for name in self._columns]
        if source.key is not None and source.key not in self._columns:
            raise database.unknown_column(source.key, self._columns, "data.source.key")
        self._rows: Any
        if source.table is not None:
            schema, _, name = source.table.rpartition(".")
            self._rows = sa.table(name, *columns, schema=schema or None)
        else:
            self._rows = _query(source, columns)

    def newest(self, column: str) -> Any:
        """See `database.Table`."""
        return self._value(sa.select(sa.func.max(self._column(column, "data.source"))))

    def count(self, region: Region) -> int:
        """See `database.Table`."""
        return int(self._value(sa.select(sa.func.count()).select_from(self._rows).where(*self._conditions(region))))

    def without_value(self, region: Region) -> int:
        """See `database.Table`."""
        absent = [self._column(name, "data.source.incremental").is_(None) for name in region.columns]
        return int(self._value(sa.select(sa.func.count()).select_from(self._rows).where(sa.or_(*absent))))

    def blocks(self, region: Region, columns: Collection[str] | None) -> Iterator[Block]:
        """See `database.Table`."""
        names = [name for name in self._columns if columns is None or name in columns]
        key = self._source.key
        # A query selects something even if nobody wants a column; and positions come from the key.
        extra = [key] if key is not None and key not in names else []
        extra = extra or ([] if names else self._columns[:1])
        selected = [*names, *extra]
        statement = sa.select(*[self._rows.c[name] for name in selected]).where(*self._conditions(region))
        parts = [statement]
        if key is not None:
            order = self._rows.c[key]
            parts = [statement.where(*part).order_by(order) for part in self._partitions(region, order)]
        rows_before, any_block = 0, False
        for part in parts:
            for rows in self._stream(part):
                block = self._block(rows, selected, len(names), rows_before)
                rows_before, any_block = rows_before + len(rows), True
                yield block
        if not any_block:
            yield self._block([], selected, len(names), 0)

    def _block(self, rows: list[Sequence[Any]], selected: list[str], wanted: int, rows_before: int) -> Block:
        values = list(zip(*rows, strict=True)) if rows else [()] * len(selected)
        arrays = [value_columns.column(column) for column in values]
        positions = np.arange(rows_before + 1, rows_before + len(rows) + 1, dtype=np.int64)
        if self._source.key is not None:
            keys = arrays[selected.index(self._source.key)]
            if pa.types.is_integer(keys.type):
                positions = keys.fill_null(0).to_numpy(zero_copy_only=False)
        batch = pa.RecordBatch.from_arrays(arrays[:wanted], names=selected[:wanted])
        return Block(batch, positions, tuple(self._columns))

    def _column(self, name: str, asked_by: str) -> Any:
        if name not in self._columns:
            raise database.unknown_column(name, self._columns, asked_by)
        return self._rows.c[name]

    def _conditions(self, region: Region) -> list[Any]:
        conditions = [self._within(bound) for bound in region.until]
        if region.since:
            conditions.append(sa.not_(sa.and_(*[self._within(bound) for bound in region.since])))
        if region.start is not None:
            conditions.append(self._column(region.start.column, "data.source.incremental.column") >= region.start.value)
        return conditions

    def _within(self, bound: Bound) -> Any:
        column = self._column(bound.column, "data.source.incremental")
        return column <= bound.value if bound.inclusive else column < bound.value

    def _partitions(self, region: Region, key: Any) -> list[list[Any]]:
        """Conditions that divide the rows by ranges of the key; rows without one come last."""
        if self._source.partitions == 1:
            return [[]]
        limits = sa.select(sa.func.min(key), sa.func.max(key)).where(*self._conditions(region))
        lowest, highest = next(iter(self._all(limits)))
        if lowest is None:
            return [[]]
        edges = _edges(lowest, highest, self._source.partitions, str(self._source.key))
        # The outer ranges are open: nothing that is there is left out.
        ranges = [[key >= low, key < high] for low, high in zip(edges, edges[1:], strict=False)]
        first, last = ([key < edges[0]], [key >= edges[-1]]) if edges else ([key.is_not(None)], None)
        return [first, *ranges, *([last] if last else []), [key.is_(None)]]

    def _column_names(self) -> list[str]:
        if self._source.table is not None:
            schema, _, name = self._source.table.rpartition(".")
            rows: Any = sa.table(name, schema=schema or None)
        else:
            rows = _query(self._source, [])
        with self._errors.of("data.source.table" if self._source.table else "data.source.query", UsageError):
            names = list(self._connection.execute(sa.select(sa.text("*")).select_from(rows).where(sa.false())).keys())
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(
                f"Column names must be unique; data.source.query repeats {', '.join(map(repr, repeated))}. Rename one of each with AS"
            )
        return names

    def _value(self, statement: Any) -> Any:
        return self._all(statement)[0][0]

    def _all(self, statement: Any) -> Sequence[Any]:
        with self._errors.of(self.name, UsageError):
            return self._connection.execute(statement).all()

    def _stream(self, statement: Any) -> Iterator[list[Sequence[Any]]]:
        """Rows in blocks, fetched a few at a time, as messages may be long."""
        with self._errors.of(self.name, UsageError):
            result = self._connection.execution_options(yield_per=_ROWS_PER_FETCH, stream_results=True).execute(statement)
            with result:
                rows: list[Sequence[Any]] = []
                size = 0
                for fetched in result.partitions():
                    rows += fetched
                    size += sum(len(value) for row in fetched for value in row if isinstance(value, str | bytes))
                    if len(rows) + _ROWS_PER_FETCH > database.ROWS_PER_BLOCK or size >= database.BYTES_PER_BLOCK:
                        yield rows
                        rows, size = [], 0
                if rows:
                    yield rows


class _Errors:
    """Says what a database objects to, without its address, its password and its data."""

    def __init__(self, source: SqlSource, url: sa.URL):
        self._address = database.address(source.url)
        self._password = str(url.password) if url.password is not None else None

    @contextlib.contextmanager
    def of(self, what: str, error_type: type[ParlanceError]) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            kind = EnvironmentFailure if error.connection_invalidated else error_type
            raise self.say(kind, f"{what} cannot be read", error) from None
        except sa.exc.SQLAlchemyError as error:
            raise self.say(error_type, f"{what} cannot be read", error) from None

    def say(self, error_type: type[ParlanceError], what: str, error: Exception) -> ParlanceError:
        cause = getattr(error, "orig", None) or error
        if isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
            # These quote the value they are about.
            return error_type(f"{what}: {type(cause).__name__}: a value does not fit its type")
        return database.failure(error_type, what, cause, self._address, self._password)


def _url(source: SqlSource) -> sa.URL:
    try:
        url = sa.make_url(database.address(source.url))
    except sa.exc.ArgumentError:
        raise UsageError(
            "data.source.url must be an address as SQLAlchemy has them, e.g. postgresql://USER@HOST/DATABASE or sqlite:///FILE"
        ) from None
    if url.get_backend_name() == "sqlite" and (url.database in (None, "", ":memory:") or not os.path.isfile(str(url.database))):
        # SQLite would make an empty database.
        raise UsageError(f"data.source.url names the SQLite file {url.database!r}, which does not exist")
    return url


def _query(source: SqlSource, columns: list[Any]) -> Any:
    # Colons would be taken for parameters; the line ends a comment that the query may end with.
    text = str(source.query).strip().rstrip(";").replace(":", r"\:")
    return sa.text(text + "\n").columns(*columns).subquery("source_rows")


def _keep_bad_text(connection: Any, record: Any) -> None:
    """Lets text that is not UTF-8 through as bytes, so that its row is set aside instead of ending the run."""
    del record

    def text(raw: bytes) -> str | bytes:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    connection.text_factory = text


def _edges(lowest: Any, highest: Any, parts: int, key: str) -> list[Any]:
    """The inner limits between `parts` ranges of equal width."""
    if isinstance(lowest, str | bytes | bool) or not hasattr(highest, "__sub__"):
        raise UsageError(f"data.source.partitions divide a column of numbers or times; {key!r} holds {type(lowest).__name__}")
    width = highest - lowest
    if isinstance(width, datetime.timedelta) and not isinstance(lowest, datetime.datetime):
        edges = [lowest + datetime.timedelta(days=width.days * part // parts) for part in range(1, parts)]
    elif isinstance(width, int):
        edges = [lowest + width * part // parts for part in range(1, parts)]
    else:
        edges = [lowest + width / parts * part for part in range(1, parts)]
    return sorted(set(edges))
