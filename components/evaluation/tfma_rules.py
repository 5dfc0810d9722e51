"""The gate in TFMA's terms: thresholds for its configuration, and the verdict as its validation result.

TFMA's thresholds know neither intervals nor slices that are too small, gaps or majority classes. One threshold stands for all rules:
`failed_rules` of every slice must be 0. Rules that are about values or changes and are not judged by intervals stand beside it, for
the reader; the result below never contradicts the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2
from tensorflow_model_analysis.slicer import slicer_lib as slicer

from components.evaluation.gate import rule_text
from components.evaluation.options import ANY, EACH, OVERALL, Gate, lower_is_better, resolved
from components.evaluation.report import BASELINE, CANDIDATE, Subject
from components.evaluation.segments import Segment
from components.evaluation.tfma_records import (
    FAILED_RULES,
    failures_by_slice,
    group_metric,
    metric_key,
    model_names,
    slice_key,
)

_GROUP_LIMITS = {"max_gap": "gap", "min_ratio": "ratio"}


def metrics_spec(subject: Subject) -> config_pb2.MetricsSpec:
    """Returns the thresholds of a configuration."""
    spec = config_pb2.MetricsSpec(model_names=[name for name in [model_names(subject.classes)[CANDIDATE]] if name])
    spec.thresholds[FAILED_RULES].value_threshold.upper_bound.value = 0.0
    for gate in _expressible(subject):
        spec.per_slice_thresholds[gate.metric_id].thresholds.add(
            slicing_specs=_slicing_specs(gate, subject.segments), threshold=_threshold_of(gate)
        )
    return spec


def validation(
    subject: Subject, metrics: Mapping[str, Any], verdict: Mapping[str, Any]
) -> validation_result_pb2.ValidationResult:
    """Returns the verdict: ok if the model is blessed, and a failure for each rule and slice that blocks it.

    Args:
      subject: What was measured.
      metrics: The content of metrics.json.
      verdict: The content of verdict.json.
    """
    result = validation_result_pb2.ValidationResult(validation_ok=verdict["blessed"])
    gates = {rule_text(gate): gate for gate in resolved(subject.options, subject.positive_class).gates}
    model = model_names(subject.classes)[CANDIDATE]
    for key, findings in failures_by_slice(metrics, verdict).items():
        of_slice = result.metric_validations_per_slice.add(slice_key=slicer.serialize_slice_key(key))
        for finding in findings:
            of_slice.failures.append(_failure(gates[finding["rule"]], finding, model))
    keys = [slice_key(row["slice"]) for row in metrics[CANDIDATE]["slices"]]
    specs = [
        config_pb2.SlicingSpec(),
        *(spec for gate in _expressible(subject) for spec in _slicing_specs(gate, subject.segments)),
    ]
    for spec in {spec.SerializeToString(deterministic=True): spec for spec in specs}.values():
        matching = sum(map(slicer.SingleSliceSpec(spec=spec).is_slice_applicable, keys))
        # TFMA's writer takes a specification without details for a missing slice, and that for a reason not to bless.
        if matching or verdict["blessed"]:
            result.validation_details.slicing_details.add(slicing_spec=spec, num_matching_slices=matching)
    return result


def _expressible(subject: Subject) -> Iterator[Gate]:
    """The rules that are thresholds in TFMA's sense."""
    limits = {"min", "max"} | ({"max_drop"} if BASELINE in subject.classes else set())
    for gate in resolved(subject.options, subject.positive_class).gates:
        if gate.limit in limits and gate.judge_by == "value" and gate.severity == "error":
            yield gate


def _slicing_specs(gate: Gate, segments: Sequence[Segment]) -> list[config_pb2.SlicingSpec]:
    if gate.slices == OVERALL:
        return [config_pb2.SlicingSpec()]
    if gate.slices == EACH:
        return [config_pb2.SlicingSpec(feature_keys=segment.names) for segment in segments if segment.declared]
    assert isinstance(gate.slices, dict)
    named = {column: value for column, value in gate.slices.items() if value != ANY}
    return [config_pb2.SlicingSpec(feature_keys=[column for column in gate.slices if column not in named], feature_values=named)]


def _threshold_of(gate: Gate) -> config_pb2.MetricThreshold:
    limit, lower = getattr(gate, gate.limit), lower_is_better(gate.metric_id)
    if gate.limit == "max_drop":
        return _change(limit if lower else -limit, lower)
    return _bound(limit, upper=gate.limit == "max")


def _failure(gate: Gate, finding: Mapping[str, Any], model: str) -> validation_result_pb2.ValidationFailure:
    failure = validation_result_pb2.ValidationFailure(
        metric_key=_key_of(gate, finding, model).to_proto(), message=finding["message"]
    )
    if finding["value"] is not None:
        failure.metric_value.double_value.value = finding["value"]
    if finding["limit"]:
        relation, number = finding["limit"].split()
        upper = relation.startswith("<")
        failure.metric_threshold.CopyFrom(
            _change(float(number), upper) if gate.limit == "max_drop" else _bound(float(number), upper)
        )
    return failure


def _key_of(gate: Gate, finding: Mapping[str, Any], model: str) -> metric_types.MetricKey:
    if gate.limit in _GROUP_LIMITS:
        [segment] = finding["slice"]
        return metric_key(group_metric(gate.metric_id, _GROUP_LIMITS[gate.limit], segment), model)
    return metric_key(gate.metric_id, model, is_diff=gate.limit == "max_drop")


def _bound(limit: float, upper: bool) -> config_pb2.MetricThreshold:
    side = "upper_bound" if upper else "lower_bound"
    return config_pb2.MetricThreshold(value_threshold={side: {"value": limit}})


def _change(limit: float, lower_is_better: bool) -> config_pb2.MetricThreshold:
    direction = config_pb2.LOWER_IS_BETTER if lower_is_better else config_pb2.HIGHER_IS_BETTER
    return config_pb2.MetricThreshold(change_threshold={"absolute": {"value": limit}, "direction": direction})
