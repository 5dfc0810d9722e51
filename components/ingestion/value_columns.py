"""Columns of Arrow from the Python values that a database's driver hands out."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

_SINGLE_KINDS = {bool: pa.bool_(), str: pa.string(), datetime.date: pa.date32()}


def column(values: Sequence[Any]) -> pa.Array:
    """Makes a column of one type out of values of any.

    Numbers stay numbers and times stay times as long as there is nothing else; otherwise every value is text, lists and mappings as
    JSON. Text that is not Unicode comes as bytes, to be found out and set aside with the rows it is in.

    Args:
      values: [rows] of what a driver returns; None is missing.
    """
    kinds = {type(value) for value in values} - {type(None)}
    try:
        if not kinds:
            return pa.nulls(len(values), pa.string())
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds <= {int, float, Decimal}:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        if kinds == {datetime.datetime}:
            zoned = {value.tzinfo is not None for value in values if value is not None}
            if len(zoned) == 1:
                return pa.array(values, pa.timestamp("us", "UTC" if zoned.pop() else None))
        if len(kinds) == 1 and (kind := _SINGLE_KINDS.get(next(iter(kinds)))) is not None:
            return pa.array(values, kind)
    except OverflowError:  # a whole number beyond int64
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    except (pa.ArrowException, UnicodeEncodeError):
        pass
    return pa.array([_text(value) for value in values], pa.binary())


def _text(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, bool):
        return str(value).lower().encode()
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    # Half a surrogate pair becomes bytes that are no UTF-8, which is what the row is set aside for.
    return str(value).encode("utf-8", "surrogatepass")
