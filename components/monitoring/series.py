"""Rows as series over time: how many, what share has which label or segment value, how many cells are missing, typical values.

Batches are counted as they come and forgotten. What is kept grows with periods and values, both of which have a limit: of a column
with very many values the rarest are counted together, and the oldest periods are dropped. No message text is kept, only its length.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion import cells
from components.monitoring import periods
from components.monitoring.options import Unit

OTHER = "(other)"
ROWS, SHARE, MISSING, LEVEL = "rows", "share", "missing", "level"
CROSS = " x "

# Eight years of days, four months of hours.
MOST_PERIODS = 3000
# Before the rarest are put together, this many times as many values are counted as will be shown: a value may become frequent.
_TRACKED = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One number over time.

    Attributes:
      measure: `rows`; `share`, of rows of a column with a value; `missing`, of rows without one; `level`, a typical value.
      column: The column, several joined by ` x `, empty for all rows; what is typical, for levels.
      value: The value or values, for shares.
      counts: float64 [periods]: rows; rows with the value; rows without one; or the sum of `level_of` each cell.
      totals: float64 [periods]: the rows that the counts are a part of, or how many cells were summed. Same as counts for `rows`.
      squares: float64 [periods]: sum of squares of `level_of` each cell, for levels.
    """

    measure: str
    column: str
    value: str
    counts: np.ndarray
    totals: np.ndarray
    squares: np.ndarray | None = None

    @property
    def values(self) -> np.ndarray:
        """What is seen: float64 [periods], rows, shares or typical values; NaN where there is nothing to divide by."""
        if self.measure == ROWS:
            return self.counts
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self.counts / self.totals
        return value_of_level(means) if self.measure == LEVEL else means


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """Series over the same consecutive periods.

    Attributes:
      unit: What a period is.
      periods: int64 [periods], growing by one.
      series: The series; `rows` first.
      undated: Rows without a time that can be read.
      future: Rows of a time that has not come yet.
      names: What periods are called, where they have names of their own.
    """

    unit: Unit
    periods: np.ndarray
    series: tuple[Series, ...]
    undated: int = 0
    future: int = 0
    names: tuple[str, ...] | None = None

    def name(self, index: int) -> str:
        """Returns what the period at an index is called."""
        return self.names[index] if self.names else periods.name(int(self.periods[index]), self.unit)

    def between(self, first: int, last: int) -> Timeline:
        """Returns the part from one index up to, not including, another."""
        part = slice(first, last)
        cut = [
            dataclasses.replace(
                one,
                counts=one.counts[part],
                totals=one.totals[part],
                squares=None if one.squares is None else one.squares[part],
            )
            for one in self.series
        ]
        names = self.names[part] if self.names else None
        return dataclasses.replace(self, periods=self.periods[part], series=tuple(cut), names=names)


def level_of(values: np.ndarray) -> np.ndarray:
    """Brings numbers to a scale on which a few huge ones do not drown the rest: sign(x) log(1 + |x|)."""
    return np.sign(values) * np.log1p(np.abs(values))


def value_of_level(levels: np.ndarray) -> np.ndarray:
    """Undoes `level_of`; of a mean of levels, this makes a typical value, between median and mean for most data."""
    return np.sign(levels) * np.expm1(np.abs(levels))


