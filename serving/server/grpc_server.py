"""A gRPC server that answers short requests on the thread that polls, and long ones in a pool of threads.

    server = GrpcServer({"/package.Service/Method": behaviour}, streams={}, options=(), workers=4)
    port = server.add_port("127.0.0.1:0")
    server.start()
    ...
    server.stop(grace=5.0).wait()

`grpc.server` takes 0.3 ms of Python's time for each request, whatever it does: it wakes a thread of its pool, which asks the polling
thread for the message and waits to be woken again. This one does what a call needs, in one thread where it can (see `dispatch`), and
takes a third of that. It stands on the same C core, through the same module below the public one: `grpc._cython.cygrpc`, which has no
stability promised; a test holds its names against what is used here. Deadlines, compression, limits of size, TLS and flow control are
the core's.

A behaviour is called with a message and its `Call` and returns the answer. One of a stream is called with a `Stream` instead, on the
polling thread; it returns at once and sends when it has something to say.
"""

from __future__ import annotations

import collections
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

import grpc
from grpc._cython import cygrpc

from serving.server.dispatch import Dispatch, Pace

Behaviour = Callable[[bytes, "Call"], bytes]
StreamBehaviour = Callable[[bytes, "Stream"], None]

_NO_FLAGS = 0
_CODES = {code: code.value[0] for code in grpc.StatusCode}
# How long the polling thread sleeps at most; nothing depends on it.
_POLL_SECONDS = 60.0
# What a call waits for before it is over: its message, and that it has ended.
_PARTS = 2

logger = logging.getLogger(__name__)


class Aborted(Exception):
    """Ends a call with a status other than OK.

    Attributes:
        code: The status.
        details: What the client is told.
    """

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(code, details)
        self.code, self.details = code, details


