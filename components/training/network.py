"""The network: encoded texts, categories and numbers joined, one hidden layer beside a direct path, one logit per class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from components.training import encoders
from components.training.options import ModelOptions
from components.transform.columns import (
    ABSENT,
    NUMBERS,
    RESERVED_CATEGORIES,
    UNKNOWN_CATEGORY,
    category_feature,
    text_feature,
)

# Each number is spread over this many units, each of which rises from 0 to 1 inside its part of the rank's range, so that the
# first layer can bend anywhere (Gorishniy et al. 2022, piecewise linear encoding).
_PIECES = 16

# A category rarer than this share of the rows is memorised, not learnt from. The cap is what time-ordered folds of the taxi
# table's train and eval splits favoured (of 2, 30 and 100 rows, at 10,000 rows); how it scales down is a guess.
_RARE_SHARE = 0.01
_ENOUGH_ROWS = 100
_FEWEST_ROWS = 2


@dataclasses.dataclass(frozen=True)
class InputSizes:
    """What the transformed features look like.

    Attributes:
      texts: Statistics of each text column.
      categories: Statistics of each categorical column.
      numbers: How many numeric columns there are.
    """

    texts: Sequence[encoders.IdentifierStatistics]
    categories: Sequence[encoders.IdentifierStatistics]
    numbers: int


class PiecewiseLinear(keras.layers.Layer):
    """Spreads each number between 0 and 1 over `_PIECES` units: `[B, N]` becomes `[B, N * _PIECES]`, centred."""

    def call(self, numbers):
        """Encodes."""
        spread = keras.ops.clip(numbers[:, :, None] * _PIECES - keras.ops.arange(_PIECES, dtype=numbers.dtype), 0.0, 1.0)
        return keras.ops.reshape(spread - 0.5, (-1, numbers.shape[1] * _PIECES))


class CategoryEmbedding(keras.layers.Layer):
    """An embedding table in which categories too rare to learn from share the row of unknown ones."""

    def __init__(self, statistics: encoders.IdentifierStatistics, **kwargs):
        super().__init__(**kwargs)
        least = min(_ENOUGH_ROWS, max(_FEWEST_ROWS, int(statistics.rows * _RARE_SHARE)))
        identifiers = np.arange(len(statistics.rows_with))
        frequent = (statistics.rows_with >= least) | (identifiers < RESERVED_CATEGORIES)
        self._row_of_identifier = np.where(frequent, identifiers, UNKNOWN_CATEGORY).astype(np.int32)
        self._dimension = min(32, 2 + int(len(identifiers) ** 0.5))

    def build(self, input_shape):
        """Creates the table."""
        self.table = self.add_weight(
            shape=(len(self._row_of_identifier), self._dimension), initializer=keras.initializers.RandomNormal(stddev=0.05)
        )

    def call(self, identifiers):
        """Maps identifiers [B] to vectors [B, dimension]; the gradient touches only the rows a batch used."""
        return tf.gather(self.table, tf.gather(tf.constant(self._row_of_identifier), identifiers))

    def compute_output_spec(self, identifiers):
        """Returns the shape of the vectors."""
        return keras.KerasTensor((None, self._dimension))


def average(members: Sequence[keras.Model]) -> keras.Model:
    """Returns the network that answers with the mean of its members' probabilities.

    Args:
      members: Networks as `build` returns them, with the same inputs and classes.

    Returns:
      A functional model from the same features to logits, whose softmax is that mean; a lone member itself.
    """
    if len(members) == 1:
        return members[0]
    inputs = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, ragged=tensor.ragged, name=name)
        for name, tensor in members[0].input.items()
    }
    probabilities = [keras.ops.softmax(member(inputs)) for member in members]
    mean = keras.ops.mean(keras.ops.stack(probabilities), axis=0)
    return keras.Model(inputs, keras.ops.log(mean + keras.backend.epsilon()))


def build(options: ModelOptions, sizes: InputSizes, classes: int) -> keras.Model:
    """Returns the untrained network.

    Args:
      options: The `model:` section.
      sizes: What the transformed features look like.
      classes: How many labels there are.

    Returns:
      A functional model from the transformed features, by name, to logits, float32 [B, classes]. With `options.precision` its hidden
      layer calculates in half precision; all weights are float32 all the same.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        return _build(options, sizes, classes)
    finally:
        keras.config.set_dtype_policy(policy)


def _build(options: ModelOptions, sizes: InputSizes, classes: int) -> keras.Model:
    inputs: dict[str, keras.KerasTensor] = {}
    parts = []
    for position, statistics in enumerate(sizes.texts):
        name = text_feature(position)
        inputs[name] = keras.Input((None,), dtype="int64", ragged=True, name=name)
        parts.append(encoders.make(options.encoder, statistics, f"encoder_{position}")(inputs[name]))
    for position, statistics in enumerate(sizes.categories):
        name = category_feature(position)
        inputs[name] = keras.Input((), dtype="int64", name=name)
        parts.append(CategoryEmbedding(statistics, name=f"embedding_{position}", dtype="float32")(inputs[name]))
    if sizes.numbers:
        inputs |= {name: keras.Input((sizes.numbers,), dtype="float32", name=name) for name in (NUMBERS, ABSENT)}
        parts += [PiecewiseLinear(name="piecewise", dtype="float32")(inputs[NUMBERS]), inputs[ABSENT]]
    joined = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    joined = keras.layers.Dropout(options.dropout if sizes.texts else options.dropout / 5)(joined)
    hidden = keras.layers.Dense(options.hidden, activation="relu")(joined)
    hidden = keras.layers.Dropout(options.dropout)(hidden)
    # The direct path alone is a linear model over TF-IDF n-grams; the hidden layer adds what is not linear.
    logits = keras.layers.Dense(classes, name="logits", dtype="float32")(keras.layers.Concatenate()([joined, hidden]))
    return keras.Model(inputs, logits)
