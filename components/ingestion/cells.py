"""Casts of whole columns that never fail: a cell that does not fit becomes null and is reported in a mask.

Readers bring every column to one of three plain types: string, int64 and float64. The schema then asks for text, int64
or float32.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion.quarantine import Sieve, mask

# What spreadsheets and data frames write into a numeric column for "no value".
MISSING_NUMBERS = ("nan", "na", "n/a", "null", "none")

_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity)$"
_ISO_TIME = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([T ]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d(\.\d{1,9})?)?)?)?"
)
_ISO_TIME_WITH_ZONE = _ISO_TIME + r"(Z|[+-]\d{2}(:?\d{2})?)$"


def plain(array: pa.Array, name: str, sieve: Sieve) -> pa.Array:
    """Brings a column of any Arrow type to string, int64 or float64.

    Booleans become `true` and `false`; times become ISO 8601 text, in UTC where they carry a zone; decimals become float64;
    lists, structs and maps become JSON text (value by value: columns nobody asked for should not get here). Rows whose text is
    not UTF-8 or holds a NUL, which C strings further down would end at, are set aside.

    Args:
      array: [rows], one column of a batch.
      name: The column's name, for reasons.
      sieve: Takes the rows that cannot be represented.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.dictionary_decode(), name, sieve)
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_boolean(kind):
        return array.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_duration(kind):
        try:
            return array.cast(pa.int64())
        except pa.ArrowInvalid:  # unsigned, beyond int64
            return array.cast(pa.float64(), safe=False)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return array.cast(pa.float64())
    if pa.types.is_temporal(kind):
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            array = array.cast(pa.timestamp(kind.unit))
        return array.cast(pa.string())
    if pa.types.is_nested(kind):
        values = (None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in array.to_pylist())
        return pa.array(values, pa.string())
    return _plain_text(array, name, sieve)


def _plain_text(array: pa.Array, name: str, sieve: Sieve) -> pa.Array:
    # Arrow believes a string column's word for its encoding; only a cast from binary looks at the bytes.
    raw = array.view(pa.binary()) if pa.types.is_string(array.type) else array
    if not pa.types.is_binary(raw.type):
        raw = raw.cast(pa.large_binary())
    try:
        values = raw.cast(pa.string())
    except pa.ArrowInvalid:
        # Arrow does not say which cells are at fault; asking each one is for batches that hold such cells.
        valid = pa.array([_is_utf8(cell) for cell in raw.to_pylist()], pa.bool_())
        sieve.reject(pc.invert(valid), f"{name}: invalid UTF-8")
        values = keep(raw, valid).cast(pa.string())
    if _lowest_byte(values) == 0:
        sieve.reject(pc.match_substring(values, "\0"), f"{name}: NUL byte")
    return values


def _lowest_byte(values: pa.StringArray) -> int:
    _, offsets_buffer, data = values.buffers()
    if data is None or not len(values):
        return 255
    offsets = np.frombuffer(offsets_buffer, np.int32)
    first, last = offsets[values.offset], offsets[values.offset + len(values)]
    return int(np.frombuffer(data, np.uint8)[first:last].min(initial=255))


def _is_utf8(cell: bytes | None) -> bool:
    try:
        return cell is None or cell.decode() is not None
    except UnicodeDecodeError:
        return False


def text(array: pa.Array) -> pa.StringArray:
    """Returns a plain column as text: `1`, `2.5`. Empty text and NaN are null."""
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    values = array.cast(pa.string())
    return keep(values, pc.not_equal(values, ""))


def keep(values: pa.Array, where: pa.BooleanArray) -> pa.Array:
    """Returns the values where `where` is true, null elsewhere.

    `pyarrow.compute.if_else` would say the same, but in pyarrow 18 it returns corrupt offsets for a slice of a string column.
    """
    if not where.false_count and not pc.and_(where.is_null(), values.is_valid()).true_count:
        return values  # nearly always, and without a copy
    return pc.replace_with_mask(values, pc.invert(where), pa.scalar(None, values.type))


