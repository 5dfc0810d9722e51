"""Where gRPC reads and writes."""

import os
import subprocess
import sys

from serving.server import polling


def test_leaves_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("GRPC_EXPERIMENTS", "something")
    polling.in_the_thread_that_waits()
    assert os.environ["GRPC_EXPERIMENTS"] == "something"


def test_this_grpc_knows_all_names(monkeypatch):
    monkeypatch.setenv("GRPC_EXPERIMENTS", "")  # so that it is put back as it was
    monkeypatch.delenv("GRPC_EXPERIMENTS")
    polling.in_the_thread_that_waits()
    program = "import grpc; grpc.insecure_channel('127.0.0.1:1').close()"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Unknown experiment" not in shown.stderr
    unknown = {**os.environ, "GRPC_EXPERIMENTS": "-no_such_thing"}
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=unknown)
    assert "Unknown experiment" in shown.stderr  # or this test would see nothing
