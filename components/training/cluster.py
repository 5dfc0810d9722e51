"""The machines that train one model together, as TF_CONFIG names them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from components.errors import UsageError

VARIABLE = "TF_CONFIG"

_EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A member's view of the machines.

    Attributes:
      members: How many there are.
      index: Which of them this one is; member 0 is the chief, who writes the model.
    """

    members: int
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this member writes what comes of the training."""
        return self.index == 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Cluster:
        """Reads TF_CONFIG, which names a chief and workers, or workers alone, of which the first is the chief.

        Raises:
          UsageError: It is missing or does not say who takes part.
        """
        text = environment.get(VARIABLE)
        if not text:
            raise UsageError(f"Training on several machines needs the variable {VARIABLE} on each of them, e.g. {_EXAMPLE}")
        try:
            config = json.loads(text)
            members = {kind: len(addresses) for kind, addresses in config["cluster"].items()}
            kind, index = config["task"]["type"], config["task"]["index"]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{VARIABLE} does not name a cluster and a task; received {text!r}, write e.g. {_EXAMPLE}"
            ) from error
        if unknown := members.keys() - {"chief", "worker"}:
            raise UsageError(
                f"{VARIABLE}: every member does the same work, so a cluster has `chief` and `worker` only; received {sorted(unknown)}"
            )
        if members.get("chief", 0) > 1:
            raise UsageError(f"{VARIABLE}: a cluster has one chief; received {members['chief']}")
        if not _is_place(members, kind, index):
            raise UsageError(f"{VARIABLE}: the task {kind!r} {index!r} is not in the cluster, which has {members}")
        first = members.get("chief", 0) if kind == "worker" else 0
        return cls(sum(members.values()), first + index)


def _is_place(members: Mapping[str, int], kind: Any, index: Any) -> bool:
    return isinstance(kind, str) and isinstance(index, int) and 0 <= index < members.get(kind, 0)
