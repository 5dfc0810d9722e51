import numpy as np
import pytest

from serving.client import ExampleBuilder, InvalidInputError
from serving.client.examples import serialized
from serving.messages import Example

SCHEMA = """
feature { name: "text" type: BYTES presence { min_fraction: 1 min_count: 1 } }
feature { name: "fare" type: FLOAT presence { min_fraction: 0.9 } }
feature { name: "seconds" type: INT }
feature { name: "intent" type: BYTES presence { min_fraction: 1 } not_in_environment: "SERVING" }
feature { name: "audit" type: INT in_environment: "TRAINING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""


@pytest.fixture
def builder(tmp_path):
    path = tmp_path / "schema.pbtxt"
    path.write_text(SCHEMA)
    return ExampleBuilder.from_schema(path)


def features(example):
    return {
        name: (feature.WhichOneof("kind"), list(getattr(feature, feature.WhichOneof("kind")).value))
        for name, feature in example.features.feature.items()
    }


class TestFromSchema:
    def test_takes_the_features_of_serving_with_their_types(self, builder):
        assert builder.types == {"text": "bytes", "fare": "float", "seconds": "int"}

    def test_leaves_out_columns_of_training(self, builder):
        assert set(features(builder.build({"text": "hello", "intent": "greet", "audit": 3}))) == {"text"}

    def test_requires_what_is_always_present(self, builder):
        with pytest.raises(InvalidInputError, match="'text' is missing"):
            builder.build({"fare": 2.0})

    def test_takes_a_parsed_schema(self):
        from google.protobuf import text_format
        from tensorflow_metadata.proto.v0 import schema_pb2

        assert ExampleBuilder.from_schema(text_format.Parse(SCHEMA, schema_pb2.Schema())).types["fare"] == "float"

    def test_of_another_environment(self, tmp_path):
        (tmp_path / "schema.pbtxt").write_text(SCHEMA)
        types = ExampleBuilder.from_schema(tmp_path / "schema.pbtxt", environment="TRAINING").types
        assert set(types) == {"text", "fare", "seconds", "intent", "audit"}

    def test_a_file_that_is_none(self, tmp_path):
        (tmp_path / "schema.pbtxt").write_text("columns: text")
        with pytest.raises(ValueError, match="not a TFDV schema in text form"):
            ExampleBuilder.from_schema(tmp_path / "schema.pbtxt")

    def test_the_schemas_that_ship_with_the_project(self):
        import pathlib

        folder = pathlib.Path(__file__).parents[3] / "schemas"
        assert ExampleBuilder.from_schema(folder / "intents" / "schema.pbtxt").types == {"text": "bytes"}
        taxi = ExampleBuilder.from_schema(folder / "taxi" / "schema.pbtxt").types
        assert taxi["fare"] == "float"
        assert taxi["trip_seconds"] == "int"
        assert "big_tip" not in taxi


class TestValues:
    BUILDER = ExampleBuilder({"text": str, "fare": float, "seconds": int})

    @pytest.mark.parametrize(
        ("row", "built"),
        [
            ({"text": "héllo"}, {"text": ("bytes_list", ["héllo".encode()])}),
            ({"text": b"\xff"}, {"text": ("bytes_list", [b"\xff"])}),
            ({"text": ["a", b"b"]}, {"text": ("bytes_list", [b"a", b"b"])}),
            ({"text": np.array(["a", "b"])}, {"text": ("bytes_list", [b"a", b"b"])}),
            ({"text": np.str_("a")}, {"text": ("bytes_list", [b"a"])}),
            ({"fare": 3}, {"fare": ("float_list", [3.0])}),
            ({"fare": np.int64(3)}, {"fare": ("float_list", [3.0])}),
            ({"fare": np.array([1.5, 2.5], np.float32)}, {"fare": ("float_list", [1.5, 2.5])}),
            ({"seconds": np.int32(3)}, {"seconds": ("int64_list", [3])}),
            ({"seconds": True}, {"seconds": ("int64_list", [1])}),
            ({"seconds": -(2**63)}, {"seconds": ("int64_list", [-(2**63)])}),
            ({"fare": None, "text": []}, {"text": ("bytes_list", [])}),
            ({}, {}),
        ],
    )
    def test_converted(self, row, built):
        assert features(self.BUILDER.build(row)) == built

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"seconds": 1.0}, "'seconds' takes integers, got float"),
            ({"seconds": "1"}, "'seconds' takes integers, got str"),
            ({"seconds": 2**63}, "'seconds' takes integers of 64 bits"),
            ({"fare": "12"}, "'fare' takes numbers, got str"),
            ({"fare": True}, "'fare' takes numbers, got bool"),
            ({"fare": 1e39}, "'fare' takes numbers of 32 bits"),
            ({"fare": 10**400}, "'fare' takes numbers of 32 bits"),
            ({"text": 5}, "'text' takes strings, got int"),
            ({"text": "secret \ud800"}, "'text' has text that UTF-8 cannot carry"),
            ({"txet": "secret"}, "no feature is called 'txet'; the features are: text, fare, seconds"),
        ],
    )
    def test_refused_without_showing_them(self, row, reason):
        with pytest.raises(InvalidInputError, match=reason) as refused:
            self.BUILDER.build_all([{}, row])
        assert str(refused.value).startswith("row 1: ")
        assert "secret" not in str(refused.value)

    @pytest.mark.parametrize("kind", ["double", object, None])
    def test_of_a_type_that_examples_do_not_have(self, kind):
        with pytest.raises(ValueError, match="is float, int or bytes"):
            ExampleBuilder({"x": kind})

    def test_required_features_have_a_type(self):
        with pytest.raises(ValueError, match="without a type: 'y'"):
            ExampleBuilder({"x": float}, required=["y"])


class TestSerialized:
    def test_takes_messages_bytes_and_rows(self):
        example = Example()
        example.features.feature["x"].float_list.value.append(1.0)
        encoded = example.SerializeToString()
        assert serialized([example, encoded, {"x": 1}], ExampleBuilder({"x": float})) == [encoded] * 3
        assert serialized(example, None) == [encoded]

    def test_refuses_anything_else(self):
        with pytest.raises(InvalidInputError, match="row 0: a tf.Example, its bytes or a dictionary is needed, got str"):
            serialized(["turn on the light"], None)
