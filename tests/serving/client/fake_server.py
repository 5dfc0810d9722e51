"""A model server to test clients against: the interfaces of TensorFlow Serving, models of a few lines of numpy, faults on order."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import dataclasses
import http.server
import json
import re
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable

import grpc
import numpy as np
from google.protobuf import json_format

from serving import messages
from serving.messages import DataType
from serving.tensors import Tensor, from_proto, to_proto

LABELS = ("light", "stop", "weather")

STRING, FLOAT, INT64, BOOL = DataType.DT_STRING, DataType.DT_FLOAT, DataType.DT_INT64, DataType.DT_BOOL


class Refusal(Exception):
    """What the server answers instead of a result."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = text


def signature(inputs, outputs, method="tensorflow/serving/predict"):
    """A SignatureDef: by name a type and a shape, -1 for any size."""
    definition = messages.SignatureDef(method_name=method)
    for side, tensors in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for name, (dtype, *shape) in tensors.items():
            side[name].dtype = dtype
            side[name].name = f"{name}:0"
            side[name].tensor_shape.SetInParent()
            for size in shape:
                side[name].tensor_shape.dim.add(size=size)
    return definition


@dataclasses.dataclass
class FakeModel:
    """Signatures and what they compute: name -> (definition, function of tensors by name)."""

    signatures: dict[str, tuple[object, Callable[[dict[str, Tensor]], dict[str, Tensor]]]]


def _rated(texts):
    """Scores [B, 3] of texts: 0.8 for the label the text contains, else 0.4 for the first."""
    scores = np.full((len(texts), len(LABELS)), 0.1, np.float32)
    for row, text in enumerate(texts):
        hits = [column for column, label in enumerate(LABELS) if label.encode() in text]
        scores[row, hits[0] if hits else 0] = 0.8 if hits else 0.4
    return scores


def _columns(tensors):
    scores = _rated(tensors["text"].array.tolist())
    order = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    labels = np.array([label.encode() for label in LABELS], object)
    ranked = np.take_along_axis(scores, order, 1)
    return {
        "label": Tensor(STRING, labels[order[:, 0]]),
        "score": Tensor(FLOAT, ranked[:, 0]),
        "top_labels": Tensor(STRING, labels[order]),
        "top_scores": Tensor(FLOAT, ranked),
        "abstained": Tensor(BOOL, ranked[:, 0] < 0.5),
    }


def _features(tensors, name, kind):
    for serialized in tensors["inputs"].array.tolist():
        example = messages.Example.FromString(serialized)
        if example.features.feature[name].WhichOneof("kind") != kind:
            raise Refusal("INVALID_ARGUMENT", f"Name: <unknown>, Key: {name}, Index: 0.  Data types don't match.")
        [value] = getattr(example.features.feature[name], kind).value
        yield value


def _classes(tensors):
    scores = _rated(list(_features(tensors, "text", "bytes_list")))
    classes = np.array([[label.encode() for label in LABELS]] * len(scores), object)
    return {"classes": Tensor(STRING, classes), "scores": Tensor(FLOAT, scores)}


def intents(extra_column=None):
    """A model like Parlance's own: raw columns or tf.Examples in, labels and scores out."""
    inputs = {"text": (STRING, -1)}
    if extra_column:
        inputs[extra_column] = (FLOAT, -1)
    outputs = {
        "label": (STRING, -1), "score": (FLOAT, -1), "top_labels": (STRING, -1, 2), "top_scores": (FLOAT, -1, 2),
        "abstained": (BOOL, -1),
    }  # fmt: skip
    of_examples = signature({"inputs": (STRING, -1)}, {"classes": (STRING, -1, 3), "scores": (FLOAT, -1, 3)})
    return FakeModel({"serving_default": (signature(inputs, outputs), _columns), "serving_examples": (of_examples, _classes)})


def half_plus_two():
    """y = x / 2 + 2, over Predict and Regress; and what it was given."""

    def predict(tensors):
        return {"y": Tensor(FLOAT, tensors["x"].array * np.float32(0.5) + 2)}

    def regress(tensors):
        values = np.array(list(_features(tensors, "x", "float_list")), np.float32)
        return {"outputs": Tensor(FLOAT, values * np.float32(0.5) + 2)}

    def echo(tensors):
        return {name: Tensor(tensor.dtype, tensor.array) for name, tensor in tensors.items()}

    echoed = {"raw_bytes": (STRING, -1), "n": (INT64, -1), "x": (FLOAT, -1)}
    return FakeModel(
        {
            "serving_default": (signature({"x": (FLOAT, -1)}, {"y": (FLOAT, -1)}), predict),
            "regress_x": (signature({"inputs": (STRING, -1)}, {"outputs": (FLOAT, -1)}), regress),
            "echo": (signature(echoed, echoed), echo),
            "__saved_model_init_op": (signature({}, {"__saved_model_init_op": (FLOAT,)}), predict),
        }
    )


