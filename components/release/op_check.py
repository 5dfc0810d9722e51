"""Whether the TensorFlow Serving that production runs knows every op of a SavedModel.

    versions()                                         # ("2.19", "2.20")
    findings = check(model_dir, target("2.20"))

The pipeline's TensorFlow may be newer than the one in the released server, and the embedded server runs the pipeline's. That a model
loads here proves nothing about there; an op that the older runtime has never heard of is what fails first, and that can be seen from
the file. What cannot be seen from it: an attribute or a type that an op only learnt later, and ops without a kernel for the device.

Lists of ops are in tf_serving_ops/, one file for each version, with their origin.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from components.errors import EnvironmentFailure, UsageError
from components.findings import Finding, Severity

RULE_OPS = "smoke test: ops known to TensorFlow Serving"
RULE_GRAPH = "smoke test: graph version known to TensorFlow Serving"

_LISTS = pathlib.Path(__file__).parent / "tf_serving_ops"
_SETTING = re.compile(r"# (graph_def_version|min_producer): (\d+)")
_SHOWN_OPS = 5
_SHOWN_NODE_LENGTH = 80


@dataclasses.dataclass(frozen=True)
class Target:
    """What a version of TensorFlow Serving reads.

    Attributes:
      version: The version, e.g. "2.20".
      ops: Names of the ops it knows.
      graph_def_version: The version of graphs that its runtime writes, and the newest it promises to read.
      min_producer: The oldest version of graphs it reads.
    """

    version: str
    ops: frozenset[str]
    graph_def_version: int
    min_producer: int


def versions() -> tuple[str, ...]:
    """Returns the versions of TensorFlow Serving there are lists for, oldest first."""
    return tuple(sorted((file.stem for file in _LISTS.glob("*.txt")), key=lambda name: [int(part) for part in name.split(".")]))


@functools.cache
def target(version: str) -> Target:
    """Reads the list of a version.

    Raises:
      UsageError: There is none.
    """
    if version not in versions():
        raise UsageError(
            f"release.smoke_test.tf_serving must be a version whose ops are listed; received {version!r}. Listed: "
            f"{', '.join(versions())}"
        )
    lines = (_LISTS / f"{version}.txt").read_text(encoding="utf-8").splitlines()
    settings = {match[1]: int(match[2]) for line in lines if (match := _SETTING.fullmatch(line))}
    ops = frozenset(line for line in lines if line and not line.startswith("#"))
    return Target(version, ops, settings["graph_def_version"], settings["min_producer"])


def check(model_dir: str | os.PathLike[str], known: Target) -> list[Finding]:
    """Compares a SavedModel with what a version of TensorFlow Serving reads.

    Args:
      model_dir: The SavedModel.
      known: The version.

    Returns:
      Two findings: one about its ops, one about the version of its graph; errors if TensorFlow Serving would refuse it.

    Raises:
      EnvironmentFailure: The SavedModel cannot be read.
    """
    # Options are read with the list of versions alone, in places where every millisecond of an import is felt.
    from serving.messages import SavedModel

    path = pathlib.Path(model_dir) / "saved_model.pb"
    try:
        saved = SavedModel.FromString(path.read_bytes())
    except Exception as error:  # protobuf's error has no public class that all its implementations share
        raise EnvironmentFailure(
            f"The candidate must be a SavedModel; reading {path} ended in {type(error).__name__}. Train it again: "
            "`parlance run --no-cache --from Trainer`"
        ) from None
    return [_ops_finding(_used_ops(saved), known), _graph_finding(saved, known)]


def _used_ops(saved: Any) -> dict[str, str]:
    """The ops of a SavedModel, each with the name of a node of it; calls of the graph's own functions are not ops."""
    used: dict[str, str] = {}
    for graph in saved.meta_graphs:
        library = graph.graph_def.library
        functions = {function.signature.name for function in library.function}
        for node in _nodes(graph.graph_def):
            if node.op not in functions:
                used.setdefault(node.op, node.name)
    return used


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _ops_finding(used: Mapping[str, str], known: Target) -> Finding:
    unknown = sorted(used.keys() - known.ops)
    if not unknown:
        message = f"TensorFlow Serving {known.version} knows all {len(used)} ops of the model"
        return Finding(RULE_OPS, Severity.INFO, message, expected=f"all of {len(used)} ops", observed=f"{len(used)} ops")
    shown = ", ".join(f"{op} (node {used[op][:_SHOWN_NODE_LENGTH]})" for op in unknown[:_SHOWN_OPS])
    more = f" and {len(unknown) - _SHOWN_OPS} more" if len(unknown) > _SHOWN_OPS else ""
    return Finding(
        RULE_OPS,
        Severity.ERROR,
        f"TensorFlow Serving {known.version} does not know {len(unknown)} of the model's {len(used)} ops: {shown}{more}. "
        "Leave them out of the model, or set release.smoke_test.tf_serving to the version that production runs",
        expected=f"all of {len(used)} ops",
        observed=f"{len(unknown)} unknown",
    )


def _graph_finding(saved: Any, known: Target) -> Finding:
    """Holds the graph's version numbers against those of the runtime, as TensorFlow does when it loads a graph."""
    problems = []
    for numbers in (graph.graph_def.versions for graph in saved.meta_graphs):
        if numbers.min_consumer > known.graph_def_version:
            problems.append(f"it asks for a runtime that reads version {numbers.min_consumer}")
        if numbers.producer < known.min_producer:
            problems.append(f"it is of version {numbers.producer}, and the oldest that is read is {known.min_producer}")
        if known.graph_def_version in numbers.bad_consumers:
            problems.append("it names this very version as one that must not read it")
    about = f"TensorFlow Serving {known.version}, which reads graphs up to version {known.graph_def_version}"
    observed = ", ".join(map(str, sorted({graph.graph_def.versions.producer for graph in saved.meta_graphs})))
    expected = f"readable at {known.graph_def_version}"
    if problems:
        return Finding(
            RULE_GRAPH, Severity.ERROR, f"{about}, refuses the model: {'; '.join(problems)}", expected=expected, observed=observed
        )
    return Finding(RULE_GRAPH, Severity.INFO, f"{about}, takes the model's graph", expected=expected, observed=observed)
