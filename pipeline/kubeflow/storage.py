"""Artifacts on object storage, for components that read and write folders.

Components use the file system. Where the pipeline root is not on one (gs://), a step copies what a node reads into a folder of its
own, runs the node there, and copies what it wrote to where ML Metadata says it is. A root on a mounted volume needs none of this.
"""

from __future__ import annotations

import fnmatch
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tfx.dsl.io import fileio

# What KFP's own artifacts and a person's eyes need of an output; models and rows are fetched by nodes only.
SHOWN_FILES = ("*.json", "FeatureStats.pb", "SchemaDiff.pb", "*.pbtxt")

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://+")


def is_remote(uri: str) -> bool:
    """Says whether a path is on object storage."""
    return _SCHEME.match(uri) is not None


class Staging:
    """A folder that stands for object storage while a step runs."""

    def __init__(self, folder: str | os.PathLike[str]):
        self._folder = pathlib.Path(folder)
        self._remote_of: dict[str, str] = {}

    def local(self, uri: str) -> str:
        """Returns where a remote path is in the folder; a path that is not remote is its own place. Copies nothing."""
        scheme = _SCHEME.match(uri)
        if scheme is None:
            return uri
        path = str(self._folder / scheme[1] / uri[scheme.end() :].rstrip("/"))
        self._remote_of[path] = uri.rstrip("/")
        return path

    def remote(self, text: str) -> str:
        """Returns a text with the beginning of a staged path replaced by the remote path it stands for."""
        for local, uri in self._remote_of.items():
            if text == local or text.startswith(local + "/"):
                return uri + text[len(local) :]
        return text

    def down(self, uri: str, only: Sequence[str] = ("*",)) -> str:
        """Copies what is at a remote path into the folder.

        Args:
          uri: A file or a folder; a path that is not remote is left alone.
          only: Patterns of names of files.

        Returns:
          Where it is now.
        """
        path = self.local(uri)
        if path != uri and fileio.exists(uri):
            for source in _files(uri):
                if any(fnmatch.fnmatch(source.rpartition("/")[2], pattern) for pattern in only):
                    target = path + source[len(uri.rstrip("/")) :]
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    fileio.copy(source, target, overwrite=True)
        return path

    def up(self, uri: str) -> None:
        """Replaces what is at a remote path by what is in the folder for it; does nothing for a path that is not remote."""
        path = self.local(uri)
        if path == uri or not os.path.exists(path):
            return
        clear([uri])
        if os.path.isfile(path):
            fileio.copy(path, uri)
            return
        for folder, _, names in os.walk(path):
            target = uri.rstrip("/") + folder[len(path) :]
            fileio.makedirs(target)
            for name in names:
                fileio.copy(os.path.join(folder, name), f"{target}/{name}")

    def take_in(self, invocation: Any) -> None:
        """Makes an executor work on local copies.

        Args:
          invocation: TFX's ExecutionInvocation, changed in place: what it reads is copied down, and all its paths are local ones.
        """
        for artifact in _artifacts(invocation.input_dict):
            artifact.uri = self.down(artifact.uri)
        for artifact in _artifacts(invocation.output_dict):
            artifact.uri = self.local(artifact.uri)
            os.makedirs(artifact.uri, exist_ok=True)
        for field in ("tmp_dir", "stateful_working_dir"):
            # Executors append names to it, some without a slash of their own.
            folder = os.path.join(self.local(getattr(invocation, field)), "")
            os.makedirs(folder, exist_ok=True)
            setattr(invocation, field, folder)
        invocation.output_metadata_uri = self.local(invocation.output_metadata_uri)
        os.makedirs(os.path.dirname(invocation.output_metadata_uri), exist_ok=True)

    def bring_out(self, output: Any) -> None:
        """Copies what an executor wrote to where it belongs.

        Args:
          output: Its ExecutorOutput, changed in place: all paths in it are remote again.
        """
        for artifacts in output.output_artifacts.values():
            for artifact in artifacts.artifacts:
                artifact.uri = self.remote(artifact.uri)
                self.up(artifact.uri)
                for value in artifact.custom_properties.values():
                    if value.WhichOneof("value") == "string_value":
                        value.string_value = self.remote(value.string_value)


def clear(paths: Sequence[str]) -> None:
    """Removes files, and folders with what is in them, remote ones too; those that do not exist are fine."""
    for path in paths:
        if fileio.isdir(path):
            fileio.rmtree(path)
        elif fileio.exists(path):
            fileio.remove(path)


def _files(uri: str) -> Iterator[str]:
    """All files at a path; objects that only mark a folder have no name of their own and are left out."""
    if not fileio.isdir(uri):
        yield uri
        return
    for folder, _, names in fileio.walk(uri.rstrip("/")):
        for name in names:
            if name and not name.endswith("/"):
                yield f"{folder.rstrip('/')}/{name}"


def _artifacts(by_channel: Any) -> Iterator[Any]:
    for artifacts in by_channel.values():
        for element in artifacts.elements:
            yield element.artifact.artifact
