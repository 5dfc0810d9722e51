"""Classification metrics from sums over rows, for one sample and for any number of bootstrap samples at once.

Every function takes sums whose last axis is the sample, [..., S], and returns one value per sample, [S]: the same code computes an
estimate (S = 1) and its bootstrap distribution. A metric without a value (an empty slice, an AUC with one class only) is NaN.

Conventions, so that numbers can be compared with scikit-learn's (whose defaults they match) and with TFMA's:

- Labels that no training row had are one class of their own, which every model gets wrong; a row whose scores are not numbers is wrong.
- `balanced_accuracy` averages recall over the classes that occur in the truth (`balanced_accuracy_score`).
- `macro_f1` averages F1 over the classes that occur in the truth or in the predictions, 0 where it is undefined
  (`f1_score(average="macro", zero_division=0)`); `weighted_f1` weights by how often a class occurs in the truth; `micro_f1` pools
  the counts of all classes, which with one label per row is accuracy.
- `log_loss` clips probabilities at 1e-7, as Keras does, so one certain mistake costs 16.1 and not infinity.
- `top_k_accuracy` and predictions break ties by class order, first wins, as argmax does.
- `auc` is the chance that a row of the class outscores a row of another, ties counting half, and `pr_auc` the area under the
  precision-recall curve, interpolated as Davis and Goadrich (2006) show. Scores within a ten-thousandth tie: it is TFMA's
  discretisation, and its numbers. Over more than two classes both are the mean over the classes, one against the rest.
- `calibration_error` is the expected calibration error of the top score over 20 equal bins (Naeini, Cooper and Hauskrecht, 2015).
- `coverage` is the share of rows the model answers rather than abstains from, `answered_accuracy` the share of right ones among them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from components.evaluation.options import metric_id, parse_metric_id

PROBABILITY_FLOOR = 1e-7
CALIBRATION_BINS = 20
SCORE_BUCKETS = 9999
"""Distinguishable scores: TFMA's 10,000 buckets and one of scores of exactly 1, without two that its 10,000 thresholds do not tell from
their neighbours: the lowest, and one near the top, where the thresholds' distance of 1/9999 has caught up with the buckets' of 1/10000."""

_MERGED_BUCKET = 9989

ROW_SUMS = ("weight", "hits", "top_k_hits", "neg_log", "cost", "answered", "answered_hits")
"""What is summed over rows, each times the row's weight."""


@dataclasses.dataclass(frozen=True)
class MetricId:
    """A metric, of one class where it is about one. As text: `accuracy`, `recall(refund)`."""

    name: str
    class_: str | None = None

    @classmethod
    def parse(cls, text: str) -> MetricId:
        """Reads what `str` wrote."""
        return cls(*parse_metric_id(text))

    def __str__(self) -> str:
        return metric_id(self.name, self.class_)


@dataclasses.dataclass(frozen=True)
class SliceSums:
    """What metrics of a slice are computed from; S samples. A part that was not summed is None or missing.

    Attributes:
      rows: Sums over rows by name (see ROW_SUMS), each [S].
      actual, predicted, hits: Weight by true label, by prediction, and of correct rows by label, [labels + 1, S]; the last label is
        "unseen in training" (true) or "no usable scores" (predicted) and has no hits.
      calibration: Weight, weight of correct rows and summed top score, by bin of the top score: [CALIBRATION_BINS, 3, S].
      scores: By class, weight of the rows of other classes and of the class by bucket of the class's score: [2, buckets, S].
    """

    rows: Mapping[str, np.ndarray]
    actual: np.ndarray | None = None
    predicted: np.ndarray | None = None
    hits: np.ndarray | None = None
    calibration: np.ndarray | None = None
    scores: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Needs:
    """Which sums a metric is computed from.

    Attributes:
      rows: Names of sums over rows.
      labels: Whether it needs sums by label: of its class, or of all where it has none.
      calibration: Whether it needs calibration bins.
      scores: Whether it needs buckets of scores: of its class, or of all where it has none.
    """

    rows: tuple[str, ...] = ("weight",)
    labels: bool = False
    calibration: bool = False
    scores: bool = False


