"""Evaluation beside TFMA's own evaluator: the same predictions and slices, one process each, in one call.

    python -m benchmarks.evaluation [--rows N] [--classes N] [--rounds N] [--without-bootstrap] [--large ROWS]

Both sides are Beam pipelines around `tfma.ExtractEvaluateAndWriteResults` over the same record batches, which hold labels, predictions
and one segment column of three values; imports and making the data are not timed. The stock side computes accuracy, the confusion matrix
and three one-against-rest AUCs; not macro F1, which would cost it several times as much again. Its bootstrap (20 replicates, its
default) takes so long that it is measured on two small sizes and extrapolated along the line through them (`--without-bootstrap` leaves
that out); ours has 200 and computes every metric Parlance has, with intervals of accuracy and macro F1. `--large` measures ours alone
with 150 classes and 100 slices on a third, two thirds and all of so many rows, to see that time is linear and memory is not. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pickle
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import measure

_BATCH_ROWS = 1024
_STOCK_BOOTSTRAP_ROWS = (500, 1_500)
_REPLICATES = 200
_SLICES = 3
_LARGE_CLASSES, _LARGE_SLICES = 150, 99


def batches(rows: int, classes: int, slices: int, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Yields record batches as TFMA reads them: `label`, `prediction` (probabilities) and `segment`, each a list per row."""
    generator = np.random.default_rng(seed)
    for start in range(0, rows, _BATCH_ROWS):
        n = min(_BATCH_ROWS, rows - start)
        label = generator.integers(0, classes, n)
        logits = generator.normal(size=(n, classes)).astype(np.float32) * 2
        logits[np.arange(n), label] += 4
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        segment = np.array([f"s{value}" for value in generator.integers(0, slices, n)])
        yield pa.RecordBatch.from_pydict(
            {
                "label": _lists(pa.array(label), 1),
                "prediction": _lists(pa.array(scores.ravel()), classes),
                "segment": _lists(pa.array(segment), 1),
            }
        )


def _stored(folder: str, rows: int, classes: int, slices: int) -> str:
    """Writes the batches into a file, because Beam compresses what a pipeline is created with, slowly."""
    path = f"{folder}/rows.arrow"
    made = batches(rows, classes, slices)
    first = next(made)
    with pa.ipc.new_file(path, first.schema) as file:
        for batch in itertools.chain([first], made):
            file.write_batch(batch)
    return path


def _read(path: str) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(path) as mapped:
        file = pa.ipc.open_file(mapped)
        for number in range(file.num_record_batches):
            yield file.get_batch(number)


def _lists(values: pa.Array, length: int) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, length), pa.int32()), values)


