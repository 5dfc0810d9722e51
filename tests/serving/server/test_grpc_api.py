import logging

import grpc
import pytest

from serving.messages import (
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictRequest,
    PredictResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from serving.server import grpc_api
from serving.server.config import single_model
from serving.server.errors import ServingError, StatusCode
from serving.server.grpc_server import GrpcServer
from serving.server.health import Health
from serving.server.manager import ManagerOptions, ServableManager
from serving.server.metrics import Metrics
from serving.server.servable import Servable
from tests.serving.conformance.servers import eventually
from tests.serving.server.fakes import FakeRuntime, x

PREDICT = "/tensorflow.serving.PredictionService/Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


class Log:
    """A request log that keeps what it is given."""

    def __init__(self):
        self.records = []
        self.multi = []

    def samples(self):
        return True

    def record(self, request, response, *, seconds, origin):
        if isinstance(request, MultiInferenceRequest):
            self.multi.append((request, response))
            return
        self.records.append((request.model_spec.name, response.model_spec.version.value, origin))


@pytest.fixture
def offered(tmp_path):
    """Serves a model that doubles; returns a function to call methods with, and what takes part."""
    (tmp_path / "model" / "4").mkdir(parents=True)
    (tmp_path / "model" / "4" / "factor").write_text("2")
    metrics, log, admission = Metrics(), Log(), grpc_api.Admission()
    manager = ServableManager(FakeRuntime(), ManagerOptions(poll_seconds=0.05), metrics)
    manager.start(single_model("model", str(tmp_path / "model")))
    manager.wait_until_available(10.0)
    server = GrpcServer(grpc_api.methods(manager, metrics, None, log, admission), {}, (), workers=2, stay=grpc_api.COMPUTING)
    port = server.add_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def call(method, content, timeout=10.0):
            content = content if isinstance(content, bytes) else content.SerializeToString()
            return channel.unary_unary(method)(content, timeout=timeout)

        yield call, metrics, log, admission, manager
    server.stop(0).wait()
    manager.drain_and_stop(5.0)


def predict_request():
    request = PredictRequest(model_spec=ModelSpec(name="model"))
    request.inputs["x"].CopyFrom(x(3.0))
    return request


def refused(call, *arguments):
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments)
    return raised.value.code(), raised.value.details()


def test_answered_requests_are_counted_and_logged(offered):
    call, metrics, log, *_ = offered
    assert PredictResponse.FromString(call(PREDICT, predict_request())).outputs["y"].float_val[0] == 6.0
    assert log.records == [("model", 4, "GRPC")]
    assert ':tensorflow:serving:request_count{model_name="model",status="OK"} 1' in metrics.prometheus_text()


def test_multi_inference_is_logged_too(offered, monkeypatch):
    call, _, log, *_ = offered
    answer = MultiInferenceResponse()
    answer.results.add().model_spec.version.value = 4
    monkeypatch.setattr(Servable, "multi_inference", lambda *_: answer)
    request = MultiInferenceRequest()
    request.tasks.add().model_spec.name = "model"
    call("/tensorflow.serving.PredictionService/MultiInference", request)
    assert log.multi == [(request, answer)]


def test_refused_requests_are_counted_but_not_logged(offered):
    call, metrics, log, *_ = offered
    assert refused(call, PREDICT, PredictRequest(model_spec=ModelSpec(name="absent")))[0] == grpc.StatusCode.NOT_FOUND
    assert not log.records
    assert ':tensorflow:serving:request_count{model_name="(unknown)",status="NOT_FOUND"} 1' in metrics.prometheus_text()


def test_malformed_messages_are_internal_errors_without_a_trace_in_the_log(offered, caplog):
    call = offered[0]
    assert refused(call, PREDICT, b"\xff")[0] == grpc.StatusCode.INTERNAL
    assert not caplog.records


def test_bugs_are_internal_errors_that_quote_nothing(offered, caplog, monkeypatch):
    call, *_, manager = offered

    def broken(spec):
        raise KeyError("my name is ...")

    monkeypatch.setattr(manager, "servable", broken)
    with caplog.at_level(logging.ERROR):
        assert refused(call, PREDICT, predict_request()) == (grpc.StatusCode.INTERNAL, "Unexpected KeyError.")
    assert "my name" not in caplog.text
    assert "KeyError at" in caplog.text


def test_long_texts_are_truncated(offered, monkeypatch):
    call, *_, manager = offered

    def refuse(spec):
        raise ServingError(StatusCode.INVALID_ARGUMENT, "x" * 2000)

    monkeypatch.setattr(manager, "servable", refuse)
    assert refused(call, PREDICT, predict_request())[1] == "x" * 1024 + "...TRUNCATED"


def test_reload_reports_how_metrics_grew(offered):
    call, *_, manager = offered
    call(PREDICT, predict_request())
    request = ReloadConfigRequest(metric_names=["/tensorflow/serving/request_count", "/nobody/knows"])
    request.config.model_config_list.SetInParent()
    response = ReloadConfigResponse.FromString(call(RELOAD, request))
    assert response.HasField("status")
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        ("/tensorflow/serving/request_count", 0)
    ]
    # A reload waits for models that are new in it, not for the last one to be gone.
    eventually(lambda: "model" not in manager._serving, "the model unloads")
    assert refused(call, PREDICT, predict_request())[0] == grpc.StatusCode.NOT_FOUND


def test_reload_without_a_list_of_models_is_refused(offered):
    code, text = refused(offered[0], RELOAD, ReloadConfigRequest())
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text.endswith("Only ModelConfigList is currently supported")


def test_once_closed_it_refuses_new_requests(offered):
    call, admission = offered[0], offered[3]
    call(PREDICT, predict_request())
    admission.open = False
    assert refused(call, PREDICT, predict_request()) == (grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")


def test_services_not_asked_for_are_not_offered():
    offered = grpc_api.methods(ServableManager(FakeRuntime()), Metrics())
    assert {name.split("/")[1] for name in offered} == {grpc_api.PREDICTION_SERVICE, grpc_api.MODEL_SERVICE}
    assert grpc_api.streams(grpc_api.Services()) == {}


def test_what_is_answered_where_it_was_taken_is_offered_and_waits_for_nothing():
    offered = grpc_api.methods(ServableManager(FakeRuntime()), Metrics(), grpc_api.Services(Health()))
    stays = grpc_api.COMPUTING | grpc_api.INSTANT
    assert stays <= offered.keys()
    assert not any(name.endswith(("HandleReloadConfigRequest", "Profile")) for name in stays)
