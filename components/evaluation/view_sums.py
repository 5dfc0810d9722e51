"""The sums of one model: over rows, by cell of the confusion matrix, by calibration bin and by bucket of score, for each slice."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from components.evaluation import metrics
from components.evaluation.judging import judge
from components.evaluation.keyed_sums import KeyedSums
from components.evaluation.metrics import CALIBRATION_BINS, ROW_SUMS, SCORE_BUCKETS, SliceSums
from components.evaluation.plan import OVERALL, Plan, View
from components.evaluation.resampled_sums import ResampledSums
from components.evaluation.scored_rows import ScoredRows

COVERAGE_STEPS = 1000


class ViewSums:
    """The sums of one view.

    Each slice has `plan.parts` consecutive numbers here, of which a reading adds the first few up.
    """

    def __init__(self, plan: Plan, view: View):
        self._plan, self._view = plan, view
        self._width = len(plan.labels) + 1
        self._label_of_class = np.array([plan.labels.index(name) for name in view.classes])
        self._curves = tuple(name for name in plan.curves if name in view.classes)
        self._rows = KeyedSums(len(ROW_SUMS))
        # Weight and number of rows by true and predicted label.
        self._cells = KeyedSums(2)
        self._calibration = KeyedSums(3)
        self._curve_counts = KeyedSums(1)
        self._coverage = np.zeros((COVERAGE_STEPS + 1, 2))
        self._scores = np.zeros((len(view.classes), plan.parts, 2, SCORE_BUCKETS))
        self._read = plan.parts
        self._resampled = ResampledSums(plan, view)

    def add(self, rows: ScoredRows, actual: np.ndarray, keys: np.ndarray, weights: np.ndarray | None) -> None:
        """Adds a batch.

        Args:
          rows: The batch.
          actual: Index of each row's true label.
          keys: Numbers of the parts of slices, [n, g].
          weights: Bootstrap weights, [n, 1 + replicates]; None if there are none.
        """
        scores = rows.scores[self._view.model]
        abstained = rows.abstained.get(self._view.model)
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight.astype(np.float64)
        judged = judge(self._plan, scores, actual, self._label_of_class, abstained)
        scaled = weight[:, np.newaxis]
        self._rows.add(keys, judged.row_sums * scaled)
        cell = actual * self._width + judged.predicted
        self._cells.add(keys * self._width**2 + cell[:, np.newaxis], np.column_stack([weight, np.ones(len(weight))]))
        by_bin = np.column_stack([weight, judged.hit * weight, judged.top_score * weight])
        self._calibration.add(keys * CALIBRATION_BINS + judged.bin[:, np.newaxis], by_bin)
        step = np.floor(judged.top_score * COVERAGE_STEPS).astype(np.int64)
        np.add.at(self._coverage, step, by_bin[:, :2])
        self._add_scores(scores, actual, keys, weight, rows.weight is not None)
        if weights is not None:
            self._resampled.add(judged, scores, actual, keys, weights)

    def merge(self, other: ViewSums, numbers: np.ndarray) -> None:
        """Adds other sums; `numbers` translates their slice numbers, -1 for none."""

        def translation(stride: int) -> Callable[[np.ndarray], np.ndarray]:
            return lambda keys: numbers[keys // stride] * stride + keys % stride

        for (mine, stride), (others, _) in zip(self._by_slice(), other._by_slice(), strict=True):
            mine.merge(others, translation(stride))
        self._coverage += other._coverage
        self._scores += other._scores

    def keep(self, slices: np.ndarray) -> None:
        """Forgets all slices but those marked, bool by number."""
        for sums, stride in self._by_slice():
            sums.keep(slices[sums.keys // stride])

    def on_common(self) -> ViewSums:
        """Returns the same sums to be read over rows with a common label only."""
        reading = copy.copy(self)
        reading._read = 1
        return reading

    def sums(self, slice_number: int) -> SliceSums:
        """Returns the sums of a slice over the sample itself (S = 1)."""
        row_sums = self._dense(self._rows, 1, slice_number)[0]
        cells = self.confusion(slice_number)
        by_actual, by_predicted, hits = (np.zeros((self._width, 1)) for _ in range(3))
        np.add.at(by_actual[:, 0], cells[0], cells[2])
        np.add.at(by_predicted[:, 0], cells[1], cells[2])
        right = (cells[0] == cells[1]) & (cells[0] < self._width - 1)
        hits[cells[0][right], 0] = cells[2][right]
        curves = self._dense(self._curve_counts, self._curve_stride, slice_number)
        scores = dict(zip(self._curves, curves.reshape(-1, 2, SCORE_BUCKETS, 1), strict=False))
        if slice_number == OVERALL:
            scores = dict(zip(self._view.classes, self._scores[:, : self._read].sum(axis=1)[..., np.newaxis], strict=True))
        calibration = self._dense(self._calibration, CALIBRATION_BINS, slice_number)
        return SliceSums(
            {name: row_sums[position : position + 1] for position, name in enumerate(ROW_SUMS)},
            by_actual,
            by_predicted,
            hits,
            calibration[..., np.newaxis],
            scores,
        )

    def row_count(self, slice_number: int) -> int:
        """Returns the rows of a slice, whatever their weight."""
        return int(self._slice_cells(slice_number)[1][:, 1].sum())

    def unseen(self, slice_number: int) -> int:
        """Returns how many rows of a slice have labels that no training row had."""
        cells, sums = self._slice_cells(slice_number)
        return int(sums[cells // self._width == self._width - 1, 1].sum())

    def unusable(self, slice_number: int) -> int:
        """Returns how many rows of a slice have scores that are not numbers."""
        cells, sums = self._slice_cells(slice_number)
        return int(sums[cells % self._width == self._width - 1, 1].sum())

    def confusion(self, slice_number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns true labels, predicted labels and weight of the cells of the confusion matrix that have rows."""
        cells, sums = self._slice_cells(slice_number)
        return cells // self._width, cells % self._width, sums[:, 0]

    def resampled(self, slice_number: int) -> SliceSums:
        """Returns the sums of a slice over the sample and its replicates (S = 1 + replicates), as far as the plan asks for them."""
        return self._resampled.sums(self._dense(self._resampled.by_key, self._resampled.stride, slice_number))

    @property
    def coverage(self) -> np.ndarray:
        """Weight, and weight of correct rows, by thousandth of the top score, over all rows: [COVERAGE_STEPS + 1, 2]."""
        return self._coverage

    def _slice_cells(self, slice_number: int) -> tuple[np.ndarray, np.ndarray]:
        start, stride = slice_number * self._plan.parts, self._width**2
        keys, sums = self._cells.between(start * stride, (start + self._read) * stride)
        # No cell is in two parts, because a true label is common or not.
        order = np.argsort(keys % stride)
        return keys[order] % stride, sums[order]

    def _dense(self, sums: KeyedSums, stride: int, slice_number: int) -> np.ndarray:
        """Returns the sums of a slice, which has `stride` keys in each part: [stride, width]."""
        start = slice_number * self._plan.parts
        return sums.dense(start * stride, self._read * stride).reshape(self._read, stride, -1).sum(axis=0)

    def _by_slice(self) -> list[tuple[KeyedSums, int]]:
        """All sums by slice, and how many keys a slice has in them."""
        of_part = [
            (self._rows, 1),
            (self._cells, self._width**2),
            (self._calibration, CALIBRATION_BINS),
            (self._curve_counts, self._curve_stride),
            (self._resampled.by_key, self._resampled.stride),
        ]
        return [(sums, stride * self._plan.parts) for sums, stride in of_part]

    @property
    def _curve_stride(self) -> int:
        # At least 1, because it is a divisor.
        return max(1, len(self._curves)) * 2 * SCORE_BUCKETS

    def _add_scores(self, scores: np.ndarray, actual: np.ndarray, keys: np.ndarray, weight: np.ndarray, weighted: bool) -> None:
        # Class by class: one class's buckets fit in the processor's cache.
        for position, name in enumerate(self._view.classes):
            own = actual == self._label_of_class[position]
            place = metrics.score_bucket(scores[:, position]) + own * SCORE_BUCKETS
            # The numbers of the parts of all rows are the first ones.
            of_part = place + keys[:, 0] * 2 * SCORE_BUCKETS
            counts = np.bincount(of_part, weight if weighted else None, self._plan.parts * 2 * SCORE_BUCKETS)
            self._scores[position] += counts.reshape(self._plan.parts, 2, SCORE_BUCKETS)
            if name in self._curves:
                place += self._curves.index(name) * 2 * SCORE_BUCKETS
                self._curve_counts.add(keys * self._curve_stride + place[:, np.newaxis], weight[:, np.newaxis])
