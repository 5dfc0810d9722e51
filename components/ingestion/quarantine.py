"""Rows set aside: why each one was, and the files that say so.

A quarantined row is described by its reason, its source and its position, never by its content: the rows most often set aside are
the ones nobody expected, and the quarantine is read by more people than the data.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

OTHER_VALUES = "(other)"

_ROWS_PER_PART = 1_000_000


@dataclasses.dataclass(frozen=True)
class Rejected:
    """Rows of one source that share a reason.

    Attributes:
      reason: Why, e.g. `fare: not a number`. Holds column names, never values.
      positions: int64 [rows], 1-based row numbers in the source.
    """

    reason: str
    positions: np.ndarray


class Sieve:
    """Collects, for the rows of one batch, the first reason to set each one aside.

    Args:
      positions: int64 [rows], the rows' numbers in their source.
    """

    def __init__(self, positions: np.ndarray):
        self._positions = positions
        self._reasons: list[str] = []
        self._codes = np.full(len(positions), -1, dtype=np.int32)

    def reject(self, rows: np.ndarray | pa.BooleanArray, reason: str) -> None:
        """Sets rows aside, unless an earlier reason did.

        Args:
          rows: bool [rows], true for the rows to set aside; null is false.
          reason: Why.
        """
        if isinstance(rows, pa.Array):
            rows = mask(rows)
        fresh = rows & (self._codes < 0)
        if fresh.any():
            self._codes[fresh] = len(self._reasons)
            self._reasons.append(reason)

    def kept(self) -> np.ndarray:
        """Returns bool [rows], false for the rows set aside."""
        return self._codes < 0

    def by_reason(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields every reason with the rows it set aside, bool [rows]."""
        for code, reason in enumerate(self._reasons):
            yield reason, self._codes == code

    def rejected(self) -> list[Rejected]:
        """Returns the rows set aside, by reason."""
        return [Rejected(reason, self._positions[rows]) for reason, rows in self.by_reason()]


def mask(values: pa.BooleanArray) -> np.ndarray:
    """Returns an Arrow array of booleans as numpy's, null as false."""
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)


class SegmentReasons:
    """Counts rows set aside by reason and segment value.

    What stands in the segment column of a row that nobody can use may be anything, a message even. So only values that stored rows
    have as well are named.

    Args:
      columns: The segment columns.
    """

    def __init__(self, columns: Iterable[str]):
        self._counts: dict[str, collections.Counter[tuple[str, str]]] = {name: collections.Counter() for name in columns}

    def add(self, rows: pa.RecordBatch, sieve: Sieve) -> None:
        """Adds the rows of a batch that were set aside.

        Args:
          rows: Among their columns the segment columns.
          sieve: Says which ones and why.
        """
        for reason, rejected in sieve.by_reason():
            which = pa.array(rejected)
            for name, counts in self._counts.items():
                for entry in pc.value_counts(rows.column(name).filter(which)).to_pylist():
                    if entry["values"] is not None:
                        counts[str(entry["values"]), reason] += entry["counts"]

    def merge(self, other: SegmentReasons) -> None:
        """Adds what another one of the same columns counted."""
        for name, counts in self._counts.items():
            counts.update(other._counts[name])

    def by_value(self, stored: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, dict[str, int]]]:
        """Returns rows by segment column, value and reason, those with the most rows first.

        Args:
          stored: Stored rows by segment column and value; `(other)` stands for values that are not among them.
        """
        found: dict[str, dict[str, dict[str, int]]] = {}
        for name, counts in self._counts.items():
            values: collections.defaultdict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
            for (value, reason), rows in counts.items():
                values[value if value in stored[name] else OTHER_VALUES][reason] += rows
            ranked = sorted(values.items(), key=lambda item: (-item[1].total(), item[0]))
            found[name] = {value: dict(reasons.most_common()) for value, reasons in ranked}
        return found


class QuarantineWriter:
    """Writes rejected rows as JSON lines `{"reason", "source", "position"}` in parts below a folder, in place of any that are there.

    Attributes:
      reasons: Rows written so far, by reason.
    """

    def __init__(self, folder: pathlib.Path):
        # Rows are appended, and an attempt that was killed may have left some.
        for part in folder.glob("part-*.jsonl"):
            part.unlink()
        self._folder = folder
        self._rows = 0
        self.reasons: collections.Counter[str] = collections.Counter()

    def write(self, source: str, rejected: list[Rejected]) -> None:
        """Appends rows of one source."""
        for entry in rejected:
            self.reasons[entry.reason] += len(entry.positions)
            part = self._folder / f"part-{self._rows // _ROWS_PER_PART:05d}.jsonl"
            self._rows += len(entry.positions)
            with open(part, "ab") as sink:
                sink.write(_json_lines(entry, source))


def _json_lines(entry: Rejected, source: str) -> bytes:
    prefix = f'{{"reason": {json.dumps(entry.reason)}, "source": {json.dumps(source)}, "position": '
    lines = pc.binary_join_element_wise(prefix, pc.cast(pa.array(entry.positions), pa.string()), "}\n", "")
    return "".join(lines.to_pylist()).encode()
