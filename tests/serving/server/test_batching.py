import threading
import time

import numpy as np
import pytest

from serving.messages import BatchingParameters, DataType, TensorProto
from serving.server.batching import BatchingModel, BatchingOptions, BatchScheduler, per_model_options
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.metrics import Metrics
from serving.tensors import Tensor
from tests.serving.server.fakes import FakeModel, signature, x

SIGNATURES = {
    "serving_default": signature({"x": "x:0"}, {"y": "y:0"}),
    "pair": signature({"a": "a:0", "b": "b:0"}, {"sum": "sum:0"}),
    "scalar": signature({"s": "s:0"}, {"one": "one:0"}),
}


def compute(feeds):
    if "a:0" in feeds:
        return {"sum:0": feeds["a:0"] + feeds["b:0"]}
    if "s:0" in feeds:
        return {"one:0": np.float32(1.0)}
    return {"y:0": feeds["x:0"] * 2, "other:0": feeds["x:0"]}


@pytest.fixture
def batched():
    """Batches a fake model; everything stops with the test."""
    made = []

    def model(metrics=None, compute=compute, **options):
        defaults = {"max_batch_size": 4, "batch_timeout_micros": 50_000, "num_batch_threads": 1}
        scheduler = BatchScheduler(BatchingOptions(**(defaults | options)), metrics)
        inner = FakeModel(compute, SIGNATURES)
        made.append(BatchingModel(inner, scheduler, own_scheduler=True))
        return made[-1], inner

    yield model
    for one in made:
        one.close()


def together(*calls):
    """Runs calls at the same time; returns their results or errors in order."""
    results = [None] * len(calls)

    def run(index):
        try:
            results[index] = calls[index]()
        except ServingError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
        time.sleep(0.002)
    for thread in threads:
        thread.join()
    return results


def floats(values):
    return Tensor.of(values, DataType.DT_FLOAT)


def ys(model, *values, **options):
    return lambda: model.run({"x:0": floats(list(values))}, ["y:0"], **options)[0].array.tolist()


class TestBatching:
    def test_requests_share_a_run_and_get_their_own_rows(self, batched):
        model, inner = batched()
        assert together(ys(model, 1.0), ys(model, 2.0, 3.0), ys(model, 4.0)) == [[2.0], [4.0, 6.0], [8.0]]
        assert [run["x:0"].tolist() for run in inner.runs] == [[1.0, 2.0, 3.0, 4.0]]

    def test_a_full_batch_does_not_wait_and_a_partial_one_no_longer_than_the_timeout(self, batched):
        model, _ = batched(batch_timeout_micros=400_000)
        started = time.monotonic()
        ys(model, 1.0, 2.0, 3.0, 4.0)()
        assert time.monotonic() - started < 0.3
        started = time.monotonic()
        ys(model, 1.0)()
        assert 0.35 < time.monotonic() - started < 1.5

    def test_batches_are_padded_to_an_allowed_size_with_the_last_ones_first_row(self, batched):
        model, inner = batched(allowed_batch_sizes=(2, 4))
        assert together(ys(model, 1.0), ys(model, 2.0, 3.0)) == [[2.0], [4.0, 6.0]]
        assert inner.runs[0]["x:0"].tolist() == [1.0, 2.0, 3.0, 2.0]

    def test_types_are_kept_apart(self, batched):
        model, inner = batched()
        doubles = lambda: model.run({"x:0": Tensor.of([2.0], DataType.DT_DOUBLE)}, ["y:0"])[0].array.dtype.name  # noqa: E731
        assert together(ys(model, 1.0), doubles) == [[2.0], "float64"]
        assert len(inner.runs) == 2

    def test_other_outputs_than_a_signatures_pass_through(self, batched):
        model, inner = batched(batch_timeout_micros=10_000_000)
        assert model.run({"x:0": floats([1.0])}, ["other:0"])[0].array.tolist() == [1.0]

    def test_protos_are_decoded(self, batched):
        model, _ = batched()
        assert model.run({"x:0": x(3.0)}, ["y:0"])[0].array.tolist() == [6.0]
        with pytest.raises(MalformedTensorError):
            model.run({"x:0": TensorProto(dtype=DataType.DT_FLOAT, tensor_content=b"abc")}, ["y:0"])


class TestShapes:
    def test_different_ones_fail_the_whole_batch(self, batched):
        model, _ = batched()
        first, second = together(ys(model, [1.0, 2.0]), ys(model, [1.0]))
        for error in (first, second):
            assert error.code == StatusCode.FAILED_PRECONDITION
            assert error.message.startswith(
                "Tensors with name 'x:0' from different tasks have different shapes and padding is turned off."
            )

    def test_they_can_be_padded_with_the_first_element(self, batched):
        model, inner = batched(pad_variable_length_inputs=True)
        assert together(ys(model, [1.0, 2.0]), ys(model, [3.0])) == [[[2.0, 4.0]], [[6.0, 6.0]]]
        assert inner.runs[0]["x:0"].tolist() == [[1.0, 2.0], [3.0, 3.0]]

    @pytest.mark.parametrize(
        ("feeds", "message"),
        [
            ({"s:0": floats(1.0)}, "Batching session Run() input tensors must have at least one dimension"),
            (
                {"a:0": floats([1.0]), "b:0": floats([1.0, 2.0])},
                "Batching session Run() input tensors must have equal 0th-dimension size",
            ),
        ],
    )
    def test_inputs_without_common_rows(self, batched, feeds, message):
        model, _ = batched()
        with pytest.raises(ServingError) as raised:
            model.run(feeds, ["one:0" if "s:0" in feeds else "sum:0"])
        assert raised.value.message == message

    @pytest.mark.parametrize(
        ("output", "message"),
        [
            (np.float32(1.0), "Batched output tensor has 0 dimensions"),
            (np.zeros(3, "f4"), "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes"),
        ],
    )
    def test_outputs_that_are_not_rows(self, batched, output, message):
        model, _ = batched(compute=lambda feeds: {"y:0": output})
        with pytest.raises(ServingError, match=message):
            ys(model, 1.0)()


