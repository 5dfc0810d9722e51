"""Executors that go wrong in the ways real ones do, and some that do not."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from tfx.dsl.components.base import base_executor

from components.errors import GateError, UsageError


class Killed(base_executor.BaseExecutor):
    """Dies as under the kernel's out-of-memory killer."""

    def Do(self, input_dict, output_dict, exec_properties):
        os.kill(os.getpid(), signal.SIGKILL)


class DiskFull(base_executor.BaseExecutor):
    """Fails as a library does that wraps the operating system's error."""

    def Do(self, input_dict, output_dict, exec_properties):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("could not write shard 3") from error


class Refusing(base_executor.BaseExecutor):
    """Raises an error meant for people."""

    def Do(self, input_dict, output_dict, exec_properties):
        raise UsageError("the label column is missing")


class Broken(base_executor.BaseExecutor):
    """Raises what nobody foresaw."""

    def Do(self, input_dict, output_dict, exec_properties):
        raise KeyError("x")


class Fine(base_executor.BaseExecutor):
    """Does nothing, and prints while it does."""

    def Do(self, input_dict, output_dict, exec_properties):
        os.write(1, b"noise on standard output")


class TellsItsProcess(base_executor.BaseExecutor):
    """Writes down what it finds in its process."""

    def Do(self, input_dict, output_dict, exec_properties):
        facts = {"pid": os.getpid(), "group": os.getpgrp(), "single_threaded": os.environ.get("OPENBLAS_NUM_THREADS")}
        facts["descriptors"] = len(os.listdir("/proc/self/fd"))
        pathlib.Path(exec_properties["folder"], f"facts-{os.getpid()}.json").write_text(json.dumps(facts))


class NamesTensorFlow(base_executor.BaseExecutor):
    """Writes down which TensorFlow its process holds already."""

    def Do(self, input_dict, output_dict, exec_properties):
        pathlib.Path(exec_properties["folder"], "tensorflow").write_text(sys.modules["tensorflow"].__version__)


class LeavesAChild(base_executor.BaseExecutor):
    """Starts a process and does not wait for it."""

    def Do(self, input_dict, output_dict, exec_properties):
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path(exec_properties["folder"], "child").write_text(str(child.pid))


class Sleeps(base_executor.BaseExecutor):
    """Takes longer than any test, and says when it has begun and where."""

    def Do(self, input_dict, output_dict, exec_properties):
        pathlib.Path(exec_properties["folder"], "began").write_text(str(os.getpid()))
        time.sleep(60)


class Meets(base_executor.BaseExecutor):
    """Ends when another one runs at the same time."""

    def Do(self, input_dict, output_dict, exec_properties):
        folder = pathlib.Path(exec_properties["folder"])
        (folder / f"met-{os.getpid()}").touch()
        until = time.monotonic() + 30
        while len(list(folder.glob("met-*"))) < 2:
            if time.monotonic() > until:
                raise TimeoutError("nobody came")
            time.sleep(0.01)


class SaysNoMeanwhile(base_executor.BaseExecutor):
    """Refuses the data as soon as another one is at work."""

    def Do(self, input_dict, output_dict, exec_properties):
        until = time.monotonic() + 30
        while not pathlib.Path(exec_properties["folder"], "working").exists() and time.monotonic() < until:
            time.sleep(0.01)
        raise GateError("too many rows were set aside")


class Works(base_executor.BaseExecutor):
    """Works for a while, and says when it has begun."""

    def Do(self, input_dict, output_dict, exec_properties):
        pathlib.Path(exec_properties["folder"], "working").touch()
        time.sleep(0.5)
