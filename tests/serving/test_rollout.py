"""A rollout as a user does it: `parlance serve` with real models under load, `parlance release` beside it."""

import contextlib
import json
import signal
import subprocess
import sys
import threading

from components.release import push
from pipeline import cli
from serving.client import Client, ClientError
from tests.conftest import PROJECT
from tests.serving.conformance.servers import eventually, free_port


class Callers:
    """Two threads that ask for stable and canary in turn, until they are told to stop."""

    def __init__(self, port):
        self.answered, self.failures = {}, []
        self._stop = threading.Event()
        self._target = f"127.0.0.1:{port}"
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, caller):
        # What a model does not take is for the server to refuse here, not for the client.
        with Client(self._target, timeout=10.0, check_inputs=False) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                label = ("stable", "canary")[number % 2]
                try:
                    version = client.predict("intents", {"text": [f"{caller} {number}"]}, label=label).version
                    self.answered[label, version] = self.answered.get((label, version), 0) + 1
                except ClientError as error:
                    self.failures.append(f"{label}: {error}")
                # Two CPUs are to serve, too, and to run the commands.
                self._stop.wait(0.001)


@contextlib.contextmanager
def serving(root, tmp_path):
    """`parlance serve` in a process of its own; gives its ports for gRPC and REST."""
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--root", str(root)]
    with open(tmp_path / "serve.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(ports[0]), "--rest-api-port", str(ports[1])], stdout=log, stderr=log, cwd=PROJECT
        )
    try:
        with Client(f"127.0.0.1:{ports[0]}") as client:
            client.wait_until_available("intents", timeout=60.0)
        yield ports
        process.send_signal(signal.SIGTERM)
        assert process.wait(30.0) == 0
    finally:
        process.kill()
        process.wait()


def test_a_good_canary_is_promoted_bad_ones_are_rolled_back_and_callers_lose_nothing(tmp_path, saved_models, capsys):
    root = tmp_path / "root"

    def push_model(name):
        return int(push.push(saved_models / name / "1", root / "serving" / "intents", {}).version)

    def command(name, *arguments, code=0):
        given = ["release", name, "--root", root, "--server", f"127.0.0.1:{grpc_port}", *arguments]
        ended = cli.main(list(map(str, given)))
        said = capsys.readouterr()
        assert ended == code, said.out + said.err
        return said.out

    def judged(code):
        url = f"http://127.0.0.1:{rest_port}/monitoring/prometheus/metrics"
        rules = {
            "observe_seconds": 2.0,
            "min_requests": 100,
            "confidence": 0.9,
            "max_error_rate_increase": 0.2,
            "max_p99_ratio": 1000,
            "max_score_shift": 0.45,
        }
        given = [word for rule, value in rules.items() for word in ("--rule", f"{rule}={value}")]
        said = command("judge", "--metrics", url, *given, "--act", "--output", "json", code=code)
        return {rule["rule"]: rule["outcome"] for rule in json.loads(said)["rules"]}

    first = push_model("sure")
    # Without models.config the newest version is served; the file appears while the server runs.
    with serving(root, tmp_path) as (grpc_port, rest_port):
        command("promote", "--reason", "the first")
        second = push_model("sure")
        command("canary")
        with Callers(grpc_port) as callers:
            assert set(judged(0).values()) == {"pass"}
            eventually(lambda: ("canary", second) in callers.answered, "answers of the new stable version")
            unsure = push_model("unsure")
            command("canary")
            assert judged(1)["max_score_shift"] == "fail"
        assert callers.failures == []
        assert {version for _, version in callers.answered} == {first, second, unsure}

        # A model with another input refuses every request.
        failing = push_model("half_plus_two")
        command("canary")
        with Callers(grpc_port) as callers:
            assert judged(1)["max_error_rate_increase"] == "fail"
        assert {failure.partition(":")[0] for failure in callers.failures} == {"canary"}
        [model] = json.loads(command("list", "--output", "json"))["models"]
        assert model["labels"] == {"stable": second, "canary": second}
        assert [version["loaded"] != [] for version in model["versions"]] == [False, True, False, False]
        assert model["versions"][-1]["version"] == failing
