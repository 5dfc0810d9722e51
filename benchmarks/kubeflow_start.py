"""From the start of a container to the first line of an executor: our step beside TFX's own entry for Kubeflow.

    python -m benchmarks.kubeflow_start [--rounds N]

Both sides run the same executor, which does nothing but tell the time. Ours launches it as every step is launched: unpack the node,
ask ML Metadata (SQLite here) about inputs and cache, start the executor's process; `lean` is a node that needs no TensorFlow, `full`
one that does. TFX's entry (kubeflow_v2_run_executor) imports and runs the executor and asks nobody; `imports` is what importing TFX's
launcher as it comes takes by itself, without either. Sides alternate. A cached node, where no executor runs, is `cached`: the whole
step. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tfx.dsl.components.base import base_executor

_STOCK = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_NODE = "SchemaImport"
_TOLD = "PARLANCE_BENCHMARK_TOLD"
"""Environment variable with the file that the executor writes the time to."""


class TellsTheTime(base_executor.BaseExecutor):
    """What is run: user code of one line."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """See the base class."""
        pathlib.Path(os.environ[_TOLD]).write_text(repr(time.time()))


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
    node = step_argument.unpack(step_argument.pack(bound.pipeline, _NODE))
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    node.deployment_config.Unpack(deployment)
    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path=f"benchmarks.kubeflow_start.{TellsTheTime.__name__}")
    if lean:
        spec.extra_flags.append(LEAN_FLAG)
    deployment.executor_specs[_NODE].Pack(spec)
    node.deployment_config.Pack(deployment)
    return step_argument.pack(node, _NODE)


def seconds(command: Sequence[str], told: pathlib.Path | None) -> float:
    """Returns how long a command takes until its executor tells the time, or to its end if nobody does.

    Raises:
      RuntimeError: It failed.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **({_TOLD: str(told)} if told else {})}
    started = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise RuntimeError(f"{command[2]} ended with {done.returncode}:\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    return (float(told.read_text()) if told else ended) - started


def main() -> None:
    """Runs the benchmark as the module's docstring says."""
    parser = argparse.ArgumentParser(description="From the start of a container to user code.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    measured: dict[str, list[float]] = {name: [] for name in ("lean", "full", "cached", "stock", "imports")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        told = folder / "told"
        metadata = f"sqlite:///{folder}/metadata.db"
        packed = {name: pack(folder, name == "lean") for name in ("lean", "full")}
        stock_input = json.dumps({"outputs": {"outputFile": str(folder / "stock" / "executor_output.json")}})

        def step(name: str, run_id: str) -> list[str]:
            words = [sys.executable, "-m", "pipeline.kubeflow.step", "--node", _NODE, "--ir", packed[name]]
            return [*words, "--run-id", run_id, "--metadata", metadata]

        stock = [sys.executable, "-m", _STOCK, "--executor_class_path", f"benchmarks.kubeflow_start.{TellsTheTime.__name__}"]
        stock += ["--json_serialized_invocation_args", stock_input]
        for number in range(rounds):
            for name in ("lean", "full"):
                # Another folder is another node to the cache; only `cached` may find an earlier result.
                fresh = folder / f"{name}-{number}"
                fresh.mkdir()
                metadata = f"sqlite:///{fresh}/metadata.db"
                measured[name].append(seconds(step(name, "first"), told))
            measured["cached"].append(seconds(step("full", "second"), None))
            measured["stock"].append(seconds(stock, told))
            launcher = [sys.executable, "-c", "import tfx.orchestration.portable.launcher, tfx.components"]
            measured["imports"].append(seconds(launcher, None))
            line = "  ".join(f"{name} {values[-1]:6.2f} s" for name, values in measured.items())
            sys.stdout.write(f"round {number + 1}: {line}\n")
            sys.stdout.flush()
    medians = {name: statistics.median(values) for name, values in measured.items()}
    result = {
        "area": "kubeflow_start",
        "rounds": rounds,
        "ours": {
            "wall_s": round(medians["lean"], 2),
            "full_s": round(medians["full"], 2),
            "cached_s": round(medians["cached"], 2),
        },
        "stock": {"wall_s": round(medians["stock"], 2), "imports_s": round(medians["imports"], 2)},
        "wall_ratio": round(medians["lean"] / medians["stock"], 3),
        "detail": {name: [round(value, 2) for value in values] for name, values in measured.items()},
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
