"""What only gRPC has: several servers, connections that break, encryption, sockets, and the calls REST does not offer."""

import asyncio
import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest

from serving.client import (
    AsyncClient,
    Client,
    ClientError,
    DeadlineExceededError,
    ExampleBuilder,
    FailedPreconditionError,
    InvalidInputError,
    MessageTooLargeError,
    RetryPolicy,
    Tls,
    UnavailableError,
)
from serving.messages import ModelServerConfig
from tests.serving.client import fake_server

PROJECT = pathlib.Path(__file__).resolve().parents[3]
FAST = RetryPolicy(first_backoff=0.02, longest_backoff=0.1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerProcess:
    """A fake server in a process of its own."""

    def __init__(self, port):
        command = [sys.executable, "-m", "tests.serving.client.fake_server", str(port), "0.02"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        self.address = f"127.0.0.1:{self._process.stdout.readline().strip()}"

    def kill(self):
        """As the kernel does it when memory runs out."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def server_process(port=0):
    process = ServerProcess(port)
    try:
        yield process
    finally:
        process.kill()


def under_load(client, disturb):
    """Calls from six threads before, while and after something happens; returns the calls' errors."""
    failures, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                client.predict("half", {"x": [1.0]})
            except ClientError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    disturb()
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    return failures


class TestSeveralServers:
    @pytest.fixture
    def two(self):
        with contextlib.ExitStack() as stack:
            states = fake_server.FakeServer(), fake_server.FakeServer()
            ports = [stack.enter_context(fake_server.grpc_server(state)) for state in states]
            yield states, ports

    @staticmethod
    def ask_both(client, states):
        """Asks until both have answered, and then a hundred times."""
        end = time.monotonic() + 10
        while not all(state.count("GetModelStatus") for state in states) and time.monotonic() < end:
            client.status("half")
        before = [state.count("GetModelStatus") for state in states]
        for _ in range(100):
            client.status("half")
        return [state.count("GetModelStatus") - count for state, count in zip(states, before, strict=True)]

    def test_take_turns(self, connect_grpc, two):
        states, ports = two
        client = connect_grpc([f"127.0.0.1:{port}" for port in ports], timeout=10)
        assert self.ask_both(client, states) == [50, 50]

    def test_named_in_one_string_and_by_host_name(self, make_client, two):
        states, ports = two
        client = make_client("sync", ",".join(f"localhost:{port}" for port in ports), timeout=10)
        assert self.ask_both(client, states) == [50, 50]

    def test_one_may_go_away_while_it_answers(self, connect_grpc):
        states = [fake_server.FakeServer(), fake_server.FakeServer()]
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(fake_server.grpc_server(states[0]))
            with fake_server.grpc_server(states[1]) as doomed:
                client = connect_grpc([f"127.0.0.1:{port}", f"127.0.0.1:{doomed}"], timeout=10, retry=FAST)
                self.ask_both(client, states)
                states[1].delay = 0.5
                answers = []
                threads = [
                    threading.Thread(target=lambda: answers.append(client.predict("half", {"x": [1.0]}))) for _ in range(6)
                ]
                for thread in threads:
                    thread.start()
                end = time.monotonic() + 10
                while not states[1].count("Predict") and time.monotonic() < end:
                    time.sleep(0.01)
            for thread in threads:
                thread.join()
            assert len(answers) == 6
            assert states[1].count("Predict") > 0


class TestBrokenConnections:
    def test_nobody_there_is_unavailable_soon(self, connect_grpc):
        client = connect_grpc(f"127.0.0.1:{free_port()}", timeout=10, retry=FAST)
        started = time.monotonic()
        with pytest.raises(UnavailableError, match=r"dns:///127.0.0.1:\d+: .*"):
            client.predict("half", {"x": [1.0]})
        assert time.monotonic() - started < 5

    def test_nobody_there_yet_can_be_waited_for(self, connect_grpc, server):
        port = free_port()
        client = connect_grpc(f"127.0.0.1:{port}", timeout=10)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(client.predict("half", {"x": [1.0]}, wait_for_ready=True)))
        thread.start()
        time.sleep(0.3)
        with fake_server.grpc_server(server, f"127.0.0.1:{port}"):
            thread.join()
        assert answers[0]["y"].tolist() == [2.5]

    def test_waiting_ends_with_the_deadline(self, connect_grpc):
        client = connect_grpc(f"127.0.0.1:{free_port()}", wait_for_ready=True)
        with pytest.raises(DeadlineExceededError):
            client.predict("half", {"x": [1.0]}, timeout=0.3)

    def test_a_server_that_comes_back_is_found_by_the_same_client(self, connect_grpc, server):
        with fake_server.grpc_server(server) as port:
            client = connect_grpc(f"127.0.0.1:{port}", timeout=10, retry=FAST)
            client.predict("half", {"x": [1.0]})
        with pytest.raises(UnavailableError):
            client.predict("half", {"x": [1.0]})
        with fake_server.grpc_server(server, f"127.0.0.1:{port}"):
            assert client.wait_until_available("half", timeout=10).version == 3
            assert client.predict("half", {"x": [1.0]})["y"].tolist() == [2.5]

    def test_kill_9_loses_no_call_if_another_server_is_there(self, connect_grpc):
        with server_process() as doomed, server_process() as other:
            client = connect_grpc([doomed.address, other.address], timeout=20, retry=FAST)
            failures = under_load(client, doomed.kill)
        assert failures == []

    def test_kill_9_loses_no_call_that_waits_for_the_server_to_come_back(self, connect_grpc):
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(server_process())
            client = connect_grpc(first.address, timeout=20, retry=FAST, wait_for_ready=True)

            def restart():
                first.kill()
                stack.enter_context(server_process(first.address.rpartition(":")[2]))

            assert under_load(client, restart) == []

    def test_messages_of_any_size_pass(self, connect_grpc):
        x = np.full(3_000_000, 0.5, np.float32)  # 12 MB each way; gRPC's own limit is 4
        assert len(connect_grpc(timeout=30).predict("half", {"x": x})["y"]) == len(x)

    def test_unless_the_server_has_a_limit(self, connect_grpc, server):
        with fake_server.grpc_server(server, largest_request=1000) as port:
            client = connect_grpc(f"127.0.0.1:{port}", timeout=10)
            with pytest.raises(MessageTooLargeError, match="larger than max"):
                client.predict("half", {"x": [1.0] * 1000})


class TestEncryption:
    @pytest.fixture
    def encrypted(self, server, certificates):
        credentials = grpc.ssl_server_credentials([(certificates["models.example key"], certificates["models.example"])])
        with fake_server.grpc_server(server, credentials=credentials) as port:
            yield f"127.0.0.1:{port}"

    def test_with_a_trusted_authority_and_the_servers_name(self, connect_grpc, encrypted, certificates, tmp_path):
        path = tmp_path / "ca.pem"
        path.write_bytes(certificates["ca"])
        for ca in (certificates["ca"], certificates["ca"].decode(), path, str(path)):
            client = connect_grpc(encrypted, tls=Tls(ca=ca), authority="models.example", timeout=10)
            assert client.status("half")[0].available

    def test_another_name_or_authority_is_refused(self, connect_grpc, encrypted, certificates):
        for settings in ({"tls": Tls(ca=certificates["ca"])}, {"tls": True, "authority": "models.example"}):
            with pytest.raises(UnavailableError):
                connect_grpc(encrypted, **settings, timeout=10, retry=None).status("half")

    def test_on_both_sides(self, connect_grpc, server, certificates):
        credentials = grpc.ssl_server_credentials(
            [(certificates["localhost key"], certificates["localhost"])], certificates["ca"], require_client_auth=True
        )
        with fake_server.grpc_server(server, credentials=credentials) as port:
            target = f"127.0.0.1:{port}"
            mutual = Tls(certificates["ca"], certificates["client"], certificates["client key"])
            assert connect_grpc(target, tls=mutual, timeout=10).status("half")[0].available
            with pytest.raises(UnavailableError):
                connect_grpc(target, tls=Tls(certificates["ca"]), timeout=10, retry=None).status("half")

    def test_several_addresses_need_a_name_to_be_verified_by(self):
        with pytest.raises(ValueError, match="authority=NAME"):
            Client(["127.0.0.1:1", "127.0.0.1:2"], tls=True)


def test_unix_socket(connect_grpc, server, tmp_path):
    with fake_server.grpc_server(server, f"unix:{tmp_path}/models.sock"):
        assert connect_grpc(f"unix:{tmp_path}/models.sock", timeout=10).predict("half", {"x": [1.0]})["y"].tolist() == [2.5]


def test_deadline_is_passed_on_to_the_server(connect_grpc, server):
    connect_grpc(timeout=5).status("half")
    assert 3 < server.time_left < 5.1
    connect_grpc().status("half")
    assert 0 < server.time_left < 1.1  # gRPC rounds up


class TestVersionsInAnswers:
    def test_are_those_that_answered(self, connect_grpc, server):
        client = connect_grpc(timeout=10)
        assert client.predict("half", {"x": [1.0]}).version == 3
        server.models["half"][4] = fake_server.half_plus_two()
        assert client.predict("half", {"x": [1.0]}).version == 4

    def test_are_what_metadata_is_kept_by(self, connect_grpc, server):
        client = connect_grpc(timeout=10)
        client.predict("half", {"x": [1.0]})
        server.models["half"][4] = fake_server.half_plus_two()
        client.predict("half", {"x": [1.0]})  # answered by 4, which nothing is known of yet
        assert server.count("GetModelMetadata") == 1
        client.predict("half", {"x": [1.0]})
        assert server.count("GetModelMetadata") == 2
        asked = [request.model_spec.version.value for method, request in server.seen if method == "GetModelMetadata"]
        assert asked == [0, 4]
        # Two servers in the middle of a roll-out answer in turn; both versions are known by now.
        four = server.models["half"].pop(4)
        client.predict("half", {"x": [1.0]})
        server.models["half"][4] = four
        client.predict("half", {"x": [1.0]})
        assert server.count("GetModelMetadata") == 2

    def test_go_on_with_what_was_known_if_the_new_version_is_gone_again(self, connect_grpc, server):
        client = connect_grpc(timeout=10)
        client.predict("half", {"x": [1.0]})
        server.models["half"][4] = fake_server.half_plus_two()
        client.predict("half", {"x": [1.0]})
        del server.models["half"][4]
        assert client.predict("half", {"x": [1.0]}).version == 3


class TestMultiInference:
    def test_one_prediction_for_each_task(self, connect_grpc, server):
        model = server.models["half"][3]
        model.signatures["by_class"] = server.models["intents"][1].signatures["serving_examples"]
        rows = [{"x": 2.0, "text": "stop"}, {"x": 4.0, "text": "light"}]
        first, second = connect_grpc(timeout=10).multi_inference(
            "half", rows, [("regress", "regress_x"), ("classify", "by_class")], builder=ExampleBuilder({"x": float, "text": str})
        )
        assert (first.signature, first.values.tolist(), first.version) == ("regress_x", [3.0, 4.0], 3)
        assert (second.signature, second.labels) == ("by_class", ["stop", "light"])

    def test_knows_two_methods(self, connect_grpc):
        with pytest.raises(InvalidInputError, match="'classify' or 'regress'"):
            connect_grpc().multi_inference("half", [], [("predict", "serving_default")])


class TestReload:
    CONFIG = 'model_config_list { config { name: "half" base_path: "/models/half" model_platform: "tensorflow" } }'

    @pytest.mark.parametrize("parsed", [False, True])
    def test_replaces_the_configuration(self, connect_grpc, server, parsed):
        from google.protobuf import text_format

        config = text_format.Parse(self.CONFIG, ModelServerConfig()) if parsed else self.CONFIG
        client = connect_grpc(timeout=10)
        assert client.reload_config(config, metric_names=[":loads"]) == {":loads": 1}
        assert set(server.models) == {"half"}

    def test_is_not_retried(self, connect_grpc, server):
        server.refuse("HandleReloadConfigRequest", "UNAVAILABLE", "restarting")
        with pytest.raises(UnavailableError):
            connect_grpc(retry=FAST).reload_config(self.CONFIG)
        assert server.count("HandleReloadConfigRequest") == 1

    def test_a_text_that_is_no_configuration(self, connect_grpc):
        with pytest.raises(InvalidInputError, match="not a ModelServerConfig in text form"):
            connect_grpc().reload_config("model_config_list: nonsense")

    def test_an_error_in_the_response_is_raised(self, connect_grpc, server):
        server.refuse(
            "HandleReloadConfigRequest", "FAILED_PRECONDITION", "Request to assign label to version 4 of model half, ..."
        )
        with pytest.raises(FailedPreconditionError, match="assign label"):
            connect_grpc().reload_config(self.CONFIG)


class TestInterceptors:
    def test_see_calls_of_a_blocking_client(self, grpc_port, server):
        class Tracing(grpc.UnaryUnaryClientInterceptor):
            def intercept_unary_unary(self, continuation, details, request):
                methods.append(details.method)
                return continuation(details._replace(metadata=[*(details.metadata or ()), ("traceparent", "00-1")]), request)

        methods = []
        with Client(f"127.0.0.1:{grpc_port}", interceptors=[Tracing()], headers={"x": "y"}) as client:
            client.status("half")
        assert methods == ["/tensorflow.serving.ModelService/GetModelStatus"]
        assert {"traceparent": "00-1", "x": "y"}.items() <= server.headers.items()

    def test_see_calls_of_an_asyncio_client(self, grpc_port):
        class Tracing(grpc.aio.UnaryUnaryClientInterceptor):
            async def intercept_unary_unary(self, continuation, details, request):
                methods.append(details.method)
                return await continuation(details, request)

        async def ask():
            async with AsyncClient(f"127.0.0.1:{grpc_port}", interceptors=[Tracing()]) as client:
                await client.status("half")

        methods = []
        asyncio.run(ask())
        assert len(methods) == 1


class TestAsyncio:
    def test_many_calls_at_once_on_one_thread(self, grpc_port, server):
        async def ask():
            async with AsyncClient(f"127.0.0.1:{grpc_port}", timeout=20) as client:
                await client.metadata("half")
                return await asyncio.gather(*(client.predict("half", {"x": [float(x)]}) for x in range(100)))

        assert [prediction["y"].tolist() for prediction in asyncio.run(ask())] == [[x / 2 + 2] for x in range(100)]

    def test_a_cancelled_call_is_cancelled_and_recorded_as_such(self, grpc_port, server):
        async def ask():
            async with AsyncClient(f"127.0.0.1:{grpc_port}", timeout=20, on_call=records.append) as client:
                await client.metadata("half")
                server.delay = 2
                async with asyncio.timeout(0.1):
                    await client.predict("half", {"x": [1.0]})

        records = []
        with pytest.raises(TimeoutError):
            asyncio.run(ask())
        assert [record.code for record in records] == ["OK", "CANCELLED"]

    def test_a_client_can_be_made_where_no_loop_runs(self, grpc_port):
        client = AsyncClient(f"127.0.0.1:{grpc_port}")

        async def ask():
            async with client:
                return await client.status("half")

        assert asyncio.run(ask())[0].version == 3


def test_a_garbled_response_is_the_servers_error(make_client, server):
    def garbled(method, request):
        response = server._Predict(request)
        response.outputs["y"].tensor_shape.dim[0].size = -1
        return response

    client = make_client("sync", timeout=10)
    client.metadata("half")
    server.answer = garbled
    with pytest.raises(ClientError, match="cannot be read: the shape is not fully known"):
        client.predict("half", {"x": [1.0]})
