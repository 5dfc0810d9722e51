"""One loaded version of a model, called with messages; shared by gRPC, REST and warm-up.

    servable = Servable("intents", 3, runtime.load(path, options))
    response = servable.predict(request, deadline=time.monotonic() + 1.0)

Codes and texts of refusals are TensorFlow Serving's. Values are not checked against the signature's types and shapes, as the stock
server does not either: what does not fit is refused by the graph. A request's TensorProtos go to the runtime as they came.

A deadline is a time of `time.monotonic()`, None for no limit. It is looked at before and after the run; the runtime is told what is
left of it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from serving import tensors
from serving.messages import (
    ClassificationResponse,
    DataType,
    GetModelMetadataResponse,
    MultiInferenceResponse,
    PredictResponse,
    RegressionResponse,
    SignatureDefMap,
    wire,
)
from serving.redaction.requests import RequestRedactor
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.runtime import LoadedModel
from serving.tensors import Tensor

DEFAULT_SIGNATURE = "serving_default"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
_PREDICT_METHOD = "tensorflow/serving/predict"
_SIGNATURE_DEF = "signature_def"
_FEW_SCORES = 256
_OUTPUT_TAG = wire.tag(PredictResponse.OUTPUTS_FIELD_NUMBER)

# Model name, API as upstream calls it, seconds in the runtime.
RunObserver = Callable[[str, str, float], None]
# Model name, version, the score of the best class of each row.
ScoreObserver = Callable[[str, int, Sequence[float]], None]


class RunFailedError(ServingError):
    """The model refused or failed a run. The text is the runtime's and may quote the request: it goes to the caller only."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServableOptions:
    """How requests are answered.

    Attributes:
        check_method_names: Whether a signature must have the method name of the API it is called by, as
            `--enable_signature_method_name_check` asks for.
        content: Whether numbers are answered in tensor_content instead of typed fields.
    """

    check_method_names: bool = False
    content: bool = False


