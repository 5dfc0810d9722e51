"""What only REST has: connections kept open, JSON as TensorFlow Serving writes it, HTTP's own failures."""

import http.server
import socket
import ssl
import threading
import time

import numpy as np
import pytest

from serving.client import (
    ClientError,
    DeadlineExceededError,
    ExampleBuilder,
    InvalidInputError,
    ModelNotFoundError,
    RestClient,
    RetryPolicy,
    ServerError,
    Tls,
    UnavailableError,
)
from tests.serving.client import fake_server

FAST = RetryPolicy(first_backoff=0.005, longest_backoff=0.01)


@pytest.fixture
def client(rest_port):
    with RestClient(f"http://127.0.0.1:{rest_port}", timeout=10, retry=FAST) as client:
        yield client


class TestConnections:
    def test_one_is_used_again(self, client, rest):
        for _ in range(5):
            client.predict("half", {"x": [1.0]})
        assert rest.connections == 1

    def test_that_a_server_closed_in_the_meantime_costs_no_attempt(self, rest_port, rest, server):
        rest.hang_up_after = 2
        with RestClient(f"127.0.0.1:{rest_port}", timeout=10, retry=None) as client:
            for _ in range(7):
                client.status("half")
                time.sleep(0.02)
        assert rest.connections == 4
        assert server.count("GetModelStatus") == 7

    def test_that_break_within_an_answer(self):
        def hang_up(listener):
            for _ in range(2):
                link, _ = listener.accept()
                link.recv(65536)
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                link.close()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=hang_up, args=(listener,))
            thread.start()
            policy = RetryPolicy(attempts=2, first_backoff=0.005)
            with (
                RestClient(f"127.0.0.1:{listener.getsockname()[1]}", timeout=10, retry=policy) as client,
                pytest.raises(UnavailableError, match="IncompleteRead"),
            ):
                client.status("half")
            thread.join()

    def test_nobody_there(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            with (
                RestClient(f"127.0.0.1:{probe.getsockname()[1]}", retry=FAST) as client,
                pytest.raises(UnavailableError, match="Connection refused"),
            ):
                client.status("half")

    def test_nobody_there_yet_can_be_waited_for(self, server):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with RestClient(f"127.0.0.1:{port}", timeout=10) as client, pytest.MonkeyPatch.context() as patch:
            patch.setattr(http.server.ThreadingHTTPServer, "server_bind", _bound_to(port))
            answers = []
            thread = threading.Thread(target=lambda: answers.append(client.status("half", wait_for_ready=True)))
            thread.start()
            time.sleep(0.2)
            with fake_server.rest_server(server):
                thread.join()
        assert answers[0][0].available

    def test_an_answer_that_trickles_ends_with_the_deadline(self):
        def trickle(listener):
            link, _ = listener.accept()
            link.recv(65536)
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                try:
                    link.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.02)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=trickle, args=(listener,))
            thread.start()
            started = time.monotonic()
            with (
                RestClient(f"127.0.0.1:{listener.getsockname()[1]}", timeout=0.3) as client,
                pytest.raises(DeadlineExceededError, match="within 0.3 s"),
            ):
                client.status("half")
            assert time.monotonic() - started < 1
            thread.join()


def _bound_to(port):
    def bind(server):
        server.server_address = ("127.0.0.1", port)
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.socket.bind(server.server_address)
        server.server_name, server.server_port = server.server_address

    return bind


class TestAddresses:
    @pytest.mark.parametrize("url", ["ftp://host", "http://", "http://user:secret@host", "http://host?x=1", "https://"])
    def test_nonsense(self, url):
        with pytest.raises(ValueError, match="http") as refused:
            RestClient(url)
        assert "secret" not in str(refused.value)

    def test_tls_is_not_for_plain_http(self):
        with pytest.raises(ValueError, match="tls goes with https"):
            RestClient("http://127.0.0.1:8501", tls=True)

    def test_a_path_before_the_interface(self, rest_port):
        # The fake server knows no such path: it shows that it was asked for.
        with (
            RestClient(f"http://127.0.0.1:{rest_port}/team", timeout=10) as client,
            pytest.raises(InvalidInputError, match="Malformed request: /team/v1/models/half"),
        ):
            client.status("half")

    def test_names_and_labels_are_encoded(self, client, server):
        server.models["a b/c"] = server.models["half"]
        server.labels["a b/c", "très stable"] = 3
        assert client.predict("a b/c", {"x": [1.0]}, label="très stable")["y"].tolist() == [2.5]
        with pytest.raises(ModelNotFoundError):
            client.status("a/../half")


