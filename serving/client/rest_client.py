"""`RestClient`: the client over HTTP and JSON, on the standard library."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import random
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from serving.client import connection, rest_codec
from serving.client.blocking import BlockingClient
from serving.client.calls import Call, CallRecord
from serving.client.connection import RetryPolicy, Tls
from serving.client.errors import ClientError, DeadlineExceededError, UnavailableError
from serving.client.operations import DEFAULT_TIMEOUT, Operations
from serving.client.rest_codec import HttpRequest
from serving.client.signatures import MetadataCache

if TYPE_CHECKING:
    from serving.redaction.requests import RequestRedactor

DEFAULT_URL = "http://127.0.0.1:8501"
DEFAULT_PORT = 8501

# Answers over REST do not tell which version they are from, so what is known of a model is looked up again after this many seconds.
_METADATA_AGE = 10.0
# Idle connections kept; as many callers as there are may have one each while they wait.
_KEPT_CONNECTIONS = 16
_CHUNK = 1 << 16
_DEFAULT_RETRY = RetryPolicy()


class _StaleConnectionError(Exception):
    """A connection kept from an earlier call was closed by the server in the meantime."""


class _Throttle:
    """Whether a failed call may be tried again, as gRPC decides it; see `RetryPolicy.tokens`."""

    def __init__(self, policy: RetryPolicy):
        self._policy = policy
        self._tokens: float = policy.tokens
        self._lock = threading.Lock()

    def succeeded(self) -> None:
        with self._lock:
            self._tokens = min(self._tokens + self._policy.token_ratio, self._policy.tokens)

    def failed(self) -> bool:
        """Notes a failure; returns whether retries are still allowed."""
        with self._lock:
            self._tokens = max(self._tokens - 1, 0.0)
            return self._tokens > self._policy.tokens / 2


class RestClient(BlockingClient):
    """A client of a model server's REST interface. Thread-safe; connections are reused.

    with RestClient("http://127.0.0.1:8501") as client:
        client.predict("intents", {"text": ["turn on the kitchen light"]}).labels

    The same calls as `Client` but for `multi_inference` and `reload_config`, with the same results and errors. A prediction's
    `version` is the one that was asked for by number, else None: the interface does not tell.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        wait_for_ready: bool = False,
        retry: RetryPolicy | None = _DEFAULT_RETRY,
        tls: Tls | bool | None = None,
        authority: str | None = None,
        headers: Mapping[str, str] | None = None,
        check_inputs: bool = True,
        redact: RequestRedactor | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ):
        """Says where the server is and how to call it; connects with the first call.

        Args:
            url: `http://host:port`, `https://host:port`, both with a path to put before `/v1`, or `host:port`.
            timeout: Seconds a call may take, retries included, unless it says otherwise.
            wait_for_ready: Whether calls wait for a server that cannot be reached instead of failing.
            retry: When calls are made again; None for never.
            tls: Whom to trust over https, and the client's own certificate. Implies https.
            authority: The name the server is addressed and verified by, instead of the URL's.
            headers: Sent with every call, e.g. {"authorization": "Bearer ..."}.
            check_inputs: Whether to fetch a model's metadata and to check and convert inputs with it; without, outputs have the
                types that JSON gives them.
            redact: Removes personal data from the text columns of requests before they are sent. For a model that was trained on
                redacted text and a server that does not do it itself, such as TensorFlow's: `RequestRedactor.load(version folder)`.
            on_call: Is told of every finished call, for metrics and traces; must not raise.

        Raises:
            ValueError: A setting makes no sense.
            OSError: A PEM file cannot be read.
        """
        parts = urllib.parse.urlsplit(url if "//" in url else f"{'https' if tls else 'http'}://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("a URL is http://host:port or https://host:port")
        if tls and parts.scheme == "http":
            raise ValueError(f"tls goes with https, got {parts.scheme}://{parts.netloc}")
        self._host = parts.hostname
        self._port = parts.port or (DEFAULT_PORT if parts.scheme == "http" else 443)
        self._prefix = parts.path.rstrip("/")
        self._authority = authority
        self._encryption = _context(connection.tls_of(tls) or Tls()) if parts.scheme == "https" else None
        self._headers = {"Content-Type": "application/json", "Host": authority or parts.netloc, **(headers or {})}
        self._retry = retry
        self._throttle = _Throttle(retry or _DEFAULT_RETRY)
        self._on_call = on_call
        self._closed = False
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(_KEPT_CONNECTIONS)
        self._operations = Operations(
            timeout=timeout,
            wait_for_ready=wait_for_ready,
            check_inputs=check_inputs,
            cache=MetadataCache(_METADATA_AGE),
            redact=redact,
        )

    def __repr__(self) -> str:
        return f"RestClient('{self._host}:{self._port}')"

    def close(self) -> None:
        """Closes idle connections; those of calls under way are closed with them."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _perform(self, call: Call) -> Any:
        if self._closed:
            raise ClientError("the client is closed", code="CANCELLED")
        end = time.monotonic() + call.timeout
        request = rest_codec.request(call)
        policy = self._retry or _DEFAULT_RETRY
        attempts, longest = 0, policy.first_backoff
        while True:
            attempts += 1
            try:
                result = rest_codec.answer(call, *self._exchange(request, end))
            except UnavailableError as error:
                retry = self._throttle.failed() and self._retry is not None and attempts < policy.attempts
                # Random, so that many clients do not come back at once.
                backoff = random.uniform(0, longest)  # noqa: S311 - nothing to guess here
                in_time = time.monotonic() + backoff < end
                if call.wait_for_ready and error.server_text is None:
                    if not in_time:
                        raise DeadlineExceededError(f"no answer within {call.timeout:.3g} s: {error}") from error
                elif not (retry and in_time):
                    raise
            except TimeoutError as error:
                if isinstance(error, ClientError):
                    raise
                raise DeadlineExceededError(f"no answer within {call.timeout:.3g} s") from None
            else:
                self._throttle.succeeded()
                return result
            time.sleep(backoff)
            longest = min(longest * policy.multiplier, policy.longest_backoff)

    def _exchange(self, request: HttpRequest, end: float) -> tuple[int, bytes]:
        """Sends a request and reads the whole answer.

        Raises:
            UnavailableError: The server cannot be reached or hung up.
            TimeoutError: The time is up.
        """
        try:
            while True:
                try:
                    kept = self._idle.get_nowait()
                except queue.Empty:
                    return self._exchange_over(self._connection(), request, end, kept=False)
                with contextlib.suppress(_StaleConnectionError):
                    return self._exchange_over(kept, request, end, kept=True)
        except TimeoutError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise UnavailableError(f"{self._host}:{self._port}: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise UnavailableError(f"{self._host}:{self._port}: {reason}") from error

    def _exchange_over(
        self, link: http.client.HTTPConnection, request: HttpRequest, end: float, *, kept: bool
    ) -> tuple[int, bytes]:
        reusable = False
        try:
            _limit(link, end)
            try:
                link.request(request.verb, self._prefix + request.path, request.body, self._headers)
                _limit(link, end)
                response = link.getresponse()
            except (ConnectionError, http.client.BadStatusLine) as error:
                if kept:
                    raise _StaleConnectionError from error
                raise
            chunks = []
            while True:
                _limit(link, end)
                chunk = response.read1(_CHUNK)
                if not chunk:
                    break
                chunks.append(chunk)
            if response.length:
                raise http.client.IncompleteRead(b"")
            # Tells the connection that it may take the next request.
            response.close()
            reusable = not response.will_close
            return response.status, b"".join(chunks)
        finally:
            if reusable and not self._closed:
                try:
                    self._idle.put_nowait(link)
                except queue.Full:
                    link.close()
            else:
                link.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._encryption is None:
            return _PlainConnection(self._host, self._port)
        return _TlsConnection(self._host, self._port, context=self._encryption, name=self._authority or self._host)


class _PlainConnection(http.client.HTTPConnection):
    """HTTP that does not wait for more to send: requests are headers and a body, two writes."""

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _TlsConnection(_PlainConnection):
    """HTTPS that verifies the server under a name of the caller's choice."""

    default_port = 443

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext, name: str):
        super().__init__(host, port)
        self._context = context
        self._name = name.rsplit(":", 1)[0] if name.count(":") == 1 else name

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)


def _limit(link: http.client.HTTPConnection, end: float) -> None:
    """Gives the next step on a connection the time that is left.

    Raises:
        TimeoutError: None is.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    link.timeout = left
    if link.sock is not None:
        link.sock.settimeout(left)


def _context(tls: Tls) -> ssl.SSLContext:
    ca = tls.pem("ca")
    context = ssl.create_default_context(cadata=None if ca is None else ca.decode())
    certificate, key = tls.pem("certificate"), tls.pem("key")
    if certificate is not None and key is not None:
        # The ssl module takes a client's certificate from files only. This one is readable by its owner alone.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(certificate.rstrip() + b"\n" + key)
            file.flush()
            os.fsync(file.fileno())
            context.load_cert_chain(file.name)
    return context
