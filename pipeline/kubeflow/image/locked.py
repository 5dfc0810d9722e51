"""Prints the entries of some packages in a lock file, with their hashes.

    python locked.py requirements/lock.txt setuptools wheel > builders.txt

Runs while the image is built, before anything is installed.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Sequence

_ENTRY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")


def entries(lock: str, names: Sequence[str]) -> str:
    """Returns the lock's entries of packages.

    Args:
      lock: Content of the lock file, one entry after another, hashes on lines of their own.
      names: Names of packages as the lock spells them.

    Raises:
      KeyError: The lock does not hold one of them.
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines():
        if match := _ENTRY.match(line):
            current = found.setdefault(match[1], [])
        current.append(line)
    if missing := [name for name in names if name not in found]:
        raise KeyError(f"the lock has no {', '.join(missing)}")
    return "".join(f"{line}\n" for name in names for line in found[name])


if __name__ == "__main__":
    sys.stdout.write(entries(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2:]))
