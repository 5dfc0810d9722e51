"""What a rollout changes: which version is `stable`, which is `canary`, and so which ones servers load. Plans only; nothing is written.

    change = canary(standing, 8)       # {"stable": 7, "canary": 7} -> {"stable": 7, "canary": 8}
    change = promote(standing)         # the canary becomes stable: {"stable": 8, "canary": 8}
    change = rollback(standing)        # the canary is given up; without one, stable goes back to what it was before

Servers load exactly the versions that have a label. A model without labels is one that nobody has rolled out yet: servers load its
newest version.

Where no canary is tried, the label `canary` points to the stable version. A server refuses requests for a label that does not exist, and
clients that send it a share of their requests cannot stop at the moment a canary ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.errors import UsageError
from components.release.audit import CANARY, STABLE
from serving.server.config import ModelSettings, VersionPolicy


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a model stands before a change.

    Attributes:
      served: What servers are told to serve of it.
      versions: The versions on disk, ascending.
      history: The versions that were stable, oldest first, the present one last; see `audit.stable_history`.
    """

    served: ModelSettings
    versions: Sequence[int]
    history: Sequence[int] = ()

    @property
    def stable(self) -> int | None:
        """The version with the label `stable`."""
        return self.served.labels.get(STABLE)

    @property
    def canary(self) -> int | None:
        """The version that is tried; None if there is none and the label `canary` points to the stable one or does not exist."""
        labelled = self.served.labels.get(CANARY)
        return None if labelled == self.stable else labelled

    @property
    def previous_stable(self) -> int | None:
        """The version that a rollback of `stable` returns to; None if there is none."""
        history = list(self.history)
        if self.stable in history:
            del history[len(history) - 1 - history[::-1].index(self.stable) :]
        return history[-1] if history else None


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of a model's labels.

    Attributes:
      action: canary, promote or rollback.
      version: The version that it is about: the new canary or stable one, or for a rollback the one that answers afterwards.
      before: What is served before.
      after: What is served afterwards.
    """

    action: str
    version: int
    before: ModelSettings
    after: ModelSettings

    @property
    def is_nothing(self) -> bool:
        """Whether things are so already."""
        return self.before == self.after


def canary(standing: Standing, version: int | None = None) -> Change:
    """Plans to give a version the label `canary`, beside the stable one.

    Args:
      standing: Where the model stands.
      version: The version; by default the newest one, if it is not stable.

    Raises:
      UsageError: There is no stable version to compare it with, no such version, or it is stable.
    """
    if standing.stable is None:
        raise UsageError(
            f"A canary needs a stable version beside it, and {standing.served.name} has none yet. "
            "Make one first: `parlance release promote VERSION`"
        )
    if version is None:
        version = standing.versions[-1] if standing.versions else standing.stable
        if version == standing.stable:
            raise UsageError(
                f"The newest version of {standing.served.name}, {version}, is stable already, so there is none to try"
            )
    _require_on_disk(standing, version)
    if version == standing.stable:
        raise UsageError(f"Version {version} of {standing.served.name} is stable, so it cannot be its own canary")
    return _change("canary", standing, version, {**standing.served.labels, CANARY: version})


def promote(standing: Standing, version: int | None = None) -> Change:
    """Plans to make a version stable.

    Args:
      standing: Where the model stands.
      version: The version; by default the canary, and the newest one where no version is stable yet.

    Raises:
      UsageError: There is no canary and no version is named, another version is the canary, or there is no such version.
    """
    name = standing.served.name
    if version is None:
        version = standing.canary
    if version is None and standing.stable is None and standing.versions:
        version = standing.versions[-1]
    if version is None:
        raise UsageError(
            f"{name} has no canary to promote. Start one with `parlance release canary`, or name the version: "
            f"{_listed(standing.versions)}"
        )
    if standing.canary not in (None, version):
        raise UsageError(
            f"The canary of {name} is version {standing.canary}, not {version}. Promote that one, or take it back first with "
            "`parlance release rollback`"
        )
    _require_on_disk(standing, version)
    return _change("promote", standing, version, {**standing.served.labels, STABLE: version, CANARY: version})


def rollback(standing: Standing, version: int | None = None) -> Change:
    """Plans to take the last step back: the canary is given up; without one, `stable` returns to the version before.

    Args:
      standing: Where the model stands.
      version: The earlier stable version that `stable` returns to, with or without a canary; by default as above.

    Raises:
      UsageError: There is nothing to take back, or the version was never stable or is not on disk any more.
    """
    name = standing.served.name
    if version is None and standing.canary is not None:
        if standing.stable is None:
            raise UsageError(
                f"{name} has a canary but no stable version to return to. Name one: `parlance release promote VERSION`"
            )
        return _change("rollback", standing, standing.stable, {**standing.served.labels, CANARY: standing.stable})
    if version is None:
        version = standing.previous_stable
        if version is None:
            raise UsageError(
                f"There is nothing to roll back: {name} has no canary, and no version was stable before "
                f"{standing.stable if standing.stable is not None else 'now'}"
            )
    elif version not in standing.history:
        raise UsageError(
            f"A rollback returns to a version that was stable; version {version} of {name} was not. "
            f"Those that were: {_listed(standing.history)}"
        )
    _require_on_disk(standing, version)
    return _change("rollback", standing, version, {**standing.served.labels, STABLE: version, CANARY: version})


def settings_to_json(settings: ModelSettings | None) -> dict[str, Any]:
    """Returns what is served of a model as plain JSON values; None stands for a model that models.config does not list."""
    if settings is None:
        return {"listed": False}
    specific = settings.policy.specific
    return {
        "listed": True,
        "base_path": settings.base_path,
        "latest": settings.policy.latest,
        "versions": None if specific is None else sorted(specific),
        "labels": dict(settings.labels),
    }


def settings_from_json(name: str, values: Mapping[str, Any]) -> ModelSettings | None:
    """Reads what `settings_to_json` wrote.

    Raises:
      KeyError: It is something else.
    """
    if not values["listed"]:
        return None
    versions = values["versions"]
    policy = VersionPolicy(values["latest"], None if versions is None else frozenset(versions))
    return ModelSettings(name, values["base_path"], policy, dict(values["labels"]))


def labels_text(labels: Mapping[str, int]) -> str:
    """Labels for people, who do not call the stable version a canary."""
    told = {label: version for label, version in labels.items() if label != CANARY or version != labels.get(STABLE)}
    return ", ".join(f"{label} {version}" for label, version in sorted(told.items(), reverse=True)) or "no labels"


def _change(action: str, standing: Standing, version: int, labels: Mapping[str, int]) -> Change:
    after = dataclasses.replace(standing.served, policy=VersionPolicy(0, frozenset(labels.values())), labels=dict(labels))
    return Change(action, version, standing.served, after)


def _require_on_disk(standing: Standing, version: int) -> None:
    if version not in standing.versions:
        raise UsageError(f"There is no version {version} in {standing.served.base_path}. Versions: {_listed(standing.versions)}")


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
