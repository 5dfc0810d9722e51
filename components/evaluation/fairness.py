"""How differently a model treats the groups of a segment: gaps and ratios of a metric between its best and its worst group.

For a metric m, groups g of a segment and the values m(g) of those with enough rows:

    gap   = m(best) - m(worst)          (m(worst) - m(best) for metrics where lower is better), at least 0
    ratio = m(worst) / m(best)          (m(best) / m(worst) for metrics where lower is better), at most 1

A minimum of 0.8 on the ratio is the four-fifths rule: "a selection rate for any race, sex, or ethnic group which is less than four-fifths
of the rate for the group with the highest rate will generally be regarded as evidence of adverse impact" (U.S. Equal Employment
Opportunity Commission, 1978, Uniform Guidelines on Employee Selection Procedures, 29 CFR 1607.4 D).

Criteria look at one class c against the rest, where A is the true class, P the predicted one and G the group:

- `demographic_parity` asks that Pr(P = c | G = g) be the same for all g (Calders and Verwer, 2010, "Three naive Bayes approaches for
  discrimination-free classification"; as statistical parity in Dwork, Hardt, Pitassi, Reingold and Zemel, 2012, "Fairness through
  awareness"). Its gap is that of `positive_rate`. Neither many nor few predictions are better: `best` is the group with the highest
  rate, `worst` the one with the lowest.
- `equal_opportunity` asks it of Pr(P = c | A = c, G = g), the recall of c (Hardt, Price and Srebro, 2016, "Equality of opportunity in
  supervised learning"). Its gap is that of `recall`.
- `equalised_odds` asks it of Pr(P = c | A = c, G = g) and of Pr(P = c | A != c, G = g), the false positive rate (ibid.). Its gap is the
  larger of the gaps of `recall` and `false_positive_rate`, its ratio the smaller of their ratios.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluation.options import CRITERIA, lower_is_better, metric_id, parse_metric_id

_NAMED_GROUPS = 5


@dataclasses.dataclass(frozen=True)
class Group:
    """The rows with one value of a segment.

    Attributes:
      value: The value.
      n: How many rows.
      estimates: Metrics over these rows, by id; NaN where a metric has no value.
      replicates: The same metrics over bootstrap samples of all rows, float [B] by id, the same samples in the same order for every
        group; empty without intervals.
    """

    value: str
    n: int
    estimates: Mapping[str, float]
    replicates: Mapping[str, np.ndarray]


def assess(
    segment: str, metric: str, criterion: str | None, groups: Sequence[Group], min_rows: int, confidence: float
) -> dict[str, Any]:
    """Compares the groups of a segment; returns an entry of `fairness` in metrics.json, plain JSON values.

    Gap and ratio have percentile intervals: best and worst are the groups that are so over all rows, and their difference (or
    quotient) is taken in every bootstrap sample. Both are drawn together, so that rows which are resampled as one (a conversation that
    crosses groups) count in both. Fixing who is best and worst keeps the interval about one difference, which can be 0 or less; the
    largest difference of each sample anew could not, and a model that treats all groups alike would seem unfair. The price: of many
    small groups one looks worst by chance, which the interval does not know. It lies too high the more groups there are and the
    smaller they are; `min_rows` is the remedy.

    Args:
      segment: The segment's column.
      metric: The id of the metric, or of the criterion with its class, e.g. `recall(refund)` or `equalised_odds(refund)`.
      criterion: The criterion, None for a plain metric.
      groups: All groups. Those with fewer than `min_rows` rows or without a value are listed and take no part.
      min_rows: See `groups`.
      confidence: Share of samples the intervals hold, in their middle.

    Returns:
      The entry; `metric` is the metric that was compared, for `equalised_odds` the one with the larger gap. With fewer than two
      groups to compare, gap and ratio are None, and `note` says why.
    """
    class_ = parse_metric_id(metric)[1]
    metrics = [metric_id(name, class_) for name in CRITERIA[criterion]] if criterion else [metric]
    compared = [_compare(name, groups, min_rows, confidence) for name in metrics]
    entry = max(compared, key=lambda found: -1.0 if found["gap"] is None else found["gap"])
    ratios = [found for found in compared if found["ratio"] is not None]
    if ratios and (smallest := min(ratios, key=lambda found: found["ratio"])) is not entry:
        entry |= {"ratio": smallest["ratio"], "ratio_interval": smallest["ratio_interval"]}
        entry["note"] = _sentences(entry["note"], f"the ratio is that of {smallest['metric']}")
    if unknown := [found["metric"] for found in compared if found["gap"] is None and entry["gap"] is not None]:
        entry["note"] = _sentences(entry["note"], f"{unknown[0]} cannot be compared")
    return {"segment": segment, "metric": entry.pop("metric"), "criterion": criterion, **entry}


def _compare(metric: str, groups: Sequence[Group], min_rows: int, confidence: float) -> dict[str, Any]:
    lower = lower_is_better(metric)

    def value(group: Group) -> float:
        return float(group.estimates.get(metric, math.nan))

    def worst_first(group: Group) -> tuple[float, str]:
        return (0.0 if math.isnan(value(group)) else -value(group) if lower else value(group)), group.value

    small = [group for group in groups if group.n < min_rows]
    without = [group for group in groups if group.n >= min_rows and math.isnan(value(group))]
    part = [group for group in groups if group.n >= min_rows and not math.isnan(value(group))]
    ranked = sorted(part, key=worst_first)
    entry: dict[str, Any] = {
        "metric": metric,
        "lower_is_better": lower,
        "groups": [
            {
                "value": group.value,
                "n": group.n,
                "metric": None if math.isnan(value(group)) else value(group),
                "interval": _interval(group.replicates.get(metric), confidence),
                "small": group.n < min_rows,
            }
            for group in (*ranked, *sorted(without, key=worst_first), *sorted(small, key=worst_first))
        ],
        **dict.fromkeys(("best", "worst", "gap", "gap_interval", "ratio", "ratio_interval")),
        "note": _left_out("no value", without),
    }
    if len(ranked) < 2:
        why = _left_out(f"fewer than {min_rows} rows", small)
        entry["note"] = _sentences("fewer than two groups can be compared", entry["note"], why)
        return entry
    worst, best = ranked[0], ranked[-1]
    smaller, larger = (best, worst) if lower else (worst, best)
    entry |= {"best": best.value, "worst": worst.value, "gap": value(larger) - value(smaller)}
    ratio = _quotient(np.array([value(smaller)]), np.array([value(larger)]))[0]
    entry["ratio"] = None if math.isnan(ratio) else float(ratio)
    if metric in larger.replicates and metric in smaller.replicates:
        high, low = larger.replicates[metric], smaller.replicates[metric]
        entry["gap_interval"] = _interval(high - low, confidence)
        entry["ratio_interval"] = _interval(_quotient(low, high), confidence) if entry["ratio"] is not None else None
    return entry


def _quotient(smaller: np.ndarray, larger: np.ndarray) -> np.ndarray:
    """Shares; two zeros are equal, so their ratio is 1. NaN where it would mean nothing: over zero alone, or of negative values."""
    ratio = np.divide(smaller, larger, out=np.full(np.shape(larger), np.nan), where=(larger > 0) & (smaller >= 0))
    return np.where((larger == 0) & (smaller == 0), 1.0, ratio)


def _interval(replicates: np.ndarray | None, confidence: float) -> list[float] | None:
    """The middle of the samples in which there is a value; None if there is no such sample."""
    if replicates is None or np.isnan(replicates).all():
        return None
    tail = (1 - confidence) / 2
    return [float(limit) for limit in np.nanquantile(replicates, [tail, 1 - tail])]


def _left_out(why: str, groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    names = sorted(group.value for group in groups)
    more = f" and {len(names) - _NAMED_GROUPS} more" if len(names) > _NAMED_GROUPS else ""
    return f"{why} in {', '.join(names[:_NAMED_GROUPS])}{more}"


def _sentences(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
