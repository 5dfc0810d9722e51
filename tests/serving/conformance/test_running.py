"""Starting, listening, stopping: flags, ports, TLS, sockets, drain, crowds, health and metrics."""

import contextlib
import datetime
import json
import re
import resource
import socket
import threading
import time
import urllib.request

import grpc
import pytest

from serving.messages import DataType, HealthCheckRequest, HealthCheckResponse
from tests.serving.conformance.servers import Client, ServerProcess, eventually, model_config, spec, tensor

HEALTH = "/grpc.health.v1.Health/Check"


class TestStarting:
    def test_a_model_that_does_not_load_ends_the_start(self, serve, tmp_path):
        (tmp_path / "model" / "123").mkdir(parents=True)
        server = serve(wait=False, model_base_path=tmp_path / "model", max_num_load_retries=0)
        code, said = server.ended()
        assert code == 255
        unavailable = "1 servable(s) did not become available: {{name: default version: 123} due to error: "
        assert f"Failed to start server. Error: UNKNOWN: {unavailable}" in said

    def test_a_config_file_that_cannot_be_parsed_ends_the_start(self, serve, tmp_path):
        (tmp_path / "bad.config").write_text("model_config_list { improperly formatted")
        code, said = serve(wait=False, model_config_file=tmp_path / "bad.config").ended()
        assert code == 255
        assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in said
        assert f"Invalid protobuf file: '{tmp_path / 'bad.config'}'" in said

    def test_labels_in_the_first_configuration_end_the_start(self, serve, saved_models, tmp_path):
        label = 'version_labels { key: "stable" value: 1 }'
        (tmp_path / "models.config").write_text(model_config({"half": saved_models / "half_plus_two"}, half=label))
        code, said = serve(wait=False, model_config_file=tmp_path / "models.config").ended()
        assert code == 255
        assert "Request to assign label to version 1 of model half, which is not currently available for inference" in said

    def test_such_labels_can_be_allowed(self, serve, saved_models, tmp_path):
        label = 'version_labels { key: "stable" value: 1 }'
        (tmp_path / "models.config").write_text(model_config({"half": saved_models / "half_plus_two"}, half=label))
        server = serve("--allow_version_labels_for_unavailable_models", model_config_file=tmp_path / "models.config")
        assert server.client.y("half", label="stable") == 3.0

    @pytest.mark.usefixtures("embedded_only")
    def test_a_port_that_is_taken_ends_the_start_at_once(self, serve, saved_models, server):
        code, said = serve(wait=False, port=server.port, model_base_path=saved_models / "half_plus_two").ended()
        assert code == 255
        assert f"Cannot listen on 127.0.0.1:{server.port}: Address already in use" in said
        assert server.client.y("half_plus_two") == 3.0

    def test_a_tensorflow_lite_model_is_preferred_where_asked_for(self, serve, client, saved_models):
        server = serve("--prefer_tflite_model", model_name="lite", model_base_path=saved_models / "lite")
        assert (client.y("lite"), server.client.y("lite")) == (3.0, 4.0)

    @pytest.mark.usefixtures("embedded_only")
    def test_flags_nobody_knows_are_refused(self, serve):
        code, said = serve("--modle_base_path=/x", wait=False).ended()
        assert (code, "did you mean --model_base_path?" in said) == (255, True)

    @pytest.mark.usefixtures("embedded_only")
    def test_other_machines_are_not_answered_unless_told_to(self, server):
        listening = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table, encoding="ascii") as rows:
                listening += [row.split()[1] for row in rows if row.split()[3] == "0A"]
        for port in (server.port, server.rest_port):
            addresses = [address.removesuffix(f":{port:04X}") for address in listening if address.endswith(f":{port:04X}")]
            assert addresses
            # 127.0.0.1, also as IPv6 writes it.
            assert {address[-8:] for address in addresses} == {"0100007F"}


