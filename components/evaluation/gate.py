"""The evaluation gate: rules of the pipeline file and measured metrics become findings, and findings a verdict."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from components.errors import UsageError
from components.evaluation.options import (
    ANY,
    EACH,
    OVERALL,
    RANKING_METRICS,
    EvaluationOptions,
    FairnessMetric,
    Gate,
    lower_is_better,
    resolved,
)
from components.findings import Finding, Severity

Outcome = Literal["pass", "warn", "fail", "too small", "not applied"]

# The slice of rows without a value, which is there whatever the values are (segments.MISSING).
_MISSING = "(missing)"

# Limits are decimal numbers and metrics are quotients: 0.8 - 0.6 must still count as 0.2.
_TOLERANCE = 1e-9

_MOST_CHOICES = 10
_SEVERITIES = {"fail": Severity.ERROR, "warn": Severity.WARNING}

_Row = Mapping[str, Any]


def check_applicable(
    options: EvaluationOptions, labels: Collection[str], segment_values: Mapping[str, Collection[str]] | None = None
) -> None:
    """Refuses, before anything is trained, rules that cannot say anything about a model of these classes and slices.

    Args:
      options: The `evaluation:` section.
      labels: The classes, as in the train split.
      segment_values: Values of segment columns in the test split. Columns whose slices are not known yet (buckets) or too many to be
        listed are left out, and not checked.

    Raises:
      UsageError: All problems at once: a class or slice value that does not exist, a metric of one class that names none although
        there are more than two, a macro average over classes in slices, or `top_k_accuracy` with a k that every model reaches.
    """
    problems: list[str] = []
    for number, gate in enumerate(options.gates):
        place = f"evaluation.gates[{number}]"
        in_slices = gate.slices != OVERALL
        problems += [f"{place}: {problem}" for problem in _metric_problems(gate, in_slices, options.top_k, labels)]
        if isinstance(gate.slices, dict):
            named = {column: value for column, value in gate.slices.items() if value not in (ANY, _MISSING)}
            problems += [
                f"{place}: no test row has {column}={value}; {_choices(value, segment_values[column])}"
                for column, value in named.items()
                if segment_values and column in segment_values and value not in segment_values[column]
            ]
    for number, entry in enumerate(options.fairness.metrics):
        place = f"evaluation.fairness.metrics[{number}]"
        problems += [f"{place}: {problem}" for problem in _metric_problems(entry, True, options.top_k, labels)]
    for number, pair in enumerate(options.costs.pairs if options.costs else ()):
        problems += [
            f"evaluation.costs.pairs[{number}]: there is no class {name!r}; {_choices(name, labels)}"
            for name in (pair.actual, pair.predicted)
            if name not in labels
        ]
    if problems:
        raise UsageError("\n".join(problems))


def _metric_problems(entry: FairnessMetric, in_slices: bool, top_k: int, labels: Collection[str]) -> Iterator[str]:
    if entry.class_ is not None and entry.class_ not in labels:
        yield f"there is no class {entry.class_!r}; {_choices(entry.class_, labels)}"
    if len(labels) == 2:
        # Whatever names no class is about the positive one.
        pass
    elif entry.needs_class and entry.class_ is None:
        yield f"{entry.metric} is about one class, and the label has {len(labels)}; add `class`, {_choices('', labels)}"
    elif entry.metric in RANKING_METRICS and entry.class_ is None and in_slices:
        yield (
            f"{entry.metric} over all classes exists for all rows together only, and the label has {len(labels)} classes; "
            "add `class`, or use accuracy, macro_f1 or log_loss"
        )
    if entry.metric == "top_k_accuracy" and top_k >= len(labels):
        yield (
            f"top_k_accuracy with evaluation.top_k={top_k} is 1 for every model, because the label has {len(labels)} classes; "
            "lower evaluation.top_k or use accuracy"
        )


def _choices(wrong: str, valid: Collection[str]) -> str:
    """The nearest valid choice, or the choices there are."""
    if near := difflib.get_close_matches(wrong, valid, n=1):
        return f"did you mean {near[0]!r}?"
    more = f" and {len(valid) - _MOST_CHOICES} more" if len(valid) > _MOST_CHOICES else ""
    return f"one of: {', '.join(sorted(valid)[:_MOST_CHOICES])}{more}"


def decide(options: EvaluationOptions, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Applies every gate to every slice it covers and returns the content of verdict.json.

    A finding says for one rule and slice: `rule`, `slice`, `n` (rows), `value` and `interval` of what is held against `limit`,
    `outcome` and `reason`; with the fields of `Finding` beside them. Outcomes: `pass`; `warn` (the rule only warns, or the value is on
    the wrong side of the limit and part of its interval is not); `fail`; `too small` (the slice has fewer than `min_rows` rows); and
    `not applied` (nothing to compare with). For `max_drop`, value and interval are those of candidate minus baseline; for `max_gap`
    and `min_ratio`, those of the gap or ratio, and the slice is `{column: "*"}`.

    Args:
      options: The gates.
      metrics: The content of metrics.json.
    """
    options = resolved(options, metrics["positive_class"])
    findings = [finding for gate in options.gates for finding in _Rule(gate, options, metrics).findings()]
    if metrics["baseline"] is not None:
        note = "compared with the last blessed model"
        if left_out := (metrics["comparison"] or {}).get("left_out_labels"):
            note += f", over the labels both have; left out: {_names(left_out)}"
    elif metrics["baseline_problem"]:
        note = f"not compared with the last blessed model: {metrics['baseline_problem']}"
        findings.append(_finding("baseline", "warn", note, reason=metrics["baseline_problem"]))
    else:
        note = "first run: no model has been blessed yet, so there is no baseline to compare with"
    return {
        "blessed": all(finding["outcome"] != "fail" for finding in findings),
        "findings": findings,
        "baseline": {"present": metrics["baseline"] is not None, "note": note},
    }