def stock(rows: int, classes: int, bootstrap: bool) -> dict[str, Any]:
    """Measures TFMA's own evaluator."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    areas = "".join(
        f"""metrics {{ class_name: "AUC" config: '"name": "auc_{c}", "class_id": {c}' }}""" for c in range(min(3, classes))
    )
    config = text_format.Parse(
        f"""
        model_specs {{ label_key: "label" prediction_key: "prediction" }}
        slicing_specs {{}} slicing_specs {{ feature_keys: "segment" }}
        options {{ compute_confidence_intervals {{ value: {"true" if bootstrap else "false"} }}
                   confidence_intervals {{ method: POISSON_BOOTSTRAP }} }}
        metrics_specs {{
          metrics {{ class_name: "ExampleCount" }} metrics {{ class_name: "SparseCategoricalAccuracy" }}
          metrics {{ class_name: "MultiClassConfusionMatrixAtThresholds" config: '"thresholds": [0.0]' }} {areas} }}""",
        config_pb2.EvalConfig(),
    )
    beam_options = _beam_options()
    with tempfile.TemporaryDirectory() as folder:
        source = _stored(folder, rows, classes, _SLICES)

        def work() -> None:
            with beam.Pipeline(options=beam_options) as pipeline:
                _ = (
                    pipeline
                    | beam.Create([source], reshuffle=False)
                    | beam.FlatMap(_read)
                    | tfma.ExtractEvaluateAndWriteResults(eval_config=config, output_path=folder)
                )

        _, taken = measure.timed(work)
        overall = tfma.load_eval_result(folder).get_metrics_for_slice(())
        accuracy = overall["sparse_categorical_accuracy"]
        # With intervals, TFMA stores a value between bounds.
        return {**taken, "accuracy": accuracy["doubleValue"] if "doubleValue" in accuracy else accuracy["boundedValue"]["value"]}


def ours(rows: int, classes: int, slices: int = _SLICES, models: int = 1) -> dict[str, Any]:
    """Measures Parlance's evaluator."""
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.extractors import extractor

    from components.evaluation import report, segments, tfma_evaluator
    from components.evaluation.options import EvaluationOptions

    options = EvaluationOptions.model_validate(
        {
            "gates": [{"metric": "accuracy", "min": 0.5, "slices": "each"}, {"metric": "macro_f1", "min": 0.5, "slices": "each"}],
            "bootstrap": {"replicates": _REPLICATES},
        }
    )
    names = [f"class {number}" for number in range(classes)]
    subject = report.Subject(
        classes=dict.fromkeys((report.CANDIDATE, report.BASELINE)[:models], names),
        segments=(segments.Segment((segments.SegmentColumn("segment", "segment"),)),),
        train_label_counts=dict.fromkeys(names, 1),
        options=options,
    )
    config = tfma_evaluator.eval_config(subject, "", "label", None)
    beam_options = _beam_options()
    with tempfile.TemporaryDirectory() as folder:
        source = _stored(folder, rows, classes, slices)

        def work() -> None:
            with beam.Pipeline(options=beam_options) as pipeline:
                _ = (
                    pipeline
                    | beam.Create([source], reshuffle=False)
                    | beam.FlatMap(_read)
                    | tfma.ExtractEvaluateAndWriteResults(
                        eval_config=config,
                        extractors=[
                            extractor.Extractor("ReadScores", beam.Map(_read_scores, names=names, models=subject.classes))
                        ],
                        evaluators=[tfma_evaluator.evaluator(subject)],
                        writers=[*tfma.default_writers(folder, eval_config=config), tfma_evaluator.writer(folder)],
                        output_path=folder,
                    )
                )

        _, taken = measure.timed(work)
        results = tfma_evaluator.Results.read(folder)
    overall = results.metrics["candidate"]["slices"][0]
    detail = {**taken, "accuracy": overall["metrics"]["accuracy"], "slices": len(results.metrics["candidate"]["slices"])}
    return detail | ({"accumulator_mib": _accumulator_mib(subject, classes, slices)} if rows > 100_000 else {})


def _read_scores(extracts: dict[str, Any], names: list[str], models: Any) -> dict[str, Any]:
    from tensorflow_model_analysis import constants

    from components.evaluation import resampling, tfma_evaluator
    from components.evaluation.scored_rows import ScoredRows

    batch = extracts[constants.ARROW_RECORD_BATCH_KEY]
    scores = batch.column("prediction").values.to_numpy().reshape(batch.num_rows, -1)
    rows = ScoredRows(
        unit=resampling.units(0, batch.num_rows, hash(scores.tobytes())),
        actual=pa.array(names).take(batch.column("label").values),
        scores=dict.fromkeys(models, scores),
        abstained={},
        slices={"segment": batch.column("segment").values},
    )
    return {**extracts, tfma_evaluator.SCORED_ROWS: rows}


