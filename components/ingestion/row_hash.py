"""Hashes of cells and rows that depend on their values alone: not on batches, row order, machine, process or Python version.

Everything is 64-bit arithmetic on whole buffers. Text is hashed as a polynomial in its bytes, which turns one pass of sums over a
buffer into the hash of every cell in it; the mixing step is that of SplitMix64 (Steele, Lea and Flood 2014). Good enough
to draw splits and to notice that data changed; not a defence against someone who crafts collisions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BASE = 0x9E3779B97F4A7C15
_BASE_INVERSE = pow(_BASE, -1, 2**64)
_MISSING = np.uint64(0xD6E8FEB86659FD93)
# Terms take 8 bytes for every byte of text; a slice keeps that in the processor's cache.
_SLICE_BYTES = 1 << 15
# Of so many cells in a row it is told whether a column repeats its values, so that hashing each value once is worth finding them.
_LOOKED_AT = 4096
_MOST_DISTINCT = _LOOKED_AT * 7 // 8


def mix(values: np.ndarray) -> np.ndarray:
    """Spreads every bit of the input over all bits of the output; uint64 in, uint64 out, one to one."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_cells(array: pa.Array) -> np.ndarray:
    """Hashes every cell of a string, int64 or float32 column; null has a hash of its own.

    Returns:
      uint64 [rows].
    """
    if pa.types.is_string(array.type):
        hashes = _hash_repeated(array) if _repeats(array) else _hash_strings(array)
    elif pa.types.is_int64(array.type):
        hashes = array.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
    else:
        # Adding zero makes one of the two zeros that compare equal.
        hashes = (array.fill_null(0.0).to_numpy(zero_copy_only=False) + np.float32(0)).view(np.uint32).astype(np.uint64)
    return np.where(array.is_null().to_numpy(zero_copy_only=False), _MISSING, mix(hashes))


def hash_stretches(data: np.ndarray, starts: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Hashes stretches of a buffer as `hash_cells` hashes cells of the same bytes.

    Args:
      data: uint8 [bytes].
      starts: int [stretches], ascending, where each begins; it goes on to the next one's start.
      counted: bool [bytes], false for those at the end of a stretch that are no part of it.

    Returns:
      uint64 [stretches].
    """
    return mix(_polynomials(data, np.append(starts, len(data)), counted))


def hash_columns(rows: pa.RecordBatch) -> dict[str, np.ndarray]:
    """Hashes every cell; uint64 [rows] by column."""
    return {name: hash_cells(column) for name, column in zip(rows.schema.names, rows.columns, strict=True)}


def join(cells: Mapping[str, np.ndarray], length: int) -> np.ndarray:
    """Makes hashes of rows from those of their cells; columns count by name, not by place.

    Args:
      cells: Hashes by column.
      length: How many rows there are.

    Returns:
      uint64 [rows].
    """
    hashes = np.full(length, _BASE, dtype=np.uint64)
    for name in sorted(cells):
        hashes = mix(hashes * np.uint64(_BASE) + cells[name])
    return hashes


def hash_rows(rows: pa.RecordBatch) -> np.ndarray:
    """Hashes every row, see `join`; uint64 [rows]."""
    return join(hash_columns(rows), rows.num_rows)


def uniform(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Draws a number in [0, 1) for every hash: equal for equal hashes, unrelated for another seed."""
    salt = mix(np.array([seed % 2**64], dtype=np.uint64) + np.uint64(_BASE))
    return (mix(hashes ^ salt) >> np.uint64(11)) * 2.0**-53


def are_among(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Says which hashes are among others; bool [hashes].

    Args:
      hashes: uint64 [hashes].
      known: uint64 [known], ascending.
    """
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    places = np.searchsorted(known, hashes)
    return known[np.minimum(places, len(known) - 1)] == hashes


def _repeats(array: pa.StringArray) -> bool:
    if len(array) < 8 * _LOOKED_AT:
        return False  # looking would cost what it may save
    middle = array.slice((len(array) - _LOOKED_AT) // 2, _LOOKED_AT)
    return pc.count_distinct(middle).as_py() <= _MOST_DISTINCT


def _hash_repeated(array: pa.StringArray) -> np.ndarray:
    encoded = array.dictionary_encode()
    hashes = _hash_strings(encoded.dictionary)
    return np.append(hashes, np.uint64(0))[pc.fill_null(encoded.indices, len(hashes)).to_numpy(zero_copy_only=False)]


def _hash_strings(array: pa.StringArray) -> np.ndarray:
    if not len(array):
        return np.empty(0, np.uint64)  # an empty column may come without an offsets buffer
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.empty(0, dtype=np.uint8)
    return _polynomials(data, offsets)


def _polynomials(data: np.ndarray, offsets: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    hashes = np.empty(len(offsets) - 1, dtype=np.uint64)
    row = 0
    while row < len(hashes):
        end = max(row + 1, int(np.searchsorted(offsets, offsets[row] + _SLICE_BYTES, side="right")) - 1)
        end = min(end, len(hashes))
        part = slice(offsets[row], offsets[end])
        of_part = None if counted is None else counted[part]
        hashes[row:end] = _hash_slices(data[part], offsets[row : end + 1] - offsets[row], of_part)
        row = end
    return hashes


def _hash_slices(data: np.ndarray, offsets: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
    """The sum over a cell's bytes of (byte + 1) * BASE**place, from sums over the buffer shifted back to the cell."""
    if not len(data):
        return np.zeros(len(offsets) - 1, dtype=np.uint64)
    size = 1 << len(data).bit_length()
    terms = data.astype(np.uint64)
    terms += np.uint64(1)
    if counted is not None:
        terms *= counted
    terms *= _powers(_BASE, size)[: len(data)]
    back, starts, filled = _powers(_BASE_INVERSE, size), offsets[:-1], offsets[1:] > offsets[:-1]
    if filled.all():
        return np.add.reduceat(terms, starts) * back[starts]
    hashes, starts = np.zeros(len(starts), dtype=np.uint64), starts[filled]
    hashes[filled] = np.add.reduceat(terms, starts) * back[starts]
    return hashes


@functools.lru_cache(maxsize=64)
def _powers(base: int, count: int) -> np.ndarray:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