class _Signature:
    """A signature with what every request needs of it.

    Attributes:
        definition: The SignatureDef.
        inputs, outputs: Names of tensors by alias, sorted by alias.
        aliases: Aliases of inputs by the name of their tensor.
        defaults: TensorProtos by input alias.
    """

    __slots__ = ("aliases", "defaults", "definition", "inputs", "method_error", "outputs")

    def __init__(self, definition: Any, check_method_names: bool):
        self.definition = definition
        self.inputs = {alias: definition.inputs[alias].name for alias in sorted(definition.inputs)}
        self.outputs = {alias: definition.outputs[alias].name for alias in sorted(definition.outputs)}
        self.aliases = {name: alias for alias, name in self.inputs.items()}
        self.defaults = dict(definition.defaults)
        predictable = (_PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
        self.method_error: ServingError | None = None
        if check_method_names and definition.method_name not in predictable:
            self.method_error = ServingError(
                StatusCode.INTERNAL,
                f"Expected prediction signature method_name to be one of {{{', '.join(predictable)}}}. "
                f"Was: {definition.method_name}",
            )


class Servable:
    """A version of a model that serves. Thread-safe.

    Attributes:
        name: The model's name.
        version: The version's number.
        signatures: SignatureDef messages by name.
        redactor: What removes personal data from its requests; None if nothing does.
    """

    def __init__(
        self,
        name: str,
        version: int,
        model: LoadedModel,
        options: ServableOptions | None = None,
        observe_run: RunObserver | None = None,
        observe_examples: Callable[[str, int], None] | None = None,
    ):
        """A servable of a loaded model, which it closes when it retires.

        Args:
            name: The model's name.
            version: The version's number.
            model: The loaded model.
            options: How requests are answered.
            observe_run: Told of every run of the model.
            observe_examples: Told the model's name and the number of tf.Examples of every inference of several signatures.
        """
        options = options or ServableOptions()
        self.name = name
        self.version = version
        self.signatures: Mapping[str, Any] = model.signatures
        self.redactor: RequestRedactor | None = getattr(model, "redactor", None)
        self._model = model
        self._options = options
        self._observe_run = observe_run or (lambda *_: None)
        self._observe_examples = observe_examples or (lambda *_: None)
        self._signatures = {key: _Signature(value, options.check_method_names) for key, value in model.signatures.items()}
        self._observe_scores: ScoreObserver | None = None
        # An entry per user: append and pop of a list are atomic and take less time than a lock.
        self._users: list[None] = []
        self._retired = False

    def report_scores(self, observe: ScoreObserver) -> None:
        """Tells an observer from now on how sure the model is of each row; not of warm-up requests before, which nobody sent."""
        self._observe_scores = observe

    def predict(self, request: Any, deadline: float | None = None) -> Any:
        """Answers a PredictRequest with a PredictResponse.

        Raises:
            ServingError: The request or the run is refused.
        """
        return PredictResponse.FromString(self.predict_serialized(request, deadline))

    def predict_serialized(self, request: Any, deadline: float | None = None) -> bytes:
        """Answers a PredictRequest with the bytes of a PredictResponse, written field by field: most requests are small, and filling
        a message to serialize it would take longer than all else that Python does for one.

        Raises:
            ServingError: The request or the run is refused.
        """
        asked = request.model_spec
        signature_name = asked.signature_name or DEFAULT_SIGNATURE
        outputs = self.run(signature_name, request.inputs, request.output_filter, deadline)
        parts = [_answering(asked.name, signature_name, self.version)]
        for alias, tensor in outputs.items():
            value = tensors.serialized(tensor, content=self._options.content)
            key, size = _output_key(alias), wire.varint(len(value))
            parts += (_OUTPUT_TAG, wire.varint(len(key) + len(size) + len(value)), key, size, value)
        return b"".join(parts)

    def run(
        self, signature_name: str, feeds: Mapping[str, Any], output_filter: Sequence[str] = (), deadline: float | None = None
    ) -> dict[str, Tensor]:
        """Runs a signature on values by alias.

        Args:
            signature_name: The signature; "" for the default one.
            feeds: A TensorProto or `Tensor` for each input of the signature; those with a default may be missing.
            output_filter: Aliases of the outputs wanted, in this order; none for all, sorted.
            deadline: See the module.

        Raises:
            ServingError: FAILED_PRECONDITION for an unknown signature; otherwise the values or the run are refused.
        """
        signature = self._signatures.get(signature_name or DEFAULT_SIGNATURE)
        if signature is None:
            raise ServingError(
                StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature_name or DEFAULT_SIGNATURE}" not found.'
            )
        if signature.method_error is not None:
            raise signature.method_error
        inputs = signature.inputs
        if len(feeds) != len(inputs) and (len(feeds) > len(inputs) or not signature.defaults):
            raise _wrong_inputs(feeds, inputs)
        fed, used = {}, 0
        for alias, name in inputs.items():
            # A protobuf map makes an entry of what it is asked for and lacks.
            if alias in feeds:
                fed[name] = feeds[alias]
                used += 1
            elif alias in signature.defaults:
                fed[name] = signature.defaults[alias]
            else:
                raise _missing_input(alias, name, feeds, signature.defaults)
        if used != len(feeds):
            raise _surplus_inputs(feeds, inputs)
        wanted = _fetches(signature.outputs, output_filter) if output_filter else signature.outputs
        try:
            outputs = dict(zip(wanted, self._run("Predict", fed, list(wanted.values()), deadline), strict=True))
        except MalformedTensorError as error:
            raise ServingError(
                error.code, f"tensor parsing error: {signature.aliases.get(error.tensor, error.tensor)}"
            ) from error
        if self._observe_scores is not None:
            self._report_scores(outputs.get("score"), outputs.get("scores"))
        return outputs

    def classify(self, request: Any, deadline: float | None = None) -> Any:
        """Answers a ClassificationRequest with a ClassificationResponse.

        Raises:
            ServingError: The request or the run is refused.
        """
        response = ClassificationResponse()
        signature = self._signature_for_examples(request.model_spec, CLASSIFY_METHOD, "classification")
        input_name, outputs = self._classification(signature)
        examples = serialized_examples(request.input)
        found = self._run_examples("Classify", [input_name], outputs, examples, deadline)
        _add_classifications(signature, len(examples), found, response.result)
        if self._observe_scores is not None and "scores" in signature.outputs:
            self._report_scores(None, found[signature.outputs["scores"]])
        self._describe(response.model_spec, request.model_spec.name, request.model_spec.signature_name or DEFAULT_SIGNATURE)
        return response

    def regress(self, request: Any, deadline: float | None = None) -> Any:
        """Answers a RegressionRequest with a RegressionResponse.

        Raises:
            ServingError: The request or the run is refused.
        """
        response = RegressionResponse()
        signature = self._signature_for_examples(request.model_spec, REGRESS_METHOD, "regression")
        input_name, outputs = self._regression(signature)
        examples = serialized_examples(request.input)
        found = self._run_examples("Regress", [input_name], outputs, examples, deadline)
        _add_regressions(signature, len(examples), found, response.result)
        self._describe(response.model_spec, request.model_spec.name, request.model_spec.signature_name or DEFAULT_SIGNATURE)
        return response

    def multi_inference(self, request: Any, deadline: float | None = None) -> Any:
        """Answers a MultiInferenceRequest with a MultiInferenceResponse: several signatures of one model, one run.

        Raises:
            ServingError: The request or the run is refused.
        """
        planned: list[tuple[Any, _Signature]] = []
        inputs, outputs = set(), set()
        seen: set[str] = set()
        for task in request.tasks:
            signature_name = task.model_spec.signature_name or DEFAULT_SIGNATURE
            self._check_task(task, request.tasks[0].model_spec.name, signature_name, seen)
            seen.add(signature_name)
            signature = self._signatures.get(signature_name)
            if signature is None:
                _refuse(f"Requested signature not found in model graph: {signature_name}")
            if task.method_name == CLASSIFY_METHOD:
                name, fetched = self._classification(signature)
            elif task.method_name == REGRESS_METHOD:
                name, fetched = self._regression(signature)
            else:
                raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
            inputs.add(name)
            outputs.update(fetched)
            planned.append((task, signature))
        examples = serialized_examples(request.input)
        found = self._run_examples("MultiInference", sorted(inputs), sorted(outputs), examples, deadline)
        self._observe_examples(self.name, len(examples))
        response = MultiInferenceResponse()
        for task, signature in planned:
            result = response.results.add()
            if task.method_name == CLASSIFY_METHOD:
                result.classification_result.SetInParent()
                _add_classifications(signature, len(examples), found, result.classification_result)
            else:
                result.regression_result.SetInParent()
                _add_regressions(signature, len(examples), found, result.regression_result)
            self._describe(result.model_spec, task.model_spec.name, task.model_spec.signature_name or DEFAULT_SIGNATURE)
        return response

    def metadata(self, request: Any) -> Any:
        """Answers a GetModelMetadataRequest with a GetModelMetadataResponse: the signatures.

        Raises:
            ServingError: See `check_metadata_request`.
        """
        check_metadata_request(request)
        signatures = SignatureDefMap()
        for key, definition in self.signatures.items():
            signatures.signature_def[key].CopyFrom(definition)
        response = GetModelMetadataResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = self.version
        packed = response.metadata[_SIGNATURE_DEF]
        packed.type_url = f"type.googleapis.com/{SignatureDefMap.DESCRIPTOR.full_name}"
        packed.value = signatures.SerializeToString(deterministic=True)
        return response

    def acquire(self) -> bool:
        """Counts one more user, unless the servable has retired: then False, and it must not be used."""
        self._users.append(None)
        if self._retired:
            self._users.pop()
            return False
        return True

    def release(self) -> None:
        """Counts one user less, after a successful `acquire`."""
        self._users.pop()

    def retire(self) -> None:
        """Waits until nobody uses the servable, then frees its model. From now on nobody can acquire it."""
        self._retired = True
        pause = 0.0005
        while self._users:
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        self._model.close()

    def _run(self, api: str, feeds: Mapping[str, Any], fetches: Sequence[str], deadline: float | None) -> list[Tensor]:
        started = time.monotonic()
        timeout_ms = 0
        if deadline is not None:
            if started >= deadline:
                raise deadline_exceeded()
            timeout_ms = int((deadline - started) * 1000) + 1
        try:
            outputs = self._model.run(feeds, fetches, timeout_ms)
        except MalformedTensorError:
            raise
        except ServingError as error:
            raise RunFailedError(error.code, error.message) from error
        ended = time.monotonic()
        self._observe_run(self.name, api, ended - started)
        if deadline is not None and ended >= deadline:
            raise deadline_exceeded()
        return outputs

    def _run_examples(
        self, api: str, inputs: Sequence[str], fetches: Sequence[str], examples: Sequence[bytes], deadline: float | None
    ) -> dict[str, Tensor]:
        """Feeds the same tf.Examples to all inputs: signatures of one TensorFlow 2 model each have an input tensor of their own."""
        feeds = dict.fromkeys(inputs, Tensor.of(list(examples), DataType.DT_STRING))
        return dict(zip(fetches, self._run(api, feeds, fetches, deadline), strict=True))

    def _describe(self, spec: Any, name: str, signature_name: str) -> None:
        """Fills the ModelSpec of a response."""
        spec.name = name
        spec.signature_name = signature_name
        spec.version.value = self.version

    def _report_scores(self, best: Tensor | None, scores: Tensor | None) -> None:
        """Reports what the model's outputs say of its best class: `score` [B], or `scores` [B, classes]."""
        if self._observe_scores is None:
            return
        if best is not None and len(best.shape) == 1 and (listed := best.floats()):
            self._observe_scores(self.name, self.version, listed)
        elif scores is not None and len(scores.shape) == 2 and math.prod(scores.shape) <= _FEW_SCORES:
            # numpy takes longer to begin than Python takes for a few numbers.
            if listed := scores.floats():
                self._observe_scores(self.name, self.version, list(map(max, listed)))
        elif scores is not None and len(scores.shape) == 2 and scores.array.dtype.kind == "f":
            self._observe_scores(self.name, self.version, np.maximum.reduce(scores.array, axis=1).tolist())

    def _signature_for_examples(self, spec: Any, method: str, kind: str) -> _Signature:
        signature_name = spec.signature_name or DEFAULT_SIGNATURE
        signature = self._signatures.get(signature_name)
        if signature is None:
            _refuse(f"No signature was found with the name: {signature_name}")
        self._check_method(signature, method, kind)
        return signature

    def _check_method(self, signature: _Signature, method: str, kind: str) -> None:
        was = signature.definition.method_name
        if self._options.check_method_names and was != method:
            _refuse(f"Expected {kind} signature method_name to be {method}. Was: {was}")

    def _check_task(self, task: Any, model_name: str, signature_name: str, seen: Iterable[str]) -> None:
        if not task.model_spec.name:
            _refuse("Found ModelSpec with an empty model name.")
        if task.model_spec.name != model_name:
            _refuse("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if signature_name in seen:
            _refuse(f"Duplicate evaluation of signature: {signature_name}")

    def _classification(self, signature: _Signature) -> tuple[str, list[str]]:
        """The names of the input and the outputs of a signature that classifies."""
        self._check_method(signature, CLASSIFY_METHOD, "classification")
        if len(signature.inputs) != 1:
            _refuse("Expected one input Tensor.")
        if len(signature.outputs) not in (1, 2):
            _refuse(f"Expected one or two output Tensors, found {len(signature.outputs)}")
        if "inputs" not in signature.inputs:
            _refuse(f"No classification inputs found in SignatureDef: {signature.definition}")
        outputs = [signature.outputs[alias] for alias in ("classes", "scores") if alias in signature.outputs]
        if not outputs:
            _refuse(
                'Expected classification signature outputs to contain at least one of "classes" or "scores". '
                f"Signature was: {signature.definition}"
            )
        return signature.inputs["inputs"], outputs

    def _regression(self, signature: _Signature) -> tuple[str, list[str]]:
        """The names of the input and the output of a signature that regresses."""
        self._check_method(signature, REGRESS_METHOD, "regression")
        if len(signature.inputs) != 1:
            _refuse("Expected one input Tensor.")
        if len(signature.outputs) != 1:
            _refuse("Expected one output Tensor.")
        if "inputs" not in signature.inputs:
            _refuse(f"No regression inputs found in SignatureDef: {signature.definition}")
        if "outputs" not in signature.outputs:
            _refuse(f"No regression outputs found in SignatureDef: {signature.definition}")
        return signature.inputs["inputs"], [signature.outputs["outputs"]]


@functools.lru_cache(maxsize=1024)
def _answering(name: str, signature_name: str, version: int) -> bytes:
    """The field of a serialized PredictResponse that tells what answered."""
    response = PredictResponse()
    response.model_spec.name, response.model_spec.signature_name, response.model_spec.version.value = (
        name,
        signature_name,
        version,
    )
    content: bytes = response.SerializeToString()
    return content


@functools.lru_cache(maxsize=1024)
def _output_key(alias: str) -> bytes:
    """What an entry of the map of outputs begins with: its key, and the tag of its value."""
    return wire.field(1, alias.encode()) + wire.tag(2)


def check_metadata_request(request: Any) -> None:
    """Refuses a GetModelMetadataRequest that asks for nothing, or for something there is not.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not request.metadata_field:
        _refuse("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _SIGNATURE_DEF:
            _refuse(f"Metadata field {field} is not supported")


def serialized_examples(input_message: Any) -> list[bytes]:
    """The tf.Examples of an Input, serialized; the context, where there is one, is part of each.

    Raises:
        ServingError: INVALID_ARGUMENT; there are none.
    """
    kind = input_message.WhichOneof("kind")
    if kind == "example_list":
        examples = [example.SerializeToString() for example in input_message.example_list.examples]
    elif kind == "example_list_with_context":
        context = input_message.example_list_with_context.context.SerializeToString()
        # Two messages one after the other are their merger.
        examples = [context + example.SerializeToString() for example in input_message.example_list_with_context.examples]
    else:
        examples = []
    if not examples:
        _refuse("Input is empty.")
    return examples


def deadline_exceeded() -> ServingError:
    """The error of a request that took too long."""
    return ServingError(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def _refuse(message: str) -> NoReturn:
    raise ServingError(StatusCode.INVALID_ARGUMENT, message)


def _set(aliases: Iterable[str]) -> str:
    return f"{{{','.join(sorted(aliases))}}}"


def _wrong_inputs(feeds: Mapping[str, Any], inputs: Mapping[str, str]) -> ServingError:
    return ServingError(
        StatusCode.INVALID_ARGUMENT,
        f"input size does not match signature: {len(feeds)}!={len(inputs)} len({_set(feeds)}) != len({_set(inputs)}). "
        f"Sent extra: {_set(set(feeds) - set(inputs))}. Missing but required: {_set(set(inputs) - set(feeds))}.",
    )


def _missing_input(alias: str, name: str, feeds: Mapping[str, Any], defaults: Mapping[str, Any]) -> ServingError:
    return ServingError(
        StatusCode.INVALID_ARGUMENT,
        f"Signature input alias: {alias}(feed name: {name}) not found in request and no default value provided. "
        f"Inputs expected to be in the request {_set(feeds)}, or default input alias set: {','.join(sorted(defaults))}",
    )


def _surplus_inputs(feeds: Mapping[str, Any], inputs: Mapping[str, str]) -> ServingError:
    used = ",".join(sorted(set(feeds) & set(inputs)))
    return ServingError(
        StatusCode.INVALID_ARGUMENT,
        f"Inputs contains invalid name. Used request inputs: {used}, request input: {','.join(sorted(feeds))}",
    )


def _fetches(outputs: Mapping[str, str], output_filter: Sequence[str]) -> dict[str, str]:
    """The names of the tensors of the outputs wanted, by alias."""
    wanted: dict[str, str] = {}
    for alias in output_filter:
        if alias not in outputs:
            _refuse(f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {_set(outputs)}.")
        if alias in wanted:
            _refuse(f"duplicate output tensor alias: {alias}")
        wanted[alias] = outputs[alias]
    return wanted


def _debug_shape(tensor: Tensor) -> str:
    return f"[{','.join(map(str, tensor.shape))}]"


def _add_classifications(signature: _Signature, examples: int, found: Mapping[str, Tensor], result: Any) -> None:
    """Turns the outputs of a run (by name) into a ClassificationResult."""
    parts = {alias: found[signature.outputs[alias]] for alias in ("classes", "scores") if alias in signature.outputs}
    for alias, expected in (("classes", DataType.DT_STRING), ("scores", DataType.DT_FLOAT)):
        if alias not in parts:
            continue
        tensor = parts[alias]
        if len(tensor.shape) != 2:
            _refuse(f"Expected Tensor shape: [batch_size num_classes] but got {_debug_shape(tensor)}")
        if tensor.dtype != expected:
            _refuse(f"Expected {alias} Tensor of {DataType.Name(expected)}. Got: {DataType.Name(tensor.dtype)}")
        if tensor.shape[0] != examples:
            _refuse(f"Expected {alias} output batch size of {examples}. Got: {tensor.shape[0]}")
    widths = {alias: tensor.shape[1] for alias, tensor in parts.items()}
    if len(set(widths.values())) > 1:
        _refuse(f"Tensors class and score should match in dim_size(1). Got {widths['classes']} vs. {widths['scores']}")
    for row in range(examples):
        classes = result.classifications.add().classes
        labels = _labels(parts["classes"].array[row].tolist()) if "classes" in parts else [""] * max(widths.values())
        scores = parts["scores"].array[row].tolist() if "scores" in parts else [0.0] * len(labels)
        for label, score in zip(labels, scores, strict=True):
            classes.add(label=label, score=score)


def _labels(labels: Iterable[bytes]) -> list[str]:
    try:
        return [label.decode("utf-8") for label in labels]
    except UnicodeDecodeError as error:
        # A string field cannot carry it. What upstream's protobuf would do is drop the whole response.
        raise ServingError(StatusCode.INTERNAL, "The model's classes are not UTF-8.") from error


def _add_regressions(signature: _Signature, examples: int, found: Mapping[str, Tensor], result: Any) -> None:
    """Turns the output of a run (by name) into a RegressionResult."""
    tensor = found[signature.outputs["outputs"]]
    if not (len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)):
        _refuse(f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_debug_shape(tensor)}")
    if tensor.shape[0] != examples:
        _refuse(f"Input batch size did not match output batch size: {examples} vs. {tensor.shape[0]}")
    if tensor.dtype != DataType.DT_FLOAT:
        _refuse(f"Expected output Tensor of DT_FLOAT.  Got: {DataType.Name(tensor.dtype)}")
    for value in tensor.array.ravel().tolist():
        result.regressions.add(value=value)
