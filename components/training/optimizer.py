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

    def update_step(self, gradient, variable, learning_rate):
        """Applies one gradient; `tf.IndexedSlices` take the sparse path."""
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        rows, position = tf.unique(gradient.indices)
        values = tf.math.unsorted_segment_sum(gradient.values, position, tf.size(rows))

        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations + 1, values.dtype)
        m = self.beta_1 * tf.gather(momentum, rows) + (1 - self.beta_1) * values
        v = self.beta_2 * tf.gather(velocity, rows) + (1 - self.beta_2) * tf.square(values)
        momentum.scatter_update(tf.IndexedSlices(m, rows))
        velocity.scatter_update(tf.IndexedSlices(v, rows))

        rate = tf.cast(learning_rate, values.dtype)
        corrected = rate * tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        size = tf.sqrt(tf.maximum(v, tf.reduce_mean(v)))
        variable.scatter_sub(tf.IndexedSlices(corrected * m / (size + self.epsilon), rows))