def slice_name(slice_: Mapping[str, str]) -> str:
    """Returns a slice as text: `language=de, channel=app`; empty for all rows, and the column alone for all of its values."""
    return ", ".join(column if value == ANY else f"{column}={value}" for column, value in slice_.items())


def rule_text(gate: Gate) -> str:
    """Returns a gate as a line of text, e.g. `recall(refund) >= 0.8` or `accuracy gap <= 0.15`."""
    limit, lower = getattr(gate, gate.limit), lower_is_better(gate.metric_id)
    return {
        "min": f"{gate.metric_id} >= {limit:g}",
        "max": f"{gate.metric_id} <= {limit:g}",
        "above_majority": f"{gate.metric_id} {'<= majority -' if lower else '>= majority +'} {limit:g}",
        "max_drop": f"{gate.metric_id} {'<= baseline +' if lower else '>= baseline -'} {limit:g}",
        "max_gap": f"{gate.metric_id} gap <= {limit:g}",
        "min_ratio": f"{gate.metric_id} ratio >= {limit:g}",
    }[gate.limit]


@dataclasses.dataclass(frozen=True)
class _Limit:
    """What a value is held against.

    Attributes:
      number: The limit.
      at_least: Whether values must not be below it; otherwise they must not be above it.
      strict: Whether the limit itself is on the wrong side.
      signed: Whether it is about a difference, which is written with its sign.
    """

    number: float
    at_least: bool
    strict: bool = False
    signed: bool = False

    def __str__(self) -> str:
        relation = (">" if self.at_least else "<") + ("" if self.strict else "=")
        return f"{relation} {self.shown(self.number)}"

    def shown(self, number: float) -> str:
        return f"{number:+.4f}" if self.signed else f"{number:.4f}"

    def wrong(self, number: float) -> bool:
        tolerance = -_TOLERANCE if self.strict else _TOLERANCE
        return number < self.number - tolerance if self.at_least else number > self.number + tolerance


