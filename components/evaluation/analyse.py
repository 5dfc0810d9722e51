"""Runs TensorFlow Model Analysis over the test split: two models, one pass, all slices at once.

TFMA's framework is kept (its extracts, evaluators, writers, slice keys and result files, so `tfma.load_eval_result` and its views
work), its inner loop is not: stock TFMA pays per row and slice in Python. Here an extractor scores whole batches with the model's
own `serving_examples` signature and an evaluator measures the scored rows with numpy (see `slices`).
"""

from __future__ import annotations

import functools
import glob
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_model_analysis as tfma
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.evaluators import evaluator
from tensorflow_model_analysis.extractors import extractor
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.slicer import slicer_lib as slicer
from tensorflow_model_analysis.writers import writer
from tfx_bsl.coders import example_coder

from components.errors import EnvironmentFailure, ParlanceError, UsageError
from components.evaluation import slices
from components.evaluation.options import EvaluationOptions

FILE_NAME = "metrics.json"
SIGNATURE = "serving_examples"

_BATCH_ROWS = 512
_SCORED = "scored_rows"
_REPORT = "report"


def analyse(
    *,
    model_path: str,
    baseline_path: str | None,
    example_pattern: str,
    label: str,
    segments: Sequence[Sequence[str]],
    train_label_counts: Mapping[str, int],
    options: EvaluationOptions,
    output_dir: str,
    beam_args: Sequence[str] = ("--direct_running_mode=in_memory",),
) -> dict[str, Any]:
    """Measures a model, and the baseline if there is one, and writes metrics.json and TFMA's own result files.

    Args:
      model_path: SavedModel of the candidate; its signature `serving_examples` maps serialized tf.Examples [n] to `classes`
        (string [n, classes], the same row n times) and `scores` (float [n, classes]).
      baseline_path: SavedModel of the last blessed model; its classes may differ, they are matched by name.
      example_pattern: Glob of TFRecord files (gzip if they end in .gz) of tf.Examples with raw columns.
      label: Column of the true label.
      segments: Columns, or crosses of columns, to slice by.
      train_label_counts: Rows of each label in the train split.
      options: The `evaluation:` section.
      output_dir: Folder for the results; created if missing.
      beam_args: Beam's pipeline options.

    Returns:
      The content of metrics.json. A baseline that cannot be loaded or cannot read these examples (columns changed since it was
      trained) is left out, and `baseline_problem` says why.

    Raises:
      UsageError: There are no test rows, or a row has no label.
      EnvironmentFailure: The candidate cannot be loaded or cannot read the examples.
    """
    files = sorted(glob.glob(example_pattern))
    if not files:
        raise UsageError(f"The test split has no files ({example_pattern}), so nothing can be measured")
    os.makedirs(output_dir, exist_ok=True)
    models = {slices.CANDIDATE: _Model(slices.CANDIDATE, model_path)}
    problem = None
    if baseline_path:
        baseline = _Model(slices.BASELINE, baseline_path)
        problem = _why_unusable(baseline, files)
        if problem is None:
            models[slices.BASELINE] = baseline
    config = _eval_config(list(models), segments)
    shared_models = [
        tfma.default_eval_shared_model(models[model].path, model_name=name, eval_config=config)
        for model, name in _model_names(list(models)).items()
    ]
    columns = sorted({column for segment in segments for column in segment})
    measure = functools.partial(
        slices.report,
        segments=segments,
        train_label_counts=train_label_counts,
        top_k=options.top_k,
        baseline_problem=problem,
    )
    report_path = os.path.join(output_dir, FILE_NAME)
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    _ = (
        pipeline
        | "ListFiles" >> beam.Create(files)
        | "ReadBatches" >> beam.FlatMap(_read_batches)
        | "Analyse"
        >> tfma.ExtractEvaluateAndWriteResults(
            eval_shared_model=shared_models,
            eval_config=config,
            extractors=[extractor.Extractor("ScoreRows", beam.ParDo(_ScoreRows(models, label, columns)))],
            evaluators=[
                evaluator.Evaluator("MeasureSlices", extractor.LAST_EXTRACTOR_STAGE_NAME, _MeasureSlices(measure)),
            ],
            writers=[
                *tfma.default_writers(output_dir, eval_shared_model=shared_models, eval_config=config),
                writer.Writer("WriteReport", _WriteReport(report_path)),
            ],
            output_path=output_dir,
            display_only_data_location=example_pattern,
            display_only_file_format="tfrecords",
        )
    )
    try:
        pipeline.run().wait_until_finish()
    except ParlanceError as error:
        # Beam appends the name of the step, which says nothing to the reader of this error.
        raise type(error)(str(error).split(" [while running")[0]) from error
    with open(report_path, encoding="utf-8") as file:
        return json.load(file)


def _eval_config(models: Sequence[str], segments: Sequence[Sequence[str]]) -> config_pb2.EvalConfig:
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=name, signature_name=SIGNATURE, is_baseline=model == slices.BASELINE)
            for model, name in _model_names(models).items()
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=segment) for segment in segments),
        ],
    )


def _model_names(models: Sequence[str]) -> dict[str, str]:
    """What TFMA calls each model; a lone one has no name."""
    return {model: model for model in models} if len(models) > 1 else {models[0]: ""}


