"""How a client reaches servers: addresses, encryption, retries, keepalive."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import pathlib
import socket
from collections.abc import Iterable, Sequence
from typing import Any

DEFAULT_TARGET = "127.0.0.1:8500"
DEFAULT_PORT = 8500

# More often than this, and gRPC servers with default settings end the connection (too_many_pings).
DEFAULT_KEEPALIVE_SECONDS = 300.0
_KEEPALIVE_TIMEOUT_MS = 20_000
# gRPC waits from one second up to two minutes before it connects again; a server that was restarted is back sooner than that.
_FIRST_RECONNECT_MS, _LONGEST_RECONNECT_MS = 100, 5_000
# gRPC makes at most five attempts, whatever it is told.
_MOST_ATTEMPTS = 5
# A backoff that rounds to no milliseconds at all leaves a call of gRPC's hanging until its deadline (measured with 1.85).
_SHORTEST_BACKOFF = 0.005

_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:", "vsock:")


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a call is made again: only if the server was unavailable, which is also how a full queue shows, or went away meanwhile.

    Predictions do not change a server, so making one twice does no harm; changes of its configuration are never retried.

    Attributes:
        attempts: How often a call is made at most, 2 to 5.
        first_backoff: Seconds before the second attempt, on average half of it is waited.
        longest_backoff: Seconds before an attempt at most.
        multiplier: By how much the wait grows.
        tokens: Retries stop while failures outweigh successes, so that a struggling server is not buried: each unavailable answer
            takes one of these tokens, each success gives `token_ratio` back, and with half of them or less there are no retries.
        token_ratio: See `tokens`.
    """

    attempts: int = 4
    first_backoff: float = 0.05
    longest_backoff: float = 1.0
    multiplier: float = 2.0
    tokens: int = 100
    token_ratio: float = 0.1

    def __post_init__(self) -> None:
        if not 2 <= self.attempts <= _MOST_ATTEMPTS:
            raise ValueError(f"attempts must be 2 to {_MOST_ATTEMPTS} (no retries: retry=None), got {self.attempts}")
        if not _SHORTEST_BACKOFF <= self.first_backoff <= self.longest_backoff:
            raise ValueError(f"backoffs must be {_SHORTEST_BACKOFF} s or more and the longest not below the first, got {self}")
        if self.multiplier < 1 or not 0 < self.tokens <= 1000 or self.token_ratio <= 0:
            raise ValueError(f"multiplier >= 1, 0 < tokens <= 1000 and token_ratio > 0 are needed, got {self}")


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    """Encryption, and who is trusted.

    Each value is PEM: its content as bytes or as str that starts with `-----BEGIN`, or the path of a file.

    Attributes:
        ca: Certificates of the authorities trusted to know the server; None trusts those the system trusts.
        certificate: The client's own certificate, for servers that ask for one.
        key: Its private key.
    """

    ca: str | bytes | os.PathLike[str] | None = None
    certificate: str | bytes | os.PathLike[str] | None = None
    key: str | bytes | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together")

    def pem(self, field: str) -> bytes | None:
        """The content of `ca`, `certificate` or `key`.

        Raises:
            OSError: The file cannot be read.
        """
        value = getattr(self, field)
        if value is None or isinstance(value, bytes):
            return value
        if isinstance(value, str) and value.lstrip().startswith("-----BEGIN"):
            return value.encode()
        return pathlib.Path(value).read_bytes()


