"""The embedded server beside an empty gRPC echo and the obvious Python server, in one call.

    python -m benchmarks.serving [--rounds N] [--seconds S] [--swaps N] [--binary tensorflow_model_server]

All servers listen on loopback, each in a process of its own, and answer the same pre-serialized requests for a small text model (split,
hash, embed, top five) from the same load client: two processes that call and wait, in threads. Echo is a grpc.server with as many
workers as ours that sends back what it gets: the floor for any server in Python. The obvious server is `tf.saved_model.load` with
`make_ndarray` and `make_tensor_proto` in a grpc.server. Client and servers share the machine's CPUs.

Then, ours alone: a hot swap under load (requests lost, p99 beside the median), memory over many swaps, and the time from the start of the
process to the first answer. The last line is one JSON object; `wall_ratio` is the time per request, ours by the obvious server's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

from benchmarks import measure

PREDICT = "/tensorflow.serving.PredictionService/Predict"
MODEL = "text"
_CALLERS = (1, 16)
_LOAD_PROCESSES = 2
_TEXT = "please turn on the light in the kitchen"
_BUCKETS, _WIDTH, _CLASSES, _TOP = 4096, 16, 20, 5


def export(folder: str) -> dict[str, Any]:
    """Exports the model."""
    import tensorflow as tf

    class Text(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = tf.Variable(tf.random.stateless_normal([_BUCKETS, _WIDTH], [1, 2]))
            self.weights = tf.Variable(tf.random.stateless_normal([_WIDTH, _CLASSES], [3, 4]))
            self.labels = tf.constant([f"intent {number}" for number in range(_CLASSES)])

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def classify(self, text):
            words = tf.strings.split(text)
            hashed = tf.strings.to_hash_bucket_fast(words.flat_values, _BUCKETS)
            pooled = tf.math.segment_mean(tf.gather(self.embedding, hashed), words.value_rowids())
            scores, chosen = tf.math.top_k(tf.nn.softmax(tf.matmul(pooled, self.weights)), _TOP)
            return {"scores": scores, "labels": tf.gather(self.labels, chosen)}

    model = Text()
    tf.saved_model.save(model, folder, signatures=model.classify)
    return {}


def request() -> bytes:
    """The request that is sent."""
    from serving.messages import ModelSpec, PredictRequest
    from serving.tensors import Tensor, to_proto

    message = PredictRequest(model_spec=ModelSpec(name=MODEL))
    message.inputs["text"].CopyFrom(to_proto(Tensor.of([_TEXT])))
    content: bytes = message.SerializeToString()
    return content


def echo_server(port: int) -> None:
    """Serves Predict by sending back what it gets, until it is ended."""
    _serve(port, lambda content, context: content)


def obvious_server(port: int, folder: str) -> None:
    """Serves Predict the obvious way, until it is ended."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    model = tf.saved_model.load(f"{folder}/1")
    function = model.signatures["serving_default"]

    def predict(content: bytes, context: Any) -> bytes:
        asked = predict_pb2.PredictRequest.FromString(content)
        outputs = function(**{alias: tf.constant(tf.make_ndarray(value)) for alias, value in asked.inputs.items()})
        response = predict_pb2.PredictResponse()
        for alias, value in outputs.items():
            response.outputs[alias].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response.SerializeToString()

    _serve(port, predict)


