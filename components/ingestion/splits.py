"""Which split each row belongs to: train, eval or test.

A plan is made before the rows are read, so that one pass can write them: `hash` and `group` need nothing, `time` and `column`
look at their one column first. The same rows get the same splits in any order, batch size or process.
"""

from __future__ import annotations

import abc
import collections
import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import UsageError
from components.ingestion import cells, row_hash
from components.ingestion.options import SPLITS, DataOptions, Split
from components.ingestion.quarantine import Sieve
from serving.redaction import redact

TRAIN, EVAL, TEST = range(len(SPLITS))

NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": EVAL,
    "valid": EVAL,
    "validation": EVAL,
    "dev": EVAL,
    "eval": EVAL,
    "test": TEST,
}

# What may be quoted from a column that was named as the split column by mistake: a few short values, never a message.
_MOST_VALUES_SHOWN = 10
_LONGEST_VALUE_SHOWN = 20


class Plan(abc.ABC):
    """How rows become splits.

    Attributes:
      notes: What a reader of the summary should know, in sentences.
    """

    notes: tuple[str, ...] = ()

    @abc.abstractmethod
    def assign(self, rows: pa.RecordBatch, hashes: np.ndarray, sieve: Sieve) -> np.ndarray:
        """Assigns rows.

        Args:
          rows: Plain columns, among them those the plan reads.
          hashes: uint64 [rows], what a draw is made by: rows with equal hashes get the same split, unless they are told another.
          sieve: Takes rows that belong to no split.

        Returns:
          int8 [rows], indices into `SPLITS`; without meaning for rows set aside.
        """


def plan(options: DataOptions, scan: Callable[[str], Iterable[pa.Array]]) -> Plan:
    """Makes a plan.

    Args:
      options: Says how to split, and by which columns.
      scan: Streams one plain column of the table.

    Raises:
      UsageError: The column that splits the rows cannot do it: too few distinct times, values that name no split, no train rows.
    """
    split = options.split
    if split.by == "time":
        return _plan_by_time(split, options.timestamp, scan(options.timestamp))
    draw = _Draw(split.seed, options.group)
    if split.by == "column":
        return _plan_by_column(split, draw, scan(split.column))
    return _ByHash(draw, split.eval, split.test)


