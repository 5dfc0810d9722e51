"""The data gate: anomalies and the quarantine become findings with a severity.

ExampleValidator compares statistics with the schema and writes what differs, but lets every run go on. Here each anomaly becomes a
finding that names the column, what the schema expects and what was seen. Errors stop the run; how severe an anomaly is, `severity` and
`warn_only` say. What differs from earlier data is found elsewhere (`drift`, `text_drift`, `label_agreement`, `span_monitoring`) and
joins the list here, before what the schema says: it may know what happened.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.errors import ParlanceError
from components.findings import Finding, Severity
from components.ingestion import broken_rules
from components.ingestion.earlier_texts import NEAR_DUPLICATE
from components.validation import drift, leaks
from components.validation.options import ValidationOptions
from serving.redaction import redact

_Type = anomalies_pb2.AnomalyInfo
# Domains and presence are tolerant on purpose: the schema's own limits (min_domain_mass, min_fraction) say when they are anomalies.
# These are the kinds that can be an anomaly although nothing is wrong with the rows.
_NEVER_ERRORS = {_Type.SCHEMA_NEW_COLUMN}
# Parts of the names of TFDV's reasons, by the kind they are of; the first that fits counts.
_KINDS = {
    "new_column": ("SCHEMA_NEW_COLUMN",),
    "missing": ("SCHEMA_MISSING_COLUMN", "_PRESENT", "FEATURE_TYPE_NO_VALUES"),
    "shape": ("_NUMBER_VALUES", "_REPEATED", "SHAPE", "NESTEDNESS", "SPARSE_", "WEIGHTED_"),
    "domain": ("UNEXPECTED_STRING", "_UNIQUE", "SEMANTIC_DOMAIN"),
    "range": ("_BIG_", "_SMALL_", "_HAS_", "UNEXPECTED_FLOAT"),
    "type": ("_NOT_", "_NOW_", "_TYPE_"),
}
# How TFDV lists values that no domain has, which may be anything, and the share of the rows that each has.
_UNEXPECTED = re.compile(r"(Examples contain values missing from the schema: )(.*?)\.?\s*", re.DOTALL)
_VALUE = re.compile(r"(.*?) \((<1|~\d+)%\)(?:, |$)", re.DOTALL)
_RARE = "<1"
_QUOTED = "train"
_SHOWN_VALUES, _SHOWN_COLUMNS, _VALUE_LENGTH = 5, 10, 40
# The kind of each rule of the schema that sets rows aside; limits are of the kind range.
_RULES = {broken_rules.MISSING: "missing", broken_rules.DOMAIN: "domain"}


def check(
    anomalies_folder: str,
    ingestion: Mapping[str, Any],
    schema: schema_pb2.Schema,
    options: ValidationOptions,
    comparisons: Iterable[drift.Comparison] = (),
    series: Iterable[Finding] = (),
    labels: Iterable[Finding] = (),
) -> list[Finding]:
    """Returns the findings about the data of one run, worst first.

    Args:
      anomalies_folder: An ExampleAnomalies artifact: `Split-<name>/SchemaDiff.pb` per split.
      ingestion: The summary written by ingestion (`rows`, `quarantine_reasons`, `broken_rules`, `new_columns`, `leaks`).
      schema: The curated schema.
      options: What is tolerated.
      comparisons: What the data was compared with.
      series: What is out of line with the series of earlier runs; before anomalies of the same severity, because it says better what
        happened.
      labels: What is said of labels that fit their rows no more; before all of these, like what differs from other data.

    Raises:
      ParlanceError: The artifact holds no anomalies file, not even an empty one.
    """
    files = sorted(pathlib.Path(anomalies_folder).glob("Split-*/SchemaDiff.pb"))
    if not files:
        raise ParlanceError(f"ExampleValidator left no Split-*/SchemaDiff.pb in {anomalies_folder}")
    features = {feature.name: feature for feature in schema.feature}
    comparisons = list(comparisons)
    findings = list(_of_broken_rules(ingestion, options))
    findings += [finding for comparison in comparisons for finding in drift.findings(comparison, options)]
    findings += [*labels, *series]
    hidden = {
        column.column
        for comparison in comparisons
        for column in comparison.columns
        if column.fault is not None and column.fault.holds_text
    }
    seen: dict[tuple[str, tuple[int, ...]], dict[str, anomalies_pb2.AnomalyInfo]] = {}
    for file in files:
        anomalies = anomalies_pb2.Anomalies.FromString(file.read_bytes())
        split = file.parent.name.removeprefix("Split-")
        if anomalies.data_missing:
            findings.append(Finding("anomaly", Severity.ERROR, f"The split {split} has no rows", subject=split))
        for name, info in anomalies.anomaly_info.items():
            seen.setdefault((name, tuple(sorted({reason.type for reason in info.reason}))), {})[split] = info
    for (name, _), by_split in sorted(seen.items()):
        findings += _of_anomaly(name, by_split, features.get(name), options, hidden)
    findings += _of_new_columns(ingestion.get("new_columns", ()), options)
    findings.append(_of_quarantine(ingestion, options))
    if "leaks" in ingestion:
        findings.extend(leaks.check(ingestion["leaks"], options.leaks))
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def kind_of(reason: int) -> str:
    """Returns the kind (see options.Kind) of one of TFDV's reasons for an anomaly."""
    name = _Type.Type.Name(reason)  # type: ignore[arg-type]  # an enum's value is an int
    return next((kind for kind, marks in _KINDS.items() if any(mark in name for mark in marks)), "other")


