import json
import pathlib
import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2, json_format, text_format

from serving import messages
from serving.messages import compile as compiling

PROJECT = pathlib.Path(__file__).resolve().parents[3]
# Not in the installed tensorflow-serving-api: compared with its documentation only.
NOT_IN_THE_WHEEL = {
    "SSLConfig",
    "MonitoringConfig",
    "PrometheusConfig",
    "BatchingParameters",
    "HealthCheckRequest",
    "HealthCheckResponse",
}


def checked_in_files():
    return {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(compiling.DESCRIPTORS.read_bytes()).file}


class TestSources:
    @pytest.mark.skipif(compiling.compiler() is None, reason="no protobuf compiler here")
    def test_compiled_descriptors_are_those_of_the_sources(self):
        compiled = descriptor_pb2.FileDescriptorSet.FromString(compiling.compile_sources()).file
        assert {file.name: file for file in compiled} == checked_in_files(), "run: python -m serving.messages.compile"

    def test_every_source_is_compiled(self):
        assert {f"{name}.proto" for name in compiling.SOURCES} == {path.name for path in compiling.FOLDER.glob("*.proto")}
        assert list(checked_in_files()) == [f"{name}.proto" for name in compiling.SOURCES]

    def test_every_message_and_enumeration_has_its_name_in_the_package(self):
        for file in checked_in_files().values():
            for declared in [*file.message_type, *file.enum_type]:
                assert getattr(messages, declared.name).DESCRIPTOR.full_name == f"{file.package}.{declared.name}"


class TestAgainstUpstream:
    @pytest.fixture(scope="class")
    def described(self):
        script = pathlib.Path(__file__).with_name("upstream_descriptors.py")
        shown = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT,
            env={"PYTHONPATH": str(PROJECT)},
        )
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)

    def test_fields_have_upstreams_names_numbers_types_and_oneofs(self, described):
        ours, upstream = described["ours"], described["upstream"]
        compared = set(ours) & set(upstream)
        assert {name.split(".")[-1] for name in set(ours) - compared} <= NOT_IN_THE_WHEEL | {"ServingStatus"}
        assert {"tensorflow.TensorProto", "tensorflow.serving.ModelConfig", "tensorflow.RunOptions"} <= compared
        for name in compared:
            assert ours[name] == {field: upstream[name].get(field) for field in ours[name]}, name

    def test_no_field_of_a_request_or_response_is_left_out(self, described):
        for name, fields in described["ours"].items():
            if name.startswith("tensorflow.serving.") and name in described["upstream"]:
                assert set(fields) == set(described["upstream"][name]), name

    def test_both_live_in_one_process_and_read_each_others_bytes(self, described):
        assert described["read_by_upstream"] == ["beside", [1.5]]


def test_unknown_fields_survive():
    # Field 200, varint 7: what a newer client may send.
    newer = messages.ModelSpec(name="intents").SerializeToString() + b"\xc0\x0c\x07"
    assert messages.ModelSpec.FromString(newer).SerializeToString() == newer


def test_any_holds_a_message_of_ours_and_prints_as_json():
    response = messages.GetModelMetadataResponse()
    signatures = messages.SignatureDefMap()
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    response.metadata["signature_def"].Pack(signatures)
    read = messages.GetModelMetadataResponse.FromString(response.SerializeToString())
    assert read.metadata["signature_def"].type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    shown = json_format.MessageToDict(read, descriptor_pool=messages.POOL, preserving_proto_field_name=True)
    assert shown["metadata"]["signature_def"]["signature_def"]["serving_default"]["method_name"] == "tensorflow/serving/predict"


def test_text_format_reads_a_model_config_file_as_upstream_writes_it():
    config = text_format.Parse(
        """
        model_config_list: {
          config: {
            name: "intents", base_path: "/models/intents", model_platform: "tensorflow"
            model_version_policy: { specific: { versions: 42 versions: 43 } }
            version_labels: { key: 'stable' value: 42 }
          }
        }
        """,
        messages.ModelServerConfig(),
    )
    [model] = config.model_config_list.config
    assert list(model.model_version_policy.specific.versions) == [42, 43]
    assert dict(model.version_labels) == {"stable": 42}


def test_importing_needs_neither_tensorflow_nor_grpc():
    program = "import sys, serving.messages; print(sorted({'tensorflow', 'grpc', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert shown.stdout.strip() == "[]"
