"""A node of a compiled pipeline as one command line argument.

What a step's container is told is TFX's intermediate representation, cut down to the one node it launches. It travels compressed and
as base64, because the plain text could hold what Kubeflow, Argo or Kubernetes replace in arguments, and because all nodes in every
step would make the package grow with the square of their number.
"""

from __future__ import annotations

import base64
import binascii
import zlib

from google.protobuf import message
from tfx.proto.orchestration import pipeline_pb2

from components.errors import UsageError

_BEST = 9


def pack(pipeline: pipeline_pb2.Pipeline, node_id: str) -> str:
    """Returns a pipeline cut down to one node, as an argument of letters, digits, `-`, `_` and `=`.

    Equal pipelines give equal arguments, in every process. How to reach ML Metadata is left out: a step is told apart from this.

    Args:
      pipeline: The compiled pipeline.
      node_id: Which node to keep.

    Raises:
      UsageError: There is no such node.
    """
    content = _cut(pipeline, node_id).SerializeToString(deterministic=True)
    return base64.urlsafe_b64encode(zlib.compress(content, _BEST)).decode("ascii")


def unpack(argument: str) -> pipeline_pb2.Pipeline:
    """Returns what `pack` packed: a pipeline of one node.

    Raises:
      UsageError: The argument is not one of `pack`.
    """
    try:
        content = zlib.decompress(base64.b64decode(argument, altchars=b"-_", validate=True))
        return pipeline_pb2.Pipeline.FromString(content)
    except (binascii.Error, ValueError, zlib.error, message.DecodeError) as error:
        raise UsageError(
            f"The argument --ir is not a node that `parlance kubeflow compile` packed ({type(error).__name__}); "
            f"received {len(argument)} characters. Compile the pipeline again"
        ) from error


def _cut(pipeline: pipeline_pb2.Pipeline, node_id: str) -> pipeline_pb2.Pipeline:
    # A step unpacks its argument before it decides what to import; this one would bring TensorFlow along.
    from tfx.orchestration.portable import runtime_parameter_utils

    nodes = {node.pipeline_node.node_info.id: node for node in pipeline.nodes}
    if node_id not in nodes:
        raise UsageError(f"The pipeline has no node {node_id!r}; nodes: {', '.join(nodes)}")
    cut = pipeline_pb2.Pipeline()
    cut.CopyFrom(pipeline)
    del cut.nodes[:]
    cut.nodes.add().CopyFrom(nodes[node_id])
    whole = pipeline_pb2.IntermediateDeploymentConfig()
    pipeline.deployment_config.Unpack(whole)
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    for table in ("executor_specs", "custom_driver_specs", "node_level_platform_configs"):
        if node_id in getattr(whole, table):
            getattr(deployment, table)[node_id].CopyFrom(getattr(whole, table)[node_id])
    cut.deployment_config.Pack(deployment, deterministic=True)
    # What has a value already, the folder of artifacts, gets it here. The run's id has none until there is a run.
    runtime_parameter_utils.substitute_runtime_parameter(cut, {})
    return cut
