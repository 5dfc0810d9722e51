"""A Kubeflow Pipelines that really runs, wherever it is. Skipped unless the environment says where:

    PARLANCE_KFP_ENDPOINT=http://localhost:8888 PARLANCE_KFP_IMAGE=registry/parlance@sha256:... \\
        .venv/bin/python -m pytest tests/e2e

PARLANCE_KFP_NAMESPACE, PARLANCE_KFP_TOKEN_FILE and PARLANCE_KFP_CA_FILE are those of the command line. PARLANCE_KFP_SETTINGS holds more
settings for the pipeline file, one a line, e.g. `kubeflow.service_account=parlance-run`; PARLANCE_KFP_TIMEOUT is how many seconds a run
may take (default 3600). What pipeline/kubeflow/deploy installs has to be there. Everything made here has a name of its own and is
deleted again, but for the pipeline, its versions and its runs.
"""

from __future__ import annotations

import json
import os
import secrets

import pytest

from tests.conftest import SMALL_INTENTS, parlance

ENDPOINT, IMAGE = os.environ.get("PARLANCE_KFP_ENDPOINT"), os.environ.get("PARLANCE_KFP_IMAGE")
TIMEOUT = int(os.environ.get("PARLANCE_KFP_TIMEOUT", "3600"))
NODES = {
    "SchemaImport", "ExampleGen", "StatisticsGen", "ExampleValidator", "BaselineStatistics", "DataGate", "Transform", "Trainer",
    "LatestBlessedModel", "Evaluator", "InfraValidator", "Pusher",
}  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not ENDPOINT or not IMAGE, reason="names no cluster: PARLANCE_KFP_ENDPOINT, PARLANCE_KFP_IMAGE"),
    pytest.mark.timeout(2 * TIMEOUT + 600),
]


def kubeflow(*arguments: str, expected: int = 0):
    """Runs `parlance kubeflow`; returns what it says as JSON."""
    shown = parlance("kubeflow", *arguments, "--output", "json")
    assert shown.returncode == expected, shown.stdout + shown.stderr
    return json.loads(shown.stdout)


@pytest.fixture(scope="module")
def settings() -> list[str]:
    """The small intents pipeline under a name that nobody else has."""
    own = [f"name=e2e-{secrets.token_hex(4)}", f"kubeflow.image={IMAGE}", *SMALL_INTENTS]
    more = os.environ.get("PARLANCE_KFP_SETTINGS", "").splitlines()
    return [word for setting in (*own, *filter(None, more)) for word in ("--set", setting)]


@pytest.fixture(scope="module")
def first(settings):
    """The first run, which finds nothing in the cache and no baseline."""
    return kubeflow("submit", *settings, "--wait", "--timeout", str(TIMEOUT))


class TestRuns:
    def test_every_node_runs_and_the_model_is_pushed(self, first):
        assert first["state"] == "succeeded", first["reasons"]
        assert {node["id"] for node in first["nodes"]} == NODES
        assert {node["state"] for node in first["nodes"]} == {"succeeded"}
        notes = {node["id"]: node["note"] for node in first["nodes"]}
        assert "train " in notes["ExampleGen"]
        assert "accuracy " in notes["Evaluator"]
        assert "version " in notes["Pusher"]

    def test_again_is_the_same_version_and_comes_from_the_cache(self, first, settings):
        again = kubeflow("submit", *settings, "--wait", "--timeout", str(TIMEOUT))
        assert (again["state"], again["uploaded"], again["version"]) == ("succeeded", False, first["version"])
        notes = {node["id"]: node["note"] for node in again["nodes"]}
        for node in ("ExampleGen", "StatisticsGen", "Transform", "Trainer"):
            assert "cached" in notes[node], notes[node]

    def test_a_gate_that_nothing_passes_rejects_the_run(self, first, settings):
        gate = "evaluation.gates=[{metric: accuracy, min: 1.0}]"
        rejected = kubeflow("submit", *settings, "--set", gate, "--wait", "--timeout", str(TIMEOUT), expected=1)
        assert rejected["state"] == "rejected"
        assert rejected["reasons"]

    def test_logs_of_a_node(self, first):
        log = kubeflow("logs", first["run_id"], "Evaluator")
        assert log["state"] == "succeeded"
        assert "Evaluator" in log["attempts"][-1]["log"]

    def test_it_is_listed(self, first):
        assert first["run_id"] in {run["run_id"] for run in kubeflow("runs", "--limit", "100")}


class TestSchedules:
    def test_apply_twice_change_trigger_pause_delete(self, first, settings):
        yearly = ["--set", "schedule.cron=0 0 0 1 1 *"]
        try:
            created = kubeflow("schedule", "apply", *settings, *yearly)
            assert created["action"] == "created"
            name = created["schedule"]
            assert kubeflow("schedule", "apply", *settings, *yearly)["action"] == "unchanged"
            changed = kubeflow("schedule", "apply", *settings, "--set", "schedule.cron=0 0 0 1 7 *")
            assert changed["action"] == "updated"
            of_this_name = [entry for entry in kubeflow("schedule", "list") if entry["name"] == name]
            assert [(entry["recurring_run_id"], entry["enabled"]) for entry in of_this_name] == [
                (changed["recurring_run_id"], True)
            ]
            assert kubeflow("schedule", "pause", name)["enabled"] is False
            assert kubeflow("schedule", "resume", name)["enabled"] is True
            assert kubeflow("schedule", "trigger", name)["run_id"]
        finally:
            kubeflow("schedule", "delete", first["pipeline"], "--force")
