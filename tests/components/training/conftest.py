"""One tiny training run, shared: messages of two columns, a category and a number, three labels."""

from __future__ import annotations

import functools
import pathlib
import random
import types
from typing import Any

import pytest

SCHEMA = """
feature { name: "body" type: BYTES }
feature { name: "sub ject/1" type: BYTES }
feature { name: "channel" type: BYTES }
feature { name: "zip" type: INT int_domain { is_categorical: true } }
feature { name: "price" type: FLOAT }
feature { name: "intent" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""
WORDS = {"order": ["buy", "order", "purchase"], "refund": ["refund", "money", "return"], "行く": ["行く", "旅行", "切符"]}


class TinyRun:
    """Files of a tiny data set, its preprocessing graph, and a way to train on them."""

    text = ("body", "sub ject/1")
    label = "intent"
    schema_text = SCHEMA

    def __init__(self, folder: pathlib.Path, encoder: str):
        self.folder = folder
        self.encoder = encoder
        (folder / "schema.pbtxt").write_text(SCHEMA)
        self.rows = {"train": list(_rows(300, seed=1)), "eval": list(_rows(60, seed=2))}
        self.rows["train"].append({**self.rows["train"][0], "intent": "rare"})
        self.rows["eval"].append({**self.rows["eval"][0], "intent": "unseen in training"})
        for split, rows in self.rows.items():
            self.write(split, rows)
        self._analyse()

    def write(self, split: str, rows: list[dict[str, Any]]) -> None:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(self.folder / f"{split}.gz"), "GZIP") as writer:
            for row in rows:
                writer.write(serialized(row))

    def train(self, name: str, evaluation: str = "eval", **model: Any) -> pathlib.Path:
        """Runs the trainer and returns the folder that holds `model` and `run`."""
        from components.training import trainer

        options = {"encoder": self.encoder, "epochs": 12, "batch_size": 16, "learning_rate": 0.01, "top_k": 2, **model}
        trainer.run_fn(
            types.SimpleNamespace(
                custom_config={"model": options, "text": list(self.text), "label": self.label},
                train_files=[str(self.folder / "train.gz")],
                eval_files=[str(self.folder / f"{evaluation}.gz")],
                schema_path=str(self.folder / "schema.pbtxt"),
                transform_graph_path=str(self.folder / "transform"),
                serving_model_dir=str(self.folder / name / "model"),
                model_run_dir=str(self.folder / name / "run"),
            )
        )
        return self.folder / name

    def _analyse(self) -> None:
        from tensorflow_transform import beam as tft_beam
        from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

        from components.transform.preprocessing import preprocessing_fn
        from components.validation import schema_file

        config = {"schema": SCHEMA, "text": self.text, "label": self.label, "encoder": {"name": self.encoder}}
        spec = schema_utils.schema_as_feature_spec(schema_file.parse(SCHEMA)).feature_spec
        instances = [{name: [row[name]] if name in row else [] for name in spec} for row in self.rows["train"]]
        with tft_beam.Context(temp_dir=str(self.folder / "scratch")):
            function = (instances, dataset_metadata.DatasetMetadata.from_feature_spec(spec)) | tft_beam.AnalyzeDataset(
                functools.partial(preprocessing_fn, custom_config=config)
            )
            _ = function | tft_beam.WriteTransformFn(str(self.folder / "transform"))


def serialized(row: dict[str, Any]) -> bytes:
    """Returns a row as tf.Example."""
    import tensorflow as tf

    features = tf.train.Features()
    for name, value in row.items():
        if isinstance(value, str):
            features.feature[name].bytes_list.value.append(value.encode())
        elif isinstance(value, int):
            features.feature[name].int64_list.value.append(value)
        else:
            features.feature[name].float_list.value.append(value)
    return tf.train.Example(features=features).SerializeToString()


@pytest.fixture(scope="session")
def as_example():
    """Turns a row into a serialized tf.Example."""
    return serialized


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> TinyRun:
    """Data and preprocessing graph for the encoder `ngrams`."""
    return TinyRun(tmp_path_factory.mktemp("tiny_ngrams"), "ngrams")


@pytest.fixture(scope="session")
def tiny_tokens_run(tmp_path_factory) -> TinyRun:
    """Data and preprocessing graph for the encoder `tokens`."""
    return TinyRun(tmp_path_factory.mktemp("tiny_tokens"), "tokens")


@pytest.fixture(scope="session")
def trained(tiny_run) -> pathlib.Path:
    """Folder of one finished training."""
    return tiny_run.train("shared")


def _rows(count: int, seed: int):
    choose = random.Random(seed)
    for _ in range(count):
        label = choose.choice(list(WORDS))
        row = {
            "body": f"please {choose.choice(WORDS[label])} the {choose.choice(['book', 'phone', 'lamp'])}",
            "intent": label,
            "price": choose.lognormvariate(0, 3),
        }
        if choose.random() < 0.7:
            row |= {"sub ject/1": choose.choice(WORDS[label]), "channel": choose.choice(["mail", "chat"])}
        if choose.random() < 0.5:
            row |= {"zip": choose.randrange(5)}
        yield row
