"""Uninstalls what a distribution does not need.

    python prune.py parlance-tfx kubeflow

The lock holds the packages of every extra. What an image is for needs one of them, and the others, compilers and test tools among them,
would only be more to keep safe. pip goes last of all.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(root: str, extras: Iterable[str], requirements: Mapping[str, Sequence[str]]) -> set[str]:
    """Returns the distributions that one needs to run, itself among them.

    Args:
      root: Its name.
      extras: Which of its extras are wanted.
      requirements: What each installed distribution says it requires, by canonical name.
    """
    found: set[tuple[str, str]] = set()
    open_ = [(canonicalize_name(root), extra) for extra in ("", *extras)]
    while open_:
        name, extra = open_.pop()
        if (name, extra) in found or name not in requirements:
            continue
        found.add((name, extra))
        for requirement in map(Requirement, requirements[name]):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                open_ += [(canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return {name for name, _ in found}


def installed() -> dict[str, list[str]]:
    """Returns what each installed distribution says it requires, by canonical name."""
    return {
        canonicalize_name(distribution.metadata["Name"]): list(distribution.requires or ())
        for distribution in importlib.metadata.distributions()
    }


def main(arguments: Sequence[str]) -> int:
    """Uninstalls; returns pip's exit code."""
    root, *extras = arguments
    requirements = installed()
    if canonicalize_name(root) not in requirements:
        sys.stderr.write(f"prune: {root} is not installed, so nobody knows what it needs\n")
        return 2
    surplus = sorted(requirements.keys() - needed(root, extras, requirements) - {"pip"})
    sys.stdout.write(f"prune: {len(surplus)} distributions: {', '.join(surplus)}\n")
    return subprocess.run([sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", *surplus, "pip"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
