"""The evaluation gate: rules of the pipeline file and measured metrics become findings, and findings a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.errors import UsageError
from components.evaluation.options import EvaluationOptions, Gate
from components.findings import Finding, Severity, has_errors

LOWER_IS_BETTER = frozenset({"log_loss"})

# Limits are decimal numbers and metrics are quotients: 0.8 - 0.6 must still count as 0.2.
_TOLERANCE = 1e-9

_Slice = Mapping[str, Any]


def check_applicable(options: EvaluationOptions, n_classes: int) -> None:
    """Refuses, before anything is trained, gates that cannot say anything about a model with this many classes.

    Raises:
      UsageError: A gate uses `auc` and there are not exactly two classes, or `top_k_accuracy` with a k that every model reaches.
    """
    for number, gate in enumerate(options.gates):
        if gate.metric == "auc" and n_classes != 2:
            raise UsageError(
                f"evaluation.gates[{number}]: auc exists for two classes only, and the label has {n_classes}; "
                "use accuracy, balanced_accuracy, macro_f1, weighted_f1, top_k_accuracy or log_loss"
            )
        if gate.metric == "top_k_accuracy" and options.top_k >= n_classes:
            raise UsageError(
                f"evaluation.gates[{number}]: top_k_accuracy with evaluation.top_k={options.top_k} is 1 for every model, because "
                f"the label has {n_classes} classes; lower evaluation.top_k or use accuracy"
            )


def decide(options: EvaluationOptions, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Applies every gate to every slice it covers and returns the content of verdict.json.

    Gates on `overall` apply whatever the number of test rows; slices of segments need `min_rows`.

    Args:
      options: The gates.
      metrics: The content of metrics.json.
    """
    findings = [finding for gate in options.gates for finding in _apply(gate, metrics)]
    if metrics["baseline"] is not None:
        note = "compared with the last blessed model"
    elif metrics["baseline_problem"]:
        note = f"not compared with the last blessed model: {metrics['baseline_problem']}"
        findings.append(Finding("baseline", Severity.WARNING, note))
    else:
        note = "first run: no model has been blessed yet, so there is no baseline to compare with"
    return {
        "blessed": not has_errors(findings),
        "findings": [finding.to_json() for finding in findings],
        "baseline": {"present": metrics["baseline"] is not None, "note": note},
    }


def slice_name(slice_: Mapping[str, str]) -> str:
    """Returns a slice as text: `language=de, channel=app`; empty for all rows."""
    return ", ".join(f"{column}={value}" for column, value in slice_.items())


def _apply(gate: Gate, metrics: Mapping[str, Any]) -> list[Finding]:
    candidate = metrics["candidate"]["slices"]
    chosen = [row for row in candidate if bool(row["slice"]) == (gate.slices == "each")]
    if not chosen:
        message = f"{_rule(gate)} for each slice checks nothing: the test rows have no slices; name columns in data.segments"
        return [Finding(_rule(gate), Severity.WARNING, message)]
    majority, baseline = metrics["majority"], metrics["baseline"]
    return [
        _check(gate, row, _metrics_there(baseline, row) if baseline else None, _metrics_there(majority, row)) for row in chosen
    ]


def _metrics_there(model: Mapping[str, Any], row: _Slice) -> Mapping[str, float | None]:
    return next(other["metrics"] for other in model["slices"] if other["slice"] == row["slice"])


def _check(gate: Gate, row: _Slice, baseline: Mapping[str, float | None] | None, majority: Mapping[str, float | None]) -> Finding:
    n, value, subject = row["n"], row["metrics"].get(gate.metric), slice_name(row["slice"])
    what = f"{gate.metric} on {subject or 'all test rows'}"

    def finding(passed: bool, message: str, expected: str = "") -> Finding:
        severity = Severity.INFO if passed else Severity(gate.severity)
        observed = "" if value is None else f"{value:.4f}"
        return Finding(_rule(gate), severity, f"{message} ({n} rows)", subject, expected, observed)

    if subject and n < gate.min_rows:
        return finding(True, f"{what} is not gated, the slice is too small: min_rows is {gate.min_rows}")
    if value is None:
        return finding(False, f"{what} is not a number: no usable rows, one class only, or the model returned NaN")
    if gate.min is not None:
        return finding(
            value >= gate.min - _TOLERANCE, f"{what} is {value:.4f}, must be at least {gate.min:g}", f">= {gate.min:g}"
        )
    if gate.max is not None:
        return finding(value <= gate.max + _TOLERANCE, f"{what} is {value:.4f}, must be at most {gate.max:g}", f"<= {gate.max:g}")

    if gate.above_majority is not None:
        reference, name, margin = majority, "the majority class", gate.above_majority
    elif baseline is not None and gate.max_drop is not None:
        reference, name, margin = baseline, "the baseline", -gate.max_drop
    else:
        return finding(True, f"{what} is {value:.4f}; passes, because there is no baseline to compare with")
    other = reference.get(gate.metric)
    if other is None:
        return finding(True, f"{what} is {value:.4f}; passes, because {name} has no {gate.metric} there")
    sign = -1 if gate.metric in LOWER_IS_BETTER else 1
    gain = sign * (value - other)
    limit = other + sign * margin
    # A margin of 0 over the majority class asks for more than a model that has learnt nothing.
    passed = gain >= margin - _TOLERANCE and (gate.above_majority is None or gain > _TOLERANCE)
    relation = "at most" if sign < 0 else "at least"
    expected = f"{'<=' if sign < 0 else '>='} {limit:.4f}"
    return finding(passed, f"{what} is {value:.4f}, must be {relation} {limit:.4f}; {name} has {other:.4f}", expected)


def _rule(gate: Gate) -> str:
    """The gate as a line of text, e.g. `accuracy >= 0.8`."""
    lower = gate.metric in LOWER_IS_BETTER
    if gate.min is not None:
        return f"{gate.metric} >= {gate.min:g}"
    if gate.max is not None:
        return f"{gate.metric} <= {gate.max:g}"
    if gate.above_majority is not None:
        return f"{gate.metric} {'<= majority -' if lower else '>= majority +'} {gate.above_majority:g}"
    return f"{gate.metric} {'<= baseline +' if lower else '>= baseline -'} {gate.max_drop:g}"
