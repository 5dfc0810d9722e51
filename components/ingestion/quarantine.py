"""Rows set aside: why each one was, and the files that say so.

A quarantined row is described by its reason, its source and its position, never by its content: the rows most often set aside are
the ones nobody expected, and the quarantine is read by more people than the data.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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

    def rejected(self) -> list[Rejected]:
        """Returns the rows set aside, by reason."""
        return [Rejected(reason, self._positions[self._codes == code]) for code, reason in enumerate(self._reasons)]


def mask(values: pa.BooleanArray) -> np.ndarray:
    """Returns an Arrow array of booleans as numpy's, null as false."""
    return pc.fill_null(values, False).to_numpy(zero_copy_only=False)


class QuarantineWriter:
    """Writes rejected rows as JSON lines `{"reason", "source", "position"}` in parts below a folder.

    Attributes:
      reasons: Rows written so far, by reason.
    """

    def __init__(self, folder: pathlib.Path):
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
