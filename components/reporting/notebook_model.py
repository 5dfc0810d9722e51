"""The evaluation of a run in a notebook: what TFMA stored, then verdict, slices, fairness, confusions and curves."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from components.reporting import confusion as confusions
from components.reporting import curves as plots
from components.reporting import fairness as groups
from components.reporting import metric_names, quality, verdict
from components.reporting.axis import share_axis
from components.reporting.formats import is_number
from components.reporting.notebook import Html, piece

TFMA_METRICS = 5
TFMA_SLICES = 200
_TEMPLATE = "notebook_model.html.j2"
_COUNT = "example_count"


@dataclasses.dataclass(frozen=True)
class TfmaSlice:
    """One slice as TFMA stored it: its name, its rows, the metrics that are numbers, and the intervals of those that have one."""

    name: str
    n: Any
    metrics: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]


def candidate_name(evaluation: pathlib.Path) -> str | None:
    """Returns what TFMA calls the candidate among the models it has results of; None if it is the only one.

    Args:
      evaluation: The folder of the results, with TFMA's eval_config.json.
    """
    config = json.loads((evaluation / "eval_config.json").read_text(encoding="utf-8"))["evalConfig"]
    return next((spec["name"] for spec in config.get("modelSpecs", ()) if spec.get("name") and not spec.get("isBaseline")), None)


def plotted_class(metrics: Mapping[str, Any]) -> int | None:
    """Returns TFMA's id of the class that the curves of two classes are about; None where there are more classes.

    Args:
      metrics: The content of metrics.json.
    """
    positive = metrics["positive_class"]
    return None if positive is None else metrics["labels"].index(positive)


def tfma_metrics(result: Any, columns: Sequence[str] = (), metric: str = "accuracy") -> Html:
    """Shows what `tfma.view.render_slicing_metrics` draws: a metric of every slice as a chart, and the other metrics as numbers.

    Args:
      result: A `tfma.EvalResult`.
      columns: The columns that are sliced by; none for all test rows.
      metric: What the chart shows.
    """
    wanted = [entry for entry in result.slicing_metrics if {name for name, _ in entry[0]} == set(columns)]
    slices = sorted((_tfma_slice(key, by_output) for key, by_output in wanted), key=lambda row: (-(row.n or 0), row.name))
    names = [name for name in dict.fromkeys(name for row in slices for name in row.metrics) if name not in (metric, _COUNT)]
    bounds = [value for row in slices for value in (row.metrics.get(metric), *row.intervals.get(metric, ()))]
    return piece(
        _TEMPLATE,
        "tfma_metrics",
        slices=slices[:TFMA_SLICES],
        left_out=max(0, len(slices) - TFMA_SLICES),
        metric=metric,
        others=names[:TFMA_METRICS],
        hidden=names[TFMA_METRICS:],
        axis=share_axis(bounds) if len(slices) > 1 and metric_names.is_share(metric) else None,
    )


def tfma_plots(result: Any, labels: Sequence[str]) -> Html:
    """Shows what `tfma.view.render_plot` draws of all test rows: calibration, curves of two classes, and the confusion matrix.

    Args:
      result: A `tfma.EvalResult`.
      labels: Names of the classes by TFMA's ids.
    """
    stored: dict[str, Any] = {}
    for key, by_output in result.plots or ():
        if not key:
            stored |= {name: plot for by_class in by_output.values() for of in by_class.values() for name, plot in of.items()}
    overall_metrics = next((_tfma_slice(key, by_output).metrics for key, by_output in result.slicing_metrics if not key), {})
    drawn = plots.plots(
        {
            "candidate": {
                "slices": [{"slice": {}, "metrics": overall_metrics}],
                "calibration": [_calibration_bin(bucket) for bucket in _rows(stored, "calibrationHistogramBuckets", "buckets")],
                "threshold_curve": [_threshold(row) for row in _rows(stored, "confusionMatrixAtThresholds", "matrices")],
            }
        }
    )
    matrices = _rows(stored, "multiClassConfusionMatrixAtThresholds", "matrices")
    cells = [_cell(entry, len(labels)) for entry in (matrices[0].get("entries", ()) if matrices else ())]
    return piece(_TEMPLATE, "tfma_plots", plots=drawn, matrix=confusions.matrix(labels, cells) if cells else None)


def tfma_validation(validation: Any) -> Html:
    """Shows TFMA's validation: what did not meet its threshold, slice by slice.

    Args:
      validation: A `tfma.ValidationResult`; None if the evaluation stored none.
    """
    failures = [
        {
            "slice": ", ".join(f"{key.column}={_key_value(key)}" for key in of_slice.slice_key.single_slice_keys),
            "metric": failure.metric_key.name,
            "value": failure.metric_value.double_value.value,
            "message": failure.message,
        }
        for of_slice in (validation.metric_validations_per_slice if validation else ())
        for failure in of_slice.failures
    ]
    return piece(_TEMPLATE, "tfma_validation", validation=validation, failures=failures)


def rules(judged: Mapping[str, Any]) -> Html:
    """Shows every rule of the gate with what it found.

    Args:
      judged: The content of verdict.json.
    """
    note = (judged.get("baseline") or {}).get("note") or ""
    return piece(_TEMPLATE, "rules", blessed=judged["blessed"], note=note, decisions=verdict.decisions(judged["findings"]))


def overall(metrics: Mapping[str, Any]) -> Html:
    """Shows every metric on all test rows, with intervals, beside the baseline and the majority class.

    Args:
      metrics: The content of metrics.json.
    """
    measured = quality.overall(metrics)
    return piece(
        _TEMPLATE,
        "overall",
        rows=measured.rows,
        axis=measured.axis,
        n=quality.overall_slice(metrics)["n"],
        has_baseline=bool(metrics.get("baseline")),
        notes=metrics.get("notes", ()),
    )


def slices(metrics: Mapping[str, Any]) -> Html:
    """Shows the accuracy of every slice with its interval, worst first, and its change against the baseline.

    Args:
      metrics: The content of metrics.json.
    """
    segments, left_out = quality.segments(metrics)
    return piece(
        _TEMPLATE,
        "slices",
        segments=segments,
        left_out=left_out,
        overall=quality.overall_slice(metrics)["metrics"].get("accuracy"),
        has_baseline=bool(metrics.get("baseline")),
        min_rows=metrics["min_rows"],
    )


def fairness(metrics: Mapping[str, Any]) -> Html:
    """Shows gap and ratio between the best and the worst group, and every group with its interval.

    Args:
      metrics: The content of metrics.json.
    """
    comparisons, left_out = groups.comparisons(metrics.get("fairness") or ())
    return piece(_TEMPLATE, "fairness", comparisons=comparisons, left_out=left_out, min_rows=metrics["min_rows"])


def comparison(metrics: Mapping[str, Any]) -> Html:
    """Shows where the model is better or worse than the baseline, measured on the same rows.

    Args:
      metrics: The content of metrics.json.
    """
    compared = metrics.get("comparison")
    problem = metrics.get("baseline_problem") or ""
    segments, _ = quality.segments(metrics)
    changed = [(segment.name, row) for segment in segments for row in segment.rows if row.tone in ("better", "worse")]
    changed.sort(key=lambda item: (item[1].tone != "worse", -abs(item[1].change or 0.0)))
    return piece(
        _TEMPLATE,
        "comparison",
        compared=compared,
        problem=problem,
        rows=[row for row in quality.overall(metrics).rows if row.change is not None],
        changed=changed,
    )


def worst_slice(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Returns the slice of a declared segment with the lowest accuracy that has enough rows to judge; {} (all rows) if none has.

    Args:
      metrics: The content of metrics.json.
    """
    declared = [tuple(segment["columns"]) for segment in metrics.get("segments", ()) if segment["declared"]]
    judged = [
        row
        for row in metrics["candidate"]["slices"]
        if row["n"] >= metrics["min_rows"] and tuple(row["slice"]) in declared and is_number(row["metrics"].get("accuracy"))
    ]
    return dict(min(judged, key=lambda row: row["metrics"]["accuracy"], default={"slice": {}})["slice"])


