"""Made-up measurements in the form of metrics.json and confusion.json (format 2), counted from made-up rows with a fixed seed."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

Files = tuple[dict[str, Any], dict[str, Any]]


@dataclasses.dataclass
class Row:
    """One test row: its slice values, its true label, and the answer and the score of each model."""

    values: dict[str, str]
    actual: int
    answers: dict[str, int]
    scores: dict[str, float]


def measure(
    names: Sequence[str],
    n: int,
    accuracy: float,
    segments: Mapping[str, Mapping[str, float]],
    *,
    baseline: bool = True,
    baseline_only: Sequence[str] = (),
    crosses: Sequence[tuple[str, str]] = (),
    automatic: Sequence[str] = (),
    fairness: Sequence[str] = ("accuracy",),
    replicates: int = 200,
    abstain_threshold: float | None = None,
    costs: bool = False,
    seed: int = 3,
    shares: Mapping[str, float] | None = None,
) -> Files:
    """Returns the content of metrics.json and confusion.json.

    Args:
      names: The classes.
      n: Test rows.
      accuracy: About how many of them the model gets right.
      segments: By column, by value, how much better or worse the model is there.
      baseline: Whether there is one; it is a little worse.
      baseline_only: Labels that only the baseline has.
      crosses: Pairs of columns that are segments, too.
      automatic: The columns that are not declared.
      fairness: Metrics to compare the groups of declared columns by.
      replicates: 0 leaves the intervals out.
      abstain_threshold: The score below which the model abstains.
      costs: Whether cost_per_1000 is measured.
      seed: Of the rows.
      shares: By value, how many rows it has for one of another value.
    """
    labels = [*names, *baseline_only]
    rows = _rows(random.Random(seed), labels, len(names), n, accuracy, segments, shares or {}, bool(baseline_only))
    columns = [(column,) for column in segments] + list(crosses)
    keys: list[dict[str, str]] = [{}]
    parts = [rows]
    for segment in columns:
        found: dict[tuple[str, ...], list[Row]] = collections.defaultdict(list)
        for row in rows:
            found[tuple(row.values[column] for column in segment)].append(row)
        keys += [dict(zip(segment, values, strict=True)) for values in sorted(found)]
        parts += [found[values] for values in sorted(found)]
    models = ["candidate", "baseline"] if baseline else ["candidate"]
    positive = names[-1] if len(names) == 2 else None
    built = {model: _model(model, rows, keys, parts, labels, replicates, positive, abstain_threshold, costs) for model in models}
    common = [row for row in rows if row.actual < len(names)]
    metrics = {
        "format": 2,
        "classes": list(names),
        "labels": labels,
        "positive_class": positive,
        "train_majority_class": names[0],
        "top_k": 3,
        "weight": None,
        "min_rows": 100,
        "abstain_threshold": abstain_threshold,
        "bootstrap": {"replicates": replicates, "seed": 0, "confidence": 0.95, "unit": "row"} if replicates else None,
        "segments": [
            {
                "columns": list(segment),
                "kind": "length" if segment[0].startswith("length(") else "values",
                "declared": segment[0] not in automatic,
                "slices": sum(tuple(key) == segment for key in keys),
                "overflow": False,
            }
            for segment in columns
        ],
        "candidate": built["candidate"],
        "baseline": built.get("baseline"),
        "majority": {"slices": [_majority(key, part) for key, part in zip(keys, parts, strict=True)]},
        "baseline_problem": None,
        "comparison": _comparison(built, keys, list(baseline_only), len(common)) if baseline else None,
        "fairness": [
            _fairness(column, metric, built["candidate"])
            for column in segments
            if column not in automatic
            for metric in fairness
        ],
        "notes": ["3 rows had scores that are not numbers; they count as wrong"] if n > 5000 else [],
    }  # fmt: skip
    confusion = {
        "labels": labels,
        "candidate": [_cells(part, "candidate") for part in parts],
        "baseline": [_cells(part, "baseline") for part in parts] if baseline else None,
    }
    return metrics, confusion


def _rows(
    rng: random.Random,
    labels: Sequence[str],
    known: int,
    n: int,
    accuracy: float,
    segments: Mapping[str, Mapping[str, float]],
    shares: Mapping[str, float],
    others: bool,
) -> list[Row]:
    frequency = [1 / (rank + 4) for rank in range(known)]
    picks = {
        column: (list(values), [shares.get(value, rng.uniform(0.3, 1.7)) for value in values])
        for column, values in segments.items()
    }
    rows = []
    for number in range(n):
        values = {column: rng.choices(names, weights)[0] for column, (names, weights) in picks.items()}
        actual = rng.choices(range(known), frequency)[0]
        if others and number % 40 == 0:
            actual = rng.randrange(known, len(labels))  # a label that only the baseline knows
        elif number % 997 == 5:
            actual = len(labels)  # a label no training row had
        skill = accuracy + sum(segments[column][value] for column, value in values.items())
        answers, scores = {}, {}
        for model, handicap in (("candidate", 0.0), ("baseline", 0.025)):
            able = actual < known or model == "baseline"
            right = able and actual < len(labels) and rng.random() < skill - handicap + (0.05 if actual % 5 else -0.2)
            near = (actual + rng.choice((1, 1, 1, 2, -1, 7))) % known
            answers[model] = actual if right else near if near != actual else (near + 1) % known
            if number % 1999 == 7 and model == "candidate":
                answers[model] = len(labels)  # scores that are not numbers
            scores[model] = min(0.999, max(1 / known, rng.betavariate(9, 1.1) if right else rng.betavariate(3, 2.4)))
        rows.append(Row(values, actual, answers, scores))
    return rows


def _model(
    model: str,
    rows: Sequence[Row],
    keys: Sequence[dict[str, str]],
    parts: Sequence[Sequence[Row]],
    labels: Sequence[str],
    replicates: int,
    positive: str | None,
    threshold: float | None,
    costs: bool,
) -> dict[str, Any]:
    slices = []
    for key, part in zip(keys, parts, strict=True):
        metrics = _metrics(part, model, len(labels), labels, positive, threshold, costs, overall=not key)
        slices.append(
            {
                "slice": key,
                "n": len(part),
                "weight": float(len(part)),
                "unusable": sum(row.answers[model] == len(labels) for row in part),
                "metrics": metrics,
                "intervals": {
                    name: _interval(value, len(part)) for name, value in metrics.items() if value is not None and value <= 1
                }
                if replicates
                else {},
            }
        )
    per_class = []
    supports = collections.Counter(row.actual for row in rows)
    answers = collections.Counter(row.answers[model] for row in rows)
    right = collections.Counter(row.actual for row in rows if row.actual == row.answers[model])
    for index, name in enumerate(labels):
        support, said, hits = supports[index], answers[index], right[index]
        per_class.append(
            {
                "class": name,
                "n": support,
                "precision": hits / (said or 1),
                "recall": hits / (support or 1),
                "f1": 2 * hits / (support + said) if support + said else 0.0,
                "auc": 0.95 if support else None,
                "pr_auc": 0.8 if support else None,
            }
        )
    return {
        "slices": slices,
        "per_class": per_class,
        "calibration": [_bin(rows, model, step / 20, (step + 1) / 20) for step in range(20)],
        "coverage": [_answered(rows, model, step / 50) for step in range(50)],
        "threshold_curve": [_threshold(rows, model, step / 50) for step in range(51)] if positive else None,
    }


def _metrics(
    rows: Sequence[Row],
    model: str,
    n_labels: int,
    labels: Sequence[str],
    positive: str | None,
    threshold: float | None,
    costs: bool,
    overall: bool,
) -> dict[str, float | None]:
    hits = sum(_is_hit(row, model, n_labels) for row in rows)
    accuracy = hits / len(rows)
    answered = [row for row in rows if row.scores[model] >= (threshold or 0)]
    values: dict[str, float | None] = {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy - 0.04,
        "macro_f1": accuracy - 0.06,
        "micro_f1": accuracy,
        "weighted_f1": accuracy - 0.01,
        "top_k_accuracy": accuracy + 0.6 * (1 - accuracy),
        "log_loss": 2.1 - 2 * accuracy,
        "calibration_error": 0.031,
        "coverage": len(answered) / len(rows),
        "answered_accuracy": sum(_is_hit(row, model, n_labels) for row in answered) / len(answered) if answered else None,
    }
    if costs:
        values["cost_per_1000"] = 1000 * (1 - accuracy)
    if positive:
        support, said, found = _counts(rows, model, len(labels) - 1)
        values |= {"auc": accuracy - 0.1, "pr_auc": accuracy - 0.3}
        values |= {f"recall({positive})": found / support if support else None, f"positive_rate({positive})": said / len(rows)}
    elif overall:
        values |= {"auc": 0.97, "pr_auc": 0.9}
    return values


def _comparison(built: Mapping[str, Any], keys: Sequence[dict[str, str]], left_out: list[str], n_common: int) -> dict[str, Any]:
    slices = []
    for position, key in enumerate(keys):
        candidate, baseline = (built[model]["slices"][position] for model in ("candidate", "baseline"))
        change = {
            name: value - baseline["metrics"][name]
            for name, value in candidate["metrics"].items()
            if value is not None and baseline["metrics"][name] is not None
        }
        width = 1.1 / max(candidate["n"], 1) ** 0.5
        slices.append(
            {
                "slice": key,
                "n": n_common if not key else candidate["n"],
                "candidate": candidate["metrics"],
                "baseline": baseline["metrics"],
                "metrics": change,
                "intervals": {name: [value - width, value + width] for name, value in change.items()}
                if candidate["intervals"]
                else {},
            }
        )
    return {"labels": "common" if left_out else "all", "left_out_labels": left_out, "slices": slices}


def _fairness(column: str, metric: str, model: Mapping[str, Any]) -> dict[str, Any]:
    criterion = {"demographic_parity": "positive_rate", "equal_opportunity": "recall"}.get(metric)
    name = next(name for name in model["slices"][0]["metrics"] if name.startswith(criterion or metric))
    groups = [
        {
            "value": row["slice"][column],
            "n": row["n"],
            "metric": row["metrics"][name],
            "interval": row["intervals"].get(name),
            "small": row["n"] < 100,
        }
        for row in model["slices"]
        if tuple(row["slice"]) == (column,)
    ]
    groups.sort(key=lambda group: (group["small"], group["metric"] if group["metric"] is not None else 2.0))
    judged = [group for group in groups if not group["small"] and group["metric"] is not None]
    common = {"segment": column, "metric": name, "criterion": metric if criterion else None, "lower_is_better": False}
    if len(judged) < 2:
        none = dict.fromkeys(("best", "worst", "gap", "gap_interval", "ratio", "ratio_interval"))
        return {**common, "groups": groups, **none, "note": f"fewer than two groups of {column} have 100 rows"}
    worst, best = judged[0]["metric"], judged[-1]["metric"]
    gap, ratio = best - worst, worst / best
    return {
        **common,
        "groups": groups,
        "best": judged[-1]["value"],
        "worst": judged[0]["value"],
        "gap": gap,
        "gap_interval": [max(0.0, gap - 0.04), gap + 0.03] if judged[0]["interval"] else None,
        "ratio": ratio,
        "ratio_interval": [ratio - 0.04, min(1.0, ratio + 0.04)] if judged[0]["interval"] else None,
        "note": "",
    }


def _majority(key: dict[str, str], rows: Sequence[Row]) -> dict[str, Any]:
    share = sum(row.actual == 0 for row in rows) / len(rows)
    return {"slice": key, "n": len(rows), "metrics": {"accuracy": share, "macro_f1": share / 10}}


def _cells(rows: Sequence[Row], model: str) -> list[list[int]]:
    counted = collections.Counter((row.actual, row.answers[model]) for row in rows)
    return [[actual, predicted, n] for (actual, predicted), n in sorted(counted.items())]


def _counts(rows: Sequence[Row], model: str, index: int) -> tuple[int, int, int]:
    support = sum(row.actual == index for row in rows)
    said = sum(row.answers[model] == index for row in rows)
    return support, said, sum(row.actual == row.answers[model] == index for row in rows)


def _is_hit(row: Row, model: str, n_labels: int) -> bool:
    return row.actual == row.answers[model] < n_labels


def _interval(share: float, n: int) -> list[float]:
    half = 1.96 * (max(share * (1 - share), 0.001) / n) ** 0.5
    return [max(0.0, share - half), min(1.0, share + half)]


def _bin(rows: Sequence[Row], model: str, low: float, high: float) -> dict[str, Any]:
    inside = [row for row in rows if low <= row.scores[model] < high]
    right = sum(row.actual == row.answers[model] for row in inside)
    n = len(inside)
    mean = sum(row.scores[model] for row in inside) / n if n else None
    return {
        "low": low,
        "high": high,
        "n": float(n),
        "accuracy": right / n if n else None,
        "confidence": mean,
        "correct": float(right),
    }


def _answered(rows: Sequence[Row], model: str, threshold: float) -> dict[str, Any]:
    inside = [row for row in rows if row.scores[model] >= threshold]
    right = sum(row.actual == row.answers[model] for row in inside)
    return {"threshold": threshold, "coverage": len(inside) / len(rows), "accuracy": right / len(inside) if inside else None}


def _threshold(rows: Sequence[Row], model: str, threshold: float) -> dict[str, Any]:
    counts = {"tp": 0.0, "fp": 0.0, "tn": 0.0, "fn": 0.0}
    for row in rows:
        score = row.scores[model] if row.answers[model] == 1 else 1 - row.scores[model]
        counts[("t" if (score >= threshold) == (row.actual == 1) else "f") + ("p" if score >= threshold else "n")] += 1
    return {"threshold": threshold, **counts}
