"""A process that imports the executors' libraries once, and forks a fresh worker for each executor.

`python -m pipeline.local.fork_server CONTROL LIFELINE [--lean]` takes requests from the socket CONTROL while it imports. Forking is
safe as long as the process has a single thread: nobody can hold a lock that the child would wait for. So nothing here runs an operation
of TensorFlow, opens a channel or starts a pool, libraries that start threads when they are loaded are told not to, and before each fork
the threads are counted. If there is more than one, the fork is refused and the parent starts a worker the slow way.

The parent's end of the pipe LIFELINE closes when the parent dies, and the kernel ends this process for it, in the middle of an import
too. Workers end themselves when their socket closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NoReturn

from pipeline.local import executor_imports, lean_imports, worker

# Libraries that start threads when they are loaded, told not to. Workers compute with all cores again, see `_use_all_cores`.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_OPENBLAS_SETTERS = ("openblas_set_num_threads", "scipy_openblas_set_num_threads", "scipy_openblas_set_num_threads64_")
_LONGEST_MESSAGE = 2**16
_SECONDS_TO_COLLECT = 0.2


class ForkRefusedError(Exception):
    """The server has started threads, so that a fork of it might hang."""


class Fork:
    """The parent's view of one worker.

    Attributes:
      pid: The process, which leads a process group of its own.
      stream: Takes requests and gives answers, see `worker.send` and `worker.receive`.
    """

    def __init__(self, connection: socket.socket, news: BinaryIO, pid: int):
        self.pid = pid
        self.stream: Any = connection.makefile("rwb")
        self._connection = connection
        self._news = news

    def kill(self) -> None:
        """Ends the worker and all that it started. Safe to call from a signal handler."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def exit_code(self) -> int | None:
        """Waits for the end of the worker; returns its exit code, negative for a signal; None if nobody is left who knows it."""
        told = self._news.readline()
        return json.loads(told)["exit_code"] if told else None

    def close(self) -> None:
        """Ends the worker and forgets it."""
        self.kill()
        with contextlib.suppress(OSError):
            self.stream.close()
        self._connection.close()
        self._news.close()


