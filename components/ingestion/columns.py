"""Column names that someone asked for, checked against those there are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from components.errors import UsageError

_MOST_NAMES_SHOWN = 20


def require(wanted: Iterable[str], there: Collection[str], asked_by: str) -> None:
    """Checks that columns are there.

    Args:
      wanted: The names asked for.
      there: The names of the table.
      asked_by: Who asks, with a verb: `data.label names`.

    Raises:
      UsageError: One is not there; the nearest ones, or all, are listed.
    """
    for name in wanted:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=3)
            hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
            shown = ", ".join(map(repr, list(there)[:_MOST_NAMES_SHOWN]))
            more = f" and {len(there) - _MOST_NAMES_SHOWN} more" if len(there) > _MOST_NAMES_SHOWN else ""
            raise UsageError(f"{asked_by} {name!r}, but there is no such column. {hint}The columns are {shown}{more}")
