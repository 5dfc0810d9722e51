"""From scored rows to the content of metrics.json: overall, per slice, per class, beside the baseline and the majority class.

Rows travel as small Arrow batches (the true label, and per model the predicted label, the true label's probability and rank),
about 30 bytes each, so that a whole test split is measured at once with numpy, whatever the number of slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import UsageError
from components.evaluation import metrics

CANDIDATE = "candidate"
BASELINE = "baseline"

_ACTUAL = "actual"


def scored_batch(
    actual: pa.Array, scores: Mapping[str, tuple[Sequence[str], np.ndarray]], segments: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    """Condenses one batch of predictions.

    Args:
      actual: True labels, string [n].
      scores: For each model its classes, in the order of its scores, and its probabilities, float [n, classes].
      segments: Values of each segment column, string [n]; null where a row has none.

    Raises:
      UsageError: A row has no label.
    """
    if actual.null_count:
        raise UsageError(f"Every test row needs a label; {actual.null_count} of {len(actual)} rows of a batch have none")
    columns: dict[str, pa.Array] = {_ACTUAL: actual}
    for model, (classes, probabilities) in scores.items():
        known_labels = pa.array(classes, pa.string())
        index = pc.fill_null(pc.index_in(actual, value_set=known_labels), -1).to_numpy()
        predicted, probability, rank = metrics.judge(probabilities, index)
        columns[f"{model}.label"] = pa.DictionaryArray.from_arrays(pa.array(predicted, pa.int32()), known_labels)
        columns[f"{model}.probability"] = pa.array(probability, pa.float32(), from_pandas=False)
        columns[f"{model}.rank"] = pa.array(rank, pa.int32())
        columns[f"{model}.last_probability"] = pa.array(probabilities[:, -1], pa.float32(), from_pandas=False)
    return pa.RecordBatch.from_pydict(columns | {f"segment.{name}": values for name, values in segments.items()})


def report(
    batches: Iterable[pa.RecordBatch],
    segments: Sequence[Sequence[str]],
    train_label_counts: Mapping[str, int],
    top_k: int,
    baseline_problem: str | None = None,
) -> dict[str, Any]:
    """Measures all rows and returns the content of metrics.json. A metric without a value is None.

    All models are measured over the same labels, matched by name: the candidate's classes, then labels that only the baseline or
    the test rows have. In `confusion` the latter share one index, that after the last of `classes`.

    The majority class is a model too: it always predicts the most frequent training label, with the training frequencies as
    probabilities.

    Args:
      batches: What `scored_batch` returned.
      segments: Columns, or crosses of columns, to slice by. A row without a value is in no slice of that segment.
      train_label_counts: Rows of each label in the train split.
      top_k: The k of top_k_accuracy.
      baseline_problem: Why a baseline that exists was not measured.

    Raises:
      UsageError: There is no row to measure.
    """
    batches = list(batches)
    if not sum(batch.num_rows for batch in batches):
        raise UsageError("The test split has no rows, so nothing can be measured; raise data.split.test or add data")
    table = pa.Table.from_batches(batches)
    models = [model for model in (CANDIDATE, BASELINE) if f"{model}.label" in table.column_names]
    predictions = {model: _dictionary(table, f"{model}.label") for model in models}
    actual = _dictionary(table, _ACTUAL)
    classes = {model: predictions[model].dictionary.to_pylist() for model in models}
    by_frequency = sorted(train_label_counts, key=lambda label: (-train_label_counts[label], label))

    candidate_classes = classes[CANDIDATE]
    others = {*actual.dictionary.to_pylist(), *classes.get(BASELINE, ()), *by_frequency} - {*candidate_classes}
    labels = [*candidate_classes, *sorted(others)]
    truth = _reindex(actual, labels)
    judgements = {
        model: metrics.Judgements(
            truth,
            _reindex(predictions[model], labels),
            table.column(f"{model}.probability").to_numpy().astype(np.float64),
            table.column(f"{model}.rank").to_numpy(),
            table.column(f"{model}.last_probability").to_numpy(),
        )
        for model in models
    }
    judgements["majority"] = _majority(truth, labels, by_frequency, train_label_counts)
    classes["majority"] = candidate_classes
    two_classes = {
        model: (labels.index(names[0]), labels.index(names[1])) if len(names) == 2 == len({*candidate_classes, *names}) else None
        for model, names in classes.items()
    }

    results: dict[str, Any] = {model: {"slices": []} for model in judgements}
    for slice_, rows in _slices(table, segments):
        for model, judged in judgements.items():
            values = metrics.measure(judged.take(rows), len(labels), top_k, two_classes[model])
            results[model]["slices"].append({"slice": slice_, "n": len(rows), "metrics": _without_nan(values)})

    confusions = {
        model: metrics.confusion_counts(judgements[model].actual, judgements[model].predicted, len(labels)) for model in models
    }
    for model in models:
        results[model]["confusion"] = _cells(_fold(confusions[model], len(candidate_classes)))
    return {
        "classes": candidate_classes,
        "train_majority_class": by_frequency[0],
        "top_k": top_k,
        CANDIDATE: results[CANDIDATE],
        BASELINE: results.get(BASELINE),
        "baseline_problem": baseline_problem,
        "majority": results["majority"],
        "per_class": _per_class(confusions[CANDIDATE], candidate_classes),
    }


def _dictionary(table: pa.Table, column: str) -> pa.DictionaryArray:
    """One column as one dictionary array; the first batch's dictionary keeps its order."""
    values = table.select([column]).unify_dictionaries().combine_chunks().column(0).chunk(0)
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _reindex(values: pa.DictionaryArray, labels: Sequence[str]) -> np.ndarray:
    position = {label: index for index, label in enumerate(labels)}
    lookup = np.array([position[label] for label in values.dictionary.to_pylist()], dtype=np.int64)
    return lookup[values.indices.to_numpy()]


