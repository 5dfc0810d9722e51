"""What makes a measurement look better than the model is: texts in two splits, texts with two labels, columns that know the label.

Everything is counted while rows stream by, in memory that does not grow with the table: texts as 64-bit hashes, and where there are
too many of them, those of a share of all texts, drawn by hash, so that a text is counted with all its rows or not at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion import row_hash
from components.ingestion.options import SPLITS, DataOptions
from components.profiling.association import associate
from components.validation.schema_file import SERVING

# Texts by split and label that are held; beyond it, half of the texts are let go. With what is yet to be sorted, 50 MiB at most.
_MOST_ENTRIES = 1 << 19
_MOST_PENDING = 1 << 19
# The bits of an entry that are no hash.
_PLACE = np.uint64((1 << 20) - 1)
# Further labels, should there be so many, count as one.
_MOST_LABELS = int(_PLACE) // len(SPLITS)
# Rows that the association of columns and label is measured on.
_MOST_SAMPLED_ROWS = 1 << 16


class LeakWatch:
    """Looks at rows as they are stored.

    Args:
      options: Names the text columns and the label.
      schema: Says which columns are inputs of the model; only those can give the label away to it.
    """

    def __init__(self, options: DataOptions, schema: schema_pb2.Schema):
        self._label = options.label
        self._has_text = bool(options.text)
        self._label_codes: dict[str, int] = {}
        self._exact, self._near = _Texts(), _Texts()
        # Columns that take few values as codes, the others as amounts.
        self._numeric = {
            feature.name: feature.type == schema_pb2.FLOAT
            or (feature.type == schema_pb2.INT and not feature.int_domain.is_categorical)
            for feature in schema.feature
            if SERVING not in feature.not_in_environment and feature.name not in (options.label, *options.text)
        }
        self._sample = _Sample()

    def add(self, splits: np.ndarray, rows: pa.RecordBatch, exact: np.ndarray, near: np.ndarray, texts: np.ndarray) -> None:
        """Adds rows.

        Args:
          splits: int8 [rows], indices into `SPLITS`; below zero for rows that are not stored.
          rows: The schema's columns.
          exact: uint64 [rows], hashes of the rows' texts.
          near: uint64 [rows], hashes that near duplicates share.
          texts: bool [rows], whether there is a text.
        """
        stored = splits >= 0
        if self._numeric:
            self._sample.add(rows.select([*self._numeric, self._label]).filter(pa.array(stored)))
        counted = stored & texts
        if not counted.any():
            return
        places = self._codes(rows.column(self._label))[counted] * len(SPLITS) + splits[counted]
        self._exact.add(exact[counted], places)
        self._near.add(near[counted], places)

    def report(self) -> dict[str, Any]:
        """Returns what was found.

        Returns:
          `columns`: of every input that is no text, the share of the label's uncertainty that it alone explains (`information`) and
          how much more accurate than the most frequent class the best guess from it is (`gain`). Where there are text columns also
          `exact` and `near`: for eval, of the rows with a text, `rows` whose text train has too, and the `share` they are; for
          test, whose text train or eval has. `label_conflicts`: near duplicates with several labels: `texts`, `rows` of all but the
          most frequent label of their text, which no model can get right as well, and the `share` they are. `share_of_texts`:
          below 1 where numbers are estimates from that share of the texts.
        """
        columns = {"columns": self._columns()}
        if not self._has_text:
            return columns
        return {
            "exact": self._exact.straddling(),
            "near": self._near.straddling(),
            "label_conflicts": self._near.conflicts(),
            "share_of_texts": min(self._exact.share, self._near.share),
            **columns,
        }

    def _codes(self, labels: pa.StringArray) -> np.ndarray:
        """Numbers labels in the order in which they appear; those of rows set aside may be missing and get any."""
        encoded = labels.dictionary_encode()
        known = self._label_codes
        codes = [known.setdefault(label, min(len(known), _MOST_LABELS - 1)) for label in encoded.dictionary.to_pylist()]
        return np.array([*codes, 0], dtype=np.int64)[pc.fill_null(encoded.indices, len(codes)).to_numpy(zero_copy_only=False)]

    def _columns(self) -> dict[str, dict[str, float]]:
        sample = self._sample.rows()
        if sample is None:
            return {}
        found = {}
        for name, numeric in self._numeric.items():
            column = sample.column(name)
            plain = column.cast(pa.float64()) if pa.types.is_floating(column.type) else column
            association = associate(plain, numeric, sample.column(self._label))
            found[name] = {"information": round(association.information, 4), "gain": round(association.gain, 4)}
        return found


class _Texts:
    """Rows by text, split and label, of all texts or of a share of them.

    An entry is one number, so that sorting it is all there is to do: bits of the text's hash, then the place, which is label code
    times number of splits plus split. Half a million entries make it unlikely that two texts share all 44 bits.

    Attributes:
      share: Of all texts, the share that is counted.
    """

    def __init__(self) -> None:
        self._entries = np.empty(0, np.uint64)
        self._rows = np.empty(0, np.int64)
        self._pending: list[np.ndarray] = []
        self._waiting = 0
        self._halvings = 0
        self._seen = np.zeros(len(SPLITS), np.int64)

    @property
    def share(self) -> float:
        return 0.5**self._halvings

    def add(self, hashes: np.ndarray, places: np.ndarray) -> None:
        self._seen += np.bincount(places % len(SPLITS), minlength=len(SPLITS))
        entries = (hashes & ~_PLACE) | places.astype(np.uint64)
        self._pending.append(entries[self._drawn(entries)])
        self._waiting += len(self._pending[-1])
        if self._waiting >= _MOST_PENDING:
            self._settle()

    def straddling(self) -> dict[str, dict[str, float]]:
        """Of eval and test, the rows whose text an earlier split has."""
        self._settle()
        _, by_split = self._by_split()
        found = {}
        for split in range(1, len(SPLITS)):
            sampled = by_split[:, split].sum()
            shared = by_split[by_split[:, :split].any(axis=1), split].sum()
            found[SPLITS[split]] = self._estimate(shared, sampled, self._seen[split])
        return found

    def conflicts(self) -> dict[str, float]:
        """Texts with several labels, and their rows of any but the most frequent one."""
        self._settle()
        starts, by_split = self._by_split()
        if not len(starts):
            return {"texts": 0, "rows": 0, "share": 0.0}
        # Entries are sorted, so those of one text and label stand together.
        of_text = (self._entries & ~_PLACE) | (self._entries & _PLACE) // np.uint64(len(SPLITS))
        first = _firsts(of_text)
        rows = np.add.reduceat(self._rows, first)
        of_label = np.searchsorted(first, starts)
        outvoted = by_split.sum(axis=1) - np.maximum.reduceat(rows, of_label)
        estimate = self._estimate(outvoted.sum(), by_split.sum(), self._seen.sum())
        return {"texts": round(np.count_nonzero(outvoted) / self.share), **estimate}

    def _estimate(self, found: int, sampled: int, of: int) -> dict[str, float]:
        share = float(found / sampled) if sampled else 0.0
        return {"rows": round(share * int(of)), "share": round(share, 6)}

    def _by_split(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the entries of each text begin, and its rows [texts, splits]."""
        starts = _firsts(self._entries & ~_PLACE)
        text = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(self._entries))))
        cells = text * len(SPLITS) + (self._entries & _PLACE).astype(np.int64) % len(SPLITS)
        counts = np.bincount(cells, weights=self._rows, minlength=len(starts) * len(SPLITS))
        return starts, counts.astype(np.int64).reshape(-1, len(SPLITS))

    def _drawn(self, entries: np.ndarray) -> np.ndarray:
        if not self._halvings:
            return np.ones(len(entries), dtype=bool)
        # Not the bits that draw splits: a share of the texts must be a share of every split's.
        return row_hash.mix(~(entries & ~_PLACE)) < np.uint64(2 ** (64 - self._halvings))

    def _settle(self) -> None:
        if not self._pending:
            return
        entries = np.concatenate([self._entries, *self._pending])
        rows = np.concatenate([self._rows, np.ones(self._waiting, np.int64)])
        self._pending, self._waiting = [], 0
        order = np.argsort(entries)
        entries = entries[order]
        first = _firsts(entries)
        self._entries = entries[first]
        self._rows = np.add.reduceat(rows[order], first) if len(first) else rows
        while len(self._entries) > _MOST_ENTRIES:
            self._halvings += 1
            kept = self._drawn(self._entries)
            self._entries, self._rows = self._entries[kept], self._rows[kept]