class Call:
    """What a behaviour may ask of its call."""

    __slots__ = ("_active", "_callbacks", "_deadline", "_parts", "_raw", "_watched")

    def __init__(self, raw: Any, deadline: float):
        self._raw = raw
        self._deadline = deadline
        self._active = True
        self._watched = False
        # Only the polling thread changes it.
        self._parts = _PARTS
        self._callbacks: list[Callable[[], None]] = []

    def time_remaining(self) -> float:
        """Seconds until the client gives up; very many where it never does."""
        return max(self._deadline - time.time(), 0.0)

    def is_active(self) -> bool:
        """Whether the client still waits."""
        return self._active

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """Ends the call with a status.

        Raises:
            Aborted: Always.
        """
        raise Aborted(code, details)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Has a function called on the polling thread once the call is over; False if it is already. For behaviours of streams."""
        if not self._active:
            return False
        self._callbacks.append(callback)
        return True

    def _watch(self) -> None:
        """Has the core tell at once when the client has gone; without it, it tells with the answer, which is one event less. On the
        polling thread, and before the call is answered."""
        self._watched = True
        self._parts += 1
        self._raw.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), self._closed)

    def _answer(self, content: bytes) -> None:
        self._finish(
            cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),
            cygrpc.SendMessageOperation(content, _NO_FLAGS),
            cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", _NO_FLAGS),
        )

    def _refuse(self, code: grpc.StatusCode, details: str) -> None:
        self._finish(cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), _status(code, details))

    def _finish(self, *operations: Any) -> None:
        if not self._watched:
            operations += (cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),)
        self._raw.start_server_batch(operations, self._sent)

    # Tags of what the core was asked for: called with the event on the polling thread, return the call where it is over by that.

    def _closed(self, event: Any) -> Call | None:
        self._active = False
        return self._part_done()

    def _sent(self, event: Any) -> Call | None:
        return self._part_done()

    def _part_done(self) -> Call | None:
        self._parts -= 1
        return None if self._parts else self

    def _over(self) -> None:
        for callback in self._callbacks:
            callback()


class Stream(Call):
    """A call that is answered by any number of messages. What is sent waits here until the client has read what went before."""

    __slots__ = ("_begun", "_end", "_lock", "_sending", "_waiting")

    def __init__(self, raw: Any, deadline: float):
        super().__init__(raw, deadline)
        # Guards all below: whoever sends is not the polling thread.
        self._lock = threading.Lock()
        self._waiting: collections.deque[bytes] = collections.deque()
        self._end: tuple[grpc.StatusCode, str] | None = None
        self._begun = self._sending = False

    def send(self, content: bytes) -> None:
        """Sends a message; nothing after the end, or to a client that has gone."""
        with self._lock:
            if self._end is None:
                self._waiting.append(content)
                self._go_on()

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """Ends the stream after what was sent."""
        with self._lock:
            if self._end is None:
                self._end = (code, details)
                self._go_on()

    def _go_on(self) -> None:
        """Has the core send what comes next, one thing at a time."""
        if self._sending or not (self._waiting or self._end):
            return
        self._sending = True
        operations = [] if self._begun else [cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)]
        self._begun = True
        if self._waiting:
            operations.append(cygrpc.SendMessageOperation(self._waiting.popleft(), _NO_FLAGS))
            self._raw.start_server_batch(operations, self._message_sent)
        elif self._end is not None:
            operations.append(_status(*self._end))
            self._raw.start_server_batch(operations, self._sent)

    def _message_sent(self, event: Any) -> None:
        with self._lock:
            self._sending = False
            self._go_on()

    def _refuse(self, code: grpc.StatusCode, details: str) -> None:
        self.end(code, details)

    def _closed(self, event: Any) -> Call | None:
        with self._lock:
            self._waiting.clear()
        self.end(grpc.StatusCode.CANCELLED, "")
        return super()._closed(event)


class GrpcServer:
    """A server; see the module's description."""

    def __init__(
        self,
        methods: Mapping[str, Behaviour],
        streams: Mapping[str, StreamBehaviour],
        options: Sequence[tuple[str, int | str]],
        workers: int,
        stay: Collection[str] = (),
    ):
        """A server that does not run yet.

        Args:
            methods: Behaviours of methods with one answer by full name; what else is called is UNIMPLEMENTED.
            streams: Those of methods that answer with a stream.
            options: Channel arguments of the core.
            workers: Threads of the pool.
            stay: Names of methods whose short requests are answered on the polling thread: such as compute, and never wait for others.
        """
        self._methods, self._streams = dict(methods), dict(streams)
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, "grpc")
        self._stay, self._dispatch = frozenset(stay), Dispatch()
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options), False)
        self._server.register_completion_queue(self._queue)
        # Only the polling thread changes it: calls that are not over.
        self._calls: set[Call] = set()
        # Guards the three below, and the end of the server. The core was asked for the next call, and has not come back on it.
        self._lock = threading.Lock()
        self._started = self._stopping = self._asked = False
        self._stopped = threading.Event()

    def add_port(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listens at an address, "host:port" or "unix:path".

        Args:
            address: Where; port 0 stands for a free one.
            credentials: Of TLS; None for plain connections.

        Returns:
            The port; 0 if it is taken or there is no such address.
        """
        arguments = () if credentials is None else (credentials._credentials,)
        try:
            port: int = self._server.add_http2_port(address.encode(), *arguments)
        except RuntimeError:
            return 0
        return port

    def start(self) -> None:
        """Takes requests from now on."""
        with self._lock:
            self._server.start()
            self._started = True
            self._ask_for_a_call()
        threading.Thread(target=self._poll, name="grpc-poll", daemon=True).start()

    def stop(self, grace: float) -> threading.Event:
        """Takes no more requests.

        Args:
            grace: Seconds after which requests in progress are cancelled.

        Returns:
            Is set when all have ended.
        """
        with self._lock:
            if not self._started:
                self._stopped.set()
            elif not self._stopping:
                self._stopping = True
                self._server.shutdown(self._queue, self._shut_down)
                threading.Thread(target=self._cancel_after, args=(grace,), daemon=True).start()
        return self._stopped

    def _cancel_after(self, grace: float) -> None:
        if not self._stopped.wait(grace):
            with self._lock:
                if not self._stopped.is_set():  # it is gone then, and the core does not look
                    self._server.cancel_all_calls()

    def _poll(self) -> None:
        shut_down = False
        while not shut_down or self._calls or self._asked:
            event = self._queue.poll(time.time() + _POLL_SECONDS)
            if event.completion_type == cygrpc.CompletionType.queue_timeout:
                continue
            try:
                over = event.tag(event)
                if over is self:
                    shut_down = True
                elif over is not None:
                    self._calls.discard(over)
                    over._over()
            except Exception as error:  # the thread has to live; an error's text may quote a request
                logger.error("An event of gRPC failed: %s", type(error).__name__)
            # It may hold the last reference to its call, which the core wants gone before it is polled again.
            event = over = None
        with self._lock:
            self._server.destroy()
            self._stopped.set()
        self._pool.shutdown(wait=False)

    def _ask_for_a_call(self) -> None:
        self._asked = True
        self._server.request_call(self._queue, self._queue, self._called)

    # Tags, see Call.

    def _shut_down(self, event: Any) -> GrpcServer:
        return self

    def _called(self, event: Any) -> None:
        with self._lock:
            self._asked = False
            if not self._stopping:
                self._ask_for_a_call()
        if not event.success:
            return
        details = event.call_details
        method = details.method.decode("utf-8", "replace")
        call: Call
        if (behaviour := self._methods.get(method)) is not None:
            call = Call(event.call, details.deadline)
            received = _Received(self, call, method, behaviour)
        elif (stream_behaviour := self._streams.get(method)) is not None:
            call = Stream(event.call, details.deadline)
            call._watch()
            received = _Received(self, call, method, stream_behaviour)
        else:
            call = Call(event.call, details.deadline)
            call._parts -= 1  # no message is asked for
            received = None
        self._calls.add(call)
        if received is None:
            call._refuse(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        else:
            event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), received)

    def _take(self, call: Call, method: str, behaviour: Any, message: bytes | None) -> None:
        """Answers a message, or has it answered."""
        if message is None:
            call._refuse(grpc.StatusCode.UNIMPLEMENTED, f'"{method}" requires exactly one request message.')
        elif isinstance(call, Stream):
            _begin(call, behaviour, message)
        elif method not in self._stay:
            call._watch()
            self._pool.submit(_respond, call, behaviour, message)
        else:
            pace = self._dispatch.pace(method, message)
            if pace.keeps(message):
                started = time.perf_counter()
                _respond(call, behaviour, message)
                pace.stayed(time.perf_counter() - started)
            else:
                call._watch()
                self._pool.submit(_respond_in_pool, call, behaviour, message, pace)


class _Received:
    """The tag of a request's message."""

    __slots__ = ("_behaviour", "_call", "_method", "_server")

    def __init__(self, server: GrpcServer, call: Call, method: str, behaviour: Any):
        self._server, self._call, self._method, self._behaviour = server, call, method, behaviour

    def __call__(self, event: Any) -> Call | None:
        try:
            self._server._take(self._call, self._method, self._behaviour, event.batch_operations[0].message())
        except Exception as error:  # the pool has no thread left to start
            self._call._refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, _failed(error))
        return self._call._part_done()


