import contextlib
import json

import numpy as np
import pytest

from serving.messages import (
    ClassificationResponse,
    DataType,
    ModelVersionStatus,
    RegressionResponse,
    SignatureDef,
    StatusProto,
    TensorInfo,
)
from serving.server.errors import ServingError, StatusCode
from serving.server.http_server import HttpRequest
from serving.server.rest_api import RestApi
from serving.tensors import Tensor, from_proto


class FakeServable:
    """y = x / 2 + 2."""

    name = "m"
    version = 3

    def __init__(self):
        inputs = {"x": TensorInfo(name="x:0", dtype=DataType.DT_FLOAT)}
        self.signatures = {"serving_default": SignatureDef(inputs=inputs), "other": SignatureDef(inputs=inputs)}
        self.failure = None
        self.deadlines = []

    def run(self, signature_name, feeds, output_filter=(), deadline=None):
        self.deadlines.append(deadline)
        if self.failure:
            raise self.failure
        return {"y": Tensor.of(feeds["x"].array / np.float32(2) + np.float32(2))}

    def classify(self, request, deadline=None):
        response = ClassificationResponse()
        response.model_spec.name = request.model_spec.name
        response.result.classifications.add().classes.add(label="a", score=0.5)
        return response

    def regress(self, request, deadline=None):
        response = RegressionResponse()
        response.result.regressions.add(value=3)
        return response


class FakeManager:
    def __init__(self):
        self.one = FakeServable()
        self.asked = []

    @contextlib.contextmanager
    def servable(self, spec):
        self.asked.append(spec)
        if spec.name != "m":
            raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        yield self.one

    def statuses(self, name, version=None):
        if version not in (None, 3):
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {version} of model {name}")
        return [ModelVersionStatus(version=3, state=30, status=StatusProto())]


class FakeMetrics:
    def __init__(self):
        self.observed = []
        self.versions = []

    def observe_request(self, model, api, entrypoint, seconds, status, version=None):
        assert seconds >= 0
        self.observed.append((model, api, entrypoint, status))
        self.versions.append(version)

    def prometheus_text(self):
        return "# metrics\n"


class FakeLog:
    def __init__(self, rate=1):
        self.rate = rate
        self.recorded = []

    def samples(self):
        return bool(self.rate)

    def record(self, request, response, *, seconds, origin):
        self.recorded.append((request, response, seconds, origin))


@pytest.fixture
def manager():
    return FakeManager()


@pytest.fixture
def metrics():
    return FakeMetrics()


def ask(api, verb, path, body=b"", **headers):
    return api.handle(HttpRequest(verb, path, headers, body))


@pytest.fixture
def api(manager, metrics):
    return RestApi(manager, metrics, timeout_seconds=30, metrics_path="/metrics")


def error(response):
    return response.status, json.loads(response.body)["error"]


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "version", "label"),
        [
            ("/v1/models/m:predict", None, ""),
            ("/V1/Models/m:PREDICT", None, ""),
            ("/v1/models/m/versions/7:predict", 7, ""),
            ("/v1/models/m/labels/can%20ary:predict", None, "can ary"),
            ("/v1/models/%6D:predict", None, ""),
        ],
    )
    def test_name_version_and_label(self, api, manager, path, version, label):
        assert ask(api, "POST", path, b'{"instances": [1]}').status == 200
        spec = manager.asked[-1]
        assert (spec.name, spec.version_label) == ("m", label)
        assert (spec.version.value if spec.HasField("version") else None) == version

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("GET", "/v1/foo"), ("GET", "/v1/models/m:predict"), ("POST", "/v1/models/m"), ("PUT", "/v1/models/m:predict"),
            ("OPTIONS", "/v1/models/m"), ("POST", "/v1/models/m:explain"), ("GET", "/v1/models/m/versions/x"),
            ("GET", "/v1/models/m/labels/a/versions/1"), ("POST", "/v1/models/m/versions/1/metadata:predict"),
        ],
    )  # fmt: skip
    def test_anything_else_is_malformed(self, api, verb, path):
        assert error(ask(api, verb, path)) == (400, f"Malformed request: {verb} {path}")

    def test_outside_of_v1_there_is_nothing(self, api):
        response = ask(api, "GET", "/")
        assert (response.status, response.content_type) == (404, "text/html")

    @pytest.mark.parametrize("version", [str(2**63), "9" * 5000])
    def test_versions_are_numbers_of_64_bits(self, api, version):
        assert error(ask(api, "GET", f"/v1/models/m/versions/{version}")) == (
            400,
            f"Failed to convert version: {version} to numeric.",
        )

    def test_names_are_text(self, api):
        assert error(ask(api, "GET", "/v1/models/%FF")) == (400, "Failed to decode model name:%FF")

    def test_a_name_is_needed(self, api):
        assert error(ask(api, "GET", "/v1/models")) == (400, "Missing model name in request.")


