"""How the data differs from earlier data: each comparison of the data gate as the rows of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.reporting.formats import NOTHING, percent, plural, shorten

COLUMNS = 60
CONTRIBUTIONS = 5
_CELL_LENGTH = 40
_LEAST_CHANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its distances, and where most of the difference is.

    Attributes:
      name: The column.
      different: Whether the data gate calls it different.
      psi, largest, divergence: Its distances, see validation.distances.
      chance: The probability of such a difference by chance, as text.
      changes: Cells with the shares of rows before and after.
    """

    name: str
    different: bool
    psi: float
    largest: float
    divergence: float
    chance: str
    changes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """One comparison; `left_out` columns are neither different nor shown."""

    title: str
    columns: tuple[Column, ...]
    left_out: int


def tables(comparisons: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Returns a table per comparison, the columns that differ most first.

    Args:
      comparisons: The data gate's drift.json.
    """
    return [_table(comparison) for comparison in comparisons]


def _table(comparison: Mapping[str, Any]) -> Table:
    before, after = (plural(rows, "row") for rows in comparison["rows"])
    kind = "Skew" if comparison["kind"] == "skew" else "Drift"
    return Table(
        title=f"{kind}: {after} of this run beside {comparison['against']} ({before})",
        columns=tuple(map(_column, comparison["columns"][:COLUMNS])),
        left_out=max(len(comparison["columns"]) - COLUMNS, 0),
    )


def _column(column: Mapping[str, Any]) -> Column:
    changes = [
        f"{shorten(part['cell'], _CELL_LENGTH)}: {percent(part['before'])} → {percent(part['after'])}"
        for part in column["contributions"][:CONTRIBUTIONS]
    ]
    if column["lengths"]:
        before, after = column["lengths"]
        changes.insert(0, f"mean length: {before:.1f} → {after:.1f} bytes")
    chance = column["p_value"]
    return Column(
        name=column["column"],
        different=column["different"],
        psi=column["psi"],
        largest=column["largest"],
        divergence=column["divergence"],
        chance="<0.0001" if chance < _LEAST_CHANCE else f"{chance:.4f}",
        changes=tuple(changes) or (NOTHING,),
    )