class ForkServer:
    """The parent's view of the server. Methods may be called from several threads."""

    def __init__(self, environment: Mapping[str, str], lean: bool):
        """Prepares; nothing is started yet.

        Args:
          environment: Variables laid over this process's own.
          lean: Whether it runs without TensorFlow, see `worker`.
        """
        self._log: BinaryIO | None = None
        self._environment = dict(environment)
        self._lean = lean
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lifeline: int | None = None

    @property
    def process_id(self) -> int | None:
        """The process, if it has been started."""
        return self._process.pid if self._process is not None else None

    def start(self, executors: Sequence[str] = ()) -> None:
        """Starts the server if it does not run yet, and tells it which executors, by import path of their class, will be wanted."""
        with self._lock:
            if self._process is None:
                self._start()
            if executors:
                self._ask({"expect": list(executors)})

    def attend(self, log: BinaryIO, environment: Mapping[str, str]) -> None:
        """Says where the output goes from now on, which goes nowhere before, and what else belongs into the environment."""
        with self._lock:
            self._log = log
            self._environment |= environment
            if self._process is not None:
                self._ask({"environment": dict(environment)}, [log.fileno()])

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline, self._lifeline = os.pipe()
        arguments = [str(theirs.fileno()), str(lifeline), *([worker.LEAN_ARGUMENT] if self._lean else [])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.local.fork_server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log or subprocess.DEVNULL,
            stderr=self._log or subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), lifeline],
            env={**os.environ, **self._environment, **_ONE_THREAD},
            # Ctrl-C goes to the whole foreground group; the parent decides when the server ends.
            start_new_session=True,
        )
        theirs.close()
        os.close(lifeline)

    def fork(self, executor: str) -> Fork:
        """Returns a new worker, which has imported what an executor needs; starts the server if need be.

        Raises:
          ForkRefusedError: The server says that forking is not safe, or does not live.
        """
        mine, theirs = socket.socketpair()
        reader, writer = os.pipe()
        news = os.fdopen(reader, "rb")
        try:
            with theirs, os.fdopen(writer, "wb"):
                self.start()
                with self._lock:
                    self._ask({"fork": executor}, [theirs.fileno(), writer])
            told = json.loads(news.readline() or "{}")
        except OSError:
            told = {}
        if "pid" not in told:
            mine.close()
            news.close()
            raise ForkRefusedError(told.get("refused", "the fork server has ended"))
        return Fork(mine, news, told["pid"])

    def kill(self) -> None:
        """Ends the server, but not its workers. Safe to call from a signal handler."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the server, if it runs; its workers must have been closed."""
        if self._process is None or self._control is None or self._lifeline is None:
            return
        self._control.close()
        # Idle, it collects its workers first; busy with an import it would take too long.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * _SECONDS_TO_COLLECT)
        self.kill()
        self._process.wait()
        os.close(self._lifeline)
        self._process = None

    def _ask(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._control is None:
            raise RuntimeError("the fork server was not started")
        data = json.dumps(message).encode()
        # A server that has died is noticed by whoever waits for its answer.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._control, [data], descriptors)


class Servers:
    """The two servers of a run.

    Attributes:
      lean: For executors that need no TensorFlow.
      heavy: For the others.
    """

    def __init__(self, environment: Mapping[str, str]):
        self.lean = ForkServer(environment, lean=True)
        self.heavy = ForkServer(environment, lean=False)

    def start(self) -> None:
        """Starts both: it is known before anything else that executors of both kinds will run."""
        self.lean.start()
        self.heavy.start()

    def kill(self) -> None:
        """Ends both, but not their workers. Safe to call from a signal handler."""
        self.lean.kill()
        self.heavy.kill()

    def close(self) -> None:
        """Ends those that run."""
        self.lean.close()
        self.heavy.close()


class _Server:
    def __init__(self, control: socket.socket, lifeline: int, lean: bool):
        self._control = control
        self._lifeline = lifeline
        self._news: dict[int, int] = {}  # by process: where its end is told
        self._imports: Iterator[str] = iter(()) if lean else executor_imports.stages()
        self._expected: list[str] = []
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> NoReturn:
        """Imports while there is something to import and nobody asks for a worker."""
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        more = True
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(0 if more else None)}
            if self._woken in ready:
                self._reap()
            if self._control.fileno() in ready:
                self._hear()
                more = True
            elif more:
                more = self._import_next()

    def _hear(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._control, _LONGEST_MESSAGE, 2)
        if not data:
            self._end()
        message = json.loads(data)
        if "expect" in message:
            self._expected += [path for path in message["expect"] if path not in self._expected]
        elif "environment" in message:
            os.environ.update(message["environment"])
            [log] = descriptors
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            # It remembers where TMPDIR pointed to.
            tempfile.tempdir = None
        else:
            self._fork(message["fork"], *descriptors)

    def _end(self) -> NoReturn:
        until = time.monotonic() + _SECONDS_TO_COLLECT
        while self._news and time.monotonic() < until:
            self._reap()
            time.sleep(0.001)
        os._exit(0)

    def _import_next(self) -> bool:
        """Imports the next thing; says whether there is more."""
        if next(self._imports, None) is not None:
            return True
        if not self._expected:
            return False
        self._import_executor(self._expected.pop(0))
        return True

    def _import_executor(self, path: str) -> None:
        try:
            executor_imports.import_executor(path)
        except Exception:
            # It is the executor's failure, and raised again where it is one.
            logging.exception("%s cannot be imported beforehand", path)

    def _fork(self, executor: str, connection: int, news: int) -> None:
        for _ in self._imports:
            pass
        self._import_executor(executor)
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            reason = f"{threads} threads run in the process that was to be forked"
            logging.warning("No fork for %s: %s", executor, reason)
            _tell(news, {"refused": reason})
            os.close(connection)
            os.close(news)
            return
        # What is imported now stays for ever; the collector need not look at it, and the pages stay shared.
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            self._become_worker(connection, news)
        os.close(connection)
        self._news[pid] = news

    def _become_worker(self, connection: int, news: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            for descriptor in (self._control.fileno(), self._lifeline, self._woken, self._wake, *self._news.values()):
                os.close(descriptor)
            # Only now: until here, whoever ended the server's process group would have ended this process, too.
            _tell(news, {"pid": os.getpid()})
            os.close(news)
            gc.enable()
            _use_all_cores()
            if (random := sys.modules.get("numpy.random")) is not None:
                # Otherwise all workers would draw the same numbers. Python's own generator does so by itself.
                random.seed()
            stream = socket.socket(fileno=connection).makefile("rwb")
            worker.serve(stream, stream)
        except BaseException:
            logging.exception("A forked worker could not begin")
        finally:
            os._exit(1)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 512):
                pass
        for pid in list(self._news):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                news = self._news.pop(pid)
                _tell(news, {"exit_code": os.waitstatus_to_exitcode(status)})
                os.close(news)


def _tell(news: int, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(news, json.dumps(what).encode() + b"\n")


def _use_all_cores() -> None:
    """Gives the linear algebra of NumPy and SciPy its threads back."""
    for name in _ONE_THREAD:
        os.environ.pop(name, None)
    cores = len(os.sched_getaffinity(0))
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        libraries = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
    for library in libraries:
        with contextlib.suppress(OSError):
            loaded = ctypes.CDLL(library)
            for name in _OPENBLAS_SETTERS:
                if hasattr(loaded, name):
                    getattr(loaded, name)(cores)


def die_with(lifeline: int) -> None:
    """Has the kernel end this process as soon as the other end of the pipe is closed."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    # SIGIO ends a process that says nothing else about it.
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        if os.read(lifeline, 1) == b"":
            os._exit(0)


def main() -> NoReturn:
    """Serves until the parent dies."""
    lifeline = int(sys.argv[2])
    die_with(lifeline)
    os.dup2(2, 1)
    worker.log_to_standard_error()
    # Importing makes many objects and hardly any garbage.
    gc.disable()
    lean = worker.LEAN_ARGUMENT in sys.argv
    if lean:
        lean_imports.install()
        from tfx.orchestration.portable import beam_executor_operator  # noqa: F401
    _Server(socket.socket(fileno=int(sys.argv[1])), lifeline, lean).serve()


if __name__ == "__main__":
    main()
