"""A model server in a process of its own that serves one candidate and nothing else, for as long as a block lasts.

    with CandidateServer.started(model_dir, "intents", warmup, COMMAND) as server:
        server.wait_until_available(120)
        ...                                     # server.target, server.rest_url
        server.memory_mib(), server.last_lines(20)

It listens on loopback, on ports that were free, and reads the model from a temporary folder that looks as the release will: the
SavedModel (linked, not copied) with the warm-up requests that will be released with it.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Self

import serving
from components.release import push

COMMAND = (sys.executable, "-m", "serving.server")
"""The embedded server, by the Python that runs this; it takes tensorflow_model_server's flags."""

HOST = "127.0.0.1"

AGAIN = "`parlance run --no-cache --from InfraValidator` tries again"
"""What helps where time decided: an unchanged run would take the verdict from the cache."""

_LOG_BYTES = 1 << 16
_POLL_SECONDS = 0.02
# What a server may take to end by itself. All requests were answered by then, so that a second is long.
_STOP_SECONDS = 5.0
_MIB = 1024
# A server that reads no other version, does not try a failing load again, and offers nothing that is not needed here.
_FLAGS = (
    "--file_system_poll_wait_seconds=0",
    "--max_num_load_retries=0",
    "--enable_profiler=false",
)
# The kernel ends the server when this process is gone, however that happened: SIGKILL, which is how a run that is interrupted ends its
# workers, leaves no time for anything else. The server stays in this process' group, too, which is ended as a whole. The request holds
# across exec, and has to be made in the new process.
_DIES_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class ServerFailed(Exception):
    """The server did not come up, or did not stay up; the message says what happened."""


class PortTaken(ServerFailed):
    """Another process took one of the ports between the moment it was found free and the moment the server wanted it."""


class CandidateServer:
    """A running server; see the module's description.

    Attributes:
      model: The name it serves the candidate under.
      target: `host:port` of gRPC.
      rest_url: The address of REST.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: pathlib.Path, model: str, port: int, rest_port: int):
        """Takes over a process; see `started`."""
        self.model = model
        self.target = f"{HOST}:{port}"
        self.rest_url = f"http://{HOST}:{rest_port}"
        self._process, self._log, self._ports = process, log, (port, rest_port)
        self._started = time.monotonic()

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, model_dir: str | os.PathLike[str], model: str, warmup: bytes, command: Sequence[str] = COMMAND
    ) -> Iterator[Self]:
        """Starts a server, and ends it with the block, whatever the block ends with.

        Args:
          model_dir: The SavedModel; it is not touched.
          model: The name to serve it under.
          warmup: Content of its file of warm-up requests; none if empty.
          command: What to run; tensorflow_model_server's flags are added.
        """
        with tempfile.TemporaryDirectory(prefix="smoke-test-") as name:
            folder = pathlib.Path(name)
            _lay_out(folder / "model" / "1", pathlib.Path(model_dir), warmup)
            ports = _free_ports(2)
            flags = (
                f"--port={ports[0]}",
                f"--rest_api_port={ports[1]}",
                f"--model_name={model}",
                f"--model_base_path={folder / 'model'}",
                *_FLAGS,
            )
            log = folder / "server.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-c", _DIES_WITH_PARENT, *command, *flags],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=_environment(),
                )
            try:
                yield cls(process, log, model, *ports)
            finally:
                _end(process)

    def wait_until_available(self, limit: float) -> float:
        """Waits until the server answers.

        Args:
          limit: Seconds since its start.

        Returns:
          The seconds it took since its start. A server opens its ports when its models are loaded and warm.

        Raises:
          ServerFailed: It ended, or took too long.
        """
        waiting = list(self._ports)
        while waiting:
            self.check_alive()
            if time.monotonic() - self._started > limit:
                raise ServerFailed(
                    f"the server was not available within {limit:g} s of its start; if the machine was busy, {AGAIN}"
                )
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, waiting[0]), 1.0).close()
                waiting.pop(0)
                continue
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - self._started

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def check_alive(self) -> None:
        """Raises ServerFailed if the process has ended."""
        code = self._process.poll()
        if code is None:
            return
        if any("cannot listen on" in line.lower() for line in self.last_lines(5)):
            raise PortTaken("the server could not listen: another process took its port")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ServerFailed(f"the server ended by itself ({how})")

    def memory_mib(self) -> float | None:
        """Returns the most memory the process has taken so far, in MiB; None where the system does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in pathlib.Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / _MIB
        return None

    def last_lines(self, count: int) -> list[str]:
        """Returns the last lines of its log, which may quote requests."""
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            return [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()][-count:]
        return []


def _lay_out(version: pathlib.Path, model_dir: pathlib.Path, warmup: bytes) -> None:
    """Makes a version's folder as a push would, with links in the place of copies."""
    extra = pathlib.PurePosixPath(push.WARMUP)
    version.mkdir(parents=True)
    for entry in model_dir.resolve().iterdir():
        if entry.name != extra.parent.name:
            (version / entry.name).symlink_to(entry)
    (version / extra.parent).mkdir()
    if (model_dir / extra.parent).is_dir():
        shutil.copytree(model_dir / extra.parent, version / extra.parent, dirs_exist_ok=True)
    if warmup:
        (version / extra).write_bytes(warmup)


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for probe in sockets:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in sockets]


def _environment() -> dict[str, str]:
    """This process' environment, in which `python -m serving.server` finds this package, wherever it was started."""
    package = str(pathlib.Path(serving.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Reached with an interrupt during the wait, too.
        process.kill()
        process.wait()
