"""Spans of a table that grows: how far each one reaches, and which rows are in it.

A watermark is a bound on one column or two. The rows it covers are those within all of its bounds; a span holds the rows its own
watermark covers and its predecessor's does not. With a second column, which grows with every row that is stored, a row of an old date
that arrived late is outside the earlier watermark, so it is in the next span.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from components.errors import UsageError
from components.ingestion.options import Incremental

_ISO_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}($|[T ]\d{2})")
# How much of an ISO 8601 text names a month, a day, an hour.
_PREFIX = {"month": 7, "day": 10, "hour": 13}
_FLOOR: Mapping[str, dict[str, Any]] = {
    "hour": {"minute": 0, "second": 0, "microsecond": 0},
    "day": {"hour": 0, "minute": 0, "second": 0, "microsecond": 0},
    "month": {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0},
}


@dataclasses.dataclass(frozen=True)
class Bound:
    """Values of one column up to a limit.

    Attributes:
      column: The column.
      value: The limit: int, float, datetime, date, str or ObjectId.
      inclusive: Whether the limit itself is within.
    """

    column: str
    value: Any
    inclusive: bool


@dataclasses.dataclass(frozen=True)
class Closed:
    """A span whose end is known.

    Attributes:
      number: Counted from 1.
      until: Its watermark.
      rows: Rows that the watermark covered when it was taken, those of earlier spans included.
    """

    number: int
    until: tuple[Bound, ...]
    rows: int

    def to_json(self) -> str:
        """Returns what `closed` reads."""
        return json.dumps({"number": self.number, "until": _listed(self.until), "rows": self.rows})


@dataclasses.dataclass(frozen=True)
class Region:
    """The rows to read: of one span or of consecutive ones.

    Attributes:
      until: They are within all of these; without any, all rows are.
      since: They are not within all of these, which the span before the first one reached.
      since_rows: How many rows that was when that span was closed.
      start: `column >= value`, where there is such a limit; `inclusive` means nothing.
    """

    until: tuple[Bound, ...] = ()
    since: tuple[Bound, ...] = ()
    since_rows: int = 0
    start: Bound | None = None

    @property
    def before(self) -> Region:
        """The rows that earlier spans were meant to hold."""
        return Region(until=self.since, start=self.start)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that decide; a row without a value in one of them is in no region."""
        return tuple(bound.column for bound in self.until)

    def to_json(self) -> str:
        """Returns what `region` reads."""
        start = _listed([self.start])[0] if self.start else None
        return json.dumps(
            {"until": _listed(self.until), "since": _listed(self.since), "since_rows": self.since_rows, "start": start}
        )


def closed(text: str) -> Closed:
    """Returns the span that `Closed.to_json` wrote."""
    values = json.loads(text)
    return Closed(values["number"], _bounds(values["until"]), values["rows"])


def region(text: str) -> Region:
    """Returns the region that `Region.to_json` wrote."""
    values = json.loads(text)
    start = _bounds([values["start"]])[0] if values["start"] else None
    return Region(_bounds(values["until"]), _bounds(values["since"]), values["since_rows"], start)


class Measured(Protocol):
    """What a watermark is taken of; see `database.Table`."""

    def newest(self, column: str) -> Any:
        """Returns the greatest value of a column; None if there is none."""
        ...

    def count(self, region: Region) -> int:
        """Returns the number of rows in a region."""
        ...


def resolve(table: Measured, incremental: Incremental, spans: Sequence[Closed]) -> tuple[Closed, Region]:
    """Chooses the span to read: the one asked for, a new one, or the newest again where nothing has arrived since.

    Args:
      table: The table as it is now.
      incremental: Where spans end, and which one is asked for.
      spans: Those that have been closed.

    Returns:
      The span, and the rows to read of it and its window.

    Raises:
      UsageError: The table has no rows, its values do not order them, or there is no span of the number asked for.
    """
    columns = [incremental.column, *([incremental.arrival] if incremental.arrival else [])]
    newest = {column: table.newest(column) for column in columns}
    if absent := [column for column, value in newest.items() if value is None]:
        raise UsageError(f"The table has no rows with a value of {absent[0]!r}, which data.source.incremental names")
    start = start_of(incremental, newest[incremental.column])
    last = max(spans, key=lambda span: span.number, default=None)
    if incremental.span is None:
        until = taken(incremental, newest, last)
        if last is None or until != last.until:
            last = Closed(last.number + 1 if last else 1, until, table.count(Region(until=until, start=start)))
            spans = [*spans, last]
        number = last.number
    else:
        number = incremental.span
    region = to_read(incremental, spans, number, start)
    return next(span for span in spans if span.number == number), region


