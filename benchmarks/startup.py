"""How long things take to begin: the command line, a run that is cached throughout, and a node until its first own line.

    python -m benchmarks.startup [--rounds N]
    python -m benchmarks.startup --stress N

A node begins in a worker forked from a server that holds the libraries: `first` counts the server's start and imports, as before the
first node of a run, `next` is every node after that; `spawned` is a worker without a server, as in a container. `lean` nodes need no
TensorFlow. Stock's side, beside the first node, is a component of one line in TFX's LocalDagRunner, from the start of the command to
that line.

`--stress` shows that forking is safe: so many workers, two at once, each of which runs a tf.function, trains with Keras, runs a Beam
pipeline and answers a gRPC call. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent import futures

from benchmarks import measure
from pipeline.local import fork_server, worker
from pipeline.local.worker_environment import WORKER_ENVIRONMENT

_ROWS = 1_000
_NODES = "benchmarks.startup_nodes"
_TOLD = "PARLANCE_BENCHMARK_TOLD"
_AT_ONCE = 2

_STOCK = """
import os, sys
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec
from benchmarks import startup_nodes

class Spec(component_spec.ComponentSpec):
    PARAMETERS, INPUTS, OUTPUTS = {}, {}, {}

class Component(base_component.BaseComponent):
    SPEC_CLASS = Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(startup_nodes.TellsTheTime)

metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(os.path.join(sys.argv[1], "metadata.db"))
pipeline = tfx.dsl.Pipeline("startup", sys.argv[1], components=[Component(Spec())], metadata_connection_config=metadata)
tfx.orchestration.LocalDagRunner().run(pipeline)
"""


def request(executor: str, folder: pathlib.Path) -> worker.Request:
    """Returns what a worker is asked to run an executor of `startup_nodes`."""
    from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2

    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path=f"{_NODES}.{executor}")
    invocation = execution_invocation_pb2.ExecutionInvocation(
        execution_id=1, output_metadata_uri=str(folder / "output.pb"), tmp_dir=str(folder)
    )
    return worker.Request.of(spec, invocation)


def stress(forks: int) -> list[int]:
    """Forks workers that compute with every library, some at once; returns for each 0 if all came out right, else 1 or its exit code."""

    def one(number: int) -> int:
        fork = server.fork(asked.executor)
        with contextlib.closing(fork):
            try:
                worker.send(fork.stream, asked)
                return 0 if "output" in worker.receive(fork.stream) else 1
            except (EOFError, OSError):
                return fork.exit_code() or 1

    with (
        tempfile.TemporaryDirectory() as scratch,
        contextlib.closing(fork_server.ForkServer(WORKER_ENVIRONMENT, False)) as server,
    ):
        asked = request("Computes", pathlib.Path(scratch))
        server.attend(sys.__stderr__.buffer, {"TMPDIR": scratch})
        server.start(
            ["components.validation.component.StatisticsGenExecutor", "components.evaluation.component.EvaluatorExecutor"]
        )
        with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(one, range(forks)))


def nodes(folder: pathlib.Path, lean: bool) -> dict[str, float]:
    """Returns the seconds until a node's first line: in the first worker of a fork server, and in the next one."""
    told = folder / "told"
    asked = request("TellsTheTime", folder)
    taken = {}
    with open(os.devnull, "wb") as log, contextlib.closing(fork_server.ForkServer(WORKER_ENVIRONMENT, lean)) as server:
        server.attend(log, {_TOLD: str(told)})
        for name in ("first", "next"):
            started = time.time()
            with contextlib.closing(server.fork(asked.executor)) as fork:
                worker.send(fork.stream, asked)
                worker.receive(fork.stream)
            taken[name] = float(told.read_text()) - started
    return taken


