"""TensorFlow Lite models: in interpreters of the wheel, several requests at a time."""

import concurrent.futures

import numpy as np
import pytest

from serving.messages import DataType, TensorProto
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.runtime import LoadOptions
from serving.server.tflite import LiteRuntime
from serving.tensors import Tensor, to_proto
from tests.serving.server.fakes import FakeRuntime


@pytest.fixture(scope="module")
def model(saved_models):
    """y = x / 2 + 3, declared for one row of one number, in two interpreters."""
    return LiteRuntime(FakeRuntime(), 2).load(saved_models / "lite" / "1", LoadOptions())


def run(model, value):
    (signature,) = model.signatures.values()
    (output,) = model.run({signature.inputs["x"].name: value}, [signature.outputs["y"].name])
    return output.array.tolist()


def floats(*values):
    return Tensor.of(np.array(values, "f4"))


class TestLoading:
    def test_the_default_signature_names_what_the_file_does(self, model):
        (name,) = model.signatures
        definition = model.signatures[name]
        assert (name, definition.method_name) == ("serving_default", "tensorflow/serving/predict")
        assert [dim.size for dim in definition.inputs["x"].tensor_shape.dim] == [1, 1]
        assert definition.outputs["y"].dtype == DataType.DT_FLOAT

    def test_a_version_without_such_a_file_is_left_to_the_other_runtime(self, tmp_path):
        (tmp_path / "factor").write_text("2")
        other = FakeRuntime()
        loaded = LiteRuntime(other, 1).load(tmp_path, LoadOptions())
        assert loaded is other.models[str(tmp_path)]

    def test_a_file_that_is_no_model_is_refused(self, tmp_path):
        (tmp_path / "model.tflite").write_bytes(b"x" * 100)
        with pytest.raises(ServingError, match=r"Cannot load .*model\.tflite: .*should be 'TFL3'") as raised:
            LiteRuntime(FakeRuntime(), 1).load(tmp_path, LoadOptions())
        assert raised.value.code == StatusCode.INVALID_ARGUMENT


class TestRunning:
    @pytest.mark.parametrize(
        ("value", "expected"), [(floats([2.0]), [[4.0]]), (floats(2.0), [4.0]), (floats([2.0], [4.0]), [[4.0], [5.0]])]
    )
    def test_tensors_keep_the_shape_they_came_in(self, model, value, expected):
        assert run(model, value) == expected
        assert run(model, to_proto(value)) == expected

    def test_another_type_is_refused_and_the_next_request_answered(self, model):
        with pytest.raises(ServingError, match=r"Expects arg\[0\] to be float but int64 is provided") as raised:
            run(model, Tensor.of([2]))
        assert raised.value.code == StatusCode.INVALID_ARGUMENT
        assert run(model, floats(2.0)) == [4.0]

    def test_a_tensor_that_cannot_be_decoded_is_named(self, model):
        with pytest.raises(MalformedTensorError):
            run(model, TensorProto(dtype=DataType.DT_FLOAT, tensor_content=b"xyz"))

    def test_an_unknown_tensor(self, model):
        with pytest.raises(ServingError, match="no tensor nothing"):
            model.run({}, ["nothing"])

    def test_many_at_a_time_do_not_mix(self, model):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda number: run(model, floats(float(number))), range(200))
            assert list(answers) == [[number / 2 + 3] for number in range(200)]
