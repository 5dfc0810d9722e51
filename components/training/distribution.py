"""Training on several accelerators, or on several machines: copies of the network that see different rows and sum their gradients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.errors import EnvironmentFailure, UsageError
from components.training.cluster import Cluster
from components.training.examples import ALL_ROWS, Share
from components.training.options import DistributionOptions

_ALONE = Cluster(1, 0)


class Distribution:
    """Where the copies of the network are, and how they share the work.

    Attributes:
      cluster: The machines.
      replicas: How many copies there are on all of them; 1 where nothing is distributed.
      share: The rows of the train split that this machine reads.
    """

    def __init__(self, options: DistributionOptions):
        """Joins the other machines, which waits until all of them are there.

        Raises:
          UsageError: TF_CONFIG does not say who takes part.
        """
        self._strategy: tf.distribute.Strategy | None = None
        self.cluster = _ALONE
        if options.strategy == "mirrored":
            self._strategy = tf.distribute.MirroredStrategy()
        elif options.strategy == "multi_worker":
            self.cluster = Cluster.of(os.environ)
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self.replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self.share = Share(self.cluster.members, self.cluster.index) if self.cluster.members > 1 else ALL_ROWS

    @property
    def is_distributed(self) -> bool:
        """Whether copies are kept at all; they are also where a strategy finds one accelerator only."""
        return self._strategy is not None

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Where the network and its optimizer are made."""
        return self._strategy.scope() if self._strategy else contextlib.nullcontext()

    def batch_of_replica(self, batch_size: int) -> int:
        """Returns how many rows of a step each copy sees.

        Raises:
          UsageError: The rows of a step cannot be dealt out equally.
        """
        if batch_size % self.replicas:
            nearest = max(1, round(batch_size / self.replicas)) * self.replicas
            raise UsageError(
                f"model.batch_size are the rows of a step on all {self.replicas} replicas together and must be a multiple of that; "
                f"received {batch_size}, the nearest is {nearest}"
            )
        return batch_size // self.replicas

    def total(self, own: np.ndarray) -> np.ndarray:
        """Returns the sum of what all machines have counted; it is the same on all of them, to the last bit."""
        if self.cluster.members == 1:
            return own
        assert self._strategy is not None
        copies = self.replicas // self.cluster.members

        def on_replica(context: tf.distribute.ValueContext) -> tf.Tensor:
            # This machine's first copy stands for it; the others add nothing.
            is_first = context.replica_id_in_sync_group % copies == 0
            return tf.constant(own if is_first else np.zeros_like(own))

        values = self._strategy.experimental_distribute_values_from_function(on_replica)
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()

    def check_same_job(self, digest: bytes) -> None:
        """Checks that all machines are about to do the same.

        Args:
          digest: Of what this machine is about to do.

        Raises:
          EnvironmentFailure: They are not, as when one still has the job of a run that was given up.
        """
        own = np.frombuffer(digest[:7] + b"\0", np.int64)
        if not np.array_equal(self.total(own), own * self.cluster.members):
            raise EnvironmentFailure(
                f"The {self.cluster.members} machines that train together were given different jobs; restart them, and run again"
            )

    def fit(
        self,
        model: keras.Model,
        train: tf.data.Dataset,
        evaluation: tf.data.Dataset | None,
        epochs: int,
        steps_of_epoch: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> dict[str, list[float]]:
        """Trains as `keras.Model.fit` does, which under a strategy takes no data set of dictionaries.

        Args:
          model: Made and compiled in `scope`, with a loss that gives one number per row.
          train: This machine's batches: features, one-hot labels and weights. Read again from the start as often as the steps need, so
            that machines whose shares differ by a row never wait for each other.
          evaluation: This machine's share of the eval split, features and labels; all machines together evaluate all of it, and so
            agree on when to stop.
          epochs: At most so many.
          steps_of_epoch: The same on all machines.
          callbacks: Told of epochs.

        Returns:
          The history: `loss` and `accuracy` by epoch, and `val_loss` and `val_accuracy` if there is an eval split.
        """
        assert self._strategy is not None
        strategy = self._strategy
        with strategy.scope():
            model.optimizer.build(model.trainable_variables)
        batches = iter(strategy.distribute_datasets_from_function(lambda context: train.repeat()))
        weights = [variable.value for variable in model.trainable_variables]

        def on_replica(features: Any, labels: tf.Tensor, row_weights: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            rows = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(tf.shape(labels)[0], tf.float32))
            with tf.GradientTape() as tape:
                logits = model(features, training=True)
                losses = model.loss(labels, logits) * row_weights
                share = tf.reduce_sum(losses) / rows
            # Keras adds the gradients of all replicas up.
            model.optimizer.apply(tape.gradient(share, weights), model.trainable_variables)
            return _sums(losses, labels, logits)

        @tf.function
        def step(iterator: Any) -> tf.Tensor:
            sums = strategy.run(on_replica, next(iterator))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

        @tf.function
        def evaluate(features: Any, labels: tf.Tensor) -> tf.Tensor:
            logits = model(features, training=False)
            return _sums(model.loss(labels, logits), labels, logits)

        history: dict[str, list[float]] = {}
        told = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs)
        told.on_train_begin()
        for epoch in range(epochs):
            told.on_epoch_begin(epoch)
            trained = np.zeros(3)
            for _ in range(steps_of_epoch):
                trained += step(batches).numpy()
            logs = {"loss": trained[0] / trained[2], "accuracy": trained[1] / trained[2]}
            if evaluation is not None:
                evaluated = self.total(sum((evaluate(*batch).numpy() for batch in evaluation), np.zeros(3)))
                logs |= {"val_loss": evaluated[0] / evaluated[2], "val_accuracy": evaluated[1] / evaluated[2]}
            for name, value in logs.items():
                history.setdefault(name, []).append(float(value))
            told.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        told.on_train_end()
        return history


def _sums(losses: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the sum of losses, the number of right answers and that of rows, float64 [3]."""
    right = tf.equal(tf.argmax(labels, axis=1), tf.argmax(logits, axis=1))
    return tf.stack([tf.reduce_sum(tf.cast(values, tf.float64)) for values in (losses, right, tf.ones_like(losses))])
