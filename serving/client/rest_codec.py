"""Calls as requests of TensorFlow Serving's REST interface, and answers back.

Its JSON: bytes that are not text travel as {"b64": "..."}, NaN and infinities as bare words, integers of 64 bits as numbers in tensors
and as strings elsewhere. Answers tell neither the types nor, with a single output, the name of what they hold; a signature does.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.client import calls
from serving.client.calls import Call, ModelChoice
from serving.client.errors import ClientError, InvalidInputError, ServerError, UnsupportedError, of_status
from serving.client.prediction import Array, Prediction, VersionStatus
from serving.client.signatures import DEFAULT_SIGNATURE, ModelMetadata, Signature
from serving.messages import POOL, DataType, Example, SignatureDefMap
from serving.tensors import Tensor, numpy_dtype

# What HTTP says and what it was before: TensorFlow Serving maps several status codes to one.
_CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 408: "DEADLINE_EXCEEDED",
    409: "ABORTED", 412: "FAILED_PRECONDITION", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request.

    Attributes:
        verb: GET or POST.
        path: With a leading slash, encoded.
        body: JSON; None for GET.
    """

    verb: str
    path: str
    body: bytes | None = None


def request(call: Call) -> HttpRequest:
    """The HTTP request of a call.

    Raises:
        InvalidInputError: JSON cannot carry an input.
        UnsupportedError: REST does not offer the call.
    """
    path = _path(call.choice)
    match call:
        case calls.Predict():
            document: dict[str, Any] = {"inputs": {name: _json_of(name, tensor) for name, tensor in call.inputs.items()}}
            return _post(f"{path}:predict", call.signature, document)
        case calls.Classify() | calls.Regress():
            document = {"examples": [_json_of_example(example) for example in call.examples]}
            return _post(f"{path}:{call.method.lower()}", call.signature, document)
        case calls.Metadata():
            return HttpRequest("GET", f"{path}/metadata")
        case calls.Status():
            return HttpRequest("GET", path)
    raise UnsupportedError(f"{call.method} is offered over gRPC only")


def answer(call: Call, status: int, body: bytes) -> Any:
    """The result of a call.

    Args:
        call: The call.
        status: The HTTP status code.
        body: What came with it.

    Raises:
        ClientError: The server refused, or its answer cannot be read.
    """
    if status != 200:
        raise failure(call, status, body)
    try:
        # A string that is no text comes as it is, unless its output's name ends with _bytes.
        return _READERS[type(call)](call, json.loads(body.decode("utf-8", "surrogateescape")))
    except ClientError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # Not the error's text: it may quote an output.
        raise ServerError(
            f"the server's answer to {call.method} cannot be read ({type(error).__name__})", code="INTERNAL"
        ) from None


def failure(call: Call, status: int, body: bytes) -> ClientError:
    """The error for an HTTP status that is not success."""
    try:
        document = json.loads(body.decode("utf-8", "replace"))
        text = document["error"] if isinstance(document["error"], str) else ""
    except (ValueError, TypeError, LookupError, RecursionError):
        # Not TensorFlow Serving: a proxy, or a wrong port.
        text = f"HTTP status {status}"
    return of_status(_CODES.get(status, "UNKNOWN" if status < 500 else "INTERNAL"), text, call.sent)


def _path(choice: ModelChoice) -> str:
    path = f"/v1/models/{urllib.parse.quote(choice.model, safe='')}"
    if choice.version is not None:
        return f"{path}/versions/{choice.version}"
    if choice.label is not None:
        return f"{path}/labels/{urllib.parse.quote(choice.label, safe='')}"
    return path


