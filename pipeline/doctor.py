"""`parlance doctor`: what a run needs, whether it is there, and how to get it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement

_PROJECT = pathlib.Path(__file__).resolve().parent.parent
_LOCK = _PROJECT / "requirements" / "lock.txt"
# A run of the default pipeline writes about 60 MiB; scratch files of Beam and TensorFlow may need as much again.
_MIN_FREE_MIB = 512
_MIN_MEMORY_MIB = 3072


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing a run needs.

    Attributes:
      name: What was looked at.
      ok: Whether it will do.
      found: What is there.
      fix: How to get it, if it will not do.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""

    def line(self) -> str:
        """Returns the check as one line of text."""
        return f"{'ok  ' if self.ok else 'MISS'}  {self.name:<14} {self.found}" + (
            f"\n      fix: {self.fix}" if not self.ok else ""
        )

    def to_json(self) -> dict[str, object]:
        """Returns the check as plain JSON values."""
        return dataclasses.asdict(self)


def examine(directory: pathlib.Path) -> list[Check]:
    """Looks at this machine and environment.

    Args:
      directory: Where runs will be started; their root is made there.
    """
    return [_python(), _c_runtime(), *_packages(), _writable(directory), _disk(directory), _memory()]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(
        "python",
        (3, 11) <= sys.version_info[:2] <= (3, 13) and sys.platform == "linux" and platform.machine() == "x86_64",
        f"{version} on {platform.system()} {platform.machine()} at {sys.executable}",
        "TFX 1.21 runs on Python 3.11, 3.12 and 3.13, Linux, x86_64",
    )


def _c_runtime() -> Check:
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    private = " (private, in .runtime)" if (_PROJECT / ".runtime" / "complete").exists() else ""
    return Check(
        "c runtime",
        name == "glibc" and numbers >= (2, 38),
        f"{name} {version}{private}",
        "run `make setup`, which gives .venv a newer one",
    )


def _packages() -> Iterator[Check]:
    expected = _locked_versions()
    main = ("tfx", "tensorflow", "tensorflow-data-validation", "tensorflow-transform", "tensorflow-model-analysis",
            "apache-beam", "ml-metadata", "keras", "kfp", "kfp-kubernetes")  # fmt: skip
    for name in main:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, "not installed", "run `make setup`")
            continue
        locked = expected.get(name)
        same = locked in (None, version)
        yield Check(name, same, version if same else f"{version}, locked is {locked}", "run `make setup`")
    wrong = [name for name, version in expected.items() if _other_version(name, version)]
    yield Check(
        "other packages",
        not wrong,
        f"{len(expected)} locked" if not wrong else f"not as locked: {', '.join(wrong[:8])}" + (" ..." if len(wrong) > 8 else ""),
        "run `make setup`",
    )


def _locked_versions() -> dict[str, str]:
    """The versions the lock wants on this Python, by package."""
    lines = _LOCK.read_text(encoding="utf-8").splitlines() if _LOCK.exists() else []
    requirements = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalpha()]
    return {
        requirement.name: next(iter(requirement.specifier)).version
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def _other_version(name: str, locked: str) -> bool:
    """Says whether a package is installed in another version than the lock's; one for other platforms may be absent."""
    try:
        return importlib.metadata.version(name) != locked
    except importlib.metadata.PackageNotFoundError:
        return False


def _writable(directory: pathlib.Path) -> Check:
    return Check("directory", os.access(directory, os.W_OK), f"{directory} is {'' if os.access(directory, os.W_OK) else 'not '}writable",
                 "start runs where you may write, or name a root with --root")  # fmt: skip


def _disk(directory: pathlib.Path) -> Check:
    free = shutil.disk_usage(directory).free // 2**20
    return Check(
        "disk",
        free >= _MIN_FREE_MIB,
        f"{free:,} MiB free",
        f"a run needs about {_MIN_FREE_MIB} MiB; choose another disk with --root",
    )


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return Check(
        "memory",
        total >= _MIN_MEMORY_MIB,
        f"{total:,} MiB, {os.cpu_count()} cores",
        f"training needs about {_MIN_MEMORY_MIB} MiB",
    )
