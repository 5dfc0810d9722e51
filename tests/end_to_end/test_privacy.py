"""Secrets planted in rows and requests are in nothing that a run or a server writes or says: artifacts, vocabularies, logs, reports."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import signal
import socket
import subprocess
import sys
import time
import zipfile

import pytest

from serving.redaction import FILE
from tests.conftest import parlance

pytestmark = pytest.mark.end_to_end

# Frequent enough to get into a vocabulary or among the top values of a column, if anything lets them. By kind, with pieces that nothing
# else below a root has in it: an encoder may tear a secret into words.
SECRETS = {
    "email": ("gracehopper.plantedson@hiddenmail.example", ("gracehopper", "plantedson", "hiddenmail")),
    "card": ("4111 1111 1111 1111", ("4111 1111", "4111111111111111")),
    "phone": ("+49 30 5550 123467", ("5550 1234", "49305550123467")),
    "iban": ("DE89 3704 0044 0532 0130 00", ("0044 0532", "de89370400440532013000")),
    "ip": ("192.0.2.77", ()),
    "url": ("https://leaky-bucket.example/inbox?who=plantedowner", ("leaky-bucket", "plantedowner")),
    "us_ssn": ("my ssn is 536-22-8726", ("536-22-8726", "536228726")),
    "password": ("my password is Xyzzy!plughword9", ("xyzzy", "plughword")),
    "mac": ("00:1b:44:11:3a:b7", ()),
    "driver_license": ("my driver license is D6453322", ("d6453322",)),
}
# Where there is no text: an input, a segment, a group, a label; and in a row that is set aside.
CHANNEL = ("desk of torvaldsen@channelmail.example", ("torvaldsen", "channelmail"))
TEAM = ("babbage@teammail.example", ("babbage", "teammail"))
CONVERSATION = ("+49 40 7771 2", ("7771 2",))
LABEL = ("moved to lovelace@labelmail.example", ("lovelace", "labelmail"))
ASIDE = ("turingson@asidemail.example", ("turingson", "asidemail"))
ASKED = ("neumannsen@askedmail.example", ("neumannsen", "askedmail"))
ALL = (*SECRETS.values(), CHANNEL, TEAM, CONVERSATION, LABEL, ASIDE, ASKED)
# Words of secrets that may be in a file by chance, as part of a number, but are no line of a vocabulary.
WORDS = {
    "gracehopper",
    "plantedson",
    "4111",
    "1111",
    "5550",
    "123467",
    "de89",
    "3704",
    "0044",
    "0532",
    "192.0.2.77",
    "536",
    "8726",
    "xyzzy",
}
# What is found if the search works.
HARMLESS = "marmalade"

ROWS = 900
SETTINGS = ("model.encoder=tokens", "model.epochs=8")


def rows():
    secrets = itertools.cycle(secret for secret, _ in SECRETS.values())
    for number in range(ROWS):
        label, what = ("refund", "refund my order") if number % 2 else ("address", "change my address")
        text = f"please {what} of {HARMLESS}, {next(secrets)}"
        channel = CHANNEL[0] if number % 40 == 3 else ("web", "mail", "chat")[number % 3]
        team = TEAM[0] if number % 40 == 5 else f"team {'blue' if number % 4 < 2 else 'red'}"
        if number % 90 == 7:
            label = LABEL[0]
        if number % 90 == 8:
            text, label = f"{text} {ASIDE[0]}", ""
        yield text, label, team, channel, f"{CONVERSATION[0]}{number // 6:03}"


class Traces:
    """What is below a folder after all commands, and what they said."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.said: dict[str, str] = {}
        self.command(
            "init",
            "turns.csv",
            "--label",
            "label",
            "--segment",
            "team",
            "--text",
            "text",
            "--group",
            "conversation",
            "--name",
            "turns",
        )
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        self.record = json.loads(self.command("run", "turns.yaml", "--root", "root", *settings, "--output", "json"))
        for name in ("show", "gate", "report"):
            self.command(name, "latest", "--root", "root")
        self.serve()

    def command(self, *arguments):
        shown = parlance(*arguments, cwd=self.folder)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        self.said[" ".join(arguments[:2])] = shown.stdout + shown.stderr
        return shown.stdout

    def serve(self):
        """Asks a server with secrets in every column, in the ways that work and in one that does not."""
        grpc, rest = _free_ports(2)
        with open(self.folder / "asked.csv", "w", encoding="utf-8", newline="") as file:
            asked = csv.writer(file)
            asked.writerow(["text", "channel"])
            asked.writerows([f"refund {HARMLESS} {secret} {ASKED[0]}", CHANNEL[0]] for secret, _ in SECRETS.values())
        served = ["serve", "--root", "root", "--port", str(grpc), "--rest-api-port", str(rest)]
        flags = ["--", "--request_log_dir=requests", "--request_log_sampling_rate=1"]
        with (
            open(self.folder / "served.txt", "w+", encoding="utf-8") as said,
            _command([*served, *flags], self.folder, said) as server,
        ):
            _wait_for(server, self.folder / "served.txt", "Exporting HTTP/REST API")
            self.command("predict", "--file", "asked.csv", "--model", "turns", "--port", str(grpc))
            self.command("predict", "--rest", "--file", "asked.csv", "--model", "turns", "--port", str(rest))
            refused = parlance(
                "predict", "--file", "turns.csv", "--model", "turns", "--signature", ASKED[0], "--port", grpc, cwd=self.folder
            )
            assert refused.returncode != 0

    def contents(self):
        """Every file that a command wrote, by name, decompressed."""
        for file in self.folder.rglob("*"):
            if file.is_file() and file.name not in ("turns.csv", "asked.csv"):
                yield from _parts(str(file.relative_to(self.folder)), file.read_bytes())