def tls_of(value: Tls | bool | None) -> Tls | None:
    """What a `tls` argument means: True trusts the system's authorities, None and False encrypt nothing."""
    return Tls() if value is True else value or None


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a channel leads.

    Attributes:
        uri: In gRPC's terms.
        several: Whether it is a list of addresses, none of which gives the channel its name.
        loopback: Whether it stays on this machine.
    """

    uri: str
    several: bool = False
    loopback: bool = False


def address(target: str | Sequence[str]) -> Address:
    """Reads a target.

    Args:
        target: `host:port` (port 8500 by default), several of these in a list or separated by commas, `dns:///name:port` for a
            name with changing addresses, or `unix:/path`. Names in a list are looked up now, once.

    Raises:
        ValueError: It is none of these, or a name in a list has no address.
    """
    parts = [part.strip() for part in (target.split(",") if isinstance(target, str) else target)]
    if not parts or not all(parts):
        raise ValueError(f"a target is host:port, several of these, dns:///name:port or unix:/path, got {target!r}")
    if isinstance(target, str) and target.startswith(_SCHEMES):
        return Address(target, several=target.startswith(("ipv4:", "ipv6:")), loopback=target.startswith("unix"))
    pairs = [_host_and_port(part) for part in parts]
    if len(pairs) == 1:
        [(host, port)] = pairs
        return Address(f"dns:///{_bracketed(host)}:{port}", loopback=_is_loopback(host))
    for family, scheme in ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6")):
        found = [_look_up(host, port, family) for host, port in pairs]
        if all(found):
            listed = dict.fromkeys(entry for entries in found for entry in entries)
            return Address(f"{scheme}:{','.join(listed)}", several=True, loopback=all(_is_loopback(host) for host, _ in pairs))
    raise ValueError(f"not all of these have an address of the same kind: {', '.join(host for host, _ in pairs)}")


def service_config(
    retry: RetryPolicy | None, services: Iterable[str], methods: Iterable[tuple[str, str]], load_balancing: str
) -> str:
    """gRPC's service config as JSON.

    Args:
        retry: When calls are retried.
        services: Services all of whose methods are.
        methods: Pairs of a service and a method that are, too.
        load_balancing: How calls are spread over addresses: "round_robin" or "pick_first".
    """
    config: dict[str, Any] = {"loadBalancingConfig": [{load_balancing: {}}]}
    if retry is not None:
        names = [{"service": service} for service in services]
        names += [{"service": service, "method": method} for service, method in methods]
        config["methodConfig"] = [
            {
                "name": names,
                "retryPolicy": {
                    "maxAttempts": retry.attempts,
                    "initialBackoff": f"{retry.first_backoff:.9f}s",
                    "maxBackoff": f"{retry.longest_backoff:.9f}s",
                    "backoffMultiplier": retry.multiplier,
                    # A server that goes away cancels what it has begun; a call that its caller cancels is never made again.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ]
        config["retryThrottling"] = {"maxTokens": retry.tokens, "tokenRatio": retry.token_ratio}
    return json.dumps(config)


def channel_options(
    where: Address,
    *,
    config: str,
    retries: bool,
    authority: str | None,
    encrypted: bool,
    keepalive_seconds: float | None,
) -> list[tuple[str, Any]]:
    """The arguments of a gRPC channel.

    Args:
        where: Where it leads.
        config: Its service config.
        retries: Whether there are any.
        authority: The name the server is addressed and verified by, instead of the target's.
        encrypted: Whether TLS is used.
        keepalive_seconds: How often the connection is tested during a call; None for never.

    Raises:
        ValueError: It needs an authority or the keepalive is shorter than servers accept.
    """
    if encrypted and where.several and authority is None:
        raise ValueError("with TLS and several addresses, authority=NAME must say which name the certificates are for")
    options: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.service_config", config),
        ("grpc.enable_retries", int(retries)),
        # The client's word counts, not what a DNS record might say.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
        ("grpc.primary_user_agent", "parlance"),
    ]
    if keepalive_seconds is not None:
        if keepalive_seconds <= 0:
            raise ValueError(f"keepalive_seconds must be above 0, or None for no keepalive; got {keepalive_seconds}")
        options += [
            ("grpc.keepalive_time_ms", round(keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ]
    if where.loopback:
        # A proxy for the way out of a company knows nothing of this machine's own servers.
        options.append(("grpc.enable_http_proxy", 0))
    if authority is not None:
        options.append(("grpc.default_authority", authority))
        if encrypted:
            options.append(("grpc.ssl_target_name_override", authority))
    return options


def _host_and_port(part: str) -> tuple[str, int]:
    host, separator, port = part.rpartition(":")
    if part.endswith("]") or not separator:
        host, port = part, str(DEFAULT_PORT)
    if ":" in host and not host.startswith("["):
        raise ValueError(f"an IPv6 address stands in brackets, as in [::1]:8500; got {part!r}")
    if not port.isdecimal() or not 0 < int(port) < 65536 or not host or "/" in host:
        raise ValueError(f"a server's address is host:port, got {part!r}")
    return host.strip("[]"), int(port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError:
        return []
    return [f"{_bracketed(str(entry[4][0]))}:{port}" for entry in found]
