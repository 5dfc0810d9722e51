"""Texts that say the same in another spelling: what they have in common, and a hash of it.

Two texts are near duplicates if they are equal once case, width and other compatibility forms, the script of digits, punctuation,
symbols and white space no longer count. Numbers do count: `brightness 10` and `brightness 100` ask for two things. A text of nothing
but punctuation or emoji is its own form, because nothing would be left of it.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion import row_hash

# Marks are letters' vowels in many scripts.
_NO_WORD = r"[^\p{L}\p{M}\p{N}]+"
_GAP = ord(" ")
# What is made of a slice on the way stays in the processor's cache.
_ROWS_PER_SLICE = 4096


def plain_form(texts: pa.StringArray) -> pa.StringArray:
    """Returns what near duplicates have in common; null where a text is missing.

    >>> plain_form(pa.array(["Turn  ON the light!", "Set to ٤٢°"])).to_pylist()
    ['turn on the light', 'set to 42']
    """
    # Bytes are ten times as fast as Unicode, and enough for most texts and for the rest of the others.
    foreign = pc.fill_null(pc.invert(pc.string_is_ascii(texts)), False)
    if pc.any(foreign).as_py():
        texts = pc.replace_with_mask(texts, foreign, _unify(texts.filter(foreign)))
    slices = [_words(texts.slice(start, _ROWS_PER_SLICE)) for start in range(0, len(texts), _ROWS_PER_SLICE)]
    words = pa.concat_arrays(slices) if slices else texts
    wordless = pc.fill_null(pc.equal(words, ""), False)
    if pc.any(wordless).as_py():
        words = pc.replace_with_mask(words, wordless, pc.utf8_trim_whitespace(texts.filter(wordless)))
    return words


def hash_texts(
    rows: pa.RecordBatch, columns: Sequence[str], cells: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes the texts of rows, all columns together.

    Args:
      rows: Among their columns the text columns, as strings.
      columns: The text columns.
      cells: Hashes of the rows' cells, see `row_hash.hash_columns`.

    Returns:
      uint64 [rows] of the texts as they are; uint64 [rows], equal for near duplicates; bool [rows], whether there is any text.
    """
    exact, near, there = {}, {}, np.zeros(rows.num_rows, dtype=bool)
    for name in columns:
        column = rows.column(name)
        exact[name] = cells[name]
        near[name] = row_hash.hash_cells(plain_form(column))
        there |= column.is_valid().to_numpy(zero_copy_only=False)
    return row_hash.join(exact, rows.num_rows), row_hash.join(near, rows.num_rows), there


def _unify(texts: pa.StringArray) -> pa.StringArray:
    """Takes out of texts in any script what only Unicode knows of: case, width, digits, punctuation. Wordless ones keep their signs."""
    unified = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    digits = pc.match_substring_regex(unified, _foreign_digit())
    if pc.any(digits).as_py():
        changed = [text.translate(_digits()) for text in unified.filter(digits).to_pylist()]
        unified = pc.replace_with_mask(unified, digits, pa.array(changed, pa.string()))
    words = pc.utf8_trim_whitespace(pc.replace_substring_regex(unified, _NO_WORD, " "))
    return pc.if_else(pc.equal(words, ""), unified, words)


def _words(texts: pa.StringArray) -> pa.StringArray:
    """Lowers ASCII letters and leaves one space in place of everything between words; bytes beyond ASCII are of words."""
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    data, offsets = _plain_bytes()[data[offsets[0] : offsets[-1]]], offsets - offsets[0]
    gap = data == _GAP
    # The last of several gaps stays, if a word of the same text follows.
    kept = ~gap
    kept[:-1] |= ~gap[1:]
    ends = offsets[1:][np.diff(offsets) > 0] - 1
    kept[ends] = ~gap[ends]
    places = np.zeros(len(data) + 1, np.int32)
    np.cumsum(kept, dtype=np.int32, out=places[1:])
    words = pa.StringArray.from_buffers(len(texts), pa.py_buffer(places[offsets]), pa.py_buffer(data[kept]))
    words = pc.ascii_ltrim(words, " ")
    return pc.if_else(texts.is_valid(), words, None) if texts.null_count else words


@functools.cache
def _plain_bytes() -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for code in range(128):
        table[code] = ord(chr(code).lower()) if chr(code).isalnum() else _GAP
    return table


@functools.cache
def _digits() -> dict[int, str]:
    codes = (code for code in range(128, sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Nd")
    return {code: str(unicodedata.decimal(chr(code))) for code in codes}


@functools.cache
def _foreign_digit() -> str:
    return f"[{''.join(map(chr, _digits()))}]"
