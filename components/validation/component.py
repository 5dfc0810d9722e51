"""TFX nodes of the stage: the curated schema, statistics, anomalies, and the gate over them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_component, base_executor
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Process

from components.errors import GateError
from components.evaluation import gate as evaluation_gate
from components.evaluation.options import EvaluationOptions
from components.executor_path import BeamExecutorPath, ExecutorPath
from components.ingestion.options import DataOptions, PredictionLogSource
from components.validation import environments, schema_file
from components.validation.options import ValidationOptions

DRIFT_FILE = "drift.json"
"""Beside the findings: every comparison with other data, see drift.Comparison."""

# Ingestion's summary lists the most frequent values of a segment column, at most this many.
_MOST_LISTED_VALUES = 200


class DataVerdict(Artifact):
    """Findings of the data gate: `findings.json`, and what the data was compared with: `drift.json`."""

    TYPE_NAME = "DataVerdict"


class SchemaImportSpec(ComponentSpec):
    """Brings the curated schema into metadata. The text itself is the parameter, so that an edited file is a new execution."""

    TYPE_ANNOTATION = Process
    PARAMETERS = {"schema_text": ExecutionParameter(type=str)}
    INPUTS = {}
    OUTPUTS = {"schema": ChannelParameter(type=standard_artifacts.Schema)}


class SchemaImportExecutor(base_executor.BaseExecutor):
    """Writes the schema where TFX's readers expect it."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """See the base class."""
        folder = pathlib.Path(artifact_utils.get_single_uri(output_dict["schema"]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / schema_file.FILE_NAME).write_text(exec_properties["schema_text"], encoding="utf-8")


class SchemaImport(base_component.BaseComponent):
    """See SchemaImportSpec."""

    SPEC_CLASS = SchemaImportSpec
    EXECUTOR_SPEC = ExecutorPath("components.validation.component.SchemaImportExecutor", lean=True)

    def __init__(self, schema_text: str):
        super().__init__(SchemaImportSpec(schema_text=schema_text, schema=types.Channel(type=standard_artifacts.Schema)))


class StatisticsGenExecutor(base_executor.BaseExecutor):
    """Does what TFX's executor does, without Beam; see `arrow_statistics`."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.validation import arrow_statistics

        [examples], [statistics] = input_dict["examples"], output_dict["statistics"]
        schema = schema_file.read_folder(artifact_utils.get_single_uri(input_dict["schema"]))
        splits = artifact_utils.decode_split_names(examples.split_names)
        files = {split: sorted(pathlib.Path(artifact_utils.get_split_uri([examples], split)).glob("*.gz")) for split in splits}
        for split, computed in arrow_statistics.compute(files, schema).items():
            folder = pathlib.Path(statistics.uri) / f"Split-{split}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "FeatureStats.pb").write_bytes(computed.SerializeToString())
        statistics.split_names = examples.split_names
        statistics.span = examples.span
        # TFX's executor says so, too.
        statistics.set_string_custom_property("stats_dashboard_link", "")
        statistics.set_json_value_custom_property("sample_rate_by_split", json.dumps(dict.fromkeys(splits, 1.0)))


class StatisticsGen(base_beam_component.BaseBeamComponent):
    """TFX's StatisticsGen, described without importing it.

    Where its work is done on this machine, StatisticsGenExecutor does it; on a cluster, TFX's own executor by way of Beam.
    """

    SPEC_CLASS = standard_component_specs.StatisticsGenSpec
    EXECUTOR_SPEC = BeamExecutorPath("components.validation.component.StatisticsGenExecutor")

    def __init__(self, examples: types.BaseChannel, schema: types.BaseChannel, on_cluster: bool = False):
        super().__init__(
            standard_component_specs.StatisticsGenSpec(
                examples=examples,
                schema=schema,
                exclude_splits="[]",
                statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
            ),
            custom_executor_spec=BeamExecutorPath("tfx.components.statistics_gen.executor.Executor") if on_cluster else None,
        )


class ExampleValidatorSpec(ComponentSpec):
    """That of TFX's ExampleValidator, with the environment of the schema in which the data is held against it."""

    PARAMETERS = {**standard_component_specs.ExampleValidatorSpec.PARAMETERS, "environment": ExecutionParameter(type=str)}
    INPUTS = standard_component_specs.ExampleValidatorSpec.INPUTS
    OUTPUTS = standard_component_specs.ExampleValidatorSpec.OUTPUTS


class ExampleValidatorExecutor(base_executor.BaseExecutor):
    """Does what TFX's executor does, in an environment of the schema, for which that one has no parameter."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        [statistics], [anomalies] = input_dict["statistics"], output_dict["anomalies"]
        schema = schema_file.read_folder(artifact_utils.get_single_uri(input_dict["schema"]))
        clean = {}
        for split in artifact_utils.decode_split_names(statistics.split_names):
            content = pathlib.Path(artifact_utils.get_split_uri([statistics], split)) / "FeatureStats.pb"
            datasets = statistics_pb2.DatasetFeatureStatisticsList.FromString(content.read_bytes())
            found = environments.validate(datasets, schema, exec_properties["environment"])
            folder = pathlib.Path(anomalies.uri) / f"Split-{split}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "SchemaDiff.pb").write_bytes(found.SerializeToString())
            clean[split] = int(not found.anomaly_info and not found.HasField("dataset_anomaly_info"))
        anomalies.split_names = statistics.split_names
        anomalies.span = statistics.span
        anomalies.set_json_value_custom_property("blessed", clean)


class ExampleValidator(base_component.BaseComponent):
    """See ExampleValidatorSpec."""

    SPEC_CLASS = ExampleValidatorSpec
    EXECUTOR_SPEC = ExecutorPath("components.validation.component.ExampleValidatorExecutor")

    def __init__(self, statistics: types.BaseChannel, schema: types.BaseChannel, environment: str = schema_file.TRAINING):
        super().__init__(
            ExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                exclude_splits="[]",
                environment=environment,
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )


class DataGateSpec(ComponentSpec):
    """Turns anomalies, the quarantine's size, drift and what is out of line with earlier runs into findings; an error stops the run.

    `previous_examples`, `training_examples` and `history` hold what ingestion said of earlier data, each data set in one of them.

    It also refuses, now that the classes are known, gates of the evaluation that could not say anything about them.
    """

    TYPE_ANNOTATION = Process
    PARAMETERS = {
        "options": ExecutionParameter(type=str),
        "evaluation": ExecutionParameter(type=str),
        "data": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "previous": ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
        "training": ChannelParameter(type=standard_artifacts.ExampleStatistics, optional=True),
        "previous_examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "training_examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "history": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {"verdict": ChannelParameter(type=DataVerdict)}


class DataGateExecutor(base_executor.BaseExecutor):
    """Runs `data_gate.judge` on the artifacts."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class.

        Raises:
          UsageError: A gate of the evaluation does not fit the classes.
          GateError: A finding is an error. The findings are in the message, since outputs of a failed execution are removed.
        """
        # What compares data imports SciPy and Arrow, which whoever describes or launches the node does without.
        from components.validation import data_gate, drift

        data = DataOptions.model_validate_json(exec_properties["data"])
        served = isinstance(data.source, PredictionLogSource)
        folders = data_gate.Folders(
            examples=artifact_utils.get_single_uri(input_dict["examples"]),
            statistics=artifact_utils.get_single_uri(input_dict["statistics"]),
            anomalies=artifact_utils.get_single_uri(input_dict["anomalies"]),
            training=data_gate.Known(drift.TRAINING, *(_uri(input_dict, key) for key in ("training", "training_examples"))),
            previous=data_gate.Known(drift.PREVIOUS, *(_uri(input_dict, key) for key in ("previous", "previous_examples"))),
            earlier=_earlier(input_dict, served),
        )
        ingestion = data_gate.summary(folders.examples)
        evaluation = EvaluationOptions.model_validate_json(exec_properties["evaluation"])
        schema = schema_file.read_folder(artifact_utils.get_single_uri(input_dict["schema"]))
        if not served:
            evaluation_gate.check_applicable(evaluation, ingestion["labels"]["train"], _segment_values(ingestion, schema))
        options = ValidationOptions.model_validate_json(exec_properties["options"])
        findings, comparisons = data_gate.judge(folders, data, schema, options)
        errors = [finding for finding in findings if finding.severity == "error"]
        if errors:
            raise GateError("\n".join(finding.message for finding in errors), findings=findings)
        folder = pathlib.Path(artifact_utils.get_single_uri(output_dict["verdict"]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "findings.json").write_text(json.dumps([finding.to_json() for finding in findings], indent=1))
        compared = json.dumps([comparison.to_json() for comparison in comparisons], indent=1, ensure_ascii=False)
        (folder / DRIFT_FILE).write_text(compared, encoding="utf-8")


def _uri(input_dict: Mapping[str, list[Artifact]], key: str) -> str | None:
    return next((artifact.uri for artifact in input_dict.get(key) or ()), None)


def _earlier(input_dict: Mapping[str, list[Artifact]], served: bool) -> list[str]:
    """Examples of the data before the run's own, oldest first. The current model may have been trained on newer data.

    What a server was asked is in line with what it was asked before, not with data to train on.
    """
    [own] = input_dict["examples"]
    keys = ("history", "previous_examples") if served else ("history", "training_examples", "previous_examples")
    artifacts = [one for key in keys for one in input_dict.get(key) or ()]
    return [one.uri for one in sorted(artifacts, key=lambda one: one.id) if one.id < own.id]


def _segment_values(ingestion: Mapping[str, Any], schema: schema_pb2.Schema) -> dict[str, Collection[str]]:
    """The values of segment columns in the test split; not of numbers, which are cut into buckets later, nor of lists cut short."""
    numbers = {feature.name for feature in schema.feature if feature.type in (schema_pb2.INT, schema_pb2.FLOAT)}
    return {
        column: values
        for column, values in ingestion["test_segments"].items()
        if column not in numbers and len(values) < _MOST_LISTED_VALUES
    }


class DataGate(base_component.BaseComponent):
    """See DataGateSpec."""

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = ExecutorPath("components.validation.component.DataGateExecutor", lean=True)

    def __init__(
        self,
        examples: types.BaseChannel,
        statistics: types.BaseChannel,
        anomalies: types.BaseChannel,
        schema: types.BaseChannel,
        previous: types.BaseChannel,
        training: types.BaseChannel,
        data: DataOptions,
        options: ValidationOptions,
        evaluation: EvaluationOptions,
        code: str,
        previous_examples: types.BaseChannel | None = None,
        training_examples: types.BaseChannel | None = None,
        history: types.BaseChannel | None = None,
    ):
        super().__init__(
            DataGateSpec(
                examples=examples,
                statistics=statistics,
                anomalies=anomalies,
                schema=schema,
                previous=previous,
                training=training,
                previous_examples=previous_examples,
                training_examples=training_examples,
                history=history,
                data=data.model_dump_json(),
                options=options.model_dump_json(),
                evaluation=evaluation.model_dump_json(),
                code=code,
                verdict=types.Channel(type=DataVerdict),
            )
        )
