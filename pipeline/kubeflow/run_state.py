"""What a run on a cluster looks like from outside: its steps, how far they are, and what came out.

Kubeflow reports a task as a tree of Argo's nodes. Below a task's own node is one called `executor`, below that, if it may be retried,
`executor(0)`, `executor(1)` and so on; and below these are the tasks that come next, where looking for pods has to stop.
"""

from __future__ import annotations

import dataclasses
import graphlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.kubeflow import step_log
from pipeline.kubeflow.step_log import FAILED, REJECTED, SUCCEEDED, StepLog

WAITING, RUNNING, SKIPPED, CANCELED, UNKNOWN = "waiting", "running", "skipped", "canceled", "unknown"

_STATES = {
    "RUNNING": RUNNING, "CANCELING": RUNNING, "SUCCEEDED": SUCCEEDED, "SKIPPED": SKIPPED, "FAILED": FAILED, "CANCELED": CANCELED,
}  # fmt: skip
_ENDED = (SUCCEEDED, SKIPPED, FAILED, CANCELED)
_MARKS = {SUCCEEDED: "✓", SKIPPED: "–", FAILED: "✗", REJECTED: "✗", CANCELED: "✗"}
_EXECUTOR = "executor"
# The one step that succeeds when its answer is no.
_JUDGE = "Evaluator"


@dataclasses.dataclass(frozen=True)
class Step:
    """One node of a run.

    Attributes:
      node: The node's id.
      task: The task's name on Kubeflow.
      state: waiting, running, succeeded, skipped, failed or canceled.
      seconds: From its start to its end; None before that.
      pods: Its containers' pods, the newest last.
    """

    node: str
    task: str
    state: str
    seconds: float | None
    pods: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in _ENDED

    def line(self, width: int, log: StepLog | None) -> str:
        """Returns its line of progress, in its own words where its log is to be had."""
        if log is not None:
            return (
                f"  {log.line.strip()[0]} {self.node:<{width}} {log.line.strip()[2:].removeprefix(self.node).lstrip()}".rstrip()
            )
        seconds = f"{self.seconds:7.1f} s" if self.seconds is not None else " " * 9
        return f"  {_MARKS[self.state]} {self.node:<{width}} {seconds}  {'' if self.state == SUCCEEDED else self.state}".rstrip()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out of a run.

    Attributes:
      state: succeeded, rejected (a gate said no), failed, or unknown (nothing failed, and the verdict is not to be had).
      reasons: Why, as far as the steps' logs say it.
    """

    state: str
    reasons: tuple[str, ...]


def nodes_of(specification: Mapping[str, Any]) -> dict[str, str]:
    """Returns a package's node ids by task name, in an order in which they may run.

    Args:
      specification: The pipeline specification, or one beside its Kubernetes settings as the API returns it.
    """
    specification = specification.get("pipeline_spec", specification)
    components, executors = specification.get("components", {}), specification.get("deploymentSpec", {}).get("executors", {})
    found: dict[str, str] = {}

    def walk(graph: Mapping[str, Any]) -> None:
        tasks = graph.get("tasks", {})
        order = graphlib.TopologicalSorter({name: sorted(tasks[name].get("dependentTasks", ())) for name in sorted(tasks)})
        for name in order.static_order():
            component = components.get(tasks[name].get("componentRef", {}).get("name"), {})
            if "dag" in component:
                walk(component["dag"])
                continue
            arguments = executors.get(component.get("executorLabel"), {}).get("container", {}).get("args", [])
            if "--node" in arguments[:-1]:
                found[name] = arguments[arguments.index("--node") + 1]

    walk(specification.get("root", {}).get("dag", {}))
    return found


def steps(run: Any, nodes: Mapping[str, str]) -> list[Step]:
    """Returns the steps of a run.

    Args:
      run: The run as the API returns it.
      nodes: Node ids by task name, from `nodes_of`.
    """
    details = list((run.run_details and run.run_details.task_details) or ())
    by_task = {detail.display_name: detail for detail in details if detail.display_name in nodes}
    return [_step(node, task, by_task.get(task), details) for task, node in nodes.items()]


def outcome(run: Any, steps: Sequence[Step], logs: Mapping[str, StepLog | None]) -> Outcome:
    """Returns what came out of a run that has ended.

    Args:
      run: The run as the API returns it.
      steps: Its steps.
      logs: What its steps say by node id; None where that is not to be had.
    """
    said = [log for step in steps if (log := logs.get(step.node)) is not None]
    for state in (REJECTED, FAILED):
        for log in said:
            if log.state == state and (state == REJECTED or run.state != "SUCCEEDED"):
                return Outcome(state, (f"{log.node}:", *log.reasons) if log.reasons else (log.line.strip(),))
    if run.state not in ("SUCCEEDED", "SKIPPED"):
        message = (
            run.error.message if run.error and run.error.message else f"Kubeflow says {run.state}, and no step's log says why"
        )
        return Outcome(FAILED, (message,))
    if any(step.node == _JUDGE and step.state == SUCCEEDED and logs.get(step.node) is None for step in steps):
        return Outcome(
            UNKNOWN,
            (f"It ended well, but the log of {_JUDGE} is not to be had, so nothing says here whether it blessed the model",),
        )
    return Outcome(SUCCEEDED, ())


def read_log(step: Step, fetch: Callable[[str], str | None]) -> StepLog | None:
    """Returns what a step says; None if no pod's log is there any more.

    Args:
      step: The step.
      fetch: Returns a pod's log, or None.
    """
    for pod in reversed(step.pods):
        text = fetch(pod)
        if text is not None and (log := step_log.read(text)) is not None:
            return log
    return None


def _step(node: str, task: str, detail: Any, details: Sequence[Any]) -> Step:
    if detail is None:
        return Step(node, task, WAITING, None, ())
    seconds = None
    # Some releases say 1970 for the end of what has not ended.
    if detail.start_time and detail.end_time and detail.end_time >= detail.start_time:
        seconds = (detail.end_time - detail.start_time).total_seconds()
    return Step(node, task, _STATES.get(detail.state, WAITING), seconds, _pods(detail, details))


def _pods(detail: Any, details: Sequence[Any]) -> tuple[str, ...]:
    """The pods of a task's attempts, the newest last."""
    by_pod = {other.pod_name: other for other in details if other.pod_name}
    found: list[Any] = []
    open_ = [detail]
    while open_:
        for child in open_.pop().child_tasks or ():
            other = by_pod.get(child.pod_name)
            if other is not None and (other.display_name or "").startswith(_EXECUTOR):
                found.append(other)
                open_.append(other)
    # Above several attempts is a node without a pod.
    attempts = [other for other in found if other.display_name != _EXECUTOR] or found
    return tuple(other.pod_name for other in sorted(attempts, key=lambda other: (len(other.display_name), other.display_name)))
