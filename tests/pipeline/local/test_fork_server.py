"""The fork server: a fresh process for each executor, and what happens when one of the processes dies."""

import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks import startup
from pipeline.local import fork_server, worker
from tests.conftest import PROJECT
from tests.pipeline.local.processes import gone

MISBEHAVING = "tests.pipeline.local.misbehaving"

PARENT = """
import json, sys, time
from pipeline.local import fork_server
server = fork_server.ForkServer({}, lean=True)
server.start()
fork = server.fork("tests.pipeline.local.misbehaving.Fine")
print(json.dumps([server.process_id, fork.pid]), flush=True)
time.sleep(60)
"""


def request(name, folder):
    """Run in this process, which may hold TensorFlow, so the messages are made by hand of TFX's protos alone."""
    from ml_metadata.proto import metadata_store_pb2
    from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2

    path = f"{MISBEHAVING}.{name}"
    invocation = execution_invocation_pb2.ExecutionInvocation(
        execution_id=1, output_metadata_uri=str(folder / "output.pb"), tmp_dir=str(folder)
    )
    invocation.execution_properties["folder"].CopyFrom(metadata_store_pb2.Value(string_value=str(folder)))
    return worker.Request.of(executable_spec_pb2.PythonClassExecutableSpec(class_path=path), invocation)


def answer_of(fork, name, folder):
    worker.send(fork.stream, request(name, folder))
    return worker.receive(fork.stream)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with open(tmp_path_factory.mktemp("log") / "run.log", "w+b") as stream:
        yield stream


@pytest.fixture(scope="module")
def server(log):
    server = fork_server.ForkServer({}, lean=True)
    # The order of a run that is known to execute something: it starts first, and hears of the log and its executors later.
    server.start()
    server.attend(log, {"TMPDIR": "/tmp/of-this-run"})
    server.start([f"{MISBEHAVING}.Fine", "no.such.Executor"])
    yield server
    server.close()


@pytest.fixture
def fork(server):
    fork = server.fork(f"{MISBEHAVING}.Fine")
    yield fork
    fork.close()


class TestWorkers:
    def test_each_is_a_process_of_its_own_without_what_others_hold(self, server, tmp_path):
        forks = [server.fork(f"{MISBEHAVING}.TellsItsProcess") for _ in range(3)]
        for fork in forks:
            assert "output" in answer_of(fork, "TellsItsProcess", tmp_path)
            fork.close()
        facts = [json.loads(file.read_text()) for file in tmp_path.glob("facts-*.json")]
        assert {fact["pid"] for fact in facts} == {fork.pid for fork in forks}
        assert all(fact["group"] == fact["pid"] for fact in facts)
        # Nor are they, and what they start, held to one thread as the server is.
        assert {fact["single_threaded"] for fact in facts} == {None}
        # A descriptor of an older worker in a younger one would keep the parent from seeing the older one's end.
        assert len({fact["descriptors"] for fact in facts}) == 1

    def test_what_they_print_is_in_the_log_that_came_later(self, fork, log, tmp_path):
        answer_of(fork, "Fine", tmp_path)
        log.seek(0)
        assert b"noise on standard output" in log.read()

    def test_closing_one_ends_what_it_started(self, fork, tmp_path):
        answer_of(fork, "LeavesAChild", tmp_path)
        fork.close()
        assert gone(int((tmp_path / "child").read_text()))

    def test_the_exit_code_of_a_killed_one_is_told(self, fork, tmp_path):
        with pytest.raises(EOFError):
            answer_of(fork, "Killed", tmp_path)
        assert fork.exit_code() == -signal.SIGKILL

    def test_an_executor_that_cannot_be_imported_fails_in_its_worker(self, server, tmp_path):
        fork = server.fork("no.such.Executor")
        missing = request("Fine", tmp_path)._replace(spec=b"\x0a\x10no.such.Executor")
        worker.send(fork.stream, missing)
        assert "Could not import no.such.Executor" in worker.receive(fork.stream)["failure"]
        fork.close()

    def test_those_of_lean_nodes_are_forked_with_all_they_need(self, server, tmp_path):
        for executor in (
            "components.validation.component.DataGateExecutor",
            "components.ingestion.component.ExampleGenExecutor",
            "components.release.component.InfraValidatorExecutor",
        ):
            server.fork(executor).close()

    def test_closing_the_server_leaves_no_process_behind(self, log, tmp_path):
        server = fork_server.ForkServer({}, lean=True)
        server.attend(log, {})
        fork = server.fork(f"{MISBEHAVING}.Fine")
        answer_of(fork, "Fine", tmp_path)
        fork.close()
        server.close()
        # Not even a dead one: in a container, nobody else might collect it.
        with pytest.raises(ProcessLookupError):
            os.kill(fork.pid, 0)


class TestRefusal:
    def test_a_process_with_threads_is_not_forked(self, log):
        server = fork_server.ForkServer({}, lean=True)
        server.attend(log, {})
        with pytest.raises(fork_server.ForkRefusedError, match="2 threads"):
            server.fork("tests.pipeline.local.starts_a_thread.Executor")
        server.close()

    def test_a_server_that_died_says_so_and_is_no_reason_to_wait(self):
        server = fork_server.ForkServer({}, lean=True)
        server.start()
        server.kill()
        with pytest.raises(fork_server.ForkRefusedError, match="has ended"):
            server.fork(f"{MISBEHAVING}.Fine")
        server.close()


class TestDeath:
    def test_of_the_parent_ends_server_and_workers(self):
        parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        pids = json.loads(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert all(gone(pid) for pid in pids)

    def test_of_the_parent_ends_a_server_in_the_middle_of_an_import(self):
        reader, writer = os.pipe()
        code = f"import time; from pipeline.local import fork_server; fork_server.die_with({reader}); print(1, flush=True); time.sleep(60)"
        process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[reader], stdout=subprocess.PIPE, cwd=PROJECT)
        process.stdout.readline()
        os.close(reader)
        os.close(writer)
        assert process.wait(10) == -signal.SIGIO

    def test_of_the_server_does_not_end_a_worker(self, log, tmp_path):
        server = fork_server.ForkServer({}, lean=True)
        server.attend(log, {})
        fork = server.fork(f"{MISBEHAVING}.Fine")
        server.close()
        assert "output" in answer_of(fork, "Fine", tmp_path)
        fork.kill()
        assert fork.exit_code() is None
        fork.close()


@pytest.mark.tensorflow
def test_forks_with_tensorflow_beam_and_grpc_compute_two_at_once():
    """A small sample of `make bench AREA=startup ARGS="--stress 50"`."""
    assert startup.stress(4) == [0, 0, 0, 0]
