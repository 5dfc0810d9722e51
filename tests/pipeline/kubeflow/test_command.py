"""`parlance kubeflow`, as its user sees it: what it prints, what it exits with. The cluster is an API in this process."""

from __future__ import annotations

import json
import types

import pytest

from pipeline import cli
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow import command, run_state
from tests.pipeline.kubeflow.packages import package_text

pytestmark = pytest.mark.usefixtures("no_cluster")

FINE = "  ✓ ExampleGen     3.1 s  train 900, eval 100\n"
BLESSED = "  ✓ Evaluator     2.0 s  accuracy 0.900, blessed\n"
REFUSED = "  ✓ Evaluator     2.0 s  accuracy 0.400, not blessed\nFAIL  accuracy >= 0.5\n"
STOPPED = "  ✗ ExampleGen     3.1 s  The data has no rows\nfailed: The data has no rows\n"


@pytest.fixture
def package(tmp_path) -> str:
    path = tmp_path / "intents.kfp.yaml"
    path.write_text(package_text())
    return str(path)


@pytest.fixture
def parlance(kfp, capsys):
    """Runs a command below `parlance kubeflow`; returns exit code, stdout and stderr."""

    def run(*arguments: str):
        code = cli.main(["kubeflow", *arguments, "--endpoint", kfp.endpoint])
        shown = capsys.readouterr()
        return types.SimpleNamespace(code=code, out=shown.out, err=shown.err)

    return run


@pytest.fixture
def ends(kfp, monkeypatch):
    """Lets the run that is waited for end at the first look, in a way."""

    def ends(state: str, **logs: list[str]):
        def finish(seconds):
            tasks = {
                name.replace("_", "-"): {"state": "FAILED" if "✗" in log[-1] else "SUCCEEDED", "logs": log}
                for name, log in logs.items()
            }
            for run in kfp.runs.values():
                kfp.finish(run.run_id, state, tasks)

        monkeypatch.setattr(command.time, "sleep", finish)

    return ends