class Collector:
    """Counts batches of rows into series."""

    def __init__(
        self,
        unit: Unit,
        *,
        shares: Sequence[Sequence[str]] = (),
        missing: Sequence[str] = (),
        lengths: Sequence[str] = (),
        numbers: Sequence[str] = (),
        values: int = 30,
        until: float = np.inf,
    ):
        """A collector of nothing yet.

        Args:
          unit: What a period is.
          shares: Columns, or crosses of columns, whose values are counted.
          missing: Columns whose empty cells are counted.
          lengths: Columns of text whose length in characters is followed.
          numbers: Columns of numbers whose typical value is followed.
          values: Values of a column that become a series of their own.
          until: Rows later than this, in seconds since the epoch, are only counted.
        """
        self._unit = unit
        self._until = until
        self._rows: collections.Counter[int] = collections.Counter()
        self._shares = {tuple(columns): _Values(values) for columns in shares}
        self._missing: dict[str, collections.Counter[int]] = {column: collections.Counter() for column in missing}
        self._lengths = {column: _Sums() for column in lengths}
        self._numbers = {column: _Sums() for column in numbers}
        self._undated = self._future = 0

    def add(self, rows: pa.RecordBatch, seconds: np.ndarray) -> None:
        """Counts rows.

        Args:
          rows: Columns as readers bring them; one that is not there is missing in every row.
          seconds: float64 [rows], when each row is from, in seconds since the epoch; NaN where nobody knows.
        """
        dated = np.isfinite(seconds)
        future = dated & (seconds > self._until)
        self._undated += int((~dated).sum())
        self._future += int(future.sum())
        kept = dated & ~future
        if not kept.all():
            rows, seconds = rows.filter(pa.array(kept)), seconds[kept]
        if len(seconds):
            self._count(rows, periods.of_seconds(seconds, self._unit))
            self._forget()

    def timeline(self, last: int | None = None) -> Timeline:
        """Returns what was counted.

        Args:
          last: The newest period of the result; the newest with a row if None. Later ones are left out, and periods without
            rows up to it are zeros.
        """
        seen = [period for period in self._rows if last is None or period <= last]
        if not seen:
            return Timeline(self._unit, np.array([], np.int64), (), self._undated, self._future)
        newest = max(seen) if last is None else last
        first = max(min(seen), newest - MOST_PERIODS + 1)
        span = np.arange(first, newest + 1)
        rows = _dense(self._rows, span)
        series = [Series(ROWS, "", "", rows, rows)]
        for columns, counted in self._shares.items():
            series += counted.series(CROSS.join(columns), span)
        for column, empty in self._missing.items():
            series.append(Series(MISSING, column, "", _dense(empty, span), rows))
        for column, sums in self._lengths.items():
            series.append(sums.series(f"length of {column}", span))
        series += [sums.series(column, span) for column, sums in self._numbers.items()]
        return Timeline(self._unit, span, tuple(series), self._undated, self._future)

    def _count(self, rows: pa.RecordBatch, when: np.ndarray) -> None:
        there = set(rows.schema.names)
        for period, n in zip(*np.unique(when, return_counts=True), strict=True):
            self._rows[int(period)] += int(n)
        for columns, counted in self._shares.items():
            if there.issuperset(columns):
                counted.add([cells.text(rows.column(name)) for name in columns], when)
        for column, empty in self._missing.items():
            absent = np.ones(len(when), bool)
            if column in there:
                absent = _text_or_number(rows.column(column)).is_null().to_numpy(zero_copy_only=False)
            for period, n in zip(*np.unique(when[absent], return_counts=True), strict=True):
                empty[int(period)] += int(n)
        for column, sums in self._lengths.items():
            if column in there:
                lengths = pc.utf8_length(rows.column(column).cast(pa.string())).cast(pa.float64())
                sums.add(pc.fill_null(lengths, np.nan).to_numpy(zero_copy_only=False), when)
        for column, sums in self._numbers.items():
            if column in there:
                sums.add(pc.fill_null(cells.number(rows.column(column))[0], np.nan).to_numpy(zero_copy_only=False), when)

    def _forget(self) -> None:
        """Drops periods beyond the limit; twice as many are kept, so that this is rarely work."""
        if len(self._rows) > 2 * MOST_PERIODS:
            oldest = max(self._rows) - MOST_PERIODS + 1
            for counter in (self._rows, *self._missing.values()):
                _drop(counter, oldest)
            for counted in self._shares.values():
                counted.forget(oldest)
            for sums in (*self._lengths.values(), *self._numbers.values()):
                sums.forget(oldest)


