"""Whether labels still fit the rows they are on, judged by what earlier rows with these labels looked like.

Labels that are wrong need not show in any column: shifted by one row, they keep their shares. What breaks is what ties them to the texts.
So a plain model (multinomial naive Bayes over hashed words, categories and deciles of numbers) learns that tie from the earlier data's
train split, and two shares are compared: how often it is right on rows of the earlier data it has not seen, and on the new ones. If it is
right less often now, three questions tell why: do the labels fit the row before or after, do they fit once classes are exchanged, and do
the new rows fit among themselves?

Everything is read from examples that are stored anyway. Nothing is kept, no word leaves this module.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from components.findings import Finding, Severity
from components.ingestion import near_duplicates, row_hash, tfrecord
from components.ingestion.options import SPLITS
from components.validation import distances
from components.validation.options import DRIFT, ValidationOptions

CHECK = "labels fit"

_TRAIN, *_HELD_OUT = SPLITS
# Enough for the first digits of a share; a table may be a thousand times as long.
_MOST_ROWS = {_TRAIN: 40_000, **dict.fromkeys(_HELD_OUT, 10_000)}
# A table of classes times buckets stays below 64 MiB.
_MOST_BUCKETS, _MOST_CELLS = 1 << 15, 1 << 23
# Fewer rows tell nothing: their share is anything.
_LEAST_ROWS = 50
# A model that is hardly better than the most frequent class has learnt no tie that could break.
_LEAST_GAIN = 0.1
# Smoothing of counts: an unknown word in one text says little about its class (Lidstone's).
_PRIOR = 0.1
_QUANTILES = np.linspace(0.1, 0.9, 9)
_OFFSETS = (-1, 1, -2, 2)
# A cause counts as found if it explains that much of what was lost.
_EXPLAINED = 0.5
_SHOWN_CLASSES = 3
# What stands where a class is expected is told from that many rows on.
_LEAST_ROWS_OF_A_CLASS = 5
# Of many classes two may be taken for one by mistake.
_DISTINCT = 0.8
# Written without spaces between words; there each character is taken for one.
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_UNKNOWN = -1


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns are looked at.

    Attributes:
      label: The column of the classes.
      text: Message columns, of which each word counts.
      inputs: The model's other inputs.
    """

    label: str
    text: Sequence[str]
    inputs: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows in the order of reading.

    Attributes:
      labels: The class of each row; null where there is none.
      words: Hashes of the words of all rows, one after the other.
      ends: int64 [rows + 1]: the words of row i are those from ends[i] up to ends[i + 1].
      numbers: float [rows] by column, NaN where missing.
    """

    labels: pa.StringArray
    words: np.ndarray
    ends: np.ndarray
    numbers: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well labels fit, before and now.

    Attributes:
      against: What the earlier data is, in words.
      rows: Rows that were judged, before and now.
      before: Share of the earlier data's held-out rows whose label is the expected one.
      after: The same of the new rows.
      p_value: Probability of such a difference by chance.
      offset: How many rows further up (-1: one row before) the rows are that the labels fit; 0 if nowhere.
      exchanged: Pairs of classes: the second stands where the first is expected; empty if that explains nothing.
      share_explained: The share of rows whose label is the expected one at that offset, or after exchanging the classes back.
      among_themselves: The share of held-out new rows that have the label other new rows suggest; None if there are too few.
    """

    against: str
    rows: tuple[int, int]
    before: float
    after: float
    p_value: float
    offset: int = 0
    exchanged: tuple[tuple[str, str], ...] = ()
    share_explained: float = 0.0
    among_themselves: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the agreement as plain JSON values."""
        return dataclasses.asdict(self)


def read(folder: str | os.PathLike[str], columns: Columns) -> dict[str, Rows]:
    """Reads rows of an Examples artifact, by split; of long ones the beginning of every file.

    Args:
      folder: The artifact.
      columns: The columns to look at; those that are not stored count as missing.
    """
    return {split: _read_split(pathlib.Path(folder) / f"Split-{split}", columns, most) for split, most in _MOST_ROWS.items()}


def rows_of(batch: pa.RecordBatch, columns: Columns) -> Rows:
    """Takes the labels, words and numbers out of a batch whose columns are text or numbers."""
    there = dict(zip(batch.schema.names, batch.columns, strict=True))
    hashes, lengths, numbers = [], [], {}
    for place, name in enumerate((*columns.text, *columns.inputs)):
        column = there.get(name)
        if column is None or pa.types.is_null(column.type):
            continue
        # A word says something else in another column, but for columns of text, between which people do not draw a line.
        salt = np.uint64(0 if name in columns.text else place + 1)
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            numbers[name] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            continue
        column = _text(column)
        words = pc.split_pattern(_spaced(column), " ") if name in columns.text else _as_lists(column)
        flat = words.flatten().cast(pa.string())
        hashes.append(row_hash.mix(row_hash.hash_cells(flat) ^ salt))
        lengths.append(pc.fill_null(pc.list_value_length(words), 0).to_numpy(zero_copy_only=False).astype(np.int64))
    label = there.get(columns.label)
    labels = pa.nulls(batch.num_rows, pa.string()) if label is None else _text(label)
    words, ends = _interleave(hashes, lengths, batch.num_rows)
    return Rows(labels, words, ends, numbers)


class LabelModel:
    """Multinomial naive Bayes: P(class | row) is proportional to P(class) times the product of P(word | class)."""

    def __init__(self, rows: Rows):
        """Learns from rows.

        Args:
          rows: Rows with labels; those without are skipped.
        """
        encoded = rows.labels.dictionary_encode()
        self.classes: list[str] = encoded.dictionary.to_pylist()
        codes = _codes(encoded)
        known = codes != _UNKNOWN
        self._buckets = int(min(_MOST_BUCKETS, 2 ** np.log2(max(_MOST_CELLS / max(len(self.classes), 1), 2)).astype(int)))
        self._edges = {
            name: np.unique(np.nanquantile(values, _QUANTILES))
            for name, values in rows.numbers.items()
            if not np.isnan(values).all()
        }
        counts = self._counts(rows)
        members = sparse.csr_matrix((np.ones(known.sum()), (codes[known], np.flatnonzero(known))), (len(self.classes), len(rows)))
        by_class = np.asarray((members @ counts).todense()) + _PRIOR
        self._word_given_class = np.log(by_class / by_class.sum(axis=1, keepdims=True)).T
        self._class = np.log(np.bincount(codes[known], minlength=len(self.classes)) / max(known.sum(), 1))

    def expected(self, rows: Rows) -> np.ndarray:
        """Returns the class each row should have, as an index into `classes`."""
        return np.argmax(self._counts(rows) @ self._word_given_class + self._class, axis=1)

    def codes(self, rows: Rows) -> np.ndarray:
        """Returns the class each row has, as an index into `classes`; -1 where it has none of them."""
        found = pc.index_in(rows.labels, pa.array(self.classes, pa.string()))
        return pc.fill_null(found, _UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int64)

    def _counts(self, rows: Rows) -> sparse.csr_matrix:
        """How often each bucket occurs in each row."""
        buckets = (rows.words % np.uint64(self._buckets)).astype(np.int64)
        owners = np.repeat(np.arange(len(rows)), np.diff(rows.ends))
        for place, name in enumerate(sorted(self._edges)):
            values = rows.numbers.get(name)
            if values is None:
                continue
            there = np.flatnonzero(~np.isnan(values))
            steps = np.searchsorted(self._edges[name], values[there], side="right").astype(np.uint64)
            hashed = row_hash.mix(row_hash.mix(np.full(len(there), place + 1, np.uint64)) ^ steps)
            buckets = np.concatenate([buckets, (hashed % np.uint64(self._buckets)).astype(np.int64)])
            owners = np.concatenate([owners, there])
        return sparse.csr_matrix((np.ones(len(buckets)), (owners, buckets)), (len(rows), self._buckets))


def compare(before: Mapping[str, Rows], after: Mapping[str, Rows], against: str, options: ValidationOptions) -> Agreement | None:
    """Compares how well labels fit in two data sets.

    Args:
      before: The earlier data by split.
      after: The new data by split.
      against: What the earlier data is, in words.
      options: From when on a difference counts.

    Returns:
      The comparison; None if it can say nothing: too few rows, or the earlier data's labels have little to do with the other columns.
    """
    if not len(before[_TRAIN]):
        return None
    model = LabelModel(before[_TRAIN])
    held_out = [(model.codes(before[split]), model.expected(before[split])) for split in _HELD_OUT if len(before[split])]
    new = [(model.codes(rows), model.expected(rows)) for rows in after.values() if len(rows)]
    old_hits, new_hits = (
        np.concatenate([(codes == expected)[codes != _UNKNOWN] for codes, expected in side]) if side else np.zeros(0, bool)
        for side in (held_out, new)
    )
    if min(len(old_hits), len(new_hits)) < _LEAST_ROWS:
        return None
    codes = np.concatenate([codes[codes != _UNKNOWN] for codes, _ in held_out])
    if old_hits.mean() < np.bincount(codes).max() / len(codes) + _LEAST_GAIN:
        return None
    cells = distances.Cells(
        ("fits", "does not"),
        np.array([old_hits.sum(), (~old_hits).sum()], float),
        np.array([new_hits.sum(), (~new_hits).sum()], float),
    )
    agreement = Agreement(
        against=against,
        rows=(len(old_hits), len(new_hits)),
        before=float(old_hits.mean()),
        after=float(new_hits.mean()),
        p_value=distances.g_test(cells),
    )
    return _explained(agreement, model, new, after) if _lost(agreement, options) else agreement


def findings(agreement: Agreement, label: str, options: ValidationOptions) -> list[Finding]:
    """Returns the finding about labels; none if the options ignore drift of the label's column.

    Labels that fit other rows, or after exchanging classes, are a fault of the data, and an error unless the options say otherwise.
    Labels that only fit less are a warning, because the texts or what people mean by a label may have changed.

    Args:
      agreement: How well they fit.
      label: The label's column.
      options: From when on a difference counts, and how severe it is.
    """
    limit = options.labels
    lost = agreement.before - agreement.after
    counts = _lost(agreement, options)
    fault = counts and (agreement.offset != 0 or bool(agreement.exchanged))
    default = Severity.ERROR if fault or (counts and limit.fail is not None and lost > limit.fail) else Severity.WARNING
    severity = options.severity_of(label, DRIFT, default) if counts else Severity.INFO
    if severity is None:
        return []
    seen = (
        f"{agreement.after:.1%} of {agreement.rows[1]:,} rows have the label that rows like them have in {agreement.against},"
        f" where {agreement.before:.1%} of the held-out rows do"
    )
    return [
        Finding(
            check=CHECK,
            severity=severity,
            message=f"Column {label!r} {_why(agreement) if counts else 'fits the rows as before'}: {seen}",
            subject=label,
            expected=f"at most {limit.warn:.1%} less" if limit.warn is not None else "",
            observed=f"{agreement.before:.1%} -> {agreement.after:.1%}",
        )
    ]


def _lost(agreement: Agreement, options: ValidationOptions) -> bool:
    limits = [limit for limit in (options.labels.warn, options.labels.fail) if limit is not None]
    large = bool(limits) and agreement.before - agreement.after > min(limits)
    return large and agreement.p_value <= options.drift.alpha


def _why(agreement: Agreement) -> str:
    if agreement.offset:
        side, count = "before" if agreement.offset < 0 else "after", abs(agreement.offset)
        rows, place = ("one row", f"the row {side}") if count == 1 else (f"{count} rows", f"the row {count} places {side}")
        return f"looks shifted by {rows}: {agreement.share_explained:.1%} of the labels fit {place}"
    if agreement.exchanged:
        pairs = ", ".join(f"{now!r} where {expected!r} is expected" for expected, now in agreement.exchanged[:_SHOWN_CLASSES])
        more = len(agreement.exchanged) - _SHOWN_CLASSES
        pairs += f" and {more} more" if more > 0 else ""
        return (
            f"looks as if classes had changed places ({pairs}): exchanged back, {agreement.share_explained:.1%} of the labels fit"
        )
    middle = (agreement.before + agreement.after) / 2
    if agreement.among_themselves is not None and agreement.among_themselves >= middle:
        return (
            f"fits the rows less than before, though the new rows fit among themselves ({agreement.among_themselves:.1%}):"
            " they are about other things, or labels mean something else now"
        )
    return "fits the rows less than before, also of the new rows among themselves: part of the labels look drawn by lot"


def _explained(
    agreement: Agreement, model: LabelModel, judged: Sequence[tuple[np.ndarray, np.ndarray]], after: Mapping[str, Rows]
) -> Agreement:
    """Adds why labels fit less."""
    enough = agreement.after + _EXPLAINED * (agreement.before - agreement.after)
    # Most of a long split's rows have the neighbours they had when they were read.
    longest = max(judged, key=lambda one: len(one[0]))
    offset, share = max(((offset, _share_at(*longest, offset)) for offset in _OFFSETS), key=lambda one: one[1])
    if share >= enough:
        return dataclasses.replace(agreement, offset=offset, share_explained=share)
    exchanged, share = _exchanged(judged, len(model.classes))
    if exchanged and share >= enough:
        names = tuple((model.classes[expected], model.classes[now]) for expected, now in exchanged)
        return dataclasses.replace(agreement, exchanged=names, share_explained=share)
    return dataclasses.replace(agreement, among_themselves=_among_themselves(after))


def _share_at(codes: np.ndarray, expected: np.ndarray, offset: int) -> float:
    """The share of labels that are expected of the row so many places further on."""
    labels, others = (codes[-offset:], expected[:offset]) if offset < 0 else (codes[:-offset], expected[offset:])
    hits = (labels == others)[labels != _UNKNOWN]
    return float(hits.mean()) if len(hits) else 0.0


def _exchanged(judged: Sequence[tuple[np.ndarray, np.ndarray]], classes: int) -> tuple[list[tuple[int, int]], float]:
    """The class that stands most often where each is expected, learnt from every other row; and the share of the rest it fits."""
    labels = np.concatenate([codes[codes != _UNKNOWN] for codes, _ in judged])
    expected = np.concatenate([other[codes != _UNKNOWN] for codes, other in judged])
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (expected[::2], labels[::2]), 1)
    rows, most = table.sum(axis=1), table.max(axis=1)
    clear = (rows >= _LEAST_ROWS_OF_A_CLASS) & (2 * most > rows)
    stands = np.where(clear, table.argmax(axis=1), np.arange(classes))
    moved = [(code, int(now)) for code, now in enumerate(stands) if now != code]
    # Many classes that all became one are no exchange, but a column that lost its content.
    if len({now for _, now in moved}) < _DISTINCT * len(moved):
        return [], 0.0
    moved.sort(key=lambda pair: -int(rows[pair[0]]))
    return moved, float((stands[expected[1::2]] == labels[1::2]).mean())


def _among_themselves(after: Mapping[str, Rows]) -> float | None:
    if len(after[_TRAIN]) < _LEAST_ROWS:
        return None
    model = LabelModel(after[_TRAIN])
    hits = [
        (codes == model.expected(after[split]))[codes != _UNKNOWN]
        for split in _HELD_OUT
        if len(codes := model.codes(after[split]))
    ]
    judged = np.concatenate(hits) if hits else np.zeros(0, bool)
    return float(judged.mean()) if len(judged) >= _LEAST_ROWS else None


def _read_split(folder: pathlib.Path, columns: Columns, most: int) -> Rows:
    files = sorted(folder.glob("data_tfrecord-*"))
    parts = [part for file in files for part in _beginning(file, columns, -(-most // len(files)))]
    if not parts:
        return Rows(pa.array([], pa.string()), np.zeros(0, np.uint64), np.zeros(1, np.int64), {})
    names = dict.fromkeys(name for part in parts for name in part.numbers)
    starts = np.cumsum([0, *(part.ends[-1] for part in parts[:-1])])
    return Rows(
        pa.concat_arrays([part.labels for part in parts]),
        np.concatenate([part.words for part in parts]),
        np.concatenate([[0], *(part.ends[1:] + start for part, start in zip(parts, starts, strict=True))]),
        {name: np.concatenate([part.numbers.get(name, np.full(len(part), np.nan)) for part in parts]) for name in names},
    )


def _beginning(file: pathlib.Path, columns: Columns, most: int) -> list[Rows]:
    parts, left = [], most
    for block in tfrecord.read(file):
        parts.append(rows_of(block.rows.slice(0, left), columns))
        left -= block.rows.num_rows
        if left <= 0:
            break
    return parts


def _text(column: pa.Array) -> pa.StringArray:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _spaced(column: pa.StringArray) -> pa.StringArray:
    """Words between single spaces; null where there is none."""
    plain = near_duplicates.plain_form(column)
    foreign = pc.fill_null(pc.invert(pc.string_is_ascii(plain)), False)
    if pc.any(foreign).as_py():
        spaced = pc.replace_substring_regex(plain.filter(foreign), _UNSPACED, r" \1 ")
        spaced = pc.utf8_trim_whitespace(pc.replace_substring_regex(spaced, " +", " "))
        plain = pc.replace_with_mask(plain, foreign, spaced)
    return pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)


def _as_lists(column: pa.StringArray) -> pa.ListArray:
    """One value a row, none where it is missing."""
    ends = np.concatenate([[0], np.cumsum(column.is_valid().to_numpy(zero_copy_only=False))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), column.drop_null())


def _interleave(hashes: Sequence[np.ndarray], lengths: Sequence[np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Puts the words of several columns row by row."""
    if not hashes:
        return np.zeros(0, np.uint64), np.zeros(rows + 1, np.int64)
    owners = np.concatenate([np.repeat(np.arange(rows), length) for length in lengths])
    order = np.argsort(owners, kind="stable")
    return np.concatenate(hashes)[order], np.concatenate([[0], np.cumsum(np.sum(lengths, axis=0))]).astype(np.int64)


def _codes(encoded: pa.DictionaryArray) -> np.ndarray:
    return pc.fill_null(encoded.indices.cast(pa.int64()), _UNKNOWN).to_numpy(zero_copy_only=False)