class TestSubmit:
    def test_uploads_once_and_says_what_to_do_next(self, parlance, package, kfp):
        first = parlance("submit", package, "--parameter", "data_path=x.csv")
        [run] = kfp.runs.values()
        assert first.code == 0
        assert first.out.splitlines()[0] == f"run {run.run_id}"
        assert "uploaded: version intents-" in first.out
        assert first.out.splitlines()[-1] == f"next: parlance kubeflow logs {run.display_name}"
        assert "already there: version intents-" in parlance("submit", package, "--parameter", "data_path=x.csv").out
        assert (kfp.uploads, len(kfp.runs)) == (1, 2)

    def test_for_machines(self, parlance, package, kfp):
        shown = json.loads(
            parlance("submit", package, "--parameter", "data_path=x", "--parameter", "epochs=3", "--output", "json").out
        )
        assert shown.keys() == {"run_id", "name", "pipeline", "version", "uploaded", "state"}
        assert kfp.runs[shown["run_id"]].runtime_config.parameters == {"data_path": "x", "epochs": 3}

    @pytest.mark.parametrize(
        ("state", "logs", "code", "expected", "reason"),
        [
            ("SUCCEEDED", {"example_gen": [FINE], "evaluator": [BLESSED]}, 0, "succeeded", ""),
            ("SUCCEEDED", {"example_gen": [FINE], "evaluator": [REFUSED]}, 1, "rejected", "FAIL  accuracy >= 0.5"),
            ("FAILED", {"example_gen": [STOPPED]}, 1, "failed", "failed: The data has no rows"),
            ("SUCCEEDED", {"example_gen": [STOPPED, FINE], "evaluator": [BLESSED]}, 0, "succeeded", ""),
            (
                "SUCCEEDED",
                {"example_gen": [FINE], "evaluator": ["Killed"]},
                3,
                "unknown",
                "the log of Evaluator is not to be had",
            ),
            ("CANCELED", {}, 1, "failed", "Kubeflow says CANCELED"),
        ],
        ids=["blessed", "rejected", "failed", "retried", "unknown", "canceled"],
    )
    def test_wait_ends_with_the_outcome(self, parlance, package, ends, state, logs, code, expected, reason):
        ends(state, **logs)
        shown = parlance("submit", package, "--parameter", "data_path=x", "--wait")
        assert shown.code == code
        lines = shown.out.splitlines()
        assert lines[0].startswith("run ")
        assert expected in lines
        assert reason in shown.out
        # A line for each node that has ended, in its own words if it has said any.
        nodes = {"example_gen": "ExampleGen", "evaluator": "Evaluator"}
        expected_lines = [[log[-1].split()[0] if "Killed" not in log else "✓", nodes[task]] for task, log in logs.items()]
        assert [line.split()[:2] for line in lines if line.startswith(("  ✓", "  ✗"))] == expected_lines

    def test_wait_for_machines(self, parlance, package, ends):
        ends("SUCCEEDED", example_gen=[FINE], evaluator=[REFUSED])
        shown = parlance("submit", package, "--parameter", "data_path=x", "--wait", "--output", "json")
        record = json.loads(shown.out)
        assert (shown.code, record["state"]) == (1, "rejected")
        assert record["reasons"] == ["Evaluator:", "FAIL  accuracy >= 0.5"]
        assert [(node["id"], node["state"]) for node in record["nodes"]] == [
            ("ExampleGen", "succeeded"),
            ("Evaluator", "rejected"),
        ]
        assert "✓ ExampleGen" in shown.err

    def test_waiting_has_an_end(self, parlance, package, kfp):
        shown = parlance("submit", package, "--parameter", "data_path=x", "--wait", "--timeout", "0")
        [run] = kfp.runs
        assert shown.code == 3
        assert f"goes on; look with `parlance kubeflow logs {run}`" in shown.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--set", "model.epochs=3"], "is compiled already; use --parameter"),
            (["--parameter", "epochs"], "--parameter takes NAME=VALUE; received 'epochs'"),
            (["--parameter", "spam=1"], "has no runtime parameter 'spam'"),
            ([], "needs a value for data_path"),
        ],
    )
    def test_refuses_before_it_asks_the_cluster(self, parlance, package, kfp, arguments, message):
        shown = parlance("submit", package, *arguments)
        assert shown.code == 2
        assert message in shown.err
        assert not kfp.requests

    def test_a_pipeline_file_is_compiled_and_checked(self, parlance, kfp, monkeypatch, tmp_path):
        monkeypatch.setattr(command, "_compiled", lambda config: package_text(config.name))
        monkeypatch.setattr(command, "_findings", lambda text: [])
        shown = parlance(
            "submit", "--set", "name=tickets", "--parameter", "data_path=x", "--set", "kubeflow.service_account=runner"
        )
        assert shown.code == 0, shown.err
        [run] = kfp.runs.values()
        assert run.service_account == "runner"
        assert [pipeline.name for pipeline in kfp.pipelines.values()] == ["tickets"]

    def test_what_check_refuses_is_not_submitted(self, parlance, kfp, monkeypatch):
        from components.findings import Finding, Severity

        findings = [Finding("names", Severity.ERROR, "not a name", "exec_x"), Finding("image", Severity.WARNING, "no digest")]
        monkeypatch.setattr(command, "_compiled", lambda config: package_text(config.name))
        monkeypatch.setattr(command, "_findings", lambda text: findings)
        shown = parlance("submit")
        assert shown.code == 2
        assert "Kubeflow would not run this:\n  error: exec_x: not a name" in shown.err
        assert "no digest" not in shown.err
        assert not kfp.requests


class TestSchedule:
    @pytest.fixture(autouse=True)
    def compiled(self, monkeypatch):
        monkeypatch.setattr(command, "_compiled", lambda config: package_text(config.name))
        monkeypatch.setattr(command, "_findings", lambda text: [])

    APPLY = ("schedule", "apply", "--set", "schedule.interval=6h", "--set", "schedule.parameters={data_path: x}")

    def test_from_nothing_to_a_run_and_back(self, parlance, kfp):
        assert parlance(*self.APPLY).out.startswith("intents: created  (version intents-")
        assert parlance(*self.APPLY).out.startswith("intents: unchanged")
        assert parlance(*self.APPLY, "--set", "schedule.interval=12h").out.startswith("intents: updated")
        listed = parlance("schedule", "list").out
        assert listed.startswith("intents  on   every 12h")
        assert parlance("schedule", "pause", "intents").out == "intents: off  (every 12h)\n"
        assert parlance("schedule", "list").out.startswith("intents  off")
        assert parlance("schedule", "resume", "intents").out == "intents: on  (every 12h)\n"
        assert parlance("schedule", "trigger", "intents").out.startswith("run ")
        assert parlance("schedule", "delete", "intents").out == "intents: deleted\n"
        assert parlance("schedule", "list").out.startswith("no schedules; ")

    def test_for_machines(self, parlance):
        applied = json.loads(parlance(*self.APPLY, "--output", "json").out)
        assert (applied["schedule"], applied["action"], applied["waiting"]) == ("intents", "created", 0)
        [listed] = json.loads(parlance("schedule", "list", "--output", "json").out)
        assert listed["recurring_run_id"] == applied["recurring_run_id"]
        assert json.loads(parlance("schedule", "pause", "intents", "--output", "json").out)["enabled"] is False
        assert json.loads(parlance("schedule", "trigger", "intents", "--output", "json").out)["run_id"]
        assert json.loads(parlance("schedule", "delete", "intents", "--output", "json").out) == {
            "schedule": "intents",
            "deleted": 1,
        }

    def test_a_file_without_one_is_not_compiled(self, parlance, monkeypatch):
        monkeypatch.setattr(command, "_compiled", lambda config: pytest.fail("compiled"))
        shown = parlance("schedule", "apply")
        assert shown.code == 2
        assert "has no schedule" in shown.err

    def test_of_one_that_is_not_there(self, parlance):
        shown = parlance("schedule", "pause", "tickets")
        assert shown.code == 2
        assert "no schedule 'tickets'; schedules: none yet" in shown.err