def needs(metric: MetricId) -> Needs:
    """Returns which sums a metric is computed from."""
    if metric.name in _ROW_RATIOS:
        return Needs(rows=("weight", *_ROW_RATIOS[metric.name][:2]))
    return Needs(
        labels=metric.name in _OF_LABELS or metric.name in _OF_ONE_LABEL,
        calibration=metric.name == "calibration_error",
        scores=metric.name in _OF_SCORES,
    )


def value(metric: MetricId, sums: SliceSums, labels: Mapping[str, int]) -> np.ndarray:
    """Returns a metric of a slice, one value per sample: float [S].

    Args:
      metric: What to compute.
      sums: Its sums; those that `needs` names must be there.
      labels: Index of each label.

    Raises:
      KeyError: There is no such metric.
    """
    if metric.name in _ROW_RATIOS:
        part, whole, factor = _ROW_RATIOS[metric.name]
        return factor * _ratio(sums.rows[part], sums.rows[whole])
    if metric.name == "calibration_error":
        return _calibration_error(sums)
    if metric.name in _OF_SCORES:
        curve_area = _OF_SCORES[metric.name]
        if metric.class_ is not None:
            return curve_area(sums.scores[metric.class_])
        return _mean(np.stack([curve_area(counts) for counts in sums.scores.values()]))
    if metric.name in _OF_LABELS:
        return _OF_LABELS[metric.name](sums)
    if metric.class_ is None or metric.name not in _OF_ONE_LABEL:
        raise KeyError(f"There is no metric {metric}")
    label = labels[metric.class_]
    actual, predicted, hits = (counts[label] for counts in _by_label(sums))
    return _OF_ONE_LABEL[metric.name](actual, predicted, hits, sums.rows["weight"])


def class_scores(sums: SliceSums) -> dict[str, np.ndarray]:
    """Returns precision, recall and f1 of every label, each [labels + 1, S]; NaN where undefined, f1 0 where nothing is found."""
    actual, predicted, hits = _by_label(sums)
    return {"precision": _ratio(hits, predicted), "recall": _ratio(hits, actual), "f1": _ratio(2 * hits, actual + predicted)}


def score_bucket(scores: np.ndarray) -> np.ndarray:
    """Returns the bucket of each score, int in [0, SCORE_BUCKETS); scores that are not numbers go to the lowest."""
    # TFMA's arithmetic, addition of one included, so that scores at a boundary land on its side.
    bucket = scores.astype(np.float64)
    bucket *= 10_000
    bucket += 1
    # fmin and fmax take the number of a number and a NaN.
    np.fmax(bucket, 2, out=bucket)
    np.fmin(bucket, 10_001, out=bucket)
    number = bucket.astype(np.int64) - 2
    number -= number > _MERGED_BUCKET
    return number


def roc_auc(counts: np.ndarray) -> np.ndarray:
    """Returns the area under the ROC curve from weight by bucket of score, [2 (other, class), buckets, S], lowest first: [S]."""
    negative, positive = counts.astype(np.float64, copy=False)
    below = np.cumsum(negative, axis=0) - negative / 2
    return _ratio((positive * below).sum(axis=0), positive.sum(axis=0) * negative.sum(axis=0))


