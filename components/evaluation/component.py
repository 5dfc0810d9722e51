"""TFX node of the stage: measures the candidate beside the baseline and decides about the blessing."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Evaluate
from tfx.utils import path_utils

from components.evaluation.options import EvaluationOptions
from components.executor_path import ExecutorPath
from components.ingestion.options import DataOptions


class EvaluatorSpec(ComponentSpec):
    """Model and test split in; TFMA's results, metrics.json, verdict.json and TFX's blessing out."""

    TYPE_ANNOTATION = Evaluate
    PARAMETERS = {
        "options": ExecutionParameter(type=str),
        "label": ExecutionParameter(type=str),
        "segments": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class EvaluatorExecutor(base_executor.BaseExecutor):
    """Runs `analyse` and `gate.decide`, and writes the blessing as TFX's own evaluator does."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.evaluation import analyse, gate

        options = EvaluationOptions.model_validate_json(exec_properties["options"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"]) if input_dict.get("baseline_model") else None
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        evaluation = pathlib.Path(artifact_utils.get_single_uri(output_dict["evaluation"]))
        train_summary = json.loads((pathlib.Path(examples.uri) / "summary.json").read_text())
        metrics = analyse.analyse(
            model_path=path_utils.serving_model_path(model.uri),
            baseline_path=path_utils.serving_model_path(baseline.uri) if baseline else None,
            example_pattern=artifact_utils.get_split_uri([examples], "test") + "/*",
            label=exec_properties["label"],
            segments=[tuple(segment) for segment in json.loads(exec_properties["segments"])],
            train_label_counts=train_summary["labels"]["train"],
            options=options,
            output_dir=str(evaluation),
        )
        verdict = gate.decide(options, metrics)
        (evaluation / "verdict.json").write_text(json.dumps(verdict, indent=1), encoding="utf-8")
        _bless(artifact_utils.get_single_instance(output_dict["blessing"]), verdict["blessed"], model, baseline)


def _bless(blessing, blessed: bool, model, baseline) -> None:
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    folder = pathlib.Path(blessing.uri)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME)).touch()


class Evaluator(base_component.BaseComponent):
    """See EvaluatorSpec."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = ExecutorPath("components.evaluation.component.EvaluatorExecutor")

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        data: DataOptions,
        options: EvaluationOptions,
        code: str,
    ):
        super().__init__(
            EvaluatorSpec(
                examples=examples,
                schema=schema,
                model=model,
                baseline_model=baseline_model,
                options=options.model_dump_json(),
                label=data.label,
                segments=json.dumps(data.segments),
                code=code,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