def _of_anomaly(
    name: str,
    by_split: Mapping[str, anomalies_pb2.AnomalyInfo],
    feature: schema_pb2.Feature | None,
    options: ValidationOptions,
    hidden: Collection[str],
) -> Iterator[Finding]:
    """One finding about an anomaly, however many splits have it; the train split, which is the largest, is quoted."""
    split = _QUOTED if _QUOTED in by_split else min(by_split)
    info = by_split[split]
    reasons = {reason.type for reason in info.reason}
    calm = reasons <= _NEVER_ERRORS or info.severity == _Type.WARNING
    default = Severity.WARNING if calm else Severity.ERROR
    asked = [options.severity_of(name, kind, default) for kind in sorted(map(kind_of, reasons)) or ["other"]]
    severities = [severity for severity in asked if severity is not None]
    if not severities:
        return
    told = [reason.description.strip() for reason in info.reason] or [info.description]
    observed = "; ".join(_without_rare_values(text, name in hidden) for text in told)
    expected = _expectation(feature)
    wanted = f", expected {expected}" if expected else ""
    rest = [other for other in sorted(by_split) if other != split]
    others = f" (and in {' and '.join(rest)})" if rest else ""
    yield Finding(
        check="anomaly: " + ", ".join(_Type.Type.Name(reason).lower().replace("_", " ") for reason in sorted(reasons)),
        severity=min(severities, key=list(Severity).index),
        message=f"Column {name!r} in the {split} split{others}{wanted}; {observed.rstrip('.')}",
        subject=name,
        expected=expected,
        observed=observed,
    )


def _without_rare_values(description: str, hidden: bool) -> str:
    """A description of TFDV's that names no value which only few rows have: it may be a message, or say who somebody is."""
    match = _UNEXPECTED.fullmatch(description)
    if match is None:
        return redact(description)
    values = _VALUE.findall(match[2])
    named = [] if hidden else [(value, share) for value, share in values if share != _RARE][:_SHOWN_VALUES]
    shown = [f"{redact(value) if len(value) <= _VALUE_LENGTH else '(a long value)'} ({share}%)" for value, share in named]
    more = len(values) - len(named)
    parts = [*shown, *([f"{more} {'more' if shown else 'different'} {'value' if more == 1 else 'values'}"] if more else [])]
    return match[1] + ", ".join(parts)


