"""Clients that know nothing of this project: grpcio with the stubs of tensorflow-serving-api."""

import json
import pathlib
import subprocess
import sys

from serving.messages import ModelVersionStatus


def test_the_stubs_of_tensorflow_serving_work_as_they_are(server):
    script = pathlib.Path(__file__).with_name("stock_client.py")
    shown = subprocess.run(
        [sys.executable, str(script), f"127.0.0.1:{server.port}"], capture_output=True, text=True, check=False, timeout=60.0
    )
    assert shown.returncode == 0, shown.stderr[-4000:]
    assert json.loads(shown.stdout) == {
        "twice": ["kitchenkitchen", "KücheKüche"],
        "bytes": [7, 6],
        "version": 1,
        "classes": {"low": 0.75, "high": 0.25},
        "states": {"1": ModelVersionStatus.AVAILABLE},
        "inputs": ["text"],
        "refused": "NOT_FOUND: Servable not found for request: Latest(absent)",
    }