class _Rule:
    """One gate, ready to be held against what was measured."""

    def __init__(self, gate: Gate, options: EvaluationOptions, metrics: Mapping[str, Any]):
        self._gate = gate
        self._metrics = metrics
        self._min_rows = options.min_rows_of(gate)
        self._text = rule_text(gate)
        self._lower = lower_is_better(gate.metric_id)
        self._majority = _by_slice(metrics["majority"]["slices"])
        self._comparison = _by_slice(metrics["comparison"]["slices"]) if metrics["comparison"] else None

    def findings(self) -> list[dict[str, Any]]:
        """Returns a finding for each slice or segment the rule covers, at least one."""
        gate = self._gate
        found = list(self._of_segments() if gate.compares_groups else map(self._of_slice, self._rows()))
        if not found:
            return [self._matches_nothing()]
        if gate.slices == EACH:
            too_many = [segment for segment in self._declared() if segment["overflow"]]
            found += [
                self._not_sliced(segment) for segment in too_many if len(segment["columns"]) == 1 or not gate.compares_groups
            ]
        return found

    def _rows(self) -> Iterator[_Row]:
        """The candidate's slices that the rule covers."""
        wanted = self._gate.slices
        declared = {frozenset(segment["columns"]) for segment in self._declared()}
        for row in self._metrics["candidate"]["slices"]:
            slice_ = row["slice"]
            if isinstance(wanted, dict):
                covered = slice_.keys() == wanted.keys() and all(wanted[name] in (ANY, slice_[name]) for name in wanted)
            else:
                covered = not slice_ if wanted == OVERALL else frozenset(slice_) in declared
            if covered:
                yield row

    def _declared(self) -> Iterator[_Row]:
        return (segment for segment in self._metrics["segments"] if segment["declared"])

    def _of_slice(self, row: _Row) -> dict[str, Any]:
        """Holds one slice against a limit of a value."""
        gate, where = self._gate, {"slice_": row["slice"], "n": row["n"]}
        what = f"{gate.metric_id} on {slice_name(row['slice']) or 'all test rows'}"
        if row["slice"] and row["n"] < self._min_rows:
            reason = f"fewer than {self._min_rows} rows"
            return self._finding("too small", f"{what} is not gated: {reason} ({_rows_text(row['n'])})", reason=reason, **where)
        value, interval = row["metrics"].get(gate.metric_id), _interval(row, gate.metric_id)
        if value is None:
            return self._without_value(what, row)
        if gate.limit == "max_drop":
            return self._of_change(what, row)
        limit, reference = _Limit(getattr(gate, gate.limit), at_least=gate.limit == "min"), ""
        if gate.limit == "above_majority":
            majority = self._majority.get(_key(row["slice"]), {"metrics": {}})["metrics"].get(gate.metric_id)
            if majority is None:
                reason = f"the majority class has no {gate.metric_id} there"
                return self._finding("not applied", f"{what} is {value:.4f}; passes, because {reason}", reason=reason, **where)
            margin = getattr(gate, gate.limit)
            # A margin of 0 over the majority class asks for more than a model that has learnt nothing.
            limit = _Limit(majority - margin if self._lower else majority + margin, at_least=not self._lower, strict=margin == 0)
            reference = f"the majority class has {majority:.4f}"
        return self._judge(what, value, interval, limit, reference, **where)

    def _of_change(self, what: str, row: _Row) -> dict[str, Any]:
        """Holds the difference between candidate and baseline on one slice against `max_drop`."""
        gate, where = self._gate, {"slice_": row["slice"], "n": row["n"]}
        compared = (self._comparison or {}).get(_key(row["slice"]))
        change = compared["metrics"].get(gate.metric_id) if compared else None
        if compared is None or change is None:
            problem = f"the baseline has no {gate.metric_id} there"
            if compared is None:
                problem = "there is nothing to compare there" if self._comparison else "there is no baseline to compare with"
            value = row["metrics"][gate.metric_id]
            return self._finding("not applied", f"{what} is {value:.4f}; passes, because {problem}", reason=problem, **where)
        drop = getattr(gate, gate.limit)
        limit = _Limit(drop if self._lower else -drop, at_least=not self._lower, signed=True)
        values = [compared[model][gate.metric_id] for model in ("candidate", "baseline")]
        reference = "{:.4f}, the baseline {:.4f}".format(*values)
        if self._metrics["comparison"]["labels"] != "all":
            reference += ", over the labels both have"
        return self._judge(f"the change of {what}", change, _interval(compared, gate.metric_id), limit, reference, **where)

    def _of_segments(self) -> Iterator[dict[str, Any]]:
        """Holds the gap or ratio between the groups of each segment against the limit."""
        wanted = self._gate.slices
        columns = list(wanted) if isinstance(wanted, dict) else [
            segment["columns"][0] for segment in self._declared() if len(segment["columns"]) == 1
        ]  # fmt: skip
        for entry in self._metrics["fairness"]:
            same = entry["criterion"] == self._gate.criterion and entry["metric"] in self._gate.measured
            if same and entry["segment"] in columns:
                yield self._of_segment(entry)

    def _of_segment(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        gate, segment = self._gate, entry["segment"]
        kind = "gap" if gate.limit == "max_gap" else "ratio"
        part = [group for group in entry["groups"] if not group["small"] and group["metric"] is not None]
        where: dict[str, Any] = {"slice_": {segment: ANY}, "n": sum(group["n"] for group in part)}
        what = f"the {kind} of {gate.metric_id} between the groups of {segment}"
        if entry[kind] is None:
            outcome: Outcome = "too small" if any(group["small"] for group in entry["groups"]) else "not applied"
            reason = entry["note"] or f"there is no {kind}"
            return self._finding(outcome, f"{what} is not gated: {reason}", reason=reason, **where)
        groups = {group["value"]: group for group in part}
        reference = ", ".join(f"{name} {_group_text(groups[entry[name]])}" for name in ("worst", "best"))
        if gate.metric_id != entry["metric"]:
            reference = f"{entry['metric']}: {reference}"
        if entry["note"]:
            reference += f"; {entry['note']}"
        limit = _Limit(getattr(gate, gate.limit), at_least=gate.limit == "min_ratio")
        return self._judge(what, entry[kind], entry[f"{kind}_interval"], limit, reference, **where)

    def _judge(
        self, what: str, value: float, interval: list[float] | None, limit: _Limit, reference: str, **where: Any
    ) -> dict[str, Any]:
        """Compares a value, or its interval, with its limit."""
        outcome: Outcome = "pass"
        reason = ""
        if limit.wrong(value):
            outcome, reason = "fail", f"{'below' if limit.at_least else 'above'} the limit"
            if limit.strict and not abs(value - limit.number) > _TOLERANCE:
                reason = "not better than the limit"
            if self._gate.judge_by == "interval" and interval is not None:
                if limit.wrong(max(interval) if limit.at_least else min(interval)):
                    reason = f"the whole interval is {reason}"
                else:
                    outcome, reason = "warn", f"{reason}, but part of the interval is not"
        shown = limit.shown(value) + (f" [{limit.shown(interval[0])}, {limit.shown(interval[1])}]" if interval else "")
        must = f"must be {'at least' if limit.at_least else 'at most'} {limit.shown(limit.number)}"
        if limit.strict:
            must = f"must be {'above' if limit.at_least else 'below'} {limit.shown(limit.number)}"
        message = f"{what} is {shown}, {must}" + (f"; {reference}" if reference else "") + f" ({_rows_text(where['n'])})"
        reason = "; ".join(part for part in (reason, reference) if part)
        return self._finding(outcome, message, value=value, interval=interval, limit=str(limit), reason=reason, **where)

    def _without_value(self, what: str, row: _Row) -> dict[str, Any]:
        """A slice may have no row that a metric is about, e.g. none of the class; all test rows together may not."""
        reason = "no row there decides it" if self._gate.metric_id in row["metrics"] else "it was not measured there"
        outcome: Outcome = "not applied" if row["slice"] and self._gate.metric_id in row["metrics"] else "fail"
        return self._finding(
            outcome,
            f"{what} is not a number: {reason} ({_rows_text(row['n'])})",
            slice_=row["slice"],
            n=row["n"],
            reason=f"not a number: {reason}",
        )

    def _not_sliced(self, segment: _Row) -> dict[str, Any]:
        name, reason = " x ".join(segment["columns"]), "too many values, so it was not sliced"
        return self._finding(
            "warn",
            f"{self._text} is not applied to {name}: {reason}",
            slice_=dict.fromkeys(segment["columns"], ANY),
            reason=reason,
        )

    def _matches_nothing(self) -> dict[str, Any]:
        wanted = self._gate.slices
        named = wanted if isinstance(wanted, dict) else {}
        meant = [
            segment
            for segment in self._metrics["segments"]
            if (segment["declared"] if wanted == EACH else {*segment["columns"]} == named.keys())
        ]
        reason = "the test rows have no such slice"
        if any(segment["overflow"] for segment in meant):
            reason = "the segment has too many values and was not sliced"
        message = f"{self._text} on {slice_name(named) or 'the segments'} checks nothing: {reason}"
        return self._finding("fail", message, slice_=named, reason=reason)

    def _finding(self, outcome: Outcome, message: str, **more: Any) -> dict[str, Any]:
        if outcome == "fail" and self._gate.severity == "warning":
            outcome = "warn"
            more["reason"] = f"{more['reason']}; the rule only warns"
        return _finding(self._text, outcome, message, **more)


def _finding(
    rule: str,
    outcome: Outcome,
    message: str,
    *,
    slice_: Mapping[str, str] | None = None,
    n: int | None = None,
    value: float | None = None,
    interval: list[float] | None = None,
    limit: str = "",
    reason: str = "",
) -> dict[str, Any]:
    finding = Finding(
        check=rule,
        severity=_SEVERITIES.get(outcome, Severity.INFO),
        message=message,
        subject=slice_name(slice_ or {}),
        expected=limit,
        observed="" if value is None else f"{value:.4f}",
    )
    return {
        **finding.to_json(),
        "rule": rule,
        "slice": dict(slice_ or {}),
        "n": n,
        "value": value,
        "interval": interval,
        "limit": limit,
        "outcome": outcome,
        "reason": reason,
    }


def _by_slice(rows: Iterable[_Row]) -> dict[frozenset[tuple[str, str]], _Row]:
    return {_key(row["slice"]): row for row in rows}


def _key(slice_: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(slice_.items())


def _interval(row: _Row, metric: str) -> list[float] | None:
    return row.get("intervals", {}).get(metric)


def _group_text(group: Mapping[str, Any]) -> str:
    return f"{group['value']} {group['metric']:.4f} ({_rows_text(group['n'])})"


def _rows_text(n: int) -> str:
    return f"{n:,} rows" if n != 1 else "1 row"


def _names(names: Collection[str]) -> str:
    more = f" and {len(names) - _MOST_CHOICES} more" if len(names) > _MOST_CHOICES else ""
    return ", ".join(list(names)[:_MOST_CHOICES]) + more
