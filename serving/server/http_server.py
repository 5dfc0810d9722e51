"""An HTTP/1.1 server on plain sockets, for the REST interface: a few threads, any number of connections.

    server = HttpServer(handle, "127.0.0.1", 8501, threads=8)        # handle(HttpRequest) -> HttpResponse
    server.start()
    server.drain(10.0)                                                # answers what was accepted, then stops

All threads wait on one epoll. Whichever gets a connection's event reads what has arrived, and if that completes a request, handles
and answers it on the spot: a request never changes threads, which costs more than a small model. A connection that is idle, sends
slowly or reads slowly occupies memory but no thread. Requests may be pipelined, chunked and gzipped.

What a client sends is limited in every direction by `HttpLimits`; whoever exceeds one gets the right status or is cut off. Linux only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import errno
import http
import logging
import re
import resource
import select
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping

from serving.server import json_tensors

logger = logging.getLogger(__name__)

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients may take.

    Attributes:
        body_bytes: Size of a request's body, after decompression.
        buffered_bytes: All bodies together that are arriving at one time.
        head_bytes: Size of a request line with its headers, and of a chunked body's trailers.
        connections: Connections open at one time; the one idle for longest makes room for a new one.
        head_seconds: From a request's first byte to the end of its headers.
        stall_seconds: Between two pieces of a body, or of an answer that the client takes.
        idle_seconds: Between two requests.
    """

    body_bytes: int = 64 * _MIB
    buffered_bytes: int = 512 * _MIB
    head_bytes: int = 64 * 1024
    connections: int = 10_000
    head_seconds: float = 15.0
    stall_seconds: float = 30.0
    idle_seconds: float = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as a handler sees it.

    Attributes:
        verb: GET, POST, ... as sent.
        path: The path as sent: encoded, without a query.
        headers: Values by name in lower case.
        body: The body, neither chunked nor compressed any more.
    """

    verb: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer of a handler.

    Attributes:
        status: The HTTP status code.
        body: The body; not sent in answer to HEAD.
        content_type: Its type.
        headers: More headers.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[HttpRequest], HttpResponse]

# Bodies larger than this are read and parsed by two threads at most: more would only take memory and Python's lock from all others.
_LARGE_BODY = 4 * _MIB
# A connection with more requests waiting lets others pass after this many.
_TURN = 16
# Discarded after an answer that ends a connection, so that the client gets to read it instead of a reset.
_LINGER_SECONDS = 5.0
# Idle connections that may have a request on the way get this long when the server stops.
_DRAIN_GRACE_SECONDS = 0.5
_ONCE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(rb"HTTP/1\.[0-9]")
_HEADER_COUNT = 100
_REASONS = {status.value: status.phrase for status in http.HTTPStatus} | {499: "Client Closed Request"}


class _BadRequestError(Exception):
    """A request that is answered with an error and ends the connection."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


@dataclasses.dataclass(slots=True)
class _Head:
    """A request up to its body."""

    verb: str
    path: str
    headers: dict[str, str]
    keep_alive: bool
    # Bytes of the body, None if it comes in chunks.
    length: int | None


