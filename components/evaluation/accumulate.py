"""One pass over scored rows: sums by slice, for the sample and for its bootstrap replicates, from which all metrics follow.

An accumulator takes batches in any order, can be merged with others, and is bounded by slices, labels and replicates, not by rows.
Nothing is done per row in Python and no row is copied per slice: a batch becomes a few sparse matrices (which row counts for which
key) that are multiplied with what is summed.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import UsageError
from components.evaluation import metrics, resampling
from components.evaluation.keyed_sums import KeyedSums, distinct
from components.evaluation.metrics import CALIBRATION_BINS, PROBABILITY_FLOOR, ROW_SUMS, SCORE_BUCKETS, MetricId, SliceSums
from components.evaluation.segments import MOST_VALUES, Segment

OVERALL = 0
COVERAGE_STEPS = 1000

# Batches are gathered up to this many rows or bytes of scores, because each flush has a price that does not depend on its size.
_FLUSH_ROWS = 16_384
_FLUSH_BYTES = 48 << 20

# Far enough from the largest float32 that sums of weights stay numbers.
_LARGEST_WEIGHT = 1e30

# The bootstrap of a curve's area needs fewer buckets than its estimate. They are even in the logit, where confident models differ.
_COARSE_BUCKETS = 256
_LARGEST_LOGIT = 16.0


@dataclasses.dataclass(frozen=True)
class View:
    """A model, as the evaluation sees it.

    Attributes:
      model: Its name.
      classes: Its classes, in the order of its scores.
    """

    model: str
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about an evaluation that is known before its first row.

    Attributes:
      labels: The labels of all models, those of the candidate first. One index more is "unseen in training" as a true label and
        "no usable scores" as a prediction.
      views: What is measured.
      segments: What rows are sliced by.
      top_k: The k of top_k_accuracy.
      common: Labels all models know, if some know more: rows with one of these can then be measured apart. None if all know the same.
      curves: Classes whose scores are kept in every slice, for metrics of areas under curves.
      resampled: Metrics that get intervals in every slice.
      resampled_overall: Metrics that get intervals over all rows.
      replicates: Bootstrap samples; 0 for none.
      seed: Of the bootstrap.
      costs: Cost of each true label (first axis) taken for each predicted one, [labels + 1, labels + 1]; None for no costs.
      abstained_cost: Cost of a row the model abstained from.
    """

    labels: tuple[str, ...]
    views: tuple[View, ...]
    segments: tuple[Segment, ...]
    top_k: int
    common: frozenset[str] | None = None
    curves: tuple[str, ...] = ()
    resampled: tuple[MetricId, ...] = ()
    resampled_overall: tuple[MetricId, ...] = ()
    replicates: int = 0
    seed: int = 0
    costs: np.ndarray | None = None
    abstained_cost: float = 0.0

    @property
    def parts(self) -> int:
        """How many parts the rows of a slice are summed in: those with a common label and the others, or all in one."""
        return 1 if self.common is None else 2


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """A batch of n rows and what the models said about them.

    Attributes:
      unit: What the bootstrap draws, uint64 [n] (see resampling.units).
      actual: True labels, string [n].
      scores: Probabilities by model, float [n, classes].
      abstained: By model, where it refused to answer, bool [n]; a model may be missing here if it never does.
      slices: By segment column, the slice value of each row, string [n] or dictionary of strings; no nulls.
      weight: Weight of each row, float [n]; None if all weigh 1.
    """

    unit: np.ndarray
    actual: pa.Array
    scores: Mapping[str, np.ndarray]
    abstained: Mapping[str, np.ndarray]
    slices: Mapping[str, pa.Array]
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.unit)

    def bytes(self) -> int:
        """Returns the size of the scores."""
        return sum(scores.nbytes for scores in self.scores.values())

    @classmethod
    def concatenate(cls, batches: Sequence[ScoredRows]) -> ScoredRows:
        """Joins batches of the same models and columns."""
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        never = {model for model in first.scores if not any(model in batch.abstained for batch in batches)}
        return cls(
            np.concatenate([batch.unit for batch in batches]),
            _one_array([batch.actual for batch in batches]),
            {model: np.concatenate([batch.scores[model] for batch in batches]) for model in first.scores},
            {
                model: np.concatenate([batch.abstained.get(model, np.zeros(len(batch), bool)) for batch in batches])
                for model in first.scores.keys() - never
            },
            {name: _one_array([batch.slices[name] for batch in batches]) for name in first.slices},
            None if first.weight is None else np.concatenate([batch.weight for batch in batches]),
        )

    def parts(self, rows: int) -> Iterator[ScoredRows]:
        """Yields consecutive parts of about equal size: at least `rows` rows, if there are so many, and less than twice that."""
        size = -(-len(self) // max(1, len(self) // rows))
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield ScoredRows(
                self.unit[part],
                self.actual.slice(start, size),
                {model: scores[part] for model, scores in self.scores.items()},
                {model: abstained[part] for model, abstained in self.abstained.items()},
                {name: values.slice(start, size) for name, values in self.slices.items()},
                None if self.weight is None else self.weight[part],
            )


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
        self._views = {view.model: _ViewSums(plan, view) for view in plan.views}
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

    def view(self, model: str, on_common: bool = False) -> _ViewSums:
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


class _ViewSums:
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
        self._resampled = _Resampled(plan, view)

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
        judged = _judge(self._plan, scores, actual, self._label_of_class, abstained)
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

    def merge(self, other: _ViewSums, numbers: np.ndarray) -> None:
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

    def on_common(self) -> _ViewSums:
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


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What a model said about n rows, condensed.

    Attributes:
      predicted: Label index of the prediction, int [n].
      top_score: The highest score, float [n]; 0 where scores are not usable.
      hit: Whether the prediction is right, bool [n].
      bin: Calibration bin of the top score, int [n].
      row_sums: What is summed over rows, unweighted, [n, ROW_SUMS].
    """

    predicted: np.ndarray
    top_score: np.ndarray
    hit: np.ndarray
    bin: np.ndarray
    row_sums: np.ndarray


def _judge(
    plan: Plan, scores: np.ndarray, actual: np.ndarray, label_of_class: np.ndarray, abstained: np.ndarray | None
) -> _Judged:
    """Condenses scores [n, classes]; see _Judged."""
    rows, unseen = np.arange(len(scores)), len(plan.labels)
    usable = ~np.isnan(scores).any(axis=1)
    class_of_label = np.full(unseen + 1, -1)
    class_of_label[label_of_class] = np.arange(len(label_of_class))
    true_class = class_of_label[actual]
    known = (true_class >= 0) & usable
    true_score = np.where(known, scores[rows, true_class], 0.0).astype(np.float64)
    best = scores.argmax(axis=1)
    predicted = np.where(usable, label_of_class[best], unseen)
    top_score = np.clip(np.where(usable, scores[rows, best], 0.0), 0.0, 1.0).astype(np.float64)
    hit = (predicted == actual) & usable
    answered = np.ones(len(scores), bool) if abstained is None else ~abstained
    cost = np.zeros(len(scores)) if plan.costs is None else np.where(answered, plan.costs[actual, predicted], plan.abstained_cost)
    columns = {
        "weight": np.ones(len(scores)),
        "hits": hit,
        "top_k_hits": _in_top_k(plan.top_k, scores, true_class, known, hit),
        "neg_log": -np.log(np.clip(true_score, PROBABILITY_FLOOR, 1.0)),
        "cost": cost,
        "answered": answered,
        "answered_hits": answered & hit,
    }
    return _Judged(
        predicted,
        top_score,
        hit,
        np.minimum((top_score * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1),
        np.column_stack([columns[name] for name in ROW_SUMS]).astype(np.float64),
    )


def _in_top_k(k: int, scores: np.ndarray, true_class: np.ndarray, known: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Whether fewer than k classes beat the true one, bool [n]; hits need no look."""
    found = hit.copy()
    rows = np.flatnonzero(known & ~hit)
    scores, own = scores[rows], true_class[rows, np.newaxis]
    own_score = np.take_along_axis(scores, own, axis=1)
    earlier_tie = (scores == own_score) & (np.arange(scores.shape[1]) < own)
    found[rows] = np.count_nonzero((scores > own_score) | earlier_tie, axis=1) < k
    return found


class _Resampled:
    """Sums of one view for the sample and its bootstrap replicates, of only what the metrics with intervals need.

    All parts share one space of keys: each slice has `stride` of them, laid out as row sums, then by label the weight of hits, of
    misses with that true label and of misses with that prediction, then calibration bins, then score buckets of the classes whose
    curves are resampled.

    Attributes:
      by_key: The sums.
      stride: Keys of a slice.
    """

    def __init__(self, plan: Plan, view: View):
        self._plan, self._view = plan, view
        self._width = len(plan.labels) + 1
        everywhere = [metrics.needs(metric) for metric in plan.resampled]
        everything = everywhere + [metrics.needs(metric) for metric in plan.resampled_overall]
        self._all_labels = any(metrics.needs(metric).labels and metric.class_ is None for metric in self._metrics)
        named = {name for need in everything for name in need.rows} | {"weight"}
        # These follow from the sums of all labels.
        derived = {"weight", "hits"} if self._all_labels else set()
        self._row_sums = tuple(sorted(named - derived, key=ROW_SUMS.index))
        self._labels = sorted(
            {plan.labels.index(metric.class_) for metric in self._metrics if metric.class_ and metrics.needs(metric).labels}
        )
        self._has_labels = self._all_labels or bool(self._labels)
        self._calibration = any(need.calibration for need in everything)
        curves = {metric.class_ for metric in self._metrics if metrics.needs(metric).scores and metric.class_ in view.classes}
        of_all = any(metrics.needs(metric).scores and metric.class_ is None for metric in self._metrics)
        self._sliced_curves = tuple(name for name in view.classes if name in curves)
        # The mean over all classes is measured over all rows only; its other classes' scores are kept there and nowhere else.
        self._curves = self._sliced_curves + tuple(name for name in view.classes if of_all and name not in curves)
        self._labels_at = len(self._row_sums)
        self._calibration_at = self._labels_at + (3 * self._width if self._has_labels else 0)
        self._curves_at = self._calibration_at + (CALIBRATION_BINS * 3 if self._calibration else 0)
        self.stride = self._curves_at + len(self._curves) * 2 * _COARSE_BUCKETS
        self.by_key = KeyedSums(1 + plan.replicates, np.float32)

    @property
    def _metrics(self) -> tuple[MetricId, ...]:
        return self._plan.resampled + self._plan.resampled_overall

    def add(self, judged: _Judged, scores: np.ndarray, actual: np.ndarray, keys: np.ndarray, weights: np.ndarray) -> None:
        """Adds a batch; see _ViewSums.add."""
        base = keys * self.stride
        for position, name in enumerate(self._row_sums):
            column = None if name == "weight" else judged.row_sums[:, ROW_SUMS.index(name)]
            self.by_key.add(base + position, weights, column)
        if self._has_labels:
            missed = ~judged.hit
            for part, (label, rows) in enumerate([(actual, judged.hit), (actual, missed), (judged.predicted, missed)]):
                counted = rows if self._all_labels else rows & np.isin(label, self._labels)
                place = self._labels_at + part * self._width + label
                self.by_key.add(np.where(counted[:, np.newaxis], base + place[:, np.newaxis], -1), weights)
        if self._calibration:
            place = (base + self._calibration_at) + (judged.bin * 3)[:, np.newaxis]
            for part, column in enumerate((None, judged.hit, judged.top_score)):
                self.by_key.add(place + part, weights, column)
        for number, name in enumerate(self._curves):
            column = scores[:, self._view.classes.index(name)]
            own = actual == self._plan.labels.index(name)
            place = self._curves_at + (number * 2 + own) * _COARSE_BUCKETS + _coarse_bucket(column)
            wanted = base if name in self._sliced_curves else base[:, :1]
            self.by_key.add(wanted + place[:, np.newaxis], weights)

    def sums(self, table: np.ndarray) -> SliceSums:
        """Returns the sums of a slice from those of its keys, [stride, S = 1 + replicates]."""
        table = table.astype(np.float64)
        samples = table.shape[1]
        rows = {name: table[position] for position, name in enumerate(self._row_sums)}
        actual = predicted = hits = calibration = None
        if self._has_labels:
            hits, missed, mistaken = table[self._labels_at : self._calibration_at].reshape(3, self._width, samples)
            actual, predicted = hits + missed, hits + mistaken
            if self._all_labels:
                rows |= {"weight": actual.sum(axis=0), "hits": hits.sum(axis=0)}
        if self._calibration:
            calibration = table[self._calibration_at : self._curves_at].reshape(CALIBRATION_BINS, 3, samples)
        curves = table[self._curves_at :].reshape(len(self._curves), 2, _COARSE_BUCKETS, samples)
        return SliceSums(rows, actual, predicted, hits, calibration, dict(zip(self._curves, curves, strict=True)))


def _coarse_bucket(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.nan_to_num(scores).astype(np.float64), 1e-12, 1 - 1e-12)
    logit = np.log(clipped / (1 - clipped))
    place = (logit / _LARGEST_LOGIT + 1) / 2 * _COARSE_BUCKETS
    return np.clip(place, 0, _COARSE_BUCKETS - 1).astype(np.int64)


def _codes(values: pa.Array) -> tuple[np.ndarray, list[str]]:
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _decoded(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _one_array(arrays: Sequence[pa.Array]) -> pa.Array:
    joined = pa.chunked_array(arrays).unify_dictionaries().combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)
