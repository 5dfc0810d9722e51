"""The command line, as a process: what people and scripts see."""

import json
import os
import subprocess
import sys

import pytest


def parlance(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


class TestHelp:
    @pytest.mark.parametrize(
        "command",
        [
            [],
            ["run"],
            ["init"],
            ["doctor"],
            ["runs"],
            ["show"],
            ["report"],
            ["gate"],
            ["serve"],
            ["predict"],
            ["release"],
            ["data"],
            ["schema"],
        ],
    )
    def test_every_command_explains_itself_with_an_example(self, command):
        shown = parlance(*command, "--help")
        assert shown.returncode == 0
        assert "example: parlance" in " ".join(shown.stdout.split())

    def test_imports_nothing_heavy(self):
        code = (
            "import sys; from pipeline import cli\n"
            "try: cli.main(['run', '--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'tensorflow', 'tfx', 'apache_beam', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)\n"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


class TestExitCodes:
    @pytest.mark.parametrize("arguments", [["bake"], ["run", "--colour"], []])
    def test_a_wrong_command_is_2(self, arguments):
        assert parlance(*arguments).returncode == 2

    def test_a_missing_pipeline_file_is_2_and_says_what_to_do(self, tmp_path):
        shown = parlance("run", tmp_path / "no.yaml")
        assert shown.returncode == 2
        assert "parlance init" in shown.stderr

    @pytest.mark.parametrize("command", ["show", "report", "gate"])
    def test_an_unknown_run_is_2(self, command, tmp_path):
        shown = parlance(command, "nothing", "--root", tmp_path)
        assert shown.returncode == 2
        assert "none yet" in shown.stderr

    def test_no_runs_is_not_an_error(self, tmp_path):
        assert parlance("runs", "--root", tmp_path).returncode == 0
        assert json.loads(parlance("runs", "--root", tmp_path, "--output", "json").stdout) == []


FINDING = {
    "check": "accuracy >= 0.9", "rule": "accuracy >= 0.9", "severity": "error", "outcome": "fail", "subject": "language=de",
    "slice": {"language": "de"}, "n": 400, "value": 0.8, "interval": [0.75, 0.85], "limit": ">= 0.9000",
    "reason": "the whole interval is below the limit", "message": "accuracy on language=de is 0.8000",
    "expected": ">= 0.9000", "observed": "0.8000",
}  # fmt: skip
BASELINE = {"present": False, "note": "first run"}


class TestGate:
    @pytest.fixture
    def root(self, tmp_path):
        def write(blessed, **more):
            folder = tmp_path / "runs" / "tickets-1"
            folder.mkdir(parents=True, exist_ok=True)
            verdict = {"blessed": blessed, "findings": [] if blessed else [FINDING], "baseline": BASELINE}
            record = {"run_id": "tickets-1", "state": "rejected", "nodes": [], "verdict": verdict, **more}
            (folder / "run.json").write_text(json.dumps(record))
            return tmp_path

        return write

    def test_prints_the_table_and_exits_with_the_verdict(self, root):
        shown = parlance("gate", "latest", "--root", root(blessed=False))
        assert shown.returncode == 1
        header, row, *rest = shown.stdout.splitlines()
        assert header.split() == ["outcome", "rule", "slice", "n", "value", "interval", "limit"]
        assert row == (
            "FAIL     accuracy >= 0.9  language=de  400  0.8000  [0.7500, 0.8500]  >= 0.9000  the whole interval is below the limit"
        )
        assert rest[-2:] == ["baseline: first run", "not blessed"]
        assert parlance("gate", "latest", "--root", root(blessed=True)).returncode == 0

    def test_shows_what_the_data_warned_of_before_the_models_verdict(self, root):
        warning = {"check": "drift", "severity": "warning", "message": "Column 'fare' differs", "subject": "fare"}
        shown = parlance("gate", "latest", "--root", root(blessed=True, data_findings=[warning]))
        assert shown.stdout.splitlines()[0] == "warn  Column 'fare' differs"
        assert shown.returncode == 0

    def test_says_once_why_the_data_stopped_a_run(self, root):
        stopped = {"blessed": False, "findings": [FINDING]}
        shown = parlance("gate", "latest", "--root", root(blessed=False, verdict=stopped, data_findings=[FINDING]))
        assert shown.stdout.count("language=de") == 1

    def test_speaks_json(self, root):
        shown = parlance("gate", "latest", "--output", "json", "--root", root(blessed=False))
        assert shown.returncode == 1
        assert json.loads(shown.stdout)["findings"] == [FINDING]

    def test_says_that_a_model_was_released_all_the_same_and_still_exits_with_the_verdict(self, root):
        statement = {"reason": "rollback", "by": "ada", "at": "2026-01-01T00:00:00+00:00", "failed": ["accuracy >= 0.9"]}
        shown = parlance("gate", "latest", "--root", root(blessed=False, override=statement))
        assert shown.returncode == 1
        assert "released by override of ada" in shown.stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--override"], "--override needs --reason"),
            (["--override", "--reason", " "], "--override needs --reason"),
            (["--reason", "why"], "--reason goes with --override"),
            # The record names no evaluation.
            (["--override", "--reason", "why"], "run tickets-1 measured none"),
        ],
    )
    def test_an_override_needs_a_reason_and_a_rejected_model(self, root, arguments, message):
        shown = parlance("gate", "latest", *arguments, "--root", root(blessed=False))
        assert shown.returncode == 2
        assert message in shown.stderr


class TestDoctor:
    def test_finds_everything_here(self):
        shown = parlance("doctor")
        assert shown.returncode == 0, shown.stdout
        assert "tensorflow" in shown.stdout

    def test_speaks_json(self):
        checks = json.loads(parlance("doctor", "--output", "json").stdout)
        assert {"python", "c runtime", "tfx", "disk"} <= {check["name"] for check in checks}


def test_the_effective_configuration_can_be_printed():
    shown = parlance("run", "--print-config", "--output", "json", "--set", "model.epochs=7")
    assert json.loads(shown.stdout)["model"]["epochs"] == 7
