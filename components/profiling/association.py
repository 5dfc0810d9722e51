"""How much one column alone tells about the label: what finds columns that give the answer away."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion import cells

_MAX_BINS = 32
_ROWS_PER_BIN = 20
# Rarer values say more about chance than about the label; they count as one.
_RARE_ROWS = 5
# Labels with fewer rows on average agree on one value of a column by chance.
_ROWS_PER_LABEL = 5
_UNEXPLAINED_BY_LABEL = 0.02


@dataclasses.dataclass(frozen=True)
class Association:
    """What one column tells about the label.

    Attributes:
      information: Share of the label's entropy that the column explains, 0 to 1, corrected for chance.
      gain: How much more accurate than the majority class the best guess from this column is, on rows it was not made from.
      follows_label: Every label has (nearly) one value of the column, so that the column is a coarser label.
    """

    information: float
    gain: float
    follows_label: bool


def associate(column: pa.ChunkedArray, numeric: bool, label: pa.ChunkedArray) -> Association:
    """Measures a column against the label.

    Args:
      column: [rows], plain (string, int64, float64). A missing value is a value of its own.
      numeric: Whether the column's many values are numbers, to be compared by range.
      label: [rows], plain; rows without a label are left out.
    """
    labels = cells.text(label.combine_chunks())
    there = labels.is_valid()
    label_codes = _value_codes(labels.filter(there))
    values = column.combine_chunks().filter(there)
    codes = _range_codes(values) if numeric else _pool_rare(_value_codes(cells.text(values)))
    if len(codes) == 0:
        return Association(0.0, 0.0, False)
    table = _cross_tabulate(codes, label_codes)
    return Association(_information(table), _gain(codes, label_codes, table.shape), _follows_label(table))


def _value_codes(values: pa.StringArray) -> np.ndarray:
    indices = pc.dictionary_encode(values, null_encoding="encode").indices
    return indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _pool_rare(codes: np.ndarray) -> np.ndarray:
    counts = np.bincount(codes)
    if len(counts) == 0:
        return codes
    new = np.cumsum(counts >= _RARE_ROWS)
    return np.where(counts >= _RARE_ROWS, new, 0)[codes]


def _range_codes(values: pa.Array) -> np.ndarray:
    """Codes of numbers: their own where there are few, quantiles where there are many; 0 for missing ones."""
    numbers = pc.fill_null(cells.number(values)[0], np.nan).to_numpy(zero_copy_only=False)
    there = np.isfinite(numbers)
    codes = np.zeros(len(numbers), dtype=np.int64)
    distinct = np.unique(numbers[there])
    bins = min(_MAX_BINS, there.sum() // _ROWS_PER_BIN)
    if len(distinct) > bins:
        distinct = np.unique(np.quantile(numbers[there], np.linspace(0, 1, bins + 1)[1:-1])) if bins > 1 else distinct[:0]
    codes[there] = 1 + np.searchsorted(distinct, numbers[there], side="right")
    return codes


def _cross_tabulate(codes: np.ndarray, label_codes: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    rows, columns = shape or (int(codes.max()) + 1, int(label_codes.max()) + 1)
    return np.bincount(codes * columns + label_codes, minlength=rows * columns).reshape(rows, columns)


def _information(table: np.ndarray) -> float:
    rows = table.sum()
    of_label = _entropy(table.sum(axis=0))
    if of_label == 0:
        return 0.0
    mutual = of_label + _entropy(table.sum(axis=1)) - _entropy(table.ravel())
    # Miller and Madow: entropies of samples are too small by (values - 1) / 2 rows.
    values, labels, pairs = (np.count_nonzero(counts) for counts in (table.sum(axis=1), table.sum(axis=0), table))
    bias = (pairs - values - labels + 1) / (2 * rows)
    return float(np.clip((mutual - bias) / of_label, 0.0, 1.0))


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _gain(codes: np.ndarray, label_codes: np.ndarray, shape: tuple[int, int]) -> float:
    learned = _cross_tabulate(codes[::2], label_codes[::2], shape)
    majority = learned.sum(axis=0).argmax()
    guesses = np.where(learned.any(axis=1), learned.argmax(axis=1), majority)
    held_out = label_codes[1::2]
    if len(held_out) == 0:
        return 0.0
    return float(np.mean(guesses[codes[1::2]] == held_out) - np.mean(held_out == majority))


def _follows_label(table: np.ndarray) -> bool:
    rows = table.sum()
    if rows < _ROWS_PER_LABEL * table.shape[1]:
        return False
    outside = rows - table.max(axis=0).sum()
    outside_without_label = rows - table.sum(axis=1).max()
    return bool(outside_without_label > 0 and outside <= _UNEXPLAINED_BY_LABEL * outside_without_label)