def _respond(call: Call, behaviour: Behaviour, message: bytes) -> None:
    """Answers a call, whatever the behaviour does."""
    try:
        content = behaviour(message, call)
    except Aborted as aborted:
        call._refuse(aborted.code, aborted.details)
    except Exception as error:
        call._refuse(grpc.StatusCode.UNKNOWN, _failed(error))
    else:
        call._answer(content)


def _respond_in_pool(call: Call, behaviour: Behaviour, message: bytes, pace: Pace) -> None:
    started = time.thread_time()
    _respond(call, behaviour, message)
    pace.pooled(message, time.thread_time() - started)


def _begin(stream: Stream, behaviour: StreamBehaviour, message: bytes) -> None:
    try:
        behaviour(message, stream)
    except Aborted as aborted:
        stream.end(aborted.code, aborted.details)
    except Exception as error:
        stream.end(grpc.StatusCode.UNKNOWN, _failed(error))


def _failed(error: Exception) -> str:
    # Its text may quote the request, so neither the log nor the client sees it.
    logger.error("A method failed unexpectedly: %s", type(error).__name__)
    return f"Unexpected {type(error).__name__}."


def _status(code: grpc.StatusCode, details: str) -> Any:
    return cygrpc.SendStatusFromServerOperation(None, _CODES[code], details.encode("utf-8", "replace"), _NO_FLAGS)
