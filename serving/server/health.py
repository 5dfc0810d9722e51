"""The health service of gRPC: Check, and Watch, which tells when a server begins to stop.

A watcher holds no thread while it waits, and has a thread pool of its own to be told by, so that neither a thousand watchers nor one
that does not read its messages keeps predictions waiting.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from serving.messages import HealthCheckRequest, HealthCheckResponse

# The stock server names its services without their package.
SERVICES = ("", "ModelService", "PredictionService")
MAX_WATCHERS = 4096
_THREADS = 2


class Health:
    """The methods of the health service. Healthy until it is told that the server stops."""

    def __init__(self, max_watchers: int = MAX_WATCHERS):
        """A service that reports SERVING.

        Args:
            max_watchers: How many may watch at a time; more are refused, each takes some memory.
        """
        self._max_watchers = max_watchers
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS, "health")
        # Guards the two below.
        self._lock = threading.Lock()
        self._watchers: dict[int, _Watcher] = {}
        self._serving = True

    def handler(self) -> grpc.GenericRpcHandler:
        """What to add to a grpc server."""

        def watch(message: bytes, context: grpc.ServicerContext, send: Callable[[bytes | None], None]) -> None:
            self.watch(message, context, send)

        # How grpc is told that the method returns at once and sends later, and which threads call it.
        watch.experimental_non_blocking = True  # type: ignore[attr-defined]
        watch.experimental_thread_pool = self._pool  # type: ignore[attr-defined]
        methods = {"Check": grpc.unary_unary_rpc_method_handler(self.check), "Watch": grpc.unary_stream_rpc_method_handler(watch)}
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)

    def check(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """Answers a HealthCheckRequest; NOT_FOUND for a service that there is not."""
        if _service(message, context) not in SERVICES:
            context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return _response(self._status())

    def watch(self, message: bytes, context: grpc.ServicerContext, send: Callable[[bytes | None], None]) -> None:
        """Sends the status of a service now and when it changes; SERVICE_UNKNOWN for one that there is not.

        Args:
            message: A HealthCheckRequest.
            context: grpc's.
            send: Sends a message, or ends the stream where it is given None.
        """
        known = _service(message, context) in SERVICES
        watcher = _Watcher(context, send, known)
        with self._lock:
            full = len(self._watchers) >= self._max_watchers
            if not full:
                self._watchers[id(watcher)] = watcher
        if full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"There are {self._max_watchers} watchers already.")
        if not context.add_callback(lambda: self._forget(watcher)):
            self._forget(watcher)
            return
        watcher.tell(self._status())

    def stop(self, timeout: float) -> None:
        """Reports NOT_SERVING from now on: to all watchers, whose streams then end, waiting for those that do not read no longer.

        Args:
            timeout: Seconds.
        """
        with self._lock:
            self._serving = False
            watchers = list(self._watchers.values())
        told = [self._pool.submit(watcher.tell, HealthCheckResponse.NOT_SERVING) for watcher in watchers]
        # The pool stays: grpc hands it whoever begins to watch now, to be told the same.
        concurrent.futures.wait(told, timeout)

    def _status(self) -> int:
        with self._lock:
            return int(HealthCheckResponse.SERVING if self._serving else HealthCheckResponse.NOT_SERVING)

    def _forget(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.pop(id(watcher), None)


class _Watcher:
    """The stream of one watcher."""

    def __init__(self, context: grpc.ServicerContext, send: Callable[[bytes | None], None], known: bool):
        self._context = context
        self._send = send
        self._known = known
        # grpc takes one message of a stream at a time.
        self._sending = threading.Lock()
        self._ended = False

    def tell(self, status: int) -> None:
        """Sends a status; ends the stream after NOT_SERVING, as the server stops."""
        with self._sending:
            if self._ended:
                return
            self._send(_response(status if self._known else HealthCheckResponse.SERVICE_UNKNOWN))
            if status == HealthCheckResponse.NOT_SERVING:
                self._ended = True
                self._context.set_code(grpc.StatusCode.UNAVAILABLE)
                self._context.set_details("The server is shutting down.")
                self._send(None)


def _service(message: bytes, context: grpc.ServicerContext) -> str:
    try:
        return str(HealthCheckRequest.FromString(message).service)
    except DecodeError:
        context.abort(grpc.StatusCode.INTERNAL, "Unable to parse request")
        raise


def _response(status: int) -> bytes:
    content: bytes = HealthCheckResponse(status=status).SerializeToString()
    return content
