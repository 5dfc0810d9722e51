"""Reads the log of a step for what became of its node.

Kubeflow knows whether a container failed. Whether a model was blessed is no failure, so only the step says it: the last thing it
prints is its node's line, as the local runner shows it, and below it why, if there is something to explain.
"""

from __future__ import annotations

import dataclasses
import re

SUCCEEDED, REJECTED, FAILED = "succeeded", "rejected", "failed"

_NODE_LINE = re.compile(r"^  (?P<mark>[✓✗–]) (?P<node>\w+) +(?P<seconds>[0-9]+\.[0-9]) s(?:  (?P<note>.*))?$")
# Lines that are logged, not printed: ours, those of Kubeflow's launcher, those of Argo.
_LOGGED = re.compile(r"^(\d{4}-\d\d-\d\d[ T]|[IWEF]\d{4} |time=\"|\{\"?level)")
_REASON = re.compile(r"^(rejected|failed): ")
# What a step's key numbers say where its answer is no and it has worked all the same: the evaluator, the smoke test before a release.
_SAID_NO = re.compile(r"(^|, )(not blessed$|not blessed, |smoke test failed\b)")
# An error or a verdict can be as long as it likes; this much of it belongs at the end of a command.
_SHOWN_LINES = 30


@dataclasses.dataclass(frozen=True)
class StepLog:
    """What a step says became of its node.

    Attributes:
      node: The node's id.
      state: succeeded, rejected (a gate said no) or failed.
      line: The node's line.
      reasons: The lines below it, that explain it.
    """

    node: str
    state: str
    line: str
    reasons: tuple[str, ...]


def read(text: str) -> StepLog | None:
    """Returns what a log says; None if the step did not get as far as saying it."""
    printed = [line for line in text.splitlines() if not _LOGGED.match(line)]
    places = [place for place, line in enumerate(printed) if _NODE_LINE.match(line)]
    if not places:
        return None
    found = _NODE_LINE.match(printed[places[-1]])
    assert found is not None  # it matched above
    below = [line.rstrip() for line in printed[places[-1] + 1 :]]
    while below and not below[-1]:
        below.pop()
    first = _REASON.match(below[0]) if below else None
    if first is not None:
        state = first[1]
    elif found["mark"] == "✗":
        state = FAILED
    else:
        state = REJECTED if _SAID_NO.search(found["note"] or "") else SUCCEEDED
    return StepLog(found["node"], state, found[0], tuple(below[:_SHOWN_LINES]))
