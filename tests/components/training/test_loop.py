"""The loop beside `keras.Model.fit`, on the same batches from the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.training import loop, network
from components.training.distribution import Distribution
from components.training.encoders import IdentifierStatistics
from components.training.options import DistributionOptions, ModelOptions

pytestmark = pytest.mark.tensorflow

ROWS, BATCH = 300, 128


def model(weights=None):
    """A network of a category and a number, whose learning rate falls from step to step."""
    options = ModelOptions(dropout=0, hidden=16)
    made = network.build(options, network.InputSizes([], [IdentifierStatistics(ROWS, np.full(5, 100))], 1), 3)
    rate = keras.optimizers.schedules.CosineDecay(0.05, 20)
    made.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    if weights:
        made.set_weights(weights)
    return made


@pytest.fixture(scope="module")
def batches():
    choose = np.random.default_rng(0)
    labels = choose.integers(0, 3, ROWS)
    numbers = (labels[:, np.newaxis] / 2 + choose.normal(size=(ROWS, 1)) / 5).astype("float32")
    features = {"category_0": choose.integers(0, 5, ROWS), "numbers": numbers, "absent": np.zeros_like(numbers)}
    weights = np.array([0.5, 1.0, 2.0], np.float32)[labels]
    return tf.data.Dataset.from_tensor_slices((features, np.eye(3, dtype="float32")[labels], weights)).batch(BATCH)


@pytest.fixture(scope="module")
def evaluation(batches):
    return batches.map(lambda features, labels, weights: (features, labels))


def test_learns_what_keras_learns_in_an_epoch(batches, evaluation):
    ours = model()
    theirs = model(ours.get_weights())
    told = loop.fit(ours, Distribution(DistributionOptions()), batches, evaluation, 1, 3, [])
    expected = theirs.fit(batches, validation_data=evaluation, epochs=1, verbose=0, shuffle=False).history
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    assert told.keys() == expected.keys()
    for name, values in told.items():
        assert values == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_a_step_is_a_batch_and_the_end_of_an_epoch_is_none(batches, evaluation, strategy):
    distribution = Distribution(DistributionOptions(strategy=strategy))
    with distribution.scope():
        trained = model()
    history = loop.fit(trained, distribution, batches, evaluation, 4, 3, [])
    assert trained.optimizer.iterations.value.numpy() == 4 * 3
    assert len(history["loss"]) == 4
    assert len(history["val_loss"]) == 4


def test_without_an_eval_split_nothing_is_evaluated(batches):
    history = loop.fit(model(), Distribution(DistributionOptions()), batches, None, 2, 3, [])
    assert history.keys() == {"loss", "accuracy"}


def test_callbacks_end_it(batches):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    history = loop.fit(model(), Distribution(DistributionOptions()), batches, None, 9, 3, [Enough()])
    assert len(history["loss"]) == 2
