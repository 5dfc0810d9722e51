"""What ran and how long."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.reporting.formats import count, number

SUMMARY_VALUES = 5


@dataclasses.dataclass(frozen=True)
class NodeBar:
    """One node of the timeline.

    Attributes:
      node: Its id.
      state: complete, cached, failed or skipped.
      seconds: How long it took.
      start: Where its bar begins, in percent of all nodes' time.
      width: How long its bar is, in percent of all nodes' time.
      summary: Its key numbers.
    """

    node: str
    state: str
    seconds: float
    start: float
    width: float
    summary: str


def bars(nodes: list[Mapping[str, Any]]) -> list[NodeBar]:
    """Returns the bars of a run's nodes, laid end to end in the order of the record."""
    total = sum(node["seconds"] for node in nodes) or 1.0
    placed, elapsed = [], 0.0
    for node in nodes:
        placed.append(
            NodeBar(
                node=node["id"],
                state=node["state"],
                seconds=node["seconds"],
                start=round(100 * elapsed / total, 2),
                width=round(100 * node["seconds"] / total, 2),
                summary=_summary(node.get("summary") or {}),
            )
        )
        elapsed += node["seconds"]
    return placed


def _summary(values: Mapping[str, Any]) -> str:
    scalars = [(name, value) for name, value in values.items() if isinstance(value, str | int | float)]
    return ", ".join(f"{name.replace('_', ' ')} {_scalar(value)}" for name, value in scalars[:SUMMARY_VALUES])


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return count(value) if isinstance(value, int) else number(value)
