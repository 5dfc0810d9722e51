"""How the data differs from earlier data: each comparison of the data gate as the rows of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.reporting.data_profile import Bar, bars_of_shares
from components.reporting.formats import NOTHING, percent, plural, shorten

COLUMNS = 60
CONTRIBUTIONS = 5
TEXTS = 60
_CELL_LENGTH = 40
_LEAST_CHANCE = 1e-4
_MEASURES = {
    "script": "script of most letters",
    "language": "detected language",
    "length": "length in characters",
    "unknown_words": "words the other data does not have",
    "duplicates": "texts that repeat another one",
}


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its distances, and where most of the difference is.

    Attributes:
      name: The column.
      different: Whether the data gate calls it different.
      psi, largest, divergence: Its distances, see validation.distances.
      chance: The probability of such a difference by chance, as text.
      changes: The cells in which most of the difference is, with the shares of rows before and after.
      cells: Every cell with its shares, where there are more than those.
      charts: Histograms of all cells, `before` and `after`, on one scale.
    """

    name: str
    different: bool
    psi: float
    largest: float
    divergence: float
    chance: str
    changes: tuple[str, ...]
    cells: tuple[str, ...]
    charts: Mapping[str, tuple[Bar, ...]]


@dataclasses.dataclass(frozen=True)
class TextMeasure:
    """One measure of the texts of a column, with both distributions.

    Attributes:
      column: The text column.
      measure: What was compared, in words.
      different: Whether the data gate calls it different.
      distance: The share of the rows that would have to be otherwise, as text.
      chance: The probability of such a difference by chance, as text.
      cells: Every value or range with its shares before and after.
      charts: Histograms of the cells, `before` and `after`, on one scale.
    """

    column: str
    measure: str
    different: bool
    distance: str
    chance: str
    cells: tuple[str, ...]
    charts: Mapping[str, tuple[Bar, ...]]

    @property
    def name(self) -> str:
        """What the charts are of."""
        return f"{self.measure} of {self.column}"


@dataclasses.dataclass(frozen=True)
class Table:
    """One comparison; `left_out` columns are neither different nor shown."""

    title: str
    columns: tuple[Column, ...]
    left_out: int
    texts: tuple[TextMeasure, ...] = ()

    @property
    def different(self) -> bool:
        """Whether anything is."""
        return any(column.different for column in self.columns) or any(text.different for text in self.texts)


def tables(comparisons: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Returns a table per comparison, the columns that differ most first.

    Args:
      comparisons: The data gate's drift.json.
    """
    return [_table(comparison) for comparison in comparisons]


def _table(comparison: Mapping[str, Any]) -> Table:
    before, after = (plural(rows, "row") for rows in comparison["rows"])
    kind, now = ("Skew", "a server's log") if comparison["kind"] == "skew" else ("Drift", "this run")
    return Table(
        title=f"{kind}: {after} of {now} beside {comparison['against']} ({before})",
        columns=tuple(map(_column, comparison["columns"][:COLUMNS])),
        left_out=max(len(comparison["columns"]) - COLUMNS, 0),
        texts=tuple(map(_text, comparison.get("texts", ())[:TEXTS])),
    )


def _text(measure: Mapping[str, Any]) -> TextMeasure:
    cells = measure["cells"]
    return TextMeasure(
        column=measure["column"],
        measure=_MEASURES.get(measure["measure"], measure["measure"]),
        different=measure["different"],
        distance=percent(measure["distance"]),
        chance=_chance(measure["p_value"]),
        cells=_changes(cells),
        charts=_charts(cells),
    )


def _changes(cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{shorten(cell['cell'], _CELL_LENGTH)}: {percent(cell['before'])} → {percent(cell['after'])}" for cell in cells)


def _charts(cells: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Bar, ...]]:
    tallest = max((cell[side] for cell in cells for side in ("before", "after")), default=0.0)
    return {side: bars_of_shares([cell[side] for cell in cells], tallest) for side in ("before", "after")} if cells else {}


def _chance(probability: float) -> str:
    return "<0.0001" if probability < _LEAST_CHANCE else f"{probability:.4f}"


def _column(column: Mapping[str, Any]) -> Column:
    changes = list(_changes(column["contributions"][:CONTRIBUTIONS]))
    # A gate of an earlier version, whose result a run may reuse, left none.
    cells = column.get("cells", ())
    if column["lengths"]:
        before, after = column["lengths"]
        changes.insert(0, f"mean length: {before:.1f} → {after:.1f} bytes")
    return Column(
        name=column["column"],
        different=column["different"],
        psi=column["psi"],
        largest=column["largest"],
        divergence=column["divergence"],
        chance=_chance(column["p_value"]),
        changes=tuple(changes) or (NOTHING,),
        cells=_changes(cells) if len(cells) > len(column["contributions"]) else (),
        charts=_charts(cells),
    )
