import struct

import pytest

from serving.messages import ModelSpec, PredictionLog
from serving.server.errors import ServingError, StatusCode
from serving.server.servable import Servable
from serving.server.warmup import MAX_RECORDS, REQUESTS_FILE, WarmUpOptions, warm_up
from tests.serving.server.fakes import FakeModel, signature, x


@pytest.fixture
def servable():
    return Servable(
        "model", 1, FakeModel(lambda feeds: {"y:0": feeds["x:0"]}, {"serving_default": signature({"x": "x:0"}, {"y": "y:0"})})
    )


@pytest.fixture
def write(tmp_path):
    """Writes the requests of a version; returns its directory."""

    def records(*contents):
        file = tmp_path / REQUESTS_FILE
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"".join(struct.pack("<Q", len(content)) + b"\0" * 4 + content + b"\0" * 4 for content in contents))
        return tmp_path

    return records


def predict_log(**inputs):
    log = PredictionLog()
    log.predict_log.request.model_spec.CopyFrom(ModelSpec(name="model"))
    for alias, value in inputs.items():
        log.predict_log.request.inputs[alias].CopyFrom(value)
    return log.SerializeToString()


def test_each_request_runs_as_often_as_asked(servable, write):
    seen = []
    path = write(predict_log(x=x(1.0)), PredictionLog().SerializeToString(), predict_log(x=x(2.0)))
    assert warm_up(servable, path, WarmUpOptions(iterations=2), lambda *what: seen.append(what)) == 3
    assert [run["x:0"].tolist() for run in servable._model.runs] == [[1.0], [1.0], [2.0], [2.0]]
    assert [(what[0], what[1], what[3]) for what in seen] == [(str(path), "OK", 3)]


def test_no_file_is_no_warm_up(servable, tmp_path):
    assert warm_up(servable, tmp_path, WarmUpOptions(), lambda *_: pytest.fail("observed")) == 0


def test_a_failing_request_fails_it_without_being_quoted(servable, write, monkeypatch):
    def run(*_):
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Could not parse 'my name is ...'")

    monkeypatch.setattr(servable._model, "run", run)
    with pytest.raises(ServingError) as raised:
        warm_up(servable, write(predict_log(x=x(1.0))), WarmUpOptions())
    assert raised.value.code == StatusCode.INVALID_ARGUMENT
    assert "failed warm-up request 1 (predict_log)" in raised.value.message
    assert "my name" not in raised.value.message


def test_other_refusals_say_why(servable, write):
    with pytest.raises(ServingError, match="input size does not match signature"):
        warm_up(servable, write(predict_log()), WarmUpOptions())


def test_kinds_of_requests_that_the_server_does_not_answer(servable, write):
    log = PredictionLog()
    log.session_run_log.SetInParent()
    with pytest.raises(ServingError, match="UNIMPLEMENTED: Unsupported log_type for warmup: session_run_log"):
        warm_up(servable, write(log.SerializeToString()), WarmUpOptions())


@pytest.mark.parametrize(("cut", "code"), [(1, "DATA_LOSS"), (30, "DATA_LOSS")])
def test_a_file_that_ends_early(servable, write, cut, code):
    path = write(predict_log(x=x(1.0)), predict_log(x=x(1.0)))
    content = (path / REQUESTS_FILE).read_bytes()
    (path / REQUESTS_FILE).write_bytes(content[:-cut])
    with pytest.raises(ServingError, match=code):
        warm_up(servable, path, WarmUpOptions())


def test_what_is_no_record_at_all(servable, write):
    path = write(b"")
    (path / REQUESTS_FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(ServingError, match="DATA_LOSS"):
        warm_up(servable, path, WarmUpOptions())
    with pytest.raises(ServingError, match="Failed to parse warmup record 1"):
        warm_up(servable, write(b"\xff\xff"), WarmUpOptions())


def test_too_many_requests(servable, write):
    with pytest.raises(ServingError, match=f"exceeds the maximum \\({MAX_RECORDS}\\)"):
        warm_up(servable, write(*[predict_log(x=x(1.0))] * (MAX_RECORDS + 1)), WarmUpOptions())
