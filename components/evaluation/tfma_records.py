"""Metrics and plots of an evaluation in TFMA's own types, for its writers, its reader and its views.

Metrics keep their names of metrics.json, with their intervals. Beside those of candidate and baseline there are

- candidate minus baseline as `is_diff` metrics, over the rows whose labels both know;
- over all rows, gaps and ratios between the groups of a segment, e.g. `accuracy gap by language`;
- in every slice `failed_rules`: how many rules of the gate it fails.

Metrics of one class are those that rules and fairness ask for, by name: `recall(refund)`. All classes under TFMA's sub keys would empty
its views, which then show nothing until one of the ids is picked.

Classes of plots are their places among the labels. TFMA's reader leaves zeros, so also the place of the first class, out of what it
returns; its widgets read what is absent as zero.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import (
    binary_confusion_matrices,
    calibration_plot,
    confusion_matrix_plot,
    example_count,
    metric_types,
    multi_class_confusion_matrix_metrics,
    weighted_example_count,
)
from tensorflow_model_analysis.proto import metrics_for_slice_pb2
from tensorflow_model_analysis.slicer import slicer_lib as slicer

from components.evaluation.options import metric_id, parse_metric_id
from components.evaluation.report import BASELINE, CANDIDATE

FAILED_RULES = "failed_rules"

# TFMA's writer joins plots of these two names in one record whatever they are, and its reader finds one record per slice and sub key.
_MATRIX_PLOT = confusion_matrix_plot.CONFUSION_MATRIX_PLOT_NAME
_CALIBRATION_PLOT = calibration_plot.CALIBRATION_PLOT_NAME


def model_names(models: Iterable[str]) -> dict[str, str]:
    """Returns what TFMA calls each model; a lone one has no name."""
    names = list(models)
    return {model: model for model in names} if len(names) > 1 else {names[0]: ""}


def slice_key(slice_: Mapping[str, str]) -> slicer.SliceKeyType:
    """Returns what TFMA calls a slice."""
    return tuple(sorted(slice_.items()))


def metric_key(name: str, model: str, **more: Any) -> metric_types.MetricKey:
    """Returns what TFMA calls a metric. Whether rows had weights is said by the model's specification, as for metrics in a graph."""
    return metric_types.MetricKey(name, model_name=model, example_weighted=None, **more)


def group_metric(name: str, kind: str, segment: str) -> str:
    """Returns the name of a difference between groups: of `kind`, `gap` or `ratio`, of a metric or criterion by a segment."""
    return f"{name} {kind} by {segment}"


def slice_metrics(
    metrics: Mapping[str, Any], verdict: Mapping[str, Any]
) -> Iterator[tuple[slicer.SliceKeyType, metric_types.MetricsDict]]:
    """Yields for each slice the metrics of all models.

    Args:
      metrics: The content of metrics.json.
      verdict: The content of verdict.json.
    """
    names = _models_of(metrics)
    failed = failures_by_slice(metrics, verdict)
    for position, row in enumerate(metrics[CANDIDATE]["slices"]):
        key = slice_key(row["slice"])
        values: dict[metric_types.MetricKey, Any] = {metric_key(FAILED_RULES, names[CANDIDATE]): float(len(failed[key]))}
        for model, name in names.items():
            values |= _measured(metrics[model]["slices"][position], name, metrics["weight"] is not None)
        if metrics["comparison"]:
            compared = metrics["comparison"]["slices"][position]
            values |= _with_intervals(compared, names[CANDIDATE], is_diff=True)
        if not key:
            for entry in metrics["fairness"]:
                values |= _of_groups(entry, names[CANDIDATE])
        yield key, values


def slice_plots(
    metrics: Mapping[str, Any], confusion: Mapping[str, Any]
) -> Iterator[tuple[slicer.SliceKeyType, dict[metric_types.PlotKey, Any]]]:
    """Yields for each slice the plots of all models.

    These are the confusion matrix of every slice; over all rows the calibration of the top score; and for two classes, under the sub
    key of the positive one, the counts at each threshold of its score.

    Args:
      metrics: The content of metrics.json.
      confusion: The content of confusion.json.
    """
    for position, row in enumerate(metrics[CANDIDATE]["slices"]):
        plots: dict[metric_types.PlotKey, Any] = {}
        for model, name in _models_of(metrics).items():
            key = metric_types.PlotKey(_MATRIX_PLOT, model_name=name, example_weighted=None)
            plots[key] = _matrix(confusion[model][position], len(confusion["labels"]))
            if not row["slice"]:
                plots[key._replace(name=_CALIBRATION_PLOT)] = _calibration(metrics[model]["calibration"])
            curve = metrics[model]["threshold_curve"]
            if not row["slice"] and curve:
                positive = metrics["labels"].index(metrics[model]["per_class"][-1]["class"])
                plots[key._replace(sub_key=metric_types.SubKey(class_id=positive))] = _thresholds(curve)
        yield slice_key(row["slice"]), plots


