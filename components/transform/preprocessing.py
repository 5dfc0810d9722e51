"""The preprocessing function: raw columns in, what the network reads out, as one graph for training and serving.

The analysis sees the train split only. Features are named by role and place (see `columns`), because column names may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from pydantic import TypeAdapter

from components.training.options import Encoder, NgramsOptions, TokensOptions, WindowOptions
from components.transform import analyzers, text
from components.transform.columns import (
    ABSENT,
    LABEL,
    NUMBERS,
    UNKNOWN_CATEGORY,
    Columns,
    category_feature,
    text_feature,
)
from components.validation import schema_file

# Categories beyond these are too rare to learn from; a category seen once teaches what an unknown one looks like.
_MAX_CATEGORIES = 10_000
_MIN_CATEGORY_ROWS = 2

# The file with the categories of all columns.
_CATEGORIES = "categories"

# Numbers become ranks between these many training quantiles.
_QUANTILES = 100
_QUANTILE_ERROR = 0.005

# Identifier of a token feature before those of the vocabulary; it fills short texts up.
PADDING_TOKENS = 1


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]) -> dict[str, Any]:
    """Describes the graph to TensorFlow Transform.

    Args:
      inputs: Raw features by column name; sparse or dense, each row with one value or none.
      custom_config: `schema` (text form), `text` (columns), `label` (column) and `encoder` (its options).

    Returns:
      `text_<i>`: identifiers for the encoder, ragged int64 [B, None]. `category_<i>`: int64 [B], 0 for an absent value, 1 for an
      unknown one. `numbers`: float32 [B, N], each number as its rank in the training data between 0 and 1, 0.5 where absent;
      `absent`: float32 [B, N], 1 where the number is absent. `label`: int64 [B], -1 for a label that training has not seen.
    """
    columns = Columns.of(schema_file.parse(custom_config["schema"]), custom_config["text"], custom_config["label"])
    encoder = TypeAdapter(Encoder).validate_python(custom_config["encoder"])
    outputs = {LABEL: _label(_strings(inputs[columns.label]))}
    for position, name in enumerate(columns.text):
        outputs[text_feature(position)] = _identifiers(_strings(inputs[name]), encoder, position)
    if columns.categorical:
        identifiers = _categories(tf.stack([_strings(inputs[name]) for name in columns.categorical], axis=1))
        outputs |= {category_feature(position): values for position, values in enumerate(tf.unstack(identifiers, axis=1))}
    if columns.numeric:
        outputs[NUMBERS], outputs[ABSENT] = _numbers(tf.stack([_floats(inputs[name]) for name in columns.numeric], axis=1))
    return outputs


def known_tokens(transform: tft.TFTransformOutput, position: int) -> int:
    """Returns how many tokens of a text column the graph knows."""
    return transform.vocabulary_size_by_name(_token_vocabulary(position))


def category_identifiers(transform: tft.TFTransformOutput, columns: int) -> list[int]:
    """Returns how many identifiers each of the categorical columns has, reserved ones included."""
    return analyzers.identifiers_per_column(transform.vocabulary_by_name(_CATEGORIES), columns) if columns else []


def ngram_identifiers(texts: tf.Tensor, options: NgramsOptions) -> tf.RaggedTensor:
    """Maps texts to hash buckets of the word and character n-grams in them, and of the word n-grams of their frames.

    Args:
      texts: Raw texts, shape [B].
      options: Widths and number of buckets.

    Returns:
      Buckets, int64, ragged, shape [B, None]; an n-gram that occurs twice is there twice.
    """
    marked = text.normalise(text.with_names_marked(texts, options.max_characters), options.max_characters)
    normal = text.without_marks(marked)
    by_word = text.word_ngrams(normal, options.words)
    if options.frames:
        by_word = tf.concat([by_word, text.word_ngrams(text.frames(marked), options.frames)], axis=1)
    by_character = text.character_ngrams(normal, options.characters)
    first = options.first_character_bucket
    by_word = by_word.with_flat_values(tf.strings.to_hash_bucket_fast(by_word.flat_values, first))
    by_character = by_character.with_flat_values(
        first + tf.strings.to_hash_bucket_fast(by_character.flat_values, options.buckets - first)
    )
    return tf.concat([by_word, by_character], axis=1)


def window_identifiers(texts: tf.Tensor, options: WindowOptions) -> tf.RaggedTensor:
    """Maps texts of a window's words to hash buckets of what the words look like.

    Args:
      texts: Words with single spaces between them, shape [B].
      options: Which features, and number of buckets.

    Returns:
      Buckets, int64, ragged, shape [B, width * features]: word by word, in each the features in the order of the options.
    """
    words = tf.strings.split(texts, " ").to_tensor("", shape=[None, options.width])
    # Windows overlap: each word of a batch is looked at once.
    different, place = tf.unique(tf.reshape(words, [-1]))
    looks = text.looks(different, options.prefixes, options.suffixes, options.max_characters)
    # "ann" as a word, as a beginning and as an ending are three features.
    named = [tf.strings.join([f"{number} ", look]) for number, look in enumerate(tf.unstack(looks, axis=1))]
    buckets = tf.gather(tf.strings.to_hash_bucket_fast(tf.stack(named, axis=1), options.buckets), place)
    # One row's length by another: a tensor whose rows are known to be equally long is not what Transform can store.
    lengths = tf.fill([tf.shape(words)[0]], tf.constant(options.width * options.features, tf.int64))
    return tf.RaggedTensor.from_row_lengths(tf.reshape(buckets, [-1]), lengths)


def ranks(values: tf.Tensor, boundaries: tf.Tensor) -> tf.Tensor:
    """Returns where each value stands among its column's boundaries, linear between two of them.

    Args:
      values: Finite, float32 [B, N].
      boundaries: Ascending, float32 [N, Q].

    Returns:
      Ranks, float32 [B, N]: 0 below the first boundary, 1 from the last one on.
    """
    # Halves, so that no difference overflows.
    values, boundaries = tf.transpose(values) / 2, boundaries / 2
    last = boundaries.shape[1] - 1
    place = tf.searchsorted(boundaries, values, side="right") - 1
    below = tf.gather(boundaries, tf.clip_by_value(place, 0, last), batch_dims=1)
    above = tf.gather(boundaries, tf.clip_by_value(place + 1, 0, last), batch_dims=1)
    inside = tf.where((place >= 0) & (place < last), tf.math.divide_no_nan(values - below, above - below), 0.0)
    return tf.transpose((tf.cast(tf.maximum(place, 0), tf.float32) + inside) / last)


def _token_identifiers(texts: tf.Tensor, options: TokensOptions, position: int) -> tf.RaggedTensor:
    tokens = text.words(text.normalise(texts, options.max_characters))[:, : options.max_tokens]
    vocabulary = tft.vocabulary(
        tokens,
        top_k=options.vocabulary,
        frequency_threshold=options.min_count,
        vocab_filename=_token_vocabulary(position),
    )
    return PADDING_TOKENS + tft.apply_vocabulary(tokens, vocabulary, num_oov_buckets=options.unknown_buckets)


def _identifiers(texts: tf.Tensor, encoder: NgramsOptions | TokensOptions | WindowOptions, position: int) -> tf.RaggedTensor:
    if isinstance(encoder, NgramsOptions):
        return ngram_identifiers(texts, encoder)
    if isinstance(encoder, WindowOptions):
        return window_identifiers(texts, encoder)
    return _token_identifiers(texts, encoder, position)


def _token_vocabulary(position: int) -> str:
    return f"{text_feature(position)}_vocabulary"


def _categories(values: tf.Tensor) -> tf.Tensor:
    """Returns the identifiers of strings [B, C], int64 [B, C]."""
    file = analyzers.categories(values, _MAX_CATEGORIES, _MIN_CATEGORY_ROWS, _CATEGORIES)
    # The row in front has no value in any column, and so finds where the columns' blocks begin.
    lines = tft.apply_vocabulary(analyzers.category_keys(tf.pad(values, [[1, 0], [0, 0]])), file, default_value=-1)
    return tf.where(lines[1:] < 0, tf.constant(UNKNOWN_CATEGORY, tf.int64), lines[1:] - lines[:1])


def _numbers(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ranks and the absence of numbers [B, N], both float32 [B, N]; what is not finite is absent."""
    absent = tf.logical_not(tf.math.is_finite(values))
    values = tf.where(absent, float("nan"), values)
    boundaries = analyzers.quantiles(values, _QUANTILES, _QUANTILE_ERROR)
    return tf.where(absent, 0.5, ranks(tf.where(absent, 0.0, values), boundaries)), tf.cast(absent, tf.float32)


def _label(values: tf.Tensor) -> tf.Tensor:
    return tft.apply_vocabulary(values, tft.vocabulary(values, vocab_filename=LABEL), default_value=-1)


def _strings(values: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    """Returns one string per row, shape [B], empty where absent."""
    if values.dtype != tf.string:
        values = tf.sparse.map_values(tf.strings.as_string, values) if _is_sparse(values) else tf.strings.as_string(values)
    return _dense(values, "")


def _floats(values: tf.Tensor | tf.SparseTensor) -> tf.Tensor:
    """Returns one float32 per row, shape [B], NaN where absent."""
    return _dense(values if values.dtype == tf.float32 else tf.cast(values, tf.float32), float("nan"))


def _dense(values: tf.Tensor | tf.SparseTensor, absent: Any) -> tf.Tensor:
    if not _is_sparse(values):
        return tf.reshape(values, [-1])
    # Of no row with a value, too, there is a first column.
    shape = tf.maximum(values.dense_shape, [0, 1])
    return tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape), absent)[:, 0]


def _is_sparse(values: Any) -> bool:
    return isinstance(values, tf.SparseTensor | tf.compat.v1.SparseTensorValue)
