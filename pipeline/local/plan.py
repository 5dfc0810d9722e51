"""What a compiled pipeline says about the order of its nodes and about the processes they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from tfx.orchestration.local import runner_utils
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from components import executor_path


@dataclasses.dataclass(frozen=True)
class Plan:
    """The nodes of a run.

    Attributes:
      nodes: The ids of those that run, in the pipeline's order.
      upstream: For each of them, the ids of those among them that it waits for.
      lean: Executors, by import path of their class, of nodes that need no TensorFlow.
      heavy: The other executors.
    """

    nodes: Sequence[str]
    upstream: Mapping[str, Collection[str]]
    lean: Mapping[str, str]
    heavy: Mapping[str, str]

    def heavy_from(self, node_id: str) -> list[str]:
        """Returns the executors with TensorFlow of a node and of all that follow it, the first ones first."""
        following = {node_id}
        for other in self.nodes:
            if following & set(self.upstream[other]):
                following.add(other)
        return [self.heavy[other] for other in self.nodes if other in following and other in self.heavy]

    def held_up(self, node_id: str, not_done: Collection[str]) -> list[str]:
        """Returns which of the nodes that did not get done a node waits for, directly or by way of others."""
        waits: set[str] = set()
        todo = [node_id]
        while todo:
            for other in set(self.upstream[todo.pop()]) - waits:
                waits.add(other)
                todo.append(other)
        return [other for other in self.nodes if other in waits and other in not_done]


def of(pipeline: pipeline_pb2.Pipeline, nodes: Iterable[str]) -> Plan:
    """Returns the plan for some nodes of a compiled pipeline; what the others would make is there already."""
    nodes = list(nodes)
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    upstream: dict[str, list[str]] = {}
    paths: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for node in pipeline.nodes:
        node_id = node.pipeline_node.node_info.id
        if node_id not in nodes:
            continue
        upstream[node_id] = [other for other in node.pipeline_node.upstream_nodes if other in nodes]
        spec = runner_utils.extract_executor_spec(deployment, node_id)
        if isinstance(spec, executable_spec_pb2.BeamExecutableSpec):
            paths[False][node_id] = spec.python_executor_spec.class_path
        elif isinstance(spec, executable_spec_pb2.PythonClassExecutableSpec):
            paths[executor_path.LEAN_FLAG in spec.extra_flags][node_id] = spec.class_path
    return Plan(nodes, upstream, paths[True], paths[False])
