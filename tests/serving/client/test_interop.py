"""The client's bytes and those of tensorflow_serving's own messages are the same, in both directions."""

import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).resolve().parents[3]


@pytest.mark.tensorflow
def test_requests_and_responses_agree_with_tensorflow_serving():
    script = pathlib.Path(__file__).with_name("upstream_messages.py")
    shown = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert shown.returncode == 0, shown.stderr[-4000:]
