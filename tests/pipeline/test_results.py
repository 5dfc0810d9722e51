"""What notebooks read of a finished run."""

import os

import pytest
import yaml
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.errors import UsageError
from pipeline import records, results

State = metadata_store_pb2.Execution


class Root:
    """A root with metadata as TFX writes it: contexts of the types pipeline_run and node, executions, output events."""

    def __init__(self, path):
        self.path = path
        connection = metadata_store_pb2.ConnectionConfig()
        connection.sqlite.filename_uri = str(path / "metadata.db")
        self.store = metadata_store.MetadataStore(connection)
        self.run_type, self.node_type = (
            self.store.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in ("pipeline_run", "node")
        )
        self.execution_type = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Some"))
        self.artifact_type = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Any"))

    def artifact(self, name):
        folder = self.path / name
        folder.mkdir()
        artifact = metadata_store_pb2.Artifact(type_id=self.artifact_type, uri=str(folder))
        return self.store.put_artifacts([artifact])[0]

    def run(self, run_id, nodes, order=0):
        """`nodes` maps a node to (state in the record, state in metadata, {channel: artifact id})."""
        folder = self.path / "runs" / run_id
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({"name": "intents"}))
        entries = [{"id": node, "state": state} for node, (state, *_) in nodes.items() if state]
        records.write(folder, {"run_id": run_id, "state": "succeeded", "nodes": entries})
        os.utime(folder / records.FILE_NAME, (order, order))
        run = metadata_store_pb2.Context(type_id=self.run_type, name=run_id)
        for node, (_, state, outputs) in nodes.items():
            known = self.store.get_context_by_type_and_name("node", f"intents.{node}")
            context = known or metadata_store_pb2.Context(type_id=self.node_type, name=f"intents.{node}")
            execution = metadata_store_pb2.Execution(type_id=self.execution_type, last_known_state=state)
            execution_id, _, [run_context, _] = self.store.put_execution(execution, [], [run, context])
            run = self.store.get_contexts_by_id([run_context])[0]
            events = []
            for channel, artifact_id in outputs.items():
                event = metadata_store_pb2.Event(
                    execution_id=execution_id, artifact_id=artifact_id, type=metadata_store_pb2.Event.OUTPUT
                )
                event.path.steps.add().key = channel
                event.path.steps.add().index = 0
                events.append(event)
            if events:
                self.store.put_events(events)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def test_the_newest_run_in_which_the_node_finished(root):
    root.run("intents-1", {"Evaluator": ("complete", State.COMPLETE, {"evaluation": root.artifact("one")})}, order=1)
    root.run("intents-2", {"Evaluator": ("failed", State.FAILED, {})}, order=2)
    found = results.latest("Evaluator", root.path)
    assert found.record["run_id"] == "intents-1"
    assert found.config == {"name": "intents"}
    assert found.folder("Evaluator", "evaluation") == root.path / "one"


def test_a_cached_node_points_to_the_run_that_made_its_output(root):
    made = root.artifact("made")
    root.run("intents-1", {"Evaluator": ("complete", State.COMPLETE, {"evaluation": made})}, order=1)
    root.run("intents-2", {"Evaluator": ("cached", State.CACHED, {"evaluation": made})}, order=2)
    found = results.latest("Evaluator", root.path)
    assert found.record["run_id"] == "intents-2"
    assert found.folder("Evaluator", "evaluation") == root.path / "made"


def test_a_run_that_began_in_the_middle_has_the_outputs_it_took_over(root):
    nodes = {
        "ExampleGen": (None, State.CACHED, {"examples": root.artifact("examples")}),
        "Evaluator": ("complete", State.COMPLETE, {"evaluation": root.artifact("evaluation")}),
    }
    root.run("intents-1", nodes)
    assert results.latest("Evaluator", root.path).folder("ExampleGen", "examples") == root.path / "examples"


def test_json_of_an_output(root):
    root.run("intents-1", {"DataGate": ("complete", State.COMPLETE, {"verdict": root.artifact("gate")})})
    found = results.latest("DataGate", root.path)
    assert found.json("DataGate", "verdict", "findings.json") is None
    (root.path / "gate" / "findings.json").write_text('[{"check": "quarantine"}]')
    assert found.json("DataGate", "verdict", "findings.json") == [{"check": "quarantine"}]
    assert found.data_findings() == [{"check": "quarantine"}]


def test_findings_of_a_run_that_the_data_gate_stopped_are_in_its_record(root):
    nodes = {"ExampleValidator": ("complete", State.COMPLETE, {}), "DataGate": ("failed", State.FAILED, {})}
    root.run("intents-1", nodes)
    found = results.latest("ExampleValidator", root.path)
    assert found.data_findings() == []
    records.write(
        root.path / "runs" / "intents-1", {**found.record, "verdict": {"blessed": False, "findings": [{"check": "anomaly"}]}}
    )
    assert results.latest("ExampleValidator", root.path).data_findings() == [{"check": "anomaly"}]


def test_runs_that_looked_at_a_servers_log_are_no_data_of_the_pipeline(root):
    for number, source in enumerate(("csv", "prediction_log"), 1):
        made = root.artifact(f"examples-{number}")
        root.run(f"intents-{number}", {"ExampleGen": ("complete", State.COMPLETE, {"examples": made})}, order=number)
        folder = root.path / "runs" / f"intents-{number}"
        (folder / "config.yaml").write_text(yaml.safe_dump({"name": "intents", "data": {"source": {"type": source}}}))
        records.write(folder, {**records.Records(root.path).one(f"intents-{number}"), "pipeline": "intents"})
    assert [found.record["run_id"] for found in results.every("ExampleGen", root.path, "intents")] == ["intents-1"]


class TestErrors:
    def test_no_run_got_so_far(self, root):
        with pytest.raises(UsageError, match=r"No run in .* got as far as Evaluator\. `parlance run` makes one; PARLANCE_ROOT"):
            results.latest("Evaluator", root.path)

    def test_an_output_the_run_does_not_have_lists_those_it_has(self, root):
        root.run("intents-1", {"Evaluator": ("complete", State.COMPLETE, {"evaluation": root.artifact("one")})})
        with pytest.raises(UsageError, match="no output Trainer/model. Its outputs: Evaluator/evaluation"):
            results.latest("Evaluator", root.path).folder("Trainer", "model")

    def test_a_removed_output(self, root):
        root.run("intents-1", {"Evaluator": ("complete", State.COMPLETE, {"evaluation": root.artifact("one")})})
        (root.path / "one").rmdir()
        with pytest.raises(UsageError, match="is no longer in .*one; run again"):
            results.latest("Evaluator", root.path).folder("Evaluator", "evaluation")

    def test_a_root_without_metadata(self, root):
        root.run("intents-1", {"Evaluator": ("complete", State.COMPLETE, {})})
        (root.path / "metadata.db").unlink()
        with pytest.raises(UsageError, match=r"metadata\.db is missing"):
            results.latest("Evaluator", root.path)


def test_the_default_root_is_the_one_named_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(results.ROOT_VARIABLE, str(tmp_path))
    assert results.default_root() == tmp_path
    monkeypatch.delenv(results.ROOT_VARIABLE)
    assert results.default_root().name == ".parlance"
