"""One real run, looked at from every side a user looks from."""

import json
import pathlib
import re

import pytest

from components.release import push
from tests.conftest import parlance, run_arguments

pytestmark = pytest.mark.end_to_end

NODES = [
    "SchemaImport", "ExampleGen", "StatisticsGen", "BaselineStatistics", "ExampleValidator", "DataGate",
    "Transform", "Trainer", "LatestBlessedModel", "Evaluator", "InfraValidator", "Pusher",
]  # fmt: skip
# They look every time: what they find is what decides about the cache of others.
RESOLVERS = {"BaselineStatistics", "LatestBlessedModel"}


def states(record):
    return {node["id"]: node["state"] for node in record["nodes"]}


class TestRecord:
    def test_every_node_completed_in_order(self, shared_run):
        assert [node["id"] for node in shared_run.record["nodes"]] == NODES
        assert set(states(shared_run.record).values()) == {"complete"}

    def test_holds_what_scripts_read(self, shared_run):
        record = shared_run.record
        assert record["state"] == "succeeded"
        assert sum(record["rows"].values()) == 4000
        assert record["rows"]["quarantined"] == 0
        assert record["metrics"]["accuracy"] > record["majority_metrics"]["accuracy"] + 0.2
        assert record["baseline_metrics"] is None
        assert record["verdict"]["blessed"]

    def test_is_kept_in_the_runs_folder(self, shared_run):
        shown = parlance("show", "latest", "--root", shared_run.root, "--output", "json")
        assert json.loads(shown.stdout) == shared_run.record

    def test_progress_begins_with_the_run_id_and_has_a_line_per_node(self, shared_run):
        lines = shared_run.progress.splitlines()
        assert shared_run.record["run_id"] in lines[0]
        ended = [line.split()[1] for line in lines[1 : 1 + len(NODES)]]
        # Transform runs beside the checks of the data.
        assert [node for node in ended if node != "Transform"] == [node for node in NODES if node != "Transform"]
        assert ended.index("ExampleGen") < ended.index("Transform") < ended.index("Trainer")

    def test_tensorflows_noise_is_in_the_log_alone(self, shared_run):
        assert "tensorflow" not in shared_run.progress.lower()
        assert "Execution" in (shared_run.root / "runs" / shared_run.record["run_id"] / "run.log").read_text()

    def test_first_run_says_there_is_no_baseline(self, shared_run):
        assert any("baseline" in finding["message"] for finding in shared_run.record["verdict"]["findings"])


class TestSmokeTest:
    def test_a_server_gave_real_rows_the_scores_that_were_evaluated(self, shared_run):
        result = shared_run.record["smoke_test"]
        assert (result["state"], result["rows"]) == ("passed", 64)
        assert result["max_score_difference"] <= 1e-5
        assert {"grpc", "rest"} == result["latency_ms"].keys()
        assert all(finding in shared_run.record["verdict"]["findings"] for finding in result["findings"])

    def test_is_on_the_line_of_its_node_and_in_the_conclusion(self, shared_run):
        line = next(line for line in shared_run.progress.splitlines() if "InfraValidator" in line)
        assert "smoke test passed: 64 rows by gRPC and REST, scores within" in line
        shown = parlance("show", "latest", "--root", shared_run.root)
        assert "\nsmoke test passed: 64 rows by gRPC and REST" in shown.stdout

    def test_its_sample_of_messages_is_not_released(self, shared_run):
        evaluation = shared_run.output("Evaluator", "evaluation")
        assert (evaluation / "scored_sample.tfrecord").is_file()
        assert not list(pathlib.Path(shared_run.record["pushed"]["path"]).rglob("scored_sample*"))


class TestSplits:
    def test_groups_split_near_the_shares_asked_for(self, shared_run):
        rows = shared_run.record["rows"]
        assert 0.05 < rows["eval"] / 4000 < 0.16
        assert 0.05 < rows["test"] / 4000 < 0.16


class TestReport:
    def test_is_one_self_contained_file(self, shared_run):
        page = pathlib.Path(shared_run.record["report"]).read_text(encoding="utf-8")
        assert len(page) < 2_000_000
        for outside in ('src="http', 'href="http', "url(http", "@import"):
            assert outside not in page
        for expected in ("HassTurnOn", "language", shared_run.record["run_id"]):
            assert expected in page


class TestPushed:
    def test_the_version_is_complete_and_verifies(self, shared_run):
        pushed = shared_run.record["pushed"]
        assert pushed["model"] == "intents"
        assert push.verify(pushed["path"]) == []
        manifest = json.loads((pathlib.Path(pushed["path"]) / push.MANIFEST).read_text())
        assert manifest["run"] == shared_run.record["run_id"]
        assert manifest["config_sha256"] == shared_run.record["config_sha256"]

    def test_nothing_but_versions_is_visible(self, shared_run):
        visible = [path.name for path in (shared_run.root / "serving" / "intents").iterdir() if not path.name.startswith(".")]
        assert visible == [shared_run.record["pushed"]["version"]]


class TestRerun:
    """Further runs in the shared root: they add runs, and change nothing of the first."""

    def test_unchanged_is_all_cached(self, shared_run):
        shown = parlance(*run_arguments(shared_run.root, "--output", "json"))
        record = json.loads(shown.stdout)
        cached = {node for node, state in states(record).items() if state == "cached"}
        assert cached == set(NODES) - RESOLVERS
        assert record["state"] == "succeeded"

    def test_one_changed_setting_reruns_only_what_depends_on_it(self, shared_run):
        shown = parlance(*run_arguments(shared_run.root, "--output", "json", "--set", "evaluation.top_k=2", "--to", "Evaluator"))
        record = json.loads(shown.stdout)
        assert {node for node, state in states(record).items() if state == "complete"} - RESOLVERS == {
            "DataGate",
            "Evaluator",
        }

    def test_a_gate_that_says_no_is_exit_code_1_and_pushes_nothing(self, shared_run):
        impossible = "evaluation.gates=[{metric: accuracy, min: 0.999}]"
        shown = parlance(*run_arguments(shared_run.root, "--output", "json", "--set", impossible))
        record = json.loads(shown.stdout)
        assert shown.returncode == 1
        assert record["state"] == "rejected"
        assert record["pushed"] is None
        assert record["smoke_test"]["state"] == "skipped"
        assert any(f["severity"] == "error" and "0.999" in f["message"] for f in record["verdict"]["findings"])
        assert parlance("gate", record["run_id"], "--root", shared_run.root).returncode == 1

    def test_a_smoke_test_that_fails_is_exit_code_1_and_pushes_nothing(self, shared_run):
        tight = "release.smoke_test.max_memory_mib=50"
        shown = parlance(*run_arguments(shared_run.root, "--output", "json", "--set", tight))
        record = json.loads(shown.stdout)
        assert shown.returncode == 1
        assert (record["state"], record["verdict"]["blessed"], record["pushed"]) == ("rejected", False, None)
        assert [f["rule"] for f in record["verdict"]["findings"] if f["severity"] == "error"] == [
            "smoke test: memory of the server"
        ]
        assert set(states(record).values()) == {"cached", "complete"}
        gate = parlance("gate", record["run_id"], "--root", shared_run.root)
        assert gate.returncode == 1
        assert re.search("^FAIL +smoke test: memory of the server", gate.stdout, re.MULTILINE)
