import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from components.errors import UsageError
from components.training import trainer

pytestmark = pytest.mark.tensorflow


def record(folder):
    return json.loads((folder / "run" / "training.json").read_text())


def scores(folder, examples):
    return (
        tf.saved_model.load(str(folder / "model")).signatures["serving_examples"](inputs=tf.constant(examples))["scores"].numpy()
    )


class TestTraining:
    def test_learns(self, trained):
        assert record(trained)["eval_accuracy"] > 0.9

    def test_records_what_happened(self, trained, tiny_run):
        written = record(trained)
        assert written["rows"] == len(tiny_run.rows["train"])
        assert written["classes"] == 4
        assert 1 <= written["best_epoch"] <= written["epochs"] <= 12
        assert written["parameters"] > 0
        assert written["seconds"] > 0

    def test_writes_tensorboard_logs(self, trained):
        assert list((trained / "run").rglob("events.out.tfevents.*"))

    def test_other_encoder(self, tiny_tokens_run):
        assert record(tiny_tokens_run.train("tokens"))["eval_accuracy"] > 0.9

    def test_logs_one_line_per_epoch(self, tiny_run, caplog):
        with caplog.at_level(logging.INFO, "components.training.trainer"):
            tiny_run.train("two_epochs", epochs=2, class_weights="balanced")
        lines = [line for line in caplog.messages if line.startswith("epoch ")]
        assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
        assert "val_loss" in lines[0]

    def test_without_eval_rows_runs_all_epochs(self, tiny_run, caplog):
        tiny_run.write("empty", [])
        folder = tiny_run.train("no_eval", evaluation="empty", epochs=2)
        assert record(folder)["epochs"] == 2
        assert record(folder)["eval_accuracy"] is None
        assert "no row with a label seen in training" in caplog.text

    def test_is_a_function_of_the_seed(self, tiny_run, as_example):
        examples = [as_example(row) for row in tiny_run.rows["eval"]]
        first, second, other = (
            scores(tiny_run.train(f"seed_{number}", epochs=2, seed=seed), examples) for number, seed in enumerate((3, 3, 4))
        )
        np.testing.assert_allclose(first, second, atol=1e-6)
        assert np.abs(first - other).max() > 1e-3


class TestUnusableData:
    def test_one_label(self, tiny_run, monkeypatch):
        monkeypatch.setattr(trainer, "_rows_of_class", lambda pools, classes: np.array([5, 0, 0, 0]))
        with pytest.raises(UsageError, match="needs two labels or more in the train split; 'intent' has 1 there"):
            tiny_run.train("one_label")


class TestClassWeights:
    def test_grow_with_rarity_and_average_one(self):
        rows = np.array([900, 100, 0])
        weights = np.array(list(trainer.class_weights(rows).values()))
        assert weights[1] / weights[0] == pytest.approx(3)
        assert (weights * rows).sum() / rows.sum() == pytest.approx(1)
