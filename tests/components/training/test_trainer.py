import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components.errors import UsageError
from components.training import examples, network, trainer
from components.training.encoders import IdentifierStatistics
from components.training.options import AbstainOptions, ModelOptions

pytestmark = pytest.mark.tensorflow


def record(folder):
    return json.loads((folder / "run" / "training.json").read_text())


def serve(folder, examples):
    answer = tf.saved_model.load(str(folder / "model")).signatures["evaluation"](inputs=tf.constant(examples))
    return {name: values.numpy() for name, values in answer.items()}


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
        folder = tiny_run.train("no_eval", evaluation="empty", epochs=2, abstain={"target_precision": 0.9})
        assert record(folder)["epochs"] == 2
        assert record(folder)["eval_accuracy"] is None
        assert record(folder)["abstain"] is None
        assert "no row with a label seen in training" in caplog.text
        assert "no row to choose an abstain threshold on" in caplog.text

    def test_is_a_function_of_the_seed(self, tiny_run, trained, as_example):
        examples = [as_example(row) for row in tiny_run.rows["eval"]]
        again, other = tiny_run.train("again"), tiny_run.train("other_seed", seed=4)
        first, second, third = (serve(folder, examples)["scores"] for folder in (trained, again, other))
        np.testing.assert_allclose(first, second, atol=1e-6)
        assert np.abs(first - third).max() > 1e-3


class TestMembers:
    def test_trained_at_once_are_those_trained_in_turn(self, tiny_run, as_example, monkeypatch):
        examples = [as_example(row) for row in tiny_run.rows["eval"]]
        at_once = tiny_run.train("at_once", members=3, epochs=2)
        monkeypatch.setattr(trainer, "_members_at_once", lambda distribution: 1)
        in_turn = tiny_run.train("in_turn", members=3, epochs=2)
        np.testing.assert_allclose(*(serve(folder, examples)["scores"] for folder in (at_once, in_turn)), atol=1e-6)
        assert record(at_once)["members"] == 3


