"""A worker process: runs executors one at a time, importing each library once.

`python -m pipeline.local.worker ANSWERS [--lean] [--expect=EXECUTOR] [--cloud]` reads requests from standard input and answers on the
file descriptor ANSWERS. Everything the executors print goes to standard error, which the parent points at the run's log. A lean worker
starts in a second and runs executors that need no TensorFlow; the other one imports what its executor needs when it hears of it, or
before if it expects one, with Google's clients if so told. A process that `fork_server` forked serves in the same way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import resource
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple, NoReturn

from components.errors import ParlanceError
from pipeline.local import executor_imports, failures, lean_imports
from serving.redaction import redact

LEAN_ARGUMENT = "--lean"
EXPECT_ARGUMENT = "--expect="
CLOUD_ARGUMENT = "--cloud"
_LENGTH = struct.Struct("<Q")


class Request(NamedTuple):
    """One executor to run.

    Attributes:
      executor: Import path of its class.
      spec: TFX's spec of it, serialized.
      is_beam: Whether that is a BeamExecutableSpec.
      invocation: TFX's ExecutionInvocation, serialized.
    """

    executor: str
    spec: bytes
    is_beam: bool
    invocation: bytes

    @classmethod
    def of(cls, spec: Any, invocation: Any) -> Request:
        """Returns the request to run what the launcher has made ready."""
        is_beam = hasattr(spec, "python_executor_spec")
        executor = (spec.python_executor_spec if is_beam else spec).class_path
        return cls(executor, spec.SerializeToString(), is_beam, invocation.SerializeToString())


def send(stream: BinaryIO, message: Any) -> None:
    """Writes one message."""
    data = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Reads one message.

    Raises:
      EOFError: The other side is gone.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    size = _LENGTH.unpack(head)[0]
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)  # noqa: S301 - a pipe between a process and the child it started


def main() -> None:
    """Serves requests until the parent closes the pipe or dies."""
    answers = os.fdopen(int(sys.argv[1]), "wb")
    requests: BinaryIO = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    log_to_standard_error()
    lean = LEAN_ARGUMENT in sys.argv
    expected = [word.removeprefix(EXPECT_ARGUMENT) for word in sys.argv if word.startswith(EXPECT_ARGUMENT)]
    serve(requests, answers, lambda: _import_before(lean, expected), None if lean else _import_for)


def log_to_standard_error() -> None:
    """Sets logging up as every process that executors run in has it."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.INFO)


def serve(
    requests: BinaryIO,
    answers: BinaryIO,
    begin: Callable[[], None] = lambda: None,
    prepare: Callable[[Request], None] | None = None,
) -> NoReturn:
    """Answers requests one at a time; ends this process and all that it started when the other side is gone.

    Args:
      requests: Where they come from.
      answers: Where answers go.
      begin: Called first, while requests may be on their way.
      prepare: Called with each request before it is executed.
    """
    pending: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        # A thread of its own: the parent's death must end this process in the middle of an executor too.
        try:
            while True:
                pending.put(receive(requests))
        except (EOFError, OSError):
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    begin()
    while True:
        request = pending.get()
        if prepare is not None:
            prepare(request)
        send(answers, _execute(request))


def _import_before(lean: bool, expected: Sequence[str]) -> None:
    if lean:
        lean_imports.install()
        from tfx.orchestration.portable import beam_executor_operator  # noqa: F401 - while nobody waits for it yet
    elif expected:
        _import(expected, CLOUD_ARGUMENT in sys.argv)


def _import_for(request: Request) -> None:
    _import([request.executor], executor_imports.asks_for_cloud(request.spec, request.invocation))


def _import(executors: Sequence[str], cloud: bool) -> None:
    # What cannot be imported is the executor's failure, and raised again where it is one.
    with contextlib.suppress(Exception):
        for _ in executor_imports.stages(executors, cloud):
            pass


def _execute(request: Request) -> dict[str, Any]:
    """Runs one executor; answers with its serialized output or with what went wrong."""
    try:
        output = _run(request)
    except ParlanceError as error:
        return {"error": error, "peak_mib": _peak_mib()}
    except BaseException as error:  # the parent decides; a worker that dies answers nothing
        # The log is on the disk that may just have filled up.
        with contextlib.suppress(OSError):
            # Under Kubeflow the log is a pod's, and libraries put values into their errors.
            sys.stderr.write(redact(traceback.format_exc()))
        return {"failure": failures.describe(error), "errno": failures.number(error), "peak_mib": _peak_mib()}
    return {"output": output.SerializeToString(), "peak_mib": _peak_mib()}


def _run(request: Request):
    from tfx.orchestration.portable import beam_executor_operator, data_types, python_executor_operator
    from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2

    if request.is_beam:
        operator = beam_executor_operator.BeamExecutorOperator(executable_spec_pb2.BeamExecutableSpec.FromString(request.spec))
    else:
        operator = python_executor_operator.PythonExecutorOperator(
            executable_spec_pb2.PythonClassExecutableSpec.FromString(request.spec)
        )
    # The launcher's own argument vector is no business of an executor's.
    operator.extra_flags = []
    invocation = execution_invocation_pb2.ExecutionInvocation.FromString(request.invocation)
    return operator.run_executor(data_types.ExecutionInfo.from_proto(invocation))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