def _parts(name, content):
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from _parts(f"{name}/{member}", archive.read(member))
        return
    yield name, content


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _command(arguments, folder, said):
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments], cwd=folder, stdout=said, stderr=subprocess.STDOUT
    ) as started:
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(60)


def _wait_for(process, file, words, seconds=120):
    deadline = time.monotonic() + seconds
    while words not in file.read_text(encoding="utf-8"):
        assert process.poll() is None, file.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, file.read_text(encoding="utf-8")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("privacy")
    with open(folder / "turns.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label", "team", "channel", "conversation"])
        table.writerows(rows())
    return Traces(folder)


def having(contents, word):
    """The names of those that have a word in them, in any case."""
    found = word.lower().encode()
    return {name for name, content in contents.items() if found in content.lower()}


# Every place a secret could get to, by the beginning and the end of its name.
SINKS = {
    "schema": ("schemas/turns/", "schema.pbtxt"),
    "examples": ("root/pipelines/turns/ExampleGen/examples/", ".gz"),
    "summary": ("root/pipelines/turns/ExampleGen/examples/", "summary.json"),
    "quarantine": ("root/pipelines/turns/ExampleGen/quarantine/", ".jsonl"),
    "statistics": ("root/pipelines/turns/StatisticsGen/", "FeatureStats.pb"),
    "anomalies": ("root/pipelines/turns/ExampleValidator/", "SchemaDiff.pb"),
    "vocabulary": ("root/pipelines/turns/Transform/", "_vocabulary"),
    "transform graph": ("root/pipelines/turns/Transform/", "saved_model.pb"),
    "model": ("root/pipelines/turns/Trainer/", "saved_model.pb"),
    "weights": ("root/pipelines/turns/Trainer/", ".data-00000-of-00001"),
    "evaluation": ("root/pipelines/turns/Evaluator/", ""),
    "pushed model": ("root/serving/turns/", "saved_model.pb"),
    "warm-up requests": ("root/serving/turns/", "tf_serving_warmup_requests"),
    "model card": ("root/serving/turns/", "model_card.md"),
    "report": ("root/runs/", "report.html"),
    "slice page": ("root/runs/", ".html"),
    "run record": ("root/runs/", "run.json"),
    "run log": ("root/runs/", "run.log"),
    "metadata": ("root/metadata.db", ""),
    "request log": ("requests/", ""),
    "server's output": ("served.txt", ""),
}


class TestPlantedSecrets:
    @pytest.fixture(scope="class")
    def contents(self, traces):
        return dict(traces.contents())

    @pytest.mark.parametrize("sink", SINKS)
    def test_could_have_got_there(self, sink, contents):
        beginning, end = SINKS[sink]
        assert any(content for name, content in contents.items() if name.startswith(beginning) and name.endswith(end))

    def test_a_harmless_word_did(self, contents):
        found = having(contents, HARMLESS)
        for sink in ("examples", "vocabulary", "pushed model vocabulary", "request log"):
            beginning, end = SINKS.get(sink, ("root/serving/turns/", "_vocabulary"))
            assert any(name.startswith(beginning) and name.endswith(end) for name in found), sink
        assert having(contents, "team blue") >= {name for name in contents if name.endswith(("/summary.json", "/report.html"))}

    def test_what_took_their_place_did(self, contents):
        for entity in SECRETS:
            assert having(contents, f"[{entity}]"), entity

    def test_are_in_no_file(self, contents):
        found = {f"{name}: {piece}" for secret, pieces in ALL for piece in (secret, *pieces) for name in having(contents, piece)}
        assert found == set()

    def test_are_in_nothing_a_command_said(self, traces):
        said = {name: text.encode() for name, text in traces.said.items()}
        assert {
            "init turns.csv",
            "run turns.yaml",
            "show latest",
            "gate latest",
            "report latest",
            "predict --file",
        } <= said.keys()
        assert having(said, "team blue")
        found = {f"{name}: {piece}" for secret, pieces in ALL for piece in (secret, *pieces) for name in having(said, piece)}
        assert found == set()

    def test_no_word_of_theirs_is_in_a_vocabulary(self, contents):
        vocabularies = [content for name, content in contents.items() if name.endswith("_vocabulary")]
        words = {line.strip().lower() for content in vocabularies for line in content.decode().splitlines()}
        assert HARMLESS in words
        assert words & WORDS == set()


class TestAudit:
    def test_counts_every_kind_and_column(self, traces):
        [summary] = traces.root.glob("pipelines/turns/ExampleGen/examples/*/summary.json")
        audit = json.loads(summary.read_text())["privacy"]
        assert audit["redacted_rows"] == audit["rows"] == ROWS
        assert set(SECRETS) <= audit["entities"].keys()
        assert audit["entities"]["email"]["columns"].keys() == {"text", "channel", "team", "label"}
        assert audit["entities"]["phone"]["columns"].keys() == {"text", "conversation"}

    def test_the_report_shows_it_by_segment(self, traces):
        [report] = traces.root.glob("runs/*/report.html")
        assert "Rows with personal data, by segment and kind" in report.read_text(encoding="utf-8")

    def test_rows_set_aside_are_among_those_looked_at(self, traces):
        assert traces.record["rows"]["quarantined"] == 2 * ROWS // 90

    def test_the_rules_go_with_the_model(self, traces):
        [rules] = traces.root.glob(f"serving/turns/*/{FILE}")
        assert {"text"} == set(json.loads(rules.read_text())["columns"])
        assert {"channel", "team", "label", "conversation"} == json.loads(rules.read_text())["categories"].keys()
