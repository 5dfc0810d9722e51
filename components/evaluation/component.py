"""TFX node of the stage: measures the candidate beside the baseline and decides about the blessing."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_component, base_executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Evaluate
from tfx.utils import path_utils

from components.evaluation.options import EvaluationOptions
from components.executor_path import BeamExecutorPath
from components.ingestion.options import DataOptions

_STATISTICS_FILE = "FeatureStats.pb"


class EvaluatorSpec(ComponentSpec):
    """Model, test split and statistics in; TFMA's results, metrics.json, confusion.json, verdict.json and TFX's blessing out."""

    TYPE_ANNOTATION = Evaluate
    PARAMETERS = {
        "options": ExecutionParameter(type=str),
        "data": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class EvaluatorExecutor(base_executor.BaseExecutor):
    """Runs `analyse`, and writes the blessing as TFX's own evaluator does."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.evaluation import analyse

        options = EvaluationOptions.model_validate_json(exec_properties["options"])
        data = json.loads(exec_properties["data"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"]) if input_dict.get("baseline_model") else None
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        train_summary = json.loads((pathlib.Path(examples.uri) / "summary.json").read_text())
        results = analyse.analyse(
            model_path=path_utils.serving_model_path(model.uri),
            baseline_path=path_utils.serving_model_path(baseline.uri) if baseline else None,
            example_pattern=artifact_utils.get_split_uri([examples], "test") + "/*",
            columns=analyse.Columns(data["label"], data["group"], options.weight),
            segments=_segments(data, options, artifact_utils.get_split_uri(input_dict["statistics"], "train")),
            train_label_counts=train_summary["labels"]["train"],
            options=options,
            output_dir=artifact_utils.get_single_uri(output_dict["evaluation"]),
            beam_args=self._context.beam_pipeline_args,
        )
        _bless(artifact_utils.get_single_instance(output_dict["blessing"]), results.verdict["blessed"], model, baseline)


def _segments(data: Mapping[str, Any], options: EvaluationOptions, statistics_folder: str):
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from components.evaluation import segments

    content = (pathlib.Path(statistics_folder) / _STATISTICS_FILE).read_bytes()
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(content)
    columns = {column for segment in data["segments"] for column in segment}
    return segments.plan(data["segments"], data["text"], segments.training_quantiles(statistics, columns), options.length_slices)


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


class Evaluator(base_beam_component.BaseBeamComponent):
    """See EvaluatorSpec."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorPath("components.evaluation.component.EvaluatorExecutor")

    def __init__(
        self,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        data: DataOptions,
        options: EvaluationOptions,
        code: str,
    ):
        super().__init__(
            EvaluatorSpec(
                examples=examples,
                statistics=statistics,
                model=model,
                baseline_model=baseline_model,
                options=options.model_dump_json(),
                # Only what is read here, so that moving a file does not undo the cache.
                data=data.model_dump_json(include={"label", "text", "segments", "group"}),
                code=code,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
