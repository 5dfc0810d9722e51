"""A run of small pipelines: what runs at once, what a failure stops, and what is kept of it."""

import json
import os
import signal
import threading
import time

import pytest

from components.errors import EnvironmentFailure
from pipeline import config
from tests.pipeline.local.processes import gone

pytestmark = pytest.mark.tensorflow  # the launcher's modules, imported in a process that also runs TensorFlow tests

CONFIG = config.PipelineConfig.model_validate(
    {
        "name": "small",
        "data": {"source": {"type": "csv", "path": "t.csv"}, "text": "text", "label": "queue"},
        "schema": "schema.pbtxt",
        "evaluation": {"gates": [{"metric": "accuracy", "min": 0.5}]},
    }
)


def compiled(root, connection, cache, nodes, folder):
    """A pipeline of nodes, given as id: (executor, ids it waits for)."""
    from tfx.dsl.compiler import compiler
    from tfx.dsl.components.base import base_component
    from tfx.orchestration import pipeline as tfx_pipeline
    from tfx.types.component_spec import ComponentSpec, ExecutionParameter

    from components.executor_path import ExecutorPath

    class Spec(ComponentSpec):
        PARAMETERS = {"folder": ExecutionParameter(type=str)}
        INPUTS = {}
        OUTPUTS = {}

    made = {}
    for node_id, (executor, upstream) in nodes.items():

        class Node(base_component.BaseComponent):
            SPEC_CLASS = Spec
            EXECUTOR_SPEC = ExecutorPath(f"tests.pipeline.local.misbehaving.{executor}", lean=True)

        made[node_id] = Node(Spec(folder=str(folder))).with_id(node_id)
        for other in upstream:
            made[node_id].add_upstream_node(made[other])
    return compiler.Compiler().compile(
        tfx_pipeline.Pipeline(
            "small", str(root), components=list(made.values()), metadata_connection_config=connection, enable_cache=cache
        )
    )


class Told:
    """Keeps what a listener hears."""

    def __init__(self, then=lambda node_id: None):
        self.heard = []
        self.then = then

    def run_started(self, run_id, nodes):
        self.heard.append(("run", tuple(nodes)))

    def node_started(self, node_id):
        self.heard.append(("started", node_id))
        self.then(node_id)

    def node_ended(self, node):
        self.heard.append((node["state"], node["id"]))


@pytest.fixture
def run(tmp_path, monkeypatch):
    from pipeline import dag
    from pipeline.local import fork_server, runner
    from pipeline.local.root import Root

    # None of these nodes needs TensorFlow, which a pipeline of a new root always does.
    monkeypatch.setattr(fork_server.Servers, "start", lambda self: None)

    def run_nodes(nodes, listener=None, **options):
        monkeypatch.setattr(
            dag, "compile_pipeline", lambda _, root, connection, cache: compiled(root, connection, cache, nodes, tmp_path)
        )
        return runner.run(CONFIG, Root(tmp_path / "root"), listener or Told(), **options)

    return run_nodes


def states(record):
    return {node["id"]: node["state"] for node in record["nodes"]}


def test_nodes_that_do_not_wait_for_each_other_run_at_once(run):
    record = run({"A": ("Fine", []), "B": ("Meets", ["A"]), "C": ("Meets", ["A"]), "D": ("Fine", ["B", "C"])})
    assert states(record) == dict.fromkeys("ABCD", "complete")
    assert list(states(record)) == ["A", "B", "C", "D"]


def test_a_failure_stops_what_waits_for_it_and_nothing_else(run):
    listener = Told()
    left, right = (
        {"B": ("Broken", ["A"]), "D": ("Fine", ["B"]), "F": ("Fine", ["D"])},
        {"C": ("Fine", ["A"]), "E": ("Fine", ["C"])},
    )
    nodes = dict(sorted({"A": ("Fine", []), **left, **right}.items()))
    record = run(nodes, listener)
    assert states(record) == {"A": "complete", "B": "failed", "C": "complete", "D": "skipped", "E": "complete", "F": "skipped"}
    assert {node["id"]: node["reason"] for node in record["nodes"] if "reason" in node} == {"D": "needs B", "F": "needs B"}
    assert record["state"] == "failed"
    assert "KeyError" in record["error"]
    started = [node_id for what, node_id in listener.heard if what == "started"]
    assert sorted(started) == ["A", "B", "C", "E"]