def _accumulator_mib(subject: Any, classes: int, slices: int) -> float:
    """Size of an accumulator that has seen every class in every slice, as it travels between workers."""
    from components.evaluation import report, tfma_evaluator
    from components.evaluation.accumulate import Accumulator

    accumulator = Accumulator(report.plan(subject))
    names = list(subject.classes["candidate"])
    for batch in batches(60 * classes * slices // 10, classes, slices):
        extracts = _read_scores({"arrow_record_batch": batch}, names, subject.classes)
        accumulator.add(extracts[tfma_evaluator.SCORED_ROWS])
    return len(pickle.dumps(accumulator)) / 2**20


def _beam_options():
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.beam_options import BeamOptions

    return PipelineOptions(BeamOptions().arguments())


def main() -> None:
    """Measures both sides and prints a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default: %(default)s)")
    parser.add_argument("--without-bootstrap", action="store_true", help="leave stock's bootstrap out")
    parser.add_argument(
        "--large", type=int, default=0, metavar="ROWS", help="also measure ours on so many rows, 150 classes, 100 slices"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        side = json.loads(arguments.side)
        print(json.dumps({"ours": ours, "stock": stock}[side.pop("who")](**side)))
        return

    size = {"rows": arguments.rows, "classes": arguments.classes}
    runs: dict[str, list[dict[str, Any]]] = {measure.OURS: [], measure.STOCK: []}
    two = []
    for _ in range(arguments.rounds):
        runs[measure.OURS].append(_side(who="ours", **size))
        runs[measure.STOCK].append(_side(who="stock", bootstrap=False, **size))
        two.append(_side(who="ours", models=2, **size))
    mine, plain = runs[measure.OURS], runs[measure.STOCK]
    large = [
        {"rows": rows, **_side(who="ours", rows=rows, classes=_LARGE_CLASSES, slices=_LARGE_SLICES)}
        for rows in ((arguments.large * part // 3 for part in (1, 2, 3)) if arguments.large else ())
    ]
    comparisons = [
        measure.compared(f"evaluation, ours with {_REPLICATES} replicates, stock without intervals", runs, arguments.rows),
        measure.compared("evaluation of two models", {measure.OURS: two}, arguments.rows),
        *(
            measure.compared(f"evaluation, {_LARGE_CLASSES} classes, {one['slices']} slices", {measure.OURS: [one]}, one["rows"])
            for one in large
        ),
    ]
    wall, stock_wall = measure.median(mine, "wall_s"), measure.median(plain, "wall_s")
    detail: dict[str, Any] = {
        "classes": arguments.classes,
        "slices": 1 + _SLICES,
        "replicates": {"ours": _REPLICATES, "stock": 20},
        "times_faster_than_stock_without_intervals": stock_wall / wall,
        "accuracy_difference": abs(mine[0]["accuracy"] - plain[0]["accuracy"]),
        "large": large,
    }
    print(f"{arguments.classes} classes, {1 + _SLICES} slices; memory is that of one process\n")
    print(measure.table(comparisons))
    if not arguments.without_bootstrap:
        detail |= _stock_bootstrap(arguments.rows, arguments.classes)
        extrapolated = detail["stock_with_intervals_extrapolated_s"]
        detail["times_faster_than_stock_with_intervals"] = extrapolated / wall
        small = ", ".join(f"{rows} rows {seconds:.1f} s" for rows, seconds in detail["stock_with_intervals"].items())
        print(
            f"\nstock with 20 replicates: {extrapolated:.0f} s, {extrapolated / wall:.0f} times ours; extrapolated from {small}"
        )
    for one in large:
        print(
            f"ours, {one['rows']:,} rows: memory grew by {one['grown_mib']:.0f} MiB"
            + (f", a full accumulator has {one['accumulator_mib']:.0f} MiB" if "accumulator_mib" in one else "")
        )
    print(json.dumps(measure.result("evaluation", comparisons, detail)))


def _stock_bootstrap(rows: int, classes: int) -> dict[str, Any]:
    """Measures TFMA's bootstrap on few rows, and extrapolates along the line through them."""
    few, more = _STOCK_BOOTSTRAP_ROWS
    seconds = {size: _side(who="stock", rows=size, classes=classes, bootstrap=True)["wall_s"] for size in (few, more)}
    slope = (seconds[more] - seconds[few]) / (more - few)
    return {
        "stock_with_intervals": {str(size): taken for size, taken in seconds.items()},
        "stock_with_intervals_extrapolated_s": seconds[few] + slope * (rows - few),
    }


def _side(**side: Any) -> dict[str, Any]:
    return measure.in_own_process("benchmarks.evaluation", side)


if __name__ == "__main__":
    main()
