"""The data gate as a node: what it reads, what it leaves, when it stops a run."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from components.errors import GateError, UsageError
from components.evaluation.options import EvaluationOptions
from components.ingestion.text_statistics import TextStatistics
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

    def run(source="csv", options=None, own=None, earlier=None, evaluation=EVALUATION, **known):
        examples, anomalies, schema = folder("examples"), folder("anomalies") / "Split-train", folder("schema")
        (examples / "summary.json").write_text(json.dumps(SUMMARY))
        anomalies.mkdir()
        (anomalies / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies().SerializeToString())
        (schema / schema_file.FILE_NAME).write_text(SCHEMA)
        inputs = {
            "examples": artifact(standard_artifacts.Examples, examples) if own is None else [own],
            "statistics": statistics("own", MOVED),
            "anomalies": artifact(standard_artifacts.ExampleAnomalies, anomalies.parent),
            "schema": artifact(standard_artifacts.Schema, schema),
            **{key: statistics(key, dataset) for key, dataset in known.items()},
            **(earlier or {}),
        }
        data = {"source": {"type": source, "path": "t"}, "label": "intent"}
        properties = {
            "options": (options or ValidationOptions()).model_dump_json(),
            "evaluation": EvaluationOptions.model_validate(evaluation).model_dump_json(),
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


OF_A_CLASS = {"gates": [{"metric": "recall", "class": "refund", "min": 0.8}]}


def test_a_gate_of_a_class_that_is_not_there_stops_a_run(gate):
    with pytest.raises(UsageError, match="refund"):
        gate(evaluation=OF_A_CLASS)


def test_a_servers_log_need_not_have_the_classes_of_the_gates(gate):
    assert len(compared(gate("prediction_log", training=OLD, evaluation=OF_A_CLASS))) == 1


def test_drift_stops_a_run_where_the_pipeline_file_says_so(gate):
    with pytest.raises(GateError, match="Column 'channel' differs from the previous data"):
        gate(options=ValidationOptions(severity={"channel": {"drift": "error"}}), previous=OLD)


class TestEarlierExamples:
    """What ingestion said of earlier data, in artifacts of its own."""

    @pytest.fixture
    def examples(self, tmp_path):
        """Makes an artifact of examples with a summary of so many rows, and texts of one kind."""
        from tfx.types import standard_artifacts

        def make(number, rows, word="lamp"):
            counted = TextStatistics(["text"])
            texts = pa.RecordBatch.from_pydict({"text": [f"{word} {word}" for _ in range(rows)]})
            counted.add(np.arange(rows) % 2 * 2, texts)
            folder = tmp_path / f"examples{number}"
            folder.mkdir()
            counted.write(folder)
            split = {"train": rows, "eval": 0, "test": 0, "quarantined": 0}
            told = {**SUMMARY, "rows": split, "texts": counted.report(), "missing": {}}
            (folder / "summary.json").write_text(json.dumps(told))
            made = standard_artifacts.Examples()
            made.uri, made.id = str(folder), number
            return made

        return make

    @pytest.fixture
    def run(self, gate, examples):
        """Runs the gate on 300 rows of texts about a lamp, with earlier examples; returns the subjects and checks of its warnings."""

        def run_gate(earlier, own="lamp", **known):
            verdict = gate(own=examples(99, 300, own), earlier=earlier, **known)
            found = json.loads((verdict / "findings.json").read_text())
            return [(one["check"], one["subject"]) for one in found if one["severity"] == "warning"]

        return run_gate

    def test_texts_are_compared_with_those_of_the_previous_data(self, run, examples):
        found = run({"previous_examples": [examples(1, 300, "bulb")]}, previous=MOVED)
        assert found == [("drift: words that the other data does not have", "text")]

    def test_the_same_texts_do_not_differ(self, run, examples):
        assert run({"previous_examples": [examples(1, 300)]}, previous=MOVED) == []

    def test_a_run_out_of_line_with_those_before_is_warned_of(self, run, examples):
        history = [examples(number, 3000) for number in range(1, 6)]
        assert run({"history": history}) == [("monitoring: number of rows", "rows")]

    def test_a_log_is_in_line_with_logs_and_not_with_data_to_train_on(self, run, examples):
        history = [examples(number, 3000) for number in range(1, 5)]
        assert run({"history": history, "training_examples": [examples(5, 3000)]}, source="prediction_log") == []

    def test_data_that_is_newer_than_the_runs_is_no_history(self, run, examples):
        newer = [examples(number, 3000) for number in range(100, 106)]
        assert run({"history": newer}) == []

    def test_data_whose_folder_is_gone_is_no_history(self, run, examples):
        history = [examples(number, 3000) for number in range(1, 6)]
        (pathlib.Path(history[0].uri) / "summary.json").unlink()
        assert run({"history": history}) == []
