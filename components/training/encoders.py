"""Encoders: Keras layers that turn the identifiers of one text column into a vector.

An encoder is chosen by name in the pipeline file. To add one: its options in `options`, its identifiers in
`components.transform.preprocessing`, its layer here and in `make`.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from components.training.options import NgramsOptions, TokensOptions, WindowOptions

# Fills windows that lack words.
_NO_BUCKET = -1


@dataclasses.dataclass(frozen=True)
class IdentifierStatistics:
    """What a layer needs to know about a column's identifiers before training.

    Attributes:
      rows: Rows of the train split.
      rows_with: In how many of them each identifier occurs, shape [identifiers].
    """

    rows: int
    rows_with: np.ndarray


class NgramBag(keras.layers.Layer):
    """An embedding bag: the sum of the n-grams' vectors, weighted by rarity (TF-IDF).

    The weights of a text's word n-grams, and apart from them those of its character n-grams, are scaled to length one, because
    there are ten times as many of the latter.

    Only buckets that training has seen often enough own a vector; the others are left out of the bag, so that noise from
    unknown n-grams does not drown the known ones.
    """

    def __init__(self, options: NgramsOptions, statistics: IdentifierStatistics, **kwargs):
        super().__init__(**kwargs)
        self._options = options
        by_frequency = np.argsort(-statistics.rows_with, kind="stable")[: options.max_features]
        kept = by_frequency[statistics.rows_with[by_frequency] >= options.min_rows]
        self._row_of_bucket = np.zeros(options.buckets, np.int32)
        self._row_of_bucket[kept] = np.arange(1, len(kept) + 1)
        rarity = 1 + np.log((1 + statistics.rows) / (1 + statistics.rows_with[kept]))
        self._weight_of_row = np.concatenate([[0], rarity]).astype(np.float32)

    def build(self, input_shape):
        """Creates the embedding table; row 0 stands for all unknown n-grams and has no weight."""
        self.row_of_bucket = self.add_weight(
            shape=self._row_of_bucket.shape, dtype="int32", initializer=_constant(self._row_of_bucket), trainable=False
        )
        self.weight_of_row = self.add_weight(
            shape=self._weight_of_row.shape, initializer=_constant(self._weight_of_row), trainable=False
        )
        self.table = self.add_weight(
            shape=(len(self._weight_of_row), self._options.dimension), initializer=keras.initializers.RandomNormal(stddev=0.05)
        )
        self.dropout_seed = keras.random.SeedGenerator()

    def call(self, identifiers, training=False):
        """Maps ragged buckets [B, None] to vectors [B, dimension]; a text without known n-grams becomes zeros."""
        texts, count = identifiers.value_rowids(), identifiers.nrows()
        rows = tf.gather(self.row_of_bucket, identifiers.flat_values)
        weights = tf.gather(self.weight_of_row, rows)
        if training:
            kept = keras.random.uniform(tf.shape(weights), seed=self.dropout_seed) >= self._options.dropout
            weights = tf.where(kept, weights, 0.0)
        of_characters = identifiers.flat_values >= self._options.first_character_bucket
        part = 2 * texts + tf.cast(of_characters, tf.int64)
        length = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(weights), part, 2 * count))
        weights = tf.math.divide_no_nan(weights, tf.gather(length, part))
        # A product with the rows in use costs no [n-grams, dimension] intermediate, and its gradient touches only those rows.
        used, position = tf.unique(rows)
        bag = tf.SparseTensor(
            tf.stack([texts, tf.cast(position, tf.int64)], axis=1), weights, tf.stack([count, tf.size(used, tf.int64)])
        )
        return tf.sparse.sparse_dense_matmul(bag, tf.gather(self.table, used))

    def compute_output_spec(self, identifiers, training=False):
        """Returns the shape of the vectors."""
        return keras.KerasTensor((None, self._options.dimension))


class TokenConvolution(keras.layers.Layer):
    """Convolutions of several widths over token embeddings, the strongest response of each filter kept."""

    def __init__(self, options: TokensOptions, statistics: IdentifierStatistics, **kwargs):
        super().__init__(**kwargs)
        self._options = options
        self._identifiers = len(statistics.rows_with)
        self._convolutions = [
            keras.layers.Conv1D(options.filters, width, padding="same", activation="relu") for width in options.widths
        ]

    def build(self, input_shape):
        """Creates the embedding table; row 0 is padding."""
        self.table = self.add_weight(
            shape=(self._identifiers, self._options.dimension), initializer=keras.initializers.RandomNormal(stddev=0.1)
        )
        self.token_seed = keras.random.SeedGenerator()
        for convolution in self._convolutions:
            convolution.build((None, None, self._options.dimension))

    def call(self, identifiers, training=False):
        """Maps ragged token identifiers [B, None] to vectors [B, widths * filters]."""
        tokens = identifiers.to_tensor(0)
        # An empty batch of texts would leave the pooling without anything to take the maximum of.
        tokens = tf.pad(tokens, [[0, 0], [0, 1]])[:, : tf.maximum(tf.shape(tokens)[1], 1)]
        present = shown = tf.not_equal(tokens, 0)
        if training:
            shown &= keras.random.uniform(tf.shape(tokens), seed=self.token_seed) >= self._options.dropout
        vectors = tf.where(shown[..., tf.newaxis], tf.gather(self.table, tokens), 0.0)
        # Windows centred on padding would make a text's vector depend on the longest text of its batch.
        responses = [tf.where(present[..., tf.newaxis], convolve(vectors), 0.0) for convolve in self._convolutions]
        return tf.concat([tf.reduce_max(response, axis=1) for response in responses], axis=1)

    def compute_output_spec(self, identifiers, training=False):
        """Returns the shape of the vectors."""
        return keras.KerasTensor((None, len(self._options.widths) * self._options.filters))


class WindowNetwork(keras.layers.Layer):
    """Words side by side, each the sum of its features' vectors, whichever place it has; a hidden layer for each, and one for all."""

    def __init__(self, options: WindowOptions, statistics: IdentifierStatistics, **kwargs):
        super().__init__(**kwargs)
        self._options = options
        kept = np.flatnonzero(statistics.rows_with >= options.min_rows)
        self._row_of_bucket = np.zeros(options.buckets, np.int32)
        self._row_of_bucket[kept] = np.arange(1, len(kept) + 1)
        self._rows = 1 + len(kept)
        self._of_word = keras.layers.Dense(options.units, activation="relu")
        self._of_window = keras.layers.Dense(options.units, activation="relu")
        self._dropout = keras.layers.Dropout(options.dropout)

    def build(self, input_shape):
        """Creates the embedding table; row 0 stands for all unknown features and is nothing."""
        options = self._options
        self.row_of_bucket = self.add_weight(
            shape=self._row_of_bucket.shape, dtype="int32", initializer=_constant(self._row_of_bucket), trainable=False
        )
        self.table = self.add_weight(
            shape=(self._rows, options.dimension), initializer=keras.initializers.RandomNormal(stddev=0.05)
        )
        self.hidden_seed = keras.random.SeedGenerator()
        self._of_word.build((None, options.width, 2 * options.dimension))
        self._of_window.build((None, options.width * options.units))

    def call(self, identifiers, training=False):
        """Maps ragged buckets [B, up to width * features] to vectors [B, units]."""
        options = self._options
        buckets = identifiers.to_tensor(_NO_BUCKET, shape=[None, options.width * options.features])
        buckets = tf.reshape(buckets, [-1, options.width, options.features])
        rows = tf.where(buckets == _NO_BUCKET, 0, tf.gather(self.row_of_bucket, tf.maximum(buckets, 0)))
        if training:
            known = keras.random.uniform(tf.shape(rows), seed=self.hidden_seed) >= options.dropout / 2
            named = keras.random.uniform(tf.shape(rows[..., :1]), seed=self.hidden_seed) >= options.dropout
            known &= tf.concat([named, tf.ones_like(known[..., 1:])], axis=-1)
            rows = tf.where(known, rows, 0)
        vectors = tf.where((rows > 0)[..., tf.newaxis], tf.gather(self.table, rows), 0.0)
        # What a word is and what shape it has are kept apart, so that one does not drown the other.
        words = tf.concat([tf.reduce_sum(vectors[..., :-1, :], axis=-2), vectors[..., -1, :]], axis=-1)
        words = self._dropout(self._of_word(words), training=training)
        return self._of_window(tf.reshape(words, [-1, options.width * options.units]))

    def compute_output_spec(self, identifiers, training=False):
        """Returns the shape of the vectors."""
        return keras.KerasTensor((None, self._options.units))


def make(
    options: NgramsOptions | TokensOptions | WindowOptions, statistics: IdentifierStatistics, name: str
) -> keras.layers.Layer:
    """Returns a new encoder for one text column.

    Args:
      options: Says which encoder and how.
      statistics: Of the column's identifiers in the train split.
      name: Name of the layer.
    """
    kinds = {NgramsOptions: NgramBag, TokensOptions: TokenConvolution, WindowOptions: WindowNetwork}
    # Half precision would copy a table that is mostly not looked at in every step, and make its sparse gradient dense.
    return kinds[type(options)](options, statistics, name=name, dtype="float32")


def _constant(values: np.ndarray):
    return lambda shape, dtype=None: tf.constant(values, dtype)