class _Connection:
    """A client's connection: what has arrived and what has not been sent yet. Used by one thread at a time.

    Args:
        link: The socket, not blocking.
        limits: What the client may send.
        charge: Called with the growth, or negative shrinkage, of what is kept of bodies; says whether there is room.
    """

    def __init__(self, link: socket.socket, limits: HttpLimits, charge: Callable[[int], bool]):
        self.link = link
        self.busy = False
        self.touched = time.monotonic()
        # When the head of the request that is arriving has to be complete.
        self.head_due: float | None = None
        self.outbox: list[memoryview] = []
        self.closing = False
        self.lingering = False
        self._limits = limits
        self._charge = charge
        self._charged = 0
        self._inbox = bytearray()
        self._searched = 0
        self._head: _Head | None = None
        self._body = bytearray()
        self._chunk_left = 0
        self._in_trailers = False
        self._trailer_bytes = 0

    @property
    def idle(self) -> bool:
        """Whether nothing of a request has arrived and nothing of an answer is left."""
        return not (self.busy or self._inbox or self._head or self.outbox or self.lingering)

    def receive(self) -> bool | None:
        """Reads what has arrived: True if that was something, False if there is nothing yet, None at the end of the stream."""
        try:
            data = self.link.recv(1 << 18 if self._head is not None else 1 << 16)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            return None
        self.touched = time.monotonic()
        if not self.lingering:
            if not self._inbox and self._head is None:
                self.head_due = self.touched + self._limits.head_seconds
            self._inbox += data
        return True

    def next_request(self) -> tuple[HttpRequest, bool] | None:
        """The next complete request and whether the connection may stay open after it; None if there is none yet.

        Raises:
            _BadRequestError: What arrived is no acceptable request.
        """
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
            self._begin_body(self._head)
        head = self._head
        complete = self._read_chunks() if head.length is None else self._read_length(head.length)
        if not complete:
            return None
        body = bytes(self._body)
        self._head = None
        self._body = bytearray()
        self.release()
        self.head_due = self.touched + self._limits.head_seconds if self._inbox else None
        return HttpRequest(head.verb, head.path, head.headers, _inflated(head, body, self._limits.body_bytes)), head.keep_alive

    def release(self) -> None:
        """Gives back what was charged for the body."""
        self._charge(-self._charged)
        self._charged = 0

    def flush(self) -> bool:
        """Sends what can be sent; whether that was all."""
        while self.outbox:
            try:
                sent = self.link.sendmsg(self.outbox[:16])
            except (BlockingIOError, InterruptedError):
                return False
            self.touched = time.monotonic()
            while sent:
                if sent < len(self.outbox[0]):
                    self.outbox[0] = self.outbox[0][sent:]
                    break
                sent -= len(self.outbox.pop(0))
        return True

    def _read_head(self) -> _Head | None:
        inbox = self._inbox
        while inbox[:2] == b"\r\n":  # tolerated before a request
            del inbox[:2]
        end = inbox.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0 or end > self._limits.head_bytes:
            self._searched = len(inbox)
            if len(inbox) > self._limits.head_bytes:
                raise _BadRequestError(431, "The request's headers are too large.")
            return None
        self._searched = 0
        text = bytes(inbox[:end])
        del inbox[: end + 4]
        self.head_due = None
        return _parsed_head(text)

    def _begin_body(self, head: _Head) -> None:
        if head.length is not None and head.length > self._limits.body_bytes:
            raise self._too_large()
        expected = head.headers.get("expect")
        if expected is not None:
            if expected.lower() != "100-continue":
                raise _BadRequestError(417, "The only expectation that can be met is 100-continue.")
            if not self._inbox and head.length != 0:
                self.outbox.append(memoryview(b"HTTP/1.1 100 Continue\r\n\r\n"))
        self._chunk_left = 0
        self._in_trailers = False
        self._trailer_bytes = 0

    def _read_length(self, length: int) -> bool:
        self._take(min(length - len(self._body), len(self._inbox)))
        return len(self._body) == length

    def _read_chunks(self) -> bool:
        """Takes whole and partial chunks from what has arrived; whether the last one and the trailers are complete.

        Between chunks `_chunk_left` is 0; after the data of one, 2 bytes of line end are left over of it.
        """
        inbox = self._inbox
        while True:
            if self._chunk_left > 2:
                if not inbox:
                    return False
                self._take_chunk()
            elif self._chunk_left:
                if len(inbox) < 2:
                    return False
                if inbox[:2] != b"\r\n":
                    raise _BadRequestError(400, "A chunk of the body does not end where it should.")
                del inbox[:2]
                self._chunk_left = 0
            else:
                end = inbox.find(b"\r\n")
                if end < 0:
                    if len(inbox) > (self._limits.head_bytes if self._in_trailers else 1024):
                        raise _BadRequestError(400, "The body's chunks are malformed.")
                    return False
                line = bytes(inbox[:end])
                del inbox[: end + 2]
                if self._in_trailers:
                    self._trailer_bytes += end
                    if self._trailer_bytes > self._limits.head_bytes:
                        raise _BadRequestError(431, "The request's trailers are too large.")
                    if not line:
                        return True
                    continue
                size = line.split(b";", 1)[0].strip(b" \t")
                if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", size):
                    raise _BadRequestError(400, "The body's chunks are malformed.")
                if int(size, 16) + len(self._body) > self._limits.body_bytes:
                    raise self._too_large()
                self._in_trailers = int(size, 16) == 0
                self._chunk_left = 0 if self._in_trailers else int(size, 16) + 2

    def _take_chunk(self) -> None:
        count = min(self._chunk_left - 2, len(self._inbox))
        self._take(count)
        self._chunk_left -= count

    def _take(self, count: int) -> None:
        """Moves bytes that have arrived to the body."""
        if not count:
            return
        if not self._charge(count):
            self._charge(-count)
            raise _BadRequestError(503, "Too many large requests are arriving at the same time.")
        self._charged += count
        self._body += memoryview(self._inbox)[:count]
        del self._inbox[:count]

    def _too_large(self) -> _BadRequestError:
        return _BadRequestError(413, f"The request's body is larger than {self._limits.body_bytes} bytes.")


