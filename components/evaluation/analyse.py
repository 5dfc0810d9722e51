"""Runs TensorFlow Model Analysis over the test split: two models, one pass, all slices, metrics and intervals at once.

TFMA's framework is kept (its extracts, evaluators, writers, slice keys and result files, so `tfma.load_eval_result`,
`tfma.load_validation_result` and its views work), its inner loop is not: stock TFMA pays per row and slice in Python. Here an
extractor scores whole batches with the model's own signature for them on all cores, and an evaluator (see
`tfma_evaluator`) sums them up.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import itertools
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.extractors import extractor
from tfx_bsl.coders import example_coder

from components.errors import EnvironmentFailure, ParlanceError, UsageError
from components.evaluation import report, resampling, scoring, tfma_evaluator, tfma_records
from components.evaluation.options import EvaluationOptions
from components.evaluation.scored_rows import ScoredRows
from components.evaluation.scored_sample import ScoredSample
from components.evaluation.segments import Segment, SegmentColumn, slice_values
from components.ingestion.row_hash import hash_cells

_BATCH_ROWS = 1024
_UNIT = "__resampling_unit__"
# Differs between rows of one group, which are one unit.
_ROW = "__row__"
BEAM_ARGS = (
    # What DirectRunner falls back to after an attempt to download another runner.
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    # One process, because it already holds every library, and the cores are used by what it calls.
    "--direct_running_mode=in_memory",
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of the examples mean what.

    Attributes:
      label: The true label.
      group: Rows with one value of it are drawn together by the bootstrap, because they are not independent; None for single rows.
      weight: Weight of each row; None if all weigh 1.
    """

    label: str
    group: str | None = None
    weight: str | None = None


def analyse(
    *,
    model_path: str,
    baseline_path: str | None,
    example_pattern: str,
    columns: Columns,
    segments: tuple[Segment, ...],
    train_label_counts: Mapping[str, int],
    options: EvaluationOptions,
    output_dir: str,
    beam_args: Sequence[str] = BEAM_ARGS,
) -> tfma_evaluator.Results:
    """Measures a model, and the baseline if there is one, decides about its release, and writes all of it.

    Writes metrics.json, confusion.json, verdict.json, a sample of the scored rows (see scored_sample) and TFMA's own result files.

    Args:
      model_path: SavedModel of the candidate; its signature `evaluation`, or `serving_examples` where it has none, maps serialized
        tf.Examples [n] to `classes` (string [n, classes], the same row n times), `scores` (float [n, classes]) and, where it can
        abstain, `abstained` (bool [n]) and `abstain_threshold` (float [n], 0 for none).
      baseline_path: SavedModel of the last blessed model; its classes may differ, they are matched by name.
      example_pattern: Glob of TFRecord files (gzip if they end in .gz) of tf.Examples with raw columns.
      columns: Which columns mean what.
      segments: What to slice by.
      train_label_counts: Rows of each label in the train split.
      options: The `evaluation:` section.
      output_dir: Folder for the results; created if missing.
      beam_args: Beam's pipeline options.

    Returns:
      What was written. A baseline that cannot be loaded or cannot read these examples (columns changed since it was trained) is left
      out, and `baseline_problem` of the metrics says why.

    Raises:
      UsageError: There are no test rows, or a row has no label or no weight.
      EnvironmentFailure: The candidate cannot be loaded or cannot read the examples, or a file of them is damaged.
    """
    files = sorted(glob.glob(example_pattern))
    if not files:
        raise UsageError(f"The test split has no files ({example_pattern}), so nothing can be measured")
    os.makedirs(output_dir, exist_ok=True)
    paths = {report.CANDIDATE: model_path} | ({report.BASELINE: baseline_path} if baseline_path else {})

    def run(paths: Mapping[str, str], baseline_problem: str | None) -> tfma_evaluator.Results:
        models = {name: scoring.Model(name, path) for name, path in paths.items()}
        # Held until the end, so that the pipeline finds them loaded.
        scorers = {name: model.load() for name, model in models.items()}
        example = _first_examples(files)
        first = {name: scorer.score(example) for name, scorer in scorers.items()}
        subject = report.Subject(
            classes={name: answer.classes for name, answer in first.items()},
            segments=segments,
            train_label_counts=train_label_counts,
            options=options,
            unit=columns.group or "row",
            abstain_threshold=first[report.CANDIDATE].abstain_threshold,
            baseline_problem=baseline_problem,
        )
        # An attempt that fails leaves temporary files of Beam's, which a second one, or whoever reads the folder, should not find.
        with tempfile.TemporaryDirectory(dir=output_dir) as attempt:
            _run_pipeline(_pipeline(subject, models, files, columns, attempt, beam_args))
            for name in os.listdir(attempt):
                os.replace(os.path.join(attempt, name), os.path.join(output_dir, name))
        return tfma_evaluator.Results.read(output_dir)

    try:
        return run(paths, None)
    except scoring.UnusableBaseline as error:
        return run({report.CANDIDATE: model_path}, str(error))