class FakeServer:
    """State and behaviour behind both interfaces.

    Attributes:
        models: Versions by model: {"intents": {1: FakeModel}}.
        labels: Version by model and label.
        statuses: What GetModelStatus tells instead, by model.
        seen: Pairs of a remote procedure and its request, in order of arrival.
        headers: Of the last request.
        time_left: Seconds until the last request's deadline, over gRPC.
        delay: Seconds every request takes.
    """

    def __init__(self):
        self.models = {"intents": {1: intents()}, "half": {3: half_plus_two()}}
        self.labels = {}
        self.statuses = {}
        self.seen = []
        self.headers = {}
        self.time_left = None
        self.delay = 0.0
        self._refusals = []
        self._lock = threading.Lock()

    def refuse(self, method, code, text="", times=1):
        """Makes the next calls of a procedure fail."""
        self._refusals += [(method, code, text)] * times

    def count(self, method):
        """How many requests of a procedure arrived."""
        return sum(name == method for name, _ in self.seen)

    def answer(self, method, request):
        """Answers a request message with a response message."""
        with self._lock:
            self.seen.append((method, request))
            refusal = next((entry for entry in self._refusals if entry[0] == method), None)
            if refusal:
                self._refusals.remove(refusal)
        if self.delay:
            time.sleep(self.delay)
        if refusal:
            raise Refusal(*refusal[1:])
        return getattr(self, f"_{method}")(request)

    def _model(self, spec):
        versions = self.models.get(spec.name, {})
        if spec.WhichOneof("version_choice") == "version_label":
            version = self.labels.get((spec.name, spec.version_label))
            if version is None:
                raise Refusal("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        elif spec.HasField("version"):
            version = spec.version.value
            if version not in versions:
                raise Refusal("NOT_FOUND", f"Servable not found for request: Specific({spec.name}, {version})")
        elif versions:
            version = max(versions)
        else:
            raise Refusal("NOT_FOUND", f"Servable not found for request: Latest({spec.name})")
        return version, versions[version]

    @staticmethod
    def _answered_by(response, spec, version, name):
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = name
        return response

    def _Predict(self, request):
        version, model = self._model(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        if name not in model.signatures:
            raise Refusal("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        definition, compute = model.signatures[name]
        if set(request.inputs) != set(definition.inputs):
            raise Refusal("INVALID_ARGUMENT", f"input size does not match signature: {len(request.inputs)}!=...")
        tensors = {alias: from_proto(proto) for alias, proto in request.inputs.items()}
        for alias, tensor in tensors.items():
            if tensor.dtype != definition.inputs[alias].dtype:
                kinds = [DataType.Name(dtype)[3:].lower() for dtype in (definition.inputs[alias].dtype, tensor.dtype)]
                raise Refusal("INVALID_ARGUMENT", f"Expects arg[0] to be {kinds[0]} but {kinds[1]} is provided")
        response = messages.PredictResponse()
        for alias, tensor in compute(tensors).items():
            if not request.output_filter or alias in request.output_filter:
                response.outputs[alias].CopyFrom(to_proto(tensor))
        return self._answered_by(response, request.model_spec, version, name)

    def _run_on_examples(self, spec, given):
        version, model = self._model(spec)
        name = spec.signature_name or "serving_default"
        if name not in model.signatures:
            raise Refusal("INVALID_ARGUMENT", f"No signature was found with the name: {name}")
        definition, compute = model.signatures[name]
        if set(definition.inputs) != {"inputs"}:
            raise Refusal("INVALID_ARGUMENT", "No classification inputs found in SignatureDef: ...")
        examples = [example.SerializeToString() for example in given.example_list.examples]
        if not examples:
            raise Refusal("INVALID_ARGUMENT", "Input is empty.")
        return version, name, compute({"inputs": Tensor.of(examples)})

    @staticmethod
    def _fill(result, outputs):
        if "outputs" in outputs:
            for value in outputs["outputs"].array.tolist():
                result.regressions.add(value=value)
            return
        for classes, scores in zip(outputs["classes"].array.tolist(), outputs["scores"].array.tolist(), strict=True):
            row = result.classifications.add()
            for label, score in zip(classes, scores, strict=True):
                row.classes.add(label=label.decode(), score=score)

    def _Classify(self, request):
        version, name, outputs = self._run_on_examples(request.model_spec, request.input)
        response = messages.ClassificationResponse()
        self._fill(response.result, outputs)
        return self._answered_by(response, request.model_spec, version, name)

    def _Regress(self, request):
        version, name, outputs = self._run_on_examples(request.model_spec, request.input)
        response = messages.RegressionResponse()
        self._fill(response.result, outputs)
        return self._answered_by(response, request.model_spec, version, name)

    def _MultiInference(self, request):
        response = messages.MultiInferenceResponse()
        for task in request.tasks:
            version, name, outputs = self._run_on_examples(task.model_spec, request.input)
            result = response.results.add()
            self._answered_by(result, task.model_spec, version, name)
            kind = "classification_result" if task.method_name.endswith("/classify") else "regression_result"
            self._fill(getattr(result, kind), outputs)
        return response

    def _GetModelMetadata(self, request):
        version, model = self._model(request.model_spec)
        response = messages.GetModelMetadataResponse()
        definitions = messages.SignatureDefMap()
        for name, (definition, _) in model.signatures.items():
            definitions.signature_def[name].CopyFrom(definition)
        response.metadata["signature_def"].Pack(definitions)
        return self._answered_by(response, request.model_spec, version, "")

    def _GetModelStatus(self, request):
        spec = request.model_spec
        response = messages.GetModelStatusResponse()
        if spec.name in self.statuses:
            response.model_version_status.extend(self.statuses[spec.name])
            return response
        versions = self.models.get(spec.name)
        if not versions:
            raise Refusal("NOT_FOUND", f"Could not find any versions of model {spec.name}")
        if spec.HasField("version") and spec.version.value not in versions:
            raise Refusal("NOT_FOUND", f"Could not find version {spec.version.value} of model {spec.name}")
        for version in sorted(versions, reverse=True):
            if not spec.HasField("version") or spec.version.value == version:
                response.model_version_status.add(
                    version=version, state=messages.ModelVersionStatus.AVAILABLE
                ).status.SetInParent()
        return response

    def _HandleReloadConfigRequest(self, request):
        names = {config.name for config in request.config.model_config_list.config}
        self.models = {name: versions for name, versions in self.models.items() if name in names}
        response = messages.ReloadConfigResponse()
        for name in request.metric_names:
            response.metric.add(name=name, int64_value_increase=1)
        return response


_REQUESTS = {
    "Predict": ("PredictionService", messages.PredictRequest),
    "Classify": ("PredictionService", messages.ClassificationRequest),
    "Regress": ("PredictionService", messages.RegressionRequest),
    "MultiInference": ("PredictionService", messages.MultiInferenceRequest),
    "GetModelMetadata": ("PredictionService", messages.GetModelMetadataRequest),
    "GetModelStatus": ("ModelService", messages.GetModelStatusRequest),
    "HandleReloadConfigRequest": ("ModelService", messages.ReloadConfigRequest),
}


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, state):
        self._state = state

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        service, request_class = _REQUESTS[method]
        assert details.method == f"/tensorflow.serving.{service}/{method}"

        def handle(request, context):
            self._state.headers = dict(context.invocation_metadata())
            self._state.time_left = context.time_remaining()
            try:
                return self._state.answer(method, request)
            except Refusal as refusal:
                context.abort(grpc.StatusCode[refusal.code], refusal.text)

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=request_class.FromString, response_serializer=lambda message: message.SerializeToString()
        )


@contextlib.contextmanager
def grpc_server(state, address="127.0.0.1:0", credentials=None, largest_request=-1):
    """Serves over gRPC; gives the port (of a socket file, 1)."""
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(8),
        handlers=(_Handler(state),),
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", largest_request),
            ("grpc.max_send_message_length", -1),
        ],
    )
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


