"""The data gate: anomalies and the quarantine become findings with a severity.

ExampleValidator compares statistics with the schema and writes what differs, but lets every run go on. Here each anomaly becomes a
finding that names the column, what the schema expects and what was seen. Errors stop the run; how severe an anomaly is, `severity` and
`warn_only` say. What differs from earlier data is found elsewhere (`drift`) and joins the list here.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.errors import ParlanceError
from components.findings import Finding, Severity
from components.validation import drift, leaks
from components.validation.options import ValidationOptions

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


def check(
    anomalies_folder: str,
    ingestion: Mapping[str, Any],
    schema: schema_pb2.Schema,
    options: ValidationOptions,
    comparisons: Iterable[drift.Comparison] = (),
) -> list[Finding]:
    """Returns the findings about the data of one run, worst first.

    Args:
      anomalies_folder: An ExampleAnomalies artifact: `Split-<name>/SchemaDiff.pb` per split.
      ingestion: The summary written by ingestion (`rows`, `quarantine_reasons`, `leaks`).
      schema: The curated schema.
      options: What is tolerated.
      comparisons: What the data was compared with.

    Raises:
      ParlanceError: The artifact holds no anomalies file, not even an empty one.
    """
    files = sorted(pathlib.Path(anomalies_folder).glob("Split-*/SchemaDiff.pb"))
    if not files:
        raise ParlanceError(f"ExampleValidator left no Split-*/SchemaDiff.pb in {anomalies_folder}")
    features = {feature.name: feature for feature in schema.feature}
    findings = []
    for file in files:
        anomalies = anomalies_pb2.Anomalies.FromString(file.read_bytes())
        split = file.parent.name.removeprefix("Split-")
        if anomalies.data_missing:
            findings.append(Finding("anomaly", Severity.ERROR, f"The split {split} has no rows", subject=split))
        for name, info in sorted(anomalies.anomaly_info.items()):
            findings += _of_anomaly(name, info, split, features.get(name), options)
    findings.append(_of_quarantine(ingestion, options))
    if "leaks" in ingestion:
        findings.extend(leaks.check(ingestion["leaks"], options.leaks))
    for comparison in comparisons:
        findings += drift.findings(comparison, options)
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def kind_of(reason: int) -> str:
    """Returns the kind (see options.Kind) of one of TFDV's reasons for an anomaly."""
    name = _Type.Type.Name(reason)  # type: ignore[arg-type]  # an enum's value is an int
    return next((kind for kind, marks in _KINDS.items() if any(mark in name for mark in marks)), "other")


def _of_anomaly(
    name: str, info: anomalies_pb2.AnomalyInfo, split: str, feature: schema_pb2.Feature | None, options: ValidationOptions
) -> Iterator[Finding]:
    reasons = {reason.type for reason in info.reason}
    calm = reasons <= _NEVER_ERRORS or info.severity == _Type.WARNING
    default = Severity.WARNING if calm else Severity.ERROR
    asked = [options.severity_of(name, kind, default) for kind in sorted(map(kind_of, reasons)) or ["other"]]
    severities = [severity for severity in asked if severity is not None]
    if not severities:
        return
    observed = "; ".join(reason.description.strip() for reason in info.reason) or info.description
    expected = _expectation(feature)
    wanted = f", expected {expected}" if expected else ""
    yield Finding(
        check="anomaly: " + ", ".join(_Type.Type.Name(reason).lower().replace("_", " ") for reason in sorted(reasons)),
        severity=min(severities, key=list(Severity).index),
        message=f"Column {name!r} in the {split} split{wanted}; {observed.rstrip('.')}",
        subject=name,
        expected=expected,
        observed=observed,
    )


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


def _of_quarantine(ingestion: Mapping[str, Any], options: ValidationOptions) -> Finding:
    rows = ingestion["rows"]
    total = sum(rows.values())
    share = rows["quarantined"] / total if total else 0.0
    reasons = ", ".join(
        f"{reason} ({count})" for reason, count in sorted(ingestion["quarantine_reasons"].items(), key=lambda item: -item[1])[:5]
    )
    seen = f"{rows['quarantined']} of {total} rows ({share:.2%}) were set aside" + (f": {reasons}" if reasons else "")
    severity = Severity.ERROR if share > options.max_quarantined else Severity.WARNING if rows["quarantined"] else Severity.INFO
    return Finding(
        check="quarantine",
        severity=severity,
        message=f"{seen}; at most {options.max_quarantined:.2%} are tolerated (validation.max_quarantined)",
        expected=f"<= {options.max_quarantined:.2%}",
        observed=f"{share:.2%}",
    )