class TestListening:
    def test_tls_with_a_client_certificate_on_a_socket_besides(self, serve, saved_models, tmp_path):
        key, certificate, authority = certificates()
        (tmp_path / "ssl.config").write_text(
            f"server_key: {json.dumps(key)} server_cert: {json.dumps(certificate)} custom_ca: {json.dumps(authority)} client_verify: true"
        )
        socket_path = tmp_path / "grpc.socket"
        server = serve(
            model_base_path=saved_models / "half_plus_two", ssl_config_file=tmp_path / "ssl.config", grpc_socket_path=socket_path
        )
        known = grpc.ssl_channel_credentials(authority.encode(), key.encode(), certificate.encode())
        options = [("grpc.ssl_target_name_override", "localhost")]
        secured = Client(f"127.0.0.1:{server.port}", known, options)
        assert secured.y("default") == 3.0
        unknown = grpc.ssl_channel_credentials(authority.encode())
        for stranger in (server.client, Client(f"127.0.0.1:{server.port}", unknown, options)):
            with pytest.raises(grpc.RpcError) as raised:
                stranger.y("default")
            assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert key.splitlines()[1] not in server.said()

    def test_a_unix_socket_without_a_port_and_channel_arguments(self, serve, saved_models, tmp_path):
        path = tmp_path / "grpc.socket"
        serve(
            wait=False,
            model_base_path=saved_models / "half_plus_two",
            port=0,
            grpc_socket_path=path,
            grpc_channel_arguments="grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        ).wait(str(path))
        assert Client(f"unix:{path}").y("default") == 3.0

    def test_a_thousand_idle_connections_keep_nobody_waiting(self, server, client):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
        with contextlib.ExitStack() as stack:
            for number in range(1000):
                port = server.port if number % 2 else server.rest_port
                stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), 5.0)))
            started = time.monotonic()
            for _ in range(20):
                assert client.y("half_plus_two") == 3.0
            assert time.monotonic() - started < 5.0


class TestStopping:
    @pytest.mark.usefixtures("embedded_only")
    def test_sigterm_under_load_loses_no_accepted_request(self, serve, saved_models):
        server = serve(model_name="text", model_base_path=saved_models / "text")
        answered, codes, slow = [], [], []

        def caller():
            client = Client(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)])
            with contextlib.closing(client.channel):
                while True:
                    try:
                        client.predict(spec("text"), text=tensor(["light"]))
                    except grpc.RpcError as error:
                        codes.append(error.code())
                        return
                    answered.append(1)

        def slow_caller():
            slow.append(server.client.predict(spec("text", signature="count"), steps=tensor(300_000, DataType.DT_INT32)))

        threads = [threading.Thread(target=target) for target in [slow_caller] + [caller] * 12]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) > 50, "answers")
        server.terminate()
        for thread in threads:
            thread.join()
        code, said = server.ended()
        assert code == 0, said
        assert len(slow) == 1
        # Refused, so that the caller may send it elsewhere: never cancelled or cut off in the middle of an answer.
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}

    @pytest.mark.usefixtures("embedded_only")
    def test_sigterm_while_it_waits_for_a_model(self, serve, tmp_path):
        server = serve(wait=False, model_base_path=tmp_path / "absent")
        eventually(lambda: "Could not find base path" in server.said(), "the complaint about the missing directory")
        server.terminate()
        assert server.ended(10.0)[0] == 0


class TestHealth:
    @pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
    def test_services_are_healthy(self, client, service):
        assert client.call(HEALTH, HealthCheckRequest(service=service), HealthCheckResponse).status == HealthCheckResponse.SERVING

    def test_unknown_services(self, client):
        with pytest.raises(grpc.RpcError) as raised:
            client.call(HEALTH, HealthCheckRequest(service="absent"), HealthCheckResponse)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND

    @pytest.mark.usefixtures("embedded_only")
    def test_a_thousand_watchers_hold_nobody_up_and_are_told_of_the_end(self, serve, saved_models):
        server = serve("--enable_grpc_healthcheck_service", model_base_path=saved_models / "half_plus_two")
        watch = server.client.channel.unary_stream(
            "/grpc.health.v1.Health/Watch", response_deserializer=HealthCheckResponse.FromString
        )
        watchers = [watch(b"", timeout=60.0) for _ in range(1000)]
        assert {next(watcher).status for watcher in watchers} == {HealthCheckResponse.SERVING}
        assert server.client.y("default") == 3.0
        server.terminate()
        assert {next(watcher).status for watcher in watchers} == {HealthCheckResponse.NOT_SERVING}
        assert server.ended(20.0)[0] == 0


class TestProfiler:
    @pytest.mark.usefixtures("embedded_only")
    def test_it_records_into_the_folder_asked_for(self, serve, saved_models, tmp_path):
        server = serve(model_base_path=saved_models / "half_plus_two")
        method, root = "/tensorflow.ProfilerService/Profile", str(tmp_path / "profiles").encode()
        # A ProfileRequest: 50 ms, the folder, a session and a host.
        request = b"\x08\x32" + b"\x2a" + bytes([len(root)]) + root + b"\x32\x09../../one" + b"\x3a\x04host"
        server.client.call(method, request, None)
        assert (tmp_path / "profiles" / "one" / "host.xplane.pb").stat().st_size > 0
        with pytest.raises(grpc.RpcError) as raised:
            server.client.call(method, b"\x08", None)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        server.terminate()
        assert server.ended(20.0)[0] == 0


