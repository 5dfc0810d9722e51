"""The stock side of the pipeline benchmarks: TFX's own components, through its public API, as its templates wire them.

    python -m benchmarks.stock_tfx JSON

Schema, preprocessing function, network and training are Parlance's, imported by TFX's components as user code; everything around them
is TFX's: CsvExampleGen, StatisticsGen, ImportSchemaGen, ExampleValidator, Transform, Trainer, the resolver of the last blessed model,
TFMA's Evaluator and Pusher, on LocalDagRunner with metadata in SQLite. The last line it prints is one JSON object.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

SPLITS = ("train", "eval", "test")
_HASH_BUCKETS = (8, 1, 1)
_MODEL = "serving_examples"


@dataclasses.dataclass(frozen=True)
class Job:
    """What to run.

    Attributes:
      folder: Everything the run writes goes below it; a second run in it meets the first one's cache.
      data: Folder with one CSV file.
      schema: The curated schema.
      text: Text columns.
      label: The label column.
      label_number: A column with the label's place in the label vocabulary, which is what TFMA compares scores with.
      classes: How many labels there are.
      segment: A column to slice by.
      model: The `model:` section.
      group: A column of strings whose rows never straddle splits; None splits row by row.
    """

    folder: str
    data: str
    schema: str
    text: tuple[str, ...]
    label: str
    label_number: str
    classes: int
    segment: str
    model: dict[str, Any]
    group: str | None = None


def trains_on(group: str) -> bool:
    """Returns whether rows of a group are in the split `train`, where a Job has a group: by the hash that TFX's ExampleGen takes."""
    value = group.encode()
    values = _field_1(value)
    key = hashlib.sha256(_field_1(values)).hexdigest()
    return int(key, 16) % sum(_HASH_BUCKETS) < _HASH_BUCKETS[0]


def _field_1(content: bytes) -> bytes:
    """Bytes as field 1 of a message: the value in a BytesList, and that in a Feature."""
    length, encoded = len(content), bytearray(b"\x0a")
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*encoded, length]) + content


def label_places(train_counts: Mapping[str, int]) -> dict[str, int]:
    """Returns the place of every label in the vocabulary that TFT makes: by frequency in the split `train`, then by name, backwards.

    Args:
      train_counts: Rows of each label in that split; a label without one comes behind the vocabulary, where no score is.
    """
    ordered = sorted(train_counts, key=lambda label: (train_counts[label], label.encode()), reverse=True)
    return {label: place for place, label in enumerate(ordered)}


def run(job: Job) -> dict[str, Any]:
    """Runs the pipeline; returns seconds by node, rows by split and TFMA's overall metrics."""
    from tfx import v1 as tfx

    folder = pathlib.Path(job.folder)
    metadata = str(folder / "metadata.db")
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(folder / "pipeline"),
        components=_components(job),
        enable_cache=True,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(metadata),
        beam_pipeline_args=["--direct_running_mode=in_memory"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    return {"nodes": _seconds_by_node(metadata), "rows": _rows(folder), "metrics": _metrics(folder)}


def _components(job: Job) -> list[Any]:
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.proto import config_pb2
    from tfx import v1 as tfx

    custom_config = {
        "schema": pathlib.Path(job.schema).read_text(encoding="utf-8"),
        "text": list(job.text),
        "label": job.label,
        "encoder": job.model["encoder"],
        "model": job.model,
    }
    split_config = tfx.proto.SplitConfig(
        splits=[
            tfx.proto.SplitConfig.Split(name=name, hash_buckets=buckets)
            for name, buckets in zip(SPLITS, _HASH_BUCKETS, strict=True)
        ],
        partition_feature_name=job.group,
    )
    examples = tfx.components.CsvExampleGen(input_base=job.data, output_config=tfx.proto.Output(split_config=split_config))
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.ImportSchemaGen(schema_file=job.schema)
    validator = tfx.components.ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        custom_config=custom_config,
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=list(SPLITS)),
        # Its own materialisation cannot write the ragged features of a text column.
        materialize=not job.text,
    )
    trainer = tfx.components.Trainer(
        run_fn="components.training.trainer.run_fn",
        examples=examples.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config=custom_config,
    )
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed_model")
    names = ["ExampleCount", "SparseCategoricalAccuracy"]
    metrics = [config_pb2.MetricConfig(class_name=name) for name in names]
    metrics[1].threshold.value_threshold.lower_bound.value = 0.0
    specs = [
        config_pb2.MetricsSpec(metrics=metrics),
        config_pb2.MetricsSpec(
            binarize=config_pb2.BinarizationOptions(class_ids={"values": range(min(job.classes, 3))}),
            metrics=[config_pb2.MetricConfig(class_name="AUC")],
        ),
    ]
    evaluator = tfx.components.Evaluator(
        examples=examples.outputs["examples"],
        example_splits=["test"],
        model=trainer.outputs["model"],
        baseline_model=resolver.outputs["model"],
        eval_config=tfma.EvalConfig(
            model_specs=[
                config_pb2.ModelSpec(
                    signature_name=_MODEL, model_type="tf_generic", label_key=job.label_number, prediction_key="scores"
                )
            ],
            slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=[job.segment])],
            metrics_specs=specs,
        ),
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(pathlib.Path(job.folder) / "serving"))
        ),
    )
    return [examples, statistics, schema, validator, transform, trainer, resolver, evaluator, pusher]


def _seconds_by_node(metadata: str) -> dict[str, float]:
    """Seconds between the registration and the last change of the newest execution of each node."""
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = metadata
    store = metadata_store.MetadataStore(connection)
    types = {kind.id: kind.name.rpartition(".")[2] for kind in store.get_execution_types()}
    newest = sorted(store.get_executions(), key=lambda execution: execution.id)
    return {
        types[execution.type_id]: (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
        for execution in newest
    }


def _newest(folder: pathlib.Path, node: str, output: str) -> pathlib.Path:
    return max((folder / "pipeline" / node / output).iterdir(), key=lambda path: int(path.name))


def _rows(folder: pathlib.Path) -> dict[str, int]:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    stored = _newest(folder, "StatisticsGen", "statistics")
    read = statistics_pb2.DatasetFeatureStatisticsList.FromString
    return {
        split: read((stored / f"Split-{split}" / "FeatureStats.pb").read_bytes()).datasets[0].num_examples for split in SPLITS
    }


def _metrics(folder: pathlib.Path) -> dict[str, float]:
    import tensorflow_model_analysis as tfma

    results = tfma.load_eval_result(str(_newest(folder, "Evaluator", "evaluation"))).slicing_metrics
    [overall] = [metrics for slice_key, metrics in results if slice_key == ()]
    shown = {}
    for by_class in overall.values():
        for sub_key, metrics in by_class.items():
            for name, value in metrics.items():
                if "doubleValue" in value:
                    shown[f"{name} {sub_key}".strip()] = value["doubleValue"]
    return shown


def main() -> None:
    """Runs the job given as JSON, and prints what came of it."""
    print(json.dumps(run(Job(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
