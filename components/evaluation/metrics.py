"""Classification metrics from what a model said about each row: pure arithmetic over numpy arrays.

Conventions, so that numbers can be compared with scikit-learn's (whose defaults they match):

- A label no training row had is a class of its own: every model gets it wrong, and the metrics say so.
- `balanced_accuracy` averages recall over the classes that occur in the truth (`balanced_accuracy_score`).
- `macro_f1` averages F1 over the classes that occur in the truth or in the predictions, 0 where it is undefined
  (`f1_score(average="macro", zero_division=0)`); `weighted_f1` weights by how often a class occurs in the truth.
- `log_loss` clips probabilities at 1e-7, as Keras does, so one certain mistake costs 16.1 and not infinity.
- `top_k_accuracy` and predictions break ties by class order, first wins, as argmax does.
- `auc` is the exact area under the ROC curve, the chance that a row of one class outscores a row of the other; ties count half.

A metric without a value (an empty slice, an AUC with one class only, a model that returned NaN) is NaN.
"""

from __future__ import annotations

import dataclasses

import numpy as np

PROBABILITY_FLOOR = 1e-7


@dataclasses.dataclass(frozen=True)
class Judgements:
    """What one model said about n rows. Labels are indices into one list that all models compared share.

    Attributes:
      actual: The true label, int [n].
      predicted: The label with the highest score, int [n].
      true_probability: The probability given to the true label, float [n]; 0 where the model does not know the label.
      rank: How many labels were ranked before the true one, int [n]; at least the number of classes where it is unknown.
      last_probability: The probability given to the model's last class, float [n]. With two classes it orders the rows; one minus
        the other class's would round confident rows into ties.
    """

    actual: np.ndarray
    predicted: np.ndarray
    true_probability: np.ndarray
    rank: np.ndarray
    last_probability: np.ndarray

    def take(self, rows: np.ndarray) -> Judgements:
        """Returns the judgements of some rows, by position [m]; a position may occur more than once."""
        return Judgements(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def judge(scores: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Condenses a batch of class probabilities into what the metrics need.

    Args:
      scores: Probabilities, float [n, classes].
      actual: Index of the true class, int [n]; -1 where it is not one of the classes.

    Returns:
      The predicted class, the probability of the true class and its rank, each [n] (see Judgements).
    """
    known = actual >= 0
    column = np.where(known, actual, 0)[:, np.newaxis]
    true_score = np.take_along_axis(scores, column, axis=1)
    earlier_tie = (scores == true_score) & (np.arange(scores.shape[1]) < column)
    rank = np.count_nonzero((scores > true_score) | earlier_tie, axis=1)
    # Comparisons with NaN are all false, which would rank a broken score first.
    known &= ~np.isnan(scores).any(axis=1)
    probability = np.where(actual >= 0, true_score[:, 0], 0.0)
    return scores.argmax(axis=1), probability, np.where(known, rank, scores.shape[1])


def confusion_counts(actual: np.ndarray, predicted: np.ndarray, n_labels: int) -> np.ndarray:
    """Counts rows by true label (first axis) and predicted label (second axis): int [n_labels, n_labels]."""
    return np.bincount(actual * n_labels + predicted, minlength=n_labels * n_labels).reshape(n_labels, n_labels)


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Scores of each label, each an array [labels]; 0 where undefined.

    Attributes:
      support: Rows with this true label.
      precision: Share of the rows predicted to have this label that have it.
      recall: Share of the rows with this label that were found.
      f1: Harmonic mean of the two.
    """

    support: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Returns precision, recall and F1 of each label from counts [labels, labels] (true label first)."""
    support, predicted, hits = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    return ClassScores(
        support=support,
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
    )


def label_metrics(confusion: np.ndarray) -> dict[str, float]:
    """Returns the metrics that need only labels: accuracy, balanced_accuracy, macro_f1, weighted_f1.

    Args:
      confusion: Counts [labels, labels], true label first.
    """
    n = confusion.sum()
    if n == 0:
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"), float("nan"))
    scores = class_scores(confusion)
    in_truth = scores.support > 0
    in_either = in_truth | (confusion.sum(axis=0) > 0)
    return {
        "accuracy": float(np.trace(confusion) / n),
        "balanced_accuracy": float(scores.recall[in_truth].mean()),
        "macro_f1": float(scores.f1[in_either].mean()),
        "weighted_f1": float((scores.f1 * scores.support).sum() / n),
    }


def area_under_curve(positive: np.ndarray, scores: np.ndarray) -> float:
    """Returns the exact area under the ROC curve, NaN where one of the two classes is missing or a score is NaN.

    Args:
      positive: Which rows are of the positive class, bool [n].
      scores: Score of the positive class, float [n].
    """
    n_positive = np.count_nonzero(positive)
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative or np.isnan(scores).any():
        return float("nan")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    rank_sum = mean_rank[group][positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def measure(judgements: Judgements, n_labels: int, top_k: int, two_classes: tuple[int, int] | None) -> dict[str, float]:
    """Returns every metric of one model over some rows.

    Args:
      judgements: What the model said about the rows.
      n_labels: Length of the list of labels.
      top_k: The k of top_k_accuracy.
      two_classes: The labels of a model with two classes, in its order; only such a model has an `auc`, over the rows that are of
        either class.
    """
    values = label_metrics(confusion_counts(judgements.actual, judgements.predicted, n_labels))
    values["top_k_accuracy"] = _mean(judgements.rank < top_k)
    values["log_loss"] = _mean(-np.log(np.clip(judgements.true_probability, PROBABILITY_FLOOR, 1.0)))
    if two_classes:
        of_either = np.isin(judgements.actual, two_classes)
        positive = judgements.actual[of_either] == two_classes[1]
        values["auc"] = area_under_curve(positive, judgements.last_probability[of_either])
    return values


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(whole), dtype=np.float64), where=whole > 0)
