"""The pipeline itself: which nodes there are and what flows between them.

One definition for every runner. Nodes are described by thin specs that name executors by import path, so building and compiling the
pipeline imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pathlib

from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.compiler import compiler
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.proto.orchestration import pipeline_pb2

import components
from components.errors import UsageError
from components.evaluation.baseline import last_blessed_model
from components.evaluation.component import Evaluator
from components.ingestion.component import ExampleGen, FileExampleGen
from components.ingestion.options import FileSource
from components.release.component import Pusher
from components.training.component import Trainer
from components.transform.component import Transform
from components.validation import schema_file
from components.validation.component import DataGate, ExampleValidator, SchemaImport, StatisticsGen
from pipeline.config import PipelineConfig

_PACKAGE_PATH = "package:"

BEAM_ARGS = [
    # The runner that DirectRunner falls back to. DirectRunner itself first tries to download a runner binary from the internet.
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    # Single process: the worker already holds every library, and small data does not repay the start of others.
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
    # Nothing reads it here; without it TFX packs itself into an archive for remote workers before each Beam node.
    "--sdk_container_image=none",
]


def compile_pipeline(
    config: PipelineConfig, root: pathlib.Path, metadata: metadata_store_pb2.ConnectionConfig, cache: bool = True
) -> pipeline_pb2.Pipeline:
    """Builds and compiles the pipeline of a configuration.

    Args:
      config: The pipeline file.
      root: Folder of all runs: artifacts, metadata, servables.
      metadata: How to reach ML Metadata.
      cache: Whether nodes may reuse results of earlier runs.

    Returns:
      TFX's intermediate representation, which every runner executes.

    Raises:
      UsageError: The schema or the data path does not fit the pipeline file.
    """
    data, schema_path = config.data, pathlib.Path(config.schema_path)
    schema = schema_file.read(schema_path)
    check_roles(config, schema)

    schema_import = SchemaImport(schema_path.read_text(encoding="utf-8"))
    schema_channel = schema_import.outputs["schema"]
    ingestion_code = code_fingerprint("ingestion")
    if isinstance(data.source, FileSource):
        example_gen = FileExampleGen(data, schema_channel, ingestion_code, resolve_path(data.source.path))
        example_gen = example_gen.with_id("ExampleGen")
    else:
        from components.ingestion import home_assistant_intents

        example_gen = ExampleGen(data, schema_channel, ingestion_code, home_assistant_intents.fingerprint())
    examples = example_gen.outputs["examples"]
    statistics = StatisticsGen(examples, schema_channel)
    validator = ExampleValidator(statistics.outputs["statistics"], schema_channel)
    gate = DataGate(examples, validator.outputs["anomalies"], schema_channel, config.validation, config.evaluation)

    transform = Transform(
        examples,
        schema_channel,
        {
            "schema": schema_path.read_text(encoding="utf-8"),
            "text": list(data.text),
            "label": data.label,
            "encoder": config.model.encoder.model_dump(mode="json"),
            "code": code_fingerprint("transform"),
        },
    )
    transform.add_upstream_node(gate)
    trainer = Trainer(
        examples,
        transform.outputs["transform_graph"],
        schema_channel,
        {
            "model": config.model.model_dump(mode="json"),
            "text": list(data.text),
            "label": data.label,
            "code": code_fingerprint("training", "transform"),
        },
    )
    resolver = last_blessed_model(trainer.outputs["model"])
    evaluator = Evaluator(
        examples,
        statistics.outputs["statistics"],
        trainer.outputs["model"],
        resolver.outputs["model"],
        data,
        config.evaluation,
        code_fingerprint("evaluation"),
    )
    pusher = Pusher(
        examples,
        schema_channel,
        trainer.outputs["model"],
        evaluator.outputs["evaluation"],
        evaluator.outputs["blessing"],
        base_directory=str(root / config.release.directory / config.name),
        pipeline=config.name,
        config_sha256=config.sha256(),
        options=config.release,
    )
    pipeline = tfx_pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(root / "pipelines" / config.name),
        components=[
            schema_import,
            example_gen,
            statistics,
            validator,
            gate,
            transform,
            trainer,
            resolver,
            evaluator,
            pusher,
        ],  # fmt: skip
        metadata_connection_config=metadata,
        enable_cache=cache,
        beam_pipeline_args=BEAM_ARGS,
    )
    return compiler.Compiler().compile(pipeline)


def check_roles(config: PipelineConfig, schema) -> None:
    """Checks that every column the pipeline file names is in the schema, in the role the file gives it.

    Raises:
      UsageError: All problems at once.
    """
    data = config.data
    features = {feature.name for feature in schema.feature}
    inputs = {feature.name for feature in schema_file.model_inputs(schema)}
    problems = []
    roles = [
        ("data.label", [data.label]),
        ("data.text", list(data.text)),
        ("data.segments", [column for segment in data.segments for column in segment]),
        ("evaluation.weight", [config.evaluation.weight] if config.evaluation.weight is not None else []),
    ]
    for role, columns in roles:
        problems += [
            f"{role} names {column!r}, which the schema does not list; it lists: {', '.join(sorted(features))}"
            for column in columns
            if column not in features
        ]
    if data.label in inputs:
        problems.append(
            f'the label {data.label!r} must be marked not_in_environment: "SERVING", or the model would read its own answer'
        )
    numeric = {feature.name for feature in schema.feature if feature.type in (schema_pb2.INT, schema_pb2.FLOAT)}
    if config.evaluation.weight in features - numeric:
        problems.append(f"evaluation.weight names {config.evaluation.weight!r}, which must be INT or FLOAT in the schema")
    problems += [
        f"the text column {column!r} must be in the environment SERVING" for column in data.text if column in features - inputs
    ]
    problems += [f"{column!r} is in data.exclude and must not be in the schema" for column in data.exclude if column in features]
    if not inputs - {data.label}:
        problems.append("no feature is in the environment SERVING, so the model would have no input")
    if problems:
        raise UsageError(
            f"The pipeline file and {config.schema_path} do not fit:\n" + "\n".join(f"  {line}" for line in problems)
        )


def resolve_path(path: str) -> str:
    """Returns where a source's path is on this machine.

    Args:
      path: A file, folder or glob, relative to the working directory; or `package:NAME/PATH`, a file inside an installed package.

    Raises:
      UsageError: The package or its file does not exist.
    """
    if not path.startswith(_PACKAGE_PATH):
        return str(pathlib.Path(path).expanduser().absolute())
    package, _, inner = path.removeprefix(_PACKAGE_PATH).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"data.source.path names the package {package!r}, which is not installed")
    file = pathlib.Path(spec.submodule_search_locations[0]) / inner
    if not file.exists():
        raise UsageError(f"data.source.path: the package {package!r} has no {inner}")
    return str(file)


def code_fingerprint(*stages: str) -> str:
    """Returns a hash of the code of stages, part of a node's parameters, so that changed code never meets an old cache entry."""
    digest = hashlib.sha256()
    for stage in stages:
        for file in sorted((pathlib.Path(components.__file__).parent / stage).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
