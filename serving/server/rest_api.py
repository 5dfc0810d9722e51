"""TensorFlow Serving's REST interface: predict, classify, regress, status, metadata and Prometheus metrics over HTTP.

    api = RestApi(manager, metrics, timeout_seconds=30.0)
    server = HttpServer(api.handle, "127.0.0.1", 8501, threads=8)

    POST /v1/models/NAME[/versions/N|/labels/L]:(classify|regress|predict)
    GET  /v1/models/NAME[/versions/N|/labels/L][/metadata]

Paths, status codes and error texts are upstream's. HEAD is answered as GET without a body, where upstream calls it malformed.
"""

from __future__ import annotations

import contextlib
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from serving import tensors
from serving.messages import (
    GetModelStatusResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from serving.server import json_tensors
from serving.server.errors import ServingError, StatusCode
from serving.server.http_server import HttpRequest, HttpResponse
from serving.tensors import Tensor

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
_ENTRYPOINT = "REST"
_DEFAULT_SIGNATURE = "serving_default"
_INFERENCE = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_MODEL = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_HTTP = {
    StatusCode.OK: 200,
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.UNAUTHENTICATED: 401,
}
_NOT_FOUND_PAGE = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)


class Servable(Protocol):
    """A version of a model that serves, as `serving.server.servable.Servable`."""

    name: str
    version: int
    signatures: Mapping[str, Any]

    def run(
        self, signature_name: str, feeds: Mapping[str, Any], output_filter: Sequence[str] = (), deadline: float | None = None
    ) -> dict[str, Tensor]: ...

    def classify(self, request: Any, deadline: float | None = None) -> Any: ...

    def regress(self, request: Any, deadline: float | None = None) -> Any: ...


class Manager(Protocol):
    """What finds servables and knows their states, as `serving.server.manager.ServableManager`."""

    def servable(self, model_spec: Any) -> contextlib.AbstractContextManager[Servable]: ...

    def statuses(self, name: str, version: int | None = None) -> Sequence[Any]: ...


class Metrics(Protocol):
    """What counts requests, as `serving.server.metrics`."""

    def observe_request(
        self, model: str, api: str, entrypoint: str, seconds: float, status: StatusCode, version: int | None = None
    ) -> None: ...

    def prometheus_text(self) -> str: ...


class RequestLogger(Protocol):
    """What may record requests, as `serving.server.request_log.RequestLog`."""

    def samples(self) -> bool: ...

    def record(self, request: Any, response: Any, *, seconds: float, origin: str) -> None: ...


