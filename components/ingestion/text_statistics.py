"""What the texts of a table are like, split by split: how long, in which script and language, how many alike, how many words are new.

Everything is counted while rows stream by, vectorised, in memory that does not grow with the table. Parts of a table are counted apart
and merged, in any order. No text and no word is kept: words are 32 bits of a hash, in which all digits are one, so that numbers of
telephones, cards and customers are in none of them.
"""

from __future__ import annotations

import collections
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion import near_duplicates, row_hash
from components.ingestion.hashed_counts import HashedCounts
from components.ingestion.options import SPLITS

VOCABULARY_FILE = "vocabulary.npz"
"""Beside the examples: the words of the train split, as hashes and how often each occurs, by text column."""

TRAIN = SPLITS[0]
NO_SCRIPT = "(no letters)"
OTHER_SCRIPT = "(other script)"
# Those of the world's larger languages, by the names RE2 and Unicode have for them.
SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Han", "Hiragana", "Katakana", "Hangul", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan",
    "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam", "Sinhala", "Georgian", "Armenian",
    "Ethiopic", "Mongolian",
)  # fmt: skip

_SCRIPT_NAMES = (*SCRIPTS, OTHER_SCRIPT, NO_SCRIPT)
_LETTER = r"^[\p{L}\p{M}]$"
_NO_LETTER, _UNSEEN = len(SCRIPTS) + 1, 255
_LAST_CODE = 0x110000
# First bytes of Japanese and Chinese characters in UTF-8.
_FIRST_ALONE, _LAST_ALONE = 0xE3, 0xE9
_SPACE, _ZERO = ord(" "), ord("0")
# What is made of a slice on the way (four bytes for each character, and more) stays small however long texts are.
_ROWS_PER_SLICE = 4096
# Lengths up to 63 are counted one by one, longer ones in ranges that grow by 4 % each.
_EXACT, _PER_DOUBLING, _DOUBLINGS = 64, 16, 16
_LIMITS = np.unique(
    np.r_[np.arange(_EXACT), np.ceil(_EXACT * 2 ** (np.arange(_DOUBLINGS * _PER_DOUBLING) / _PER_DOUBLING))]
).astype(np.int64)
_QUANTILES = {"p5": 0.05, "p50": 0.5, "p95": 0.95}


