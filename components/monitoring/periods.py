"""Periods: whole hours, days or weeks of UTC, or spans, each with a number that grows by one from each to the next."""

from __future__ import annotations

import datetime

import numpy as np

from components.monitoring.options import Unit

_HOUR, _DAY = 3600, 86_400
_SECONDS = {"hour": _HOUR, "day": _DAY, "week": 7 * _DAY}
# The epoch was a Thursday; weeks begin on Mondays.
_OFFSETS = {"hour": 0, "day": 0, "week": 3 * _DAY}
_WEEKDAY_OF_EPOCH = 3
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def of_seconds(seconds: np.ndarray, unit: Unit) -> np.ndarray:
    """Returns the period each time falls into.

    Args:
      seconds: float64 [rows], seconds since the epoch, finite.
      unit: hour, day or week.

    Returns:
      int64 [rows].
    """
    return np.floor((seconds + _OFFSETS[unit]) / _SECONDS[unit]).astype(np.int64)


def end(period: int, unit: Unit) -> float:
    """Returns when a period is over, in seconds since the epoch."""
    return (period + 1) * _SECONDS[unit] - _OFFSETS[unit]


def name(period: int, unit: Unit) -> str:
    """Returns how a period is written: `2026-11-21`, `2026-11-21 14:00`, `week of 2026-11-16`, `span 7`."""
    if unit == "span":
        return f"span {period}"
    start = _EPOCH + datetime.timedelta(seconds=int(period) * _SECONDS[unit] - _OFFSETS[unit])
    if unit == "hour":
        return f"{start:%Y-%m-%d %H:00}"
    return f"week of {start:%Y-%m-%d}" if unit == "week" else f"{start:%Y-%m-%d}"


def seasons(periods: np.ndarray, unit: Unit) -> list[np.ndarray]:
    """Returns what repeats: for days the weekday, for hours the hour of the day and the weekday, for others nothing.

    Args:
      periods: int64 [periods].
      unit: The unit.

    Returns:
      Arrays of int64 [periods], the place of each period in one cycle.
    """
    if unit == "day":
        return [(periods + _WEEKDAY_OF_EPOCH) % 7]
    if unit == "hour":
        return [periods % 24, (periods // 24 + _WEEKDAY_OF_EPOCH) % 7]
    return []
