"""TFMA's public extension point: an Evaluator that sums scored rows up instead of fanning them out.

Stage in, PTransform out: extracts that hold `ScoredRows` become an Evaluation, from which TFMA's own writers store metrics, plots and
validations as they would their own.

Modules of TFMA are imported one by one, and stages put together here: TFMA's own function for that imports all that TFMA can do.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.evaluators import evaluator as tfma_evaluators
from tensorflow_model_analysis.extractors import extractor
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer, metrics_plots_and_validations_writer
from tensorflow_model_analysis.writers import writer as tfma_writers

from components.evaluation import gate, report, tfma_records, tfma_rules
from components.evaluation.accumulate import Accumulator
from components.evaluation.plan import Plan
from components.evaluation.scored_rows import ScoredRows
from components.evaluation.scored_sample import ScoredSample

SCORED_ROWS = "scored_rows"
"""The key of extracts under which an extractor leaves ScoredRows."""

SCORED_SAMPLE = "scored_sample"
"""The key of extracts under which it leaves the ScoredSample of these rows."""

_RESULTS = "results"
_SAMPLE = "sample"


@dataclasses.dataclass(frozen=True)
class Results:
    """What an evaluation says: the content of metrics.json, confusion.json and verdict.json."""

    metrics: dict[str, Any]
    confusion: dict[str, Any]
    verdict: dict[str, Any]

    @classmethod
    def read(cls, folder: str) -> Results:
        """Reads what `write` wrote."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(json.loads((pathlib.Path(folder) / f"{name}.json").read_text(encoding="utf-8")) for name in names))

    def write(self, folder: str) -> None:
        """Writes one JSON file per part."""
        for name, content in dataclasses.asdict(self).items():
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=None if name == "confusion" else 1)
            (pathlib.Path(folder) / f"{name}.json").write_text(text, encoding="utf-8")


def eval_config(subject: report.Subject, signature: str, label: str, weight: str | None) -> config_pb2.EvalConfig:
    """Returns TFMA's description of the evaluation, which its writers store and its views read."""
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=name,
                # Said here, because TFMA would load every model to find out.
                model_type=constants.TF_GENERIC,
                signature_name=signature,
                label_key=label,
                example_weight_key=weight or "",
                is_baseline=model == report.BASELINE,
            )
            for model, name in tfma_records.model_names(subject.classes).items()
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=segment.names) for segment in subject.segments),
        ],
        metrics_specs=[tfma_rules.metrics_spec(subject)],
    )


def run(
    batches: beam.PCollection,
    extract: extractor.Extractor,
    evaluators: Sequence[tfma_evaluators.Evaluator],
    writers: Sequence[tfma_writers.Writer],
) -> None:
    """Adds the stages of an evaluation to a pipeline.

    Args:
      batches: Arrow RecordBatches of rows.
      extract: Takes extracts with such a batch.
      evaluators: Each looks at what that returns.
      writers: Each writes what it will of what all evaluators return.
    """
    extracts = batches | "BatchesToExtracts" >> beam.Map(_extracts_of) | extract.stage_name >> extract.ptransform
    evaluation: dict[str, beam.PCollection] = {}
    for stage in evaluators:
        evaluation |= extracts | stage.stage_name >> stage.ptransform
    for writer_ in writers:
        _ = evaluation | writer_.stage_name >> writer_.ptransform


def result_writers(
    folder: str, config: config_pb2.EvalConfig, model_paths: Mapping[str, str], data: str
) -> list[tfma_writers.Writer]:
    """Returns TFMA's writers of the files that `tfma.load_eval_result` and `tfma.load_validation_result` read.

    Args:
      folder: Where they are written.
      config: See `eval_config`.
      model_paths: SavedModels by the name that the configuration has for them; for display.
      data: Folder of the rows; for display.
    """
    kinds = (constants.METRICS_KEY, constants.PLOTS_KEY, constants.ATTRIBUTIONS_KEY, constants.VALIDATIONS_KEY)
    return [
        eval_config_writer.EvalConfigWriter(
            folder, eval_config=config, data_location=data, data_file_format="tfrecords", model_locations=dict(model_paths)
        ),
        metrics_plots_and_validations_writer.MetricsPlotsAndValidationsWriter(
            output_paths={kind: os.path.join(folder, kind) for kind in kinds}, eval_config=config
        ),
    ]


