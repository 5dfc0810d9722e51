"""Hands executors to worker processes, in the launcher's own terms."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO

from tfx.orchestration.portable import base_executor_operator
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2

from components import executor_path
from components.errors import EnvironmentFailure
from pipeline.local import failures, worker


class Interrupted(Exception):
    """The user ended the run. An Exception on purpose: the launcher publishes the node as failed and cleans up after it."""


class WorkerProcess:
    """One worker, started at the first executor that has to run."""

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

    def start(self) -> None:
        """Starts the process, so that its imports are done when the first executor comes. Does nothing if it runs already."""
        if self._process is not None:
            return
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.local.worker", str(writer), *([worker.LEAN_ARGUMENT] if self._lean else [])],
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
        is_beam = isinstance(spec, executable_spec_pb2.BeamExecutableSpec)
        try:
            worker.send(self._process.stdin, (spec.SerializeToString(), is_beam, invocation.SerializeToString()))
            answer = worker.receive(self._answers)
        except (EOFError, BrokenPipeError) as error:
            raise self._died() from error
        if self._interrupted.is_set():
            raise Interrupted
        self.peak_mib = max(self.peak_mib, answer["peak_mib"])
        if "error" in answer:
            raise answer["error"]
        if "failure" in answer:
            raise failures.explain(answer["failure"], answer["errno"])
        return execution_result_pb2.ExecutorOutput.FromString(answer["output"])

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
        if code == -signal.SIGKILL:
            return EnvironmentFailure(
                "The worker process was killed (SIGKILL); when nobody did that by hand, the machine ran out of memory. "
                "Lower model.batch_size or use a machine with more memory, then run again: finished nodes are cached"
            )
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return EnvironmentFailure(f"The worker process died ({name}); the log has its last words. Finished nodes are cached")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Workers:
    """The worker processes of a run: a lean one, and one with TensorFlow, Beam and TFMA, which starts to import them early."""

    def __init__(self, log: BinaryIO, environment: Mapping[str, str]):
        """Prepares; a run that is cached throughout starts no process at all. See WorkerProcess."""
        self._lean = WorkerProcess(log, environment, lean=True)
        self._full = WorkerProcess(log, environment, lean=False)
        self.interrupted = False

    @property
    def peak_mib(self) -> float:
        """Peak memory of all workers together, in MiB."""
        return self._lean.peak_mib + self._full.peak_mib

    def run(self, spec: Any, invocation: Any) -> execution_result_pb2.ExecutorOutput:
        """Runs one executor; see WorkerProcess.run."""
        # Whatever has to run, something that needs TensorFlow will follow it.
        self._full.start()
        lean = executor_path.LEAN_FLAG in getattr(spec, "extra_flags", ())
        return (self._lean if lean else self._full).run(spec, invocation)

    def interrupt(self) -> None:
        """Ends all workers; a waiting `run` raises Interrupted. Safe to call from a signal handler."""
        self.interrupted = True
        self._lean.interrupt()
        self._full.interrupt()

    def close(self) -> None:
        """Ends all workers."""
        self._lean.close()
        self._full.close()


def operators(workers: Workers) -> dict[Any, Any]:
    """Returns the launcher's table of executor operators, all of them on the given workers."""

    class OnWorker(base_executor_operator.BaseExecutorOperator):
        """Runs Python and Beam executors on a worker process."""

        SUPPORTED_EXECUTOR_SPEC_TYPE = [
            executable_spec_pb2.PythonClassExecutableSpec,
            executable_spec_pb2.BeamExecutableSpec,
        ]
        SUPPORTED_PLATFORM_CONFIG_TYPE = []

        def run_executor(self, execution_info):
            return workers.run(self._executor_spec, execution_info.to_proto())

    return dict.fromkeys(OnWorker.SUPPORTED_EXECUTOR_SPEC_TYPE, OnWorker)
