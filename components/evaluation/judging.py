"""What a model said about rows, condensed to what metrics need."""

from __future__ import annotations

import dataclasses

import numpy as np

from components.evaluation.metrics import CALIBRATION_BINS, PROBABILITY_FLOOR, ROW_SUMS
from components.evaluation.plan import Plan


@dataclasses.dataclass(frozen=True)
class Judged:
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


def judge(plan: Plan, scores: np.ndarray, actual: np.ndarray, label_of_class: np.ndarray, abstained: np.ndarray | None) -> Judged:
    """Condenses scores [n, classes]; see Judged."""
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
    return Judged(
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
