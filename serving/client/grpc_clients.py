"""Clients over gRPC: `Client` waits for answers, `AsyncClient` awaits them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from serving.client import calls, connection, grpc_codec
from serving.client.blocking import ServerAdministration
from serving.client.calls import Call, CallRecord
from serving.client.connection import DEFAULT_KEEPALIVE_SECONDS, DEFAULT_TARGET, RetryPolicy, Tls
from serving.client.errors import ClientError, of_status
from serving.client.examples import ExampleBuilder
from serving.client.operations import DEFAULT_TIMEOUT, Operation, Operations, Result
from serving.client.prediction import Prediction, VersionStatus
from serving.client.signatures import MetadataCache, ModelMetadata

if TYPE_CHECKING:
    from serving.redaction.requests import RequestRedactor

_DEFAULT_RETRY = RetryPolicy()


class _GrpcClient:
    """A channel to be, and the operations on it."""

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        wait_for_ready: bool = False,
        retry: RetryPolicy | None = _DEFAULT_RETRY,
        tls: Tls | bool | None = None,
        authority: str | None = None,
        load_balancing: str = "round_robin",
        keepalive_seconds: float | None = DEFAULT_KEEPALIVE_SECONDS,
        headers: Mapping[str, str] | None = None,
        check_inputs: bool = True,
        redact: RequestRedactor | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
        interceptors: Sequence[Any] = (),
        channel_options: Iterable[tuple[str, Any]] = (),
    ):
        """Says where the servers are and how to call them; connects with the first call.

        Args:
            target: `host:port`, several of these in a list or separated by commas, `dns:///name:port` for a name with changing
                addresses, or `unix:/path`.
            timeout: Seconds a call may take, retries included, unless it says otherwise.
            wait_for_ready: Whether calls wait for a server that cannot be reached instead of failing.
            retry: When calls are made again; None for never.
            tls: Encryption; True trusts the system's authorities.
            authority: The name servers are addressed and verified by, instead of the target's.
            load_balancing: How calls are spread over the addresses: "round_robin" or "pick_first".
            keepalive_seconds: How often the connection is tested during a call; servers refuse less than five minutes by default.
            headers: Sent with every call, e.g. {"authorization": "Bearer ..."}.
            check_inputs: Whether to fetch a model's metadata and to check and convert inputs with it. Without, types are those
                that numpy gives the values, and only the server checks.
            redact: Removes personal data from the text columns of requests before they are sent. For a model that was trained on
                redacted text and a server that does not do it itself, such as TensorFlow's: `RequestRedactor.load(version folder)`.
            on_call: Is told of every finished call, for metrics and traces; must not raise.
            interceptors: gRPC interceptors, of `grpc` for `Client` and of `grpc.aio` for `AsyncClient`.
            channel_options: More arguments of the gRPC channel.

        Raises:
            ValueError: A setting makes no sense.
            OSError: A PEM file cannot be read.
        """
        where = connection.address(target)
        encryption = connection.tls_of(tls)
        if load_balancing not in ("round_robin", "pick_first"):
            raise ValueError(f"load_balancing is 'round_robin' or 'pick_first', got {load_balancing!r}")
        config = connection.service_config(
            retry,
            [grpc_codec.PREDICTION_SERVICE],
            [(grpc_codec.MODEL_SERVICE, "GetModelStatus")],
            load_balancing,
        )
        self._uri = where.uri
        self._options = connection.channel_options(
            where,
            config=config,
            retries=retry is not None,
            authority=authority,
            encrypted=encryption is not None,
            keepalive_seconds=keepalive_seconds,
        )
        self._options += channel_options
        self._credentials = None
        if encryption is not None:
            self._credentials = grpc.ssl_channel_credentials(
                root_certificates=encryption.pem("ca"),
                private_key=encryption.pem("key"),
                certificate_chain=encryption.pem("certificate"),
            )
        self._headers = tuple((name.lower(), value) for name, value in (headers or {}).items()) or None
        self._interceptors = tuple(interceptors)
        self._on_call = on_call
        self._closed = False
        # The stub of each procedure, by its call's class.
        self._stubs: dict[type[Call], Any] = {}
        self._operations = Operations(
            timeout=timeout,
            wait_for_ready=wait_for_ready,
            check_inputs=check_inputs,
            cache=MetadataCache(),
            redact=redact,
        )
        self._open()

    def _open(self) -> None:
        """Makes the channel, if that is possible already."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._uri!r})"

    def _make_stubs(self, channel: Any) -> dict[type[Call], Any]:
        return {
            kind: channel.unary_unary(
                procedure.path,
                request_serializer=_serialize,
                response_deserializer=procedure.response_class.FromString,
            )
            for kind, procedure in grpc_codec.PROCEDURES.items()
        }

    def _failure(self, call: Call, error: grpc.RpcError) -> ClientError:
        code, text = error.code().name, error.details() or ""
        prefix = ""
        if code == "DEADLINE_EXCEEDED":
            prefix = f"no answer within {call.timeout:.3g} s: "
        elif code == "UNAVAILABLE":
            prefix = f"{self._uri}: "
        return of_status(code, text, call.sent, prefix)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientError("the client is closed", code="CANCELLED")


