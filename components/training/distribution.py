"""Training on several accelerators, or on several machines: copies of the network that see different rows and sum their gradients."""

from __future__ import annotations

import contextlib
import os
from typing import Any

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
      strategy: TensorFlow's, that keeps the copies; None where nothing is distributed.
      replicas: How many copies there are on all of them; 1 where nothing is distributed.
      share: The rows of the train split that this machine reads.
    """

    def __init__(self, options: DistributionOptions):
        """Joins the other machines, which waits until all of them are there.

        Raises:
          UsageError: TF_CONFIG does not say who takes part.
        """
        self.strategy: tf.distribute.Strategy | None = None
        self.cluster = _ALONE
        if options.strategy == "mirrored":
            self.strategy = tf.distribute.MirroredStrategy()
        elif options.strategy == "multi_worker":
            self.cluster = Cluster.of(os.environ)
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self.replicas = self.strategy.num_replicas_in_sync if self.strategy else 1
        self.share = Share(self.cluster.members, self.cluster.index) if self.cluster.members > 1 else ALL_ROWS

    @property
    def is_distributed(self) -> bool:
        """Whether copies are kept at all; they are also where a strategy finds one accelerator only."""
        return self.strategy is not None

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Where the network and its optimizer are made."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

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
        assert self.strategy is not None
        copies = self.replicas // self.cluster.members

        def on_replica(context: tf.distribute.ValueContext) -> tf.Tensor:
            # This machine's first copy stands for it; the others add nothing.
            is_first = context.replica_id_in_sync_group % copies == 0
            return tf.constant(own if is_first else np.zeros_like(own))

        values = self.strategy.experimental_distribute_values_from_function(on_replica)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()

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
