"""The request log of a model server as a table: what was asked, what was answered, by which version and how fast.

A record holds a request of one or more rows, each of which becomes a row of the table. Its columns are the model's inputs by name (or
the features of the tf.Examples that were sent) and, where no input has that name already:

    label           the answer: the label the model rated best; `source.label` calls it otherwise
    score           the score of that label, or the number a regression answered
    model_version   the version that answered
    abstained       whether the model would rather not answer, of models that say so
    timestamp       when, in seconds since the epoch
    latency_ms      how long the answer took

Values that models take for absent (empty strings, NaN, the integer that stands for none) are absent here, too.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from components.ingestion.options import PredictionLogSource
from components.ingestion.quarantine import Rejected
from serving import tensors, tfrecords
from serving.client import MissingOutputError, Prediction
from serving.messages import Example, PredictionLog
from serving.server.request_log import latency_seconds
from serving.tensors import Tensor

OTHER_MODELS = "records of other models"
OTHER_TIMES = "records of other times"
TORN = "torn record; what follows it in the file cannot be read"
NO_RECORD = "not a logged request"
UNREADABLE = "a tensor that cannot be read"
UNEVEN = "inputs and outputs differ in their number of rows"
NO_EXAMPLE = "not a tf.Example"

# A block bounds memory.
_ROWS_PER_BLOCK = 8192
_BLOCK_BYTES = 16 << 20

# The inputs that our models, and those made for Classify, read tf.Examples from.
_EXAMPLE_INPUTS = ("inputs", "examples")
_ABSENT_INTEGER = -(2**63)

Cell = bool | int | float | bytes | str | list[Any] | None
Row = dict[str, Cell]


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive records of one file.

    Attributes:
      rows: Their rows, every column of each plain values or lists of them.
      positions: int64 [rows], the 1-based number of the record that each row comes from.
      rejected: The records set aside.
      skipped: Records passed over, by what they are.
    """

    rows: pa.RecordBatch
    positions: np.ndarray
    rejected: list[Rejected]
    skipped: Mapping[str, int]


class NotRowsError(ValueError):
    """A record holds no rows; the message says why and quotes nothing of it."""


def read(path: pathlib.Path, source: PredictionLogSource) -> Iterator[Block]:
    """Streams a file of a request log.

    Args:
      path: A TFRecord file of PredictionLog messages.
      source: Which of its records, and what the label's column is called.

    Yields:
      Blocks of bounded size.

    Raises:
      OSError: The file cannot be read.
    """
    pending = _Pending()
    number = size = 0
    for number, content in enumerate(tfrecords.complete_records(path), 1):
        size += tfrecords.framed_bytes(content)
        try:
            log = PredictionLog.FromString(content)
            if source.model is not None and _model_of(log) != source.model:
                pending.skipped[OTHER_MODELS] += 1
            elif not _in_time(log, source):
                pending.skipped[OTHER_TIMES] += 1
            else:
                pending.add(number, rows_of(log, source.label), len(content))
        except DecodeError:
            pending.reject(number, NO_RECORD)
        except NotRowsError as error:
            pending.reject(number, str(error))
        if pending.full:
            yield pending.block()
            pending = _Pending()
    if size < path.stat().st_size:
        pending.reject(number + 1, TORN)
    if pending.any:
        yield pending.block()


def rows_of(log: PredictionLog, label: str) -> list[Row]:
    """The rows of a logged request with its answer.

    Args:
      log: The record.
      label: The column for the label.

    Raises:
      NotRowsError: It is no Predict, Classify, Regress or MultiInference, or its tensors make no table.
    """
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        asked, answered = _of_predict(log.predict_log)
    elif kind == "classify_log":
        asked, answered = _of_input(log.classify_log.request.input), _classified(log.classify_log.response.result)
    elif kind == "regress_log":
        asked, answered = _of_input(log.regress_log.request.input), _regressed(log.regress_log.response.result)
    elif kind == "multi_inference_log":
        asked, answered = _of_input(log.multi_inference_log.request.input), _first_answer(log.multi_inference_log.response)
    else:
        raise NotRowsError(NO_RECORD)
    if len(asked) != len(answered):
        raise NotRowsError(UNEVEN)
    metadata = log.log_metadata
    seconds = latency_seconds(log)
    about: Row = {
        "model_version": metadata.model_spec.version.value if metadata.model_spec.HasField("version") else None,
        "timestamp": metadata.timestamp_secs or None,
        "latency_ms": None if seconds is None else seconds * 1e3,
    }
    return [{label: best, "score": score} | about | row for row, (best, score) in zip(asked, answered, strict=True)]


