"""Hands executors to worker processes, in the launcher's own terms."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from tfx.orchestration.portable import base_executor_operator
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2

from components import executor_path
from components.errors import EnvironmentFailure
from pipeline.local import executor_imports, failures, fork_server, memory, room, worker
from pipeline.local import plan as plan_module


class Interrupted(Exception):
    """The user ended the run. An Exception on purpose: the launcher publishes the node as failed and cleans up after it."""


class WorkerProcess:
    """One worker that runs executors one after another, started from scratch at the first of them."""

    def __init__(self, log: BinaryIO, environment: Mapping[str, str], lean: bool):
        """Prepares; nothing is started yet.

        Args:
          log: Where the executors' output goes.
          environment: Variables laid over this process's own.
          lean: Whether it runs without TensorFlow, see `worker`.
        """
        self.peak_mib = 0.0
        self._log = log
        self._environment = dict(environment)
        self._lean = lean
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: BinaryIO | None = None
        self._interrupted = threading.Event()

    @property
    def process_id(self) -> int | None:
        """The process, if it has been started."""
        return self._process.pid if self._process is not None else None

    def start(self, executor: str | None = None, cloud: bool = False) -> None:
        """Starts the process, so that its imports are done when the first executor comes. Does nothing if it runs already.

        Args:
          executor: Import path of the class of the executor that will come, if that is known.
          cloud: Whether that one uses Google's storage or runner.
        """
        if self._process is not None:
            return
        reader, writer = os.pipe()
        options = [worker.LEAN_ARGUMENT] if self._lean else []
        options += [f"{worker.EXPECT_ARGUMENT}{executor}"] if executor is not None else []
        options += [worker.CLOUD_ARGUMENT] if cloud else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.local.worker", str(writer), *options],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[writer],
            env={**os.environ, **self._environment},
            # Ctrl-C goes to the whole foreground group; the parent decides when the worker ends.
            start_new_session=True,
        )
        os.close(writer)
        self._answers = os.fdopen(reader, "rb")

    def run(self, spec: Any, invocation: Any) -> execution_result_pb2.ExecutorOutput:
        """Runs one executor and waits for its output.

        Raises:
          ParlanceError: The executor's own error, or what the failure means.
          Interrupted: `interrupt` was called.
        """
        if self._interrupted.is_set():
            raise Interrupted
        self.start()
        try:
            worker.send(self._process.stdin, worker.Request.of(spec, invocation))
            answer = worker.receive(self._answers)
        except (EOFError, BrokenPipeError) as error:
            raise self._died() from error
        if self._interrupted.is_set():
            raise Interrupted
        self.peak_mib = max(self.peak_mib, answer["peak_mib"])
        return _unpack(answer)

    def interrupt(self) -> None:
        """Ends the worker; a waiting `run` raises Interrupted. Safe to call from a signal handler."""
        self._interrupted.set()
        if self._process is not None:
            _kill_group(self._process)

    def close(self) -> None:
        """Ends the worker, if one runs."""
        if self._process is not None:
            _kill_group(self._process)
            self._process.wait()
            self._process.stdin.close()
            self._answers.close()
            self._process = None

    def _died(self) -> Exception:
        code = self._process.wait()
        self.close()
        if self._interrupted.is_set():
            return Interrupted()
        return _explain_death(code)


def _unpack(answer: Mapping[str, Any]) -> execution_result_pb2.ExecutorOutput:
    """Returns what an executor put out, or raises what it raised."""
    if "error" in answer:
        raise answer["error"]
    if "failure" in answer:
        raise failures.explain(answer["failure"], answer["errno"])
    return execution_result_pb2.ExecutorOutput.FromString(answer["output"])


def _explain_death(exit_code: int | None) -> EnvironmentFailure:
    """Returns what to say of a worker that ended without an answer."""
    if exit_code == -signal.SIGKILL:
        return EnvironmentFailure(
            "The worker process was killed (SIGKILL); when nobody did that by hand, the machine ran out of memory. "
            "Lower model.batch_size or use a machine with more memory, then run again: finished nodes are cached"
        )
    if exit_code is None:
        how = "with the process it came from"
    else:
        how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
    return EnvironmentFailure(f"The worker process died ({how}); the log has its last words. Finished nodes are cached")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Workers:
    """The processes of a run: a fresh one for each executor, forked from a server that holds the libraries already.

    Each of the two servers starts when it is known that an executor needs it; a run that is cached throughout starts no process at all.

    Attributes:
      interrupted: Whether the user ended the run.
      servers: Where the processes come from.
    """

    def __init__(
        self,
        log: BinaryIO,
        environment: Mapping[str, str],
        plan: plan_module.Plan,
        servers: fork_server.Servers,
    ):
        """Takes servers over, which may have been started early.

        Args:
          log: Where the executors' output goes.
          environment: Variables laid over this process's own.
          plan: The nodes of the run.
          servers: The servers, which `close` ends.
        """
        self.interrupted = False
        self._log = log
        self._environment = dict(environment)
        self._plan = plan
        self.servers = servers
        self._room = room.Room()
        self._running: list[fork_server.Fork | WorkerProcess] = []
        self._watch = memory.PeakWatch()
        for server, executors in ((servers.lean, plan.lean), (servers.heavy, plan.heavy)):
            server.attend(log, environment)
            if server.process_id is not None:
                server.start(list(executors.values()))

    @property
    def peak_mib(self) -> float:
        """Peak memory of this process and of all the workers together, in MiB; 0 if no executor ran."""
        return self._watch.peak_mib

    def run(self, spec: Any, invocation: Any) -> execution_result_pb2.ExecutorOutput:
        """Runs one executor; see WorkerProcess.run."""
        lean = executor_path.LEAN_FLAG in getattr(spec, "extra_flags", ())
        # What has to run gives its followers new inputs, so that they have to run as well.
        if heavy := self._plan.heavy_from(invocation.pipeline_node.node_info.id):
            self.servers.heavy.start(heavy)
        self._watch.start()
        with self._room.place(lambda: self.interrupted) as place:
            return self._run(place, lean, spec, invocation)

    def _run(self, place: room.Place, lean: bool, spec: Any, invocation: Any) -> execution_result_pb2.ExecutorOutput:
        request = worker.Request.of(spec, invocation)
        if not lean and executor_imports.asks_for_cloud(request.spec, request.invocation):
            return self._spawn_for(place, lean, spec, invocation)
        try:
            fork = (self.servers.lean if lean else self.servers.heavy).fork(request.executor)
        except fork_server.ForkRefusedError as refusal:
            if self.interrupted:
                raise Interrupted from None
            logging.warning("%s gets a process of its own from scratch: %s", request.executor, refusal)
            return self._spawn_for(place, lean, spec, invocation)
        place.process = fork.pid
        with contextlib.closing(fork), self._interruptible(fork):
            try:
                worker.send(fork.stream, request)
                answer = worker.receive(fork.stream)
            except (EOFError, OSError) as error:
                if self.interrupted:
                    raise Interrupted from None
                raise _explain_death(fork.exit_code()) from error
            self._watch.look()
        return self._output(answer)

    def _spawn_for(self, place: room.Place, lean: bool, spec: Any, invocation: Any) -> execution_result_pb2.ExecutorOutput:
        process = WorkerProcess(self._log, self._environment, lean)
        with contextlib.closing(process), self._interruptible(process):
            process.start()
            place.process = process.process_id
            return process.run(spec, invocation)

    def _output(self, answer: Mapping[str, Any]) -> execution_result_pb2.ExecutorOutput:
        self._room.needed(answer["peak_mib"])
        if self.interrupted:
            raise Interrupted
        return _unpack(answer)

    @contextlib.contextmanager
    def _interruptible(self, process: fork_server.Fork | WorkerProcess) -> Iterator[None]:
        self._running.append(process)
        try:
            if self.interrupted:
                raise Interrupted
            yield
        finally:
            self._running.remove(process)

    def interrupt(self) -> None:
        """Ends all workers; a waiting `run` raises Interrupted. Safe to call from a signal handler."""
        self.interrupted = True
        self.servers.kill()
        for process in list(self._running):
            process.kill() if isinstance(process, fork_server.Fork) else process.interrupt()

    def close(self) -> None:
        """Ends all workers."""
        self._watch.stop()
        self.servers.close()


def operators(workers: Workers, turn: threading.Lock, running: Callable[[str], None]) -> dict[Any, Any]:
    """Returns the launcher's table of executor operators, all of them on the given workers.

    Args:
      workers: Where executors run.
      turn: Held by the thread that launches a node, since one at a time may use ML Metadata; given away while an executor runs.
      running: Called with the id of a node whose executor begins.
    """

    class OnWorkers(base_executor_operator.BaseExecutorOperator):
        """Runs Python and Beam executors on worker processes."""

        SUPPORTED_EXECUTOR_SPEC_TYPE = [
            executable_spec_pb2.PythonClassExecutableSpec,
            executable_spec_pb2.BeamExecutableSpec,
        ]
        SUPPORTED_PLATFORM_CONFIG_TYPE = []

        def run_executor(self, execution_info):
            invocation = execution_info.to_proto()
            turn.release()
            try:
                running(invocation.pipeline_node.node_info.id)
                return workers.run(self._executor_spec, invocation)
            finally:
                turn.acquire()

    return dict.fromkeys(OnWorkers.SUPPORTED_EXECUTOR_SPEC_TYPE, OnWorkers)
