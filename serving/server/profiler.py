"""The service tensorflow.ProfilerService: records what TensorFlow does for a while, for TensorBoard.

Recording is done by the profiler of the installed TensorFlow, whose extension module loads in a moment and without the package around
it, on the first call. A process that has called it can no longer import TensorFlow, as extension modules load once; a server never does.
TensorFlow's own profiler server is not used: it listens on all addresses.

A caller names the folder that the record is written to, so the service is offered only where all callers are on this machine.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import pathlib
import sys
import threading
import time
from typing import Any

from serving.messages import wire
from serving.server.errors import ServingError, StatusCode

SERVICE = "tensorflow.ProfilerService"
_EXTENSION = "_pywrap_profiler"
_LONGEST_MS = 600_000
# Field numbers of ProfileRequest and ProfileResponse.
_DURATION_MS, _REPOSITORY_ROOT, _SESSION_ID, _HOST_NAME = 1, 5, 6, 7
_EMPTY_TRACE = 7

_recording = threading.Lock()


def profile(request: bytes) -> bytes:
    """Answers a serialized ProfileRequest with a serialized ProfileResponse, after as long as the request asks for.

    Writes `<repository_root>/<session_id>/<host_name>.xplane.pb`, where the request says so.

    Raises:
        ServingError: ALREADY_EXISTS while another recording goes on; UNIMPLEMENTED where TensorFlow's profiler is not installed;
            INVALID_ARGUMENT for a request that cannot be read or a record that cannot be written.
    """
    try:
        duration_ms = _varint_field(request, _DURATION_MS)
        root, session, host = (_text_field(request, number) for number in (_REPOSITORY_ROOT, _SESSION_ID, _HOST_NAME))
    except (ValueError, IndexError) as error:
        raise ServingError(StatusCode.INVALID_ARGUMENT, "The ProfileRequest cannot be read.") from error
    if not _recording.acquire(blocking=False):
        raise ServingError(StatusCode.ALREADY_EXISTS, "Another profiling session active.")
    try:
        recorder = _extension().ProfilerSession()
        recorder.start("", {})
        time.sleep(min(duration_ms, _LONGEST_MS) / 1000)
        record = recorder.stop()
    finally:
        _recording.release()
    if root:
        # Names, not paths: a record lies in the folder of its session.
        folder = pathlib.Path(root, pathlib.PurePath(session or "session").name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{pathlib.PurePath(host or 'localhost').name}.xplane.pb").write_bytes(record)
        except OSError as error:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"The record cannot be written: {error.strerror}") from error
    return b"" if record else wire.varint(_EMPTY_TRACE << 3) + wire.varint(1)


@functools.cache
def _extension() -> Any:
    imported = sys.modules.get(f"tensorflow.python.profiler.internal.{_EXTENSION}")
    if imported is not None:
        return imported
    package = importlib.util.find_spec("tensorflow")
    folder = package.submodule_search_locations if package is not None else None
    for root in folder or ():
        path = pathlib.Path(root, "python", "profiler", "internal", f"{_EXTENSION}.so")
        if path.exists():
            loader = importlib.machinery.ExtensionFileLoader(_EXTENSION, str(path))
            spec = importlib.util.spec_from_loader(_EXTENSION, loader)
            if spec is not None:
                module = importlib.util.module_from_spec(spec)
                loader.exec_module(module)
                return module
    raise ServingError(StatusCode.UNIMPLEMENTED, "The installed TensorFlow has no profiler.")


def _text_field(message: bytes, number: int) -> str:
    values = list(wire.length_delimited(message, number))
    return bytes(values[-1]).decode("utf-8") if values else ""


def _varint_field(message: bytes, number: int) -> int:
    """The last value of a varint field; 0 without one."""
    position = value = 0
    while position < len(message):
        tag, position = wire.read_varint(message, position)
        if tag & 7 == 0:
            entry, position = wire.read_varint(message, position)
            value = entry if tag >> 3 == number else value
        elif tag & 7 == 2:
            length, position = wire.read_varint(message, position)
            position += length
        else:
            position += 8 if tag & 7 == 1 else 4
    return value
