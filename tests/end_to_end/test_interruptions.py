"""Runs that are killed, interrupted, crowded or short of disk: nothing is lost, nothing half-written is ever used."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from components.release import push
from tests.conftest import PROJECT, parlance, run_arguments

pytestmark = pytest.mark.end_to_end

WAIT_SECONDS = 240


class Running:
    """A run in the background whose progress lines can be waited for."""

    def __init__(self, root: pathlib.Path, *more: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *run_arguments(root, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=PROJECT,
        )
        self.lines: list[str] = []

    def wait_for(self, node_id: str) -> bool:
        """Reads progress until a node has ended; False if the run ended first."""
        for line in self.process.stdout:
            self.lines.append(line)
            if re.match(rf"\s+\S {node_id}\s", line):
                return True
        return False

    def finish(self) -> int:
        self.lines += self.process.stdout.readlines()
        return self.process.wait(WAIT_SECONDS)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    for _ in range(100):
        state = pathlib.Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


class TestKilled:
    def test_in_the_middle_of_any_node_and_the_next_run_carries_on(self, tmp_path):
        """Kills one run after another, each a node further, in one root; then lets one finish."""
        for previous in ("SchemaImport", "ExampleGen", "DataGate", "Transform", "LatestBlessedModel"):
            running = Running(tmp_path)
            assert running.wait_for(previous), "".join(running.lines)
            for _ in range(100):
                if workers := children_of(running.process.pid):
                    break
                time.sleep(0.1)
            time.sleep(1.0)
            running.process.send_signal(signal.SIGKILL)
            running.finish()
            assert all(gone(worker) for worker in workers)
        shown = parlance(*run_arguments(tmp_path, "--output", "json"))
        record = json.loads(shown.stdout)
        assert record["state"] == "succeeded", shown.stderr
        cached = [node["id"] for node in record["nodes"] if node["state"] == "cached"]
        assert {"SchemaImport", "ExampleGen", "DataGate", "Transform"} <= set(cached)
        assert push.verify(record["pushed"]["path"]) == []
        killed = json.loads(parlance("runs", "--root", tmp_path, "--output", "json").stdout)[1:]
        assert {run["state"] for run in killed} == {"failed"}


class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_in_order_and_says_so(self, tmp_path, number):
        running = Running(tmp_path)
        assert running.wait_for("SchemaImport"), "".join(running.lines)
        workers = []
        for _ in range(100):
            if workers := children_of(running.process.pid):
                break
            time.sleep(0.1)
        running.process.send_signal(number)
        assert running.finish() == 130
        assert "Interrupted" in "".join(running.lines)
        assert all(gone(worker) for worker in workers)
        [record] = json.loads(parlance("runs", "--root", tmp_path, "--output", "json").stdout)
        assert record["state"] == "failed"
        assert pathlib.Path(record["report"]).exists()


class TestCrowded:
    def test_a_second_run_on_one_root_is_refused_and_the_first_goes_on(self, tmp_path):
        first = Running(tmp_path, "--to", "ExampleGen")
        assert first.wait_for("SchemaImport")
        second = parlance(*run_arguments(tmp_path))
        assert second.returncode == 3
        assert f"process {first.process.pid}" in second.stdout
        assert first.finish() == 0, "".join(first.lines)


class TestNoRoom:
    def test_a_root_that_cannot_be_made(self):
        shown = parlance(*run_arguments(pathlib.Path("/proc/parlance")))
        assert shown.returncode == 3
        assert "Choose another with --root" in shown.stdout

    @pytest.mark.parametrize("kibibytes", [500, 680])  # full during ingestion, full during statistics
    def test_a_full_disk(self, tmp_path, kibibytes):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "none", str(tmp_path)], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            pytest.skip("needs the right to mount a small file system")
        try:
            shown = parlance(*run_arguments(tmp_path / "root"))
            assert shown.returncode == 3
            assert "disk is full" in shown.stdout
        finally:
            subprocess.run(["umount", "-l", str(tmp_path)], check=False)
