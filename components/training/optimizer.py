"""Adam that touches only the embedding rows a batch used."""

from __future__ import annotations

import keras
import tensorflow as tf


class SparseAdam(keras.optimizers.Adam):
    """Adam whose step costs as much as the batch, not as much as the table, for embedding tables.

    Keras' Adam decays the moments of every row at every step, so a table of 100,000 n-grams costs more than the rest of the
    network together. Here the moments of a row move only when the row is in the batch ("lazy" Adam). Dense
    gradients take Keras' own path.

    Adam divides a gradient by its own usual size, so the small gradients of a rare n-gram would move it as far as a frequent one,
    and texts would be memorised by their rare n-grams. Here no gradient is divided by less than the batch's usual size.
    """

    def __init__(self, learning_rate, fixed_shapes: bool = False, **options):
        """Makes the optimizer.

        Args:
          learning_rate: As Keras' Adam takes it.
          fixed_shapes: Whether to calculate all rows of a table and keep those of the batch, which learns the same and has shapes that
            do not depend on the batch, as XLA needs them.
          **options: As Keras' Adam takes them.
        """
        super().__init__(learning_rate, **options)
        self._fixed_shapes = fixed_shapes

    def update_step(self, gradient, variable, learning_rate):
        """Applies one gradient; `tf.IndexedSlices` take the sparse path."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations + 1, variable.dtype)
        rate = tf.cast(learning_rate, variable.dtype)
        corrected = rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        if self._fixed_shapes:
            self._update_all_rows(gradient, variable, momentum, velocity, corrected)
        else:
            self._update_rows(gradient, variable, momentum, velocity, corrected)

    def _update_rows(self, gradient, variable, momentum, velocity, rate):
        rows, position = tf.unique(gradient.indices)
        values = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))
        m, v = self._moments(values, tf.gather(momentum, rows), tf.gather(velocity, rows))
        momentum.scatter_update(tf.IndexedSlices(m, rows))
        velocity.scatter_update(tf.IndexedSlices(v, rows))
        size = tf.sqrt(tf.maximum(v, tf.reduce_mean(v)))
        variable.scatter_sub(tf.IndexedSlices(rate * m / (size + self.epsilon), rows))

    def _update_all_rows(self, gradient, variable, momentum, velocity, rate):
        rows = variable.shape[0]
        values = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
        times = tf.math.unsorted_segment_sum(tf.ones_like(gradient.values[:, :1]), gradient.indices, rows)
        # A column of ones for the rows of the batch, and zeros.
        used = tf.minimum(times, 1)
        m, v = self._moments(values, momentum, velocity)
        mean = tf.reduce_sum(used * v) / (tf.reduce_sum(used) * variable.shape[1])
        momentum.assign(tf.where(used > 0, m, momentum))
        velocity.assign(tf.where(used > 0, v, velocity))
        variable.assign_sub(used * rate * m / (tf.sqrt(tf.maximum(v, mean)) + self.epsilon))

    def _moments(self, values, momentum, velocity):
        m = self.beta_1 * momentum + (1 - self.beta_1) * values
        v = self.beta_2 * velocity + (1 - self.beta_2) * tf.square(values)
        return m, v
