"""KFP's own local orchestrator, with container tasks as processes of this machine: a compiled package runs without a cluster.

    python -m tests.pipeline.kubeflow.kfp_local PACKAGE.yaml RESULT.json [--set NAME=VALUE]... [--attempts N] [--kill TASK]

Order, placeholders, parameters, input and output messages are KFP's. Its two handlers of tasks are for Docker and for Python functions,
and it has no way to register another, so that the one for functions is replaced: private API, which test_kfp_local pins. It knows no
retries and no exit handlers; retries are made here as Kubernetes makes them, by the same command again, and the exit handler's task
runs after the others, with the final status in the form that KFP's backend gives it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from kfp import components, local
from kfp.local import config, pipeline_orchestrator, status, subprocess_task_handler, task_dispatcher, task_handler_interface
from kfp.pipeline_spec import pipeline_spec_pb2

_HANDLED = "SubprocessTaskHandler"


class Processes:
    """Starts containers as processes, and remembers what came of them.

    Attributes:
      tasks: One entry a task, in order: node (or `exit`), run_id, and attempts with exit code, seconds and log of each.
    """

    def __init__(self, folder: pathlib.Path, attempts: int = 1, kill: str | None = None):
        """Prepares.

        Args:
          folder: Where logs go.
          attempts: How often a failing task is started.
          kill: A node whose first attempt is killed as soon as TFX has made its output folders; something half-written is left there.
        """
        self.tasks: list[dict[str, Any]] = []
        self._folder = folder
        self._attempts = attempts
        self._kill = kill

    def run(self, command: Sequence[str]) -> bool:
        """Runs a container's command; says whether it succeeded in the end."""
        options = dict(zip(command, command[1:], strict=False))
        node = options.get("--node", "exit")
        task: dict[str, Any] = {"node": node, "run_id": options["--run-id"], "attempts": []}
        self.tasks.append(task)
        for attempt in range(self._attempts):
            log = self._folder / f"{len(self.tasks):02d}-{node}-{attempt}.log"
            before = time.monotonic()
            with open(log, "wb") as stream:
                # As in the image, where `python` is the one that has Parlance.
                words = [sys.executable if word == "python" else word for word in command[:1]] + list(command[1:])
                process = subprocess.Popen(words, stdout=stream, stderr=stream, start_new_session=True)
                if node == self._kill and not attempt:
                    self._kill_at_work(process, options)
                code = process.wait()
            task["attempts"].append({"code": code, "seconds": round(time.monotonic() - before, 2), "log": str(log)})
            if code == 0:
                return True
        return False

    def _kill_at_work(self, process: subprocess.Popen[bytes], options: dict[str, str]) -> None:
        from pipeline.kubeflow import step_argument

        pipeline = step_argument.unpack(options["--ir"])
        root = pathlib.Path(pipeline.runtime_spec.pipeline_root.field_value.string_value) / options["--node"]
        before = set(root.glob("[!.]*/*"))
        while process.poll() is None:
            if begun := set(root.glob("[!.]*/*")) - before:
                for folder in begun:
                    (folder / "half-written").touch()
                process.send_signal(signal.SIGKILL)
            time.sleep(0.005)


def orchestrate(package: pathlib.Path, folder: pathlib.Path, arguments: dict[str, Any], processes: Processes) -> str:
    """Runs a package; returns the state that KFP would show: SUCCEEDED or FAILED.

    Args:
      package: What the compiler wrote.
      folder: Where KFP's own artifacts go.
      arguments: Values of runtime parameters.
      processes: Runs the tasks.
    """

    class Handler(task_handler_interface.ITaskHandler):
        def __init__(self, image: str, full_command: list[str], pipeline_root: str, runner: Any):
            self._command = full_command

        def run(self) -> status.Status:
            return status.Status.SUCCESS if processes.run(self._command) else status.Status.FAILURE

    setattr(subprocess_task_handler, _HANDLED, Handler)
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(folder), raise_on_error=False)
    spec = pipeline_spec_pb2.PipelineSpec()
    spec.CopyFrom(components.load_component_from_file(str(package)).pipeline_spec)
    tasks = spec.root.dag.tasks
    exits = {
        name: tasks[name]
        for name in tasks
        if any(one.HasField("task_final_status") for one in tasks[name].inputs.parameters.values())
    }
    exits = {name: _copy(task) for name, task in exits.items()}
    for name in exits:
        del tasks[name]
    failures: list[str] = []
    pipeline_orchestrator.log_and_maybe_raise_for_failure = lambda **told: failures.extend(told["fail_stack"])
    pipeline_orchestrator.run_local_pipeline(pipeline_spec=spec, arguments=arguments)
    state = "FAILED" if failures else "SUCCEEDED"
    for task in exits.values():
        _run_exit(spec, task, state, failures, processes.tasks[0]["run_id"], folder)
    return state


def _copy(task: Any) -> Any:
    copy = pipeline_spec_pb2.PipelineTaskSpec()
    copy.CopyFrom(task)
    return copy


def _run_exit(spec: Any, task: Any, state: str, failures: list[str], run_id: str, folder: pathlib.Path) -> None:
    final: dict[str, Any] = {"state": state, "pipelineJobResourceName": run_id}
    for one in task.inputs.parameters.values():
        if one.HasField("task_final_status"):
            final["pipelineTaskName"] = one.task_final_status.producer_task
    if failures:
        final["error"] = {"code": 9, "message": f"The task {failures[0]} failed"}
    arguments = {
        name: final if one.HasField("task_final_status") else one.runtime_value.constant.string_value
        for name, one in task.inputs.parameters.items()
    }
    component = spec.components[task.component_ref.name]
    executor = task_dispatcher.utils.struct_to_executor_spec(task_dispatcher.get_executor_spec(spec, component.executor_label))
    task_dispatcher.run_single_task_implementation(
        pipeline_resource_name=run_id,
        component_name=task.component_ref.name,
        component_spec=component,
        executor_spec=executor,
        arguments=arguments,
        pipeline_root=str(folder),
        runner=config.LocalExecutionConfig.instance.runner,
        raise_on_error=False,
        block_input_artifact=True,
        unique_pipeline_id=run_id,
    )


def main() -> None:
    """Runs a package as the module's docstring says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("package", type=pathlib.Path)
    parser.add_argument("result", type=pathlib.Path)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--attempts", type=int, default=1)
    parser.add_argument("--kill")
    options = parser.parse_args()
    folder = options.result.with_suffix("")
    folder.mkdir(parents=True)
    processes = Processes(folder, options.attempts, options.kill)
    arguments = {name: json.loads(value) for name, _, value in (setting.partition("=") for setting in options.settings)}
    state = orchestrate(options.package, folder / "kfp", arguments, processes)
    options.result.write_text(json.dumps({"state": state, "tasks": processes.tasks, "kfp": str(folder / "kfp")}, indent=1))


if __name__ == "__main__":
    main()
