"""The gRPC services: PredictionService, ModelService, and where wanted the health and profiler services.

    server = GrpcServer(methods(manager, metrics), streams(health), options, workers)

Methods are known by name with the messages of `serving.messages`. Anything else a client calls is UNIMPLEMENTED, as it is on the stock
server.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError

from serving.messages import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from serving.server import health as health_service
from serving.server import profiler
from serving.server.errors import ServingError, StatusCode
from serving.server.grpc_server import Aborted, Behaviour, Call, StreamBehaviour
from serving.server.health import Health
from serving.server.manager import ServableManager
from serving.server.metrics import Metrics
from serving.server.servable import Servable, check_metadata_request

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
# Methods that compute and never wait for anything but the model.
COMPUTING = frozenset(
    f"/{PREDICTION_SERVICE}/{method}" for method in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")
)
# And those that wait for nothing at all.
INSTANT = frozenset({f"/{health_service.SERVICE}/Check"})
_ENTRYPOINT = "GRPC"
_MAX_MESSAGE = 1024
_TRUNCATED = "...TRUNCATED"
_CODES = {code: grpc.StatusCode[code.name] for code in StatusCode}
# grpc tells "no deadline" by a time that is far away.
_NO_DEADLINE_SECONDS = 1e9

logger = logging.getLogger(__name__)


class RequestLogger(Protocol):
    """What may record requests, as `serving.server.request_log.RequestLog`."""

    def samples(self) -> bool:
        """Whether the next request is to be recorded."""

    def record(self, request: Any, response: Any, *, seconds: float, origin: str) -> None:
        """Records a request that was answered, of any API; quick, and raises nothing."""


class Admission:
    """Whether new requests are let in; those already in are not concerned.

    Attributes:
        open: Set to False before the server stops. From then on requests are refused as UNAVAILABLE, which tells clients to send them
            elsewhere. grpc itself cancels what arrives while it stops, and a cancelled request is lost.
    """

    def __init__(self) -> None:
        self.open = True


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """Which services are offered besides PredictionService and ModelService.

    Attributes:
        health: The health service to offer; None for none.
        profiler: Offer the profiler service.
    """

    health: Health | None = None
    profiler: bool = False


def methods(
    manager: ServableManager,
    metrics: Metrics,
    services: Services | None = None,
    request_log: RequestLogger | None = None,
    admission: Admission | None = None,
) -> dict[str, Behaviour]:
    """The behaviours of methods by full name.

    Args:
        manager: The models.
        metrics: Told of every request.
        services: What is offered besides.
        request_log: Given the successful requests that it samples.
        admission: Lets requests in; None lets all in.
    """
    services = services or Services()
    admission = admission or Admission()
    prediction = _PredictionService(manager, metrics, request_log)
    model = _ModelService(manager, metrics)
    offered: dict[str, dict[str, Behaviour]] = {
        PREDICTION_SERVICE: {
            "Predict": prediction.predict,
            "Classify": prediction.classify,
            "Regress": prediction.regress,
            "MultiInference": prediction.multi_inference,
            "GetModelMetadata": prediction.metadata,
        },
        MODEL_SERVICE: {"GetModelStatus": model.status, "HandleReloadConfigRequest": model.reload},
    }
    if services.profiler:
        offered[profiler.SERVICE] = {"Profile": _profile}
    if services.health is not None:
        offered[health_service.SERVICE] = {"Check": services.health.check}
    return {
        f"/{service}/{method}": behaviour if service == health_service.SERVICE else _admitted(admission, behaviour)
        for service, behaviours in offered.items()
        for method, behaviour in behaviours.items()
    }


def streams(services: Services) -> dict[str, StreamBehaviour]:
    """The behaviours of methods that answer with a stream, by full name."""
    return {} if services.health is None else {f"/{health_service.SERVICE}/Watch": services.health.watch}


def _admitted(admission: Admission, behaviour: Behaviour) -> Behaviour:
    def answer(message: bytes, call: Call) -> bytes:
        if not admission.open:
            call.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")
        return behaviour(message, call)

    return answer


class _PredictionService:
    """The methods of PredictionService."""

    def __init__(self, manager: ServableManager, metrics: Metrics, request_log: RequestLogger | None):
        self._manager = manager
        self._metrics = metrics
        self._request_log = request_log

    def predict(self, message: bytes, call: Call) -> bytes:
        return self._infer("Predict", PredictRequest, PredictResponse, Servable.predict_serialized, message, call)

    def classify(self, message: bytes, call: Call) -> bytes:
        return self._infer("Classify", ClassificationRequest, ClassificationResponse, _classify, message, call)

    def regress(self, message: bytes, call: Call) -> bytes:
        return self._infer("Regress", RegressionRequest, RegressionResponse, _regress, message, call)

    def multi_inference(self, message: bytes, call: Call) -> bytes:
        started = time.monotonic()
        request = _parsed(MultiInferenceRequest, message, call)

        def answer() -> Any:
            # Without tasks upstream looks at an empty ModelSpec, not at a missing one.
            spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
            with self._manager.servable(spec) as servable:
                return servable.multi_inference(request, _deadline(call, started))

        content = _answered(answer, call)
        self._log(request, MultiInferenceResponse, content, time.monotonic() - started)
        return content

    def metadata(self, message: bytes, call: Call) -> bytes:
        request = _parsed(GetModelMetadataRequest, message, call)

        def answer() -> Any:
            spec = request.model_spec if request.HasField("model_spec") else None
            if spec is not None:
                check_metadata_request(request)
            with self._manager.servable(spec) as servable:
                return servable.metadata(request)

        return _answered(answer, call)

    def _infer(
        self,
        api: str,
        request_type: Any,
        response_type: Any,
        method: Callable[[Servable, Any, float | None], bytes],
        message: bytes,
        call: Call,
    ) -> bytes:
        started = time.monotonic()
        request = _parsed(request_type, message, call)
        spec, failure, version = request.model_spec, None, None
        try:
            with self._manager.servable(spec if request.HasField("model_spec") else None) as servable:
                version = servable.version
                content = method(servable, request, _deadline(call, started))
        except ServingError as error:
            failure = error
        except Exception as error:
            failure = _unexpected(error)
        seconds = time.monotonic() - started
        status = StatusCode.OK if failure is None else failure.code
        self._metrics.observe_request(spec.name, api, _ENTRYPOINT, seconds, status, version)
        if failure is not None:
            _abort(call, failure)
        self._log(request, response_type, content, seconds)
        return content

    def _log(self, request: Any, response_type: Any, content: bytes, seconds: float) -> None:
        log = self._request_log
        if log is not None and log.samples():
            log.record(request, response_type.FromString(content), seconds=seconds, origin=_ENTRYPOINT)


def _classify(servable: Servable, request: Any, deadline: float | None) -> bytes:
    content: bytes = servable.classify(request, deadline).SerializeToString()
    return content


def _regress(servable: Servable, request: Any, deadline: float | None) -> bytes:
    content: bytes = servable.regress(request, deadline).SerializeToString()
    return content


class _ModelService:
    """The methods of ModelService."""

    def __init__(self, manager: ServableManager, metrics: Metrics):
        self._manager = manager
        self._metrics = metrics

    def status(self, message: bytes, call: Call) -> bytes:
        request = _parsed(GetModelStatusRequest, message, call)
        return _answered(lambda: _model_status(self._manager, request), call)

    def reload(self, message: bytes, call: Call) -> bytes:
        request = _parsed(ReloadConfigRequest, message, call)

        def answer() -> Any:
            if request.config.WhichOneof("config") != "model_config_list":
                raise ServingError(
                    StatusCode.INVALID_ARGUMENT,
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported",
                )
            before = self._metrics.counters()
            self._manager.reload(request.config, cancelled=lambda: not call.is_active())
            response = ReloadConfigResponse()
            response.status.SetInParent()
            after = self._metrics.counters()
            for name in request.metric_names:
                counter = name.replace("/", ":")
                if counter in after:
                    response.metric.add(name=name, int64_value_increase=after[counter] - before[counter])
            return response

        try:
            return _answered(answer, call)
        except Aborted as aborted:
            logger.error("ReloadConfig failed: %s", aborted.details)
            raise


def _model_status(manager: ServableManager, request: Any) -> Any:
    """Answers a GetModelStatusRequest with a GetModelStatusResponse.

    Raises:
        ServingError: INVALID_ARGUMENT or NOT_FOUND.
    """
    if not request.HasField("model_spec"):
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    response = GetModelStatusResponse()
    response.model_version_status.extend(manager.statuses(spec.name, spec.version.value if spec.HasField("version") else None))
    return response


def _profile(message: bytes, call: Call) -> bytes:
    try:
        return profiler.profile(message)
    except ServingError as error:
        _abort(call, error)


def _parsed(message_type: Any, content: bytes, call: Call) -> Any:
    try:
        return message_type.FromString(content)
    except DecodeError:
        call.abort(grpc.StatusCode.INTERNAL, "Unable to parse request")


def _answered(answer: Callable[[], Any], call: Call) -> bytes:
    """The serialized answer of a method that is not measured."""
    try:
        content: bytes = answer().SerializeToString()
        return content
    except ServingError as error:
        failure = error
    except Exception as error:
        failure = _unexpected(error)
    _abort(call, failure)


def _deadline(call: Call, now: float) -> float | None:
    remaining = call.time_remaining()
    return now + remaining if remaining is not None and remaining < _NO_DEADLINE_SECONDS else None


def _unexpected(error: Exception) -> ServingError:
    # The error may quote the request, so neither the log nor the caller sees more than where it came from.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "an unknown place"
    logger.error("Answering a request failed unexpectedly: %s at %s", type(error).__name__, where)
    return ServingError(StatusCode.INTERNAL, f"Unexpected {type(error).__name__}.")


def _abort(call: Call, error: ServingError) -> NoReturn:
    message = error.message
    if len(message) > _MAX_MESSAGE:
        message = message[:_MAX_MESSAGE] + _TRUNCATED
    call.abort(_CODES[error.code], message)
