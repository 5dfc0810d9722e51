"""The pushed model, as TensorFlow Serving and TFMA's users see it."""

import glob

import numpy as np
import pytest

pytestmark = [pytest.mark.end_to_end, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def model(shared_run):
    import tensorflow as tf

    return tf.saved_model.load(shared_run.record["pushed"]["path"])


@pytest.fixture(scope="module")
def test_examples(shared_run):
    import tensorflow as tf

    files = glob.glob(str(shared_run.output("ExampleGen", "examples") / "Split-test" / "*"))
    return [record.numpy() for record in tf.data.TFRecordDataset(files, compression_type="GZIP").take(64)]


def test_raw_columns_and_examples_give_the_same_answer(model, test_examples):
    import tensorflow as tf

    texts = [tf.train.Example.FromString(record).features.feature["text"].bytes_list.value[0] for record in test_examples]
    raw = model.signatures["serving_default"](text=tf.constant(texts))
    parsed = model.signatures["serving_examples"](inputs=tf.constant(test_examples))
    best = tf.argmax(parsed["scores"], axis=1)
    labels = tf.gather(parsed["classes"], best, batch_dims=1)
    assert raw["label"].numpy().tolist() == labels.numpy().tolist()
    np.testing.assert_allclose(raw["score"].numpy(), parsed["scores"].numpy().max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(parsed["scores"].numpy().sum(axis=1), 1.0, rtol=1e-4)
    assert (np.diff(raw["top_scores"].numpy(), axis=1) <= 0).all()


def test_answers_names_not_numbers(model):
    import tensorflow as tf

    answer = model.signatures["serving_default"](text=tf.constant(["turn on the kitchen light", "schalte das Licht aus"]))
    assert all(label.decode().startswith("Hass") for label in answer["label"].numpy())


def test_hostile_text_is_answered(model):
    import tensorflow as tf

    hostile = [b"", b"\xff\xfe broken", b"\x00", b" " * 1000, "💥".encode() * 300, b"{{$.x}}"]
    answer = model.signatures["serving_default"](text=tf.constant(hostile))
    assert np.isfinite(answer["score"].numpy()).all()


def test_tfma_reads_its_results_without_tfx(shared_run):
    import tensorflow_model_analysis as tfma

    result = tfma.load_eval_result(str(shared_run.output("Evaluator", "evaluation")))
    slices = {slice_key for slice_key, _ in result.slicing_metrics}
    assert () in slices
    assert (("language", "de"),) in slices
