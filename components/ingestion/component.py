"""TFX nodes of the stage: rows of a source become tf.Examples in splits."""

from __future__ import annotations

import copy
import glob
import hashlib
import importlib.metadata
import json
import os
import pathlib
import uuid
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.example_gen import driver, input_processor
from tfx.components.example_gen import utils as example_gen_utils
from tfx.dsl.compiler import compiler_utils
from tfx.dsl.components.base import base_component, base_executor
from tfx.orchestration import data_types_utils
from tfx.orchestration.portable import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Process
from tfx.utils import proto_utils

from components.errors import UsageError
from components.executor_path import ExecutorPath
from components.ingestion import source_path, watermark
from components.ingestion.options import SPLITS, DatabaseSource, DataOptions, FileSource, Source
from components.privacy.options import PrivacyOptions

# On the examples: the span they are of, as `watermark.Closed` in JSON, and a hash of the source it is a span of.
_SPAN, _SPAN_OF = "closed_span", "closed_span_of"


class Quarantine(Artifact):
    """Rows set aside, as JSON lines of reason, source and position."""

    TYPE_NAME = "Quarantine"


class ExampleGenSpec(ComponentSpec):
    """Rows in, tf.Examples out.

    input_base and input_config are those of TFX's file-based ExampleGen and are read by its driver, which resolves spans and
    versions and fingerprints the files; a source without files has a fingerprint of its own. For a database the driver chooses the
    region to read and takes the fingerprint.
    """

    TYPE_ANNOTATION = Process
    PARAMETERS = {
        "data": ExecutionParameter(type=str),
        "privacy": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
        "input_base": ExecutionParameter(type=str, optional=True),
        "input_config": ExecutionParameter(type=example_gen_pb2.Input, optional=True),
        "source_fingerprint": ExecutionParameter(type=str, optional=True),
        "region": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"schema": ChannelParameter(type=standard_artifacts.Schema)}
    OUTPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=Quarantine),
    }


class ExampleGenExecutor(base_executor.BaseExecutor):
    """Runs `ingest` on what the driver resolved."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:
        """See the base class."""
        from components.ingestion import ingest, manifest
        from components.validation import environments, schema_file

        data = DataOptions.model_validate_json(exec_properties["data"])
        privacy = PrivacyOptions.model_validate_json(exec_properties["privacy"])
        schema_folder = pathlib.Path(artifact_utils.get_single_uri(input_dict["schema"]))
        paths = _resolved(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_uri(output_dict["quarantine"])
        summary = ingest.ingest(
            options=data,
            privacy=privacy,
            schema=schema_file.read_folder(schema_folder),
            paths=paths,
            output_dir=examples.uri,
            quarantine_dir=quarantine,
        )
        manifest.Manifest(
            data=data,
            privacy=privacy,
            schema=(schema_folder / schema_file.FILE_NAME).read_text(encoding="utf-8"),
            paths=None if paths is None else tuple(paths),
            span=_span(data.source, examples),
            splits=manifest.versions(summary),
            parlance=importlib.metadata.version("parlance-tfx"),
        ).write(examples.uri)
        examples.split_names = json.dumps(list(SPLITS))
        examples.set_string_custom_property(
            example_gen_utils.PAYLOAD_FORMAT_PROPERTY_NAME,
            example_gen_pb2.PayloadFormat.Name(example_gen_pb2.FORMAT_TF_EXAMPLE),
        )
        examples.set_string_custom_property(example_gen_utils.FILE_FORMAT_PROPERTY_NAME, "tfrecords_gzip")
        examples.set_string_custom_property("content_fingerprint", summary["fingerprint"])
        examples.set_string_custom_property(environments.PROPERTY, environments.of_source(data.source))


def _span(source: Source, examples: Artifact) -> int | None:
    """The number of the span that the driver chose, which it says of a source without spans as well: 0."""
    spans = source.has_spans if isinstance(source, FileSource) else getattr(source, "incremental", None) is not None
    if not spans or not examples.has_custom_property(example_gen_utils.SPAN_PROPERTY_NAME):
        return None
    return int(examples.get_int_custom_property(example_gen_utils.SPAN_PROPERTY_NAME))


def _resolved(exec_properties: dict[str, Any]) -> list[str] | None:
    if exec_properties.get("region"):
        return [exec_properties["region"]]
    if not exec_properties.get("input_config"):
        return None
    return [os.path.join(exec_properties["input_base"], split.pattern) for split in _splits(exec_properties)]


class ExampleGen(base_component.BaseComponent):
    """Ingestion from a source that has no files, e.g. a sampled grammar."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = ExecutorPath("components.ingestion.component.ExampleGenExecutor", lean=True)

    def __init__(self, data: DataOptions, privacy: PrivacyOptions, schema: types.BaseChannel, code: str, source_fingerprint: str):
        super().__init__(_spec(data, privacy, schema, code, source_fingerprint=source_fingerprint))


