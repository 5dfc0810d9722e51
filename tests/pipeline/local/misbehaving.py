"""Executors that go wrong in the ways real ones do."""

import errno
import os
import signal

from tfx.dsl.components.base import base_executor

from components.errors import UsageError


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