def _firsts(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.r_[True, values[1:] != values[:-1]][: len(values)])


class _Sample:
    """Rows drawn by their number in the order of reading: all, or so small a share that they fit."""

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, pa.RecordBatch]] = []
        self._size = 0
        self._count = 0
        self._halvings = 0

    def add(self, rows: pa.RecordBatch) -> None:
        draws = row_hash.mix(np.arange(self._count + 1, self._count + rows.num_rows + 1, dtype=np.uint64))
        self._count += rows.num_rows
        self._keep(draws, rows)
        while self._size > _MOST_SAMPLED_ROWS:
            self._halvings += 1
            kept, self._kept, self._size = self._kept, [], 0
            for earlier_draws, earlier_rows in kept:
                self._keep(earlier_draws, earlier_rows)

    def rows(self) -> pa.Table | None:
        """Returns the sample; None if it is empty."""
        return pa.Table.from_batches([rows for _, rows in self._kept]) if self._size else None

    def _keep(self, draws: np.ndarray, rows: pa.RecordBatch) -> None:
        drawn = draws <= np.uint64(2 ** (64 - self._halvings) - 1)
        if drawn.any():
            # A filtered batch holds none of the memory of what was left out; a slice would.
            self._kept.append((draws[drawn], rows.filter(pa.array(drawn))))
            self._size += int(drawn.sum())
