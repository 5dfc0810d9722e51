"""What metrics are called on a page, and how their values are read."""

from __future__ import annotations

import re

from components.evaluation.options import UNBOUNDED, lower_is_better, parse_metric_id
from components.reporting.formats import AMOUNT_DIGITS, METRIC_DIGITS

__all__ = ["criterion", "digits", "is_neutral", "is_share", "lower_is_better", "title"]

_TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
    "coverage": "Coverage",
    "answered_accuracy": "Accuracy when answered",
    "cost_per_1000": "Cost per 1,000 messages",
    "auc": "AUC",
    "pr_auc": "PR AUC",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "false_positive_rate": "False-positive rate",
    "positive_rate": "Share predicted",
}
# What a criterion compares between groups, in the words of Hardt et al. 2016 and Dwork et al. 2012.
_CRITERIA = {
    "demographic_parity": "Demographic parity",
    "equal_opportunity": "Equal opportunity",
    "equalised_odds": "Equalised odds",
}
_AMOUNTS = frozenset({"cost_per_1000"})
_NEUTRAL = frozenset({"positive_rate"})
_OF_A_CLASS = re.compile(r"(?P<metric>\w+)\((?P<class>.*)\)", re.DOTALL)


def title(metric: str, top_k: int | None = None) -> str:
    """Returns a metric's name: `Accuracy`, `Recall of refund`, `Top-3 accuracy`; an unknown one keeps its id."""
    if metric == "top_k_accuracy":
        return f"Top-{top_k or 'k'} accuracy"
    if found := _OF_A_CLASS.fullmatch(metric):
        return f"{_TITLES.get(found['metric'], found['metric'])} of {found['class']}"
    return _TITLES.get(metric, metric)


def criterion(name: str | None) -> str:
    """Returns a fairness criterion's name, empty for a plain metric."""
    return _CRITERIA.get(name, name) if name else ""


def is_share(metric: str) -> bool:
    """Says whether a metric lies between 0 and 1; others may exceed 1, so they have no place on an axis of shares."""
    return _base(metric) not in UNBOUNDED


def digits(metric: str) -> int:
    """Returns how many decimals a metric is written with: fewer where its size is not near 1."""
    return AMOUNT_DIGITS if _base(metric) in _AMOUNTS else METRIC_DIGITS


def is_neutral(metric: str) -> bool:
    """Says whether neither a larger nor a smaller value is the better one."""
    return _base(metric) in _NEUTRAL


def _base(metric: str) -> str:
    return parse_metric_id(metric)[0]
