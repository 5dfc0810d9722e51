"""One pass over scored rows: sums by slice, for the sample and for its bootstrap replicates, from which all metrics follow.

An accumulator takes batches in any order, can be merged with others, and is bounded by slices, labels and replicates, not by rows.
Nothing is done per row in Python and no row is copied per slice: a batch becomes a few sparse matrices (which row counts for which
key) that are multiplied with what is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import UsageError
from components.evaluation import resampling
from components.evaluation.keyed_sums import distinct
from components.evaluation.plan import OVERALL, Plan
from components.evaluation.scored_rows import ScoredRows
from components.evaluation.segments import MOST_VALUES
from components.evaluation.view_sums import ViewSums

# Batches are gathered up to this many rows or bytes of scores, because each flush has a price that does not depend on its size.
_FLUSH_ROWS = 16_384
_FLUSH_BYTES = 48 << 20

# Far enough from the largest float32 that sums of weights stay numbers.
_LARGEST_WEIGHT = 1e30


class Accumulator:
    """Sums of everything in a plan.

    Attributes:
      slices: Slice numbers by (segment number, values); number 0, all rows, is not in it.
      overflowed: Numbers of segments with too many values to slice; they have no slices.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.slices: dict[tuple[int, tuple[str, ...]], int] = {}
        self.overflowed: set[int] = set()
        self._next_slice = OVERALL + 1
        self._values_seen = [0] * len(plan.segments)
        self._views = {view.model: ViewSums(plan, view) for view in plan.views}
        self._pending: list[ScoredRows] = []
        self._pending_rows = self._pending_bytes = 0

    def add(self, rows: ScoredRows) -> None:
        """Adds a batch.

        Raises:
          UsageError: A row has no label, or a weight that is negative, not a number or absurdly large.
        """
        if rows.actual.null_count:
            raise UsageError(f"Every test row needs a label; {rows.actual.null_count} of {len(rows)} rows of a batch have none")
        if rows.weight is not None:
            allowed = (rows.weight >= 0) & (rows.weight <= _LARGEST_WEIGHT)
            if not allowed.all():
                raise UsageError(
                    f"The weight of every test row (evaluation.weight) must be a number from 0 to {_LARGEST_WEIGHT:g}; "
                    f"received {rows.weight[~allowed][0]:g}"
                )
        if not len(rows):
            return
        self._pending.append(rows)
        self._pending_rows += len(rows)
        self._pending_bytes += rows.bytes()
        if self._pending_rows >= _FLUSH_ROWS or self._pending_bytes >= _FLUSH_BYTES:
            self.flush()

    def merge(self, other: Accumulator) -> None:
        """Adds what another accumulator of the same plan holds."""
        self.flush()
        other.flush()
        for segment in other.overflowed:
            self._overflow(segment)
        for key in other.slices:
            self._slice_number(*key)
        numbers = np.full(other._next_slice, -1, np.int64)
        numbers[OVERALL] = OVERALL
        for key, number in other.slices.items():
            numbers[number] = self.slices.get(key, -1)
        for name, view in self._views.items():
            view.merge(other._views[name], numbers)

    def flush(self) -> None:
        """Works off the batches gathered so far."""
        if not self._pending:
            return
        rows = ScoredRows.concatenate(self._pending)
        self._pending = []
        self._pending_rows = self._pending_bytes = 0
        for part in rows.parts(_FLUSH_ROWS):
            self._sum(part)

    def _sum(self, rows: ScoredRows) -> None:
        keys = self._slice_keys(rows)
        weights = None
        if self.plan.replicates:
            weights = resampling.poisson_weights(rows.unit, self.plan.replicates, self.plan.seed)
            if rows.weight is not None:
                weights *= rows.weight[:, np.newaxis].astype(np.float32)
        index = pc.fill_null(pc.index_in(_decoded(rows.actual), pa.array(self.plan.labels, pa.string())), len(self.plan.labels))
        actual = index.to_numpy().astype(np.int64)
        if self.plan.common is not None:
            known = [label for label, name in enumerate(self.plan.labels) if name in self.plan.common]
            keys = keys * 2 + ~np.isin(actual, known)[:, np.newaxis]
        for view in self._views.values():
            view.add(rows, actual, keys, weights)

    def row_count(self, slice_number: int) -> int:
        """Returns the rows of a slice, whatever their weight."""
        return self._views[self.plan.views[0].model].row_count(slice_number)

    def view(self, model: str, on_common: bool = False) -> ViewSums:
        """Returns the sums of a model over all rows, or over those with a common label."""
        self.flush()
        return self._views[model].on_common() if on_common else self._views[model]

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return self.__dict__

    def _slice_keys(self, rows: ScoredRows) -> np.ndarray:
        """Returns the slice numbers of each row: int [n, 1 + sliced segments]; the first is that of all rows."""
        codes = {name: _codes(values) for name, values in rows.slices.items()}
        columns = [np.zeros(len(rows), np.int64)]
        for number, segment in enumerate(self.plan.segments):
            if number not in self.overflowed:
                keys = self._keys_of(number, [codes[name] for name in segment.names])
                if number not in self.overflowed:
                    columns.append(keys)
        return np.stack(columns, axis=1)

    def _keys_of(self, segment: int, columns: Sequence[tuple[np.ndarray, list[str]]]) -> np.ndarray:
        # Column by column, so that the codes of a cross stay small.
        position, combinations = np.zeros(len(columns[0][0]), np.int64), [()]
        for code, names in columns:
            found, position = distinct(position * np.int64(len(names)) + code)
            combinations = [(*combinations[mixed // len(names)], names[mixed % len(names)]) for mixed in found.tolist()]
        return np.array([self._slice_number(segment, values) for values in combinations], np.int64)[position]

    def _slice_number(self, segment: int, values: tuple[str, ...]) -> int:
        """Returns the number of a slice, a new one if it is new; -1 if its segment has too many."""
        key = (segment, values)
        if key not in self.slices and segment not in self.overflowed:
            if self._values_seen[segment] == MOST_VALUES:
                self._overflow(segment)
                return -1
            self._values_seen[segment] += 1
            self.slices[key] = self._next_slice
            self._next_slice += 1
        return self.slices.get(key, -1)

    def _overflow(self, segment: int) -> None:
        """Gives up slicing by a segment, and frees what it took."""
        self.overflowed.add(segment)
        self.slices = {key: number for key, number in self.slices.items() if key[0] != segment}
        kept = np.zeros(self._next_slice, bool)
        kept[[OVERALL, *self.slices.values()]] = True
        for view in self._views.values():
            view.keep(kept)


def _codes(values: pa.Array) -> tuple[np.ndarray, list[str]]:
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _decoded(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
