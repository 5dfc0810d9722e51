"""One tiny training run, shared: messages of two columns, a category and a number, three labels."""

from __future__ import annotations

import pathlib
import random
import types
from typing import Any

import pytest

from tests.components import raw_rows

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
        raw_rows.analyse(
            self.rows["train"], {"schema": SCHEMA, "text": self.text, "label": self.label, "encoder": {"name": encoder}}, folder
        )

    def write(self, split: str, rows: list[dict[str, Any]]) -> None:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(self.folder / f"{split}.gz"), "GZIP") as writer:
            for row in rows:
                writer.write(raw_rows.serialized(row))

    def arguments(self, name: str, evaluation: str = "eval", **model: Any) -> types.SimpleNamespace:
        """What TFX would give the trainer; results go to `model` and `run` in the folder `name`."""
        options = {"encoder": self.encoder, "epochs": 12, "batch_size": 16, "learning_rate": 0.01, "top_k": 2, **model}
        return types.SimpleNamespace(
            custom_config={"model": options, "text": list(self.text), "label": self.label},
            train_files=[str(self.folder / "train.gz")],
            eval_files=[str(self.folder / f"{evaluation}.gz")],
            schema_path=str(self.folder / "schema.pbtxt"),
            transform_graph_path=str(self.folder / "transform"),
            serving_model_dir=str(self.folder / name / "model"),
            model_run_dir=str(self.folder / name / "run"),
        )

    def train(self, name: str, evaluation: str = "eval", **model: Any) -> pathlib.Path:
        """Runs the trainer and returns the folder that holds `model` and `run`."""
        from components.training import trainer

        trainer.run_fn(self.arguments(name, evaluation, **model))
        return self.folder / name


@pytest.fixture(scope="session")
def as_example():
    """Turns a row into a serialized tf.Example."""
    return raw_rows.serialized


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


@pytest.fixture(scope="session")
def abstaining(tiny_run) -> pathlib.Path:
    """Folder of a training with an abstain threshold, and with `refund` for the label that is no answer."""
    return tiny_run.train("abstaining", epochs=3, abstain={"target_precision": 1.0, "out_of_scope": "refund"})


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
