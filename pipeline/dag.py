"""The pipeline itself: which nodes there are and what flows between them.

One definition for every runner. Nodes are described by thin specs that name executors by import path, so building and compiling the
pipeline imports no TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import types
from collections.abc import Iterable

from ml_metadata.proto import metadata_store_pb2
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.compiler import compiler
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.proto.orchestration import pipeline_pb2

import components
import serving
import serving.redaction
from components.errors import UsageError
from components.evaluation.baseline import last_blessed_model
from components.evaluation.component import Evaluator
from components.ingestion import source_path
from components.ingestion.component import DatabaseExampleGen, ExampleGen, FileExampleGen
from components.ingestion.options import DatabaseSource, FileSource
from components.privacy import stored_columns
from components.release.component import InfraValidator, Pusher
from components.training.component import Trainer
from components.transform.component import Transform
from components.validation import environments, schema_file
from components.validation.baseline import baseline_statistics
from components.validation.component import DataGate, DataVerdict, ExampleValidator, SchemaImport, StatisticsGen
from pipeline.config import PipelineConfig

# Lists of ops and descriptors of messages decide what code does as much as code itself.
_CODE_SUFFIXES = (".py", ".txt", ".binpb")


def compile_pipeline(
    config: PipelineConfig, root: str | os.PathLike[str], metadata: metadata_store_pb2.ConnectionConfig, cache: bool = True
) -> pipeline_pb2.Pipeline:
    """Builds and compiles the pipeline of a configuration.

    Args:
      config: The pipeline file.
      root: Folder of all runs: artifacts, metadata, servables; may be remote (gs://).
      metadata: How to reach ML Metadata.
      cache: Whether nodes may reuse results of earlier runs.

    Returns:
      TFX's intermediate representation, which every runner executes.

    Raises:
      UsageError: The schema or the data path does not fit the pipeline file.
    """
    data, schema_path, root = config.data, pathlib.Path(config.schema_path), str(root)
    schema = schema_file.read(schema_path)
    check_roles(config, schema)

    schema_import = SchemaImport(schema_path.read_text(encoding="utf-8"))
    schema_channel = schema_import.outputs["schema"]
    ingestion_code = code_fingerprint("ingestion", "privacy", "profiling", packages=(serving.redaction,))
    if isinstance(data.source, FileSource):
        example_gen = FileExampleGen(data, config.privacy, schema_channel, ingestion_code, source_path.resolve(data.source.path))
        example_gen = example_gen.with_id("ExampleGen")
    elif isinstance(data.source, DatabaseSource):
        example_gen = DatabaseExampleGen(data, config.privacy, schema_channel, ingestion_code).with_id("ExampleGen")
    else:
        from components.ingestion import home_assistant_intents

        example_gen = ExampleGen(data, config.privacy, schema_channel, ingestion_code, home_assistant_intents.fingerprint())
    examples = example_gen.outputs["examples"]
    statistics = StatisticsGen(examples, schema_channel, on_cluster=config.beam.runner_of("StatisticsGen") != "direct")
    environment = config.validation.environment or environments.of_source(data.source)
    validator = ExampleValidator(statistics.outputs["statistics"], schema_channel, environment)
    known = baseline_statistics(statistics.outputs["statistics"], DataVerdict)
    gate = DataGate(
        examples,
        statistics.outputs["statistics"],
        validator.outputs["anomalies"],
        schema_channel,
        known.outputs["previous"],
        known.outputs["training"],
        data,
        config.validation,
        config.evaluation,
        code_fingerprint("validation", "monitoring"),
        known.outputs["previous_examples"],
        known.outputs["training_examples"],
        known.outputs["history"],
    )

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
    if config.beam.runner_of(statistics.id) == config.beam.runner_of(transform.id) == "spark":
        # Beam's job server for Spark holds one Spark, which takes one job at a time.
        transform.add_upstream_node(statistics)
    trainer = Trainer(
        examples,
        transform.outputs["transform_graph"],
        schema_channel,
        {
            "model": config.model.model_dump(mode="json"),
            "text": list(data.text),
            "label": data.label,
            "redaction": config.privacy.rules(data.text, stored_columns.categories(schema, data.text, data.group)).to_json(),
            "code": code_fingerprint("training", "transform"),
        },
    )
    # Analysing and transforming may go on beside the checks; what learns from data waits for their verdict.
    trainer.add_upstream_node(gate)
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
    infra_validator = InfraValidator(
        schema_channel,
        trainer.outputs["model"],
        evaluator.outputs["evaluation"],
        evaluator.outputs["blessing"],
        pipeline=config.name,
        options=config.release,
        # What is tried is the server as much as the model.
        code=code_fingerprint("release", packages=(serving,)),
    )
    pusher = Pusher(
        examples,
        schema_channel,
        trainer.outputs["model"],
        evaluator.outputs["evaluation"],
        evaluator.outputs["blessing"],
        infra_validator.outputs["blessing"],
        base_directory=os.path.join(root, config.release.directory, config.name),
        pipeline=config.name,
        config_sha256=config.sha256(),
        options=config.release,
    )
    for node in (statistics, transform, evaluator):
        node.with_beam_pipeline_args(config.beam.arguments(node.id))
    nodes = [
        schema_import,
        example_gen,
        statistics,
        known,
        validator,
        gate,
        transform,
        trainer,
        resolver,
        evaluator,
        infra_validator,
        pusher,
    ]  # fmt: skip
    pipeline = tfx_pipeline.Pipeline(
        pipeline_name=config.name,
        pipeline_root=os.path.join(root, "pipelines", config.name),
        components=nodes,
        metadata_connection_config=metadata,
        enable_cache=cache,
    )
    compiled = compiler.Compiler().compile(pipeline)
    # TFX sorts nodes by their depth and name. In this order, bad data on which Transform stumbles as well is reported by the gate.
    order = [node.id for node in nodes]
    compiled.nodes.sort(key=lambda node: order.index(node.pipeline_node.node_info.id))
    return compiled


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


def code_fingerprint(*stages: str, packages: Iterable[types.ModuleType] = ()) -> str:
    """Returns a hash of the code of stages, part of a node's parameters, so that changed code never meets an old cache entry.

    Args:
      stages: Names of folders in components/.
      packages: Packages beside components whose code counts, too.
    """
    stage_folders = [pathlib.Path(components.__file__).parent / stage for stage in stages]
    package_folders = [pathlib.Path(folder) for package in packages for folder in package.__path__]
    digest = hashlib.sha256()
    for folder in (*stage_folders, *package_folders):
        for file in sorted(file for file in folder.rglob("*") if file.suffix in _CODE_SUFFIXES):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
