"""Texts that say the same in another spelling: what they have in common, and a hash of it.

Two texts are near duplicates if they are equal once case, width and other compatibility forms, the script of digits, punctuation,
symbols and white space no longer count. Numbers do count: `brightness 10` and `brightness 100` ask for two things. A text of nothing
but punctuation or emoji is its own form, because nothing would be left of it.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion import letters, row_hash

# Letters that stand for two in the normal form, and stand in every other text of Thai and Lao.
_TWO_IN_ONE = ("\u0e33", "\u0eb3")
# What is made of a slice on the way stays in the processor's cache.
_ROWS_PER_SLICE = 4096


def plain_form(texts: pa.StringArray) -> pa.StringArray:
    """Returns what near duplicates have in common; null where a text is missing.

    >>> plain_form(pa.array(["Turn  ON the light!", "Set to ٤٢°"])).to_pylist()
    ['turn on the light', 'set to 42']
    """
    # Bytes are far faster than Unicode, and enough for most texts.
    foreign = pc.invert(pc.fill_null(pc.string_is_ascii(texts), True)).to_numpy(zero_copy_only=False)
    if not foreign.any():
        return _ascii_form(texts)
    apart = pa.concat_arrays([_ascii_form(texts.filter(pa.array(~foreign))), _foreign_form(texts.filter(pa.array(foreign)))])
    order = np.concatenate([np.flatnonzero(~foreign), np.flatnonzero(foreign)])
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return apart.take(pa.array(places))


def hash_texts(
    rows: pa.RecordBatch,
    columns: Sequence[str],
    cells: Mapping[str, np.ndarray],
    plain: Mapping[str, pa.StringArray] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes the texts of rows, all columns together.

    Args:
      rows: Among their columns the text columns, as strings.
      columns: The text columns.
      cells: Hashes of the rows' cells, see `row_hash.hash_columns`.
      plain: What `plain_form` makes of the text columns, where somebody has that already.

    Returns:
      uint64 [rows] of the texts as they are; uint64 [rows], equal for near duplicates; bool [rows], whether there is any text.
    """
    exact, near, there = {}, {}, np.zeros(rows.num_rows, dtype=bool)
    for name in columns:
        column = rows.column(name)
        exact[name] = cells[name]
        near[name] = row_hash.hash_cells(plain_form(column) if plain is None else plain[name])
        there |= column.is_valid().to_numpy(zero_copy_only=False)
    return row_hash.join(exact, rows.num_rows), row_hash.join(near, rows.num_rows), there


def _ascii_form(texts: pa.StringArray) -> pa.StringArray:
    slices = [_ascii_words(texts.slice(start, _ROWS_PER_SLICE)) for start in range(0, len(texts), _ROWS_PER_SLICE)]
    words = pa.concat_arrays(slices) if slices else texts
    return _with_signs(words, texts)


def _ascii_words(texts: pa.StringArray) -> pa.StringArray:
    """Lowers ASCII letters and leaves one space in place of everything between words; bytes beyond ASCII are of words."""
    data, offsets = _buffers(texts)
    data, offsets = _without_gaps(_plain_bytes()[data], offsets)
    words = _strings(data, offsets)
    return pc.if_else(texts.is_valid(), words, None) if texts.null_count else words


def _foreign_form(texts: pa.StringArray) -> pa.StringArray:
    """The same for texts in any script, none of which is missing or empty."""
    for letter in _TWO_IN_ONE:
        texts = pc.replace_substring(texts, letter, unicodedata.normalize("NFKC", letter))
    slices = [_foreign_words(texts.slice(start, _ROWS_PER_SLICE)) for start in range(0, len(texts), _ROWS_PER_SLICE)]
    words = pa.concat_arrays([words for words, _ in slices])
    one_by_one = np.concatenate([odd for _, odd in slices])
    if not one_by_one.any():
        return words
    which = pa.array(one_by_one)
    return pc.replace_with_mask(words, which, _ascii_form(_unify(texts.filter(which))))


def _foreign_words(texts: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """The words of texts, and bool [texts], true for those that have none or must be looked at one by one."""
    data, _ = _buffers(texts)
    codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), "<u4")
    starts = np.concatenate([[0], np.cumsum(pc.utf8_length(texts).to_numpy(zero_copy_only=False), dtype=np.int32)])
    counterparts, odd = letters.plain_letters(codes)
    kept, starts_kept = _without_gaps(counterparts, starts)
    lengths = 1 + (kept >= 0x80).astype(np.int8) + (kept >= 0x800) + (kept >= 0x10000)
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
    words = _strings(np.frombuffer(kept.tobytes().decode("utf-32-le").encode(), np.uint8), places[starts_kept])
    return words, np.logical_or.reduceat(odd, starts[:-1]) | (np.diff(starts_kept) == 0)


def _unify(texts: pa.StringArray) -> pa.StringArray:
    """Takes out of texts in any script what only Unicode knows of: case, width, digits, punctuation. Wordless ones keep their signs."""
    # Python's normalisation, as Arrow's (of pyarrow 18) leaves letters and their marks apart.
    normal = [letters.ascii_digits(unicodedata.normalize("NFKC", text)) for text in texts.to_pylist()]
    unified = pc.utf8_lower(pa.array(normal, pa.string()))
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(unified, letters.NO_WORD, " "))
    wordless = pc.equal(words, "")
    return pc.replace_with_mask(words, wordless, unified.filter(wordless)) if wordless.true_count else words


def _with_signs(words: pa.StringArray, texts: pa.StringArray) -> pa.StringArray:
    """Texts of nothing but signs are their own form."""
    wordless = pc.fill_null(pc.equal(words, ""), False)
    if not wordless.true_count:
        return words
    return pc.replace_with_mask(words, wordless, pc.utf8_trim_whitespace(texts.filter(wordless)))


def _buffers(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of texts, uint8, and where in them each begins and ends, int32 [texts + 1]."""
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def _strings(data: np.ndarray, offsets: np.ndarray) -> pa.StringArray:
    words = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data))
    # Of the gaps before the first word one is left.
    begins = offsets[:-1][np.diff(offsets) > 0]
    return pc.ascii_ltrim(words, " ") if (data[begins] == letters.GAP).any() else words


def _without_gaps(units: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaves of several gaps the last one, if a word of the same text follows; of texts of bytes or code points."""
    word = units != letters.GAP
    kept = word.copy()
    kept[:-1] |= word[1:]
    ends = offsets[1:][np.diff(offsets) > 0] - 1
    kept[ends] = word[ends]
    places = np.zeros(len(units) + 1, np.int32)
    np.cumsum(kept, dtype=np.int32, out=places[1:])
    return units[kept], places[offsets]


@functools.cache
def _plain_bytes() -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for code in range(128):
        table[code] = ord(chr(code).lower()) if chr(code).isalnum() else letters.GAP
    return table
