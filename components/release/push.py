"""Puts a model into the folder TF Serving watches so that a version is either complete or not there at all.

A push copies into `<base>/.incoming-<version>`, writes every byte and name through to the disk, and renames that folder to
`<base>/<version>` as its last act. TF Serving takes only names that are numbers for versions, so a copy under way, or left behind
by a push that was killed, is nothing to it. One push (or rollout) at a time holds the lock file of the base folder; the lock dies with
its process, so whoever holds it knows that every `.incoming-*` folder is a dead push's, and clears it away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from components.errors import EnvironmentFailure, UsageError

MANIFEST = "manifest.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"

_INCOMING = ".incoming-"
_LOCK = ".push.lock"
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A released version.

    Attributes:
      version: The version's number, as text; the seconds since the epoch at its push, or the next number that is free.
      path: The version's folder.
    """

    version: str
    path: str


def push(
    model_dir: str | os.PathLike[str],
    base_dir: str | os.PathLike[str],
    manifest: Mapping[str, Any],
    warmup: bytes = b"",
    extra_files: Callable[[str], Mapping[str, bytes]] | None = None,
    lock_timeout: float = 600.0,
) -> Pushed:
    """Copies a SavedModel to a new version below a base folder.

    The new version is greater than every version there, also when the clock went backwards or two pushes share a second.

    Args:
      model_dir: The SavedModel; it is not touched.
      base_dir: The folder of all versions; created if missing.
      manifest: What is known about the model (run, pipeline, metrics, ...); `manifest.json` in the version adds `version`,
        `pushed_at` and the SHA-256 and size of each file.
      warmup: Content of the file of warm-up requests; none if empty.
      extra_files: Makes further files of the version, content by name, once its number is known.
      lock_timeout: Seconds to wait for another push to the same base folder.

    Raises:
      UsageError: `model_dir` is not a SavedModel.
      EnvironmentFailure: The disk is full, the folder cannot be written, or another push does not end.
    """
    source, base = pathlib.Path(model_dir), pathlib.Path(base_dir)
    if not (source / "saved_model.pb").is_file():
        raise UsageError(f"Only a SavedModel can be pushed, a folder with saved_model.pb in it; received {source}")
    try:
        base.mkdir(parents=True, exist_ok=True)
        with locked(base, lock_timeout):
            _clear_dead_pushes(base)
            version = _next_version(base)
            incoming = base / f"{_INCOMING}{version}"
            try:
                more = {**({WARMUP: warmup} if warmup else {}), **(extra_files(version) if extra_files else {})}
                _fill(incoming, source, manifest, more, version)
                os.rename(incoming, base / version)
            except BaseException:
                shutil.rmtree(incoming, ignore_errors=True)
                raise
            sync(base)
    except OSError as error:
        raise EnvironmentFailure(
            f"Pushing a model needs space and write access in {base}; the system says: {error}. "
            "No version was added; free space or fix the permissions, then run again"
        ) from error
    return Pushed(version=version, path=str(base / version))


def verify(version_dir: str | os.PathLike[str]) -> list[str]:
    """Compares a version with its manifest and returns what differs, a line per file; empty if it is intact."""
    folder = pathlib.Path(version_dir)
    try:
        expected = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{MANIFEST}: missing or unreadable ({type(error).__name__})"]
    present = {name for name in _files(folder) if name != MANIFEST}
    problems = [f"{name}: not in the manifest" for name in present - expected.keys()]
    problems += [f"{name}: missing" for name in expected.keys() - present]
    for name in present & expected.keys():
        with open(folder / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected[name]["sha256"]:
                problems.append(f"{name}: changed since the push")
    return sorted(problems)


@contextlib.contextmanager
def locked(base: pathlib.Path, timeout: float) -> Iterator[None]:
    """Keeps every other push and rollout out of a base folder within a block.

    Raises:
      EnvironmentFailure: Another one does not end within `timeout` seconds.
      OSError: The folder is missing or cannot be written.
    """
    deadline = time.monotonic() + timeout
    # Opened for writing, because NFS refuses an exclusive lock on anything else.
    with open(base / _LOCK, "wb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() >= deadline:
                    raise EnvironmentFailure(
                        f"Only one push at a time can write to {base}; another, or a rollout, has held {_LOCK} for "
                        f"{timeout:g} seconds. "
                        "Wait for it or end it, then run again"
                    ) from error
            time.sleep(0.05)
        yield


def _clear_dead_pushes(base: pathlib.Path) -> None:
    for leftover in base.glob(f"{_INCOMING}*"):
        shutil.rmtree(leftover)


def _next_version(base: pathlib.Path) -> str:
    taken = [int(entry.name) for entry in base.iterdir() if entry.name.isdecimal()]
    return str(max(int(time.time()), max(taken, default=0) + 1))


def _fill(
    incoming: pathlib.Path, source: pathlib.Path, manifest: Mapping[str, Any], more: Mapping[str, bytes], version: str
) -> None:
    """Writes a version's files, then its manifest, all the way to the disk."""
    files = {}
    for name in _files(source):
        with open(source / name, "rb") as file:
            files[name] = _write(incoming / name, iter(functools.partial(file.read, _CHUNK), b""))
    for name, content in more.items():
        files[name] = _write(incoming / name, [content])
    described = {**manifest, "version": version, "pushed_at": int(time.time()), "files": files}
    _write(incoming / MANIFEST, [json.dumps(described, ensure_ascii=False, indent=1).encode()])
    for folder, _, _ in os.walk(incoming):
        sync(folder)


def _files(folder: pathlib.Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _write(path: pathlib.Path, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Writes a file through to the disk and returns its checksum and size for the manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "bytes": size}


def sync(folder: str | os.PathLike[str]) -> None:
    """Makes the names in a folder durable; without it a crash of the machine may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
