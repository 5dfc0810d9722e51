import math

import pytest

from components.validation import schema_file

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
warmup = pytest.importorskip("components.release.warmup")

SCHEMA = schema_file.parse(
    """
    default_environment: "TRAINING"
    default_environment: "SERVING"
    string_domain { name: "shared" value: "x" value: "y" }
    feature { name: "text" type: BYTES presence { min_fraction: 1 } }
    feature { name: "channel" type: BYTES presence { min_fraction: 1 } string_domain { value: "app" value: "web" } }
    feature { name: "shop" type: BYTES domain: "shared" presence { min_fraction: 0.5 } }
    feature { name: "price" type: FLOAT float_domain { min: -1 max: 2 } presence { min_fraction: 0.5 } }
    feature { name: "hour" type: INT int_domain { min: 1 max: 24 } presence { min_fraction: 1 } }
    feature { name: "count" type: INT presence { min_fraction: 1 } }
    feature { name: "intent" type: BYTES not_in_environment: "SERVING" }
    """
)


def values(request):
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


class TestRequests:
    def test_hold_every_model_input_once_and_nothing_else(self):
        [request] = warmup.requests(SCHEMA, "intents", 1)
        assert request.model_spec.name == "intents"
        assert request.model_spec.signature_name == "serving_default"
        shapes = {name: (tensor.dtype, [dim.size for dim in tensor.tensor_shape.dim]) for name, tensor in request.inputs.items()}
        string, float32, int64 = (dtype.as_datatype_enum for dtype in (tf.string, tf.float32, tf.int64))
        assert shapes == {
            "text": (string, [1]),
            "channel": (string, [1]),
            "shop": (string, [1]),
            "price": (float32, [1]),
            "hour": (int64, [1]),
            "count": (int64, [1]),
        }

    def test_take_values_from_the_schema_and_text_from_fixed_sentences(self):
        first, second = map(values, warmup.requests(SCHEMA, "intents", 2))
        assert [entry["channel"][0] for entry in (first, second)] == [b"app", b"web"]
        assert [entry["shop"][0] for entry in (first, second)] == [b"x", b"y"]
        assert [entry["price"][0] for entry in (first, second)] == [-1, 2]
        assert [entry["hour"][0] for entry in (first, second)] == [1, 24]
        assert first["count"][0] == 0
        assert first["text"][0].decode() in warmup.TEXTS

    def test_leave_out_what_may_be_missing_now_and_then(self):
        fourth = values(warmup.requests(SCHEMA, "intents", 4)[3])
        assert fourth["shop"][0] == b""
        assert math.isnan(fourth["price"][0])
        assert fourth["channel"][0] != b""


class TestRequestsFile:
    def test_is_a_tfrecord_file_of_prediction_logs(self, tmp_path):
        path = tmp_path / "requests"
        path.write_bytes(warmup.requests_file(SCHEMA, "intents", 3))
        logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        assert [log.predict_log.request for log in logs] == warmup.requests(SCHEMA, "intents", 3)

    def test_is_empty_without_requests(self):
        assert warmup.requests_file(SCHEMA, "intents", 0) == b""