def _majority(
    truth: np.ndarray, labels: Sequence[str], by_frequency: Sequence[str], counts: Mapping[str, int]
) -> metrics.Judgements:
    total = sum(counts.values())
    frequency_rank = {label: rank for rank, label in enumerate(by_frequency)}
    probability = np.array([counts.get(label, 0) / total for label in labels])
    rank = np.array([frequency_rank.get(label, len(by_frequency)) for label in labels])
    predicted = np.full_like(truth, labels.index(by_frequency[0]))
    return metrics.Judgements(truth, predicted, probability[truth], rank[truth], np.zeros(len(truth)))


def _slices(table: pa.Table, segments: Sequence[Sequence[str]]) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Yields each slice with the positions of its rows: overall first, then segment by segment, ordered by value."""
    yield {}, np.arange(table.num_rows)
    for segment in segments:
        columns = [_dictionary(table, f"segment.{name}") for name in segment]
        codes = np.stack([pc.fill_null(column.indices, -1).to_numpy() for column in columns])
        rows = np.flatnonzero((codes >= 0).all(axis=0))
        if not len(rows):
            continue
        keys, group = np.unique(codes[:, rows], axis=1, return_inverse=True)
        order = np.argsort(group, kind="stable")
        members = np.split(rows[order], np.flatnonzero(np.diff(group[order])) + 1)
        names = [column.dictionary.to_pylist() for column in columns]
        values = [tuple(name[code] for name, code in zip(names, key, strict=True)) for key in keys.T]
        for value, positions in sorted(zip(values, members, strict=True), key=lambda item: item[0]):
            yield dict(zip(segment, value, strict=True)), positions


def _fold(confusion: np.ndarray, n_classes: int) -> np.ndarray:
    """Sums the labels that are not the candidate's into one row and one column after its classes."""
    target = np.minimum(np.arange(len(confusion)), n_classes)
    folded = np.zeros((n_classes + 1, n_classes + 1), dtype=np.int64)
    np.add.at(folded, (target[:, np.newaxis], target[np.newaxis, :]), confusion)
    return folded


def _cells(confusion: np.ndarray) -> list[list[int]]:
    return [[int(i), int(j), int(confusion[i, j])] for i, j in np.argwhere(confusion)]


def _per_class(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    scores = metrics.class_scores(confusion)
    return [
        {
            "class": name,
            "n": int(scores.support[index]),
            "precision": float(scores.precision[index]),
            "recall": float(scores.recall[index]),
            "f1": float(scores.f1[index]),
        }
        for index, name in enumerate(classes)
    ]


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
