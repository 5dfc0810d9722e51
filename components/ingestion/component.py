"""TFX nodes of the stage: rows of a source become tf.Examples in splits."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from typing import Any

from tfx import types
from tfx.components.example_gen import driver, input_processor
from tfx.components.example_gen import utils as example_gen_utils
from tfx.dsl.components.base import base_component, base_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.system_executions import Process
from tfx.utils import proto_utils

from components.errors import UsageError
from components.executor_path import ExecutorPath
from components.ingestion.options import SPLITS, DataOptions, FileSource


class Quarantine(Artifact):
    """Rows set aside, as JSON lines of reason, source and position."""

    TYPE_NAME = "Quarantine"


class ExampleGenSpec(ComponentSpec):
    """Rows in, tf.Examples out.

    input_base and input_config are those of TFX's file-based ExampleGen and are read by its driver, which resolves spans and
    versions and fingerprints the files; a source without files has a fingerprint of its own.
    """

    TYPE_ANNOTATION = Process
    PARAMETERS = {
        "data": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
        "input_base": ExecutionParameter(type=str, optional=True),
        "input_config": ExecutionParameter(type=example_gen_pb2.Input, optional=True),
        "source_fingerprint": ExecutionParameter(type=str, optional=True),
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
        from components.ingestion import ingest
        from components.validation import schema_file

        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_uri(output_dict["quarantine"])
        summary = ingest.ingest(
            options=DataOptions.model_validate_json(exec_properties["data"]),
            schema=schema_file.read_folder(artifact_utils.get_single_uri(input_dict["schema"])),
            paths=_resolved_pattern(exec_properties),
            output_dir=examples.uri,
            quarantine_dir=quarantine,
        )
        examples.split_names = json.dumps(list(SPLITS))
        examples.set_string_custom_property(
            example_gen_utils.PAYLOAD_FORMAT_PROPERTY_NAME,
            example_gen_pb2.PayloadFormat.Name(example_gen_pb2.FORMAT_TF_EXAMPLE),
        )
        examples.set_string_custom_property(example_gen_utils.FILE_FORMAT_PROPERTY_NAME, "tfrecords_gzip")
        examples.set_string_custom_property("content_fingerprint", summary["fingerprint"])


def _resolved_pattern(exec_properties: dict[str, Any]) -> list[str] | None:
    if not exec_properties.get("input_config"):
        return None
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties["input_config"], config)
    return [os.path.join(exec_properties["input_base"], split.pattern) for split in config.splits]


class ExampleGen(base_component.BaseComponent):
    """Ingestion from a source that has no files, e.g. a sampled grammar."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = ExecutorPath("components.ingestion.component.ExampleGenExecutor", lean=True)

    def __init__(self, data: DataOptions, schema: types.BaseChannel, code: str, source_fingerprint: str):
        super().__init__(_spec(data, schema, code, source_fingerprint=source_fingerprint))


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
        try:
            return super().resolve_exec_properties(exec_properties, pipeline_info, component_info)
        except ValueError as error:
            raise UsageError(f"data.source.path cannot be resolved: {error}") from error


class FileExampleGen(base_component.BaseComponent):
    """Ingestion from files: TFX's driver resolves `{SPAN}`, `{VERSION}` and dates to the newest, and fingerprints the files."""

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = ExecutorPath("components.ingestion.component.ExampleGenExecutor", lean=True)
    DRIVER_CLASS = FileDriver

    def __init__(self, data: DataOptions, schema: types.BaseChannel, code: str, path: str):
        if not isinstance(data.source, FileSource):
            raise TypeError(f"FileExampleGen reads a FileSource; received {type(data.source).__name__}")
        base, pattern = _split_pattern(path)
        config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern=pattern)])
        super().__init__(_spec(data, schema, code, input_base=base, input_config=config))


def _spec(data: DataOptions, schema: types.BaseChannel, code: str, **source: Any) -> ExampleGenSpec:
    return ExampleGenSpec(
        data=data.model_dump_json(),
        code=code,
        schema=schema,
        examples=types.Channel(type=standard_artifacts.Examples),
        quarantine=types.Channel(type=Quarantine),
        **source,
    )


def _split_pattern(path: str) -> tuple[str, str]:
    """Splits a path into the longest folder without a wildcard and the pattern below it."""
    if os.path.isdir(path):
        return path, "*"
    parts = path.split(os.sep)
    fixed = next((index for index, part in enumerate(parts[:-1]) if set(part) & set("*?[{")), len(parts) - 1)
    return os.sep.join(parts[:fixed]) or os.sep, os.sep.join(parts[fixed:])
