import numpy as np
import pytest
import tensorflow as tf

from components.training.export import ABSENT_INTEGER

pytestmark = pytest.mark.tensorflow

NUMERIC, TEXTS = "price", ("body", "sub ject/1", "channel")


@pytest.fixture(scope="module")
def model(trained):
    return tf.saved_model.load(str(trained / "model"))


def columns(rows):
    """Turns rows into one tensor per column, absent values marked as a client would."""
    values = {name: tf.constant([row.get(name, "") for row in rows], tf.string) for name in TEXTS}
    values["zip"] = tf.constant([row.get("zip", ABSENT_INTEGER) for row in rows], tf.int64)
    values[NUMERIC] = tf.constant([row.get(NUMERIC, float("nan")) for row in rows], tf.float32)
    return values


class TestServingDefault:
    def test_takes_columns_by_their_own_names(self, trained):
        saved = tf.compat.v1.saved_model.load
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            signature = saved(session, ["serve"], str(trained / "model")).signature_def["serving_default"]
        assert set(signature.inputs) == {*TEXTS, "zip", NUMERIC}
        assert set(signature.outputs) == {"label", "score", "top_labels", "top_scores", "abstained"}

    def test_returns_labels_and_scores_best_first(self, model, tiny_run):
        answer = model.signatures["serving_default"](**columns(tiny_run.rows["eval"]))
        rows = len(tiny_run.rows["eval"])
        assert answer["label"].shape == [rows]
        assert answer["top_labels"].shape == answer["top_scores"].shape == [rows, 2]
        assert (answer["label"].numpy() == answer["top_labels"].numpy()[:, 0]).all()
        assert (np.diff(answer["top_scores"].numpy(), axis=1) <= 0).all()

    def test_predicts(self, model, tiny_run):
        answer = model.signatures["serving_default"](**columns(tiny_run.rows["eval"]))
        truth = [row["intent"] for row in tiny_run.rows["eval"]]
        assert np.mean([label.decode() == true for label, true in zip(answer["label"].numpy(), truth, strict=True)]) > 0.9

    @pytest.mark.parametrize("row", [{}, {"body": "\x00"}, {"body": "x" * 100_000}, {NUMERIC: float("inf"), "zip": 99}])
    def test_answers_odd_rows(self, model, row):
        answer = model.signatures["serving_default"](**columns([row]))
        assert np.isfinite(answer["score"].numpy()).all()

    def test_answers_no_rows(self, model):
        answer = model.signatures["serving_default"](**columns([]))
        assert answer["label"].shape == answer["abstained"].shape == [0]


class TestServingExamples:
    def test_returns_all_classes_in_vocabulary_order(self, model, as_example):
        answer = model.signatures["serving_examples"](inputs=tf.constant([as_example({"body": "buy"}), as_example({})]))
        assert sorted(label.decode() for label in answer["classes"][0].numpy()) == ["order", "rare", "refund", "行く"]
        assert (answer["classes"][0].numpy() == answer["classes"][1].numpy()).all()
        np.testing.assert_allclose(answer["scores"].numpy().sum(axis=1), 1, atol=1e-5)

    def test_agrees_with_serving_default(self, model, tiny_run, as_example):
        rows = tiny_run.rows["eval"]
        by_columns = model.signatures["serving_default"](**columns(rows))
        by_example = model.signatures["serving_examples"](inputs=tf.constant([as_example(row) for row in rows]))
        np.testing.assert_allclose(by_columns["score"], by_example["scores"].numpy().max(axis=1), atol=1e-6)
        best = by_example["scores"].numpy().argmax(axis=1)
        assert (by_columns["label"].numpy() == by_example["classes"].numpy()[np.arange(len(rows)), best]).all()

    def test_answers_no_rows(self, model):
        answer = model.signatures["serving_examples"](inputs=tf.constant([], tf.string))
        assert {name: values.shape.as_list() for name, values in answer.items()} == {
            "classes": [0, 4], "scores": [0, 4],
        }  # fmt: skip

    def test_has_the_outputs_that_classify_takes_and_no_others(self, model):
        assert set(model.signatures["serving_examples"].structured_outputs) == {"classes", "scores"}


class TestEvaluation:
    def test_says_what_serving_examples_says(self, model, tiny_run, as_example):
        examples = tf.constant([as_example(row) for row in tiny_run.rows["eval"]])
        served, evaluated = (model.signatures[name](inputs=examples) for name in ("serving_examples", "evaluation"))
        for name in served:
            assert (served[name].numpy() == evaluated[name].numpy()).all()

    def test_answers_no_rows(self, model):
        answer = model.signatures["evaluation"](inputs=tf.constant([], tf.string))
        assert answer["abstained"].shape == answer["abstain_threshold"].shape == [0]


class TestAbstaining:
    def test_is_never_without_the_option(self, model, tiny_run, as_example):
        rows = [*tiny_run.rows["eval"], {}]
        by_columns = model.signatures["serving_default"](**columns(rows))
        by_example = model.signatures["evaluation"](inputs=tf.constant([as_example(row) for row in rows]))
        assert not by_columns["abstained"].numpy().any()
        assert not by_example["abstained"].numpy().any()
        assert by_example["abstain_threshold"].numpy().tolist() == [0.0] * len(rows)

    def test_follows_threshold_and_label_in_both_signatures(self, abstaining, tiny_run, as_example):
        rows = [*tiny_run.rows["eval"], {}]
        model = tf.saved_model.load(str(abstaining / "model"))
        by_columns = model.signatures["serving_default"](**columns(rows))
        by_example = model.signatures["evaluation"](inputs=tf.constant([as_example(row) for row in rows]))
        [threshold] = np.unique(by_example["abstain_threshold"])
        out_of_scope = by_columns["label"].numpy() == b"refund"
        below = by_columns["score"].numpy() < threshold
        assert (below & ~out_of_scope).any()
        assert (~below & out_of_scope).any()
        assert (by_columns["abstained"].numpy() == below | out_of_scope).all()
        assert (by_example["abstained"].numpy() == by_columns["abstained"].numpy()).all()


def test_the_model_moves_without_the_files_it_was_made_from(trained, tmp_path):
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(trained / "model", moved)
    answer = tf.saved_model.load(str(moved)).signatures["serving_default"](**columns([{"body": "refund my money"}]))
    assert answer["label"].numpy() == [b"refund"]
