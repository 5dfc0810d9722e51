"""What rows break of the rules that the schema makes for every one of them: which column, which rule, how many rows, which new values.

Rows that break a rule are set aside, so statistics never see them. What is counted here is how a person learns what happened to the
column, and how `parlance schema diff` can still propose the value or the limit that the data asks for.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from serving import redaction

MISSING, BELOW, ABOVE, DOMAIN = "missing", "below", "above", "domain"

MIN_ROWS = 5
"""A value that fewer rows have could identify a person; it is counted, never named."""

# Values that are held while rows are read, and those that are named at the end, by column.
_MOST_HELD, _MOST_NAMED = 10_000, 50
# What is longer is no category.
_LONGEST_VALUE = 100
_SHOWN_VALUES = 5


@dataclasses.dataclass
class _Column:
    rows: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    least: float | None = None
    most: float | None = None
    values: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    elsewhere: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def merge(self, other: _Column) -> None:
        self.rows.update(other.rows)
        self.least = min((one for one in (self.least, other.least) if one is not None), default=None)
        self.most = max((one for one in (self.most, other.most) if one is not None), default=None)
        self.elsewhere.update(other.elsewhere)
        self.values.update(other.values)
        if len(self.values) > _MOST_HELD:
            # Of so many, the rare ones are no categories.
            self.values = collections.Counter(dict(self.values.most_common(_MOST_HELD // 2)))


class BrokenRules:
    """Counts the rows that break a rule of the schema. A row that breaks several is counted for each of them."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def missing(self, name: str, rows: pa.BooleanArray) -> None:
        """Adds rows, bool [rows], that lack a value which every row must have."""
        self._count(name, MISSING, rows)

    def beyond(self, name: str, rule: str, column: pa.Array, rows: pa.BooleanArray) -> None:
        """Adds rows, bool [rows], whose number is BELOW or ABOVE the limits."""
        if told := self._count(name, rule, rows):
            extremes = pc.min_max(column.filter(pc.fill_null(rows, False)))
            numbers = _Column(least=float(extremes["min"].as_py()), most=float(extremes["max"].as_py()))
            told.merge(numbers)

    def outside(
        self, name: str, column: pa.StringArray, rows: pa.BooleanArray, domain: pa.Array, others: Mapping[str, pa.Array]
    ) -> None:
        """Adds rows, bool [rows], whose value is not in the domain.

        Args:
          name: The column.
          column: [rows], its values.
          rows: Which of them are meant.
          domain: The values it may have.
          others: [rows] of text, the columns that its values may be in instead: those of messages, and those that have other values
            than their own in most rows as well.
        """
        told = self._count(name, DOMAIN, rows)
        if told is None:
            return
        strange = column.filter(pc.fill_null(rows, False))
        short = strange.filter(pc.less_equal(pc.binary_length(strange), _LONGEST_VALUE))
        told.values.update({entry["values"]: entry["counts"] for entry in pc.value_counts(short).to_pylist()})
        if 2 * len(strange) > len(column):
            for other, cells in others.items():
                if found := pc.is_in(cells, domain).true_count:
                    told.elsewhere[other] += found

    def merge(self, other: BrokenRules) -> None:
        """Adds what another one counted; of a column that has very many new values, the rare ones are let go."""
        for name, column in other._columns.items():
            self._columns.setdefault(name, _Column()).merge(column)

    def report(self, redact: Callable[[str], str]) -> dict[str, dict[str, Any]]:
        """Returns what was broken by column.

        Args:
          redact: Removes personal data as the pipeline does. A value in which it, or a pattern, finds some is not named.

        Returns:
          Of each column `rows` by rule (MISSING, BELOW, ABOVE, DOMAIN); `least` and `most`, the numbers farthest out, null where there
          are none; `values`, new ones of at least MIN_ROWS rows with their rows, the most frequent first; `unnamed`, the rows of all
          other new values; `elsewhere`, where most rows have a new value, the rows that have one of the domain in another column.
        """
        told = {}
        for name, column in sorted(self._columns.items()):
            frequent = [(value, rows) for value, rows in column.values.most_common(_MOST_NAMED) if rows >= MIN_ROWS]
            values = {value: rows for value, rows in frequent if redaction.redact(redact(value)) == value}
            told[name] = {
                "rows": dict(column.rows),
                "least": column.least,
                "most": column.most,
                "values": values,
                "unnamed": column.rows[DOMAIN] - sum(values.values()),
                "elsewhere": dict(column.elsewhere.most_common()),
            }
        return told

    def _count(self, name: str, rule: str, rows: pa.BooleanArray) -> _Column | None:
        count = rows.true_count
        if not count:
            return None
        told = self._columns.setdefault(name, _Column())
        told.rows[rule] += count
        return told


@dataclasses.dataclass(frozen=True)
class Break:
    """A rule that rows break.

    Attributes:
      column: The column it is of.
      rule: MISSING, BELOW, ABOVE or DOMAIN.
      rows: How many rows break it.
      share: Which share of all rows that were read they are.
      message: What was seen, in a sentence.
      expected: What the schema wants.
      named: Whether the sentence names a new value, which the schema may have to learn.
    """

    column: str
    rule: str
    rows: int
    share: float
    message: str
    expected: str
    named: bool = False


def breaks(report: Mapping[str, Mapping[str, Any]], total: int) -> Iterator[Break]:
    """Yields each rule that rows break.

    Args:
      report: See BrokenRules.report.
      total: Rows that were read, those set aside included.
    """
    for name, told in report.items():
        for rule, rows in told["rows"].items():
            share = rows / total
            seen = f"{rows:,} of {total:,} rows ({share:.1%}), which were set aside"
            if rule == MISSING:
                message = f"Column {name!r} has no value in {seen}; the schema wants one in every row (presence.min_fraction: 1)"
                yield Break(name, rule, rows, share, message, "a value in every row")
            elif rule == DOMAIN:
                place = _changed_places(name, report, total)
                if place is not None:
                    message = (
                        f"Column {name!r} seems to have changed places with column {place!r}: what the schema lists for it is"
                    )
                    message += f" there in {told['elsewhere'][place]:,} rows, and it has other values in {seen}"
                else:
                    message = f"Column {name!r} has values missing from the schema: {_new_values(told, total)}; in {seen}"
                yield Break(name, rule, rows, share, message, "a value of its domain", bool(told["values"]) and place is None)
            else:
                farthest = f"the smallest is {told['least']:g}" if rule == BELOW else f"the largest is {told['most']:g}"
                message = f"Column {name!r} is {rule} its limit in the schema in {seen}; {farthest}"
                yield Break(name, rule, rows, share, message, f"not {rule} its limit")


def _changed_places(name: str, report: Mapping[str, Mapping[str, Any]], total: int) -> str | None:
    """The column in which most rows have what the schema lists for this one, in which most have something else."""
    if 2 * report[name]["rows"][DOMAIN] <= total:
        return None
    return next((other for other, rows in report[name]["elsewhere"].items() if 2 * rows > total), None)


def _new_values(told: Mapping[str, Any], total: int) -> str:
    values = list(told["values"].items())
    shown = [f"{value} ({rows / total:.1%})" for value, rows in values[:_SHOWN_VALUES]]
    rest = told["unnamed"] + sum(rows for _, rows in values[_SHOWN_VALUES:])
    if rest:
        shown.append(f"{'others' if shown else 'rare ones, or personal data,'} in {rest:,} rows")
    return ", ".join(shown)
