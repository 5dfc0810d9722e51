"""SavedModels and test splits small enough to be checked by hand."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

SIGNATURE = "serving_examples"


class Servable(tf.Module):
    """A model that only has to say how it scores: a subclass defines `score(serialized)`, float [n, classes]."""

    def __init__(self, classes: Sequence[str], threshold: float | None = None):
        super().__init__()
        self.classes, self.threshold = tf.constant(list(classes)), threshold

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def answer(self, inputs):
        scores = self.score(inputs)
        rows = tf.shape(scores)[0]
        answers = {"classes": tf.tile(self.classes[tf.newaxis], [rows, 1]), "scores": scores}
        if self.threshold is not None:
            answers["abstained"] = tf.reduce_max(scores, axis=1) < self.threshold
            answers["abstain_threshold"] = tf.fill([rows], self.threshold)
        return answers

    def save(self, folder: pathlib.Path) -> str:
        """Writes the SavedModel and returns its folder."""
        tf.saved_model.save(self, str(folder), signatures={SIGNATURE: self.answer})
        return str(folder)


class FirstWord(Servable):
    """Gives 0.8 to the class that is the text's first word and the same to all others, or the same to all if it is none of them."""

    def __init__(self, classes: Sequence[str], text_type: tf.DType = tf.string, **more: Any):
        super().__init__(classes, **more)
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(list(classes)), tf.range(len(classes)))
        self.table = tf.lookup.StaticHashTable(keys, -1)
        self.text_type = text_type

    def score(self, serialized):
        spec = tf.io.FixedLenFeature([], self.text_type, default_value="" if self.text_type == tf.string else 0)
        text = tf.io.parse_example(serialized, {"text": spec})["text"]
        first = tf.strings.regex_replace(text if text.dtype == tf.string else tf.strings.as_string(text), " .*", "")
        count = self.classes.shape[0]
        sure = tf.one_hot(self.table.lookup(first), count, on_value=0.8, off_value=0.2 / (count - 1))
        return sure / tf.reduce_sum(sure, axis=1, keepdims=True)


class StoredScores(Servable):
    """Answers the scores that stand in a column of the examples."""

    def __init__(self, classes: Sequence[str], column: str, **more: Any):
        super().__init__(classes, **more)
        self.column = column

    def score(self, serialized):
        spec = tf.io.FixedLenFeature([self.classes.shape[0]], tf.float32)
        return tf.io.parse_example(serialized, {self.column: spec})[self.column]


class Logistic(Servable):
    """Two classes from a number and an integer: sigmoid(slope * age + hours / 20)."""

    def __init__(self, classes: Sequence[str], slope: float, **more: Any):
        super().__init__(classes, **more)
        self.slope = slope

    def score(self, serialized):
        spec = {"age": tf.io.FixedLenFeature([], tf.float32, 0.0), "hours": tf.io.FixedLenFeature([], tf.int64, 0)}
        row = tf.io.parse_example(serialized, spec)
        positive = tf.sigmoid(self.slope * row["age"] + tf.cast(row["hours"], tf.float32) / 20.0)
        return tf.stack([1 - positive, positive], axis=1)


def example(row: Mapping[str, Any]) -> bytes:
    """Returns a serialized tf.Example; a column that is None has no values, and a list several."""
    features = {}
    for name, value in row.items():
        values = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
        if not values:
            features[name] = tf.train.Feature()
        elif isinstance(values[0], str | bytes):
            encoded = [entry.encode() if isinstance(entry, str) else entry for entry in values]
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        elif isinstance(values[0], int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_split(folder: pathlib.Path, rows: Iterable[Mapping[str, Any]], files: int = 1, compressed: bool = True) -> str:
    """Writes rows, dealt out over several files, and returns their pattern."""
    folder.mkdir(parents=True)
    serialized = [example(row) for row in rows]
    for number in range(files):
        path = folder / f"data-{number}{'.gz' if compressed else ''}"
        with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions("GZIP" if compressed else "")) as writer:
            for row in serialized[number::files]:
                writer.write(row)
    return str(folder / "*")