def _serve(port: int, behaviour: Any) -> None:
    sys.setswitchinterval(0.0005)
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))), options=[("grpc.so_reuseport", 0)]
    )
    service, method = PREDICT.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def load(port: int, callers: int, seconds: float) -> dict[str, Any]:
    """Calls a server for a while from so many threads; returns the time of every call in milliseconds, and what failed."""
    content, end = request(), time.perf_counter() + seconds
    taken: list[list[float]] = [[] for _ in range(callers)]
    failed: list[str] = []

    def caller(mine: list[float]) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            predict = channel.unary_unary(PREDICT)
            while (started := time.perf_counter()) < end:
                try:
                    predict(content, timeout=10.0)
                    mine.append((time.perf_counter() - started) * 1e3)
                except grpc.RpcError as error:
                    failed.append(error.code().name)

    threads = [threading.Thread(target=caller, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"ms": [one for mine in taken for one in mine], "failed": failed}


def in_process(folder: str, seconds: float) -> dict[str, Any]:
    """Runs the model from Python without a server, in one thread; returns runs per second."""
    from serving.server.runtime import LoadOptions, TensorFlowRuntime
    from serving.server.servable import Servable
    from serving.tensors import Tensor

    servable = Servable(MODEL, 1, TensorFlowRuntime.load_library().load(pathlib.Path(folder, "1"), LoadOptions()))
    feeds, count = {"text": Tensor.of([_TEXT])}, 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        servable.run("", feeds)
        count += 1
    return {"per_s": count / seconds}


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that listens, within a block."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                    break
                if process.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(command)} ended:\n{log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.01)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _side(**side: Any) -> list[str]:
    return [sys.executable, "-m", "benchmarks.serving", "--side", json.dumps(side)]


def _ours(port: int, *flags: str) -> list[str]:
    return [sys.executable, "-m", "serving.server", f"--port={port}", f"--model_name={MODEL}", *flags]


def _measured(port: int, callers: int, seconds: float) -> dict[str, Any]:
    """Loads a server from several processes."""
    processes = min(callers, _LOAD_PROCESSES)
    with concurrent.futures.ThreadPoolExecutor(processes) as pool:
        side = {"who": "load", "port": port, "callers": callers // processes, "seconds": seconds}
        parts = list(pool.map(lambda _: measure.in_own_process("benchmarks.serving", side), range(processes)))
    taken = sorted(one for part in parts for one in part["ms"])
    failed = [one for part in parts for one in part["failed"]]
    return {
        "per_s": len(taken) / seconds,
        "p50_ms": _quantile(taken, 0.5),
        "p99_ms": _quantile(taken, 0.99),
        "max_ms": taken[-1] if taken else 0.0,
        "failed": len(failed),
    }


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def compare(folder: pathlib.Path, rounds: int, seconds: float, binary: str) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Measures all servers, alternating; returns every round's numbers by server and number of callers."""
    commands = {
        "echo": lambda port: _side(who="echo_server", port=port),
        "ours": lambda port: _ours(port, f"--model_base_path={folder}"),
        "obvious": lambda port: _side(who="obvious_server", port=port, folder=str(folder)),
    }
    if binary:
        commands["tensorflow_model_server"] = lambda port: [
            binary, f"--port={port}", f"--model_name={MODEL}", f"--model_base_path={folder}",
        ]  # fmt: skip
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {str(callers): [] for callers in _CALLERS} for name in commands}
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, command in commands.items():
            port = _free_port()
            servers[name] = port, stack.enter_context(_running(command(port), port))
            _measured(port, max(_CALLERS), 1.0)
        for _ in range(rounds):
            for callers in _CALLERS:
                for name, (port, process) in servers.items():
                    taken = _measured(port, callers, seconds)
                    # The time a request takes the server, however many are under way.
                    taken["wall_s"] = 1 / taken["per_s"] if taken["per_s"] else float("inf")
                    found[name][str(callers)].append({**taken, "peak_mib": _resident_mib(process.pid, "VmHWM")})
    return found


