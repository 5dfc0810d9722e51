"""Text in plain TensorFlow ops: one normal form for any script, and the words and n-grams of it.

The ops work inside a graph, so training and serving share them, and need nothing but TensorFlow where the model is loaded.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Code points past this one (emoji, rare ideographs) are their own normal form; mathematical letters below it are not.
_TABLE_SIZE = 0x1F200

# A compatibility form longer than this is one ligature for a whole phrase, and stays as it is.
_MAX_EXPANSION = 4

# No character has more of them in UTF-8.
_MAX_BYTES = 4

# Letters that people type without their stroke or dot, yet Unicode does not decompose.
_STROKES = str.maketrans("ıłøđħŧ", "ilodht")

# Marks above or below letters: accents of European scripts, Hebrew points, Arabic vowels, the Arabic elongation stroke.
_DROPPED_MARKS = frozenset(
    chr(point)
    for start, end in ((0x0300, 0x036F), (0x0591, 0x05C7), (0x0640, 0x0640), (0x064B, 0x065F), (0x0670, 0x0670))
    for point in range(start, end + 1)
)

# A capital that begins a word inside a sentence. All capitals are no sign of a name, and a text's first letter is none either.
_NAME_START = r"([^\p{L}\p{N}])(\p{Lu}\p{Ll})"

# Stands before a word that looks like a name. Its normal form is itself, and no keyboard types it.
_NAME_MARK = "\U0010fffd"

# What of a word is its shape. The last one is letters without case, and signs beyond ASCII.
_SHAPES = (
    (r"\p{N}+", "0"),
    (r"[\p{Ll}\p{M}]+", "x"),
    (r"\p{Lu}\p{Lu}+", "XX"),
    (r"\p{Lu}", "X"),
    (r"[^\x00-\x7f]+", "o"),
)

# Scripts written without spaces, whose characters are words for lack of better knowledge.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"


def normalise(texts: tf.Tensor, max_characters: int) -> tf.Tensor:
    """Maps texts to one normal form: `"Ｃａｆé,\\tOPEN?"` becomes `"cafe open"`.

    Letters lose case, width, ligatures and accents, in any script; punctuation, control characters and invalid UTF-8 become
    spaces; runs of spaces become one. Invisible characters (joiners, soft hyphens) vanish. Symbols and emoji stay.

    Args:
      texts: Strings, shape [B].
      max_characters: What follows this many characters is cut off, so that a huge message cannot stall a server.

    Returns:
      Valid UTF-8 strings, shape [B], possibly empty.
    """
    points = tf.strings.unicode_decode(texts, "UTF-8", errors="replace", replacement_char=ord(" "))[:, :max_characters]
    known = tf.where(points.flat_values < _TABLE_SIZE, points.flat_values, 0)
    expanded = tf.gather(tf.constant(_normal_forms()), known)
    untouched = tf.pad(points.flat_values[:, tf.newaxis], [[0, 0], [0, _MAX_EXPANSION - 1]])
    expanded = tf.where(points.flat_values[:, tf.newaxis] < _TABLE_SIZE, expanded, untouched)
    kept = tf.not_equal(expanded, 0)
    lengths = tf.reduce_sum(tf.cast(kept, points.row_splits.dtype), axis=1)
    normal = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(expanded, kept), tf.reduce_sum(points.with_flat_values(lengths), axis=1)
    )
    encoded = tf.strings.unicode_encode(normal, "UTF-8")
    return tf.strings.strip(tf.strings.regex_replace(encoded, " {2,}", " "))


def with_names_marked(texts: tf.Tensor, max_characters: int) -> tf.Tensor:
    """Marks words with a capital initial, of which normal forms know nothing else: "play Heat Wave" is about something.

    Args:
      texts: Raw strings, shape [B].
      max_characters: What `normalise` is going to keep; a huge message is not searched to its end.

    Returns:
      Strings for `normalise`, and after it for `without_marks` and `frames`, shape [B]. The first word of a text, which has its
      capital from the sentence, and words all in capitals are not marked.
    """
    beginnings = tf.strings.substr(texts, 0, _MAX_BYTES * max_characters)
    return tf.strings.regex_replace(beginnings, _NAME_START, rf"\1{_NAME_MARK}\2")


def without_marks(texts: tf.Tensor) -> tf.Tensor:
    """Returns normalised texts as if their names had never been marked."""
    return tf.strings.regex_replace(texts, _NAME_MARK, "")


def frames(texts: tf.Tensor) -> tf.Tensor:
    """Reduces normalised texts with marks to what they say about their names: `"[ play _ on _ ]"`.

    Each run of marked words becomes one blank, and brackets stand at the ends of a text that is not empty. No normal form has
    blanks or brackets of its own.
    """
    blanked = tf.strings.regex_replace(texts, rf"{_NAME_MARK}[^ ]*(?: {_NAME_MARK}[^ ]*)*", "_")
    return tf.strings.regex_replace(blanked, "^(.+)$", r"[ \1 ]")


def words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits normalised texts at spaces; every character of a script without spaces is a word.

    Args:
      texts: What `normalise` returned, shape [B].

    Returns:
      Words, ragged, shape [B, None].
    """
    return tf.strings.split(tf.strings.regex_replace(texts, f"({_UNSPACED})", r" \1 "))


