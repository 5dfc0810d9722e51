"""Launches one node of a compiled pipeline through TFX's portable launcher.

The launcher resolves inputs, runs drivers, decides about the cache and publishes to ML Metadata. It reports less than a caller needs:
unresolved inputs and cached results both return normally. What really happened is read back from metadata.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher
from tfx.proto.orchestration import pipeline_pb2

Execution = metadata_store_pb2.Execution


@dataclasses.dataclass(frozen=True)
class Launched:
    """What became of one node.

    Attributes:
      state: `complete`, `cached`, `skipped` (nothing to do, e.g. a condition) or `failed` (inputs did not resolve).
      execution_id: Its execution in ML Metadata, if one was registered.
      inputs: Artifact URIs by input channel.
      outputs: Artifact URIs by output channel.
    """

    state: str
    execution_id: int | None
    inputs: Mapping[str, list[str]]
    outputs: Mapping[str, list[str]]


def node_ids(pipeline: pipeline_pb2.Pipeline) -> list[str]:
    """Returns the ids of a compiled pipeline's nodes in topological order."""
    return [node.pipeline_node.node_info.id for node in pipeline.nodes]


def launch(
    pipeline: pipeline_pb2.Pipeline,
    node_id: str,
    store: metadata.Metadata,
    executor_operators: Mapping[Any, Any] | None = None,
) -> Launched:
    """Runs one node whose run id has been substituted into the pipeline.

    Args:
      pipeline: The compiled pipeline.
      node_id: Which node.
      store: ML Metadata.
      executor_operators: Where executors run, by spec type; in this process if None.

    Raises:
      Exception: Whatever the executor or the driver raised. The execution is published as failed before.
    """
    node = next(node.pipeline_node for node in pipeline.nodes if node.pipeline_node.node_info.id == node_id)
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    info = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=store,
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        custom_executor_operators=executor_operators,
    ).launch()
    if info is None or info.execution_id is None:
        return Launched("skipped", None, {}, {})
    return read_back(store, info.execution_id)


_INPUT_EVENTS = (
    metadata_store_pb2.Event.INPUT,
    metadata_store_pb2.Event.DECLARED_INPUT,
    metadata_store_pb2.Event.INTERNAL_INPUT,
)
_STATES = {
    Execution.COMPLETE: "complete",
    Execution.CACHED: "cached",
    Execution.CANCELED: "skipped",
}


def read_back(store: metadata.Metadata, execution_id: int) -> Launched:
    """Returns what became of a node by what ML Metadata holds of its execution."""
    with store as connection:
        [execution] = connection.store.get_executions_by_id([execution_id])
        events = connection.store.get_events_by_execution_ids([execution_id])
        artifacts = connection.store.get_artifacts_by_id([event.artifact_id for event in events])
    uris = {artifact.id: artifact.uri for artifact in artifacts}
    inputs: dict[str, list[str]] = {}
    outputs: dict[str, list[str]] = {}
    for event in events:
        side = inputs if event.type in _INPUT_EVENTS else outputs
        key = next((step.key for step in event.path.steps if step.HasField("key")), "")
        side.setdefault(key, []).append(uris[event.artifact_id])
    return Launched(_STATES.get(execution.last_known_state, "failed"), execution_id, inputs, outputs)
