"""Whole runs of a pipeline, ours and stock TFX's, each as a command of its own: what they took, node by node, and what came of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from benchmarks import measure, stock_tfx

Spans = Mapping[str, tuple[float, float]]
"""By node, when its execution was registered and when it last changed, in seconds since the epoch."""

TRAINER = "Trainer"
_METADATA = "metadata.db"
_EXECUTIONS = """
    SELECT Context.name, Execution.create_time_since_epoch, Execution.last_update_time_since_epoch
    FROM Execution
    JOIN Association ON Association.execution_id = Execution.id
    JOIN Context ON Context.id = Association.context_id
    JOIN Type ON Type.id = Context.type_id
    WHERE Type.name = 'node' AND Execution.create_time_since_epoch >= ?
    ORDER BY Execution.id
"""


def ours(folder: pathlib.Path, pipeline_file: Mapping[str, Any]) -> dict[str, Any]:
    """Runs Parlance; a second run in a folder meets the first one's cache.

    Args:
      folder: Everything goes below it: the pipeline file, NAME.yaml, and `root`.
      pipeline_file: What the pipeline file says.

    Returns:
      What `measure.command` says of it; `untrained_s`, its wall time without the seconds in which nothing but the trainer ran; `nodes`
      (seconds) and `states` by node; `rows` by split; `metrics`; `node_peak_mib`, the most memory of the whole run while a node was at
      work; and `at_peak`, the nodes that were at work when there was most.
    """
    path = folder / f"{pipeline_file['name']}.yaml"
    path.write_text(yaml.safe_dump(dict(pipeline_file)))
    command = [sys.executable, "-m", "pipeline.cli", "run", str(path), "--root", str(folder / "root"), "--output", "json"]
    printed, taken = _measured(command, folder / "root" / _METADATA)
    record = json.loads(printed)
    return {
        **taken,
        "nodes": {node["id"]: node["seconds"] for node in record["nodes"]},
        "states": {node["id"]: node["state"] for node in record["nodes"]},
        "rows": record["rows"],
        "metrics": record["metrics"],
    }


def stock(job: stock_tfx.Job) -> dict[str, Any]:
    """Runs stock TFX; returns what `ours` returns, without `states`."""
    command = [sys.executable, "-m", "benchmarks.stock_tfx", json.dumps(dataclasses.asdict(job))]
    printed, taken = _measured(command, pathlib.Path(job.folder) / _METADATA)
    return {**taken, **json.loads(printed.strip().splitlines()[-1])}


def _measured(command: Sequence[str], metadata: pathlib.Path) -> tuple[str, dict[str, Any]]:
    looks: list[tuple[float, float]] = []
    began = time.time()
    printed, taken = measure.command(command, looks=looks)
    spans = node_spans(metadata, began)
    return printed, {
        **taken,
        "untrained_s": taken["wall_s"] - seconds_alone(spans, TRAINER),
        "node_peak_mib": peaks(spans, looks),
        "at_peak": at_peak(spans, looks),
    }


def node_spans(metadata: pathlib.Path, since: float) -> dict[str, tuple[float, float]]:
    """Returns when the nodes of a run were at work.

    Args:
      metadata: ML Metadata's SQLite file.
      since: Executions that were registered before (seconds since the epoch) are of other runs.
    """
    with contextlib.closing(sqlite3.connect(f"file:{metadata}?mode=ro", uri=True)) as connection:
        executions = connection.execute(_EXECUTIONS, (int(since * 1000),)).fetchall()
    # The context of a node is named after its pipeline and the node.
    return {name.rpartition(".")[2]: (begin / 1000, end / 1000) for name, begin, end in executions}


def seconds_alone(spans: Spans, node: str) -> float:
    """Returns the seconds in which a node was at work and no other one; 0 for a node that did not run."""
    if node not in spans:
        return 0.0
    start, end = spans[node]
    alone, covered = 0.0, start
    for begin, finish in sorted(span for name, span in spans.items() if name != node):
        if finish > start and begin < end:
            alone += max(0.0, begin - covered)
            covered = max(covered, finish)
    return alone + max(0.0, end - covered)


def peaks(spans: Spans, looks: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Returns the most memory that was seen while each node was at work; nodes too short for a look are left out."""
    seen = {node: [mib for when, mib in looks if begin <= when <= end] for node, (begin, end) in spans.items()}
    return {node: max(values) for node, values in seen.items() if values}


def at_peak(spans: Spans, looks: Sequence[tuple[float, float]]) -> list[str]:
    """Returns the nodes that were at work when there was most memory; none if that was before, between or after them."""
    when, _ = max(looks, key=lambda look: look[1], default=(0.0, 0.0))
    return sorted(node for node, (begin, end) in spans.items() if begin <= when <= end)


def nodes_table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a Markdown table of one run of each side: seconds of every node, and the memory of the whole run while it was at work."""
    lines = ["| side | node | seconds | peak MiB meanwhile |", "|---|---|---|---|"]
    for side, run in runs.items():
        for node, seconds in sorted(run["nodes"].items(), key=lambda one: -one[1]):
            mib = run["node_peak_mib"].get(node)
            marked = " (the run's peak)" if node in run["at_peak"] else ""
            lines.append(f"| {side} | {node} | {seconds:.1f} | {'' if mib is None else f'{mib:,.0f}'}{marked} |")
    return "\n".join(lines)