class _Files(input_processor.FileBasedInputProcessor):
    """TFX's processor with a fingerprint that sees more: TFX's own knows sizes and whole seconds, and not which file they belong to."""

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        patterns = [self.get_pattern_for_span_version(split.pattern, span, version) for split in self._splits]
        digest = hashlib.sha256()
        files = sorted(file for pattern in patterns for file in glob.glob(os.path.join(self._input_base_uri, pattern)))
        if not files:
            raise ValueError(f"no file matches {', '.join(patterns)} in {self._input_base_uri}")
        for file in files:
            stat = os.stat(file)
            digest.update(f"{os.path.relpath(file, self._input_base_uri)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return f"{len(files)} files, {digest.hexdigest()}"


class FileDriver(driver.FileBasedDriver):
    """TFX's driver of file-based ExampleGens, with errors for people."""

    def get_input_processor(self, splits, range_config=None, input_base_uri=None) -> input_processor.InputProcessor:
        """See the base class."""
        return _Files(input_base_uri, splits, range_config)

    def resolve_exec_properties(self, exec_properties, pipeline_info, component_info) -> dict[str, Any]:
        """See the base class.

        Raises:
          UsageError: The pattern is malformed, or no file matches it.
        """
        source = json.loads(exec_properties["data"])["source"]
        pattern = _splits(exec_properties)[0].pattern

        def resolved(span: int | None) -> dict[str, Any]:
            properties = dict(exec_properties)
            if span is not None:
                chosen = range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
                text = proto_utils.proto_to_json(range_config_pb2.RangeConfig(static_range=chosen))
                properties[standard_component_specs.RANGE_CONFIG_KEY] = text
            try:
                return super(FileDriver, self).resolve_exec_properties(properties, pipeline_info, component_info)
            except ValueError as error:
                raise UsageError(f"data.source.path cannot be resolved: {error}") from error

        last = resolved(source.get("span"))
        if source.get("window", 1) > 1:
            earlier = source_path.spans_before(exec_properties["input_base"], pattern, last["span"], source["window"] - 1)
            window = [*(resolved(span) for span in earlier), last]
            # A pattern may stand for a file of every span; each is read for itself.
            splits = [example_gen_pb2.Input.Split(name="all", pattern=_splits(one)[0].pattern) for one in window]
            last["input_config"] = proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits))
            last["input_fingerprint"] = "; ".join(one["input_fingerprint"] for one in window)
        # The span itself is in the data's options already.
        last.pop(standard_component_specs.RANGE_CONFIG_KEY, None)
        return last


