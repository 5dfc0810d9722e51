"""Executors in worker processes: what each kind of failure becomes."""

import pytest

from components.errors import EnvironmentFailure, UsageError

pytestmark = pytest.mark.tensorflow  # the launcher's modules, imported in a process that also runs TensorFlow tests


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with open(tmp_path_factory.mktemp("log") / "run.log", "w+b") as stream:
        yield stream


@pytest.fixture(scope="module")
def worker(log):
    from pipeline.local import executors

    process = executors.WorkerProcess(log, {}, lean=True)
    yield process
    process.close()


def run(worker, name, tmp_path):
    from tfx.orchestration.portable import data_types
    from tfx.proto.orchestration import executable_spec_pb2

    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path=f"tests.pipeline.local.misbehaving.{name}")
    info = data_types.ExecutionInfo(execution_id=1, execution_output_uri=str(tmp_path / "output.pb"), tmp_dir=str(tmp_path))
    return worker.run(spec, info.to_proto())


def test_a_good_one_answers_and_its_noise_is_logged(worker, log, tmp_path):
    assert run(worker, "Fine", tmp_path).execution_result.code == 0
    log.seek(0)
    assert b"noise on standard output" in log.read()
    assert worker.peak_mib > 10


def test_errors_for_people_arrive_as_they_were_raised(worker, tmp_path):
    with pytest.raises(UsageError, match="label column is missing"):
        run(worker, "Refusing", tmp_path)


def test_a_full_disk_is_recognised_however_deep_it_was_wrapped(worker, tmp_path):
    with pytest.raises(EnvironmentFailure, match="disk is full"):
        run(worker, "DiskFull", tmp_path)


def test_unforeseen_errors_name_their_type_and_leave_the_traceback_in_the_log(worker, log, tmp_path):
    from pipeline.local import failures

    with pytest.raises(failures.ExecutorFailed, match="KeyError"):
        run(worker, "Broken", tmp_path)
    log.seek(0)
    assert b"misbehaving.py" in log.read()


def test_a_killed_worker_says_so_and_the_next_executor_gets_a_new_one(worker, tmp_path):
    with pytest.raises(EnvironmentFailure, match="SIGKILL"):
        run(worker, "Killed", tmp_path)
    assert run(worker, "Fine", tmp_path).execution_result.code == 0


def test_interrupting_ends_it(log, tmp_path):
    from pipeline.local import executors

    process = executors.WorkerProcess(log, {}, lean=True)
    run(process, "Fine", tmp_path)
    process.interrupt()
    with pytest.raises(executors.Interrupted):
        run(process, "Fine", tmp_path)
    process.close()
