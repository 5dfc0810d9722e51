"""The training loop: one for a single device and for copies of the network that see different rows and sum their gradients.

It learns what `keras.Model.fit` does. That one takes no data set of dictionaries under a strategy, and converts every layer to graph code
anew for each network it trains, which takes longer than training on a small table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.training.distribution import Distribution

# Losses, right answers, rows.
_SUMS = 3


def fit(
    model: keras.Model,
    distribution: Distribution,
    train: tf.data.Dataset,
    evaluation: tf.data.Dataset | None,
    epochs: int,
    steps_of_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
    xla: bool = False,
) -> dict[str, list[float]]:
    """Trains a network.

    Args:
      model: Made and compiled in the distribution's scope.
      distribution: Where its copies are.
      train: This machine's batches: features, one-hot labels and weights of rows. Under a strategy they are read again from the start as
        often as the steps need, so that machines whose shares differ by a row never wait for each other.
      evaluation: This machine's share of the eval split, features and labels; all machines together evaluate all of it, and so
        agree on when to stop.
      epochs: At most so many.
      steps_of_epoch: The same on all machines; without a strategy an epoch is one reading of `train`.
      callbacks: Told of epochs.
      xla: Whether XLA compiles the step.

    Returns:
      The history: `loss` and `accuracy` by epoch, and `val_loss` and `val_accuracy` if there is an eval split.
    """
    strategy = distribution.strategy
    with distribution.scope():
        model.optimizer.build(model.trainable_variables)
    weights = [variable.value for variable in model.trainable_variables]

    def on_replica(features: Any, labels: tf.Tensor, row_weights: tf.Tensor) -> tf.Tensor:
        rows = tf.cast(tf.shape(labels)[0], tf.float32)
        if strategy:
            rows = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, rows)
        with tf.GradientTape() as tape:
            logits = model(features, training=True)
            losses = model.loss.call(labels, logits) * row_weights
            share = model.optimizer.scale_loss(tf.reduce_sum(losses) / rows)
        # Keras adds the gradients of all replicas up.
        model.optimizer.apply(tape.gradient(share, weights), model.trainable_variables)
        return _sums(losses, labels, logits)

    @tf.function(autograph=False)
    def step_of_all(batches: Iterator[Any]) -> tf.Tensor:
        sums = strategy.run(on_replica, next(batches))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

    def evaluate_batch(features: Any, labels: tf.Tensor) -> tf.Tensor:
        logits = model(features, training=False)
        return _sums(model.loss.call(labels, logits), labels, logits)

    # Batches are fetched outside of the step: inside, the end of the data would count as a step for what depends on no batch, such as
    # the schedule of the learning rate.
    step = _function(on_replica, train, jit_compile=xla or None)
    evaluate = _function(evaluate_batch, evaluation) if evaluation is not None else None
    shared = iter(strategy.distribute_datasets_from_function(lambda context: train.repeat())) if strategy else None

    def train_epoch() -> np.ndarray:
        if shared is None:
            return _add_up(step(*batch) for batch in train)
        return _add_up(step_of_all(shared) for _ in range(steps_of_epoch))

    history: dict[str, list[float]] = {}
    told = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs)
    told.on_train_begin()
    for epoch in range(epochs):
        told.on_epoch_begin(epoch)
        trained = train_epoch()
        logs = {"loss": trained[0] / trained[2], "accuracy": trained[1] / trained[2]}
        if evaluate:
            evaluated = distribution.total(_add_up(evaluate(*batch) for batch in evaluation))
            logs |= {"val_loss": evaluated[0] / evaluated[2], "val_accuracy": evaluated[1] / evaluated[2]}
        for name, value in logs.items():
            history.setdefault(name, []).append(float(value))
        told.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    told.on_train_end()
    return history


def _function(of_batch: Callable[..., tf.Tensor], batches: tf.data.Dataset, **options: Any) -> Callable[..., tf.Tensor]:
    """Returns a graph function of a batch, one for batches of all sizes."""
    return tf.function(of_batch, input_signature=batches.element_spec, autograph=False, **options)


def _add_up(sums: Iterable[tf.Tensor]) -> np.ndarray:
    """Returns the sum of what steps return; it is fetched once, so that no step of an accelerator waits for Python."""
    total = tf.zeros(_SUMS, tf.float64)
    for of_step in sums:
        total += of_step
    return total.numpy()


def _sums(losses: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the sum of losses, the number of right answers and that of rows, float64 [3]."""
    right = tf.equal(tf.argmax(labels, axis=1), tf.argmax(logits, axis=1))
    return tf.stack([tf.reduce_sum(tf.cast(values, tf.float64)) for values in (losses, right, tf.ones_like(losses))])