def _read_batches(path: str) -> Iterator[pa.RecordBatch]:
    """Reads a file of tf.Examples as Arrow batches that also hold the serialized examples.

    TensorFlow's reader stands in for Beam's, which is a Python loop over records.
    """
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    compression = "GZIP" if path.endswith(".gz") else ""
    for examples in tf.data.TFRecordDataset(path, compression).batch(_BATCH_ROWS).as_numpy_iterator():
        serialized = examples.tolist()
        batch = decoder.DecodeBatch(serialized)
        yield batch.append_column(constants.ARROW_INPUT_COLUMN, pa.array(serialized, pa.binary()))


class _Scorer:
    """A loaded model, ready to score serialized examples."""

    def __init__(self, name: str, path: str):
        self._described = f"The {name} model in {path}"
        try:
            # The signature does not keep the model's variables and tables alive; the model does.
            self._model = tf.saved_model.load(path)
            self._signature = self._model.signatures[SIGNATURE]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            raise EnvironmentFailure(
                f"{self._described} must be a SavedModel with the signature {SIGNATURE!r}; loading it ended in "
                f"{type(error).__name__}"
            ) from error

    def score(self, serialized: Sequence[bytes]) -> tuple[list[str], np.ndarray]:
        """Returns the classes and the probabilities [n, classes] of n serialized examples."""
        try:
            outputs = self._signature(inputs=tf.constant(serialized))
        except tf.errors.OpError as error:
            # TensorFlow's message may quote the data; it stays on the cause.
            raise EnvironmentFailure(
                f"{self._described} cannot read the test examples ({type(error).__name__}): their columns or types are not those "
                "it was trained with"
            ) from error
        return [name.decode() for name in outputs["classes"][0].numpy()], outputs["scores"].numpy()


class _Model:
    """A model by path, which can travel to a Beam worker and is loaded once a process."""

    def __init__(self, name: str, path: str):
        self.name = name
        self.path = path
        self._handle = shared.Shared()

    def load(self) -> _Scorer:
        return self._handle.acquire(lambda: _Scorer(self.name, self.path))


def _why_unusable(model: _Model, files: Sequence[str]) -> str | None:
    """Says why a model cannot score the first batch of the examples; None if it can."""
    try:
        scorer = model.load()
        for batch in itertools.islice(itertools.chain.from_iterable(map(_read_batches, files)), 1):
            scorer.score(batch.column(constants.ARROW_INPUT_COLUMN).to_pylist())
    except EnvironmentFailure as error:
        return str(error)
    return None


class _ScoreRows(beam.DoFn):
    """Adds to each extract what all models said about its rows, and the values to slice by (see slices.scored_batch)."""

    def __init__(self, models: Mapping[str, _Model], label: str, columns: Sequence[str]):
        self._models = models
        self._label = label
        self._columns = columns

    def setup(self) -> None:
        self._scorers = {name: model.load() for name, model in self._models.items()}

    def process(self, extracts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        batch = extracts[constants.ARROW_RECORD_BATCH_KEY]
        serialized = batch.column(constants.ARROW_INPUT_COLUMN).to_pylist()
        scored = slices.scored_batch(
            _strings(batch, self._label),
            {name: scorer.score(serialized) for name, scorer in self._scorers.items()},
            {column: _strings(batch, column) for column in self._columns},
        )
        yield {**extracts, _SCORED: scored}


def _strings(batch: pa.RecordBatch, column: str) -> pa.Array:
    """The first value of each row of a column as text, null where a row has none (or no row of the batch has one)."""
    position = batch.schema.get_field_index(column)
    if position < 0 or pa.types.is_null(batch.column(position).type):
        return pa.nulls(batch.num_rows, pa.string())
    lists = batch.column(position)
    empty = pc.fill_null(pc.list_value_length(lists), 0).to_numpy() == 0
    first = lists.offsets.to_numpy()[:-1]
    return lists.values.take(pa.array(first, mask=empty)).cast(pa.string())


@beam.ptransform_fn
def _MeasureSlices(
    extracts: beam.PCollection, measure: Callable[[Sequence[pa.RecordBatch]], dict[str, Any]]
) -> evaluator.Evaluation:
    """Gathers the scored rows and measures them together."""
    report = (
        extracts
        | "TakeScoredRows" >> beam.Map(lambda extract: extract[_SCORED])
        | "Gather" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
        | "Measure" >> beam.Map(measure)
    )
    return {_REPORT: report, constants.METRICS_KEY: report | "ToSliceMetrics" >> beam.FlatMap(_slice_metrics)}


def _slice_metrics(report: Mapping[str, Any]) -> Iterator[tuple[slicer.SliceKeyType, metric_types.MetricsDict]]:
    """Yields what TFMA's writer stores: for each slice key the metrics of all models."""
    models = [model for model in (slices.CANDIDATE, slices.BASELINE) if report[model]]
    names = _model_names(models)
    for position, row in enumerate(report[slices.CANDIDATE]["slices"]):
        values = {}
        for model, name in names.items():
            measured = report[model]["slices"][position]
            values[metric_types.MetricKey("example_count", model_name=name)] = float(measured["n"])
            for metric, value in measured["metrics"].items():
                values[metric_types.MetricKey(metric, model_name=name)] = float("nan") if value is None else value
        yield tuple(row["slice"].items()), values


@beam.ptransform_fn
def _WriteReport(evaluation: evaluator.Evaluation, path: str) -> beam.PCollection:
    return evaluation[_REPORT] | "WriteJson" >> beam.Map(_write_json, path=path)


def _write_json(report: Mapping[str, Any], path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(report, file, ensure_ascii=False, indent=1, allow_nan=False)
