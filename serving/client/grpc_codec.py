"""Calls as messages of TensorFlow Serving's gRPC services, and answers back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from serving.client import calls
from serving.client.calls import Call, ModelChoice
from serving.client.errors import MissingOutputError, ServerError, of_status
from serving.client.prediction import Array, Prediction, VersionStatus
from serving.client.signatures import DEFAULT_SIGNATURE, ModelMetadata
from serving.messages import (
    ClassificationRequest,
    ClassificationResponse,
    Code,
    Example,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    InferenceTask,
    Input,
    ModelSpec,
    ModelVersionStatus,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
    SignatureDefMap,
)
from serving.tensors import MalformedTensorProtoError, Tensor, from_proto, to_proto

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

_METHOD_NAMES = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}
_SIGNATURES = "signature_def"


@dataclasses.dataclass(frozen=True, slots=True)
class Procedure:
    """One remote procedure.

    Attributes:
        path: Its full name on the wire.
        request: The message of a call.
        response_class: The class of the response.
        answer: The response as the result of the call.
    """

    path: str
    request: Callable[[Any], Any]
    response_class: Any
    answer: Callable[[Any, Any], Any]


def answer(procedure: Procedure, call: Call, response: Any) -> Any:
    """Reads a response.

    Raises:
        ServerError: It is not what the service promises.
        ClientError: It carries an error of its own.
    """
    try:
        return procedure.answer(call, response)
    except (MalformedTensorProtoError, MissingOutputError) as error:
        raise ServerError(f"the server's response cannot be read: {error}", code="INTERNAL") from error


def _spec(choice: ModelChoice, signature: str = "") -> Any:
    spec = ModelSpec(name=choice.model, signature_name=signature)
    if choice.version is not None:
        spec.version.value = choice.version
    elif choice.label is not None:
        spec.version_label = choice.label
    return spec


def _version(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _prediction(call: Call, spec: Any, outputs: dict[str, Array]) -> Prediction:
    signature = spec.signature_name or call.signature_name or DEFAULT_SIGNATURE
    return Prediction(spec.name or call.choice.model, _version(spec), signature, outputs)


def _predict_request(call: calls.Predict) -> Any:
    return PredictRequest(
        model_spec=_spec(call.choice, call.signature),
        inputs={name: to_proto(tensor, content=True) for name, tensor in call.inputs.items()},
        output_filter=call.outputs,
    )


def _predict_answer(call: calls.Predict, response: Any) -> Prediction:
    outputs = {name: from_proto(proto).numpy() for name, proto in response.outputs.items()}
    return _prediction(call, response.model_spec, outputs)


def _input(examples: Iterable[bytes]) -> Any:
    built = Input()
    for example in examples:
        built.example_list.examples.append(Example.FromString(example))
    # Present even without examples, so that the server says what is wrong.
    built.example_list.SetInParent()
    return built


def _classified(result: Any) -> dict[str, Array]:
    """`classes` and `scores`, both [B, C]."""
    rows = [row.classes for row in result.classifications]
    width = max(map(len, rows), default=0)
    if any(len(row) != width for row in rows):
        raise MissingOutputError("rows of the classification have different numbers of classes")
    classes = Tensor.of([entry.label for row in rows for entry in row] or np.empty(0, object))
    scores = np.array([entry.score for row in rows for entry in row], np.float32)
    return {"classes": classes.array.reshape(len(rows), width), "scores": scores.reshape(len(rows), width)}


def _regressed(result: Any) -> dict[str, Array]:
    """`outputs` [B]."""
    return {"outputs": np.array([regression.value for regression in result.regressions], np.float32)}


def _multi_inference_request(call: calls.MultiInference) -> Any:
    tasks = [
        InferenceTask(model_spec=_spec(call.choice, signature), method_name=_METHOD_NAMES[method])
        for method, signature in call.tasks
    ]
    return MultiInferenceRequest(tasks=tasks, input=_input(call.examples))


def _multi_inference_answer(call: calls.MultiInference, response: Any) -> list[Prediction]:
    if len(response.results) != len(call.tasks):
        raise MissingOutputError(f"{len(response.results)} results for {len(call.tasks)} tasks")
    return [
        _prediction(
            call,
            result.model_spec,
            _classified(result.classification_result)
            if result.HasField("classification_result")
            else _regressed(result.regression_result),
        )
        for result in response.results
    ]


def _metadata_answer(call: calls.Metadata, response: Any) -> ModelMetadata:
    # Upstream's type URL, whatever pool the message came from.
    definitions = SignatureDefMap.FromString(response.metadata[_SIGNATURES].value)
    return ModelMetadata.of(
        response.model_spec.name or call.choice.model, _version(response.model_spec), definitions.signature_def
    )


def status_of(entry: Any) -> VersionStatus:
    """A ModelVersionStatus as a value."""
    return VersionStatus(
        entry.version,
        _name(ModelVersionStatus.State, entry.state),
        _name(Code, entry.status.error_code),
        entry.status.error_message,
    )


def _status_answer(call: calls.Status, response: Any) -> list[VersionStatus]:
    return sorted((status_of(entry) for entry in response.model_version_status), key=lambda status: status.version)


def _reload_answer(call: calls.Reload, response: Any) -> dict[str, int]:
    if response.status.error_code:
        raise of_status(_name(Code, response.status.error_code), response.status.error_message)
    return {metric.name: metric.int64_value_increase for metric in response.metric}


def _name(enumeration: Any, number: int) -> str:
    try:
        return str(enumeration.Name(number))
    except ValueError:
        return str(number)


PROCEDURES: dict[type[Call], Procedure] = {
    calls.Predict: Procedure(f"/{PREDICTION_SERVICE}/Predict", _predict_request, PredictResponse, _predict_answer),
    calls.Classify: Procedure(
        f"/{PREDICTION_SERVICE}/Classify",
        lambda call: ClassificationRequest(model_spec=_spec(call.choice, call.signature), input=_input(call.examples)),
        ClassificationResponse,
        lambda call, response: _prediction(call, response.model_spec, _classified(response.result)),
    ),
    calls.Regress: Procedure(
        f"/{PREDICTION_SERVICE}/Regress",
        lambda call: RegressionRequest(model_spec=_spec(call.choice, call.signature), input=_input(call.examples)),
        RegressionResponse,
        lambda call, response: _prediction(call, response.model_spec, _regressed(response.result)),
    ),
    calls.MultiInference: Procedure(
        f"/{PREDICTION_SERVICE}/MultiInference", _multi_inference_request, MultiInferenceResponse, _multi_inference_answer
    ),
    calls.Metadata: Procedure(
        f"/{PREDICTION_SERVICE}/GetModelMetadata",
        lambda call: GetModelMetadataRequest(model_spec=_spec(call.choice), metadata_field=[_SIGNATURES]),
        GetModelMetadataResponse,
        _metadata_answer,
    ),
    calls.Status: Procedure(
        f"/{MODEL_SERVICE}/GetModelStatus",
        lambda call: GetModelStatusRequest(model_spec=_spec(call.choice)),
        GetModelStatusResponse,
        _status_answer,
    ),
    calls.Reload: Procedure(
        f"/{MODEL_SERVICE}/HandleReloadConfigRequest",
        lambda call: ReloadConfigRequest(config=call.config, metric_names=call.metric_names),
        ReloadConfigResponse,
        _reload_answer,
    ),
}
"""By the class of the call."""
