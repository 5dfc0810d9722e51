"""Sums by integer key: the one accumulator all metrics are built on. It grows with the number of distinct keys, never with rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse

# Up to this many possible keys, finding the distinct ones by a table beats sorting.
_TABLE_KEYS = 1 << 23


class KeyedSums:
    """Sums of vectors by key.

    Attributes:
      keys: The distinct keys, int64 [K], sorted.
      sums: The sum of each key, [K, width].
    """

    def __init__(self, width: int, dtype: type = np.float64):
        self.keys = np.empty(0, np.int64)
        self.sums: np.ndarray = np.empty((0, width), dtype)

    def add(self, keys: np.ndarray, values: np.ndarray, scale: np.ndarray | None = None) -> None:
        """Adds to each key of row i the vector of row i.

        Args:
          keys: int [n, g]: each row belongs to g keys; a negative one counts nowhere.
          values: [n, width].
          scale: Factor of each row, [n]; 1 without.
        """
        rows, groups = keys.shape
        flat = keys.ravel()
        data = np.ones(rows, self.sums.dtype) if scale is None else scale.astype(self.sums.dtype, copy=False)
        data = np.repeat(data, groups)
        starts = np.arange(0, rows * groups + 1, groups)
        if len(flat) and flat.min() < 0:
            counted = flat >= 0
            starts = np.concatenate([[0], np.cumsum(counted)])[starts]
            flat, data = flat[counted], data[counted]
        if not len(flat):
            return
        found, position = distinct(flat)
        # A column of the matrix per row: the product adds a row's vector to its keys one after the other, without a copy per key.
        belongs = scipy.sparse.csc_array((data, position, starts), shape=(len(found), rows))
        self._add_distinct(found, belongs @ values)

    def merge(self, other: KeyedSums, translate: Callable[[np.ndarray], np.ndarray] = lambda keys: keys) -> None:
        """Adds other sums, whose keys are translated first; different keys stay different, except that negative ones count nowhere."""
        keys = translate(other.keys)
        order = np.argsort(keys, kind="stable")
        order = order[keys[order] >= 0]
        self._add_distinct(keys[order], other.sums[order])

    def keep(self, wanted: np.ndarray) -> None:
        """Forgets all keys but those marked, bool [K]."""
        self.keys, self.sums = self.keys[wanted], self.sums[wanted]

    def between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the keys in [start, stop), relative to start, and their sums."""
        low, high = np.searchsorted(self.keys, [start, stop])
        return self.keys[low:high] - start, self.sums[low:high]

    def dense(self, start: int, length: int) -> np.ndarray:
        """Returns the sums of `length` keys from start on, zero where there is none: [length, width]."""
        keys, sums = self.between(start, start + length)
        table = np.zeros((length, self.sums.shape[1]), self.sums.dtype)
        table[keys] = sums
        return table

    def _add_distinct(self, keys: np.ndarray, sums: np.ndarray) -> None:
        position = np.searchsorted(self.keys, keys)
        known = position < len(self.keys)
        known[known] = self.keys[position[known]] == keys[known]
        if not known.all():
            merged = np.union1d(self.keys, keys)
            grown = np.zeros((len(merged), self.sums.shape[1]), self.sums.dtype)
            grown[np.searchsorted(merged, self.keys)] = self.sums
            self.keys, self.sums = merged, grown
            position = np.searchsorted(merged, keys)
        self.sums[position] += sums


def distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct ones of at least one key >= 0, sorted, and the position of each key among them."""
    highest = int(keys.max())
    if highest >= _TABLE_KEYS:
        found, position = np.unique(keys, return_inverse=True)
        return found.astype(np.int64, copy=False), position.astype(np.int32).ravel()
    present = np.zeros(highest + 1, bool)
    present[keys] = True
    found = np.flatnonzero(present)
    table = np.empty(highest + 1, np.int32)
    table[found] = np.arange(len(found), dtype=np.int32)
    return found, table[keys]