def _pipeline(
    subject: report.Subject,
    models: Mapping[str, scoring.Model],
    files: Sequence[str],
    columns: Columns,
    output_dir: str,
    beam_args: Sequence[str],
) -> beam.Pipeline:
    config = tfma_evaluator.eval_config(subject, scoring.SIGNATURE, columns.label, columns.weight)
    paths = {name: models[model].path for model, name in tfma_records.model_names(models).items()}
    slice_by = {column.name: column for segment in subject.segments for column in segment.columns}
    score = scoring.ScoreBatches(
        list(models.values()), _serialized_examples, functools.partial(_scored, columns=columns, slice_by=slice_by)
    )
    pipeline = beam.Pipeline(options=PipelineOptions(list(beam_args)))
    batches = (
        pipeline
        | "ListFiles" >> beam.Create(files, reshuffle=False)
        | "ReadBatches" >> beam.FlatMap(_read_batches, columns.group)
    )
    tfma_evaluator.run(
        batches,
        extractor.Extractor("ScoreRows", beam.ParDo(score)),
        [tfma_evaluator.evaluator(subject), tfma_evaluator.sampler()],
        [
            *tfma_evaluator.result_writers(output_dir, config, paths, os.path.dirname(files[0])),
            tfma_evaluator.writer(output_dir),
            tfma_evaluator.sample_writer(output_dir),
        ],
    )
    return pipeline


def _run_pipeline(pipeline: beam.Pipeline) -> None:
    try:
        pipeline.run().wait_until_finish()
    except ParlanceError as error:
        # Beam appends the name of the step, which says nothing to the reader of this error.
        raise type(error)(str(error).split(" [while running")[0]) from None


def _first_examples(files: Sequence[str]) -> list[bytes]:
    """Returns a batch of examples: enough to see a model's classes, and whether it can read these examples at all.

    Raises:
      UsageError: There are no rows.
    """
    batch = next(itertools.chain.from_iterable(_read_batches(path) for path in files), None)
    if batch is None:
        raise UsageError("The test split has no rows, so nothing can be measured; raise data.split.test or add data")
    return batch.column(constants.ARROW_INPUT_COLUMN).to_pylist()


def _read_batches(path: str, group: str | None = None) -> Iterator[pa.RecordBatch]:
    """Reads a file of tf.Examples as Arrow batches that also hold the serialized examples and what the bootstrap draws.

    TensorFlow's reader stands in for Beam's, which is a Python loop over records.

    Raises:
      EnvironmentFailure: The file is damaged.
    """
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    compression = "GZIP" if path.endswith(".gz") else ""
    # The name of the file and not its folder: the same rows are the same units in every run.
    salt, start = zlib.crc32(os.path.basename(path).encode()), 0
    records = tf.data.TFRecordDataset(path, compression).batch(_BATCH_ROWS).prefetch(2).as_numpy_iterator()
    while True:
        try:
            serialized = next(records).tolist()
            batch = decoder.DecodeBatch(serialized)
        except StopIteration:
            return
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise EnvironmentFailure(
                f"The test split must be TFRecord files of tf.Examples; reading {path} ended in {type(error).__name__} after "
                f"{start} rows"
            ) from None
        rows = units = resampling.units(start, len(serialized), salt)
        if group is not None:
            values = _first_values(batch, group).cast(pa.string())
            units = np.where(values.is_null().to_numpy(zero_copy_only=False), units, hash_cells(values))
        start += len(serialized)
        for name, values in (
            (constants.ARROW_INPUT_COLUMN, pa.array(serialized, pa.binary())),
            (_UNIT, pa.array(units, pa.uint64())),
            (_ROW, pa.array(rows, pa.uint64())),
        ):
            batch = batch.append_column(name, values)
        yield batch


def _serialized_examples(extracts: Mapping[str, Any]) -> list[bytes]:
    return extracts[constants.ARROW_RECORD_BATCH_KEY].column(constants.ARROW_INPUT_COLUMN).to_pylist()


def _scored(
    extracts: Mapping[str, Any],
    answers: Mapping[str, scoring.Answer],
    columns: Columns,
    slice_by: Mapping[str, SegmentColumn],
) -> dict[str, Any]:
    """Adds to extracts what the models said about their rows."""
    batch = extracts[constants.ARROW_RECORD_BATCH_KEY]
    scored = ScoredRows(
        unit=batch.column(_UNIT).to_numpy(),
        actual=_first_values(batch, columns.label).cast(pa.string()),
        scores={name: answer.scores for name, answer in answers.items()},
        abstained={name: answer.abstained for name, answer in answers.items()},
        slices={name: slice_values(column, _first_values(batch, column.source)) for name, column in slice_by.items()},
        weight=None if columns.weight is None else _weights(batch, columns.weight),
    )
    candidate = answers[report.CANDIDATE]
    sample = ScoredSample.of(
        _serialized_examples(extracts),
        scored.actual.to_pylist(),
        candidate.scores,
        batch.column(_ROW).to_numpy(),
        candidate.classes,
    )
    return {**extracts, tfma_evaluator.SCORED_ROWS: scored, tfma_evaluator.SCORED_SAMPLE: sample}


def _weights(batch: pa.RecordBatch, column: str) -> np.ndarray:
    values = _first_values(batch, column)
    if pa.types.is_string(values.type) and values.null_count < len(values):
        raise UsageError(f"evaluation.weight must be a column of numbers; received {column}, which is text")
    return pc.fill_null(values.cast(pa.float64()), float("nan")).to_numpy()


def _first_values(batch: pa.RecordBatch, column: str) -> pa.Array:
    """The first value of each row of a column, text or numbers; null where a row has none (or no row of the batch has one)."""
    position = batch.schema.get_field_index(column)
    if position < 0 or pa.types.is_null(batch.column(position).type):
        return pa.nulls(batch.num_rows, pa.string())
    lists = batch.column(position)
    empty = pc.fill_null(pc.list_value_length(lists), 0).to_numpy() == 0
    first = lists.offsets.to_numpy()[:-1]
    values = lists.values.take(pa.array(first, mask=empty))
    if not pa.types.is_large_binary(values.type) and not pa.types.is_binary(values.type):
        return values
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        raise UsageError(f"Column {column} must be text in UTF-8; a test row of it is not") from None
