"""Quality of the default model on public data with official splits, beside reference and published scores.

    python -m benchmarks.quality [--encoder NAME] [--eval] [SET...]

Trains through the real modules: the preprocessing function in TensorFlow Transform on Beam, the trainer's run function, and the
exported SavedModel's signature for tf.Examples. `--eval` measures the eval split, the one to choose options by; without it the test
split is measured, which must choose nothing. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import resource
import tempfile
import time
import types
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from components.ingestion import source_path
from components.training.options import ModelOptions
from pipeline.beam_options import BeamOptions

DATA = pathlib.Path(os.environ.get("PARLANCE_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
SPLITS = ("train", "eval", "test")

_TEXT_SCHEMA = """
feature { name: "text" type: BYTES presence { min_fraction: 1 min_count: 1 } }
feature { name: "label" type: BYTES presence { min_fraction: 1 min_count: 1 } not_in_environment: "SERVING" }
"""


@dataclasses.dataclass(frozen=True)
class BenchmarkSet:
    """One data set and what others reach on it.

    Attributes:
      load: Returns the table, with a `split` column, and its schema in text form.
      text: Text columns.
      label: Label column.
      measure: Metrics by name from the table of the measured split, the true labels, the classes and the scores [rows, classes].
      floor: What the first metric must reach.
      reference: The first metric of a reference model.
      published: What papers report.
    """

    load: Callable[[], tuple[pa.Table, str]]
    text: tuple[str, ...]
    label: str
    measure: Callable[[pa.Table, np.ndarray, np.ndarray, np.ndarray, pa.Table], dict[str, float]]
    floor: float | None
    reference: str
    published: str


def run(name: str, split: str, options: ModelOptions) -> dict[str, object]:
    """Trains one set and measures one split.

    Args:
      name: A key of `SETS`.
      split: The split to measure.
      options: The `model:` section.

    Returns:
      The metrics, the trainer's record and the times, as JSON values.
    """
    import tensorflow as tf

    from components.training import trainer

    benchmark = SETS[name]
    table, schema_text = benchmark.load()
    tables = {part: table.filter(pc.equal(table["split"], part)) for part in SPLITS}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "schema.pbtxt").write_text(schema_text)
        for part, rows in tables.items():
            _write_examples(rows, schema_text, root / part)
        config = {
            "schema": schema_text,
            "text": list(benchmark.text),
            "label": benchmark.label,
            "encoder": options.encoder.model_dump(mode="json"),
        }
        started = time.perf_counter()
        _analyse(root / "train", config, root / "transform")
        transform_s = time.perf_counter() - started

        started, used = time.perf_counter(), _cpu_seconds()
        trainer.run_fn(
            types.SimpleNamespace(
                custom_config={**config, "model": options.model_dump(mode="json")},
                train_files=[str(root / "train" / "*.gz")],
                eval_files=[str(root / "eval" / "*.gz")],
                schema_path=str(root / "schema.pbtxt"),
                transform_graph_path=str(root / "transform"),
                serving_model_dir=str(root / "model"),
                model_run_dir=str(root / "run"),
            )
        )
        train_s, train_cpu_s = time.perf_counter() - started, _cpu_seconds() - used
        record = json.loads((root / "run" / trainer.RECORD).read_text())
        serve = tf.saved_model.load(str(root / "model")).signatures["serving_examples"]
        records = tf.data.TFRecordDataset(str(root / split / "data.gz"), "GZIP").batch(1024)
        answers = [serve(inputs=batch) for batch in records]
        classes = answers[0]["classes"][0].numpy().astype(str)
        scores = np.concatenate([answer["scores"].numpy() for answer in answers])
    truth = np.array(tables[split][benchmark.label].to_pylist())
    return {
        "set": name,
        "split": split,
        "rows": {part: rows.num_rows for part, rows in tables.items()},
        "metrics": benchmark.measure(tables[split], truth, classes, scores, tables["train"]),
        "training": record,
        "transform_s": round(transform_s, 1),
        "train_s": round(train_s, 1),
        "train_cpu_s": round(train_cpu_s, 1),
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _write_examples(table: pa.Table, schema_text: str, folder: pathlib.Path) -> None:
    import tensorflow as tf

    from components.validation import schema_file

    folder.mkdir()
    names = [feature.name for feature in schema_file.parse(schema_text).feature]
    with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
        for row in table.select(names).to_pylist():
            present = {name: _feature(value) for name, value in row.items() if value is not None}
            writer.write(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())


def _feature(value: str | int | float):
    import tensorflow as tf

    if isinstance(value, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def _analyse(examples: pathlib.Path, config: dict[str, object], output: pathlib.Path) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tensorflow_transform import beam as tft_beam
    from tfx_bsl.public import tfxio

    from components.transform.preprocessing import preprocessing_fn
    from components.validation import schema_file

    source = tfxio.TFExampleRecord(str(examples / "*.gz"), schema=schema_file.parse(config["schema"]))
    with (
        tempfile.TemporaryDirectory() as scratch,
        beam.Pipeline(options=PipelineOptions(BeamOptions().arguments())) as pipeline,
        tft_beam.Context(temp_dir=scratch),
    ):
        rows = pipeline | source.BeamSource()
        function = (rows, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        function | tft_beam.WriteTransformFn(str(output))


def _text_set(path: str) -> tuple[pa.Table, str]:
    table = pa.parquet.read_table(DATA / path)
    splits = [{"val": "eval"}.get(split, split) for split in table["split"].to_pylist()]
    if "eval" not in splits:
        splits = [
            "eval" if split == "train" and _tenth(text) else split
            for split, text in zip(splits, table["text"].to_pylist(), strict=True)
        ]
    return table.set_column(table.schema.get_field_index("split"), "split", pa.array(splits)), _TEXT_SCHEMA


def _tenth(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % 10 == 0


def _taxi() -> tuple[pa.Table, str]:
    table = pyarrow.csv.read_csv(source_path.resolve("package:tfx/examples/chicago_taxi_pipeline/data/simple/data.csv"))
    big_tip = pc.if_else(pc.greater(table["tips"], pc.multiply(table["fare"], 0.2)), "true", "false")
    table = table.append_column("big_tip", big_tip).sort_by("trip_start_timestamp")
    rows = table.num_rows
    bounds = {"train": int(rows * 0.7), "eval": int(rows * 0.8) - int(rows * 0.7)}
    splits = ["train"] * bounds["train"] + ["eval"] * bounds["eval"]
    table = table.append_column("split", pa.array(splits + ["test"] * (rows - len(splits))))
    schema = (pathlib.Path(__file__).resolve().parents[1] / "schemas" / "taxi" / "schema.pbtxt").read_text()
    return table, schema


def _accuracy(table, truth, classes, scores, train) -> dict[str, float]:
    return {"accuracy": _share(classes[scores.argmax(1)] == truth)}


def _clinc_metrics(table, truth, classes, scores, train) -> dict[str, float]:
    right = classes[scores.argmax(1)] == truth
    outside = np.array(table["is_oos"].to_pylist())
    return {"in-scope accuracy": _share(right[~outside]), "out-of-scope recall": _share(right[outside])}


def _multidogo_metrics(table, truth, classes, scores, train) -> dict[str, float]:
    right = classes[scores.argmax(1)] == truth
    seen = set(train["text"].to_pylist())
    unseen = np.array([text not in seen for text in table["text"].to_pylist()])
    return {"accuracy": _share(right), "unseen texts": _share(right[unseen])}


def _auc(table, truth, classes, scores, train) -> dict[str, float]:
    positive = scores[:, list(classes).index("true")]
    _, ranks, counts = np.unique(positive, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - (counts - 1) / 2)[ranks]
    hits = truth == "true"
    area = (middle[hits].sum() - hits.sum() * (hits.sum() + 1) / 2) / (hits.sum() * (~hits).sum())
    return {"AUC": round(float(area), 4)}


def _share(right: np.ndarray) -> float:
    return round(float(right.mean()) * 100, 2)


SETS = {
    "clinc150": BenchmarkSet(
        functools.partial(_text_set, "clinc150/full.parquet"), ("text",), "label", _clinc_metrics, 92.0, "92.8",
        "SVM 91.0, CNN 91.2, MLP 93.5, BERT 96.9",
    ),
    "banking77": BenchmarkSet(
        functools.partial(_text_set, "banking77/data.parquet"), ("text",), "label", _accuracy, 91.0, "91.2",
        "USE+ConveRT 93.4, BERT 93.7",
    ),
    "snips": BenchmarkSet(
        functools.partial(_text_set, "snips/data.parquet"), ("text",), "label", _accuracy, 98.5, "98.6", "",
    ),
    "multidogo": BenchmarkSet(
        functools.partial(_text_set, "multidogo/turn.parquet"), ("text",), "label", _multidogo_metrics, None, "92.2 / 89.8",
        "by domain 88.4 to 95.4",
    ),
    "taxi": BenchmarkSet(_taxi, (), "big_tip", _auc, 0.62, "0.644", ""),
}  # fmt: skip


def main() -> None:
    """Runs the sets named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"which of {', '.join(SETS)}; all by default")
    parser.add_argument("--encoder", default="ngrams")
    parser.add_argument("--eval", action="store_true", help="measure the eval split instead of the test split")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a model option, e.g. epochs=5")
    arguments = parser.parse_args()
    if unknown := set(arguments.sets) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(unknown))}; choose from {', '.join(SETS)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("components").setLevel(logging.INFO)
    changed = {key: json.loads(value) for key, _, value in (setting.partition("=") for setting in arguments.set)}
    options = ModelOptions.model_validate({"encoder": arguments.encoder, **changed})

    results = []
    for name in arguments.sets or SETS:
        try:
            results.append(run(name, "eval" if arguments.eval else "test", options))
        except FileNotFoundError as error:
            if not str(error.filename or error).startswith(str(DATA)):
                raise
            print(f"{name} is skipped: {error.filename or error} is missing; PARLANCE_DATA names the folder of the data sets")
    print(f"{'set':10} {'split':5} {'ours':46} {'floor':>6} {'reference':>12} {'cpu s':>6}  published")
    for result in results:
        benchmark = SETS[result["set"]]
        ours = ", ".join(f"{name} {value}" for name, value in result["metrics"].items())
        print(
            f"{result['set']:10} {result['split']:5} {ours:46} {benchmark.floor or '':>6} {benchmark.reference:>12} "
            f"{result['train_cpu_s']:6.0f}  {benchmark.published}"
        )
    print(json.dumps({"area": "quality", "encoder": options.encoder.name, "results": results}))


if __name__ == "__main__":
    main()