def hot_swap(folder: pathlib.Path, seconds: float) -> dict[str, Any]:
    """Pushes two versions while sixteen callers call."""
    from serving.messages import GetModelStatusRequest, GetModelStatusResponse, ModelSpec

    base, port = folder.with_name("swapped"), _free_port()
    base.mkdir()
    shutil.copytree(folder / "1", base / "1")
    with _running(_ours(port, f"--model_base_path={base}"), port), concurrent.futures.ThreadPoolExecutor(1) as pool:
        quiet = _measured(port, max(_CALLERS), seconds)
        under_way = pool.submit(_measured, port, max(_CALLERS), 2 * seconds)
        for version in (2, 3):
            time.sleep(seconds * 0.6)
            shutil.copytree(folder / "1", folder.with_name(f"pushing-{version}"))
            folder.with_name(f"pushing-{version}").rename(base / str(version))
        swapped = under_way.result()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            asked = GetModelStatusRequest(model_spec=ModelSpec(name=MODEL)).SerializeToString()
            answer = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(asked, timeout=5.0)
        states = {status.version: status.state for status in GetModelStatusResponse.FromString(answer).model_version_status}
    return {
        "lost": swapped["failed"],
        "p50_ms": swapped["p50_ms"],
        "p99_ms": swapped["p99_ms"],
        "max_ms": swapped["max_ms"],
        "p99_by_median": swapped["p99_ms"] / swapped["p50_ms"],
        "quiet_p99_by_median": quiet["p99_ms"] / quiet["p50_ms"],
        "states": {str(version): state for version, state in sorted(states.items())},
    }


def memory(folder: pathlib.Path, swaps: int) -> dict[str, Any]:
    """Resident memory after a few swaps, and after many more."""
    from google.protobuf import text_format

    from serving.messages import POOL, ModelServerConfig, ReloadConfigRequest

    base, port, warm = folder.with_name("many"), _free_port(), 5
    base.mkdir()
    for version in (1, 2):
        shutil.copytree(folder / "1", base / str(version))
    flags = (f"--model_base_path={base}", "--file_system_poll_wait_seconds=0")
    with _running(_ours(port, *flags), port) as process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        reload = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
        predict, content = channel.unary_unary(PREDICT), request()
        mib = []
        for swap in range(warm + swaps + 1):
            config = (
                f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{base}" model_platform: "tensorflow" '
                f"model_version_policy {{ specific {{ versions: {swap % 2 + 1} }} }} }} }}"
            )
            parsed = text_format.Parse(config, ModelServerConfig(), descriptor_pool=POOL)
            reload(ReloadConfigRequest(config=parsed).SerializeToString(), timeout=30.0)
            end = time.monotonic() + 30.0
            while f"version {swap % 2 + 1}" not in _available(channel):
                if time.monotonic() > end:
                    raise RuntimeError(f"swap {swap} never came: {_available(channel)}")
                time.sleep(0.01)
            for _ in range(20):
                predict(content, timeout=10.0)
            mib.append(_resident_mib(process.pid))
    return {"swaps": swaps, "first_mib": mib[warm], "last_mib": mib[-1], "growth": mib[-1] / mib[warm] - 1}


def _available(channel: grpc.Channel) -> str:
    """Which version alone is AVAILABLE, in words."""
    from serving.messages import GetModelStatusRequest, GetModelStatusResponse, ModelSpec, ModelVersionStatus

    asked = GetModelStatusRequest(model_spec=ModelSpec(name=MODEL)).SerializeToString()
    answer = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")(asked, timeout=5.0)
    states = {status.version: status.state for status in GetModelStatusResponse.FromString(answer).model_version_status}
    gone = (ModelVersionStatus.END,)
    serving = [version for version, state in states.items() if state == ModelVersionStatus.AVAILABLE]
    settled = len(serving) == 1 and all(state in gone for version, state in states.items() if version not in serving)
    return f"version {serving[0]}" if settled else f"none: {states}"


