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
    @pytest.mark.parametrize("command", [[], ["run"], ["init"], ["doctor"], ["runs"], ["show"], ["report"], ["gate"]])
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