class RestApi:
    """Answers REST requests. Thread-safe."""

    def __init__(
        self,
        manager: Manager,
        metrics: Metrics,
        *,
        timeout_seconds: float | None,
        cors: bool = False,
        metrics_path: str | None = None,
        request_log: RequestLogger | None = None,
    ):
        """The interface to a manager's models.

        Args:
            manager: Finds models.
            metrics: Told of every inference.
            timeout_seconds: Time for an inference, None for any.
            cors: Send CORS headers and answer preflight requests.
            metrics_path: Path of the metrics; None for none.
            request_log: Told of successful inferences it samples.
        """
        self._manager = manager
        self._metrics = metrics
        self._timeout = timeout_seconds
        self._headers = _CORS if cors else ()
        self._cors = cors
        self._metrics_path = metrics_path
        self._request_log = request_log
        self._inferences: dict[str, Callable[[Any, bytes, float | None, list[int]], bytes]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    def handle(self, request: HttpRequest) -> HttpResponse:
        """Answers a request."""
        path = request.path
        if path == self._metrics_path:
            return HttpResponse(200, self._metrics.prometheus_text().encode(), "text/plain")
        if path[:4].lower() != "/v1/":
            return HttpResponse(404, _NOT_FOUND_PAGE, "text/html")
        try:
            return HttpResponse(200, self._answer(request), headers=self._headers)
        except ServingError as error:
            return HttpResponse(_HTTP.get(error.code, 500), json_tensors.error(error.message), headers=self._headers)

    def _answer(self, request: HttpRequest) -> bytes:
        verb = "GET" if request.verb == "HEAD" else request.verb
        if verb == "POST" and (match := _INFERENCE.fullmatch(request.path)):
            name, version, label, method = match.groups()
            return self._infer(_model_spec(name, version, label), method.lower(), request.body)
        if verb == "GET" and (match := _MODEL.fullmatch(request.path)):
            name, version, label, part = match.groups()
            if not name:
                raise ServingError(StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
            spec = _model_spec(name, version, label)
            return self._metadata(spec) if part else self._status(spec)
        if verb == "OPTIONS" and self._cors and re.match(r"https?://", request.headers.get("origin", ""), re.IGNORECASE):
            return b""
        raise ServingError(StatusCode.INVALID_ARGUMENT, f"Malformed request: {request.verb} {request.path}")

    def _infer(self, spec: Any, method: str, body: bytes) -> bytes:
        started = time.monotonic()
        code = StatusCode.INTERNAL
        # Filled in as soon as it is known, because it matters most for requests that fail.
        version: list[int] = []
        try:
            answer = self._inferences[method](spec, body, None if self._timeout is None else started + self._timeout, version)
            code = StatusCode.OK
            return answer
        except ServingError as error:
            code = error.code
            raise
        finally:
            seconds = time.monotonic() - started
            self._metrics.observe_request(spec.name, method, _ENTRYPOINT, seconds, code, version[0] if version else None)

    def _predict(self, spec: Any, body: bytes, deadline: float | None, answered_by: list[int]) -> bytes:
        started = time.monotonic()
        document = json_tensors.PredictDocument.parse(body)
        signature_name = document.signature or _DEFAULT_SIGNATURE
        with self._manager.servable(spec) as servable:
            answered_by.append(servable.version)
            signature = servable.signatures.get(signature_name)
            if signature is None:
                raise ServingError(
                    StatusCode.INVALID_ARGUMENT, f'Serving signature name: "{signature_name}" not found in signature def'
                )
            inputs = document.tensors(signature.inputs)
            outputs = servable.run(signature_name, inputs, (), deadline)
            version = servable.version
        answer = json_tensors.predictions(outputs, rows=document.rows)
        log = self._request_log
        if log is not None and log.samples():
            request = PredictRequest(model_spec=spec)
            request.model_spec.signature_name = document.signature
            response = PredictResponse()
            for message, values in ((request.inputs, inputs), (response.outputs, outputs)):
                for alias, tensor in values.items():
                    message[alias].CopyFrom(tensors.to_proto(tensor))
            response.model_spec.name = spec.name
            response.model_spec.version.value = version
            response.model_spec.signature_name = signature_name
            log.record(request, response, seconds=time.monotonic() - started, origin=_ENTRYPOINT)
        return answer

    def _classify(self, spec: Any, body: bytes, deadline: float | None, answered_by: list[int]) -> bytes:
        request = json_tensors.classification_request(body)
        return self._run_examples(spec, request, "classify", json_tensors.classifications, deadline, answered_by)

    def _regress(self, spec: Any, body: bytes, deadline: float | None, answered_by: list[int]) -> bytes:
        request = json_tensors.regression_request(body)
        return self._run_examples(spec, request, "regress", json_tensors.regressions, deadline, answered_by)

    def _run_examples(
        self,
        spec: Any,
        request: Any,
        method: str,
        write: Callable[[Any], bytes],
        deadline: float | None,
        answered_by: list[int],
    ) -> bytes:
        started = time.monotonic()
        request.model_spec.MergeFrom(spec)
        with self._manager.servable(spec) as servable:
            answered_by.append(servable.version)
            response = getattr(servable, method)(request, deadline)
        answer = write(response.result)
        log = self._request_log
        if log is not None and log.samples():
            log.record(request, response, seconds=time.monotonic() - started, origin=_ENTRYPOINT)
        return answer

    def _status(self, spec: Any) -> bytes:
        version = spec.version.value if spec.HasField("version") else None
        return json_tensors.statuses(GetModelStatusResponse(model_version_status=self._manager.statuses(spec.name, version)))

    def _metadata(self, spec: Any) -> bytes:
        with self._manager.servable(spec) as servable:
            described = ModelSpec(name=servable.name)
            described.version.value = servable.version
            signatures = SignatureDefMap()
            for name, definition in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(definition)
        return json_tensors.metadata(described, signatures)


def _model_spec(name: str, version: str | None, label: str | None) -> Any:
    """The ModelSpec of a path.

    Raises:
        ServingError: INVALID_ARGUMENT; the version is no int64, or name or label are no text.
    """
    spec = ModelSpec(name=_decoded(name, "model name"))
    if version is not None:
        if len(version) > 19 or int(version) >= 2**63:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
        spec.version.value = int(version)
    if label is not None:
        spec.version_label = _decoded(label, "model version label")
    return spec


def _decoded(part: str, what: str) -> str:
    try:
        return urllib.parse.unquote_to_bytes(part.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise ServingError(StatusCode.INVALID_ARGUMENT, f"Failed to decode {what}:{part}") from None
