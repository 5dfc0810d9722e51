"""What the embedded server logged, held against the training data of the model that answered, and read by a run."""

import contextlib
import datetime
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest

from components.ingestion import home_assistant_intents
from pipeline import results
from serving.client import Client
from tests.conftest import SMALL_INTENTS, parlance, run_arguments

pytestmark = pytest.mark.end_to_end

CYRILLIC = ["включи свет на кухне", "выключи лампу в спальне", "открой окно в гостиной", "какая сегодня температура"]


@contextlib.contextmanager
def served(model, log):
    """Serves the versions of a model and logs all requests; gives the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f"--port={port}", "--rest_api_port=0", "--model_name=intents", f"--model_base_path={model}"]
    command = [sys.executable, "-m", "serving.server", *flags, f"--request_log_dir={log}", "--request_log_sampling_rate=1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


class Log:
    """A log of a thousand messages like those the model learned, and then of a quarter as many in a script it never saw."""

    def __init__(self, shared_run, path):
        self.path = path
        known = home_assistant_intents.sample(("de", "en", "es"), 4000, 1).column("text").to_pylist()[::4]
        foreign = [f"{CYRILLIC[number % 4]} {number}" for number in range(len(known) // 4)]
        model = pathlib.Path(shared_run.record["pushed"]["path"]).parent
        with served(model, path) as address, Client(address) as client:
            client.wait_until_available("intents", timeout=60)
            self._ask(client, known)
            # Requests are logged with the second they came in.
            time.sleep(1)
            self.foreign_since = datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat()
            self._ask(client, foreign)

    def _ask(self, client, messages):
        for start in range(0, len(messages), 50):
            client.predict("intents", {"text": messages[start : start + 50]})


@pytest.fixture(scope="module")
def log(shared_run, tmp_path_factory):
    """What a server logged while it answered with the shared run's model."""
    return Log(shared_run, tmp_path_factory.mktemp("served") / "log")


def skew(shared_run, log, tmp_path, *more):
    settings = [word for setting in SMALL_INTENTS for word in ("--set", setting)]
    arguments = ["--root", shared_run.root, "--log", log.path, "--report", tmp_path / "skew.html", "--output", "json", *settings]
    shown = parlance("skew", *arguments, *more)
    assert shown.stderr == ""
    return shown.returncode, json.loads(shown.stdout)


def test_a_server_that_is_asked_what_its_model_learned_shows_no_skew(shared_run, log, tmp_path):
    code, result = skew(shared_run, log, tmp_path, "--until", log.foreign_since)
    assert (code, result["different"]) == (0, [])
    assert result["training"]["version"] == int(shared_run.record["pushed"]["version"])
    assert result["rows"] == 1000


def test_a_script_that_the_model_never_saw_is_skew_of_the_text(shared_run, log, tmp_path):
    code, result = skew(shared_run, log, tmp_path)
    assert (code, result["rows"]) == (0, 1250)
    assert {"text: script", "text: unknown_words"} <= set(result["different"])
    told = [one["message"] for one in result["findings"] if one["check"] == "skew: the scripts of texts"]
    assert "Cyrillic 0.0% in training, 20.0% in serving" in told[0]
    assert CYRILLIC[0] not in json.dumps(result, ensure_ascii=False) + (tmp_path / "skew.html").read_text()


def test_a_run_reads_the_log_as_far_as_the_data_gate_and_trains_nothing(shared_run, log, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(shared_run.root / "runs", root / "runs")
    for file in shared_run.root.glob("metadata.db*"):
        shutil.copy(file, root)
    source = f"data.source={{type: prediction_log, path: {log.path}, model: intents, label: intent}}"
    refused = parlance(*run_arguments(root, "--set", source))
    assert refused.returncode == 2
    assert "no model is trained on it" in refused.stdout + refused.stderr
    shown = parlance(*run_arguments(root, "--set", source, "--to", "DataGate", "--output", "json"))
    record = json.loads(shown.stdout)
    assert record["state"] == "succeeded", shown.stderr
    [gate] = [node for node in record["nodes"] if node["id"] == "DataGate"]
    assert gate["state"] == "complete"
    # What is trained on next is neither the log nor compared with it.
    resumed = json.loads(parlance(*run_arguments(root, "--from", "DataGate", "--to", "DataGate", "--output", "json")).stdout)
    assert resumed["state"] == "succeeded"
    went_on_with = results.of_run(root, resumed["run_id"]).folder("ExampleGen", "examples")
    assert went_on_with == shared_run.output("ExampleGen", "examples")