def _expectation(feature: schema_pb2.Feature | None) -> str:
    """What the schema says of a column, in a few words."""
    if feature is None:
        return ""
    parts = [schema_pb2.FeatureType.Name(feature.type).lower().replace("bytes", "text")]
    if feature.presence.min_fraction:
        parts.append(f"present in at least {feature.presence.min_fraction:.4g} of the rows")
    if feature.HasField("string_domain"):
        parts.append(f"one of {len(feature.string_domain.value)} known values")
    elif feature.HasField("domain"):
        parts.append(f"a value of the domain {feature.domain!r}")
    for kind in ("int_domain", "float_domain"):
        if feature.HasField(kind):
            limits = getattr(feature, kind)
            parts += [f"{word} {getattr(limits, side)}" for side, word in (("min", ">="), ("max", "<=")) if limits.HasField(side)]
    return ", ".join(parts)


def _of_broken_rules(ingestion: Mapping[str, Any], options: ValidationOptions) -> Iterator[Finding]:
    """One finding for each rule of the schema that more rows break than may be set aside, or that rows break with a new value.

    Such rows are in the quarantine, and too few of what is left may show what happened.
    """
    total = sum(ingestion["rows"].values())
    for broken in sorted(broken_rules.breaks(ingestion.get("broken_rules", {}), total), key=lambda one: -one.rows):
        too_many = broken.share > options.max_quarantined
        if not too_many and not broken.named:
            continue
        default = Severity.ERROR if too_many else Severity.WARNING
        severity = options.severity_of(broken.column, _RULES.get(broken.rule, "range"), default)
        if severity is not None:
            hint = "; `parlance schema diff` lists what the schema would have to allow" if broken.named else ""
            yield Finding("broken rule", severity, broken.message + hint, broken.column, broken.expected, f"{broken.share:.2%}")


def _of_new_columns(names: Iterable[str], options: ValidationOptions) -> Iterator[Finding]:
    """One finding about all columns of the table that nobody named, for each severity."""
    by_severity: dict[Severity, list[str]] = {}
    for name in names:
        if (severity := options.severity_of(name, "new_column", Severity.WARNING)) is not None:
            by_severity.setdefault(severity, []).append(name)
    for severity, new in by_severity.items():
        # What stands where names belong may be a message, if a table has no header.
        shown = [repr(redact(name)) if len(name) <= _VALUE_LENGTH else "(a long name)" for name in new[:_SHOWN_COLUMNS]]
        more = f" and {len(new) - len(shown)} more" if len(new) > len(shown) else ""
        yield Finding(
            check="new column",
            severity=severity,
            message=f"The table has columns that the schema does not list: {', '.join(shown)}{more}; they are not stored. Add what the"
            " model shall see to the schema, and name the others in data.exclude",
            subject=new[0] if len(new) == 1 else "",
            observed=f"{len(new)} new column{'' if len(new) == 1 else 's'}",
        )


def _of_quarantine(ingestion: Mapping[str, Any], options: ValidationOptions) -> Finding:
    rows = ingestion["rows"]
    total = sum(rows.values())
    asked_for = ingestion["quarantine_reasons"].get(NEAR_DUPLICATE, 0)
    faulty = rows["quarantined"] - asked_for
    share = faulty / total if total else 0.0
    reasons = ", ".join(
        f"{reason} ({count})" for reason, count in sorted(ingestion["quarantine_reasons"].items(), key=lambda item: -item[1])[:5]
    )
    seen = f"{rows['quarantined']} of {total} rows ({rows['quarantined'] / total if total else 0:.2%}) were set aside"
    seen += f": {reasons}" if reasons else ""
    seen += f"; without near duplicates, as asked, {share:.2%}" if asked_for else ""
    severity = Severity.ERROR if share > options.max_quarantined else Severity.WARNING if faulty else Severity.INFO
    return Finding(
        check="quarantine",
        severity=severity,
        message=f"{seen}; at most {options.max_quarantined:.2%} are tolerated (validation.max_quarantined)",
        expected=f"<= {options.max_quarantined:.2%}",
        observed=f"{share:.2%}",
    )