def confusion(metrics: Mapping[str, Any], cells: Mapping[str, Any], slice_: Mapping[str, str]) -> Html:
    """Shows the most confused pairs and the confusion matrix of one slice.

    Args:
      metrics: The content of metrics.json.
      cells: The content of confusion.json.
      slice_: Values by column; {} is all test rows.

    Raises:
      KeyError: There is no such slice; the message lists some that there are.
    """
    known = [dict(row["slice"]) for row in metrics["candidate"]["slices"]]
    if dict(slice_) not in known:
        raise KeyError(f"There is no slice {dict(slice_)}. Slices: {', '.join(map(str, known[:20]))}")
    position = known.index(dict(slice_))
    row = metrics["candidate"]["slices"][position]
    own = [tuple(cell) for cell in cells["candidate"][position]]
    return piece(
        _TEMPLATE,
        "confusion",
        name=quality.slice_name(slice_),
        n=row["n"],
        small=bool(slice_) and row["n"] < metrics["min_rows"],
        pairs=confusions.top_pairs(cells["labels"], own),
        matrix=confusions.matrix(cells["labels"], own),
    )


def curves(metrics: Mapping[str, Any]) -> Html:
    """Shows calibration, the scores of right and wrong answers, coverage against accuracy and, for two classes, ROC and PR.

    Args:
      metrics: The content of metrics.json.
    """
    return piece(_TEMPLATE, "curves", plots=plots.plots(metrics), has_baseline=bool(metrics.get("baseline")))


