"""How values are written in the report. Anything that is not a finite number becomes a dash."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

NOTHING = "–"
EMPTY = "(empty)"  # what a name without characters is called
METRIC_DIGITS = 3
AMOUNT_DIGITS = 1
_MINUS = "−"
_BYTES_PER_UNIT = 1024


def fraction(value: Any, digits: int = METRIC_DIGITS) -> str:
    """Writes a metric with three decimals, as pipeline files write limits: `0.873`."""
    return f"{value:,.{digits}f}".replace("-", _MINUS) if is_number(value) else NOTHING


def change(value: Any, digits: int = METRIC_DIGITS) -> str:
    """Writes a difference of metrics with its sign: `+0.012`. A difference that rounds to nothing has no sign."""
    if not is_number(value):
        return NOTHING
    text = f"{value:+,.{digits}f}"
    return text[1:] if not any(digit in text for digit in "123456789") else text.replace("-", _MINUS)


def interval(bounds: Any, digits: int = METRIC_DIGITS) -> str:
    """Writes an interval of a metric: `0.861 to 0.903`; nothing where there is none."""
    return f"{fraction(bounds[0], digits)} to {fraction(bounds[1], digits)}" if is_interval(bounds) else ""


def change_interval(bounds: Any, digits: int = METRIC_DIGITS) -> str:
    """Writes an interval of a difference: `−0.004 to +0.012`; nothing where there is none."""
    return f"{change(bounds[0], digits)} to {change(bounds[1], digits)}" if is_interval(bounds) else ""


def percent(value: Any) -> str:
    """Writes a share of rows: `12.5%`. A share that is not quite nothing or everything never reads as if it were."""
    if not is_number(value):
        return NOTHING
    if 0 < value < 0.0005:
        return "<0.1%"
    if 0.9995 <= value < 1:
        return ">99.9%"
    return f"{value:.1%}" if value else "0%"


def css_percent(value: Any) -> str:
    """Writes a share as a length in a style sheet, without its unit: `12.5`; a share that is no number is no length."""
    return f"{min(max(value, 0), 1) * 100:.1f}" if is_number(value) else "0"


def count(value: Any) -> str:
    """Writes a number of things: `12,345`."""
    return f"{round(value):,}".replace("-", _MINUS) if is_number(value) else NOTHING


def number(value: Any) -> str:
    """Writes a measured value with four significant digits: `1,234`, `0.01235`, `1.235e+09`."""
    if not is_number(value):
        return NOTHING
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-4:
        text = f"{value:.3e}"
    elif size >= 1000 or float(value).is_integer():
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", _MINUS, 1) if value < 0 else text


def duration(seconds: Any) -> str:
    """Writes a time span in seconds: `0.42 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`."""
    if not is_number(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def size(n_bytes: Any) -> str:
    """Writes a number of bytes: `512 B`, `1.4 MiB`."""
    if not is_number(n_bytes):
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < _BYTES_PER_UNIT:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= _BYTES_PER_UNIT
    return f"{n_bytes:.1f} TiB"


def shorten(text: str, limit: int) -> str:
    """Cuts text to at most `limit` characters; an ellipsis says so."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plural(n: int, noun: str) -> str:
    """Writes a counted noun: `1 row`, `2 rows`, `3 classes`."""
    ending = "" if n == 1 else "es" if noun.endswith(("s", "ch", "sh")) else "s"
    return f"{n:,} {noun}{ending}"


def is_number(value: Any) -> bool:
    """Says whether a value can be written as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_interval(bounds: Any) -> bool:
    """Says whether a value is a pair of numbers, as metrics.json writes an interval."""
    return isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds))


# The filters of the template, by the name they have there.
FILTERS: dict[str, Callable[..., str]] = {
    "fraction": fraction,
    "change": change,
    "interval": interval,
    "change_interval": change_interval,
    "percent": percent,
    "css_percent": css_percent,
    "count": count,
    "number": number,
    "duration": duration,
    "size": size,
    "shorten": shorten,
    "plural": plural,
}