def number(array: pa.Array) -> tuple[pa.DoubleArray, np.ndarray]:
    """Returns a plain column as float64; empty text, NaN and `MISSING_NUMBERS` are null.

    Returns:
      The numbers, and bool [rows], true where a cell is not a number.
    """
    if pa.types.is_string(array.type):
        trimmed = text(pc.utf8_trim_whitespace(array))
        values, invalid = _parse_numbers(trimmed)
    else:
        values, invalid = array.cast(pa.float64(), safe=False), np.zeros(len(array), dtype=bool)
    return pc.if_else(pc.is_nan(values), None, values), invalid


def whole_number(array: pa.Array) -> tuple[pa.Int64Array, np.ndarray]:
    """Returns a plain column as int64; `180.0` is a whole number, `180.5` is not. Missing as in `number`.

    Returns:
      The numbers, and bool [rows], true where a cell is not a whole number that int64 holds.
    """
    if pa.types.is_integer(array.type):
        return array, np.zeros(len(array), dtype=bool)
    exact = pa.nulls(len(array), pa.int64())
    if pa.types.is_string(array.type):
        array = text(pc.utf8_trim_whitespace(array))
        # Digits go straight to int64: long identifiers would lose their last digits on the way through float64.
        digits = pc.match_substring_regex(array, r"^-?\d{1,18}$")
        exact = keep(array, digits).cast(pa.int64())
        array = keep(array, pc.invert(digits))
    numbers, invalid = number(array)
    values = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False)
    whole = (np.floor(values) == values) & (np.abs(values) < 2.0**63)
    missing = numbers.is_null().to_numpy(zero_copy_only=False)
    rounded = pa.array(np.where(whole, values, 0.0).astype(np.int64), mask=missing | ~whole)
    return pc.coalesce(exact, rounded), invalid | ~whole


def seconds(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns a plain column as seconds since the epoch: numbers as they are, ISO 8601 text without a zone read as UTC.

    Returns:
      float64 [rows], NaN where there is no time, and bool [rows], true where a cell is neither.
    """
    if not pa.types.is_string(array.type):
        numbers, invalid = number(array)
        return pc.fill_null(numbers, np.nan).to_numpy(zero_copy_only=False), invalid
    cells = text(pc.utf8_trim_whitespace(array))
    zoned = pc.match_substring_regex(cells, _ISO_TIME_WITH_ZONE)
    bare = pc.match_substring_regex(cells, _ISO_TIME + "$")
    result = np.full(len(cells), np.nan)
    bad = np.zeros(len(cells), dtype=bool)
    for matches, kind in ((zoned, pa.timestamp("us", "UTC")), (bare, pa.timestamp("us"))):
        # Arrow refuses digits finer than the unit; microseconds order rows well enough.
        coarse = pc.replace_substring_regex(keep(cells, matches), r"(\.\d{6})\d+", r"\1")
        times, invalid = _parse_times(coarse, kind)
        micros = pc.cast(times.cast(pa.int64()), pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        result = np.where(np.isnan(micros), result, micros / 1e6)
        bad |= invalid
    numbers, invalid = _parse_numbers(keep(cells, pc.invert(pc.or_(zoned, bare))))
    numeric = numbers.to_numpy(zero_copy_only=False)
    return np.where(np.isnan(numeric), result, numeric), bad | invalid


def _parse_numbers(cells: pa.StringArray) -> tuple[pa.DoubleArray, np.ndarray]:
    """Parses trimmed, non-empty text."""
    try:
        return cells.cast(pa.float64()), np.zeros(len(cells), dtype=bool)
    except pa.ArrowInvalid:
        numeric = pc.match_substring_regex(cells, _NUMBER)
        missing = pc.is_in(pc.utf8_lower(cells), pa.array(MISSING_NUMBERS))
        return keep(cells, numeric).cast(pa.float64()), mask(pc.invert(pc.or_(numeric, missing)))


def _parse_times(cells: pa.StringArray, kind: pa.DataType) -> tuple[pa.TimestampArray, np.ndarray]:
    """Parses ISO 8601 text; halves an array that Arrow fails for a day its month does not have, until such cells stand alone."""
    try:
        return cells.cast(kind), np.zeros(len(cells), dtype=bool)
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return pa.nulls(1, kind), np.ones(1, dtype=bool)
    half = len(cells) // 2
    left, left_bad = _parse_times(cells[:half], kind)
    right, right_bad = _parse_times(cells[half:], kind)
    return pa.concat_arrays([left, right]), np.concatenate([left_bad, right_bad])
