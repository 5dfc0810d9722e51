import pathlib

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.io import fileio
from tfx.orchestration import data_types_utils
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2, execution_result_pb2
from tfx.types import standard_artifacts

from pipeline.beam_options import BeamOptions
from pipeline.kubeflow import step, storage

pytestmark = pytest.mark.tensorflow  # its file system ram:// stands for object storage


def put(uri, content):
    fileio.makedirs(uri.rpartition("/")[0])
    with fileio.open(uri, "wb") as stream:
        stream.write(content)


def get(uri):
    with fileio.open(uri, "rb") as stream:
        return stream.read()


@pytest.fixture
def remote(request):
    uri = f"ram://bucket/{request.node.name}"
    yield uri
    storage.clear([uri])


def test_object_storage_is_what_has_a_scheme():
    assert storage.is_remote("gs://bucket/x")
    assert not storage.is_remote("/mnt/x")


class TestDown:
    def test_copies_a_folder_with_what_is_in_it(self, tmp_path, remote):
        put(f"{remote}/a.json", b"1")
        put(f"{remote}/Split-train/rows.gz", b"\x00rows")
        path = pathlib.Path(storage.Staging(tmp_path).down(remote))
        assert (path / "a.json").read_bytes() == b"1"
        assert (path / "Split-train" / "rows.gz").read_bytes() == b"\x00rows"

    def test_copies_only_what_is_asked_for(self, tmp_path, remote):
        put(f"{remote}/training.json", b"{}")
        put(f"{remote}/variables/data", b"large")
        path = pathlib.Path(storage.Staging(tmp_path).down(remote, storage.SHOWN_FILES))
        assert [file.name for file in path.rglob("*") if file.is_file()] == ["training.json"]

    def test_copies_a_single_file(self, tmp_path, remote):
        put(f"{remote}/value", b"3")
        assert pathlib.Path(storage.Staging(tmp_path).down(f"{remote}/value")).read_bytes() == b"3"

    def test_leaves_a_mounted_path_alone(self, tmp_path):
        assert storage.Staging(tmp_path).down("/mnt/pipelines/x") == "/mnt/pipelines/x"
        assert not list(tmp_path.iterdir())

    def test_what_is_not_there_yet_is_nothing(self, tmp_path, remote):
        assert not pathlib.Path(storage.Staging(tmp_path).down(remote)).exists()


class TestUp:
    def test_copies_what_was_written_to_where_it_belongs(self, tmp_path, remote):
        staging = storage.Staging(tmp_path)
        folder = pathlib.Path(staging.local(remote))
        (folder / "sub" / "empty").mkdir(parents=True)
        (folder / "sub" / "x").write_bytes(b"new")
        staging.up(remote)
        assert get(f"{remote}/sub/x") == b"new"
        assert fileio.isdir(f"{remote}/sub/empty")

    def test_replaces_what_an_earlier_attempt_left(self, tmp_path, remote):
        put(f"{remote}/x", b"old, and longer")
        staging = storage.Staging(tmp_path)
        pathlib.Path(staging.local(remote)).mkdir(parents=True)
        pathlib.Path(staging.local(f"{remote}/x")).write_bytes(b"new")
        staging.up(remote)
        assert get(f"{remote}/x") == b"new"


def test_clear_removes_folders_and_forgives_missing_ones(remote):
    put(f"{remote}/1/x", b"")
    storage.clear([f"{remote}/1", f"{remote}/2"])
    assert not fileio.exists(f"{remote}/1")


