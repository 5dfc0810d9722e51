"""Files that detectors are made from, named in a pipeline file: which one it was is part of what a run did."""

from __future__ import annotations

import hashlib
import os
import pathlib
from typing import Any

from pydantic import model_validator

from components.errors import UsageError
from components.options import Options

# Of a SavedModel; what an exporter puts beside it (warm-up requests, rules, cards) does not change what it answers.
MODEL_PARTS = ("saved_model.pb", "variables", "assets")


class DetectorFile(Options):
    """A file, or a SavedModel's folder. In a pipeline file the path alone is enough.

    Attributes:
      path: Relative to the working directory. Of a folder with numbered versions, the newest one.
      sha256: Hash of its content. Filled in where the file is there; a run that finds another content stops.
    """

    path: str
    sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict) or not isinstance(value.get("path"), str) or value.get("sha256") is not None:
            return value
        found = resolved(value["path"])
        return {"path": str(found), "sha256": content_hash(found)} if found.exists() else value

    def checked(self, setting: str, advice: str) -> pathlib.Path:
        """Returns where it is.

        Args:
          setting: Names it in the pipeline file.
          advice: Where one comes from.

        Raises:
          UsageError: It is not there, or is not what it was when the pipeline file was read.
        """
        found = resolved(self.path)
        if not found.exists():
            raise UsageError(f"{setting}: there is nothing at {self.path}. {advice}")
        if self.sha256 is not None and content_hash(found) != self.sha256:
            raise UsageError(f"{setting}: {self.path} has changed since the pipeline file was read. Start the run again")
        return found


def resolved(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the newest version in a folder of numbered ones, anything else as it is."""
    folder = pathlib.Path(path).expanduser()
    if folder.is_dir() and not (folder / MODEL_PARTS[0]).exists():
        versions = [entry for entry in folder.iterdir() if entry.name.isdecimal() and (entry / MODEL_PARTS[0]).exists()]
        if versions:
            return max(versions, key=lambda entry: int(entry.name))
    return folder


def content_hash(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file, or of the parts of a SavedModel that its answers depend on."""
    digest = hashlib.sha256()
    for name, file in _files(path):
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def copy(path: pathlib.Path, to: pathlib.Path) -> None:
    """Copies a file, or the parts of a SavedModel that it needs to run."""
    for name, file in _files(path):
        target = to / name if name else to
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())


def _files(path: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Files by their place below the path; "" for the path itself."""
    if path.is_file():
        return [("", path)]
    files = [file for part in MODEL_PARTS for file in sorted([path / part, *(path / part).rglob("*")]) if file.is_file()]
    return [(file.relative_to(path).as_posix(), file) for file in files]
