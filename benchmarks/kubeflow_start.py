"""From the start of a container to the first line of an executor: our step beside TFX's own entry for Kubeflow, node by node.

    python -m benchmarks.kubeflow_start [--rounds N] [NODE ...]

What is timed begins with the process and ends when the executor of a node, with all that it imports, could begin its work; the work
itself is left out. Ours launches the node as every step is launched: unpack it, ask ML Metadata (SQLite here) about inputs and cache,
start the executor's process. TFX's entry (kubeflow_v2_run_executor) does none of this, it imports and runs an executor and asks nobody.
It has the executor that stock TFX has for the same work, which is often the same one; `SchemaImport` stands for all nodes that need no
TensorFlow here, beside an executor that needs nothing. A `cached` node, where no executor runs, is our whole step.

`imports` is what importing TFX's launcher as it comes takes by itself. Sides alternate. Seconds of the processor are those of all
processes of a step together; on a machine that does other things at the same time they say more than the clock does. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from tfx.dsl.components.base import base_executor

from benchmarks import measure

_STOCK = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_TIMED = "SchemaImport"
"""The node that is launched, with the executor that tells the time; it has no inputs that would have to be there."""
_TOLD = "PARLANCE_BENCHMARK_TOLD"
"""Environment variable with the file that the executor writes the time to."""
_EXECUTOR = "PARLANCE_BENCHMARK_EXECUTOR"
"""Environment variable with the import path of the executor whose imports count; none if it is not set."""

NODES = {
    "SchemaImport": (None, None),
    "StatisticsGen": ("components.validation.component.StatisticsGenExecutor", "tfx.components.statistics_gen.executor.Executor"),
    "Transform": ("components.transform.component.TransformExecutor", "tfx.components.transform.executor.Executor"),
    "Trainer": ("tfx.components.trainer.executor.GenericExecutor",) * 2,
    "Evaluator": ("components.evaluation.component.EvaluatorExecutor", "tfx.components.evaluator.executor.Executor"),
}
"""Our executor and stock TFX's, by node."""


class TellsTheTime(base_executor.BaseExecutor):
    """What is run: the imports of a node's executor, and user code of one line."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """See the base class."""
        if path := os.environ.get(_EXECUTOR):
            if (worker := sys.modules.get("pipeline.local.executor_imports")) is not None:
                worker.import_executor(path)  # as our worker does before it runs one
            else:
                importlib.import_module(path.rpartition(".")[0])
        pathlib.Path(os.environ[_TOLD]).write_text(repr(time.time()))


class Seconds(NamedTuple):
    """How long a command took."""

    wall: float
    processor: float


def pack(folder: pathlib.Path, lean: bool) -> str:
    """Returns a node with the executor that tells the time, as a step's argument."""
    code = (
        "import sys\n"
        "from benchmarks import kubeflow_start\n"
        "sys.stdout.write(kubeflow_start.packed_here(sys.argv[1], sys.argv[2] == 'lean'))"
    )
    command = [sys.executable, "-c", code, str(folder), "lean" if lean else "full"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def packed_here(folder: str, lean: bool) -> str:
    """Does the work of `pack` in this process."""
    from ml_metadata.proto import metadata_store_pb2
    from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

    from components.executor_path import LEAN_FLAG
    from pipeline import config, dag
    from pipeline.kubeflow import parameters, step_argument

    file = config.load(config.DEFAULT, ["data.source.rows=300"])
    bound = parameters.bind(lambda one: dag.compile_pipeline(one, folder, metadata_store_pb2.ConnectionConfig()), file)
    node = step_argument.unpack(step_argument.pack(bound.pipeline, _TIMED))
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    node.deployment_config.Unpack(deployment)
    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path=f"benchmarks.kubeflow_start.{TellsTheTime.__name__}")
    if lean:
        spec.extra_flags.append(LEAN_FLAG)
    deployment.executor_specs[_TIMED].Pack(spec)
    node.deployment_config.Pack(deployment)
    return step_argument.pack(node, _TIMED)