class TextStatistics:
    """Counts the texts of each column and split."""

    def __init__(self, columns: Sequence[str]):
        """Statistics of no row yet.

        Args:
          columns: The text columns.
        """
        self._counted = {name: [_Texts() for _ in SPLITS] for name in columns}

    def add(
        self,
        splits: np.ndarray,
        rows: pa.RecordBatch,
        plain: Mapping[str, pa.StringArray] | None = None,
        near: np.ndarray | None = None,
        languages: Mapping[str, pa.Array] | None = None,
    ) -> None:
        """Adds rows.

        Args:
          splits: int8 [rows], indices into `SPLITS`; below zero for rows that are not stored.
          rows: Among their columns the text columns, as strings.
          plain: What near_duplicates.plain_form makes of the text columns, where somebody has that already.
          near: uint64 [rows], hashes that near duplicates share, of all text columns together, where somebody has them already.
          languages: The detected language of each row, by text column, where somebody asked for it.
        """
        for name, counted in self._counted.items():
            texts = rows.column(name)
            words = near_duplicates.plain_form(texts) if plain is None else plain[name]
            # Of one column, they are as good as its own.
            kinds = near if near is not None and len(self._counted) == 1 else row_hash.hash_cells(words)
            there = pc.fill_null(pc.not_equal(words, ""), False).to_numpy(zero_copy_only=False)
            spoken = (languages or {}).get(name)
            for code, part in enumerate(counted):
                kept = there & (splits == code)
                part.rows += int(np.count_nonzero(splits == code))
                chosen = pa.array(kept)
                part.add(
                    texts.filter(chosen), words.filter(chosen), kinds[kept], None if spoken is None else spoken.filter(chosen)
                )

    def merge(self, other: TextStatistics) -> None:
        """Adds the statistics of other rows of the same table."""
        for name, counted in self._counted.items():
            for mine, theirs in zip(counted, other._counted[name], strict=True):
                mine.merge(theirs)

    def report(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Returns what was counted, by column and split.

        Returns:
          Of each split: `rows`, and `empty`, those without a text. Of the others `length` in characters and `words` (of scripts that
          leave no space between words, characters), each with a `histogram`, pairs of a range's lower limit and its rows, and
          `quantiles`; `scripts`, rows by the script of most of their letters; `languages`, rows by detected language, {} if nobody
          asked; `different` texts, near duplicates counting as one, `duplicates`, the share of the texts that are not the first of
          their kind, and `repeats`, pairs of how often a text occurs and how many do; `all_words`, how many words there are; and of
          eval and test `unknown_words`, the share of them that train does not have.
        """
        result: dict[str, dict[str, dict[str, Any]]] = {}
        for name, counted in self._counted.items():
            train = counted[0].words
            result[name] = {split: part.report() for split, part in zip(SPLITS, counted, strict=True)}
            for split, part in list(zip(SPLITS, counted, strict=True))[1:]:
                result[name][split]["unknown_words"] = round(part.words.unknown_to(train), 6)
        return result

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes the words of the train split, as hashes, to `VOCABULARY_FILE` in a folder; nothing where there are no text columns.

        Raises:
          OSError: The disk is full or not writable.
        """
        arrays: dict[str, np.ndarray] = {}
        for name, counted in self._counted.items():
            hashes, counts, halvings, total = counted[0].words.state()
            arrays[f"{name}/hashes"] = hashes.astype(np.uint32)
            arrays[f"{name}/counts"] = counts
            arrays[f"{name}/size"] = np.array([halvings, total], np.int64)
        if arrays:
            with (pathlib.Path(folder) / VOCABULARY_FILE).open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # no column is called allow_pickle


def read_vocabulary(folder: str | os.PathLike[str]) -> dict[str, HashedCounts]:
    """Returns the words of the train split, as hashes, by text column; none where `write` was never called."""
    path = pathlib.Path(folder) / VOCABULARY_FILE
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as arrays:
        columns = [key.removesuffix("/size") for key in arrays if key.endswith("/size")]
        return {
            name: HashedCounts.of(
                arrays[f"{name}/hashes"], arrays[f"{name}/counts"], int(arrays[f"{name}/size"][0]), int(arrays[f"{name}/size"][1])
            )
            for name in columns
        }


def end_of_range(lower: int) -> int:
    """Returns where the range of a histogram ends that begins at a lower limit: the next one's lower limit."""
    place = int(np.searchsorted(_LIMITS, lower, side="right"))
    return int(_LIMITS[place]) if place < len(_LIMITS) else lower + 1


def word_hashes(plain: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes the words of texts. Numbers of as many digits are one word; so is each character of Chinese and Japanese.

    Args:
      plain: Texts in the form that near duplicates share: words with one space between them.

    Returns:
      uint64 [words], of 32 bits, and int64 [rows], how many words each text has.
    """
    slices = [_word_hashes(plain.slice(start, _ROWS_PER_SLICE)) for start in range(0, len(plain), _ROWS_PER_SLICE)]
    if not slices:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    hashes, per_row = zip(*slices, strict=True)
    return np.concatenate(hashes), np.concatenate(per_row)


def _word_hashes(plain: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    _, offsets_buffer, data_buffer = plain.fill_null("").buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[plain.offset : plain.offset + len(plain) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    data, offsets = _digits_alike()[data[offsets[0] : offsets[-1]]], offsets - offsets[0]
    word = data != _SPACE
    begins = np.ones(len(data), bool)
    begins[1:] = ~word[:-1]
    begins[offsets[:-1][offsets[1:] > offsets[:-1]]] = True
    # Three bytes each, and first bytes that no other script but some symbols share.
    if len(data) and data.max() >= _FIRST_ALONE:
        alone = (data >= _FIRST_ALONE) & (data <= _LAST_ALONE)
        begins |= alone
        begins[3:] |= alone[:-3] & ((data[3:] & 0xC0) != 0x80)
    begins &= word
    starts = np.flatnonzero(begins)
    per_row = np.diff(np.searchsorted(starts, offsets))
    return row_hash.hash_stretches(data, starts, word) >> np.uint64(32), per_row


def main_scripts(texts: pa.StringArray) -> pa.Array:
    """Returns the script of most letters of each text: one of SCRIPTS, OTHER_SCRIPT, or NO_SCRIPT; null where there is no text.

    >>> main_scripts(pa.array(["Привет, Anna!", "42"])).to_pylist()
    ['Cyrillic', '(no letters)']
    """
    return pc.if_else(texts.is_valid(), pa.array(_SCRIPT_NAMES).take(pa.array(_script_codes(texts))), None)


def _script_codes(texts: pa.StringArray) -> np.ndarray:
    """The same as places in _SCRIPT_NAMES; of a missing text, that of NO_SCRIPT."""
    letters = pc.match_substring_regex(texts, "[A-Za-z]")
    codes = np.where(pc.fill_null(letters, False).to_numpy(zero_copy_only=False), 0, _NO_LETTER)
    foreign = np.flatnonzero(pc.fill_null(pc.invert(pc.string_is_ascii(texts)), False).to_numpy(zero_copy_only=False))
    for start in range(0, len(foreign), _ROWS_PER_SLICE):
        rows = foreign[start : start + _ROWS_PER_SLICE]
        codes[rows] = _of_foreign(texts.take(pa.array(rows)))
    return codes


class _Texts:
    """The texts of one column and split."""

    def __init__(self) -> None:
        self.rows = self.texts = 0
        self.lengths, self.word_counts = (np.zeros(len(_LIMITS), np.int64) for _ in range(2))
        self.longest = np.zeros(2, np.int64)
        self.scripts = np.zeros(len(_SCRIPT_NAMES), np.int64)
        self.languages: collections.Counter[str] = collections.Counter()
        self.words, self.kinds = HashedCounts(), HashedCounts()

    def add(self, texts: pa.StringArray, plain: pa.StringArray, kinds: np.ndarray, languages: pa.Array | None) -> None:
        """Adds texts, none of which is missing or empty."""
        if not len(texts):
            return
        lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
        hashes, word_counts = word_hashes(plain)
        for place, (histogram, values) in enumerate(((self.lengths, lengths), (self.word_counts, word_counts))):
            exact = np.bincount(values)
            used = int(np.searchsorted(_LIMITS, len(exact)))
            histogram[:used] += np.add.reduceat(exact, _LIMITS[:used])
            self.longest[place] = max(self.longest[place], values.max())
        self.texts += len(texts)
        self.words.add(hashes)
        self.kinds.add(kinds)
        self.scripts += np.bincount(_script_codes(texts), minlength=len(self.scripts))
        if languages is not None:
            for entry in pc.value_counts(languages).to_pylist():
                self.languages[entry["values"]] += entry["counts"]

    def merge(self, other: _Texts) -> None:
        self.rows += other.rows
        self.texts += other.texts
        self.lengths += other.lengths
        self.word_counts += other.word_counts
        self.longest = np.maximum(self.longest, other.longest)
        self.scripts += other.scripts
        self.languages.update(other.languages)
        self.words.merge(other.words)
        self.kinds.merge(other.kinds)

    def report(self) -> dict[str, Any]:
        different = min(self.kinds.different(), self.texts)
        scripts = {name: int(rows) for name, rows in zip(_SCRIPT_NAMES, self.scripts, strict=True) if rows}
        return {
            "rows": self.rows,
            "empty": self.rows - self.texts,
            "length": _distribution(self.lengths, int(self.longest[0])),
            "words": _distribution(self.word_counts, int(self.longest[1])),
            "scripts": dict(sorted(scripts.items(), key=lambda item: -item[1])),
            "languages": dict(self.languages.most_common()),
            "different": different,
            "duplicates": round(1 - different / self.texts, 6) if self.texts else 0.0,
            "repeats": [list(pair) for pair in _thinned(self.kinds.repeats())],
            "all_words": self.words.total,
        }


def _distribution(histogram: np.ndarray, longest: int) -> dict[str, Any]:
    used = np.flatnonzero(histogram)
    ranks = np.cumsum(histogram)
    quantiles = {
        name: int(min(_LIMITS[np.searchsorted(ranks, share * ranks[-1])], longest)) for name, share in _QUANTILES.items()
    }
    return {
        "histogram": [[int(_LIMITS[index]), int(histogram[index])] for index in used],
        "quantiles": {**quantiles, "max": longest} if len(used) else {},
    }


def _thinned(repeats: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Takes large numbers of repetitions together that agree in their first two digits, so that there are never many."""
    together: dict[int, list[int]] = {}
    for often, many in repeats:
        step = 10 ** max(len(str(often)) - 2, 0)
        entry = together.setdefault(often // step * step, [0, 0])
        entry[0] += often * many
        entry[1] += many
    return [(round(occurrences / many), many) for occurrences, many in together.values() if many]


def _of_foreign(texts: pa.StringArray) -> np.ndarray:
    """Which script most letters of each text are of, as an index; of several with as many, the first."""
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    _, offsets, data = texts.buffers()
    limits = np.frombuffer(offsets, np.int32)
    content = memoryview(data)[limits[texts.offset] : limits[texts.offset + len(texts)]]
    codes = np.frombuffer(bytes(content).decode("utf-8").encode("utf-32-le"), np.uint32)
    scripts = _scripts_of(codes).astype(np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    letters = scripts != _NO_LETTER
    counts = np.bincount(rows[letters] * _NO_LETTER + scripts[letters], minlength=len(texts) * _NO_LETTER)
    counts = counts.reshape(len(texts), _NO_LETTER)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), _NO_LETTER)


def _scripts_of(codes: np.ndarray) -> np.ndarray:
    """The script of each character as an index, looked up once for each that occurs."""
    table = _script_table()
    if (new := np.unique(codes[table[codes] == _UNSEEN])).size:
        characters = pa.array(map(chr, new.tolist()), pa.string())
        found = np.where(_matches(characters, _LETTER), len(SCRIPTS), _NO_LETTER)
        for index, script in enumerate(SCRIPTS):
            found[_matches(characters, rf"^\p{{{script}}}$") & (found != _NO_LETTER)] = index
        table[new] = found
    return table[codes]


def _matches(texts: pa.StringArray, pattern: str) -> np.ndarray:
    return pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)


@functools.cache
def _script_table() -> np.ndarray:
    return np.full(_LAST_CODE, _UNSEEN, np.uint8)


@functools.cache
def _digits_alike() -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    table[_ZERO : _ZERO + 10] = _ZERO
    return table