class TestLimits:
    def test_a_request_that_is_too_large(self, batched):
        model, _ = batched()
        with pytest.raises(ServingError, match="Task size 5 is larger than maximum input batch size 4"):
            ys(model, *[1.0] * 5)()

    def test_a_queue_that_is_full(self, batched):
        entered, go = threading.Event(), threading.Event()

        def slow(feeds):
            entered.set()
            go.wait(10.0)
            return {"y:0": feeds["x:0"] * 2}

        model, _ = batched(compute=slow, max_enqueued_batches=1, batch_timeout_micros=0)
        running = threading.Thread(target=ys(model, 0.0))
        running.start()
        entered.wait(10.0)
        waiting = threading.Thread(target=ys(model, 1.0, 2.0, 3.0))
        waiting.start()
        time.sleep(0.05)
        with pytest.raises(ServingError) as raised:
            ys(model, 1.0, 2.0)()
        go.set()
        running.join()
        waiting.join()
        assert raised.value.code == StatusCode.UNAVAILABLE
        assert raised.value.message == (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 1 batches enqueued and max_enqueued_batches is 1"
        )

    def test_large_requests_can_be_split(self, batched):
        model, inner = batched(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True)
        assert together(ys(model, 0.0), ys(model, *map(float, range(1, 8)))) == [[0.0], [2.0 * value for value in range(1, 8)]]
        assert [run["x:0"].tolist() for run in inner.runs] == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]

    def test_who_waited_longer_than_allowed_gets_no_run(self, batched):
        model, inner = batched(batch_timeout_micros=50_000)
        with pytest.raises(ServingError) as raised:
            ys(model, 1.0, timeout_ms=10)()
        assert raised.value.code == StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.message == "Run() timeout exceeded while waiting in batching queue"
        assert not inner.runs

    def test_a_failing_run_fails_its_requests_only(self, batched):
        def compute(feeds):
            if feeds["x:0"].min() < 0:
                raise ServingError(StatusCode.INTERNAL, "no")
            return {"y:0": feeds["x:0"] * 2}

        model, _ = batched(compute=compute, batch_timeout_micros=1000)
        with pytest.raises(ServingError, match="INTERNAL: no"):
            ys(model, -1.0)()
        assert ys(model, 1.0)() == [2.0]


class TestOptions:
    def test_absent_fields_have_the_defaults(self):
        options = BatchingOptions.of(BatchingParameters())
        assert (options.max_batch_size, options.batch_timeout_micros, options.max_enqueued_batches) == (1000, 0, 10)

    def test_given_fields_hold(self):
        parameters = BatchingParameters(allowed_batch_sizes=[8, 16], pad_variable_length_inputs=True)
        parameters.max_batch_size.value = 16
        parameters.batch_timeout_micros.value = 7
        options = BatchingOptions.of(parameters)
        assert (options.execution_size, options.batch_timeout_micros, options.allowed_batch_sizes) == (16, 7, (8, 16))
        assert [options.padded_size(rows) for rows in (1, 8, 9, 16)] == [8, 8, 16, 16]

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"allowed_batch_sizes": [2, 8]}, "must match max_batch_size; last entry was 8; expected 1000"),
            ({"allowed_batch_sizes": [8, 2]}, "must be monotonically increasing"),
            ({"num_batch_threads": {"value": 0}}, "num_batch_threads must be positive; was 0"),
        ],
    )
    def test_contradictions(self, fields, message):
        with pytest.raises(ServingError, match=message):
            BatchingOptions.of(BatchingParameters(**fields))

    def test_a_version_may_have_its_own(self, tmp_path):
        assert per_model_options(tmp_path) is None
        (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
        assert per_model_options(tmp_path).max_batch_size == 3


def test_batches_are_measured(batched):
    metrics = Metrics()
    model, _ = batched(metrics=metrics, allowed_batch_sizes=(4,))
    together(ys(model, 1.0), ys(model, 2.0))
    text = metrics.prometheus_text()
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 1" in text
    assert ':tensorflow:serving:batching_session:padding_size_sum{execution_batch_size="4"} 2' in text
    assert ":tensorflow:serving:batching_session:input_batch_size_count{} 2" in text


def test_many_callers_get_their_own_answers(batched):
    model, inner = batched(max_batch_size=8, batch_timeout_micros=500, num_batch_threads=2, max_enqueued_batches=1000)
    wrong = []

    def caller(number):
        for step in range(50):
            value = float(number * 1000 + step)
            if ys(model, value)() != [2 * value]:
                wrong.append(value)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(inner.runs) < 800
