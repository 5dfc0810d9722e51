"""Training-serving skew: what a server was asked, held against the data that its model was trained on.

A log is read as data to train on is, so that both sides are the same texts and numbers, and judged by the same gate: anomalies in the
schema's environment SERVING, rows that cannot be read, and every input whose distribution differs. All of its rows count.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from components.findings import Finding
from components.ingestion import ingest
from components.ingestion.options import DataOptions, PredictionLogSource, Split
from components.privacy.options import PrivacyOptions
from components.validation import arrow_statistics, data_gate, drift, environments
from components.validation.options import ValidationOptions
from components.validation.schema_file import SERVING

# Shares of nothing: no row of a log is held back for a measurement.
_NO_SHARE = 1e-12
_SPLIT = "Split-train"


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is said of a log.

    Attributes:
      findings: See `data_gate.judge`, worst first.
      comparison: The log beside the training data.
      ingestion: The summary of the log's rows, see `ingest`.
    """

    findings: list[Finding]
    comparison: drift.Comparison
    ingestion: Mapping[str, Any]


def judge(
    log: PredictionLogSource,
    training: data_gate.Known,
    data: DataOptions,
    schema: schema_pb2.Schema,
    privacy: PrivacyOptions,
    options: ValidationOptions,
    folder: pathlib.Path,
) -> Judged:
    """Reads a log and judges it.

    Args:
      log: The log.
      training: The data that the model was trained on, with its statistics.
      data: The `data:` section of the model's pipeline; its source is not read.
      schema: The curated schema.
      privacy: The `privacy:` section: the log is redacted as the training data was, which changes nothing where the server did it.
      options: The `validation:` section.
      folder: An empty folder, for what is read; whoever asks removes it.

    Raises:
      UsageError: There is no log, no request in it, or an input of the model is not there.
      EnvironmentFailure: The folder cannot be written.
    """
    # Neither thinned nor split: every request counts, each for itself.
    whole = Split(eval=_NO_SHARE, test=_NO_SHARE)
    served = data.model_copy(update={"source": log, "sample": 1.0, "split": whole})
    examples, statistics, anomalies = (folder / name for name in ("examples", "statistics", "anomalies"))
    ingestion = ingest.ingest(served, schema, None, str(examples), str(folder / "quarantine"), privacy)
    described = arrow_statistics.compute({_SPLIT: sorted((examples / _SPLIT).glob("*.gz"))}, schema)[_SPLIT]
    found = environments.validate(described, schema, SERVING)
    for place, name, message in ((statistics, "FeatureStats.pb", described), (anomalies, "SchemaDiff.pb", found)):
        (place / _SPLIT).mkdir(parents=True)
        (place / _SPLIT / name).write_bytes(message.SerializeToString())
    folders = data_gate.Folders(str(examples), str(statistics), str(anomalies), training)
    findings, [comparison] = data_gate.judge(folders, served, schema, options)
    return Judged(findings, comparison, ingestion)