_HTTP_STATUSES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "INTERNAL": 500, "PERMISSION_DENIED": 403,
}  # fmt: skip
_PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?P<rest>/metadata|:\w+)?")


class RestState:
    """What only the HTTP side knows.

    Attributes:
        connections: How many were opened.
        hang_up_after: Close a connection silently after so many answers.
        raw_answers: Bodies to answer the next POST requests with, as they are, each with its status.
        bodies: Bodies of POST requests, parsed.
    """

    def __init__(self):
        self.connections = 0
        self.hang_up_after = None
        self.raw_answers = []
        self.bodies = []


def _rest_handler(state, rest):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self):
            super().setup()
            rest.connections += 1
            self.answered = 0
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def log_message(self, *arguments):
            pass

        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body):
            state.headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                if body is not None:
                    rest.bodies.append(body)
                status, document = 200, _rest_answer(state, self.path, body)
            except Refusal as refusal:
                status, document = _HTTP_STATUSES[refusal.code], {"error": refusal.text}
            content = json.dumps(document).encode()
            if body is not None and rest.raw_answers:
                status, content = rest.raw_answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.answered += 1
            if self.answered == rest.hang_up_after:
                self.close_connection = True  # without telling the client, as a server with a time limit does

    return Handler


def _rest_answer(state, path, body):
    match = _PATH.fullmatch(path)
    if match is None:
        raise Refusal("INVALID_ARGUMENT", f"Malformed request: {path}")
    spec = messages.ModelSpec(name=urllib.parse.unquote(match["name"]))
    if match["version"]:
        spec.version.value = int(match["version"])
    if match["label"]:
        spec.version_label = urllib.parse.unquote(match["label"])
    if body is None:
        if match["rest"] == "/metadata":
            return _metadata_document(state.answer("GetModelMetadata", messages.GetModelMetadataRequest(model_spec=spec)))
        response = state.answer("GetModelStatus", messages.GetModelStatusRequest(model_spec=spec))
        return _as_json(response)
    spec.signature_name = body.get("signature_name", "")
    if match["rest"] == ":predict":
        return _rest_predict(state, spec, body)
    given = messages.Input()
    for row in body["examples"]:
        feature = given.example_list.examples.add().features.feature
        for name, values in row.items():
            _fill_feature(feature[name], values if isinstance(values, list) else [values])
    if match["rest"] == ":classify":
        response = state.answer("Classify", messages.ClassificationRequest(model_spec=spec, input=given))
        return {"results": [[[c.label, c.score] for c in row.classes] for row in response.result.classifications]}
    response = state.answer("Regress", messages.RegressionRequest(model_spec=spec, input=given))
    return {"results": [regression.value for regression in response.result.regressions]}


