import contextlib
import pathlib
import socket
import subprocess
import sys

import grpc
import pytest

from serving.messages import ModelSpec, PredictRequest, PredictResponse
from serving.server import grpc_api, tls
from serving.server import server as server_module
from serving.server.errors import ServingError
from serving.server.flags import parse_flags
from serving.server.server import ModelServer
from tests.serving.server.fakes import FakeRuntime, x

PROJECT = pathlib.Path(__file__).resolve().parents[3]


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def options(tmp_path, *flags, **named):
    named = {"port": free_port(), "model_base_path": tmp_path / "model", **named}
    return parse_flags([*flags, *(f"--{name}={value}" for name, value in named.items())])[0]


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "factor").write_text("2")
    return tmp_path / "model"


def predict(port):
    request = PredictRequest(model_spec=ModelSpec(name="default"))
    request.inputs["x"].CopyFrom(x(3.0))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        content = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(request.SerializeToString(), timeout=10.0)
    return PredictResponse.FromString(content).outputs["y"].float_val[0]


def test_ports_open_when_models_serve_and_close_when_it_stops(tmp_path, model):
    runtime = FakeRuntime()
    server = ModelServer(options(tmp_path, rest_api_port=free_port()), runtime)
    server.start()
    assert predict(server.port) == 6.0
    socket.create_connection(("127.0.0.1", server.rest_api_port)).close()
    assert server.stop()
    for port in (server.port, server.rest_api_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    assert all(loaded.closed for loaded in runtime.models.values())


def test_a_model_that_does_not_load_opens_no_port(tmp_path):
    (tmp_path / "model" / "1").mkdir(parents=True)
    asked = options(tmp_path, max_num_load_retries=0)
    server = ModelServer(asked, FakeRuntime())
    with pytest.raises(ServingError, match="did not become available"):
        server.start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", asked.port))
    server.stop(0)


@pytest.mark.parametrize("name", ["port", "rest_api_port"])
def test_a_taken_port_is_refused_before_models_load(tmp_path, model, name):
    runtime = FakeRuntime()
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServingError, match="Cannot listen on 127.0.0.1:[0-9]+: Address already in use"):
            ModelServer(options(tmp_path, **{name: taken.getsockname()[1]}), runtime)
    assert not runtime.loads


@pytest.mark.parametrize(
    ("flag", "content", "message"),
    [
        (
            "ssl_config_file",
            'server_key: "/path/to/key" server_cert: "-----BEGIN CERTIFICATE-----"',
            "server_key must be a PEM text",
        ),
        (
            "ssl_config_file",
            'server_key: "-----BEGIN X" server_cert: "-----BEGIN X" client_verify: true',
            "client_verify needs custom_ca",
        ),
        ("ssl_config_file", 'server_key: "-----BEGIN SECRET', "Invalid protobuf file"),
        ("monitoring_config_file", "prometheus_config {", "Invalid protobuf file"),
        ("model_config_file", "model_config_list {", "Invalid protobuf file"),
    ],
)
def test_wrong_files_are_refused_before_models_load(tmp_path, model, caplog, flag, content, message):
    file = tmp_path / "file.config"
    file.write_text(content)
    with pytest.raises(ServingError, match=message):
        ModelServer(options(tmp_path, **{flag: file}), FakeRuntime())
    assert "SECRET" not in caplog.text


def test_keys_are_read_from_the_text_itself(tmp_path):
    from tests.serving.conformance.test_running import certificates

    key, certificate, _ = certificates()
    file = tmp_path / "ssl.config"
    quoted = [text.replace("\n", "\\n") for text in (key, certificate)]
    file.write_text(f'server_key: "{quoted[0]}" server_cert: "{quoted[1]}"')
    assert isinstance(tls.server_credentials(file), grpc.ServerCredentials)


def test_few_threads_answer_unless_requests_wait_for_batches(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(server_module, "GrpcServer", lambda *arguments: seen.append(arguments[3:]))
    monkeypatch.setattr(server_module.os, "sched_getaffinity", lambda _: {0, 1, 2})
    server_module._grpc_server(options(tmp_path, grpc_max_threads=100), {}, {})
    server_module._grpc_server(options(tmp_path, grpc_max_threads=3), {}, {})
    server_module._grpc_server(options(tmp_path, "--enable_batching", grpc_max_threads=3), {}, {})
    alone = grpc_api.COMPUTING | grpc_api.INSTANT
    assert seen == [(6, alone), (3, alone), (64, grpc_api.INSTANT)]


def test_it_imports_in_a_moment_and_never_tensorflow():
    code = "import serving.server.server, sys; assert not any(name.startswith('tensorflow') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT, timeout=30)


def test_help_and_version(capsys):
    assert server_module.main(["--help"]) == 0
    assert "--model_base_path" in capsys.readouterr().out
    assert server_module.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("TensorFlow Library: 2.")
    assert server_module.main(["--port"]) == 255