def _resident_mib(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process: now (`VmRSS`), or the most it had (`VmHWM`)."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith(field))) / 1024


def cold_start(folder: pathlib.Path, rounds: int) -> list[dict[str, float]]:
    """Returns seconds from the start of the process to the first answer, and its resident memory then."""
    runs, content = [], request()
    for _ in range(rounds):
        port, started = _free_port(), time.perf_counter()
        with _running(_ours(port, f"--model_base_path={folder}"), port) as process:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                channel.unary_unary(PREDICT)(content, timeout=10.0)
            runs.append({"wall_s": time.perf_counter() - started, "peak_mib": _resident_mib(process.pid)})
    return runs


def main() -> None:
    """Measures everything and prints a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load, for each server, round and number of callers")
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument(
        "--binary", default=shutil.which("tensorflow_model_server") or "", help="a real server to measure as well"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = json.loads(arguments.side)
        sides: dict[str, Any] = {
            "export": export, "echo_server": echo_server, "obvious_server": obvious_server, "load": load, "in_process": in_process,
        }  # fmt: skip
        print(json.dumps(sides[side.pop("who")](**side)))
        return

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, "model")
        measure.in_own_process("benchmarks.serving", {"who": "export", "folder": str(folder / "1")})
        direct = measure.in_own_process(
            "benchmarks.serving", {"who": "in_process", "folder": str(folder), "seconds": arguments.seconds}
        )
        rounds = compare(folder, arguments.rounds, arguments.seconds, arguments.binary)
        swap = hot_swap(folder, 2 * arguments.seconds)
        grown = memory(folder, arguments.swaps)
        start = cold_start(folder, 3)

    many, one = (str(callers) for callers in reversed(_CALLERS))
    servers = {
        name: {
            callers: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
            for callers, measured in by_callers.items()
        }
        for name, by_callers in rounds.items()
    }
    comparisons = [
        measure.compared(
            f"serving, {callers} caller{'s' if callers != '1' else ''}, a request {words}",
            {measure.OURS: rounds["ours"][callers], measure.STOCK: rounds[other][callers]},
            unit="ms",
        )
        for callers in (many, one)
        for other, words in (
            ("obvious", "(stock: the obvious Python server)"),
            ("echo", "(stock: an empty gRPC echo)"),
            ("tensorflow_model_server", "(stock: tensorflow_model_server)"),
        )
        if other in rounds
    ]
    comparisons.append(measure.compared("serving, start to the first answer", {measure.OURS: start}))
    ours, stock = servers["ours"], servers["obvious"]
    detail = {
        "in_process_per_s": direct["per_s"],
        "servers": servers,
        "throughput_by_echo": ours[many]["per_s"] / servers["echo"][many]["per_s"],
        "throughput_by_obvious": ours[many]["per_s"] / stock[many]["per_s"],
        "p99_by_echo_one_caller": ours[one]["p99_ms"] / servers["echo"][one]["p99_ms"],
        "hot_swap": swap,
        "memory": grown,
    }
    print(f"small text model, in process, one thread: {direct['per_s']:.0f} per second\n")
    print(measure.table(comparisons))
    print("\n| server | callers | requests a second | p50 ms | p99 ms | failed |\n|---|---|---|---|---|---|")
    for name, by_callers in servers.items():
        for callers, taken in by_callers.items():
            print(
                f"| {name} | {callers} | {taken['per_s']:,.0f} | {taken['p50_ms']:.2f} | {taken['p99_ms']:.2f} | {taken['failed']:.0f} |"
            )
    print(
        f"\nours by echo {detail['throughput_by_echo']:.2f}, by obvious {detail['throughput_by_obvious']:.2f}; "
        f"p99 at one caller by echo {detail['p99_by_echo_one_caller']:.2f}"
    )
    print(
        f"hot swap: {swap['lost']} lost, p99 {swap['p99_by_median']:.1f} times the median (quiet {swap['quiet_p99_by_median']:.1f})"
    )
    print(f"memory over {grown['swaps']} swaps: {grown['first_mib']:.0f} to {grown['last_mib']:.0f} MiB ({grown['growth']:+.1%})")
    print(json.dumps(measure.result("serving", comparisons, detail)))


if __name__ == "__main__":
    main()