def word_ngrams(texts: tf.Tensor, widths: Sequence[int]) -> tf.RaggedTensor:
    """Returns the runs of words of each width, ragged, shape [B, None]."""
    return tf.strings.ngrams(words(texts), list(widths))


def character_ngrams(texts: tf.Tensor, widths: Sequence[int]) -> tf.RaggedTensor:
    """Returns the runs of characters of each width inside words, ragged, shape [B, None].

    The ends of a word are marked by spaces, so `"go on"` has the 2-grams `" g"`, `"go"`, `"o "`, `" o"`, `"on"`, `"n "`.
    """
    marked = tf.strings.join([" ", tf.strings.split(texts), " "])
    characters = tf.strings.unicode_split(marked, "UTF-8")
    return tf.strings.ngrams(characters, list(widths), separator="").merge_dims(1, 2)


def looks(words: tf.Tensor, prefixes: Sequence[int], suffixes: Sequence[int], max_characters: int) -> tf.Tensor:
    """Describes words by what they look like.

    Args:
      words: Strings, shape [W].
      prefixes: How many first letters to look at.
      suffixes: How many last ones; a word that has no letter beside them has no such suffix.
      max_characters: Words are cut here.

    Returns:
      Strings, shape [W, 2 + prefixes + suffixes]: the normal form, in which all digits are zeros, or the word itself where it does not
      begin with a letter or a digit; its prefixes and suffixes, empty where there is none; and its shape, `"Xx"` for `"Ann"` and
      `"XX"` for `"IBM"`: one sign for a run of small letters or digits, up to two for capitals.
    """
    words = tf.strings.substr(words, 0, _MAX_BYTES * max_characters)
    normal = tf.strings.regex_replace(normalise(words, max_characters), " ", "")
    normal = tf.strings.regex_replace(normal, r"\p{N}", "0")
    is_word = tf.strings.regex_full_match(words, r"[\p{L}\p{N}](?s:.*)")
    normal = tf.where(is_word, normal, "")
    described = [tf.where(is_word, normal, words)]
    described += [tf.strings.substr(normal, 0, width, unit="UTF8_CHAR") for width in prefixes]
    length = tf.strings.length(normal, unit="UTF8_CHAR")
    for width in suffixes:
        # Of a string that is too short, a position from its end would be an error.
        long_enough = tf.where(length > width, normal, "_" * width)
        described.append(tf.where(length > width, tf.strings.substr(long_enough, -width, width, unit="UTF8_CHAR"), ""))
    return tf.stack([*described, _shapes(words)], axis=1)


def _shapes(words: tf.Tensor) -> tf.Tensor:
    for pattern, sign in _SHAPES:
        words = tf.strings.regex_replace(words, pattern, sign)
    return words


@functools.cache
def _normal_forms() -> np.ndarray:
    """Returns the normal form of each code point, zero-padded, shape [_TABLE_SIZE, _MAX_EXPANSION], int32."""
    table = np.zeros((_TABLE_SIZE, _MAX_EXPANSION), np.int32)
    for point in range(_TABLE_SIZE):
        form = [ord(character) for character in _normal_form(chr(point))]
        table[point, : len(form)] = form
    return table


def _normal_form(character: str) -> str:
    category = unicodedata.category(character)
    if character in _DROPPED_MARKS or category == "Cf":
        return ""
    if category[0] in "CPZ":
        return " "
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", character).casefold())
    bare = "".join(_without_accents(part) for part in folded).translate(_STROKES)
    # A form with punctuation or spaces inside, such as the one of the fraction 1/2, is two words.
    bare = "".join(" " if unicodedata.category(part)[0] in "CPZ" else part for part in bare)
    return bare if len(bare) <= _MAX_EXPANSION else character


def _without_accents(character: str) -> str:
    if character in _DROPPED_MARKS:
        return ""
    base, *marks = unicodedata.normalize("NFD", character)
    return base if _DROPPED_MARKS.issuperset(marks) else character
