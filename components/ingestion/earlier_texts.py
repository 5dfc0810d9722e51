"""The texts of earlier splits, so that rows of later ones which repeat them can be set aside.

A draw by text keeps near duplicates together. Where a group, a time or a column says a row's split, they may straddle: people say `yes` in
every conversation. Moving such rows would tear groups and times apart, so the only way to have none is to do without them: what train has
is taken out of eval, and what train or eval has out of test.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from components.ingestion import row_hash
from components.ingestion.options import SPLITS, DataOptions
from components.ingestion.splits import EVAL, TEST

NEAR_DUPLICATE = "near duplicate of a text in an earlier split"

# Hashes that are collected before those that repeat are let go.
_MOST_PENDING = 1 << 20


def are_asked_for(options: DataOptions) -> bool:
    """Says whether near duplicates are to be set aside, and may be in several splits at all."""
    split = options.split
    drawn_by_text = split.by == "hash" and options.group is None
    return split.near_duplicates == "set_aside" and bool(options.text) and not drawn_by_text


class EarlierTexts:
    """Hashes of the texts of every split but the last: eight bytes for each different text.

    Args:
      parts: Of consecutive rows, int8 [rows], indices into `SPLITS`, below zero for rows that are not stored; uint64 [rows], hashes that
        near duplicates share; and bool [rows], whether there is a text.
    """

    def __init__(self, parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]):
        self._known = [np.empty(0, np.uint64) for _ in SPLITS[:TEST]]
        pending: list[list[np.ndarray]] = [[] for _ in self._known]
        waiting = 0
        for assigned, near, texts in parts:
            for split, hashes in enumerate(pending):
                hashes.append(np.unique(near[(assigned == split) & texts]))
                waiting += len(hashes[-1])
            if waiting >= _MOST_PENDING:
                self._settle(pending)
                waiting = 0
        self._settle(pending)

    def have(self, assigned: np.ndarray, near: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Says of which rows an earlier split has the text.

        Args:
          assigned: int8 [rows], indices into `SPLITS`.
          near: uint64 [rows], hashes that near duplicates share.
          texts: bool [rows], whether there is a text.

        Returns:
          bool [rows].
        """
        found = np.zeros(len(near), dtype=bool)
        for split in (EVAL, TEST):
            later = (assigned == split) & texts
            for known in self._known[:split]:
                found[later] |= row_hash.are_among(near[later], known)
        return found

    def _settle(self, pending: list[list[np.ndarray]]) -> None:
        for split, hashes in enumerate(pending):
            self._known[split] = np.unique(np.concatenate([self._known[split], *hashes]))
            hashes.clear()
