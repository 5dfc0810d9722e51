"""All that is said of a run's data: anomalies, the quarantine, leaks, and how it differs from earlier data.

Each check has a module of its own; here they get the folders they read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from components.findings import Finding
from components.ingestion.ingest import SUMMARY_FILE
from components.ingestion.options import DataOptions, PredictionLogSource
from components.validation import drift, gate, label_agreement, schema_file, span_monitoring, text_drift
from components.validation.options import DRIFT, SKEW, ValidationOptions


@dataclasses.dataclass(frozen=True)
class Known:
    """Earlier data that a run's data is compared with.

    Attributes:
      against: What it is, in words.
      statistics: Its ExampleStatistics artifact; None if there is none.
      examples: Its Examples artifact; None if there is none, or it is gone.
    """

    against: str
    statistics: str | None = None
    examples: str | None = None


@dataclasses.dataclass(frozen=True)
class Folders:
    """Artifacts about a run's data.

    Attributes:
      examples, statistics, anomalies: Its own.
      training: The data that the current model was trained on.
      previous: The data before it.
      earlier: Examples of all earlier data that is known, oldest first.
    """

    examples: str
    statistics: str
    anomalies: str
    training: Known = Known(drift.TRAINING)
    previous: Known = Known(drift.PREVIOUS)
    earlier: Sequence[str] = ()


def judge(
    folders: Folders, data: DataOptions, schema: schema_pb2.Schema, options: ValidationOptions
) -> tuple[list[Finding], list[drift.Comparison]]:
    """Returns the findings about a run's data, see `gate.check`, and what it was compared with."""
    ingestion = summary(folders.examples)
    if isinstance(data.source, PredictionLogSource):
        # Nothing is trained or measured on a log, and an input that tells a model's answer is no leak.
        ingestion.pop("leaks", None)
    comparisons = _comparisons(folders, data, schema, options)
    earlier = [told for told in map(summary, folders.earlier) if told]
    findings = gate.check(
        anomalies_folder=folders.anomalies,
        ingestion=ingestion,
        schema=schema,
        options=options,
        comparisons=comparisons,
        labels=_labels(folders, data, schema, options),
        series=span_monitoring.check(ingestion, earlier, data.label, options.monitoring),
    )
    return findings, comparisons


def summary(examples: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns ingestion's summary in an Examples artifact; empty if the folder is gone."""
    path = pathlib.Path(examples) / SUMMARY_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _comparisons(
    folders: Folders, data: DataOptions, schema: schema_pb2.Schema, options: ValidationOptions
) -> list[drift.Comparison]:
    """Compares a run's statistics and texts with those of earlier data, where there is any."""
    columns = drift.Columns(
        text=data.text,
        moving=[data.timestamp] if data.timestamp else [],
        identifiers=[data.group] if data.group else [],
        inputs=[feature.name for feature in schema_file.model_inputs(schema)],
    )
    own, texts = drift.read(folders.statistics, columns.identifiers), _texts(folders.examples)
    # A server's log beside training data is what training-serving skew means; two logs, or two tables, drift.
    served = SKEW if isinstance(data.source, PredictionLogSource) else DRIFT
    comparisons = []
    for known, kind in ((folders.training, served), (folders.previous, DRIFT)):
        if known.statistics is not None:
            moved = text_drift.compare(_texts(known.examples), texts, options)
            before = drift.read(known.statistics, columns.identifiers)
            comparisons.append(drift.compare(before, own, columns, options, known.against, kind, moved))
    return comparisons


def _texts(examples: str | None) -> text_drift.Texts:
    # Data that is gone is compared without its texts.
    return text_drift.Texts({}, {}) if examples is None else text_drift.of_data(summary(examples), examples)


def _labels(folders: Folders, data: DataOptions, schema: schema_pb2.Schema, options: ValidationOptions) -> list[Finding]:
    """Says whether labels fit their rows as they do in earlier data; nothing of a server's log, whose labels are a model's answers."""
    known = [one for one in (folders.training, folders.previous) if one.examples is not None]
    if isinstance(data.source, PredictionLogSource) or not known:
        return []
    inputs = [feature.name for feature in schema_file.model_inputs(schema) if feature.name not in data.text]
    columns = label_agreement.Columns(data.label, data.text, inputs)
    own = label_agreement.read(folders.examples, columns)
    findings: list[Finding] = []
    for one in known:
        agreement = label_agreement.compare(label_agreement.read(one.examples, columns), own, one.against, options)
        if agreement is not None:
            findings += label_agreement.findings(agreement, data.label, options)
    return findings
