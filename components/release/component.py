"""TFX nodes of the stage: one tries a blessed model in a model server, the other puts it where TF Serving finds it."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Deploy
from tfx.utils import path_utils

from components.executor_path import ExecutorPath
from components.release import infra_blessing
from components.release.options import ReleaseOptions, SmokeTestOptions


class InfraValidatorSpec(ComponentSpec):
    """A model, its evaluation and its blessing in; TFX's infra blessing, with a `smoke_test.json` that says why, out."""

    PARAMETERS = {
        "model_name": ExecutionParameter(type=str),
        "warmup_requests": ExecutionParameter(type=int),
        "options": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraValidatorExecutor(base_executor.BaseExecutor):
    """Runs `smoke_test` if the model is blessed; says so in the output if it is not."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.evaluation.scored_sample import ScoredSample
        from components.release import smoke_test, warmup
        from components.validation import schema_file

        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        if not _is_blessed(artifact_utils.get_single_instance(input_dict["model_blessing"])):
            _bless_infra(blessing, smoke_test.skipped("the evaluation's gate said no"), model)
            return
        schema = schema_file.read_folder(artifact_utils.get_single_uri(input_dict["schema"]))
        name = exec_properties["model_name"]
        outcome = smoke_test.run(
            path_utils.serving_model_path(model.uri),
            name,
            warmup.requests_file(schema, name, exec_properties["warmup_requests"]),
            ScoredSample.read(artifact_utils.get_single_uri(input_dict["evaluation"])),
            SmokeTestOptions.model_validate_json(exec_properties["options"]),
        )
        _bless_infra(blessing, outcome.to_json(), model)


def _is_blessed(blessing: types.Artifact) -> bool:
    return blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) == constants.BLESSED_VALUE


def _bless_infra(blessing: types.Artifact, result: Mapping[str, Any], model: types.Artifact) -> None:
    """Writes the infra blessing as TFX's own validator does, and which model it is about, as model blessings say it."""
    blessed = result["state"] == infra_blessing.PASSED
    blessing.set_int_custom_property(infra_blessing.BLESSED_KEY, int(blessed))
    blessing.set_string_custom_property(infra_blessing.STATE_KEY, result["state"])
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(infra_blessing.MODEL_ID_KEY, model.id)
    folder = pathlib.Path(blessing.uri)
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / infra_blessing.RESULT_FILE).write_text(content, encoding="utf-8")
    (folder / (infra_blessing.BLESSED_FILE if blessed else infra_blessing.NOT_BLESSED_FILE)).touch()


class InfraValidator(base_component.BaseComponent):
    """See InfraValidatorSpec."""

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = ExecutorPath("components.release.component.InfraValidatorExecutor", lean=True)

    def __init__(
        self,
        schema: types.BaseChannel,
        model: types.BaseChannel,
        evaluation: types.BaseChannel,
        model_blessing: types.BaseChannel,
        pipeline: str,
        options: ReleaseOptions,
        code: str,
    ):
        super().__init__(
            InfraValidatorSpec(
                schema=schema,
                model=model,
                evaluation=evaluation,
                model_blessing=model_blessing,
                model_name=pipeline,
                warmup_requests=options.warmup_requests,
                options=options.smoke_test.model_dump_json(),
                code=code,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )


class PusherSpec(ComponentSpec):
    """A model and its two blessings in; a version directory, and a `pushed.json` that says which, out."""

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
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class PusherExecutor(base_executor.BaseExecutor):
    """Runs `release` if the model is blessed by both; says so in the output if it is not."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.release import release

        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        folder = pathlib.Path(pushed_model.uri)
        folder.mkdir(parents=True, exist_ok=True)
        blessing = artifact_utils.get_single_instance(input_dict["blessing"])
        tried = artifact_utils.get_single_instance(input_dict["infra_blessing"])
        if not (_is_blessed(blessing) and infra_blessing.is_blessed(tried)):
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
    EXECUTOR_SPEC = ExecutorPath("components.release.component.PusherExecutor", lean=True)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        model: types.BaseChannel,
        evaluation: types.BaseChannel,
        blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
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
                infra_blessing=infra_blessing,
                base_directory=base_directory,
                pipeline=pipeline,
                config_sha256=config_sha256,
                # Only what is read here, so that another limit of the smoke test, or another rule of the rollout, is no other push.
                options=options.model_dump_json(include={"warmup_requests", "card"}),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