def failures_by_slice(
    metrics: Mapping[str, Any], verdict: Mapping[str, Any]
) -> dict[slicer.SliceKeyType, list[Mapping[str, Any]]]:
    """Returns the findings that block a release by slice; those about no slice that exists are about all rows."""
    known = {slice_key(row["slice"]) for row in metrics[CANDIDATE]["slices"]}
    found = collections.defaultdict(list)
    for finding in verdict["findings"]:
        if finding["outcome"] == "fail":
            key = slice_key(finding["slice"])
            found[key if key in known else ()].append(finding)
    return found


def _models_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    return model_names(model for model in (CANDIDATE, BASELINE) if metrics[model])


def _measured(row: Mapping[str, Any], model: str, weighted: bool) -> metric_types.MetricsDict:
    values = {metric_key(example_count.EXAMPLE_COUNT_NAME, model): float(row["n"])}
    if weighted:
        values[metric_key(weighted_example_count.WEIGHTED_EXAMPLE_COUNT_NAME, model)] = row["weight"]
    return values | _with_intervals(row, model)


def _with_intervals(row: Mapping[str, Any], model: str, **more: Any) -> metric_types.MetricsDict:
    return {metric_key(name, model, **more): _value(value, row["intervals"].get(name)) for name, value in row["metrics"].items()}


def _of_groups(entry: Mapping[str, Any], model: str) -> metric_types.MetricsDict:
    name = metric_id(entry["criterion"], parse_metric_id(entry["metric"])[1]) if entry["criterion"] else entry["metric"]
    return {
        metric_key(group_metric(name, kind, entry["segment"]), model): _value(entry[kind], entry[f"{kind}_interval"])
        for kind in ("gap", "ratio")
    }


def _value(value: float | None, interval: Sequence[float] | None = None) -> float | metrics_for_slice_pb2.BoundedValue:
    """TFMA's other kind of interval is a t-distribution of samples, which a percentile interval is not."""
    if value is None:
        return float("nan")
    if interval is None:
        return value
    return metrics_for_slice_pb2.BoundedValue(
        value={"value": value}, lower_bound={"value": interval[0]}, upper_bound={"value": interval[1]}
    )


def _matrix(cells: Sequence[Sequence[float]], labels: int) -> metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds:
    """A confusion matrix from cells [actual, predicted, weight]. Labels are their places; one more is a label no model knows."""
    # Classes without rows have an entry too, so that all slices show the same matrix.
    weights = {(label, label): 0.0 for label in range(labels)} | {
        (actual, predicted): weight for actual, predicted, weight in cells
    }
    no_prediction = multi_class_confusion_matrix_metrics.NO_PREDICTED_CLASS_ID
    plot = metrics_for_slice_pb2.MultiClassConfusionMatrixAtThresholds()
    matrix = plot.matrices.add(threshold=0.0)
    for (actual, predicted), weight in sorted(weights.items()):
        matrix.entries.add(
            actual_class_id=actual,
            predicted_class_id=predicted if predicted < labels else no_prediction,
            num_weighted_examples=weight,
        )
    return plot


def _calibration(bins: Sequence[Mapping[str, Any]]) -> metrics_for_slice_pb2.CalibrationHistogramBuckets:
    plot = metrics_for_slice_pb2.CalibrationHistogramBuckets()
    for row in bins:
        plot.buckets.add(
            lower_threshold_inclusive=row["low"],
            upper_threshold_exclusive=row["high"],
            num_weighted_examples={"value": row["n"]},
            total_weighted_label={"value": row["correct"]},
            total_weighted_refined_prediction={"value": row["n"] * (row["confidence"] or 0.0)},
        )
    return plot


def _thresholds(curve: Sequence[Mapping[str, float]]) -> metrics_for_slice_pb2.ConfusionMatrixAtThresholds:
    counts = [np.array([point[name] for point in curve]) for name in ("threshold", "tp", "tn", "fp", "fn")]
    return binary_confusion_matrices.Matrices(*counts).to_proto().confusion_matrix_at_thresholds
