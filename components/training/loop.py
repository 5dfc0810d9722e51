"""The training loop: one for a single device and for copies of the network that see different rows and sum their gradients.

It learns what `keras.Model.fit` does. That one takes no data set of dictionaries under a strategy, and converts every layer to graph code
anew for each network it trains, which takes longer than training on a small table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.training.distribution import Distribution

# Losses, right answers, rows.
_SUMS = 3

# So many batches are worked off without Python: calling the step anew costs a tenth of a small network's step, and longer while the
# members of an ensemble wait for each other to be called. An interrupt waits for so many at most.
_BATCHES_A_CALL = 100


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

    shared = iter(strategy.distribute_datasets_from_function(lambda context: train.repeat())) if strategy else None
    step = _over_batches(on_replica, train, jit_compile=xla or None) if shared is None else None
    evaluate = _over_batches(evaluate_batch, evaluation) if evaluation is not None else None

    def train_epoch() -> np.ndarray:
        if step is not None:
            return step()
        # Fetched once, so that no step of an accelerator waits for Python.
        return sum((step_of_all(shared) for _ in range(steps_of_epoch)), tf.zeros(_SUMS, tf.float64)).numpy()

    history: dict[str, list[float]] = {}
    told = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs)
    told.on_train_begin()
    for epoch in range(epochs):
        told.on_epoch_begin(epoch)
        trained = train_epoch()
        logs = {"loss": trained[0] / trained[2], "accuracy": trained[1] / trained[2]}
        if evaluate:
            evaluated = distribution.total(evaluate())
            logs |= {"val_loss": evaluated[0] / evaluated[2], "val_accuracy": evaluated[1] / evaluated[2]}
        for name, value in logs.items():
            history.setdefault(name, []).append(float(value))
        told.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    told.on_train_end()
    return history


def _over_batches(of_batch: Callable[..., tf.Tensor], batches: tf.data.Dataset, **options: Any) -> Callable[[], np.ndarray]:
    """Returns what calls a function with all batches, one after the other, and returns the sum of what it returns."""
    # One graph for batches of all sizes.
    called = tf.function(of_batch, input_signature=batches.element_spec, autograph=False, **options)

    @tf.function(autograph=False)
    def some(iterator: Any, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def go_on(number: tf.Tensor, goes_on: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = iterator.get_next_as_optional()
            # The end of the data must be no step for what depends on no batch, such as the schedule of the learning rate.
            total = tf.cond(batch.has_value(), lambda: total + called(*batch.get_value()), lambda: total)
            return number + 1, batch.has_value(), total

        def is_next(number: tf.Tensor, goes_on: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
            return tf.logical_and(goes_on, number < _BATCHES_A_CALL)

        # One after the other, as each step changes the weights.
        _, goes_on, total = tf.while_loop(is_next, go_on, (0, True, total), parallel_iterations=1)
        return goes_on, total

    def all_of_them() -> np.ndarray:
        iterator, total, goes_on = iter(batches), tf.zeros(_SUMS, tf.float64), True
        while goes_on:
            goes_on, total = some(iterator, total)
        return total.numpy()

    return all_of_them


def _sums(losses: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the sum of losses, the number of right answers and that of rows, float64 [3]."""
    right = tf.equal(tf.argmax(labels, axis=1), tf.argmax(logits, axis=1))
    return tf.stack([tf.reduce_sum(tf.cast(values, tf.float64)) for values in (losses, right, tf.ones_like(losses))])