def evaluator(subject: report.Subject) -> tfma_evaluators.Evaluator:
    """Returns the evaluator, to be run after the extractor that leaves SCORED_ROWS."""
    return tfma_evaluators.Evaluator("MeasureSlices", extractor.LAST_EXTRACTOR_STAGE_NAME, _MeasureSlices(subject))


def writer(folder: str) -> tfma_writers.Writer:
    """Returns the writer of Results."""
    return tfma_writers.Writer("WriteResults", _WriteResults(folder))


def sampler() -> tfma_evaluators.Evaluator:
    """Returns an evaluator that keeps a sample of the scored rows, to be run after the extractor that leaves SCORED_SAMPLE."""
    return tfma_evaluators.Evaluator("SampleRows", extractor.LAST_EXTRACTOR_STAGE_NAME, _SampleRows())


def sample_writer(folder: str) -> tfma_writers.Writer:
    """Returns the writer of that sample."""
    return tfma_writers.Writer("WriteSample", _WriteSample(folder))


class _Accumulate(beam.CombineFn):
    def __init__(self, plan: Plan):
        self._plan = plan

    def create_accumulator(self) -> Accumulator:
        return Accumulator(self._plan)

    def add_input(self, accumulator: Accumulator, element: ScoredRows) -> Accumulator:
        accumulator.add(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        merged, *others = accumulators
        for other in others:
            merged.merge(other)
        return merged

    def extract_output(self, accumulator: Accumulator) -> Accumulator:
        return accumulator


class _Sample(beam.CombineFn):
    def create_accumulator(self) -> ScoredSample | None:
        return None

    def add_input(self, accumulator: ScoredSample | None, element: ScoredSample) -> ScoredSample:
        return element if accumulator is None else accumulator.merge(element)

    def merge_accumulators(self, accumulators: Iterable[ScoredSample | None]) -> ScoredSample | None:
        present = [accumulator for accumulator in accumulators if accumulator is not None]
        return functools.reduce(ScoredSample.merge, present) if present else None

    def extract_output(self, accumulator: ScoredSample | None) -> ScoredSample | None:
        return accumulator


@beam.ptransform_fn
def _MeasureSlices(extracts: beam.PCollection, subject: report.Subject) -> tfma_evaluators.Evaluation:
    results = (
        extracts
        | "TakeScoredRows" >> beam.Map(_scored_rows)
        | "Accumulate" >> beam.CombineGlobally(_Accumulate(report.plan(subject)))
        | "Measure" >> beam.Map(_measure, subject=subject)
    )
    return {
        _RESULTS: results,
        constants.METRICS_KEY: results | "Metrics" >> beam.FlatMap(_slice_metrics),
        constants.PLOTS_KEY: results | "Plots" >> beam.FlatMap(_slice_plots),
        constants.VALIDATIONS_KEY: results | "Validation" >> beam.Map(_validation, subject=subject),
    }


@beam.ptransform_fn
def _WriteResults(evaluation: Mapping[str, beam.PCollection], folder: str) -> beam.PCollection:
    return evaluation[_RESULTS] | "WriteJson" >> beam.Map(lambda results, path: results.write(path), path=folder)


@beam.ptransform_fn
def _SampleRows(extracts: beam.PCollection) -> tfma_evaluators.Evaluation:
    samples = extracts | "TakeSample" >> beam.Map(lambda extract: extract[SCORED_SAMPLE])
    return {_SAMPLE: samples | "MergeSamples" >> beam.CombineGlobally(_Sample())}


@beam.ptransform_fn
def _WriteSample(evaluation: Mapping[str, beam.PCollection], folder: str) -> beam.PCollection:
    return evaluation[_SAMPLE] | "WriteRecords" >> beam.Map(lambda sample, path: sample.write(path), path=folder)


def _extracts_of(batch: pa.RecordBatch) -> dict[str, Any]:
    return {constants.ARROW_RECORD_BATCH_KEY: batch}


def _scored_rows(extracts: Mapping[str, Any]) -> ScoredRows:
    return extracts[SCORED_ROWS]


def _measure(accumulator: Accumulator, subject: report.Subject) -> Results:
    metrics, confusion = report.report(accumulator, subject)
    return Results(metrics, confusion, gate.decide(subject.options, metrics))


def _slice_metrics(results: Results):
    return tfma_records.slice_metrics(results.metrics, results.verdict)


def _slice_plots(results: Results):
    return tfma_records.slice_plots(results.metrics, results.confusion)


def _validation(results: Results, subject: report.Subject):
    return tfma_rules.validation(subject, results.metrics, results.verdict)