class TestBatching:
    @pytest.fixture(scope="class")
    def batching(self, command, saved_models, tmp_path_factory):
        folder = tmp_path_factory.mktemp("batching")
        parameters = folder / "batching.config"
        parameters.write_text(
            "max_batch_size { value: 4 } batch_timeout_micros { value: 300000 } max_enqueued_batches { value: 1 } "
            "num_batch_threads { value: 1 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
        )
        (folder / "models.config").write_text(
            model_config({"half": saved_models / "half_plus_two", "text": saved_models / "text"})
        )
        started = ServerProcess(
            command, folder, "--enable_batching", batching_parameters_file=parameters, model_config_file=folder / "models.config"
        )
        yield started.wait()
        started.close()

    def test_requests_share_a_run_and_get_their_own_rows(self, batching):
        client, found = batching.client, {}

        def caller(x):
            found[x] = client.y("half", x)

        started = time.monotonic()
        threads = [threading.Thread(target=caller, args=(float(x),)) for x in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Alone, each would have waited for the timeout of its own batch.
        assert time.monotonic() - started < 0.3 * 3
        assert found == {float(x): x / 2 + 2 for x in range(4)}

    def test_a_batch_is_padded_to_an_allowed_size(self, batching):
        answer = batching.client.predict(spec("half"), x=tensor([1.0, 2.0, 3.0], DataType.DT_FLOAT))
        assert list(answer.outputs["y"].float_val) == [2.5, 3.0, 3.5]

    def test_refusals(self, batching):
        for model, signature, inputs, code, text in (
            (
                "half",
                "",
                {"x": tensor([1.0] * 5, DataType.DT_FLOAT)},
                "INVALID_ARGUMENT",
                "Task size 5 is larger than maximum input batch size 4",
            ),
            (
                "text",
                "count",
                {"steps": tensor(1, DataType.DT_INT32)},
                "INVALID_ARGUMENT",
                "Batching session Run() input tensors must have at least one dimension",
            ),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                batching.client.predict(spec(model, signature=signature), **inputs)
            assert (raised.value.code().name, raised.value.details()) == (code, text)

    def test_a_full_queue(self, batching):
        said = []

        def caller():
            try:
                batching.client.predict(spec("half"), x=tensor([1.0] * 3, DataType.DT_FLOAT))
            except grpc.RpcError as error:
                said.append((error.code(), error.details()))

        threads = [threading.Thread(target=caller) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = (
            "The batch scheduling queue to which this task was submitted is full; "
            "currently 1 batches enqueued and max_enqueued_batches is 1"
        )
        assert set(said) == {(grpc.StatusCode.UNAVAILABLE, expected)}

    def test_parameters_without_batching_end_the_start(self, serve, saved_models, tmp_path):
        (tmp_path / "batching.config").write_text("max_batch_size { value: 4 }")
        code, said = serve(
            wait=False, model_base_path=saved_models / "half_plus_two", batching_parameters_file=tmp_path / "batching.config"
        ).ended()
        assert code == 255
        assert "batching_parameters_file is set without setting" in said


class TestMetrics:
    def test_requests_are_counted_and_timed_under_upstreams_names(self, server, client):
        def read():
            with urllib.request.urlopen(
                f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics", timeout=10
            ) as answer:
                lines = answer.read().decode().splitlines()
            return {name: float(value) for line in lines if not line.startswith("#") for name, _, value in [line.rpartition(" ")]}

        before = read()
        for _ in range(3):
            client.y("half_plus_two")
        with pytest.raises(grpc.RpcError):
            client.predict(spec("half_plus_two", signature="absent"))
        after = read()

        def grown(name):
            return after[name] - before.get(name, 0.0)

        prefix, predict = ":tensorflow:serving:", 'model_name="half_plus_two",API="Predict",entrypoint="GRPC"'
        assert grown(f'{prefix}request_count{{model_name="half_plus_two",status="OK"}}') == 3
        assert grown(f'{prefix}request_count{{model_name="half_plus_two",status="FAILED_PRECONDITION"}}') == 1
        assert grown(f"{prefix}request_latency_count{{{predict}}}") == 3
        assert grown(f'{prefix}request_latency_bucket{{{predict},le="+Inf"}}') == 3
        assert grown(f'{prefix}runtime_latency_count{{model_name="half_plus_two",API="Predict",runtime="TF1"}}') == 3
        assert grown(f"{prefix}request_latency_sum{{{predict}}}") > 0
        limits = [
            float(found[1])
            for name in after
            if (found := re.fullmatch(rf'{prefix}request_latency_bucket{{{re.escape(predict)},le="([0-9.e+]+)"}}', name))
        ]
        assert limits[:3] == [10, 18, 32.4]
        assert len(limits) == 32 + 1


def certificates():
    """A key, a certificate for localhost, and the certificate that vouches for it: the same, as it is self-signed. All PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return private, public, public
