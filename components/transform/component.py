"""TFX node of the stage: TFX's Transform with Parlance's preprocessing function, described without importing it."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_executor
from tfx.proto import transform_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs

from components.executor_path import BeamExecutorPath

_RUNNER = "--runner="
# What decides, beside Parlance's code and the options, how examples are read and what is made of them.
_LIBRARIES = ("tensorflow", "tensorflow-transform", "tfx-bsl")


class TransformExecutor(base_executor.BaseExecutor):
    """Writes what TFX's executor writes: in this process, or, if Beam's runner is one of a cluster, by that executor."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        if not _works_here(self._context.beam_pipeline_args):
            from tfx.components.transform import executor

            executor.Executor(self._context).Do(input_dict, output_dict, exec_properties)
            return
        import tensorflow as tf

        from components.transform import analysis, partial_results, preprocessing
        from components.validation import schema_file

        config = exec_properties["custom_config"]
        versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
        kept = partial_results.PartialResults(
            artifact_utils.get_single_uri(output_dict["updated_analyzer_cache"]), json.dumps([config, versions], sort_keys=True)
        )
        analysis.analyse(
            functools.partial(preprocessing.preprocessing_fn, custom_config=json.loads(config)),
            schema_file.read_folder(artifact_utils.get_single_uri(input_dict["schema"])),
            sorted(tf.io.gfile.glob(os.path.join(artifact_utils.get_split_uri(input_dict["examples"], "train"), "*"))),
            artifact_utils.get_single_uri(output_dict["transform_graph"]),
            kept,
        )
        logging.info("Of %d files, %d had been analysed before", kept.found + kept.made, kept.found)


def _works_here(beam_args: Sequence[str] | None) -> bool:
    runners = [arg.removeprefix(_RUNNER) for arg in beam_args or () if arg.startswith(_RUNNER)]
    return not runners or runners[-1].rpartition(".")[-1] in ("FnApiRunner", "DirectRunner")


class Transform(base_beam_component.BaseBeamComponent):
    """Analyses the train split and writes the one graph that training and serving share.

    Transformed examples are not written: the trainer applies the graph itself, in large batches, which is faster than reading
    them back and leaves nothing on disk that could disagree with the graph.
    """

    SPEC_CLASS = standard_component_specs.TransformSpec
    EXECUTOR_SPEC = BeamExecutorPath("components.transform.component.TransformExecutor")

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
