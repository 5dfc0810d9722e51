"""The orchestrator that the sync test relies on. Where another version of the SDK has other insides, this says so first."""

import inspect
import json
import subprocess
import sys

import pytest

kfp = pytest.importorskip("kfp", reason="needs the extra `kubeflow`")

from kfp import compiler, dsl  # noqa: E402
from kfp.local import (  # noqa: E402
    pipeline_orchestrator,
    subprocess_task_handler,
    task_dispatcher,
    task_handler_interface,
)

from tests.conftest import PROJECT  # noqa: E402

WRITES = (
    "import json, os, sys; out = json.loads(sys.argv[1])['outputs']; os.makedirs(os.path.dirname(out['outputFile'])); "
    "open(out['artifacts']['metrics']['artifacts'][0]['uri'], 'w').close(); "
    "json.dump({'artifacts': out['artifacts']}, open(out['outputFile'], 'w')); print(sys.argv)"
)


def test_the_hook_is_where_it_was():
    assert kfp.__version__ == "2.16.1"
    assert "subprocess_task_handler.SubprocessTaskHandler" in inspect.getsource(task_dispatcher.run_single_task_implementation)
    handler = inspect.signature(subprocess_task_handler.SubprocessTaskHandler.__init__)
    assert list(handler.parameters)[1:] == ["image", "full_command", "pipeline_root", "runner"]
    assert task_handler_interface.ITaskHandler.__abstractmethods__ == {"run"}
    told = inspect.signature(pipeline_orchestrator.log_and_maybe_raise_for_failure)
    assert set(told.parameters) == {"pipeline_name", "raise_on_error", "fail_stack"}


@dsl.container_component
def work(run_id: str, code: str, metrics: dsl.Output[dsl.Metrics]):
    return dsl.ContainerSpec(
        image="none",
        command=["python", "-c", WRITES],
        args=["{{$}}", "--run-id", run_id, "--code", code],
    )


@dsl.container_component
def announce(run_id: str, status: dsl.PipelineTaskFinalStatus):
    return dsl.ContainerSpec(
        image="none", command=["python", "-c", "import sys; print(sys.argv)"], args=["--run-id", run_id, "--status", status]
    )


@dsl.container_component
def fail(run_id: str):
    return dsl.ContainerSpec(image="none", command=["python", "-c", "raise SystemExit(7)"], args=["--run-id", run_id])


@dsl.pipeline(name="good")
def good(code: str = "blue"):
    with dsl.ExitHandler(announce(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)):
        work(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, code=code)


@dsl.pipeline(name="bad")
def bad():
    with dsl.ExitHandler(announce(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)):
        first = fail(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        work(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, code="x").after(first)


def orchestrate(pipeline, folder, *more):
    compiler.Compiler().compile(pipeline, str(folder / "package.yaml"))
    command = [sys.executable, "-m", "tests.pipeline.kubeflow.kfp_local", folder / "package.yaml", folder / "result.json", *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text())


def said(task):
    with open(task["attempts"][-1]["log"], encoding="utf-8") as log:
        return log.read()


def test_a_package_runs_as_processes_and_its_exit_task_after_them(tmp_path):
    result = orchestrate(good, tmp_path, "--set", 'code="green"')
    assert result["state"] == "SUCCEEDED"
    [task, exit_task] = result["tasks"]
    assert "'green'" in said(task)
    assert task["run_id"] == exit_task["run_id"]
    assert '"state": "SUCCEEDED"' in said(exit_task)


def test_a_failing_task_is_started_again_stops_the_run_and_is_in_the_final_status(tmp_path):
    result = orchestrate(bad, tmp_path, "--attempts", "2")
    assert result["state"] == "FAILED"
    [task, exit_task] = result["tasks"]
    assert [attempt["code"] for attempt in task["attempts"]] == [7, 7]
    assert '"state": "FAILED"' in said(exit_task)