def columns(options: DataOptions) -> dict[str, str]:
    """Returns the columns a plan reads, each with who asks for it."""
    named = {}
    if options.group is not None:
        named[options.group] = "data.group names"
    if options.split.by == "time":
        named[options.timestamp] = "data.timestamp names"
    if options.split.by == "column":
        named[options.split.column] = "data.split.column names"
    return named


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Draws rows by hash: of the group where there is one, else of the row. Rows without a group stand for themselves."""

    seed: int
    group: str | None

    def __call__(self, rows: pa.RecordBatch, hashes: np.ndarray, eval_share: float, test_share: float) -> np.ndarray:
        if self.group is not None:
            groups = cells.text(rows.column(self.group))
            hashes = np.where(groups.is_null().to_numpy(zero_copy_only=False), hashes, row_hash.hash_cells(groups))
        drawn = row_hash.uniform(hashes, self.seed)
        return np.select([drawn < test_share, drawn < test_share + eval_share], [TEST, EVAL], TRAIN).astype(np.int8)


@dataclasses.dataclass(frozen=True)
class _ByHash(Plan):
    draw: _Draw
    eval_share: float
    test_share: float

    def assign(self, rows: pa.RecordBatch, hashes: np.ndarray, sieve: Sieve) -> np.ndarray:
        return self.draw(rows, hashes, self.eval_share, self.test_share)


@dataclasses.dataclass(frozen=True)
class _ByTime(Plan):
    column: str
    eval_from: float
    test_from: float
    gap: float

    def assign(self, rows: pa.RecordBatch, hashes: np.ndarray, sieve: Sieve) -> np.ndarray:
        times, invalid = cells.seconds(rows.column(self.column))
        sieve.reject(invalid, f"{self.column}: not a time")
        sieve.reject(np.isnan(times), f"{self.column}: missing time")
        for start in (self.eval_from, self.test_from):
            sieve.reject((times >= start - self.gap) & (times < start), "gap")
        return np.select([times >= self.test_from, times >= self.eval_from], [TEST, EVAL], TRAIN).astype(np.int8)


def _plan_by_time(split: Split, column: str, arrays: Iterable[pa.Array]) -> _ByTime:
    # Eight bytes a row, the one thing here that grows with the table: exact cuts, and equal times are never torn apart.
    times = np.concatenate([np.empty(0), *(cells.seconds(array)[0] for array in arrays)])
    distinct, counts = np.unique(times[~np.isnan(times)], return_counts=True)
    if len(distinct) < len(SPLITS):
        raise UsageError(
            f"Splitting by time takes at least {len(SPLITS)} distinct times (seconds since the epoch, or ISO 8601 text);"
            f" data.timestamp {column!r} has {len(distinct)} in {len(times)} rows. Name another column, or set split.by to hash"
        )
    before = np.concatenate([[0], np.cumsum(counts)])  # rows before each distinct time
    test_at = _nearest(before, (1 - split.test) * before[-1], 2, len(distinct) - 1)
    eval_at = _nearest(before, (1 - split.test - split.eval) * before[-1], 1, test_at - 1)
    return _ByTime(column, float(distinct[eval_at]), float(distinct[test_at]), split.gap)


def _nearest(before: np.ndarray, rows: float, low: int, high: int) -> int:
    """Returns the index in [low, high] that has closest to so many rows before it."""
    return low + int(np.argmin(np.abs(before[low : high + 1] - rows)))


@dataclasses.dataclass(frozen=True)
class _ByColumn(Plan):
    column: str
    draw: _Draw
    eval_share: float
    test_share: float
    notes: tuple[str, ...]

    def assign(self, rows: pa.RecordBatch, hashes: np.ndarray, sieve: Sieve) -> np.ndarray:
        names = _split_names(rows.column(self.column))
        sieve.reject(names.is_null(), f"{self.column}: missing split")
        index = pc.index_in(names, pa.array(list(NAMES))).fill_null(0).to_numpy(zero_copy_only=False)
        said = np.array(list(NAMES.values()), dtype=np.int8)[index]
        return np.where(said == TRAIN, self.draw(rows, hashes, self.eval_share, self.test_share), said)


def _plan_by_column(split: Split, draw: _Draw, arrays: Iterable[pa.Array]) -> _ByColumn:
    seen: collections.Counter[str] = collections.Counter()
    for array in arrays:
        for entry in pc.value_counts(_split_names(array).drop_null()).to_pylist():
            seen[entry["values"]] += entry["counts"]
        _refuse_unknown_names(split.column, seen)
    have = {NAMES[name] for name in seen}
    if TRAIN not in have:
        raise UsageError(
            f"data.split.column {split.column!r} marks no row as train; its values are {', '.join(sorted(seen)) or 'all missing'}"
        )
    shares = {EVAL: 0.0 if EVAL in have else split.eval, TEST: 0.0 if TEST in have else split.test}
    notes = tuple(
        f"{split.column!r} marks no row as {SPLITS[code]}; {share:.0%} of its train rows were drawn by hash"
        for code, share in shares.items()
        if share
    )
    return _ByColumn(split.column, draw, shares[EVAL], shares[TEST], notes)


def _split_names(array: pa.Array) -> pa.StringArray:
    return cells.text(pc.utf8_lower(pc.utf8_trim_whitespace(array.cast(pa.string()))))


def _refuse_unknown_names(column: str, seen: Iterable[str]) -> None:
    unknown = sorted(set(seen) - NAMES.keys())
    if not unknown:
        return
    shown = [repr(name) for name in unknown if len(name) <= _LONGEST_VALUE_SHOWN and redact(name) == name][:_MOST_VALUES_SHOWN]
    values = f": {', '.join(shown)}" if len(unknown) <= _MOST_VALUES_SHOWN and shown else ""
    raise UsageError(
        f"data.split.column {column!r} takes the values {', '.join(NAMES)}; received {len(unknown)} other value(s){values}."
        " Map them first, or split by hash"
    )