class _Values:
    """Rows by value and period of a column or a cross of columns."""

    def __init__(self, shown: int):
        self._shown = shown
        self._counts: dict[str, collections.Counter[int]] = {}

    def add(self, columns: Sequence[pa.StringArray], when: np.ndarray) -> None:
        values = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, CROSS)
        there = values.is_valid().to_numpy(zero_copy_only=False)
        encoded = values.drop_null().dictionary_encode()
        codes, when = encoded.indices.to_numpy(), when[there]
        if not len(codes):
            return
        names = encoded.dictionary
        most = _TRACKED * self._shown
        if len(names) > 2 * most:
            # The rare ones of a batch would be put together one by one later; nearly unique ones would take that long each time.
            known = pc.is_in(names, pa.array(list(self._counts), pa.string())).to_numpy(zero_copy_only=False)
            for part in (codes, codes[when == when.max()]):
                known[np.argsort(-np.bincount(part, minlength=len(names)), kind="stable")[:most]] = True
            rare = ~known[codes]
            self._count(OTHER, when[rare])
            codes, when = codes[~rare], when[~rare]
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        for code, part in zip(found, np.split(when[order], starts[1:]), strict=True):
            self._count(names[int(code)].as_py(), part)
        if len(self._counts) > 2 * most:
            self._keep(most)

    def _count(self, value: str, when: np.ndarray) -> None:
        if len(when):
            counter = self._counts.setdefault(value, collections.Counter())
            for period, n in zip(*np.unique(when, return_counts=True), strict=True):
                counter[int(period)] += int(n)

    def series(self, column: str, span: np.ndarray) -> list[Series]:
        self._keep(self._shown)
        counts = {value: _dense(counter, span) for value, counter in self._counts.items()}
        totals = sum(counts.values(), np.zeros(len(span)))
        return [Series(SHARE, column, value, counts[value], totals) for value in sorted(counts)]

    def forget(self, oldest: int) -> None:
        for counter in self._counts.values():
            _drop(counter, oldest)
        self._counts = {value: counter for value, counter in self._counts.items() if counter}

    def _keep(self, most: int) -> None:
        """Puts the rarest values together. Those of the newest period count as much as those of all time: they may be new."""
        other = self._counts.pop(OTHER, collections.Counter())
        if len(self._counts) > most:
            newest = max(max(counter) for counter in self._counts.values())
            total = sum(counter.total() for counter in self._counts.values())
            now = sum(counter[newest] for counter in self._counts.values())

            def weight(value: str) -> tuple[float, str]:
                counter = self._counts[value]
                return -max(counter.total() / total, counter[newest] / now), value

            for value in sorted(self._counts, key=weight)[most:]:
                other.update(self._counts.pop(value))
        if other:
            self._counts[OTHER] = other


class _Sums:
    """Sums of levels and of their squares by period."""

    def __init__(self) -> None:
        self._sums: tuple[collections.Counter[int], ...] = tuple(collections.Counter() for _ in range(3))

    def add(self, values: np.ndarray, when: np.ndarray) -> None:
        there = np.isfinite(values)
        levels = level_of(values[there])
        found, place = np.unique(when[there], return_inverse=True)
        for counter, weights in zip(self._sums, (np.ones(len(levels)), levels, levels**2), strict=True):
            for period, amount in zip(found, np.bincount(place, weights, len(found)), strict=True):
                counter[int(period)] += float(amount)  # type: ignore[assignment]  # a Counter of floats

    def series(self, column: str, span: np.ndarray) -> Series:
        totals, counts, squares = (_dense(counter, span) for counter in self._sums)
        return Series(LEVEL, column, "", counts, totals, squares)

    def forget(self, oldest: int) -> None:
        for counter in self._sums:
            _drop(counter, oldest)


def _text_or_number(column: pa.Array) -> pa.Array:
    return cells.text(column) if pa.types.is_string(column.type) else cells.number(column)[0]


def _dense(counter: collections.Counter[int], span: np.ndarray) -> np.ndarray:
    return np.array([counter.get(int(period), 0) for period in span], np.float64)


def _drop(counter: collections.Counter[int], oldest: int) -> None:
    for period in [period for period in counter if period < oldest]:
        del counter[period]
