"""A worker process: runs executors one at a time, importing each library once.

`python -m pipeline.local.worker ANSWERS [--lean]` reads requests from standard input and answers on the file descriptor ANSWERS.
Everything the executors print goes to standard error, which the parent points at the run's log. A lean worker starts in a second and
runs executors that need no TensorFlow; the other one begins to import TensorFlow and Beam before the first request arrives.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import resource
import struct
import sys
import threading
import traceback
from typing import Any, BinaryIO

from components.errors import ParlanceError
from pipeline.local import failures, lean_imports
from serving.redaction import redact

LEAN_ARGUMENT = "--lean"
_LENGTH = struct.Struct("<Q")


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
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    logging.getLogger("absl").setLevel(logging.INFO)
    pending: list[Any] = []
    ready = threading.Semaphore(0)

    def listen() -> None:
        # A thread of its own: the parent's death must end this process in the middle of an executor too.
        try:
            while True:
                pending.append(receive(requests))
                ready.release()
        except EOFError:
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    if LEAN_ARGUMENT in sys.argv:
        lean_imports.install()
    # What every executor needs, TensorFlow and Beam among it unless lean, is imported while nobody waits for it yet.
    from tfx.orchestration.portable import beam_executor_operator  # noqa: F401

    while True:
        ready.acquire()
        send(answers, _execute(*pending.pop(0)))


def _execute(spec_bytes: bytes, is_beam: bool, invocation_bytes: bytes) -> dict[str, Any]:
    """Runs one executor; answers with its serialized output or with what went wrong."""
    try:
        output = _run(spec_bytes, is_beam, invocation_bytes)
    except ParlanceError as error:
        return {"error": error, "peak_mib": _peak_mib()}
    except BaseException as error:  # the parent decides; a worker that dies answers nothing
        # The log is on the disk that may just have filled up.
        with contextlib.suppress(OSError):
            # Under Kubeflow the log is a pod's, and libraries put values into their errors.
            sys.stderr.write(redact(traceback.format_exc()))
        return {"failure": failures.describe(error), "errno": failures.number(error), "peak_mib": _peak_mib()}
    return {"output": output.SerializeToString(), "peak_mib": _peak_mib()}


def _run(spec_bytes: bytes, is_beam: bool, invocation_bytes: bytes):
    from tfx.orchestration.portable import beam_executor_operator, data_types, python_executor_operator
    from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2

    if is_beam:
        operator = beam_executor_operator.BeamExecutorOperator(executable_spec_pb2.BeamExecutableSpec.FromString(spec_bytes))
    else:
        operator = python_executor_operator.PythonExecutorOperator(
            executable_spec_pb2.PythonClassExecutableSpec.FromString(spec_bytes)
        )
    # The launcher's own argument vector is no business of an executor's.
    operator.extra_flags = []
    invocation = execution_invocation_pb2.ExecutionInvocation.FromString(invocation_bytes)
    return operator.run_executor(data_types.ExecutionInfo.from_proto(invocation))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