def pr_auc(counts: np.ndarray) -> np.ndarray:
    """Returns the area under the precision-recall curve from weight by bucket of score, [2 (other, class), buckets, S]: [S].

    Between two thresholds true positives grow linearly with the rows predicted, and precision is what that makes of it (Davis and
    Goadrich, 2006, "The Relationship Between Precision-Recall and ROC Curves").
    """
    negative, positive = counts.astype(np.float64, copy=False)
    # Buckets in which nothing lies add nothing, and there are mostly such.
    used = (negative + positive).any(axis=1)
    positive, total = positive[used][::-1], (negative + positive)[used][::-1]
    found, taken = np.cumsum(positive, axis=0), np.cumsum(total, axis=0)
    taken_before = taken - total
    slope = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
    intercept = (found - positive) - slope * taken_before
    growth = np.divide(taken, taken_before, out=np.ones_like(taken), where=taken_before > 0)
    return _ratio((slope * (positive + intercept * np.log(growth))).sum(axis=0), positive.sum(axis=0))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(np.shape(part), np.shape(whole))
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0, dtype=np.float64)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis of those that are defined."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0))


def _rest(whole: np.ndarray, part: np.ndarray) -> np.ndarray:
    # Sums of weights differ in their last digits, and a row of another class must not come of that.
    rest = whole - part
    return np.where(rest > 1e-6 * whole, rest, 0)


def _by_label(sums: SliceSums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if sums.actual is None or sums.predicted is None or sums.hits is None:
        raise ValueError("these sums were made without sums by label, which the metric needs")
    return sums.actual, sums.predicted, sums.hits


def _f1(sums: SliceSums) -> tuple[np.ndarray, np.ndarray]:
    """F1 of every label, 0 where undefined, and the weight of the rows that have or are given the label."""
    actual, predicted, hits = _by_label(sums)
    either = actual + predicted
    return np.divide(2 * hits, either, out=np.zeros(either.shape), where=either > 0, dtype=np.float64), either


def _macro_f1(sums: SliceSums) -> np.ndarray:
    f1, either = _f1(sums)
    return _ratio(f1.sum(axis=0), (either > 0).sum(axis=0))


def _weighted_f1(sums: SliceSums) -> np.ndarray:
    f1, _ = _f1(sums)
    actual, _, _ = _by_label(sums)
    return _ratio((f1 * actual).sum(axis=0), actual.sum(axis=0))


def _balanced_accuracy(sums: SliceSums) -> np.ndarray:
    return _mean(class_scores(sums)["recall"])


def _calibration_error(sums: SliceSums) -> np.ndarray:
    if sums.calibration is None:
        raise ValueError("these sums were made without calibration bins, which calibration_error needs")
    weight, correct, confidence = np.moveaxis(sums.calibration.astype(np.float64, copy=False), 1, 0)
    return _ratio(np.abs(correct - confidence).sum(axis=0), weight.sum(axis=0))


# Metric: the sums it is the ratio of, and a factor.
_ROW_RATIOS: dict[str, tuple[str, str, float]] = {
    "accuracy": ("hits", "weight", 1.0),
    "micro_f1": ("hits", "weight", 1.0),
    "top_k_accuracy": ("top_k_hits", "weight", 1.0),
    "log_loss": ("neg_log", "weight", 1.0),
    "cost_per_1000": ("cost", "weight", 1000.0),
    "coverage": ("answered", "weight", 1.0),
    "answered_accuracy": ("answered_hits", "answered", 1.0),
}
_OF_LABELS: dict[str, Callable[[SliceSums], np.ndarray]] = {
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
}
# Of one label, from weight of true rows, predicted rows, correct rows, and all rows.
_OF_ONE_LABEL: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "precision": lambda actual, predicted, hits, weight: _ratio(hits, predicted),
    "recall": lambda actual, predicted, hits, weight: _ratio(hits, actual),
    "f1": lambda actual, predicted, hits, weight: _ratio(2 * hits, actual + predicted),
    "false_positive_rate": lambda actual, predicted, hits, weight: _ratio(predicted - hits, _rest(weight, actual)),
    "positive_rate": lambda actual, predicted, hits, weight: _ratio(predicted, weight),
}
_OF_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"auc": roc_auc, "pr_auc": pr_auc}

STANDARD = (
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "top_k_accuracy", "log_loss", "calibration_error",
    "coverage", "answered_accuracy",
)  # fmt: skip
"""Measured in every slice."""
