"""What a smoke test says about servers that go wrong, and that it leaves nothing behind."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from components.errors import EnvironmentFailure
from components.evaluation.scored_sample import ScoredSample
from components.findings import Severity
from components.release import candidate_server, smoke_test
from components.release.options import SmokeTestOptions
from serving.messages import Example, SavedModel

PROJECT = pathlib.Path(__file__).resolve().parents[3]
CLASSES = ("light", "stop", "weather")
SECRET = "my grandmother's recipe"
# The fake model gives 0.8 to the class a text names.
ROWS = {"turn the light on": "light", "stop": "stop", f"stop {SECRET}": "stop", "weather ☀ 天气": "weather"}


def example(text, **numbers):
    built = Example()
    built.features.feature["text"].bytes_list.value.append(text.encode())
    for name, value in numbers.items():
        built.features.feature[name].float_list.value.append(value)
    return built.SerializeToString()


def sample(rows=ROWS, scores=None):
    given = np.array([[0.8 if label == name else 0.1 for name in CLASSES] for label in rows.values()], np.float32)
    return ScoredSample(CLASSES, tuple(map(example, rows)), given if scores is None else scores)


@pytest.fixture
def model_dir(tmp_path):
    saved = SavedModel()
    saved.meta_graphs.add().graph_def.node.add(name="sum", op="AddV2")
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(saved.SerializeToString())
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files; empty again when the test is over."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def run(model_dir, monkeypatch):
    """Tests the fake model on a server with a fault; gives the outcome."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))

    def run(fault, scored=None, **options):
        command = (sys.executable, "-m", "tests.components.release.faulty_server", fault)
        return smoke_test.run(
            model_dir,
            "intents",
            b"",
            sample() if scored is None else scored,
            SmokeTestOptions.model_validate(options),
            command=command,
        )

    return run


def failures(outcome):
    return {finding.check: finding for finding in outcome.findings if finding.severity is Severity.ERROR}


class TestGoodServer:
    def test_passes_with_everything_measured(self, run):
        outcome = run("none")
        assert outcome.passed, failures(outcome)
        numbers = outcome.numbers
        assert numbers["rows"] == len(ROWS)
        assert numbers["requests"] >= 5 * len(ROWS)
        assert numbers["max_score_difference"] == 0
        assert numbers["memory_mib"] > 10
        assert 0 < numbers["load_seconds"] < 60
        for times in numbers["latency_ms"].values():
            assert 0 < times["p50"] <= times["p99"]
        assert numbers["tf_serving"] == "2.20"
        assert outcome.request == outcome.log == ()
        assert outcome.summary().startswith("passed: 4 rows by gRPC and REST, scores within 0.0e+00, p99 ")

    def test_checks_appear_beside_those_of_the_gate(self, run):
        for finding in run("none").to_json()["findings"]:
            assert finding["rule"] == finding["check"]
            assert finding["outcome"] == "pass"
            assert {"n", "value", "interval", "limit", "reason", "slice", "subject"} <= finding.keys()

    def test_as_many_rows_as_the_options_say_are_replayed(self, run):
        assert run("none", rows=2).numbers["rows"] == 2

    def test_scores_may_differ_by_the_order_of_additions_and_no_more(self, run):
        near = sample().scores + np.float32(4e-6)
        assert run("none", sample(scores=near)).passed
        assert not run("none", sample(scores=near * np.float32(1.0001))).passed

    def test_that_ignores_the_signal_to_stop_is_ended(self, run, monkeypatch):
        monkeypatch.setattr(candidate_server, "_STOP_SECONDS", 0.1)
        assert run("does not end").passed

    def test_a_port_that_was_taken_is_replaced_by_another(self, run, monkeypatch, tmp_path):
        monkeypatch.setenv("FAULTY_SERVER_MARK", str(tmp_path / "mark"))
        assert run("port is taken once").passed
        with pytest.raises(EnvironmentFailure, match="two ports that stay free"):
            run("port is taken")


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "options", "rule", "told"),
        [
            ("dies", {}, smoke_test.RULE_AVAILABLE, "ended by itself (exit code 1)"),
            ("hangs", {"max_load_seconds": 0.7}, smoke_test.RULE_AVAILABLE, "not available within 0.7 s"),
            ("does not load", {}, smoke_test.RULE_AVAILABLE, "listens but does not serve the model: version 1 of model intents"),
            ("dies when asked", {}, smoke_test.RULE_AVAILABLE, "(SIGSEGV) while it was asked (gRPC Predict on serving_examples"),
            ("other scores", {}, smoke_test.RULE_SCORES, "4 of 4 rows by gRPC Predict on serving_examples differ"),
            ("other order of classes", {}, smoke_test.RULE_SCORES, "in their classes or their order"),
            ("other best label", {}, smoke_test.RULE_SCORES, "2 of 4 rows by gRPC Predict on serving_default differ"),
            ("loses rows", {}, smoke_test.RULE_SCORES, "4 of 4 rows by gRPC Predict on serving_default differ"),
            ("slow", {"max_p99_ms": 20, "rows": 1}, smoke_test.RULE_LATENCY, "best of 3 rounds"),
            ("takes memory", {"max_memory_mib": 250}, smoke_test.RULE_MEMORY, "the server took 3"),
        ],
    )
    def test_fail_the_rule_they_break_and_no_other(self, run, fault, options, rule, told):
        outcome = run(fault, **options)
        assert not outcome.passed
        [(check, finding)] = failures(outcome).items()
        assert check == rule
        assert told in finding.message
        assert told in finding.reason
        assert outcome.summary() == f"failed: {rule.removeprefix('smoke test: ')}"
        if fault != "hangs":  # which may be given up before it could say anything
            assert outcome.log[0] == "starting as intents"

    def test_a_server_that_falls_silent_is_not_waited_for(self, run, monkeypatch):
        monkeypatch.setattr(smoke_test, "_REQUEST_SECONDS", 0.2)
        outcome = run("falls silent", max_p99_ms=20)
        assert (
            "gRPC Predict on serving_examples, row 0 failed: no answer within"
            in failures(outcome)[smoke_test.RULE_ANSWERS].message
        )

    def test_a_sample_without_rows_proves_nothing(self, run):
        assert smoke_test.RULE_ANSWERS in failures(run("none", sample({}, np.zeros((0, 3), np.float32))))

    def test_an_op_the_target_does_not_know_fails_whatever_the_server_does(self, run, model_dir):
        saved = SavedModel()
        saved.meta_graphs.add().graph_def.node.add(name="magic", op="OpOfTomorrow")
        (model_dir / "saved_model.pb").write_bytes(saved.SerializeToString())
        outcome = run("none")
        [(_, finding)] = failures(outcome).items()
        assert "OpOfTomorrow (node magic)" in finding.message


