"""The health service of gRPC: Check, and Watch, which tells when a server begins to stop.

A watcher holds no thread while it waits or is told, so that neither a thousand watchers nor one that does not read its messages keeps
predictions waiting.
"""

from __future__ import annotations

import threading

import grpc
from google.protobuf.message import DecodeError

from serving.messages import HealthCheckRequest, HealthCheckResponse
from serving.server.grpc_server import Call, Stream

SERVICE = "grpc.health.v1.Health"
# The stock server names its services without their package.
SERVICES = ("", "ModelService", "PredictionService")
MAX_WATCHERS = 4096


class Health:
    """The methods of the health service. Healthy until it is told that the server stops."""

    def __init__(self, max_watchers: int = MAX_WATCHERS):
        """A service that reports SERVING.

        Args:
            max_watchers: How many may watch at a time; more are refused, each takes some memory.
        """
        self._max_watchers = max_watchers
        # Guards the two below.
        self._lock = threading.Lock()
        self._watchers: dict[Stream, bool] = {}  # and whether the service that each asks about is known
        self._serving = True

    def check(self, message: bytes, call: Call) -> bytes:
        """Answers a HealthCheckRequest; NOT_FOUND for a service that there is not."""
        if _service(message, call) not in SERVICES:
            call.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        with self._lock:
            return _response(self._status())

    def watch(self, message: bytes, stream: Stream) -> None:
        """Sends the status of a service now and when it changes; SERVICE_UNKNOWN for one that there is not."""
        known = _service(message, stream) in SERVICES
        with self._lock:
            if len(self._watchers) >= self._max_watchers:
                stream.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"There are {self._max_watchers} watchers already.")
            if stream.add_callback(lambda: self._forget(stream)):
                self._watchers[stream] = known
                self._tell(stream, known)

    def stop(self) -> None:
        """Reports NOT_SERVING from now on: to all watchers, whose streams then end."""
        with self._lock:
            self._serving = False
            for stream, known in self._watchers.items():
                self._tell(stream, known)

    def _tell(self, stream: Stream, known: bool) -> None:
        stream.send(_response(self._status() if known else HealthCheckResponse.SERVICE_UNKNOWN))
        if not self._serving:
            stream.end(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")

    def _status(self) -> int:
        return int(HealthCheckResponse.SERVING if self._serving else HealthCheckResponse.NOT_SERVING)

    def _forget(self, stream: Stream) -> None:
        with self._lock:
            self._watchers.pop(stream, None)


def _service(message: bytes, call: Call) -> str:
    try:
        return str(HealthCheckRequest.FromString(message).service)
    except DecodeError:
        call.abort(grpc.StatusCode.INTERNAL, "Unable to parse request")


def _response(status: int) -> bytes:
    content: bytes = HealthCheckResponse(status=status).SerializeToString()
    return content
