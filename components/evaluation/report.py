"""From an accumulator to the content of metrics.json and confusion.json: estimates, intervals, comparison with the baseline, fairness."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.errors import UsageError
from components.evaluation import fairness, metrics
from components.evaluation.accumulate import Accumulator
from components.evaluation.metrics import CALIBRATION_BINS, SCORE_BUCKETS, MetricId, SliceSums
from components.evaluation.options import CostOptions, EvaluationOptions, resolved
from components.evaluation.plan import OVERALL, Plan, View
from components.evaluation.segments import MOST_VALUES, Segment, sort_key
from components.evaluation.view_sums import COVERAGE_STEPS

FORMAT = 2
CANDIDATE = "candidate"
BASELINE = "baseline"
MAJORITY = "majority"

_CURVE_POINTS = 100
# An interval from fewer replicates than this share (the others had no value) would hide how little is known.
_DEFINED_SHARE = 0.9
# Up to here all whole numbers are floats.
_LARGEST_WHOLE = 1 << 53


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured and how.

    Attributes:
      classes: Classes of each model, in the order of its scores; `candidate`, and `baseline` if there is one.
      segments: What rows are sliced by.
      train_label_counts: Rows of each label in the train split.
      options: The `evaluation:` section.
      unit: What the bootstrap draws: `row`, or the column whose equal values are drawn together.
      abstain_threshold: The candidate's; None if it always answers.
      baseline_problem: Why a baseline that exists was not measured.
    """

    classes: Mapping[str, Sequence[str]]
    segments: tuple[Segment, ...]
    train_label_counts: Mapping[str, int]
    options: EvaluationOptions
    unit: str = "row"
    abstain_threshold: float | None = None
    baseline_problem: str | None = None

    @property
    def positive_class(self) -> str | None:
        """The last of two classes; None where there are more."""
        return self.classes[CANDIDATE][1] if len(self.classes[CANDIDATE]) == 2 else None

    def metric(self, name: str) -> MetricId:
        """Returns the metric an id means here: with two classes, areas under curves are the positive class's."""
        metric = MetricId.parse(name)
        return dataclasses.replace(metric, class_=metric.class_ or self.positive_class) if metric.name in _AREAS else metric


_AREAS = ("auc", "pr_auc")


def plan(subject: Subject) -> Plan:
    """Returns what has to be summed to measure a subject."""
    options = resolved(subject.options, subject.positive_class)
    labels = list(subject.classes[CANDIDATE])
    labels += sorted(set(subject.classes.get(BASELINE, ())) - set(labels))
    resampled = [subject.metric(name) for name in options.resampled if MetricId.parse(name).class_ in (None, *labels)]
    # The mean over many classes' curves is measured over all rows only.
    means = [metric for metric in resampled if metric.name in _AREAS and metric.class_ is None]
    curves = {metric.class_ for metric in resampled if metric.name in _AREAS} | {subject.positive_class}
    return Plan(
        labels=tuple(labels),
        views=tuple(View(model, tuple(names)) for model, names in subject.classes.items()),
        segments=subject.segments,
        top_k=options.top_k,
        common=_common_labels(subject),
        curves=tuple(sorted(name for name in curves if name is not None)),
        resampled=tuple(metric for metric in resampled if metric not in means),
        resampled_overall=tuple(means),
        replicates=options.bootstrap.replicates,
        seed=options.bootstrap.seed,
        costs=_cost_matrix(options.costs, labels) if options.costs else None,
        abstained_cost=options.costs.abstained if options.costs else 0.0,
    )