class TestPredict:
    def test_rows_and_columns(self, api):
        rows = ask(api, "POST", "/v1/models/m:predict", b'{"instances": [1.0, 2.0]}')
        assert (rows.status, rows.content_type, json.loads(rows.body)) == (200, "application/json", {"predictions": [2.5, 3.0]})
        assert json.loads(ask(api, "POST", "/v1/models/m:predict", b'{"inputs": {"x": 2}}').body) == {"outputs": 3.0}

    def test_an_unknown_signature(self, api):
        found = ask(api, "POST", "/v1/models/m:predict", b'{"signature_name": "z", "instances": [1]}')
        assert error(found) == (400, 'Serving signature name: "z" not found in signature def')

    def test_json_is_looked_at_before_the_model(self, api):
        assert error(ask(api, "POST", "/v1/models/none:predict", b""))[0] == 400
        assert error(ask(api, "POST", "/v1/models/none:predict", b"{}")) == (
            404,
            "Servable not found for request: Latest(none)",
        )

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("CANCELLED", 499), ("UNKNOWN", 500), ("INVALID_ARGUMENT", 400), ("DEADLINE_EXCEEDED", 504), ("NOT_FOUND", 404),
            ("ALREADY_EXISTS", 409), ("PERMISSION_DENIED", 403), ("RESOURCE_EXHAUSTED", 429), ("FAILED_PRECONDITION", 400),
            ("ABORTED", 409), ("OUT_OF_RANGE", 400), ("UNIMPLEMENTED", 501), ("INTERNAL", 500), ("UNAVAILABLE", 503),
            ("DATA_LOSS", 500), ("UNAUTHENTICATED", 401),
        ],
    )  # fmt: skip
    def test_status_codes(self, api, manager, metrics, code, status):
        manager.one.failure = ServingError(StatusCode[code], "why")
        assert error(ask(api, "POST", "/v1/models/m:predict", b'{"instances": [1]}')) == (status, "why")
        assert metrics.observed == [("m", "predict", "REST", StatusCode[code])]

    def test_the_timeout_becomes_a_deadline(self, manager, metrics, api):
        ask(api, "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        unlimited = RestApi(manager, metrics, timeout_seconds=None)
        ask(unlimited, "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        assert manager.one.deadlines[0] > 0
        assert manager.one.deadlines[1] is None

    def test_requests_are_counted(self, api, metrics):
        ask(api, "POST", "/v1/models/m:Predict", b'{"instances": [1]}')
        ask(api, "POST", "/v1/models/m:regress", b"")
        assert metrics.observed == [
            ("m", "predict", "REST", StatusCode.OK),
            ("m", "regress", "REST", StatusCode.INVALID_ARGUMENT),
        ]

    def test_requests_are_counted_for_the_version_that_answered_or_refused_them(self, api, manager, metrics):
        ask(api, "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        ask(api, "POST", "/v1/models/m:classify", b'{"examples": [{"x": 2.0}]}')
        ask(api, "POST", "/v1/models/none:predict", b'{"instances": [1]}')
        manager.one.failure = ServingError(StatusCode.INTERNAL, "why")
        ask(api, "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        assert metrics.versions == [3, 3, None, 3]


class TestExamples:
    def test_classify_and_regress(self, api):
        body = b'{"examples": [{"x": 2.0}]}'
        assert json.loads(ask(api, "POST", "/v1/models/m:classify", body).body) == {"results": [[["a", 0.5]]]}
        assert json.loads(ask(api, "POST", "/v1/models/m:regress", body).body) == {"results": [3.0]}


class TestModels:
    def test_status(self, api):
        shown = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for path in ("/v1/models/m", "/v1/models/m/versions/3", "/v1/models/m/labels/any"):
            assert json.loads(ask(api, "GET", path).body) == {"model_version_status": [shown]}
        assert error(ask(api, "GET", "/v1/models/m/versions/4")) == (404, "Could not find version 4 of model m")

    def test_head_is_like_get(self, api):
        assert ask(api, "HEAD", "/v1/models/m") == ask(api, "GET", "/v1/models/m")

    def test_metadata(self, api):
        found = json.loads(ask(api, "GET", "/v1/models/m/metadata").body)
        assert found["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
        assert set(found["metadata"]["signature_def"]["signature_def"]) == {"serving_default", "other"}

    def test_metrics(self, api, manager, metrics):
        response = ask(api, "GET", "/metrics")
        assert (response.status, response.content_type, response.body) == (200, "text/plain", b"# metrics\n")
        assert ask(RestApi(manager, metrics, timeout_seconds=1), "GET", "/metrics").status == 404


class TestCors:
    @pytest.fixture
    def cors(self, manager, metrics):
        return RestApi(manager, metrics, timeout_seconds=30, cors=True)

    def test_headers(self, cors, api):
        answered = ask(cors, "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        assert dict(answered.headers)["Access-Control-Allow-Origin"] == "*"
        assert dict(ask(cors, "GET", "/v1/foo").headers)["Access-Control-Allow-Methods"] == "POST, GET"
        assert ask(api, "GET", "/v1/models/m").headers == ()

    def test_preflight(self, cors):
        assert ask(cors, "OPTIONS", "/v1/models/m:predict", origin="https://example.org").status == 200
        assert ask(cors, "OPTIONS", "/v1/models/m:predict").status == 400
        assert ask(cors, "OPTIONS", "/v1/models/m:predict", origin="null").status == 400


class TestLogging:
    def test_successes_are_logged_as_grpc_requests(self, manager, metrics):
        log = FakeLog()
        api = RestApi(manager, metrics, timeout_seconds=1, request_log=log)
        ask(api, "POST", "/v1/models/m/labels/l:predict", b'{"signature_name": "other", "instances": [1, 2]}')
        ((request, response, seconds, origin),) = log.recorded
        assert (request.model_spec.version_label, request.model_spec.signature_name) == ("l", "other")
        assert from_proto(request.inputs["x"]).array.tolist() == [1, 2]
        assert from_proto(response.outputs["y"]).array.tolist() == [2.5, 3]
        assert (response.model_spec.version.value, response.model_spec.signature_name) == (3, "other")
        assert (origin, seconds > 0) == ("REST", True)
        ask(api, "POST", "/v1/models/m:classify", b'{"examples": [{"x": 2.0}]}')
        assert log.recorded[1][0].input.example_list.examples[0].features.feature["x"].float_list.value[0] == 2

    def test_failures_are_not(self, manager, metrics):
        log = FakeLog()
        api = RestApi(manager, metrics, timeout_seconds=1, request_log=log)
        manager.one.failure = ServingError(StatusCode.INTERNAL, "why")
        ask(api, "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        assert not log.recorded

    def test_only_samples_are(self, manager, metrics):
        log = FakeLog(rate=0)
        ask(RestApi(manager, metrics, timeout_seconds=1, request_log=log), "POST", "/v1/models/m:predict", b'{"instances": [1]}')
        assert not log.recorded