class HttpServer:
    """Serves HTTP on one address.

    Attributes:
        port: The port it listens on, also where 0 asked for any.
    """

    def __init__(self, handler: Handler, host: str, port: int, *, threads: int, limits: HttpLimits | None = None):
        """A server that does not listen yet.

        Args:
            handler: Answers requests, on any of the threads. What it raises becomes status 500.
            host: The address.
            port: The port, 0 for any that is free.
            threads: How many requests are handled at one time.
            limits: What clients may take.
        """
        self._handler = handler
        self._address = (host, port)
        self._limits = limits or HttpLimits()
        self._threads = [threading.Thread(target=self._work, name=f"rest-{number}", daemon=True) for number in range(threads)]
        self._janitor = threading.Thread(target=self._tidy, name="rest-janitor", daemon=True)
        self._connections: dict[int, _Connection] = {}
        self._large = threading.BoundedSemaphore(2)
        self._buffered = 0
        self._buffered_lock = threading.Lock()
        self._draining = False
        self._drain_began = 0.0
        self._stopped = threading.Event()
        self._date = (0, b"")
        self.port = port

    def start(self) -> None:
        """Listens and serves, on threads of its own.

        Raises:
            OSError: The address cannot be listened on.
        """
        family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        self._listener = socket.socket(family, kind, protocol)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(address)
            self._listener.listen(1024)
        except OSError:
            self._listener.close()
            raise
        self._listener.setblocking(False)
        _allow_open_files(self._limits.connections)
        self._listening = self._listener.fileno()
        self.port = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._wake, self._woken = socket.socketpair()
        self._epoll.register(self._listening, select.EPOLLIN | select.EPOLLONESHOT)
        self._epoll.register(self._woken, select.EPOLLIN)
        for thread in (*self._threads, self._janitor):
            thread.start()

    def drain(self, timeout: float) -> bool:
        """Stops: accepts nothing more, answers every request that has begun to arrive, and closes.

        Args:
            timeout: Seconds after which requests still in progress are given up.

        Returns:
            Whether there were none.
        """
        if self._stopped.is_set():
            return True
        # What the kernel has accepted counts as accepted; the listener's event may be taken by a worker at the same time.
        self._accept()
        self._draining = True
        self._drain_began = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(self._listening)
        self._accept()
        self._listener.close()
        end = self._drain_began + timeout
        while self._connections and time.monotonic() < end:
            self._cut_overdue()
            time.sleep(0.02)
        finished = not self._connections
        self.close()
        return finished

    def close(self) -> None:
        """Stops at once. Requests that are being handled lose their answers."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._listener.close()
        self._wake.close()
        for thread in (*self._threads, self._janitor):
            if thread is not threading.current_thread():
                thread.join(5.0)
        for connection in list(self._connections.values()):
            self._close(connection)
        self._epoll.close()
        self._woken.close()

    # On the workers' threads

    def _work(self) -> None:
        poll, listening, woken = self._epoll.poll, self._listening, self._woken.fileno()
        while not self._stopped.is_set():
            for descriptor, _ in poll(-1, 1):
                if descriptor == woken:
                    return
                if descriptor == listening:
                    self._accept()
                    self._arm(descriptor, select.EPOLLIN | select.EPOLLONESHOT)
                elif (connection := self._connections.get(descriptor)) is not None:
                    self._attend(connection)

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    self._shed()
                    time.sleep(0.05)
                elif error.errno == errno.ECONNABORTED:
                    continue
                return
            if len(self._connections) >= self._limits.connections:
                self._shed()
            link.setblocking(False)
            with contextlib.suppress(OSError):
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[link.fileno()] = _Connection(link, self._limits, self._charge)
            self._epoll.register(link.fileno(), _ONCE)

    def _attend(self, connection: _Connection) -> None:
        """Does what can be done for a connection now, then waits for more or closes it."""
        connection.busy = True
        try:
            events = self._serve(connection)
        except OSError:
            # Reset by the client.
            events = 0
        except Exception as error:
            # A thread that dies is missed by all requests to come. Not the error's text: it may quote the request.
            logger.error("REST: unexpected %s while handling a connection", type(error).__name__)
            events = 0
        if events:
            connection.busy = False
            self._arm(connection.link.fileno(), events)
        else:
            self._close(connection)

    def _serve(self, connection: _Connection) -> int:
        """The events to wait for next; 0 to close the connection."""
        for _ in range(_TURN):
            if not connection.flush():
                return select.EPOLLOUT | select.EPOLLONESHOT
            if connection.closing:
                return self._linger(connection)
            try:
                found = connection.next_request()
            except _BadRequestError as error:
                connection.release()
                body = json_tensors.error(error.message)
                self._answer(connection, HttpResponse(error.status, body), keep_alive=False, with_body=True)
                continue
            if connection.outbox:
                continue
            if found is None:
                received = connection.receive()
                if received is None:
                    return 0
                if not received:
                    return _ONCE
                continue
            request, keep_alive = found
            response = self._handled(request)
            keep_alive = keep_alive and not self._draining
            if keep_alive and "connection" in request.headers:
                # A client of HTTP/1.0 wants to be told.
                response = dataclasses.replace(response, headers=(*response.headers, ("Connection", "keep-alive")))
            self._answer(connection, response, keep_alive=keep_alive, with_body=request.verb != "HEAD")
        # Others' turn. A connection can nearly always be written to, so this one will not wait.
        return _ONCE | select.EPOLLOUT

    def _linger(self, connection: _Connection) -> int:
        """Ends the stream and discards what the client still sends, until it ends its own."""
        if not connection.lingering:
            connection.lingering = True
            connection.link.shutdown(socket.SHUT_WR)
        received = connection.receive()
        rounds = 0
        while received and rounds < 64:
            received = connection.receive()
            rounds += 1
        return 0 if received is None else _ONCE

    def _handled(self, request: HttpRequest) -> HttpResponse:
        try:
            if len(request.body) > _LARGE_BODY:
                with self._large:
                    return self._handler(request)
            return self._handler(request)
        except Exception as error:
            # Its text may quote the request.
            logger.error("REST: unexpected %s while handling a request", type(error).__name__)
            return HttpResponse(500, json_tensors.error("Internal error"))

    def _answer(self, connection: _Connection, response: HttpResponse, *, keep_alive: bool, with_body: bool) -> None:
        """Queues an answer."""
        status = response.status
        lines = [
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        if not keep_alive:
            lines.append("Connection: close")
            connection.closing = True
        head = "\r\n".join(lines).encode("latin-1") + self._date_line() + b"\r\n\r\n"
        if with_body and response.body:
            if len(response.body) < 1 << 16:
                connection.outbox.append(memoryview(head + response.body))
                return
            connection.outbox += [memoryview(head), memoryview(response.body)]
        else:
            connection.outbox.append(memoryview(head))

    def _date_line(self) -> bytes:
        now = int(time.time())
        if self._date[0] != now:
            self._date = (now, f"\r\nDate: {email.utils.formatdate(now, usegmt=True)}".encode())
        return self._date[1]

    def _arm(self, descriptor: int, events: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile
            self._epoll.modify(descriptor, events)

    def _close(self, connection: _Connection) -> None:
        descriptor = connection.link.fileno()
        if self._connections.get(descriptor) is connection:
            # First, as the number may be another connection's once it is closed.
            del self._connections[descriptor]
        connection.release()
        connection.link.close()

    def _charge(self, growth: int) -> bool:
        if not growth:
            return True
        with self._buffered_lock:
            self._buffered += growth
            return self._buffered <= self._limits.buffered_bytes

    # On the janitor's thread

    def _tidy(self) -> None:
        while not self._stopped.wait(1.0):
            self._cut_overdue()

    def _cut_overdue(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if not connection.busy and self._is_overdue(connection, now):
                _cut_off(connection)

    def _is_overdue(self, connection: _Connection, now: float) -> bool:
        if connection.idle:
            if self._draining and now - max(self._drain_began, connection.touched) > _DRAIN_GRACE_SECONDS:
                return True
            return now - connection.touched > self._limits.idle_seconds
        if connection.lingering:
            return now - connection.touched > _LINGER_SECONDS
        if connection.head_due is not None and now > connection.head_due:
            return True
        return now - connection.touched > self._limits.stall_seconds

    def _shed(self) -> None:
        """Makes room for a connection."""
        idle = [connection for connection in list(self._connections.values()) if connection.idle]
        if idle:
            _cut_off(min(idle, key=lambda connection: connection.touched))


def _allow_open_files(connections: int) -> None:
    """Lets the process have so many connections and a thousand files, as far as the system allows: the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1024 if hard == resource.RLIM_INFINITY else min(connections + 1024, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _cut_off(connection: _Connection) -> None:
    # The thread that gets the event for this closes it: only it may.
    with contextlib.suppress(OSError):
        connection.link.shutdown(socket.SHUT_RDWR)


def _parsed_head(text: bytes) -> _Head:
    """A request line and headers.

    Raises:
        _BadRequestError: They are malformed, or contradict each other about where the request ends.
    """
    lines = text.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not words[1] or b"\n" in text.replace(b"\r\n", b""):
        raise _BadRequestError(400, "The request line is malformed.")
    verb, target, version = words
    if not _VERSION.fullmatch(version):
        raise _BadRequestError(505, "This server speaks HTTP/1.1.")
    if len(lines) > _HEADER_COUNT + 1:
        raise _BadRequestError(431, "The request has too many headers.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            raise _BadRequestError(400, "A header is malformed.")
        key, shown = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        if key in headers:
            if key in ("content-length", "transfer-encoding", "host"):
                raise _BadRequestError(400, "A header that may stand once stands twice.")
            shown = f"{headers[key]}, {shown}"
        headers[key] = shown
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    keep_alive = "keep-alive" in options if version == b"HTTP/1.0" else "close" not in options
    return _Head(verb.decode("ascii"), _path(target), headers, keep_alive, _body_length(headers))


def _path(target: bytes) -> str:
    path = target.decode("latin-1")
    if not path.startswith("/"):
        # As proxies are asked.
        path = "/" + re.sub(r"^https?://[^/]*/?", "", path, flags=re.IGNORECASE)
    return path.split("?", 1)[0].split("#", 1)[0]


def _body_length(headers: Mapping[str, str]) -> int | None:
    encoding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if encoding is not None:
        if length is not None:
            # Two servers that read this differently can be made to see different requests.
            raise _BadRequestError(400, "A request has either a length or a transfer encoding.")
        if encoding.lower() != "chunked":
            raise _BadRequestError(501, "The only transfer encoding is chunked.")
        return None
    if length is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise _BadRequestError(400, "The request's length is malformed.")
    return int(length)


def _inflated(head: _Head, body: bytes, limit: int) -> bytes:
    """A body without its compression.

    Raises:
        _BadRequestError: It is compressed in another way than gzip, or badly, or it is a bomb.
    """
    encoding = head.headers.get("content-encoding", "").lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise _BadRequestError(415, "The only content encoding is gzip.")
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise _BadRequestError(400, "The body is not gzip.") from None
    if len(inflated) > limit:
        raise _BadRequestError(413, f"The request's body is larger than {limit} bytes.")
    if not inflater.eof:
        raise _BadRequestError(400, "The gzipped body is incomplete.")
    return inflated
