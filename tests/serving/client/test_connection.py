import json
import socket

import pytest

from serving.client.connection import Address, RetryPolicy, Tls, address, channel_options, service_config


class TestAddress:
    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("127.0.0.1:8500", Address("dns:///127.0.0.1:8500", loopback=True)),
            ("localhost", Address("dns:///localhost:8500", loopback=True)),
            ("[::1]:9", Address("dns:///[::1]:9", loopback=True)),
            ("[::1]", Address("dns:///[::1]:8500", loopback=True)),
            ("models.example:80", Address("dns:///models.example:80")),
            ("dns:///models:8500", Address("dns:///models:8500")),
            ("unix:/tmp/s", Address("unix:/tmp/s", loopback=True)),
            (["127.0.0.1:1", "127.0.0.2:2"], Address("ipv4:127.0.0.1:1,127.0.0.2:2", several=True, loopback=True)),
            ("127.0.0.1:1, 10.0.0.1:2", Address("ipv4:127.0.0.1:1,10.0.0.1:2", several=True)),
            (["[::1]:1", "[::1]:2"], Address("ipv6:[::1]:1,[::1]:2", several=True, loopback=True)),
            ("ipv4:10.0.0.1:1,10.0.0.2:1", Address("ipv4:10.0.0.1:1,10.0.0.2:1", several=True)),
        ],
    )
    def test_of_target(self, target, expected):
        if "::1" in str(target) and not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        assert address(target) == expected

    @pytest.mark.parametrize(
        "target", ["", [], "host:", "host:0", "host:70000", "http://host:1", "::1:8500", "a:1,,b:1", ":8500"]
    )
    def test_nonsense(self, target):
        with pytest.raises(ValueError, match="host:port|brackets"):
            address(target)

    def test_a_name_without_an_address_in_a_list(self, monkeypatch):
        def unknown(*arguments):
            raise socket.gaierror

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(ValueError, match="not all of these have an address"):
            address(["a.example:1", "b.example:1"])


class TestServiceConfig:
    def test_retries_of_two_services_and_balancing(self):
        config = json.loads(service_config(RetryPolicy(), ["a.B"], [("c.D", "E")], "round_robin"))
        assert config == {
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [
                {
                    "name": [{"service": "a.B"}, {"service": "c.D", "method": "E"}],
                    "retryPolicy": {
                        "maxAttempts": 4,
                        "initialBackoff": "0.050000000s",
                        "maxBackoff": "1.000000000s",
                        "backoffMultiplier": 2.0,
                        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                    },
                }
            ],
            "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
        }

    def test_no_retries(self):
        assert "methodConfig" not in json.loads(service_config(None, ["a.B"], [], "pick_first"))

    @pytest.mark.parametrize(
        "settings",
        [
            {"attempts": 1},
            {"attempts": 6},
            {"first_backoff": 0.001},
            {"longest_backoff": 0.01},
            {"multiplier": 0.5},
            {"tokens": 0},
        ],
    )
    def test_policies_that_make_no_sense(self, settings):
        with pytest.raises(ValueError, match="got"):
            RetryPolicy(**settings)


def options(where="127.0.0.1:1", **settings):
    defaults = {"config": "{}", "retries": True, "authority": None, "encrypted": False, "keepalive_seconds": 300}
    return dict(channel_options(address(where), **{**defaults, **settings}))


class TestChannelOptions:
    def test_messages_have_no_limit_and_keepalive_is_what_servers_accept(self):
        chosen = options()
        assert chosen["grpc.max_send_message_length"] == chosen["grpc.max_receive_message_length"] == -1
        assert chosen["grpc.keepalive_time_ms"] == 300_000
        assert "grpc.keepalive_time_ms" not in options(keepalive_seconds=None)

    def test_authority(self):
        assert options(authority="m.example")["grpc.default_authority"] == "m.example"
        assert "grpc.ssl_target_name_override" not in options(authority="m.example")
        assert options(authority="m.example", encrypted=True)["grpc.ssl_target_name_override"] == "m.example"

    def test_no_proxy_for_this_machine(self):
        assert options()["grpc.enable_http_proxy"] == 0
        assert "grpc.enable_http_proxy" not in options("models.example:1")

    def test_keepalive_that_makes_no_sense(self):
        with pytest.raises(ValueError, match="above 0"):
            options(keepalive_seconds=0)


class TestTls:
    PEM = "-----BEGIN CERTIFICATE-----\n..."

    def test_content_or_path(self, tmp_path):
        (tmp_path / "ca.pem").write_text(self.PEM)
        for ca in (self.PEM, self.PEM.encode(), tmp_path / "ca.pem", str(tmp_path / "ca.pem")):
            assert Tls(ca=ca).pem("ca") == self.PEM.encode()

    def test_a_certificate_needs_its_key(self):
        with pytest.raises(ValueError, match="go together"):
            Tls(certificate=self.PEM)