class TestAnExecutor:
    def invocation(self, remote):
        model = standard_artifacts.Model()
        model.uri = f"{remote}/Trainer/model/6"
        blessing = standard_artifacts.ModelBlessing()
        blessing.uri = f"{remote}/Evaluator/blessing/7"
        return execution_invocation_pb2.ExecutionInvocation(
            input_dict=data_types_utils.build_artifact_struct_dict({"model": [model]}),
            output_dict=data_types_utils.build_artifact_struct_dict({"blessing": [blessing]}),
            tmp_dir=f"{remote}/.temp/",
            stateful_working_dir=f"{remote}/.state",
            output_metadata_uri=f"{remote}/.system/7/executor_output.pb",
        )

    def test_sees_folders_and_its_outputs_go_back(self, tmp_path, remote):
        put(f"{remote}/Trainer/model/6/saved_model.pb", b"graph")
        staging, invocation = storage.Staging(tmp_path), self.invocation(remote)
        staging.take_in(invocation)

        model = pathlib.Path(invocation.input_dict["model"].elements[0].artifact.artifact.uri)
        blessing = invocation.output_dict["blessing"].elements[0].artifact.artifact
        assert (model / "saved_model.pb").read_bytes() == b"graph"
        assert pathlib.Path(invocation.tmp_dir).is_dir()
        assert pathlib.Path(invocation.output_metadata_uri).parent.is_dir()
        (pathlib.Path(blessing.uri) / "BLESSED").touch()
        told = metadata_store_pb2.Artifact()
        told.CopyFrom(blessing)
        told.custom_properties["current_model"].string_value = str(model)
        told.custom_properties["blessed"].int_value = 1

        output = execution_result_pb2.ExecutorOutput()
        output.output_artifacts["blessing"].artifacts.append(told)
        staging.bring_out(output)
        [published] = output.output_artifacts["blessing"].artifacts
        assert published.uri == f"{remote}/Evaluator/blessing/7"
        assert published.custom_properties["current_model"].string_value == f"{remote}/Trainer/model/6"
        assert fileio.exists(f"{remote}/Evaluator/blessing/7/BLESSED")


class TestAStepOnObjectStorage:
    """What a step does around its worker, with a worker that writes a file."""

    class Worker:
        def __init__(self):
            self.seen = None

        def run(self, spec, invocation):
            self.seen = invocation.output_dict["blessing"].elements[0].artifact.artifact
            (pathlib.Path(self.seen.uri) / "BLESSED").touch()
            output = execution_result_pb2.ExecutorOutput()
            output.output_artifacts["blessing"].artifacts.append(self.seen)
            return output

    def run(self, spec, staging, remote, worker):
        operator = step._operators(worker, staging, remote=True)[type(spec)](spec)
        blessing = standard_artifacts.ModelBlessing()
        blessing.uri = f"{remote}/Evaluator/blessing/7"
        info = data_types.ExecutionInfo(
            execution_id=7,
            output_dict={"blessing": [blessing]},
            execution_output_uri=f"{remote}/.system/7/executor_output.pb",
            stateful_working_dir=f"{remote}/.state",
            tmp_dir=f"{remote}/.temp/",
        )
        return operator.run_executor(info)

    def test_the_executor_writes_a_folder_and_metadata_hears_of_object_storage(self, tmp_path, remote):
        worker = self.Worker()
        spec = executable_spec_pb2.PythonClassExecutableSpec(class_path="any")
        output = self.run(spec, storage.Staging(tmp_path), remote, worker)
        assert output.output_artifacts["blessing"].artifacts[0].uri == f"{remote}/Evaluator/blessing/7"
        assert fileio.exists(f"{remote}/Evaluator/blessing/7/BLESSED")

    def test_beam_workers_elsewhere_see_the_remote_paths(self, tmp_path, remote):
        class Remote(self.Worker):
            def run(self, spec, invocation):
                self.seen = invocation.output_dict["blessing"].elements[0].artifact.artifact
                return execution_result_pb2.ExecutorOutput()

        worker = Remote()
        spec = executable_spec_pb2.BeamExecutableSpec(beam_pipeline_args=["--runner=DataflowRunner"])
        self.run(spec, storage.Staging(tmp_path), remote, worker)
        assert worker.seen.uri == f"{remote}/Evaluator/blessing/7"

    def test_beam_in_its_own_process_sees_folders(self, tmp_path, remote):
        worker = self.Worker()
        arguments = BeamOptions().arguments("StatisticsGen")
        spec = executable_spec_pb2.BeamExecutableSpec(beam_pipeline_args=arguments)
        self.run(spec, storage.Staging(tmp_path), remote, worker)
        assert worker.seen.uri.startswith(str(tmp_path))
        assert fileio.exists(f"{remote}/Evaluator/blessing/7/BLESSED")
