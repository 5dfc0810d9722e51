"""TFX node of the stage: TFX's Transform with Parlance's preprocessing function, described without importing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component
from tfx.proto import transform_pb2
from tfx.types import standard_artifacts, standard_component_specs

from components.executor_path import BeamExecutorPath


class Transform(base_beam_component.BaseBeamComponent):
    """Analyses the train split and writes the one graph that training and serving share.

    Transformed examples are not written: the trainer applies the graph itself, in large batches, which is faster than reading
    them back and leaves nothing on disk that could disagree with the graph.
    """

    SPEC_CLASS = standard_component_specs.TransformSpec
    EXECUTOR_SPEC = BeamExecutorPath("tfx.components.transform.executor.Executor")

    def __init__(self, examples: types.BaseChannel, schema: types.BaseChannel, custom_config: Mapping[str, Any]):
        super().__init__(
            standard_component_specs.TransformSpec(
                examples=examples,
                schema=schema,
                preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
                custom_config=json.dumps(custom_config, sort_keys=True),
                force_tf_compat_v1=0,
                disable_statistics=1,
                splits_config=transform_pb2.SplitsConfig(analyze=["train"]),
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
                updated_analyzer_cache=types.Channel(type=standard_artifacts.TransformCache),
            )
        )