def report(accumulator: Accumulator, subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the content of metrics.json and of confusion.json. A metric without a value is None.

    Args:
      accumulator: Has seen all rows.
      subject: What `plan` was made of.

    Raises:
      UsageError: There is no row to measure.
    """
    return _Report(accumulator, subject).build()


class _Report:
    def __init__(self, accumulator: Accumulator, subject: Subject):
        accumulator.flush()
        if not accumulator.row_count(OVERALL):
            raise UsageError("The test split has no rows, so nothing can be measured; raise data.split.test or add data")
        self._accumulator, self._subject, self._plan = accumulator, subject, accumulator.plan
        self._options = resolved(subject.options, subject.positive_class)
        self._labels = {name: index for index, name in enumerate(self._plan.labels)}
        self._slices = list(self._in_order())
        self._known_distributions: dict[tuple[str, int, bool], dict[str, np.ndarray]] = {}
        self._models = [model for model in (CANDIDATE, BASELINE) if model in subject.classes]
        # Intervals are wanted in every slice, and for means over classes over all rows.
        self._resampled = {name: subject.metric(name) for name in self._options.resampled}
        self._resampled = {
            name: metric
            for name, metric in self._resampled.items()
            if metric in self._plan.resampled + self._plan.resampled_overall
        }

    def build(self) -> tuple[dict[str, Any], dict[str, Any]]:
        subject, options, bootstrap = self._subject, self._options, self._options.bootstrap
        results: dict[str, Any] = {model: self._model(model) for model in self._models}
        by_frequency = _by_frequency(subject.train_label_counts)
        majority = _Majority(self._plan, by_frequency, subject.train_label_counts, options.costs is not None)
        report = {
            "format": FORMAT,
            "classes": list(subject.classes[CANDIDATE]),
            "labels": list(self._plan.labels),
            "positive_class": subject.positive_class,
            "train_majority_class": by_frequency[0],
            "top_k": options.top_k,
            "weight": options.weight,
            "min_rows": options.min_rows,
            "abstain_threshold": subject.abstain_threshold,
            "bootstrap": {**bootstrap.model_dump(), "unit": subject.unit} if bootstrap.replicates else None,
            "segments": [self._segment(number, segment) for number, segment in enumerate(subject.segments)],
            CANDIDATE: results[CANDIDATE],
            BASELINE: results.get(BASELINE),
            MAJORITY: {"slices": [self._majority_row(majority, slice_, number) for slice_, number in self._slices]},
            "baseline_problem": subject.baseline_problem,
            "comparison": self._comparison() if BASELINE in subject.classes else None,
            "fairness": self._fairness(results[CANDIDATE]),
            "notes": self._notes(results),
        }
        cells = {model: self._cells(model) if model in self._models else None for model in (CANDIDATE, BASELINE)}
        return report, {"labels": list(self._plan.labels), **cells}

    def _in_order(self) -> Iterator[tuple[dict[str, str], int]]:
        """Yields each slice and its number: all rows, then segment by segment, ordered by value."""
        yield {}, OVERALL
        for number, segment in enumerate(self._plan.segments):
            if number in self._accumulator.overflowed:
                continue
            members = [(values, key) for (owner, values), key in self._accumulator.slices.items() if owner == number]
            for values, key in sorted(members, key=lambda member: sort_key(segment, member[0])):
                yield dict(zip(segment.names, values, strict=True)), key

    def _model(self, model: str) -> dict[str, Any]:
        view = self._accumulator.view(model)
        rows = []
        for slice_, number in self._slices:
            sums = view.sums(number)
            rows.append(
                {
                    "slice": slice_,
                    "n": self._accumulator.row_count(number),
                    "weight": float(sums.rows["weight"][0]),
                    "unusable": view.unusable(number),
                    "metrics": {
                        name: _plain(metrics.value(metric, sums, self._labels)[0])
                        for name, metric in self._measured(number == OVERALL, model).items()
                    },
                    "intervals": self._intervals(self._distributions(model, number)),
                }
            )
        overall = view.sums(OVERALL)
        return {
            "slices": rows,
            "per_class": self._per_class(self._subject.classes[model], overall),
            "calibration": _calibration(overall),
            "coverage": _coverage(view.coverage),
            "threshold_curve": _threshold_curve(overall, self._subject.classes[model]),
        }

    def _measured(self, overall: bool, model: str) -> dict[str, MetricId]:
        """Returns the metrics of a slice by name; a class another model does not have can still be counted, but has no scores."""
        names = [*metrics.STANDARD, *(["cost_per_1000"] if self._plan.costs is not None else [])]
        if overall or self._subject.positive_class:
            names += _AREAS
        names += [name for name in self._options.metric_ids() if name not in names and name not in _AREAS]
        chosen = {name: self._subject.metric(name) for name in names}
        return {name: metric for name, metric in chosen.items() if self._can_measure(metric, model)}

    def _can_measure(self, metric: MetricId, model: str) -> bool:
        if metric.class_ is None:
            return True
        return metric.class_ in (self._subject.classes[model] if metric.name in _AREAS else self._labels)

    def _distributions(self, model: str, number: int, on_common: bool = False) -> dict[str, np.ndarray]:
        """Returns, by metric, its value in the sample and in each replicate, [1 + replicates]."""
        if not self._plan.replicates:
            return {}
        key = model, number, on_common
        if key not in self._known_distributions:
            self._known_distributions[key] = self._measure_distributions(*key)
        return self._known_distributions[key]

    def _measure_distributions(self, model: str, number: int, on_common: bool) -> dict[str, np.ndarray]:
        wanted = {
            name: metric
            for name, metric in self._resampled.items()
            if self._can_measure(metric, model) and (number == OVERALL or metric in self._plan.resampled)
        }
        summed = self._accumulator.view(model, on_common)
        coarse, exact = summed.resampled(number), summed.sums(number)
        found = {}
        for name, metric in wanted.items():
            values = metrics.value(metric, _only_curves_of(coarse, metric, self._subject.classes[model]), self._labels)
            if metric.name in _AREAS:
                # Curves are resampled in coarser buckets than they are measured in, which must not move the interval.
                values = np.clip(values + (metrics.value(metric, exact, self._labels)[0] - values[0]), 0, 1)
            found[name] = values
        return found

    def _intervals(self, distributions: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
        found = {name: interval(values[1:], self._options.bootstrap.confidence) for name, values in distributions.items()}
        return {name: limits for name, limits in found.items() if limits is not None}

    def _comparison(self) -> dict[str, Any]:
        """The candidate beside the baseline: on all rows, or, where their labels differ, on rows with a label both know."""
        on_common = self._plan.common is not None
        candidate, baseline = (self._accumulator.view(model, on_common) for model in (CANDIDATE, BASELINE))
        rows = []
        for slice_, number in self._slices:
            sums = candidate.sums(number), baseline.sums(number)
            names = {
                name: metric
                for name, metric in self._measured(number == OVERALL, CANDIDATE).items()
                if self._can_measure(metric, BASELINE)
            }
            values = [{name: metrics.value(metric, one, self._labels)[0] for name, metric in names.items()} for one in sums]
            resampled = [self._distributions(model, number, on_common) for model in (CANDIDATE, BASELINE)]
            changes = {name: resampled[0][name] - resampled[1][name] for name in resampled[0] if name in resampled[1]}
            rows.append(
                {
                    "slice": slice_,
                    "n": candidate.row_count(number),
                    CANDIDATE: {name: _plain(value) for name, value in values[0].items()},
                    BASELINE: {name: _plain(value) for name, value in values[1].items()},
                    "metrics": {name: _plain(values[0][name] - values[1][name]) for name in names},
                    "intervals": self._intervals(changes),
                }
            )
        either = set(self._subject.classes[CANDIDATE]) ^ set(self._subject.classes[BASELINE])
        return {"labels": "common" if on_common else "all", "left_out_labels": sorted(either), "slices": rows}

    def _fairness(self, candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
        single = [segment.names[0] for segment in self._plan.segments if segment.declared and len(segment.columns) == 1]
        entries = []
        for column, metric in self._options.fairness_pairs(single):
            rows = [
                (row, number)
                for row, (slice_, number) in zip(candidate["slices"], self._slices, strict=True)
                if tuple(slice_) == (column,)
            ]
            groups = [
                fairness.Group(
                    value=row["slice"][column],
                    n=row["n"],
                    estimates={name: math.nan if value is None else value for name, value in row["metrics"].items()},
                    replicates={name: values[1:] for name, values in self._distributions(CANDIDATE, number).items()},
                )
                for row, number in rows
            ]
            entries.append(
                fairness.assess(
                    column, metric.metric_id, metric.criterion, groups, self._options.min_rows, self._options.bootstrap.confidence
                )
            )
        return entries

    def _majority_row(self, majority: _Majority, slice_: Mapping[str, str], number: int) -> dict[str, Any]:
        sums = majority.sums(self._accumulator.view(CANDIDATE).sums(number))
        values = {
            name: _plain(metrics.value(metric, sums, self._labels)[0])
            for name, metric in self._measured(number == OVERALL, CANDIDATE).items()
            if metric.name != "calibration_error"
        }
        return {"slice": slice_, "n": self._accumulator.row_count(number), "metrics": values}

    def _segment(self, number: int, segment: Segment) -> dict[str, Any]:
        overflow = number in self._accumulator.overflowed
        return {
            "columns": list(segment.names),
            "kind": segment.kind,
            "declared": segment.declared,
            "slices": 0 if overflow else sum(owner == number for owner, _ in self._accumulator.slices),
            "overflow": overflow,
        }

    def _per_class(self, classes: Sequence[str], overall: SliceSums) -> list[dict[str, Any]]:
        scores = metrics.class_scores(overall)
        rows = []
        for name in classes:
            label = self._labels[name]
            row: dict[str, Any] = {"class": name, "n": float(overall.actual[label, 0]) if overall.actual is not None else 0.0}
            row |= {metric: _plain(values[label, 0]) for metric, values in scores.items()}
            row |= {area: _plain(metrics.value(MetricId(area, name), overall, self._labels)[0]) for area in _AREAS}
            rows.append(row)
        return rows

    def _cells(self, model: str) -> list[list[list[float]]]:
        slices = []
        for _, number in self._slices:
            actual, predicted, weight = self._accumulator.view(model).confusion(number)
            whole = not (weight % 1).any() and weight.max(initial=0) < _LARGEST_WHOLE
            columns = actual, predicted, weight.astype(np.int64) if whole else weight
            slices.append([list(cell) for cell in zip(*(column.tolist() for column in columns), strict=True)])
        return slices

    def _notes(self, results: Mapping[str, Any]) -> list[str]:
        notes = [
            f"segment {', '.join(segment.names)} has more than {MOST_VALUES} values, which is not a group of rows; it was not sliced"
            for number, segment in enumerate(self._plan.segments)
            if number in self._accumulator.overflowed
        ]
        for model, result in results.items():
            if unusable := result["slices"][0]["unusable"]:
                notes.append(f"{unusable} test rows got scores from the {model} that are not numbers; they count as wrong")
        common = self._plan.common
        if common:
            notes.append(
                f"candidate and baseline differ in labels; they are compared on rows with one of the {len(common)} labels both know"
            )
        elif common is not None:
            notes.append("candidate and baseline have no label in common, so they cannot be compared")
        if unseen := self._accumulator.view(CANDIDATE).unseen(OVERALL):
            notes.append(f"{unseen} test rows have labels that no training row had; no model can get them right")
        return notes


class _Majority:
    """The model that always answers the most frequent training label, with the training frequencies as probabilities."""

    def __init__(self, plan: Plan, by_frequency: Sequence[str], counts: Mapping[str, int], with_costs: bool):
        self._labels = plan.labels
        width = len(plan.labels) + 1
        total = sum(counts.values())
        self._answer = plan.labels.index(by_frequency[0]) if by_frequency[0] in plan.labels else width - 1
        frequency = np.array([counts.get(label, 0) / total for label in plan.labels] + [0.0])
        self._neg_log = -np.log(np.maximum(frequency, metrics.PROBABILITY_FLOOR))
        self._in_top_k = np.array([label in by_frequency[: plan.top_k] for label in plan.labels] + [False])
        self._cost = plan.costs[:, self._answer] if with_costs and plan.costs is not None else np.zeros(width)
        self._known = np.arange(width) < width - 1

    def sums(self, measured: SliceSums) -> SliceSums:
        """Returns its sums over the rows another model was measured on."""
        actual = measured.actual
        if actual is None:
            raise ValueError("the majority class is measured from weights by true label")
        weight = actual.sum(axis=0)
        hits = np.zeros_like(actual)
        if self._known[self._answer]:
            hits[self._answer] = actual[self._answer]
        predicted = np.zeros_like(actual)
        predicted[self._answer] = weight
        right = hits.sum(axis=0)
        rows = {
            "weight": weight,
            "hits": right,
            "top_k_hits": self._in_top_k @ actual,
            "neg_log": self._neg_log @ actual,
            "cost": self._cost @ actual,
            "answered": weight,
            "answered_hits": right,
        }
        # The same scores for every row put all rows into one bucket.
        own = {name: actual[self._labels.index(name)] for name in measured.scores}
        scores = {name: np.stack([weight - positive, positive])[:, np.newaxis] for name, positive in own.items()}
        return SliceSums(rows, actual, predicted, hits, scores=scores)


def interval(values: np.ndarray, confidence: float) -> list[float] | None:
    """Returns the percentile interval of bootstrap values [B], None where too few of them are defined.

    Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13.
    """
    defined = values[np.isfinite(values)]
    if not len(defined) or len(defined) < _DEFINED_SHARE * len(values):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return [float(low), float(high)]


def _common_labels(subject: Subject) -> frozenset[str] | None:
    """The labels both models know, where they do not know the same ones."""
    known = [frozenset(classes) for classes in subject.classes.values()]
    return known[0] & known[1] if len(known) == 2 and known[0] != known[1] else None


def _only_curves_of(sums: SliceSums, metric: MetricId, classes: Sequence[str]) -> SliceSums:
    """Leaves the curves that a mean over classes is the mean of."""
    if metric.name not in _AREAS or metric.class_ is not None:
        return sums
    return dataclasses.replace(sums, scores={name: sums.scores[name] for name in classes})


def _by_frequency(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda label: (-counts[label], label))


def _cost_matrix(costs: CostOptions, labels: Sequence[str]) -> np.ndarray:
    matrix = np.full((len(labels) + 1, len(labels) + 1), costs.wrong)
    matrix[np.arange(len(labels)), np.arange(len(labels))] = costs.right
    place = {label: index for index, label in enumerate(labels)}
    for pair in costs.pairs:
        if pair.actual in place and pair.predicted in place:
            matrix[place[pair.actual], place[pair.predicted]] = pair.cost
    return matrix


def _calibration(overall: SliceSums) -> list[dict[str, Any]]:
    assert overall.calibration is not None
    rows = []
    for position, (weight, correct, confidence) in enumerate(overall.calibration[..., 0].tolist()):
        rows.append(
            {
                "low": position / CALIBRATION_BINS,
                "high": (position + 1) / CALIBRATION_BINS,
                "n": weight,
                "correct": correct,
                "accuracy": correct / weight if weight else None,
                "confidence": confidence / weight if weight else None,
            }
        )
    return rows


def _coverage(by_score: np.ndarray) -> list[dict[str, Any]]:
    """The curve of coverage against accuracy: what is answered, and how well, if only scores from each threshold on are."""
    answered, right = np.cumsum(by_score[::-1], axis=0)[::-1].T
    total = answered[0]
    steps = range(0, COVERAGE_STEPS + 1, COVERAGE_STEPS // _CURVE_POINTS)
    return [
        {
            "threshold": step / COVERAGE_STEPS,
            "coverage": float(answered[step] / total) if total else 0.0,
            "accuracy": float(right[step] / answered[step]) if answered[step] else None,
        }
        for step in steps
    ]


def _threshold_curve(overall: SliceSums, classes: Sequence[str]) -> list[dict[str, float]] | None:
    """Counts of a model with two classes, were the positive class (the last) answered above each threshold, and always at 0."""
    if len(classes) != 2:
        return None
    negative, positive = overall.scores[classes[-1]][..., 0]
    fp, tp = (np.concatenate([np.cumsum(counts[::-1])[::-1], [0.0]]) for counts in (negative, positive))
    rows = []
    for point in range(_CURVE_POINTS + 1):
        threshold = point / _CURVE_POINTS
        # As TFMA counts: above a threshold is the first bucket of scores that begins after it.
        at = min(point * (SCORE_BUCKETS + 1) // _CURVE_POINTS, SCORE_BUCKETS)
        rows.append({"threshold": threshold, "tp": tp[at], "fp": fp[at], "tn": fp[0] - fp[at], "fn": tp[0] - tp[at]})
    return [{name: float(value) for name, value in row.items()} for row in rows]


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
