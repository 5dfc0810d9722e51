"""Finds the versions of models on disk.

    source = VersionSource()
    for model, versions in source.poll(models).items():      # {"intents": {3: "/models/intents/3"}}
        lifecycle.aspire(model, versions)

A version is a child of the base path whose name is a number, with or without leading zeros; anything else is not looked at, so a
copy under another name is invisible until it is renamed. Whether a version is complete shows when it is loaded.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence

from serving.server.config import ModelSettings

_NUMBER = re.compile(r"[+-]?[0-9]+")
_INT64 = range(-(2**63), 2**63)

logger = logging.getLogger(__name__)


class VersionSource:
    """Looks for versions. Says in the log what is wrong when it changes, not at every poll.

    Not thread-safe: one thread polls.
    """

    def __init__(self, list_directory: Callable[[str], Iterable[str]] = os.listdir):
        """A source that reads directories with a function that returns the names in one, or raises OSError."""
        self._list_directory = list_directory
        self._said: dict[str, str] = {}

    def poll(self, models: Sequence[ModelSettings]) -> dict[str, dict[int, str]]:
        """The wanted versions of each model: paths by version by model.

        A base path that cannot be read ends the whole poll without a result, for all models: upstream does so too, and a share that
        is away for a moment must not unload anything. One that can be read but holds no wanted version unloads its model.

        Returns:
            Every model with its versions (none, too), or nothing at all where a base path cannot be read.
        """
        found: dict[str, dict[int, str]] = {}
        for model in models:
            try:
                children = self._children(model)
            except OSError as error:
                self._say(
                    "",
                    "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path "
                    f"{model.base_path} for servable {model.name} with error {error.strerror or error}",
                    logging.ERROR,
                )
                return {}
            wanted = model.policy.wanted(list(children))
            found[model.name] = {version: os.path.join(model.base_path, children[version]) for version in wanted}
            self._say(model.name, _complaint(model, wanted), logging.WARNING)
        self._say("", "", logging.ERROR)
        return found

    def _children(self, model: ModelSettings) -> dict[int, str]:
        """The children of a base path that are versions, by number."""
        children: dict[int, str] = {}
        for child in sorted(self._list_directory(model.base_path)):
            if not _NUMBER.fullmatch(child) or int(child) not in _INT64:
                continue
            number = int(child)
            if number in children:
                self._say(
                    f"{model.name} {number}",
                    f"Duplicate version directories detected. Version {number} will be loaded from {child}, "
                    f"{children[number]} will be ignored.",
                    logging.WARNING,
                )
            children[number] = child
        return children

    def _say(self, about: str, message: str, level: int) -> None:
        """Logs a message that differs from the last one about the same thing; "" for nothing to say any more."""
        if message and self._said.get(about) != message:
            logger.log(level, "%s", message)
        self._said[about] = message


def _complaint(model: ModelSettings, wanted: Sequence[int]) -> str:
    missing = sorted((model.policy.specific or frozenset()) - set(wanted))
    if missing:
        versions = ", ".join(map(str, missing))
        return (
            f"Version {versions} of servable {model.name}, which was requested to be served as a 'specific' version in the "
            "servable's version policy, was not found in the file system"
        )
    if not wanted:
        return (
            f"No versions of servable {model.name} found under base path {model.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return ""