class TestEncryption:
    @pytest.fixture
    def port(self, server, certificates, tmp_path):
        pem = tmp_path / "server.pem"
        pem.write_bytes(certificates["models.example"] + certificates["models.example key"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=certificates["ca"].decode())
        context.load_cert_chain(pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        with fake_server.rest_server(server, context=context) as port:
            yield port

    def test_with_a_trusted_authority_and_the_servers_name(self, port, certificates):
        mutual = Tls(certificates["ca"], certificates["client"], certificates["client key"])
        for tls in (Tls(certificates["ca"]), mutual):
            with RestClient(f"127.0.0.1:{port}", tls=tls, authority="models.example", timeout=10) as client:
                assert client.predict("half", {"x": [1.0]})["y"].tolist() == [2.5]

    def test_another_name_or_authority_is_refused(self, port, certificates):
        for settings in ({"tls": Tls(certificates["ca"])}, {"authority": "models.example"}):
            with (
                RestClient(f"https://127.0.0.1:{port}", **settings, retry=None, timeout=10) as client,
                pytest.raises(UnavailableError),
            ):
                client.status("half")


class TestJson:
    def test_requests_are_columns(self, client, rest):
        client.predict("intents", {"text": ["über", b"\xff"]}, signature="serving_default")
        assert rest.bodies == [{"signature_name": "serving_default", "inputs": {"text": ["über", {"b64": "/w=="}]}}]

    def test_floats_of_examples_keep_their_point(self, client, rest):
        builder = ExampleBuilder({"x": float, "n": int, "tags": str})
        with pytest.raises(ClientError):
            client.regress("half", [{"x": 2, "n": 2, "tags": ["a", b"\xff"]}, {}], builder=builder)
        [first, second] = rest.bodies[0]["examples"]
        assert repr(first["x"]) == "2.0"
        assert repr(first["n"]) == "2"
        assert first["tags"] == ["a", {"b64": "/w=="}]
        assert second == {}

    def test_a_single_output_gets_its_name_and_type_back(self, client):
        y = client.predict("half", {"x": [1.0]})["y"]
        assert y.dtype == np.float32

    def test_without_metadata_types_are_jsons(self, rest_port):
        with RestClient(f"127.0.0.1:{rest_port}", check_inputs=False, timeout=10) as client:
            assert client.predict("half", {"x": [1.0]})["outputs"].tolist() == [2.5]
            assert client.predict("intents", {"text": ["stop"]}).labels == ["stop"]

    @pytest.mark.parametrize(
        ("answer", "values"),
        [
            (b'{"outputs": [NaN, Infinity, -Infinity, 1e+22, 3]}', [np.nan, np.inf, -np.inf, 1e22, 3]),
            (b'{"outputs": []}', []),
            (b'{"outputs": 2.5}', 2.5),
        ],
    )
    def test_numbers_as_tensorflow_serving_writes_them(self, client, rest, answer, values):
        rest.raw_answers = [(200, answer)]
        np.testing.assert_array_equal(client.predict("half", {"x": [1.0]})["y"], np.float32(values))

    @pytest.mark.parametrize(
        "answer",
        [b"", b"<html>", b"[]", b'{"predictions": [1]}', b'{"outputs": ["a"]}', b'{"outputs": [[1], [2, 3]]}', b"[" * 10**5],
    )
    def test_answers_that_cannot_be_read(self, client, rest, answer):
        client.metadata("half")
        rest.raw_answers = [(200, answer)]
        with pytest.raises(ServerError, match="answer to Predict cannot be read"):
            client.predict("half", {"x": [1.0]})

    def test_an_error_page_of_something_else_is_not_shown(self, client, rest):
        client.metadata("half")
        rest.raw_answers = [(418, b"<html>secret</html>")]
        with pytest.raises(ServerError, match="HTTP status 418") as refused:
            client.predict("half", {"x": [1.0]})
        assert "secret" not in str(refused.value)

    def test_complex_numbers_do_not_travel(self, client, server):
        definition, compute = server.models["half"][3].signatures["serving_default"]
        definition.inputs["x"].dtype = fake_server.DataType.DT_COMPLEX64
        with pytest.raises(InvalidInputError, match="JSON cannot carry DT_COMPLEX64"):
            client.predict("half", {"x": [1j]})


class TestMetadataAge:
    def test_old_knowledge_is_renewed(self, client, server, monkeypatch):
        now = [time.monotonic()]
        monkeypatch.setattr("serving.client.signatures.time.monotonic", lambda: now[0])
        for _ in range(3):
            client.predict("half", {"x": [1.0]})
        assert server.count("GetModelMetadata") == 1
        now[0] += 11
        client.predict("half", {"x": [1.0]})
        assert server.count("GetModelMetadata") == 2


def test_version_is_known_only_if_asked_for(client):
    assert client.predict("half", {"x": [1.0]}).version is None
    assert client.predict("half", {"x": [1.0]}, version=3).version == 3


def test_other_calls_are_grpcs_own(client):
    assert not hasattr(client, "reload_config")
    assert not hasattr(client, "multi_inference")


def test_an_empty_list_of_examples_is_for_the_server_to_judge(client):
    with pytest.raises(InvalidInputError, match="Input is empty"):
        client.regress("half", [])
