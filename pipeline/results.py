"""What a finished run left behind, for whoever reads it afterwards: its record, its pipeline file, its artifacts.

Artifacts are looked up in ML Metadata, because a cached node wrote nothing of its own and a run that began in the middle took over
what came before. Nothing here imports TFX.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.errors import UsageError
from pipeline import logged_data
from pipeline.local import metadata_place
from pipeline.records import Records

ROOT_VARIABLE = "PARLANCE_ROOT"

_PROJECT = pathlib.Path(__file__).resolve().parent.parent
_FINISHED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


@dataclasses.dataclass(frozen=True)
class Results:
    """One run's results.

    Attributes:
      record: The run record (run.json).
      config: The effective pipeline file, as plain values.
      artifacts: The folder of each node's output, by node and channel.
    """

    record: Mapping[str, Any]
    config: Mapping[str, Any]
    artifacts: Mapping[tuple[str, str], pathlib.Path]

    def folder(self, node_id: str, channel: str) -> pathlib.Path:
        """Returns the folder of a node's output.

        Raises:
          UsageError: The run has no such output, or its folder was removed.
        """
        folder = self.artifacts.get((node_id, channel))
        if folder is None:
            known = ", ".join(f"{node}/{name}" for node, name in sorted(self.artifacts)) or "none"
            raise UsageError(f"Run {self.record['run_id']} has no output {node_id}/{channel}. Its outputs: {known}")
        if not folder.is_dir():
            raise UsageError(f"The output {node_id}/{channel} of run {self.record['run_id']} is no longer in {folder}; run again")
        return folder

    def json(self, node_id: str, channel: str, file: str) -> Any:
        """Returns the content of a JSON file of a node's output; None if the node did not write it."""
        path = self.folder(node_id, channel) / file
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def data_findings(self) -> list[Mapping[str, Any]]:
        """Returns the data gate's findings; of a run it stopped, those are in the record. Empty if it has not looked."""
        if ("DataGate", "verdict") in self.artifacts:
            return self.json("DataGate", "verdict", "findings.json") or []
        stopped = any(node["id"] == "DataGate" and node["state"] == "failed" for node in self.record["nodes"])
        return (self.record.get("verdict") or {}).get("findings", []) if stopped else []


def default_root() -> pathlib.Path:
    """Returns the root that notebooks read: the one named in PARLANCE_ROOT, or `.parlance` of the project."""
    return pathlib.Path(os.environ.get(ROOT_VARIABLE) or _PROJECT / ".parlance").absolute()


def latest(node_id: str, root: str | os.PathLike[str] | None = None) -> Results:
    """Returns the results of the newest run in which a node finished.

    Args:
      node_id: The node whose output is wanted, e.g. `Evaluator`.
      root: The root folder of the runs; `default_root()` if None.

    Raises:
      UsageError: There is no such run.
    """
    root = pathlib.Path(root or default_root())
    for record in Records(root).all():
        if any(node["id"] == node_id and node["state"] in ("complete", "cached") for node in record.get("nodes", ())):
            return _read(root, record)
    raise UsageError(
        f"No run in {root} got as far as {node_id}. `parlance run` makes one; {ROOT_VARIABLE} names another root (`--root`)"
    )


def of_run(root: str | os.PathLike[str], run_id: str) -> Results:
    """Returns the results of one run.

    Args:
      root: The root folder of the runs.
      run_id: Its whole id, or `latest`.

    Raises:
      UsageError: There is no such run.
    """
    root = pathlib.Path(root)
    return _read(root, Records(root).one(run_id))


def every(node_id: str, root: str | os.PathLike[str], pipeline: str) -> list[Results]:
    """Returns the results of all runs of a pipeline in which a node finished and whose output is still there, oldest first.

    Runs that looked at a server's log are left out: what they read is no data of the pipeline's.

    Args:
      node_id: The node whose output is wanted, e.g. `ExampleGen`.
      root: The root folder of the runs.
      pipeline: The pipeline's name.
    """
    root = pathlib.Path(root)
    finished = (
        record
        for record in reversed(Records(root).all())
        if record.get("pipeline") == pipeline
        and any(node["id"] == node_id and node["state"] in ("complete", "cached") for node in record.get("nodes", ()))
    )
    read = [results for results in (_read(root, record) for record in finished) if not logged_data.is_log(results.config)]
    return [
        results for results in read if any(node == node_id and folder.is_dir() for (node, _), folder in results.artifacts.items())
    ]


def _read(root: pathlib.Path, record: Mapping[str, Any]) -> Results:
    config = yaml.safe_load((root / "runs" / record["run_id"] / "config.yaml").read_text(encoding="utf-8"))
    return Results(record, config, _artifacts(metadata_place.MetadataPlace(root), record))


def _artifacts(place: metadata_place.MetadataPlace, record: Mapping[str, Any]) -> dict[tuple[str, str], pathlib.Path]:
    if place.address is None and not place.file.exists():
        raise UsageError(f"{place.file} is missing, so nobody knows where the artifacts of run {record['run_id']} are; run again")
    store = metadata_store.MetadataStore(place.config(read_only=True))
    run = store.get_context_by_type_and_name("pipeline_run", record["run_id"])
    executions = store.get_executions_by_context(run.id) if run else []
    nodes = {execution.id: _node_id(store, execution.id) for execution in executions if execution.last_known_state in _FINISHED}
    events = [event for event in _events(store, nodes) if event.type == metadata_store_pb2.Event.OUTPUT]
    uris = {artifact.id: artifact.uri for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])}
    return {
        (nodes[event.execution_id], next(step.key for step in event.path.steps)): pathlib.Path(uris[event.artifact_id])
        for event in events
    }


def _node_id(store: metadata_store.MetadataStore, execution_id: int) -> str:
    """The id of the node an execution belongs to: its context of the type `node` is called PIPELINE.NODE."""
    contexts = store.get_contexts_by_execution(execution_id)
    return next(context.name for context in contexts if context.type == "node").rpartition(".")[2]


def _events(store: metadata_store.MetadataStore, executions: Iterable[int]) -> list[metadata_store_pb2.Event]:
    executions = list(executions)
    return store.get_events_by_execution_ids(executions) if executions else []