class FileExampleGen(base_component.BaseComponent):
    """Ingestion from files: TFX's driver resolves `{SPAN}`, `{VERSION}` and dates to the newest, and fingerprints the files."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = ExecutorPath("components.ingestion.component.ExampleGenExecutor", lean=True)
    DRIVER_CLASS = FileDriver

    def __init__(self, data: DataOptions, privacy: PrivacyOptions, schema: types.BaseChannel, code: str, path: str):
        if not isinstance(data.source, FileSource):
            raise TypeError(f"FileExampleGen reads a FileSource; received {type(data.source).__name__}")
        base, pattern = source_path.split(path)
        config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern=pattern)])
        super().__init__(_spec(data, privacy, schema, code, input_base=base, input_config=config))


class DatabaseDriver(driver.QueryBasedDriver):
    """Chooses what to read of a database: all, or the span that the watermark has moved over since the last ingestion.

    The watermarks of earlier spans are on the examples that this node made of them, in ML Metadata. Examples of an ingestion that failed
    are not live there, so that its rows are in the next span.
    """

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """See the base class.

        Raises:
          UsageError: The table, a column or a span does not exist.
          EnvironmentFailure: The database cannot be reached.
        """
        from components.ingestion import database

        source = DataOptions.model_validate_json(execution_info.exec_properties["data"]).source
        if not isinstance(source, DatabaseSource):
            raise TypeError(f"DatabaseDriver looks at a DatabaseSource; received {type(source).__name__}")
        result = driver_output_pb2.DriverOutput()
        for key, value in execution_info.exec_properties.items():
            data_types_utils.set_metadata_value(result.exec_properties[key], value)
        examples = copy.deepcopy(execution_info.output_dict[standard_component_specs.EXAMPLES_KEY][0].mlmd_artifact)
        with database.opened(source) as table:
            if source.incremental is not None:
                identity = _identity(source)
                span, region = watermark.resolve(table, source.incremental, self._closed(execution_info, identity))
                result.exec_properties["region"].string_value = region.to_json()
                fingerprint = f"span {span.number}, {table.count(region)} rows"
                examples.custom_properties[_SPAN].string_value = span.to_json()
                examples.custom_properties[_SPAN_OF].string_value = identity
                examples.custom_properties[example_gen_utils.SPAN_PROPERTY_NAME].int_value = span.number
            elif source.version is not None:
                fingerprint = database.version(table, source.version)
            else:
                # What was read before may have changed unseen.
                fingerprint = f"read by execution {execution_info.execution_id}, {uuid.uuid4().hex}"
        result.exec_properties["source_fingerprint"].string_value = fingerprint
        result.output_artifacts[standard_component_specs.EXAMPLES_KEY].artifacts.append(examples)
        return result

    def _closed(self, execution_info: data_types.ExecutionInfo, identity: str) -> list[watermark.Closed]:
        """The spans of a source that this node has ingested, the oldest first."""
        node = execution_info.pipeline_node.node_info.id
        name = compiler_utils.node_context_name(execution_info.pipeline_info.id, node)
        with self._mlmd_connection as connection:
            context = connection.store.get_context_by_type_and_name("node", name)
            artifacts = connection.store.get_artifacts_by_context(context.id) if context is not None else []
        found = {}
        for artifact in sorted(artifacts, key=lambda artifact: artifact.id):
            properties = artifact.custom_properties
            if artifact.state == metadata_store_pb2.Artifact.LIVE and properties[_SPAN_OF].string_value == identity:
                span = watermark.closed(properties[_SPAN].string_value)
                found[span.number] = span
        return [found[number] for number in sorted(found)]


def _identity(source: DatabaseSource) -> str:
    """A hash of what the watermark of a source depends on; how much of it is read at a time is no part of it."""
    values = source.model_dump(mode="json")
    for setting in ("key", "partitions", "fields", "batch_size", "version"):
        values.pop(setting, None)
    for setting in ("window", "span", "lag"):
        values["incremental"].pop(setting)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class DatabaseExampleGen(base_component.BaseComponent):
    """Ingestion from a database."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = ExecutorPath("components.ingestion.component.ExampleGenExecutor", lean=True)
    DRIVER_CLASS = DatabaseDriver

    def __init__(self, data: DataOptions, privacy: PrivacyOptions, schema: types.BaseChannel, code: str):
        super().__init__(_spec(data, privacy, schema, code))


def _splits(exec_properties: dict[str, Any]) -> list[example_gen_pb2.Input.Split]:
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties["input_config"], config)
    return list(config.splits)


def _spec(data: DataOptions, privacy: PrivacyOptions, schema: types.BaseChannel, code: str, **source: Any) -> ExampleGenSpec:
    return ExampleGenSpec(
        data=data.model_dump_json(),
        privacy=privacy.model_dump_json(),
        code=code,
        schema=schema,
        examples=types.Channel(type=standard_artifacts.Examples),
        quarantine=types.Channel(type=Quarantine),
        **source,
    )
