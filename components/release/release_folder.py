"""The folder of all released models, as servers read it: a folder of versions for each model, and models.config.

    folder = ReleaseFolder(root / "serving")
    with folder.locked("intents"):
        folder.write(models)              # models.config, the old file or the new one, never half of it
    folder.versions("intents")            # [Version(1763751234, ...), ...]

A model that models.config does not list is served in its newest version, and so is every model where there is no such file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.errors import EnvironmentFailure, UsageError
from components.release import push
from components.release.audit import AuditTrail
from serving import model_config
from serving.messages import ModelServerConfig
from serving.server import config as server_config
from serving.server.config import ModelSettings
from serving.server.errors import ServingError, StatusCode

CONFIG = "models.config"
TRAIL = "releases.jsonl"
# A push takes seconds, a rollout waits for servers.
LOCK_TIMEOUT = 600.0

_DELETED = ".deleted-"


@dataclasses.dataclass(frozen=True)
class Version:
    """A version on disk.

    Attributes:
      number: Its number.
      path: Its folder.
      manifest: What its push wrote; empty if that cannot be read.
      problems: How it differs from its manifest, a line per file; empty if it is intact, None if nobody looked.
    """

    number: int
    path: pathlib.Path
    manifest: Mapping[str, Any]
    problems: Sequence[str] | None = None


def released_models(folder: pathlib.Path) -> list[str]:
    """The names of the folders that hold at least one version, sorted."""
    if not folder.is_dir():
        return []
    return sorted(model.name for model in folder.iterdir() if model.is_dir() and _numbers(model))


class ReleaseFolder:
    """A folder of released models.

    Attributes:
      path: The folder, absolute.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path).resolve()

    @property
    def config(self) -> pathlib.Path:
        """The model config file; it may be missing."""
        return self.path / CONFIG

    def model(self, name: str | None) -> str:
        """Returns the name of a released model; without a name that of the only one.

        Raises:
          UsageError: There is no such model, or there are several and none is named.
        """
        names = released_models(self.path)
        if name in names:
            return str(name)
        listed = ", ".join(names)
        if name is None and len(names) == 1:
            return names[0]
        if not names:
            raise UsageError(f"There is no released model in {self.path}/<name>/<version>; `parlance run` releases one")
        if name is None:
            raise UsageError(f"Several models are released in {self.path}, so name one with --model: {listed}")
        raise UsageError(f"There is no released model {name!r} in {self.path}. Models: {listed}")

    def trail(self, model: str) -> AuditTrail:
        """The audit trail of a model."""
        return AuditTrail(self.path / model / TRAIL)

    def numbers(self, model: str) -> list[int]:
        """The numbers of the versions of a model, ascending."""
        return _numbers(self.path / model)

    def version(self, model: str, number: int, *, verify: bool = False) -> Version:
        """Returns one version.

        Args:
          model: The model's name.
          number: The version's number.
          verify: Compare every file with the manifest.
        """
        path = self.path / model / str(number)
        try:
            manifest = json.loads((path / push.MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            manifest = {}
        return Version(number, path, manifest if isinstance(manifest, dict) else {}, push.verify(path) if verify else None)

    @contextlib.contextmanager
    def locked(self, model: str, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
        """Keeps every other rollout out of the folder, and every push out of the model's, within a block.

        Raises:
          EnvironmentFailure: Another one does not end, or a folder cannot be written.
        """
        try:
            with push.locked(self.path, timeout), push.locked(self.path / model, timeout):
                yield
        except OSError as error:
            raise EnvironmentFailure(f"A rollout needs write access in {self.path}; the system says: {error}") from error

    def text(self) -> str | None:
        """The content of the config file; None if there is none.

        Raises:
          OSError: It cannot be read.
        """
        try:
            return self.config.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def served(self) -> list[ModelSettings]:
        """What servers are told to serve: the models that the config file lists, and the others in their newest version.

        Raises:
          UsageError: The file is wrong.
        """
        listed = self.listed()
        names = {model.name for model in listed}
        others = [name for name in released_models(self.path) if name not in names]
        return [*listed, *(ModelSettings(name, str(self.path / name)) for name in others)]

    def listed(self) -> list[ModelSettings]:
        """The models that the config file lists.

        Raises:
          UsageError: The file is wrong.
        """
        try:
            return server_config.model_settings(server_config.read_text_proto(self.config, ModelServerConfig))
        except ServingError as error:
            if error.code == StatusCode.NOT_FOUND:
                return []
            raise UsageError(f"{self.config} is no model config file: {error.message}. Correct it, or delete it") from error

    def write(self, models: Sequence[ModelSettings]) -> str:
        """Writes the config file through to the disk, all at once; returns the hash of its content.

        Raises:
          OSError: It cannot be written.
        """
        content = model_config.model_config(models).encode()
        temporary = self.path / f".{CONFIG}.{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.config)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        push.sync(self.path)
        return hashlib.sha256(content).hexdigest()

    def remove_config(self) -> None:
        """Deletes the config file: every model is served in its newest version again."""
        self.config.unlink(missing_ok=True)
        push.sync(self.path)

    def delete(self, model: str, number: int) -> None:
        """Deletes a version. Servers see it whole or not at all: it loses its number before it loses a file.

        Raises:
          OSError: It cannot be deleted.
        """
        base = self.path / model
        doomed = base / f"{_DELETED}{number}"
        os.rename(base / str(number), doomed)
        push.sync(base)
        shutil.rmtree(doomed)

    def clear_deleted(self, model: str) -> None:
        """Clears away what a deletion left that was killed; for holders of the lock."""
        for leftover in (self.path / model).glob(f"{_DELETED}*"):
            shutil.rmtree(leftover)


def _numbers(base: pathlib.Path) -> list[int]:
    return sorted(int(child.name) for child in base.iterdir() if child.name.isdecimal() and child.is_dir())
