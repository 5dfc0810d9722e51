"""Executors in worker processes: what each kind of failure becomes."""

import threading
import time

import pytest

from components import executor_path
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
    # Only lean ones: a process with TensorFlow takes ten seconds to begin.
    from tfx.orchestration.portable import data_types
    from tfx.proto.orchestration import executable_spec_pb2

    spec = executable_spec_pb2.PythonClassExecutableSpec(
        class_path=f"tests.pipeline.local.misbehaving.{name}", extra_flags=[executor_path.LEAN_FLAG]
    )
    info = data_types.ExecutionInfo(
        execution_id=1,
        execution_output_uri=str(tmp_path / "output.pb"),
        tmp_dir=str(tmp_path),
        exec_properties={"folder": str(tmp_path)},
    )
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


def test_one_with_tensorflow_imports_what_it_is_told_to_expect(log, tmp_path):
    from tfx.orchestration.portable import data_types
    from tfx.proto.orchestration import executable_spec_pb2

    from pipeline.local import executors

    process = executors.WorkerProcess(log, {}, lean=False)
    process.start("tests.pipeline.local.misbehaving.NamesTensorFlow")
    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path="tests.pipeline.local.misbehaving.NamesTensorFlow")
    info = data_types.ExecutionInfo(
        execution_id=1,
        execution_output_uri=str(tmp_path / "output.pb"),
        tmp_dir=str(tmp_path),
        exec_properties={"folder": str(tmp_path)},
    )
    process.run(spec, info.to_proto())
    process.close()
    assert (tmp_path / "tensorflow").read_text().startswith("2.")


class TestWorkers:
    """The processes of a run: one for each executor."""

    @pytest.fixture
    def workers(self, log):
        from pipeline.local import executors, fork_server, plan

        whole = plan.Plan(["A"], {"A": []}, {"A": "tests.pipeline.local.misbehaving.Fine"}, {})
        workers = executors.Workers(log, {}, whole, fork_server.Servers({}))
        yield workers
        workers.close()

    def test_an_executor_answers_and_the_memory_of_all_processes_is_told(self, workers, tmp_path):
        assert run(workers, "Fine", tmp_path).execution_result.code == 0
        assert workers.peak_mib > 10

    @pytest.mark.parametrize(
        ("name", "message"), [("Refusing", "label column is missing"), ("DiskFull", "disk is full"), ("Killed", "SIGKILL")]
    )
    def test_failures_are_told_apart(self, workers, tmp_path, name, message):
        with pytest.raises((UsageError, EnvironmentFailure), match=message):
            run(workers, name, tmp_path)

    def test_no_server_with_tensorflow_starts_if_no_node_needs_it(self, workers, tmp_path):
        run(workers, "Fine", tmp_path)
        assert workers.servers.lean.process_id is not None
        assert workers.servers.heavy.process_id is None

    def test_where_forking_is_refused_a_worker_starts_from_scratch(self, workers, tmp_path, caplog):
        workers.servers.lean.start()
        workers.servers.lean.kill()
        assert run(workers, "Fine", tmp_path).execution_result.code == 0
        assert "a process of its own from scratch: the fork server has ended" in caplog.text

    def test_interrupting_ends_one_that_runs(self, workers, tmp_path):
        from pipeline.local import executors

        def interrupt():
            while not (tmp_path / "began").exists():
                time.sleep(0.01)
            workers.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(executors.Interrupted):
            run(workers, "Sleeps", tmp_path)
        thread.join()
        with pytest.raises(executors.Interrupted):
            run(workers, "Fine", tmp_path)