def taken(incremental: Incremental, newest: Mapping[str, Any], last: Closed | None) -> tuple[Bound, ...]:
    """Takes the watermark of the table as it is now.

    Args:
      incremental: Where spans end.
      newest: The newest value of `column`, and of `arrival` if there is one.
      last: The newest span that is closed. A watermark never falls behind it.

    Returns:
      The bounds of a new span, or those of `last` where the table has nothing that belongs into a new one.

    Raises:
      UsageError: The values are of a kind that does not order rows, or that `by` or `lag` cannot be told of.
    """
    column, arrival = incremental.column, incremental.arrival
    lag = 0.0 if arrival else incremental.lag
    value = _less(_orderable(newest[column], column), lag, column)
    if incremental.by == "value":
        bounds = [Bound(column, value, inclusive=True)]
    else:
        bounds = [Bound(column, _floor(value, incremental.by, column), inclusive=False)]
    if arrival:
        bounds.append(Bound(arrival, _less(_orderable(newest[arrival], arrival), incremental.lag, arrival), inclusive=True))
    if last is None:
        return tuple(bounds)
    furthest = [_further(now, before) for now, before in zip(bounds, last.until, strict=True)]
    # Days end when `column` says so; that rows arrived since is no reason for a span with nothing in it.
    decisive = furthest if incremental.by == "value" else furthest[:1]
    moved = any(now != before for now, before in zip(decisive, last.until, strict=False))
    return tuple(furthest) if moved else last.until


def start_of(incremental: Incremental, newest: Any) -> Bound | None:
    """Returns the limit below which no row is read.

    Args:
      incremental: Says `start`.
      newest: A value of `column`, whose kind the limit has to have.

    Raises:
      UsageError: It does not.
    """
    if incremental.start is None:
        return None
    try:
        value = _read(_kind(_orderable(newest, incremental.column)), str(incremental.start))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UsageError(
            f"data.source.incremental.start must be like the values of {incremental.column!r}, which are of type"
            f" {type(newest).__name__}; received {incremental.start!r}"
        ) from error
    if isinstance(newest, datetime.datetime) and newest.tzinfo is not None and value.tzinfo is None:
        value = value.replace(tzinfo=datetime.UTC)
    return Bound(incremental.column, value, inclusive=True)


def to_read(incremental: Incremental, spans: Iterable[Closed], number: int, start: Bound | None) -> Region:
    """Returns the rows of a span, or of a window of them.

    Args:
      incremental: Says how many spans.
      spans: All closed spans.
      number: The last one to read.
      start: See `start_of`.

    Raises:
      UsageError: There is no span of that number.
    """
    known = {span.number: span for span in spans}
    if number not in known:
        there = f"1 to {max(known)}" if known else "none yet"
        raise UsageError(f"data.source.incremental.span {number} has not been closed; there are: {there}")
    before = known.get(number - incremental.window)
    return Region(known[number].until, before.until if before else (), before.rows if before else 0, start)


def _orderable(value: Any, column: str) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    if isinstance(value, bool) or _kind(value) is None:
        raise UsageError(
            f"data.source.incremental orders rows by numbers, times, text or ObjectIds; {column!r} holds {type(value).__name__}"
        )
    # Drivers have types of their own for what JSON calls a number.
    return int(value) if isinstance(value, int) else value


def _kind(value: Any) -> str | None:
    kinds = {int: "int", float: "float", Decimal: "float", datetime.datetime: "time", datetime.date: "date", str: "text"}
    for base, kind in kinds.items():
        if isinstance(value, base):
            return kind
    return "object_id" if type(value).__name__ == "ObjectId" else None


def _floor(value: Any, by: str, column: str) -> Any:
    """The beginning of the hour, day or month that a time is in."""
    if isinstance(value, datetime.datetime):
        return value.replace(**_FLOOR[by])
    if isinstance(value, datetime.date):
        return value.replace(day=1) if by == "month" else value
    if isinstance(value, str) and _ISO_DATE.match(value):
        return value[: _PREFIX[by]]
    if _kind(value) == "object_id":
        return type(value).from_datetime(_floor(value.generation_time, by, column))
    # A value of a text column is not quoted: it may be anything.
    raise UsageError(
        f"data.source.incremental.by: {by} takes a column of times or ISO 8601 text; {column!r} holds {type(value).__name__}"
        " that is neither. Use by: value"
    )


def _less(value: Any, lag: float, column: str) -> Any:
    if not lag:
        return value
    if isinstance(value, datetime.datetime):
        return value - datetime.timedelta(seconds=lag)
    if isinstance(value, datetime.date):
        return value - datetime.timedelta(days=math.ceil(lag / 86_400))
    if isinstance(value, int):
        return value - math.ceil(lag)
    if isinstance(value, float):
        return value - lag
    if _kind(value) == "object_id":
        return type(value).from_datetime(value.generation_time - datetime.timedelta(seconds=lag))
    raise UsageError(f"data.source.incremental.lag takes a column of numbers or times; {column!r} holds text")


def _further(now: Bound, before: Bound) -> Bound:
    try:
        return now if now.value > before.value else before
    except TypeError as error:
        raise UsageError(
            f"The column {now.column!r} held {type(before.value).__name__} when its last span was closed and holds"
            f" {type(now.value).__name__} now, so there is no saying what is new"
        ) from error


def _listed(bounds: Iterable[Bound]) -> list[list[Any]]:
    return [[bound.column, _kind(bound.value), _written(bound.value), bound.inclusive] for bound in bounds]


def _bounds(listed: Iterable[list[Any]]) -> tuple[Bound, ...]:
    return tuple(Bound(column, _read(kind, value), inclusive) for column, kind, value, inclusive in listed)


def _written(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _read(kind: str | None, text: str) -> Any:
    if kind == "object_id":
        from bson import ObjectId

        return ObjectId(text)
    if kind == "time":
        return datetime.datetime.fromisoformat(text)
    read: dict[str | None, Callable[[str], Any]] = {"int": int, "float": float, "date": datetime.date.fromisoformat, "text": str}
    return read[kind](text)
