"""Release folders for tests of rollouts: versions that a runtime without TensorFlow can load, and servers that do."""

from __future__ import annotations

import contextlib
import itertools
import pathlib

from components.release import push as push_module
from components.release.release_folder import ReleaseFolder
from serving.server import server as server_module
from serving.server.flags import parse_flags
from serving.server.server import ModelServer
from tests.serving.conformance.servers import free_port
from tests.serving.server.fakes import FakeRuntime

_names = itertools.count()


def release(root: pathlib.Path, factor: object = 2, model: str = "intents", **manifest) -> int:
    """Pushes a version that multiplies by a factor, or cannot be loaded if that is no number; returns its number."""
    made = root / f"made-{next(_names)}"
    made.mkdir(parents=True)
    (made / "saved_model.pb").write_bytes(b"graph")
    (made / "factor").write_text(str(factor))
    return int(push_module.push(made, root / "serving" / model, manifest).version)


def folder(root: pathlib.Path) -> ReleaseFolder:
    """The folder of what `release` released."""
    return ReleaseFolder(root / "serving")


@contextlib.contextmanager
def serving(root: pathlib.Path, monkeypatch):
    """A server of everything below a root, as `parlance serve` runs it, in this process and twenty times as quick to look."""
    from pipeline import serve

    monkeypatch.setattr(server_module, "_CONFIG_POLL_SECONDS", 0.05)
    flags = (
        f"--port={free_port()}",
        "--model_base_path=/unused",
        "--allow_version_labels_for_unavailable_models",
        "--max_num_load_retries=0",
        "--num_load_threads=2",
    )
    options, _ = parse_flags(flags)
    server = ModelServer(options, FakeRuntime(), read_model_config=lambda: serve.model_config((root / "serving").resolve()))
    server.start()
    try:
        yield server
    finally:
        server.stop(1.0)