def spawned(folder: pathlib.Path, lean: bool) -> float:
    """Returns the seconds until a node's first line in a worker that starts from scratch."""
    from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2

    from pipeline.local import executors

    asked, told = request("TellsTheTime", folder), folder / "told"
    started = time.time()
    with open(os.devnull, "wb") as log:
        process = executors.WorkerProcess(log, {**WORKER_ENVIRONMENT, _TOLD: str(told)}, lean)
        with contextlib.closing(process):
            process.run(
                executable_spec_pb2.PythonClassExecutableSpec.FromString(asked.spec),
                execution_invocation_pb2.ExecutionInvocation.FromString(asked.invocation),
            )
    return float(told.read_text()) - started


def stock(folder: pathlib.Path) -> float:
    """Returns the seconds from the start of a command to the first line of its node, in TFX's LocalDagRunner."""
    told = folder / "told"
    with tempfile.TemporaryDirectory(dir=folder) as root, _environment({_TOLD: str(told), "TF_CPP_MIN_LOG_LEVEL": "3"}):
        started = time.time()
        measure.command([sys.executable, "-c", _STOCK, root])
    return float(told.read_text()) - started


def parlance(*words: str) -> dict[str, float]:
    """Returns what a command takes."""
    return measure.command([sys.executable, "-m", "pipeline.cli", *words])[1]


@contextlib.contextmanager
def _environment(values: Mapping[str, str]):
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


_FIRST_NODE = "node with TensorFlow, first"


def _cases(folder: pathlib.Path) -> dict[str, Callable[[], dict[str, dict[str, float]]]]:
    """What is measured: functions that return by name what they took, of stock where the name says so."""
    run = ("run", str(finished_run(folder)), "--root", str(folder / "root"), "--output", "json")

    def forked(name: str, lean: bool) -> dict[str, dict[str, float]]:
        seconds = {**nodes(folder, lean), "spawned": spawned(folder, lean)}
        return {f"{name}, {kind}": {"wall_s": taken} for kind, taken in seconds.items()}

    return {
        "help": lambda: {"parlance --help": parlance("--help")},
        "doctor": lambda: {"parlance doctor": parlance("doctor")},
        "cached": lambda: {"parlance run, all cached": parlance(*run)},
        "lean": lambda: forked("lean node", True),
        "full": lambda: forked("node with TensorFlow", False),
        measure.STOCK: lambda: {_FIRST_NODE: {"wall_s": stock(folder)}},
    }


def finished_run(folder: pathlib.Path) -> pathlib.Path:
    """Runs the pipeline of the benchmark `taxi` on a few rows; returns its file."""
    from benchmarks import taxi

    trips = folder / "data" / "data.csv"
    trips.parent.mkdir()
    taxi.write_trips(trips, _ROWS)
    taxi.run_once("ours", folder, trips)
    return folder / "taxi.yaml"


def main() -> None:
    """Runs the benchmark as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--stress", type=int, metavar="N", help="fork so many workers and say what became of them")
    options = parser.parse_args()
    # As the command line does, so that the side that asks imports no TensorFlow.
    from pipeline.local import lean_imports

    lean_imports.install()
    if options.stress:
        started = time.time()
        codes = stress(options.stress)
        failed = [code for code in codes if code]
        print(f"{len(codes)} workers, {len(failed)} failed")
        print(json.dumps({"area": "startup", "forks": len(codes), "failed": failed, "seconds": round(time.time() - started, 1)}))
        sys.exit(1 if failed else 0)
    measured: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        cases = _cases(pathlib.Path(scratch))
        for _ in range(options.rounds):
            for name, case in cases.items():
                side = measure.STOCK if name == measure.STOCK else measure.OURS
                for what, taken in case().items():
                    measured.setdefault(what, {}).setdefault(side, []).append(taken)
    comparisons = [measure.compared(what, runs) for what, runs in measured.items()]
    print(measure.table(comparisons))
    headline = list(measured).index(_FIRST_NODE)
    print(json.dumps(measure.result("startup", comparisons, measured, headline)))


if __name__ == "__main__":
    main()