def _post(path: str, signature: str, document: dict[str, Any]) -> HttpRequest:
    if signature:
        document["signature_name"] = signature
    return HttpRequest("POST", path, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


def _json_of(name: str, tensor: Tensor) -> Any:
    """A tensor as nested lists."""
    array = tensor.numpy()
    if array.dtype == object:
        return _mapped(array.tolist(), _json_of_string)
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(f"input {name!r}: JSON cannot carry {DataType.Name(tensor.dtype)}")
    return array.tolist()


def _json_of_string(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


def _json_of_example(serialized: bytes) -> dict[str, Any]:
    features = {}
    for name, feature in Example.FromString(serialized).features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is None:
            continue
        values = list(getattr(feature, kind).value)
        if kind == "bytes_list":
            values = [_json_of_string(value) for value in values]
        if values:
            features[name] = values if len(values) > 1 else values[0]
    return features


def _mapped(nested: Any, function: Callable[[Any], Any]) -> Any:
    return [_mapped(entry, function) for entry in nested] if isinstance(nested, list) else function(nested)


def _predicted(call: calls.Predict, document: Mapping[str, Any]) -> Prediction:
    outputs = document["outputs"]
    known = call.known
    if not _is_named(outputs, known):
        name = next(iter(known.outputs)) if known is not None and len(known.outputs) == 1 else "outputs"
        outputs = {name: outputs}
    if missing := [name for name in call.outputs if name not in outputs]:
        raise InvalidInputError(f"there is no output {', '.join(map(repr, missing))}; there are: {', '.join(sorted(outputs))}")
    arrays = {
        name: _array(value, known.outputs[name].dtype if known is not None and name in known.outputs else None)
        for name, value in outputs.items()
        if not call.outputs or name in call.outputs
    }
    return Prediction(call.choice.model, call.choice.version, call.signature or DEFAULT_SIGNATURE, arrays)


def _is_named(outputs: Any, known: Signature | None) -> bool:
    """Whether outputs come by name: a single one does not, and may itself be an object of one string."""
    if known is not None:
        return len(known.outputs) > 1
    return isinstance(outputs, dict) and set(outputs) != {"b64"}


def _array(value: Any, dtype: int | None) -> Array:
    if dtype == DataType.DT_STRING or (dtype is None and _holds_strings(value)):
        return Tensor.of(_mapped(value, _string_of_json), DataType.DT_STRING).array
    if dtype is None:
        return np.asarray(value)
    storage = np.dtype("<f4") if dtype == DataType.DT_BFLOAT16 else numpy_dtype(dtype)
    return np.array(value, storage)


def _holds_strings(value: Any) -> bool:
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, str | dict)


def _string_of_json(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _classified(call: calls.Classify, document: Mapping[str, Any]) -> Prediction:
    rows = document["results"]
    width = max(map(len, rows), default=0)
    classes = Tensor.of([_string_of_json(label) for row in rows for label, _ in row], DataType.DT_STRING)
    scores = np.array([score for row in rows for _, score in row], np.float32)
    shape = (len(rows), width)
    outputs = {"classes": classes.array.reshape(shape), "scores": scores.reshape(shape)}
    return Prediction(call.choice.model, call.choice.version, call.signature or DEFAULT_SIGNATURE, outputs)


def _regressed(call: calls.Regress, document: Mapping[str, Any]) -> Prediction:
    outputs = {"outputs": np.array(document["results"], np.float32)}
    return Prediction(call.choice.model, call.choice.version, call.signature or DEFAULT_SIGNATURE, outputs)


def _described(call: calls.Metadata, document: Mapping[str, Any]) -> ModelMetadata:
    from google.protobuf import json_format

    definitions = json_format.ParseDict(
        _without_type(document["metadata"]["signature_def"]), SignatureDefMap(), ignore_unknown_fields=True, descriptor_pool=POOL
    )
    spec = document["model_spec"]
    version = spec.get("version")
    return ModelMetadata.of(
        spec.get("name") or call.choice.model, None if version is None else int(version), definitions.signature_def
    )


def _without_type(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "@type"}


def _statuses(call: calls.Status, document: Mapping[str, Any]) -> list[VersionStatus]:
    statuses = [
        VersionStatus(
            int(entry["version"]),
            entry.get("state", "UNKNOWN"),
            entry.get("status", {}).get("error_code", "OK"),
            entry.get("status", {}).get("error_message", ""),
        )
        for entry in document.get("model_version_status", [])
    ]
    return sorted(statuses, key=lambda status: status.version)


_READERS: dict[type[Call], Callable[[Any, Any], Any]] = {
    calls.Predict: _predicted,
    calls.Classify: _classified,
    calls.Regress: _regressed,
    calls.Metadata: _described,
    calls.Status: _statuses,
}
