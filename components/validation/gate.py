"""The data gate: anomalies and the quarantine become findings with a severity.

ExampleValidator compares statistics with the schema and writes what differs, but lets every run go on. Here each anomaly becomes a
finding that names the column, what the schema expects and what was seen. Errors stop the run; a column listed in `warn_only` warns.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.errors import ParlanceError
from components.findings import Finding, Severity
from components.validation.options import ValidationOptions

_Type = anomalies_pb2.AnomalyInfo
# Domains and presence are tolerant on purpose: the schema's own limits (min_domain_mass, min_fraction) say when they are anomalies.
# These are the kinds that can be an anomaly although nothing is wrong with the rows.
_NEVER_ERRORS = {_Type.SCHEMA_NEW_COLUMN}


def check(
    anomalies_folder: str,
    ingestion: Mapping[str, Any],
    schema: schema_pb2.Schema,
    options: ValidationOptions,
) -> list[Finding]:
    """Returns the findings about the data of one run, worst first.

    Args:
      anomalies_folder: An ExampleAnomalies artifact: `Split-<name>/SchemaDiff.pb` per split.
      ingestion: The summary written by ingestion (`rows`, `quarantine_reasons`).
      schema: The curated schema.
      options: What is tolerated.

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
            findings.append(_of_anomaly(name, info, split, features.get(name), options))
    findings.append(_of_quarantine(ingestion, options))
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _of_anomaly(
    name: str, info: anomalies_pb2.AnomalyInfo, split: str, feature: schema_pb2.Feature | None, options: ValidationOptions
) -> Finding:
    kinds = {reason.type for reason in info.reason}
    error = name not in options.warn_only and not kinds <= _NEVER_ERRORS and info.severity != _Type.WARNING
    observed = "; ".join(reason.description.strip() for reason in info.reason) or info.description
    expected = _expectation(feature)
    wanted = f", expected {expected}" if expected else ""
    return Finding(
        check="anomaly: " + ", ".join(_Type.Type.Name(kind).lower().replace("_", " ") for kind in sorted(kinds)),
        severity=Severity.ERROR if error else Severity.WARNING,
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