def test_of_two_failures_the_first_in_the_pipelines_order_is_the_runs(run):
    record = run({"A": ("DiskFull", []), "B": ("Broken", [])})
    assert states(record) == {"A": "failed", "B": "failed"}
    assert "disk is full" in record["error"]


class TestAGateThatSaysNo:
    NODES = {"Gate": ("SaysNoMeanwhile", []), "Beside": ("Works", []), "Trained": ("Fine", ["Gate", "Beside"])}

    def test_lets_what_runs_beside_it_finish_and_be_of_use(self, run, tmp_path):
        from tfx.orchestration import metadata

        from pipeline.local.root import Root

        record = run(self.NODES)
        assert states(record) == {"Gate": "failed", "Beside": "complete", "Trained": "skipped"}
        assert (record["state"], record["exit_code"], record["error"]) == ("rejected", 1, "too many rows were set aside")
        with metadata.Metadata(Root(tmp_path / "root").metadata_config()) as connection:
            found = connection.store.get_executions()
        assert sorted(one.last_known_state for one in found) == [found[0].COMPLETE, found[0].FAILED]
        again = run({**self.NODES, "Gate": ("Fine", [])})
        assert states(again) == {"Gate": "complete", "Beside": "cached", "Trained": "complete"}

    def test_is_asked_again_by_a_run_from_it_and_not_got_round_by_one_from_behind_it(self, run):
        run(self.NODES)
        behind = run(self.NODES, from_node="Trained")
        assert (states(behind), behind["exit_code"]) == ({}, 2)
        assert "no earlier run" in behind["error"]
        run(self.NODES)
        assert states(run({**self.NODES, "Gate": ("Fine", [])}, from_node="Gate")) == {"Gate": "complete", "Trained": "complete"}


def test_a_killed_worker_fails_its_node_and_the_next_run_carries_on(run):
    nodes = {"A": ("Fine", []), "B": ("Killed", ["A"])}
    record = run(nodes)
    assert states(record) == {"A": "complete", "B": "failed"}
    assert record["exit_code"] == EnvironmentFailure.exit_code
    assert "SIGKILL" in record["error"]
    again = run({**nodes, "B": ("Fine", ["A"])})
    assert states(again) == {"A": "cached", "B": "complete"}


def test_what_is_cached_starts_no_process(run, monkeypatch):
    from pipeline.local import fork_server

    nodes = {"A": ("Fine", []), "B": ("Fine", ["A"])}
    run(nodes)
    monkeypatch.setattr(fork_server.ForkServer, "_start", lambda self: pytest.fail("a process was started"))
    assert set(states(run(nodes)).values()) == {"cached"}


def test_a_new_root_needs_both_servers_from_the_first_moment(run, monkeypatch):
    from pipeline.local import fork_server

    started = []
    monkeypatch.setattr(fork_server.Servers, "start", lambda self: started.append(self))
    run({"A": ("Fine", [])})
    assert len(started) == 1
    run({"A": ("Fine", [])})
    run({"A": ("Fine", [])}, to_node="A", cache=False)
    assert len(started) == 1
    run({"A": ("Fine", [])}, cache=False)
    assert len(started) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_runs_and_leaves_nothing_open(run, tmp_path, number):
    from tfx.orchestration import metadata

    from pipeline.local.root import Root

    def interrupt():
        until = time.monotonic() + 30
        while not (tmp_path / "began").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    record = run({"A": ("Sleeps", []), "B": ("Fine", ["A"])})
    assert states(record) == {"A": "failed", "B": "skipped"}
    assert record["exit_code"] == 130
    assert json.loads((tmp_path / "root" / "runs" / record["run_id"] / "run.json").read_text())["error"].startswith("Interrupted")
    with metadata.Metadata(Root(tmp_path / "root").metadata_config()) as connection:
        [execution] = connection.store.get_executions()
    assert execution.last_known_state == execution.FAILED
    assert gone(int((tmp_path / "began").read_text()))
