"""TFX node of the stage: puts a blessed model where TF Serving finds it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Deploy
from tfx.utils import path_utils

from components.executor_path import ExecutorPath
from components.release.options import ReleaseOptions


class PusherSpec(ComponentSpec):
    """A model and its blessing in; a version directory, and a `pushed.json` that says which, out."""

    TYPE_ANNOTATION = Deploy
    PARAMETERS = {
        "base_directory": ExecutionParameter(type=str),
        "pipeline": ExecutionParameter(type=str),
        "config_sha256": ExecutionParameter(type=str),
        "options": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class PusherExecutor(base_executor.BaseExecutor):
    """Runs `release` if the model is blessed; says so in the output if it is not."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.release import release

        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        folder = pathlib.Path(pushed_model.uri)
        folder.mkdir(parents=True, exist_ok=True)
        blessing = artifact_utils.get_single_instance(input_dict["blessing"])
        if blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) != constants.BLESSED_VALUE:
            pushed_model.set_int_custom_property("pushed", 0)
            (folder / "pushed.json").write_text("null")
            return
        options = ReleaseOptions.model_validate_json(exec_properties["options"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        pushed = release.release(
            model_dir=path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"])),
            evaluation_dir=artifact_utils.get_single_uri(input_dict["evaluation"]),
            schema_dir=artifact_utils.get_single_uri(input_dict["schema"]),
            examples_dir=examples.uri,
            base_dir=exec_properties["base_directory"],
            origin=release.Origin(
                pipeline=exec_properties["pipeline"],
                run=self._context.pipeline_run_id,
                config_sha256=exec_properties["config_sha256"],
                data_fingerprint=examples.get_string_custom_property("content_fingerprint"),
            ),
            options=options,
        )
        pushed_model.set_int_custom_property("pushed", 1)
        pushed_model.set_string_custom_property("pushed_destination", pushed.path)
        pushed_model.set_string_custom_property("pushed_version", pushed.version)
        (folder / "pushed.json").write_text(
            json.dumps({"model": exec_properties["pipeline"], "version": pushed.version, "path": pushed.path})
        )


class Pusher(base_component.BaseComponent):
    """See PusherSpec."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = ExecutorPath("components.release.component.PusherExecutor")

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        model: types.BaseChannel,
        evaluation: types.BaseChannel,
        blessing: types.BaseChannel,
        base_directory: str,
        pipeline: str,
        config_sha256: str,
        options: ReleaseOptions,
    ):
        super().__init__(
            PusherSpec(
                examples=examples,
                schema=schema,
                model=model,
                evaluation=evaluation,
                blessing=blessing,
                base_directory=base_directory,
                pipeline=pipeline,
                config_sha256=config_sha256,
                options=options.model_dump_json(),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
