"""The network: encoded texts, categories and numbers joined, one hidden layer beside a direct path, one logit per class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from components.training import encoders
from components.training.options import ModelOptions
from components.transform.columns import ABSENT, NUMBERS, category_feature, text_feature

# Each number is spread over this many units, each of which rises from 0 to 1 inside its part of the rank's range, so that the
# first layer can bend anywhere (Gorishniy et al. 2022, piecewise linear encoding).
_PIECES = 16


@dataclasses.dataclass(frozen=True)
class InputSizes:
    """What the transformed features look like.

    Attributes:
      texts: Statistics of each text column.
      categories: How many identifiers each categorical column has.
      numbers: How many numeric columns there are.
    """

    texts: Sequence[encoders.TextStatistics]
    categories: Sequence[int]
    numbers: int


class PiecewiseLinear(keras.layers.Layer):
    """Spreads each number between 0 and 1 over `_PIECES` units: `[B, N]` becomes `[B, N * _PIECES]`, centred."""

    def call(self, numbers):
        """Encodes."""
        spread = keras.ops.clip(numbers[:, :, None] * _PIECES - keras.ops.arange(_PIECES, dtype=numbers.dtype), 0.0, 1.0)
        return keras.ops.reshape(spread - 0.5, (-1, numbers.shape[1] * _PIECES))


class SparseEmbedding(keras.layers.Layer):
    """An embedding table whose gradient touches only the rows a batch used."""

    def __init__(self, rows: int, dimension: int, **kwargs):
        super().__init__(**kwargs)
        self._shape = (rows, dimension)

    def build(self, input_shape):
        """Creates the table."""
        self.table = self.add_weight(shape=self._shape, initializer=keras.initializers.RandomNormal(stddev=0.05))

    def call(self, identifiers):
        """Maps identifiers [B] to vectors [B, dimension]."""
        return tf.gather(self.table, identifiers)

    def compute_output_spec(self, identifiers):
        """Returns the shape of the vectors."""
        return keras.KerasTensor((None, self._shape[1]))


def build(options: ModelOptions, sizes: InputSizes, classes: int) -> keras.Model:
    """Returns the untrained network.

    Args:
      options: The `model:` section.
      sizes: What the transformed features look like.
      classes: How many labels there are.

    Returns:
      A functional model from the transformed features, by name, to logits [B, classes].
    """
    inputs: dict[str, keras.KerasTensor] = {}
    parts = []
    for position, statistics in enumerate(sizes.texts):
        name = text_feature(position)
        inputs[name] = keras.Input((None,), dtype="int64", ragged=True, name=name)
        parts.append(encoders.make(options.encoder, statistics, f"encoder_{position}")(inputs[name]))
    for position, rows in enumerate(sizes.categories):
        name = category_feature(position)
        inputs[name] = keras.Input((), dtype="int64", name=name)
        parts.append(SparseEmbedding(rows, _category_dimension(rows), name=f"embedding_{position}")(inputs[name]))
    if sizes.numbers:
        inputs |= {name: keras.Input((sizes.numbers,), name=name) for name in (NUMBERS, ABSENT)}
        parts += [PiecewiseLinear(name="piecewise")(inputs[NUMBERS]), inputs[ABSENT]]
    joined = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    joined = keras.layers.Dropout(options.dropout if sizes.texts else options.dropout / 5)(joined)
    hidden = keras.layers.Dense(options.hidden, activation="relu")(joined)
    hidden = keras.layers.Dropout(options.dropout)(hidden)
    # The direct path alone is a linear model over TF-IDF n-grams; the hidden layer adds what is not linear.
    logits = keras.layers.Dense(classes, name="logits")(keras.layers.Concatenate()([joined, hidden]))
    return keras.Model(inputs, logits)


def _category_dimension(rows: int) -> int:
    return min(32, 2 + int(rows**0.5))
