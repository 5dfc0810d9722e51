"""Sums of one model for the sample and its bootstrap replicates."""

from __future__ import annotations

import numpy as np

from components.evaluation import metrics
from components.evaluation.judging import Judged
from components.evaluation.keyed_sums import KeyedSums
from components.evaluation.metrics import CALIBRATION_BINS, ROW_SUMS, MetricId, SliceSums
from components.evaluation.plan import Plan, View

# The bootstrap of a curve's area needs fewer buckets than its estimate. They are even in the logit, where confident models differ.
_COARSE_BUCKETS = 256
_LARGEST_LOGIT = 16.0


class ResampledSums:
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

    def add(self, judged: Judged, scores: np.ndarray, actual: np.ndarray, keys: np.ndarray, weights: np.ndarray) -> None:
        """Adds a batch; see ViewSums.add."""
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