class TestWhatIsShownOfAFailure:
    @pytest.fixture
    def outcome(self, run):
        return run("quotes", sample({f"my stop {SECRET}": "stop"}))

    def test_tells_the_request_by_names_types_and_lengths(self, outcome):
        length = len(f"my stop {SECRET}")
        assert outcome.request == (
            "gRPC Predict on serving_default, row 0 of the sample of scored rows",
            f'text: text of {length} characters, {length} bytes: "xx xxxx xx xxxxxxxxxxx\'x xxxxxx"',
        )
        assert outcome.request[0] in failures(outcome)[smoke_test.RULE_ANSWERS].message

    def test_shows_the_end_of_the_log(self, outcome):
        assert outcome.log[0] == "starting as intents"
        assert outcome.log[-1].startswith("cannot work on ")
        assert outcome.log[-1] in failures(outcome)[smoke_test.RULE_ANSWERS].message

    def test_holds_nothing_of_what_was_written(self, outcome):
        told = str(outcome.to_json())
        for word in ("grandmother", "recipe", "ann@example.org"):
            assert word not in told

    def test_numbers_are_told_by_their_size(self):
        shapes = list(smoke_test._shapes(smoke_test._columns(example("+49 30 1234567", price=1234.5, missing=np.nan))))
        assert shapes == [
            "missing: nan",
            "price: a number of 4 digits",
            "text: text of 14 characters, 14 bytes: '+00 00 0000000'",
        ]


class TestEnd:
    def test_the_server_ends_with_the_block_also_if_that_is_interrupted(self, model_dir, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(PROJECT))
        command = (sys.executable, "-m", "tests.components.release.faulty_server", "none")
        served = candidate_server.CandidateServer.started(model_dir, "intents", b"", command)
        with contextlib.suppress(KeyboardInterrupt), served as server:
            server.wait_until_available(60)
            raise KeyboardInterrupt
        assert not server.alive

    def test_the_server_ends_with_a_parent_that_is_killed(self, model_dir, temporary):
        # Whoever is killed cleans nothing up, so its temporary files go elsewhere.
        with tempfile.TemporaryDirectory(dir=model_dir.parent) as folder:
            script = (
                "import sys, time\n"
                "from components.release.candidate_server import CandidateServer\n"
                "command = (sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)')\n"
                f"with CandidateServer.started({str(model_dir)!r}, 'intents', b'', command) as server:\n"
                "    while not server.last_lines(1):\n"
                "        time.sleep(0.01)\n"
                "    print(server.last_lines(1)[0], flush=True)\n"
                "    time.sleep(60)\n"
            )
            parent = subprocess.Popen(
                [sys.executable, "-c", script], cwd=PROJECT, env={**os.environ, "TMPDIR": folder}, stdout=subprocess.PIPE
            )
            pid = int(parent.stdout.readline())
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            parent.stdout.close()
            end = time.monotonic() + 10
            while _runs(pid):
                assert time.monotonic() < end
                time.sleep(0.01)


def _runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestLayout:
    def test_is_the_version_that_a_push_would_make_without_copying_the_model(self, model_dir, tmp_path):
        (model_dir / "assets.extra").mkdir()
        (model_dir / "assets.extra" / "notes").write_text("kept")
        candidate_server._lay_out(tmp_path / "base" / "1", model_dir, b"requests")
        version = tmp_path / "base" / "1"
        assert (version / "saved_model.pb").resolve() == model_dir / "saved_model.pb"
        assert (version / "variables").is_symlink()
        assert (version / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"requests"
        assert (version / "assets.extra" / "notes").read_text() == "kept"
        assert not (model_dir / "assets.extra" / "tf_serving_warmup_requests").exists()