def _tfma_slice(key: Sequence[tuple[str, Any]], by_output: Mapping[str, Any]) -> TfmaSlice:
    values: dict[str, float] = {}
    intervals: dict[str, Sequence[float]] = {}
    of_all_classes = ((name, value) for by_class in by_output.values() for name, value in by_class.get("", {}).items())
    for name, value in of_all_classes:
        bounded = value.get("boundedValue", {})
        number = _number(bounded.get("value", value.get("doubleValue")))
        if number is not None:
            values[name] = number
        low, high = _number(bounded.get("lowerBound")), _number(bounded.get("upperBound"))
        if low is not None and high is not None:
            intervals[name] = (low, high)
    return TfmaSlice(", ".join(f"{name}={value}" for name, value in key), values.get(_COUNT), values, intervals)


def _rows(stored: Mapping[str, Any], plot: str, rows: str) -> Sequence[Mapping[str, Any]]:
    return stored.get(plot, {}).get(rows, ())


# JSON of a proto leaves out what is 0, an id or a lower end as well as a count.


def _calibration_bin(bucket: Mapping[str, Any]) -> dict[str, Any]:
    n, right = bucket.get("numWeightedExamples", 0.0), bucket.get("totalWeightedLabel", 0.0)
    return {
        "low": bucket.get("lowerThresholdInclusive", 0.0),
        "high": bucket.get("upperThresholdExclusive", 0.0),
        "n": n,
        "correct": right,
        "accuracy": right / n if n else None,
        "confidence": bucket.get("totalWeightedRefinedPrediction", 0.0) / n if n else None,
    }


def _threshold(row: Mapping[str, Any]) -> dict[str, float]:
    names = {"tp": "truePositives", "fp": "falsePositives", "tn": "trueNegatives", "fn": "falseNegatives"}
    return {"threshold": row.get("threshold", 0.0), **{short: row.get(name, 0.0) for short, name in names.items()}}


def _cell(entry: Mapping[str, Any], special: int) -> tuple[int, int, float]:
    """A cell of a confusion matrix; TFMA's id of no prediction, -1, becomes the special place after the labels."""
    actual, predicted = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
    return (actual, predicted if predicted >= 0 else special, entry.get("numWeightedExamples", 0.0))


def _number(value: Any) -> float | None:
    # Protos write numbers that JSON has no word for as text: NaN, Infinity.
    return value if is_number(value) else None


def _key_value(key: Any) -> str:
    kind = key.WhichOneof("kind")
    value = getattr(key, kind) if kind else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