def _fill_feature(feature, values):
    for value in values:
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.bytes_list.value.append(_bytes(value))


def _bytes(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()


def _rest_predict(state, spec, body):
    _, model = state._model(spec)
    name = spec.signature_name or "serving_default"
    if name not in model.signatures:
        raise Refusal("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
    request = messages.PredictRequest(model_spec=spec)
    for alias, values in body["inputs"].items():
        dtype = model.signatures[name][0].inputs[alias].dtype
        values = [_bytes(value) for value in values] if dtype == STRING else values
        request.inputs[alias].CopyFrom(to_proto(Tensor.of(values, dtype)))
    response = state.answer("Predict", request)
    outputs = {alias: _json_values(alias, from_proto(proto).array.tolist()) for alias, proto in response.outputs.items()}
    return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


def _json_values(alias, value):
    if isinstance(value, list):
        return [_json_values(alias, entry) for entry in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if alias.endswith("_bytes") else value.decode()
    return value


def _as_json(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, descriptor_pool=messages.POOL
    )


def _metadata_document(response):
    definitions = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    spec = response.model_spec
    return {
        "model_spec": {"name": spec.name, "signature_name": "", "version": str(spec.version.value)},
        "metadata": {"signature_def": _as_json(definitions)},
    }


@contextlib.contextmanager
def rest_server(state, rest=None, context=None, port=0):
    """Serves over HTTP; gives the port."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # clients that give up

    server = Server(("127.0.0.1", port), _rest_handler(state, rest or RestState()))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    # A process of its own, to be killed: `python -m tests.serving.client.fake_server PORT SECONDS_A_REQUEST`.
    alone = FakeServer()
    alone.delay = float(sys.argv[2])
    with grpc_server(alone, f"127.0.0.1:{sys.argv[1]}") as bound:
        sys.stdout.write(f"{bound}\n")
        sys.stdout.flush()
        threading.Event().wait()
