"""Axes of charts: where a value stands between two round numbers, in percent of the chart's width."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from components.reporting.formats import is_number

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_MOST_TICKS = 5


@dataclasses.dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high` with `ticks` at round numbers, both ends among them."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: Any) -> float:
        """Returns where a value stands, 0 to 100; one beyond an end stands at that end."""
        share = (value - self.low) / (self.high - self.low) if is_number(value) else 0.0
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def length(self, bounds: Any) -> float:
        """Returns how long an interval is, in percent of the axis."""
        return round(self.at(bounds[1]) - self.at(bounds[0]), 2)


def share_axis(values: Iterable[Any]) -> Axis:
    """Returns the shortest round axis within 0 to 1 that holds all values; values that are no numbers are passed over.

    Dots are read by position, not by length, so the axis need not begin at 0, and the differences that matter can be seen.
    """
    numbers = [min(max(value, 0.0), 1.0) for value in values if is_number(value)]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    for step in _STEPS:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 2)
        if last * step > 1 + 1e-9:  # an axis of shares never goes beyond 1
            first, last = first - (last - round(1 / step)), round(1 / step)
        first = max(first, 0)
        if last - first <= _MOST_TICKS - 1:
            break
    return Axis(first * step, last * step, tuple(round(tick * step, 2) for tick in range(first, last + 1)))