class _Pending:
    """The block that is being filled."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._positions: list[int] = []
        self._rejected: dict[str, list[int]] = {}
        self._bytes = 0
        self.skipped: collections.Counter[str] = collections.Counter()

    @property
    def full(self) -> bool:
        return len(self._rows) >= _ROWS_PER_BLOCK or self._bytes >= _BLOCK_BYTES

    @property
    def any(self) -> bool:
        return bool(self._rows or self._rejected or self.skipped)

    def add(self, number: int, rows: list[Row], size: int) -> None:
        self._rows += rows
        self._positions += [number] * len(rows)
        self._bytes += size

    def reject(self, number: int, reason: str) -> None:
        self._rejected.setdefault(reason, []).append(number)

    def block(self) -> Block:
        names = dict.fromkeys(name for row in self._rows for name in row)
        arrays = [_column([row.get(name) for row in self._rows]) for name in names]
        rejected = [Rejected(reason, np.array(numbers, np.int64)) for reason, numbers in self._rejected.items()]
        rows = pa.RecordBatch.from_arrays(arrays, names=list(names))
        return Block(rows, np.array(self._positions, np.int64), rejected, self.skipped)


def _model_of(log: PredictionLog) -> str:
    if name := log.log_metadata.model_spec.name:
        return str(name)
    kind = log.WhichOneof("log_type")
    if kind is None:
        return ""
    request = getattr(log, kind).request
    specs = [task.model_spec for task in request.tasks] if kind == "multi_inference_log" else [request.model_spec]
    return str(specs[0].name) if specs else ""


def _in_time(log: PredictionLog, source: PredictionLogSource) -> bool:
    when = log.log_metadata.timestamp_secs
    return (source.since is None or when >= source.since) and (source.until is None or when < source.until)


def _of_predict(log: Any) -> tuple[list[Row], list[tuple[Cell, Cell]]]:
    inputs, outputs = _tensors(log.request.inputs), _tensors(log.response.outputs)
    example_input = next((alias for alias in _EXAMPLE_INPUTS if set(inputs) == {alias}), None)
    if example_input is not None and inputs[example_input].array.dtype == object:
        asked = [_of_example(_parsed(content)) for content in inputs[example_input].array.ravel().tolist()]
    else:
        asked = _of_columns({alias: tensor.numpy() for alias, tensor in inputs.items()})
    prediction = Prediction("", None, "", {alias: tensor.numpy() for alias, tensor in outputs.items()})
    if prediction.rows != len(asked):
        raise NotRowsError(UNEVEN)
    if "abstained" in outputs:
        asked = [{"abstained": bool(said)} | row for row, said in zip(asked, prediction.abstained, strict=True)]
    return asked, list(zip(_labels(prediction), _scores(prediction), strict=True))


def _tensors(protos: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        return {alias: tensors.from_proto(protos[alias]) for alias in sorted(protos)}
    except tensors.MalformedTensorProtoError as error:
        raise NotRowsError(UNREADABLE) from error


def _of_columns(columns: Mapping[str, np.ndarray]) -> list[Row]:
    """Rows of tensors that share their first dimension; those without dimensions belong to every row."""
    sizes = {array.shape[0] for array in columns.values() if array.ndim}
    if len(sizes) > 1:
        raise NotRowsError(UNEVEN)
    count = sizes.pop() if sizes else 1
    cells = {name: _cells(array) if array.ndim else [_cell(array.item())] * count for name, array in columns.items()}
    return [{name: values[index] for name, values in cells.items()} for index in range(count)]


def _cells(array: np.ndarray) -> list[Cell]:
    # A column of one value per row often comes with a second dimension of one.
    flat = array.reshape(len(array)) if array.size == len(array) else array
    return [_cell(value) for value in flat.tolist()]


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if value in (b"", _ABSENT_INTEGER) else value


def _of_input(given: Any) -> list[Row]:
    """Rows of the tf.Examples of a request; features of the context, where there is one, belong to each."""
    kind = given.WhichOneof("kind")
    if kind is None:
        return []
    examples = getattr(given, kind)
    context = _of_example(examples.context) if kind == "example_list_with_context" else {}
    return [context | _of_example(example) for example in examples.examples]


def _of_example(example: Any) -> Row:
    row: Row = {}
    for name, feature in sorted(example.features.feature.items()):
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind is not None else []
        row[name] = _cell(values[0]) if len(values) == 1 else values or None
    return row


def _parsed(content: bytes) -> Any:
    try:
        example = Example.FromString(content)
    except DecodeError as error:
        raise NotRowsError(NO_EXAMPLE) from error
    if content and not example.features.feature:
        raise NotRowsError(NO_EXAMPLE)
    return example


def _labels(prediction: Prediction) -> Sequence[Cell]:
    try:
        return prediction.labels
    except MissingOutputError:
        return [None] * prediction.rows


def _scores(prediction: Prediction) -> Sequence[Cell]:
    try:
        scores: list[Cell] = prediction.scores.tolist()
        return scores
    except MissingOutputError:
        return [None] * prediction.rows


def _classified(result: Any) -> list[tuple[Cell, Cell]]:
    best = (max(one.classes, key=lambda entry: entry.score, default=None) for one in result.classifications)
    return [(None, None) if entry is None else (entry.label or None, entry.score) for entry in best]


def _regressed(result: Any) -> list[tuple[Cell, Cell]]:
    return [(None, regression.value) for regression in result.regressions]


def _first_answer(response: Any) -> list[tuple[Cell, Cell]]:
    """What the first task that classified answered, or the first that did anything."""
    for result in response.results:
        if result.WhichOneof("result") == "classification_result":
            return _classified(result.classification_result)
    return _regressed(response.results[0].regression_result) if response.results else []


def _column(values: list[Cell]) -> pa.Array:
    """Returns numbers as numbers and texts as bytes, to be checked; as soon as kinds are mixed or nested, all are text."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values), pa.string())
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except OverflowError:  # unsigned, beyond int64
            return pa.array([float(value) if isinstance(value, int) else None for value in values], pa.float64())
    if kinds <= {int, float}:
        return pa.array(values, pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([_text(value) for value in values], pa.binary())


def _text(value: Cell) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    return json.dumps(value, ensure_ascii=False, default=_json_text).encode("utf-8")


def _json_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