def seconds(command: Sequence[str], told: pathlib.Path | None, executor: str | None = None) -> Seconds:
    """Returns how long a command takes until its executor tells the time, or to its end if nobody does.

    Args:
      command: The process.
      told: Where the executor writes to; removed before.
      executor: Whose imports count.

    Raises:
      RuntimeError: It failed.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {name: str(value) for name, value in ((_TOLD, told), (_EXECUTOR, executor)) if value is not None}
    if told is not None:
        told.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as log:
        started = time.time()
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        ended = time.time()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or (told is not None and not told.exists()):
            log.seek(0)
            raise RuntimeError(f"{command[2]} ended with {process.returncode}:\n{log.read()[-2000:]}")
    return Seconds((float(told.read_text()) if told else ended) - started, used.ru_utime + used.ru_stime)


class _Sides:
    """Both sides, with a folder of scratch files."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._told = folder / "told"
        self._packed = {lean: pack(folder, lean) for lean in (True, False)}
        self._number = 0

    def ours(self, node: str) -> Seconds:
        """A step whose executor has to run."""
        self._number += 1  # another database is another node to the cache
        return seconds(self._step(node, "first"), self._told, NODES[node][0])

    def cached(self, node: str) -> Seconds:
        """The step of ours that was timed last, of this node, once more in another run: nothing has changed since."""
        return seconds(self._step(node, "second"), None)

    def stock(self, node: str) -> Seconds:
        """TFX's entry."""
        outputs = {"outputs": {"outputFile": str(self._folder / "stock" / "executor_output.json")}}
        command = [sys.executable, "-m", _STOCK, "--executor_class_path", f"benchmarks.kubeflow_start.{TellsTheTime.__name__}"]
        return seconds([*command, "--json_serialized_invocation_args", json.dumps(outputs)], self._told, NODES[node][1])

    def imports(self) -> Seconds:
        """TFX's launcher, without anything."""
        return seconds([sys.executable, "-c", "import tfx.orchestration.portable.launcher, tfx.components"], None)

    def _step(self, node: str, run_id: str) -> list[str]:
        command = [sys.executable, "-m", "pipeline.kubeflow.step", "--node", _TIMED, "--ir", self._packed[NODES[node][0] is None]]
        return [*command, "--run-id", run_id, "--metadata", f"sqlite:///{self._folder}/{self._number}.db"]


def main() -> None:
    """Runs the benchmark as the module's docstring says."""
    parser = argparse.ArgumentParser(description="From the start of a container to user code.")
    parser.add_argument("nodes", nargs="*", metavar="NODE", help=f"which nodes (default: {', '.join(NODES)})")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    nodes = options.nodes or list(NODES)
    if unknown := [node for node in nodes if node not in NODES]:
        parser.error(f"there is no node {unknown[0]!r} here; nodes: {', '.join(NODES)}")
    measured: dict[str, list[Seconds]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        sides = _Sides(pathlib.Path(scratch))
        for number in range(options.rounds):
            sys.stdout.write(f"round {number + 1}\n")
            for node in nodes:
                for name, side in ((f"{node} ours", sides.ours), (f"{node} stock", sides.stock)):
                    _note(measured, name, side(node))
            _note(measured, "cached", sides.cached(nodes[-1]))
            _note(measured, "imports", sides.imports())
    runs = {
        name: [{"wall_s": value.wall, "cpu_s": value.processor, "peak_mib": None} for value in values]
        for name, values in measured.items()
    }
    comparisons = [
        measure.compared(f"container start, {node}", {side: runs[f"{node} {side}"] for side in (measure.OURS, measure.STOCK)})
        for node in nodes
    ]
    comparisons += [measure.compared("container start, cached", {measure.OURS: runs["cached"]})]
    sys.stdout.write(measure.table(comparisons) + "\n")
    sys.stdout.write("ratios of the processor's seconds: ")
    sys.stdout.write(
        ", ".join(f"{node} {row['ratio']['cpu_s']:.2f}" for node, row in zip(nodes, comparisons, strict=False)) + "\n"
    )
    worst = max(range(len(nodes)), key=lambda place: comparisons[place]["ratio"]["wall_s"])
    imports = statistics.median(value.wall for value in measured["imports"])
    detail = {"worst_node": nodes[worst], "imports_s": imports, "runs": runs}
    sys.stdout.write(json.dumps(measure.result("kubeflow_start", comparisons, detail, worst)) + "\n")


def _note(measured: dict[str, list[Seconds]], name: str, value: Seconds) -> None:
    measured.setdefault(name, []).append(value)
    sys.stdout.write(f"  {name:<22} {value.wall:6.2f} s  processor {value.processor:6.2f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