class TestPrecision:
    @pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
    def test_half_precision_learns_and_serves_single(self, tiny_run, as_example, precision):
        folder = tiny_run.train(precision, precision=precision)
        assert record(folder)["eval_accuracy"] > 0.9
        assert serve(folder, [as_example(row) for row in tiny_run.rows["eval"]])["scores"].dtype == np.float32
        graph = saved_model_pb2.SavedModel.FromString((folder / "model" / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        types = {value.type for node in nodes for value in node.attr.values() if value.HasField("type")}
        assert not types & {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum}
        assert keras.config.dtype_policy().name == "float32"

    @pytest.mark.parametrize(("precision", "kind"), [("mixed_float16", tf.float16), ("mixed_bfloat16", tf.bfloat16)])
    def test_the_hidden_layer_is_half_and_the_logits_are_not(self, precision, kind):
        sizes = network.InputSizes([IdentifierStatistics(9, np.full(1024, 5))], [IdentifierStatistics(9, np.full(8, 5))], 2)
        options = ModelOptions(precision=precision, encoder={"name": "ngrams", "buckets": 1024})
        model = network.build(options, sizes, 3)
        computed = {layer.name: layer.compute_dtype for layer in model.layers if layer.variables}
        hidden = [name for name in computed if name.startswith("dense")]
        assert [computed[name] for name in hidden] == [kind.name]
        assert {computed[name] for name in computed if name not in hidden} <= {"float32", kind.name}
        assert computed["logits"] == computed["encoder_0"] == computed["embedding_0"] == "float32"
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}

    def test_half_precision_skips_steps_whose_gradients_overflow(self, tmp_path):
        options = ModelOptions(epochs=2, batch_size=64, precision="mixed_float16")
        numbers = tf.constant(np.arange(256)[:, np.newaxis] % 2, tf.float32)
        pools = tf.data.Dataset.from_tensors({"numbers": numbers, "absent": 0 * numbers, "label": np.arange(256) % 2})
        model = network.build(options, network.InputSizes([], [], 1), 2)
        run = trainer.prepare(model, options, pools, pools, np.array([128, 128]), str(tmp_path))
        model.optimizer.build(model.trainable_variables)
        model.optimizer.dynamic_scale.assign(2.0**60)
        run()
        assert float(model.optimizer.dynamic_scale) < 2.0**60
        assert all(np.isfinite(weights).all() for weights in model.get_weights())


class TestXla:
    def test_changes_nothing_that_is_learnt(self, tmp_path):
        labels = np.arange(300) % 3
        numbers = tf.constant(labels[:, np.newaxis] / 2, tf.float32)
        pools = tf.data.Dataset.from_tensors({"numbers": numbers, "absent": 0 * numbers, "category_0": labels, "label": labels})
        histories = []
        for xla in (False, True):
            options = ModelOptions(epochs=3, batch_size=128, xla=xla, dropout=0, hidden=16)
            keras.utils.set_random_seed(0)
            model = network.build(options, network.InputSizes([], [IdentifierStatistics(300, np.full(3, 100))], 1), 3)
            histories.append(trainer.prepare(model, options, pools, pools, np.full(3, 100), str(tmp_path / str(xla)))())
        assert histories[0] == pytest.approx(histories[1], rel=1e-4)

    def test_is_refused_where_there_is_text(self, tiny_run):
        with pytest.raises(UsageError, match="model.xla is for models that read no text; received true with .*'body'"):
            tiny_run.train("xla", xla=True)


class TestEarlyStopping:
    """On an eval split that contradicts the train split, so that every epoch is worse than the one before."""

    LABELS = np.arange(256) % 2

    def fit(self, sizes, features, folder):
        """Trains six epochs with patience 1; returns what is recorded, and the loss on the eval split of the weights kept."""
        options = ModelOptions(
            epochs=6, patience=1, batch_size=64, learning_rate=0.01, encoder={"name": "ngrams", "buckets": 1024}
        )
        keras.utils.set_random_seed(0)
        model = network.build(options, sizes, 2)
        pools = [tf.data.Dataset.from_tensors({**features, "label": labels}) for labels in (self.LABELS, 1 - self.LABELS)]
        history = trainer.prepare(model, options, *pools, np.array([128, 128]), str(folder))()
        return history, model.evaluate(examples.batches(pools[1], list(model.input), 2, 256, None), verbose=0)[0]

    def test_keeps_the_first_epoch_of_a_model_that_reads_text(self, tmp_path):
        texts = tf.RaggedTensor.from_tensor(tf.constant(self.LABELS[:, np.newaxis]))
        sizes = network.InputSizes([IdentifierStatistics(256, np.full(1024, 9))], [], 0)
        history, loss = self.fit(sizes, {"text_0": texts}, tmp_path)
        assert (history["epochs"], history["best_epoch"]) == (2, 1)
        assert history["eval_loss"] == pytest.approx(loss, abs=1e-4)

    def test_lets_a_model_without_text_train_for_half_of_the_epochs_first(self, tmp_path):
        numbers = tf.constant(self.LABELS[:, np.newaxis], tf.float32)
        sizes = network.InputSizes([], [], 1)
        history, loss = self.fit(sizes, {"numbers": numbers, "absent": tf.zeros_like(numbers)}, tmp_path)
        assert (history["epochs"], history["best_epoch"]) == (5, 4)
        assert history["eval_loss"] == pytest.approx(loss, abs=1e-4)


class TestAbstainThreshold:
    def test_is_null_without_the_option(self, trained):
        assert record(trained)["abstain"] is None

    def test_holds_on_the_eval_split_as_the_model_serves_it(self, abstaining, tiny_run, as_example):
        rows = tiny_run.rows["eval"]
        answer = serve(abstaining, [as_example(row) for row in rows])
        answered = ~answer["abstained"]
        predicted = answer["classes"][np.arange(len(rows)), answer["scores"].argmax(axis=1)]
        # The row with an unseen label is wrong, so all rows together cannot be precise.
        right = np.array([label.decode() == row["intent"] for label, row in zip(predicted, rows, strict=True)])
        written = record(abstaining)["abstain"]
        assert 0 < answered.sum() < len(rows)
        assert right[answered].all()
        assert written == {
            "target_precision": 1.0,
            "out_of_scope": "refund",
            "threshold": answer["abstain_threshold"][0],
            "coverage": answered.mean(),
            "precision": 1.0,
            "reached": True,
            "rows": answered.sum(),
        }

    def test_names_a_label_of_the_train_split(self, tiny_run):
        with pytest.raises(UsageError, match="received 'refunds', which is not there. Did you mean 'refund'?"):
            tiny_run.train("misspelt", abstain={"target_precision": 0.9, "out_of_scope": "refunds"})


class TestChooseThreshold:
    @staticmethod
    def choose(target, labels, out_of_scope=None):
        """Chooses for 2,000 rows that a network of three classes takes for 0, ever less surely, and 2,000 that it takes for 1."""
        first = np.linspace(5, 0.1, 2000)
        logits = np.concatenate([np.stack([first, 0 * first], axis=1), np.stack([0 * first, first], axis=1)])
        pool = {"logits": np.pad(logits, [(0, 0), (0, 1)], constant_values=-9).astype(np.float32), "label": np.array(labels)}
        inputs = {"logits": keras.Input((3,), name="logits")}
        model = keras.Model(inputs, keras.layers.Activation("linear")(inputs["logits"]))
        options = AbstainOptions(target_precision=target)
        return trainer.choose_threshold(options, model, tf.data.Dataset.from_tensors(pool), 3, out_of_scope)

    def test_sees_all_batches(self):
        choice = self.choose(0.9, np.repeat([0, 1], 2000))
        assert (choice.rows, choice.precision) == (4000, 1.0)

    def test_counts_unseen_labels_as_wrong(self, caplog):
        choice = self.choose(0.9, np.repeat([0, -1], 2000))
        assert not choice.reached
        assert choice.precision == pytest.approx(0.5, abs=0.02)
        assert "No abstain threshold reaches a precision of 0.9 on the eval split; the best one reaches 0.5" in caplog.text

    def test_leaves_out_the_label_that_is_no_answer(self):
        choice = self.choose(0.9, np.repeat([0, -1], 2000), out_of_scope=1)
        assert (choice.rows, choice.coverage, choice.precision) == (2000, 0.5, 1.0)

    def test_warns_of_few_rows(self, caplog):
        labels = np.full(4000, 2)
        labels[[0, 2000]] = 0, 1
        assert self.choose(0.9, labels).rows == 2
        assert "answers 2 rows of the eval split: their precision is mostly chance" in caplog.text


class TestUnusableData:
    def test_one_label(self, tiny_run):
        tiny_run.write("orders", [row for row in tiny_run.rows["train"] if row["intent"] == "order"])
        arguments = tiny_run.arguments("one_label")
        arguments.train_files = [str(tiny_run.folder / "orders.gz")]
        with pytest.raises(UsageError, match="needs two labels or more in the train split; 'intent' has 1 there"):
            trainer.run_fn(arguments)


class TestClassWeights:
    def test_grow_with_rarity_and_average_one(self):
        rows = np.array([900, 100, 0])
        weights = np.array(list(trainer.class_weights(rows).values()))
        assert weights[1] / weights[0] == pytest.approx(3)
        assert (weights * rows).sum() / rows.sum() == pytest.approx(1)
