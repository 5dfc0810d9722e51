"""The servers that the conformance tests run against.

Ours is always tested. Where the environment variable PARLANCE_MODEL_SERVER names a tensorflow_model_server binary, the same tests run
against it too, except the few that ask for the fixture `embedded_only`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from tests.serving.conformance.servers import EMBEDDED, ServerProcess, model_config

BINARY = os.environ.get("PARLANCE_MODEL_SERVER", "")


@pytest.fixture(scope="session", params=["embedded", *(["tensorflow_model_server"] if BINARY else [])])
def command(request):
    """The server's command: ours, and the real one where there is one."""
    return EMBEDDED if request.param == "embedded" else (BINARY,)


@pytest.fixture
def embedded_only(command):
    """For tests of what only the embedded server promises."""
    if command != EMBEDDED:
        pytest.skip("only the embedded server promises this")


@pytest.fixture
def serve(command, tmp_path) -> Iterator:
    """Starts a server with flags; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(*flags, wait=True, **named):
            server = ServerProcess(command, tmp_path, *flags, **named)
            stack.callback(server.close)
            return server.wait() if wait else server

        yield start


@pytest.fixture(scope="session")
def server(command, saved_models, tmp_path_factory) -> Iterator[ServerProcess]:
    """A server of all exported models, with metrics, health checks and REST. Tests leave its models as they are."""
    folder = tmp_path_factory.mktemp("server")
    config = folder / "models.config"
    names = sorted(path.name for path in saved_models.iterdir() if path.is_dir())
    config.write_text(model_config({name: saved_models / name for name in names}))
    monitoring = folder / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    started = ServerProcess(
        command,
        folder,
        "--enable_grpc_healthcheck_service",
        model_config_file=config,
        monitoring_config_file=monitoring,
        rest_api_timeout_in_ms=20000,
    )
    try:
        yield started.wait()
    finally:
        started.close()


@pytest.fixture
def client(server):
    """A client of the shared server."""
    return server.client


@pytest.fixture
def push(saved_models, tmp_path):
    """Pushes an exported model as a version, all at once; returns the base path."""

    def by_name(model, version, base="model", warm_up=b""):
        made = tmp_path / f"pushing-{model}-{version}"
        shutil.copytree(saved_models / model / "1", made)
        if warm_up:
            (made / "assets.extra").mkdir()
            (made / "assets.extra" / "tf_serving_warmup_requests").write_bytes(warm_up)
        target = tmp_path / base
        target.mkdir(exist_ok=True)
        made.rename(target / str(version))
        return target

    return by_name
