"""The data gate as a node: what it reads, what it leaves, when it stops a run."""

import json

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from components.errors import GateError
from components.evaluation.options import EvaluationOptions
from components.validation import schema_file
from components.validation.options import ValidationOptions
from tests.components.validation.test_drift import MOVED, OLD

pytestmark = pytest.mark.tensorflow

SCHEMA = """
feature { name: "channel" type: BYTES }
feature { name: "fare" type: FLOAT not_in_environment: "SERVING" }
"""
SUMMARY = {
    "rows": {"train": 1000, "eval": 10, "test": 10, "quarantined": 0},
    "quarantine_reasons": {},
    "labels": {"train": {"a": 500, "b": 500}},
    "test_segments": {},
}
EVALUATION = {"gates": [{"metric": "accuracy", "min": 0.5}]}


@pytest.fixture
def gate(tmp_path):
    """Runs the gate over MOVED; returns the folder of its verdict."""
    from tfx.types import standard_artifacts

    from components.validation.component import DataGateExecutor, DataVerdict

    def folder(name):
        made = tmp_path / name
        made.mkdir()
        return made

    def artifact(kind, path):
        made = kind()
        made.uri = str(path)
        return [made]

    def statistics(name, dataset):
        split = folder(name) / "Split-train"
        split.mkdir()
        content = statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset]).SerializeToString()
        (split / "FeatureStats.pb").write_bytes(content)
        return artifact(standard_artifacts.ExampleStatistics, split.parent)

    def run(source="csv", options=None, **known):
        examples, anomalies, schema = folder("examples"), folder("anomalies") / "Split-train", folder("schema")
        (examples / "summary.json").write_text(json.dumps(SUMMARY))
        anomalies.mkdir()
        (anomalies / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies().SerializeToString())
        (schema / schema_file.FILE_NAME).write_text(SCHEMA)
        inputs = {
            "examples": artifact(standard_artifacts.Examples, examples),
            "statistics": statistics("own", MOVED),
            "anomalies": artifact(standard_artifacts.ExampleAnomalies, anomalies.parent),
            "schema": artifact(standard_artifacts.Schema, schema),
            **{key: statistics(key, dataset) for key, dataset in known.items()},
        }
        data = {"source": {"type": source, "path": "t"}, "label": "intent"}
        properties = {
            "options": (options or ValidationOptions()).model_dump_json(),
            "evaluation": EvaluationOptions.model_validate(EVALUATION).model_dump_json(),
            "data": json.dumps(data),
        }
        DataGateExecutor().Do(inputs, {"verdict": artifact(DataVerdict, tmp_path / "verdict")}, properties)
        return tmp_path / "verdict"

    return run


def compared(verdict):
    return [
        (one["kind"], one["against"], [column["column"] for column in one["columns"]])
        for one in json.loads((verdict / "drift.json").read_text())
    ]


def test_a_first_run_is_compared_with_nothing(gate):
    assert compared(gate()) == []


def test_data_is_compared_with_the_models_and_with_the_previous(gate):
    verdict = gate(training=OLD, previous=MOVED)
    assert compared(verdict) == [
        ("drift", "the training data of the current model", ["channel", "fare"]),
        ("drift", "the previous data", ["channel", "fare"]),
    ]
    warned = [
        finding["subject"] for finding in json.loads((verdict / "findings.json").read_text()) if finding["severity"] == "warning"
    ]
    assert warned == ["channel"]


def test_a_servers_log_is_skewed_against_training_data_in_the_models_inputs(gate):
    assert compared(gate("prediction_log", training=OLD)) == [("skew", "the training data of the current model", ["channel"])]


def test_drift_stops_a_run_where_the_pipeline_file_says_so(gate):
    with pytest.raises(GateError, match="Column 'channel' differs from the previous data"):
        gate(options=ValidationOptions(severity={"channel": {"drift": "error"}}), previous=OLD)