class Client(_GrpcClient, ServerAdministration):
    """A client of model servers over gRPC. Thread-safe; one channel for all threads.

    with Client("127.0.0.1:8500") as client:
        client.wait_until_available("intents")
        client.predict("intents", {"text": ["turn on the kitchen light"]}).labels
    """

    def _open(self) -> None:
        if self._credentials is None:
            channel = grpc.insecure_channel(self._uri, self._options)
        else:
            channel = grpc.secure_channel(self._uri, self._credentials, self._options)
        self._channel = channel
        if self._interceptors:
            channel = grpc.intercept_channel(channel, *self._interceptors)
        self._stubs = self._make_stubs(channel)

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled and later ones fail."""
        self._closed = True
        self._channel.close()

    def _perform(self, call: Call) -> Any:
        self._check_open()
        procedure = grpc_codec.PROCEDURES[type(call)]
        try:
            response = self._stubs[type(call)](
                procedure.request(call), timeout=call.timeout, metadata=self._headers, wait_for_ready=call.wait_for_ready
            )
        except grpc.RpcError as error:
            raise self._failure(call, error) from None
        except ValueError:
            # What gRPC raises if another thread has just closed the channel.
            self._check_open()
            raise
        return grpc_codec.answer(procedure, call, response)


class AsyncClient(_GrpcClient):
    """A client of model servers over gRPC for asyncio: `Client` with methods to await. Belongs to the loop of its first call.

    async with AsyncClient("127.0.0.1:8500") as client:
        prediction = await client.predict("intents", {"text": ["turn on the kitchen light"]})
    """

    _channel: Any = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled and later ones fail."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Prediction:
        """See `Client.predict`."""
        return await self._drive(
            self._operations.predict(
                model,
                inputs,
                version=version,
                label=label,
                signature=signature,
                outputs=outputs,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

    async def predict_examples(
        self,
        model: str,
        rows: Any,
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Prediction:
        """See `Client.predict_examples`."""
        return await self._drive(
            self._operations.predict_examples(
                model,
                rows,
                builder=builder,
                version=version,
                label=label,
                signature=signature,
                outputs=outputs,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

    async def classify(
        self,
        model: str,
        rows: Any,
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Prediction:
        """See `Client.classify`."""
        return await self._drive(
            self._operations.classify(
                model,
                rows,
                builder=builder,
                version=version,
                label=label,
                signature=signature,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

    async def regress(
        self,
        model: str,
        rows: Any,
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Prediction:
        """See `Client.regress`."""
        return await self._drive(
            self._operations.regress(
                model,
                rows,
                builder=builder,
                version=version,
                label=label,
                signature=signature,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

    async def multi_inference(
        self,
        model: str,
        rows: Any,
        tasks: Sequence[tuple[str, str]],
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> list[Prediction]:
        """See `Client.multi_inference`."""
        return await self._drive(
            self._operations.multi_inference(
                model, rows, tasks, builder=builder, version=version, label=label, timeout=timeout, wait_for_ready=wait_for_ready
            )
        )

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> ModelMetadata:
        """See `Client.metadata`."""
        return await self._drive(
            self._operations.metadata(model, version=version, label=label, timeout=timeout, wait_for_ready=wait_for_ready)
        )

    async def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None, wait_for_ready: bool | None = None
    ) -> list[VersionStatus]:
        """See `Client.status`."""
        return await self._drive(self._operations.status(model, version=version, timeout=timeout, wait_for_ready=wait_for_ready))

    async def wait_until_available(self, model: str, *, version: int | None = None, timeout: float = 60.0) -> VersionStatus:
        """See `Client.wait_until_available`."""
        return await self._drive(self._operations.wait_until_available(model, version=version, timeout=timeout))

    async def reload_config(
        self, config: Any, *, metric_names: Iterable[str] = (), timeout: float = 60.0, wait_for_ready: bool | None = None
    ) -> dict[str, int]:
        """See `Client.reload_config`."""
        return await self._drive(
            self._operations.reload_config(config, metric_names=metric_names, timeout=timeout, wait_for_ready=wait_for_ready)
        )

    async def _drive(self, operation: Operation[Result]) -> Result:
        """Performs an operation's calls until it has its result."""
        try:
            step = next(operation)
            while True:
                if isinstance(step, calls.Pause):
                    await asyncio.sleep(step.seconds)
                    step = operation.send(None)
                    continue
                try:
                    answer = await self._observed(step)
                except ClientError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]

    async def _observed(self, call: Call) -> Any:
        observer = self._on_call
        if observer is None:
            return await self._perform(call)
        started = time.perf_counter()
        answer, code = None, "OK"
        try:
            answer = await self._perform(call)
            return answer
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except ClientError as error:
            code = error.code
            raise
        finally:
            observer(calls.record(call, answer, code, time.perf_counter() - started))

    async def _perform(self, call: Call) -> Any:
        self._check_open()
        if self._channel is None:
            self._connect()
        procedure = grpc_codec.PROCEDURES[type(call)]
        try:
            response = await self._stubs[type(call)](
                procedure.request(call), timeout=call.timeout, metadata=self._headers, wait_for_ready=call.wait_for_ready
            )
        except grpc.RpcError as error:
            raise self._failure(call, error) from None
        return grpc_codec.answer(procedure, call, response)

    def _connect(self) -> None:
        # Not when the client is made: a channel belongs to the loop that runs then, and often none does.
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(self._uri, self._options, interceptors=self._interceptors)
        else:
            self._channel = grpc.aio.secure_channel(self._uri, self._credentials, self._options, interceptors=self._interceptors)
        self._stubs = self._make_stubs(self._channel)


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()  # type: ignore[no-any-return]
