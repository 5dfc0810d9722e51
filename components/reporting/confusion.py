"""What a model takes for what: a readable part of the confusion matrix, and the pairs it confuses most."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Sequence

# Beyond this the cells are too small to read and the page too large to load, so a block stands for the whole.
FULL_MATRIX_CLASSES = 60
BLOCK_CLASSES = 24
TOP_PAIRS = 20
UNSEEN = "(unseen in training)"

Cell = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Rows of one class that were taken for another.

    Attributes:
      actual: The true class.
      predicted: What the model said.
      count: How many rows.
      share: Which share of the rows of the true class.
    """

    actual: str
    predicted: str
    count: int
    share: float


@dataclasses.dataclass(frozen=True)
class MatrixCell:
    """Rows of one true class with one prediction; `share` is of the rows of the true class."""

    predicted: str
    count: int
    share: float
    correct: bool


@dataclasses.dataclass(frozen=True)
class MatrixRow:
    """One true class: its test rows, one cell per shown prediction, and how many rows went to predictions that are not shown."""

    actual: str
    n: int
    cells: tuple[MatrixCell, ...]
    elsewhere: int


@dataclasses.dataclass(frozen=True)
class Matrix:
    """The shown part of a confusion matrix; `left_out` is the number of classes that are not in it."""

    predicted: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    left_out: int


def top_pairs(classes: Sequence[str], cells: Sequence[Cell], limit: int = TOP_PAIRS) -> list[Pair]:
    """Returns the most frequent confusions, most frequent first.

    Args:
      classes: Names by index; one index more stands for labels no training row had.
      cells: (actual index, predicted index, count) of the cells that are not zero.
      limit: How many at most.
    """
    names = [*classes, UNSEEN]
    totals = _row_totals(cells)
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: (-cell[2], cell[:2]))
    return [Pair(names[actual], names[predicted], n, n / totals[actual]) for actual, predicted, n in wrong[:limit]]


def matrix(classes: Sequence[str], cells: Sequence[Cell]) -> Matrix:
    """Returns the whole matrix, or, for more than FULL_MATRIX_CLASSES, the block of the classes that are confused most.

    Classes are in the order of their names, so that one can be found and families stand together.

    Args:
      classes: Names by index; one index more stands for labels no training row had.
      cells: (actual index, predicted index, count) of the cells that are not zero.
    """
    unseen = len(classes)
    totals = _row_totals(cells)
    counts = {(actual, predicted): n for actual, predicted, n in cells}
    chosen = range(unseen) if unseen <= FULL_MATRIX_CLASSES else _most_confused(cells, unseen)
    columns = sorted(chosen, key=lambda index: _name_order(classes[index]))
    names = [*classes, UNSEEN]
    rows = []
    for actual in [*columns, unseen] if totals[unseen] else columns:
        shown = [(predicted, counts.get((actual, predicted), 0)) for predicted in columns]
        rows.append(
            MatrixRow(
                actual=names[actual],
                n=totals[actual],
                cells=tuple(
                    MatrixCell(names[predicted], n, n / totals[actual] if n else 0.0, predicted == actual)
                    for predicted, n in shown
                ),
                elsewhere=totals[actual] - sum(n for _, n in shown),
            )
        )
    return Matrix(tuple(names[index] for index in columns), tuple(rows), unseen - len(columns))


def _row_totals(cells: Sequence[Cell]) -> collections.Counter[int]:
    totals: collections.Counter[int] = collections.Counter()
    for actual, _, n in cells:
        totals[actual] += n
    return totals


def _most_confused(cells: Sequence[Cell], unseen: int) -> set[int]:
    """Both classes of the most frequent confusions, until the block is full."""
    chosen: set[int] = set()
    for actual, predicted, _ in sorted(cells, key=lambda cell: (-cell[2], cell[:2])):
        pair = {actual, predicted}
        if actual != predicted and actual != unseen and len(chosen | pair) <= BLOCK_CLASSES:
            chosen |= pair
    return chosen


def _name_order(name: str) -> list[tuple[int, int, str]]:
    """Orders names without regard to case, and the numbers in them by size: class2 before class10."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
