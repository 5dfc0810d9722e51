"""Clients of the three kinds, connected to a fake server."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import threading

import pytest

from serving.client import AsyncClient, Client, RestClient
from tests.serving.client import fake_server


class Awaited:
    """An AsyncClient whose methods wait for their results, so that the same tests run on it."""

    def __init__(self, client, loop):
        self._client = client
        self._loop = loop

    def __getattr__(self, name):
        def call(*arguments, **settings):
            method = getattr(self._client, name)
            return asyncio.run_coroutine_threadsafe(_of(method, arguments, settings), self._loop).result(30)

        return call


async def _of(method, arguments, settings):
    return await method(*arguments, **settings)


@pytest.fixture(scope="session")
def event_loop_thread():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def server():
    """The state of the fake server."""
    return fake_server.FakeServer()


@pytest.fixture
def grpc_port(server):
    with fake_server.grpc_server(server) as port:
        yield port


@pytest.fixture
def rest():
    return fake_server.RestState()


@pytest.fixture
def rest_port(server, rest):
    with fake_server.rest_server(server, rest) as port:
        yield port


@pytest.fixture
def make_client(request, event_loop_thread):
    """Makes a client of a kind, "sync", "asyncio" or "rest", and closes it after the test."""
    made = []

    def make(kind, target=None, **settings):
        if kind == "rest":
            target = target or f"127.0.0.1:{request.getfixturevalue('rest_port')}"
        else:
            target = target or f"127.0.0.1:{request.getfixturevalue('grpc_port')}"
        if kind == "asyncio":
            made.append(Awaited(AsyncClient(target, **settings), event_loop_thread))
        else:
            made.append({"sync": Client, "rest": RestClient}[kind](target, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture(params=["sync", "asyncio", "rest"])
def connect(request, make_client):
    """Connects a client of each kind with settings that all have."""
    return lambda **settings: make_client(request.param, **settings)


@pytest.fixture(params=["sync", "asyncio"])
def connect_grpc(request, make_client):
    """Connects a client of each kind that speaks gRPC."""
    return lambda *target, **settings: make_client(request.param, *target, **settings)


@pytest.fixture(scope="session")
def certificates():
    """PEM bytes: an authority, and certificates for a server called models.example and for a client, each with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def pem(key):
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def issue(name, issuer, issuer_key, authority=False):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = [x509.DNSName(name)]
            if name == "localhost":
                names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(issuer_key or key, hashes.SHA256())
        return certificate, key, certificate.public_bytes(serialization.Encoding.PEM), pem(key)

    authority, authority_key, authority_pem, _ = issue("Test authority", None, None, authority=True)
    made = {"ca": authority_pem}
    for name in ("models.example", "localhost", "client"):
        _, _, made[name], made[f"{name} key"] = issue(name, authority.subject, authority_key)
    return made
