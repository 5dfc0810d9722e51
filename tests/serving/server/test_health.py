"""Health: checks, and watchers that cost no thread."""

import grpc
import pytest

from serving.messages import HealthCheckRequest, HealthCheckResponse
from serving.server.grpc_server import GrpcServer
from serving.server.health import Health
from tests.serving.conformance.servers import eventually

SERVING, NOT_SERVING, UNKNOWN = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING, HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health():
    return Health(max_watchers=200)


@pytest.fixture
def channel(health):
    """A server with the service, and one thread for everything else."""

    def echo(message, call):
        return message

    methods = {"/grpc.health.v1.Health/Check": health.check, "/test.Other/Echo": echo}
    server = GrpcServer(methods, {"/grpc.health.v1.Health/Watch": health.watch}, (), workers=1)
    port = server.add_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(0).wait()


def check(channel, service=""):
    method = channel.unary_unary("/grpc.health.v1.Health/Check")
    return HealthCheckResponse.FromString(method(HealthCheckRequest(service=service).SerializeToString(), timeout=10.0)).status


def watch(channel, service=""):
    """The stream of a watcher."""
    method = channel.unary_stream("/grpc.health.v1.Health/Watch", response_deserializer=HealthCheckResponse.FromString)
    return method(HealthCheckRequest(service=service).SerializeToString(), timeout=30.0)


class TestCheck:
    @pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
    def test_services_are_healthy_until_the_server_stops(self, health, channel, service):
        assert check(channel, service) == SERVING
        health.stop()
        assert check(channel, service) == NOT_SERVING

    def test_an_unknown_service_is_not_found(self, channel):
        with pytest.raises(grpc.RpcError) as raised:
            check(channel, "absent")
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND


class TestWatch:
    def test_tells_the_status_now_and_when_the_server_stops(self, health, channel):
        watcher = watch(channel, "PredictionService")
        assert next(watcher).status == SERVING
        health.stop()
        assert next(watcher).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            next(watcher)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE

    def test_whoever_comes_too_late_is_told_so(self, health, channel):
        health.stop()
        assert next(watch(channel)).status == NOT_SERVING

    def test_an_unknown_service_is_told_as_one_and_the_stream_stays(self, channel):
        watcher = watch(channel, "absent")
        assert next(watcher).status == UNKNOWN
        assert watcher.is_active()

    def test_a_message_that_is_none_is_refused(self, channel):
        method = channel.unary_stream("/grpc.health.v1.Health/Watch")
        with pytest.raises(grpc.RpcError, match="Unable to parse request"):
            next(method(b"\xff", timeout=10.0))

    def test_two_hundred_watchers_take_no_thread_and_no_more_are_let_in(self, health, channel):
        watchers = [watch(channel) for _ in range(200)]
        assert {next(watcher).status for watcher in watchers} == {SERVING}
        assert channel.unary_unary("/test.Other/Echo")(b"still here", timeout=10.0) == b"still here"
        with pytest.raises(grpc.RpcError) as raised:
            next(watch(channel))
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        health.stop()
        assert {next(watcher).status for watcher in watchers} == {NOT_SERVING}

    def test_who_leaves_makes_room(self, health, channel):
        watchers = [watch(channel) for _ in range(200)]
        assert {next(watcher).status for watcher in watchers} == {SERVING}
        for watcher in watchers:
            watcher.cancel()
        eventually(lambda: not health._watchers, "watchers are forgotten")
        assert next(watch(channel)).status == SERVING