class TestRunsAndLogs:
    @pytest.fixture
    def run(self, parlance, package, kfp):
        run_id = json.loads(parlance("submit", package, "--parameter", "data_path=x", "--output", "json").out)["run_id"]
        return kfp.runs[run_id]

    def test_runs(self, parlance, run, kfp):
        kfp.finish(run.run_id, "SUCCEEDED")
        shown = parlance("runs")
        assert shown.out.split()[:2] == [run.run_id, "succeeded"]
        assert shown.out.split()[-1] == run.display_name
        [entry] = json.loads(parlance("runs", "--output", "json").out)
        assert (entry["state"], entry["schedule"]) == ("succeeded", None)
        assert parlance("runs", "--limit", "0").code == 2

    def test_no_runs(self, parlance):
        assert parlance("runs").out == "no runs; `parlance kubeflow submit FILE` starts one\n"

    def test_how_a_run_is_doing(self, parlance, run, kfp):
        kfp.finish(run.run_id, "RUNNING", {"example-gen": {"logs": [FINE]}})
        lines = parlance("logs", "latest").out.splitlines()
        assert lines[0].endswith("running")
        assert lines[1:] == ["  ✓ ExampleGen 3.1 s  train 900, eval 100", "  · Evaluator  waiting"]
        record = json.loads(parlance("logs", "latest", "--output", "json").out)
        assert [node["state"] for node in record["nodes"]] == ["succeeded", run_state.WAITING]

    @pytest.mark.parametrize("node", ["ExampleGen", "example-gen"])
    def test_the_log_of_a_node_with_every_attempt(self, parlance, run, kfp, node):
        kfp.finish(run.run_id, "SUCCEEDED", {"example-gen": {"logs": ["first\n", "second\n"]}})
        shown = parlance("logs", run.display_name, node)
        assert shown.code == 0
        assert [line for line in shown.out.splitlines() if not line.startswith("---")] == ["first", "second"]
        assert shown.out.count("--- attempt") == 2

    def test_a_log_that_is_gone(self, parlance, run, kfp, monkeypatch):
        monkeypatch.setattr(client_module, "_LOG_ATTEMPTS", 1)
        kfp.finish(run.run_id, "SUCCEEDED", {"example-gen": {"logs": ["text"]}})
        kfp.logs.clear()
        shown = parlance("logs", "latest", "ExampleGen")
        assert shown.code == 3
        assert "kubectl logs" in shown.err

    def test_names_the_nodes_there_are(self, parlance, run):
        shown = parlance("logs", "latest", "Trainer")
        assert shown.code == 2
        assert "has no node 'Trainer'; nodes: ExampleGen, Evaluator" in shown.err


@pytest.mark.tensorflow
def test_compile_and_check_in_a_process_of_their_own(tmp_path):
    """The whole way of a user without a cluster, with the intents pipeline that ships with Parlance."""
    from tests.conftest import parlance

    package = tmp_path / "folder" / "intents.yaml"
    shown = parlance("kubeflow", "compile", "-o", package, "--set", f"kubeflow.image=registry/parlance@sha256:{'0' * 64}")
    assert shown.returncode == 0, shown.stderr
    assert package.stat().st_size < 100_000
    assert "next: parlance kubeflow check" in shown.stdout
    assert not shown.stderr
    checked = parlance("kubeflow", "check", package, "--output", "json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(checked.stdout) == []
