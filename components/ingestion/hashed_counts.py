"""How often each of very many things occurs, by hash, in memory that does not grow with their number.

Where there are too many, those of a share of all hashes are counted, so that a thing is counted every time it occurs or not at all.
Counts of parts of a table add up to those of the table, in any order.
"""

from __future__ import annotations

import numpy as np

from components.ingestion import row_hash

MOST_ENTRIES = 1 << 17

_LEAST_PENDING = 1 << 16


class HashedCounts:
    """Counts things by hash.

    Attributes:
      hashes: uint64 [entries], ascending.
      counts: int64 [entries], how often each occurs.
      total: How often all things occur, those that are not counted included.
    """

    def __init__(self, most: int = MOST_ENTRIES):
        """Counts of nothing yet.

        Args:
          most: How many entries are held; beyond it, half of them are let go.
        """
        self._most = most
        self._hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0
        self._halvings = 0
        self.total = 0

    @classmethod
    def of(cls, hashes: np.ndarray, counts: np.ndarray, halvings: int, total: int, most: int = MOST_ENTRIES) -> HashedCounts:
        """Returns counts as `state` gave them."""
        made = cls(most)
        made._hashes, made._counts = hashes.astype(np.uint64), counts.astype(np.int64)
        made._halvings, made.total = halvings, total
        return made

    def state(self) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Returns what `of` makes the same counts of: hashes, counts, how often half was let go, total."""
        return self.hashes, self.counts, self._halvings, self.total

    @property
    def share(self) -> float:
        """Of all hashes, the share that is counted."""
        self._settle()
        return 0.5**self._halvings

    @property
    def hashes(self) -> np.ndarray:
        self._settle()
        return self._hashes

    @property
    def counts(self) -> np.ndarray:
        self._settle()
        return self._counts

    def add(self, hashes: np.ndarray) -> None:
        """Counts each occurrence.

        Args:
          hashes: uint64 [occurrences].
        """
        self.total += len(hashes)
        ordered = np.sort(hashes[self._drawn(hashes)])
        first = _firsts(ordered)
        hashes, counts = ordered[first], np.diff(np.r_[first, len(ordered)])
        if self._pending or len(self._hashes):
            self._await(hashes, counts)
        else:
            self._hashes, self._counts = hashes, counts
            self._halve()

    def merge(self, other: HashedCounts) -> None:
        """Adds the counts of another part."""
        self.total += other.total
        self._halvings = max(self._halvings, other._halvings)
        # What waits already is drawn by the smaller share when it is settled.
        self._await(other.hashes, other.counts)

    def different(self) -> int:
        """Returns how many different things there are; estimated, where only a share of them is counted."""
        return round(len(self.hashes) / self.share)

    def unknown_to(self, known: HashedCounts) -> float:
        """Returns the share of the occurrences that are of things which others do not have; 0.0 if there are none."""
        if not self.total:
            return 0.0
        # Both know the hashes in the smaller of their shares. How much occurs at all is known exactly: from the drawn hashes, it would
        # depend on whether the most frequent things are among them.
        halvings = max(self._halvings, known._halvings)
        unknown = ~row_hash.are_among(self.hashes, known.hashes) & _in_share(self.hashes, halvings)
        return float(min(self.counts[unknown].sum() * 2.0**halvings / self.total, 1.0))

    def repeats(self) -> list[tuple[int, int]]:
        """Returns how many things occur how often: pairs of how often and how many, ascending; estimated like `different`."""
        times, things = np.unique(self.counts, return_counts=True)
        return [(int(often), round(int(many) / self.share)) for often, many in zip(times, things, strict=True)]

    def _await(self, hashes: np.ndarray, counts: np.ndarray) -> None:
        self._pending.append((hashes, counts))
        self._waiting += len(hashes)
        if self._waiting >= max(_LEAST_PENDING, self._most):
            self._settle()

    def _settle(self) -> None:
        if not self._pending:
            return
        hashes = np.concatenate([self._hashes, *(part for part, _ in self._pending)])
        counts = np.concatenate([self._counts, *(part for _, part in self._pending)])
        self._pending, self._waiting = [], 0
        drawn = self._drawn(hashes)
        hashes, counts = hashes[drawn], counts[drawn]
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        first = _firsts(ordered)
        self._hashes = ordered[first]
        self._counts = np.add.reduceat(counts[order], first) if len(first) else counts
        self._halve()

    def _halve(self) -> None:
        while len(self._hashes) > self._most:
            self._halvings += 1
            kept = self._drawn(self._hashes)
            self._hashes, self._counts = self._hashes[kept], self._counts[kept]

    def _drawn(self, hashes: np.ndarray) -> np.ndarray:
        return _in_share(hashes, self._halvings)


def _in_share(hashes: np.ndarray, halvings: int) -> np.ndarray:
    if not halvings:
        return np.ones(len(hashes), bool)
    return row_hash.mix(hashes) < np.uint64(2 ** (64 - halvings))


def _firsts(ordered: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
