"""What a model takes for what: the pairs it confuses most, a static confusion matrix, and the data of the interactive one."""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from components.reporting.formats import EMPTY, shorten

# Beyond this the cells are too small to read and the page too large to load, so a block stands for the whole.
FULL_MATRIX_CLASSES = 60
BLOCK_CLASSES = 24
TOP_PAIRS = 20
# What the interactive matrix takes: more classes have no pixel each, and more data would not load at once.
EXPLORER_CLASSES = 200
EXPLORER_BYTES = 600_000
NAME_LENGTH = 100
UNSEEN = "(unseen in training)"
NO_SCORES = "(no usable scores)"

Cell = tuple[int, int, float]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Rows of one class that were taken for another.

    Attributes:
      actual: The true class.
      predicted: What the model said.
      count: How many rows, or their weight.
      share: Which share of the rows of the true class.
    """

    actual: str
    predicted: str
    count: float
    share: float


@dataclasses.dataclass(frozen=True)
class MatrixCell:
    """Rows of one true class with one prediction; `share` is of the rows of the true class."""

    predicted: str
    count: float
    share: float
    correct: bool


@dataclasses.dataclass(frozen=True)
class MatrixRow:
    """One true class: its test rows, one cell per shown prediction, and how many rows went to predictions that are not shown."""

    actual: str
    n: float
    cells: tuple[MatrixCell, ...]
    elsewhere: float


@dataclasses.dataclass(frozen=True)
class Matrix:
    """The shown part of a confusion matrix; `left_out` is the number of classes that are not in it."""

    predicted: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    left_out: int


@dataclasses.dataclass(frozen=True)
class MatrixSlice:
    """What the interactive matrix offers to choose: a slice with the cells of each model.

    Attributes:
      group: The segment it belongs to, empty for all rows.
      name: Its value or values.
      n: Test rows.
      small: Whether it has too few rows to judge.
      candidate, baseline: Cells of the two models; no baseline is None.
    """

    group: str
    name: str
    n: int
    small: bool
    candidate: Sequence[Cell]
    baseline: Sequence[Cell] | None


@dataclasses.dataclass(frozen=True)
class Explorer:
    """Data of the interactive matrix.

    Attributes:
      data: JSON text that is safe inside a <script> element.
      slices: How many slices are in it.
      slices_left_out: How many are not, for size; they are the smallest.
      classes_left_out: How many classes are not; they are the least confused, and their rows stand together in one.
    """

    data: str
    slices: int
    slices_left_out: int
    classes_left_out: int


def top_pairs(labels: Sequence[str], cells: Sequence[Cell], limit: int = TOP_PAIRS) -> list[Pair]:
    """Returns the most frequent confusions, most frequent first.

    Args:
      labels: Names by index; one index more stands for true labels no training row had, and for predictions without usable scores.
      cells: (actual index, predicted index, rows) of the cells that are not zero.
      limit: How many at most.
    """
    totals = _row_totals(cells)
    wrong = sorted((cell for cell in cells if not _is_hit(cell, len(labels))), key=lambda cell: (-cell[2], cell[:2]))
    return [
        Pair(_name(labels, actual, UNSEEN), _name(labels, predicted, NO_SCORES), n, n / totals[actual])
        for actual, predicted, n in wrong[:limit]
    ]


def matrix(labels: Sequence[str], cells: Sequence[Cell], full: int = FULL_MATRIX_CLASSES) -> Matrix:
    """Returns the whole matrix, or, for more than `full` classes, the block of the classes that are confused most.

    Classes are in the order of their names, so that one can be found and families stand together.

    Args:
      labels: Names by index; one index more as in `top_pairs`.
      cells: (actual index, predicted index, rows) of the cells that are not zero.
      full: The most classes that are all shown.
    """
    special = len(labels)
    totals = _row_totals(cells)
    counts = {(actual, predicted): n for actual, predicted, n in cells}
    chosen = range(special) if special <= full else _most_confused(cells, special, BLOCK_CLASSES)
    shown = sorted(chosen, key=lambda index: _name_order(labels[index]))
    columns = [*shown, special] if any(cell[1] == special for cell in cells) else shown
    rows = []
    for actual in [*shown, special] if totals[special] else shown:
        there = [(predicted, counts.get((actual, predicted), 0)) for predicted in columns]
        rows.append(
            MatrixRow(
                actual=_name(labels, actual, UNSEEN),
                n=totals[actual],
                cells=tuple(
                    MatrixCell(
                        _name(labels, predicted, NO_SCORES),
                        n,
                        n / totals[actual] if n else 0.0,
                        predicted == actual and actual != special,
                    )
                    for predicted, n in there
                ),
                elsewhere=totals[actual] - sum(n for _, n in there),
            )
        )
    return Matrix(tuple(_name(labels, index, NO_SCORES) for index in columns), tuple(rows), special - len(shown))


def slices(metrics: Mapping[str, Any], cells: Mapping[str, Any]) -> Iterator[MatrixSlice]:
    """Yields all slices with their cells, all rows first.

    Args:
      metrics: The content of metrics.json.
      cells: The content of confusion.json.
    """
    baseline = cells.get("baseline") or [None] * len(cells["candidate"])
    for row, ours, theirs in zip(metrics["candidate"]["slices"], cells["candidate"], baseline, strict=True):
        yield MatrixSlice(
            group=" × ".join(row["slice"]),
            name=" × ".join(value or EMPTY for value in row["slice"].values()) if row["slice"] else "All test rows",
            n=row["n"],
            small=bool(row["slice"]) and row["n"] < metrics["min_rows"],
            candidate=ours,
            baseline=theirs,
        )


def explorer(labels: Sequence[str], slices: Iterable[MatrixSlice], budget: int = EXPLORER_BYTES) -> Explorer:
    """Returns the data of the interactive matrix, the largest slices first, until the budget is used.

    The data is `{"labels", "others", "slices": [{"group", "name", "n", "small", "cells", "before"}]}`. Labels are in the order of
    their names. With W = labels + 2, a cell has the number actual * W + predicted, where the index labels stands for "unseen in
    training" or "no usable scores" and labels + 1 for all `others` classes; `cells` and `before` (the baseline's) are
    [number minus the one before, rows, ...].

    Args:
      labels: Names by index; one index more as in `top_pairs`.
      slices: The first, all rows, is always taken.
      budget: Bytes of JSON.
    """
    everything = list(slices)
    whole = [*everything[0].candidate, *(everything[0].baseline or ())]
    special = len(labels)
    chosen = range(special) if special <= EXPLORER_CLASSES else _most_confused(whole, special, EXPLORER_CLASSES)
    shown = sorted(chosen, key=lambda index: _name_order(labels[index]))
    place = {index: position for position, index in enumerate(shown)} | {special: len(shown)}
    content: dict[str, Any] = {
        "labels": [shorten(labels[index] or EMPTY, NAME_LENGTH) for index in shown],
        "others": special - len(shown),
        "slices": [],
    }
    used = len(_script_safe(content).encode())
    ranked = [0, *sorted(range(1, len(everything)), key=lambda position: -everything[position].n)]
    taken: dict[int, dict[str, Any]] = {}
    for position in ranked:
        entry = _explorer_slice(everything[position], place, len(shown) + 2)
        used += len(_script_safe(entry).encode()) + 1
        if taken and used > budget:
            break
        taken[position] = entry
    content["slices"] = [taken[position] for position in sorted(taken)]
    return Explorer(_script_safe(content), len(taken), len(everything) - len(taken), special - len(shown))


def _explorer_slice(slice_: MatrixSlice, place: Mapping[int, int], width: int) -> dict[str, Any]:
    return {
        "group": shorten(slice_.group, NAME_LENGTH),
        "name": shorten(slice_.name, NAME_LENGTH),
        "n": slice_.n,
        "small": slice_.small,
        "cells": _coded(slice_.candidate, place, width),
        "before": None if slice_.baseline is None else _coded(slice_.baseline, place, width),
    }


def _coded(cells: Iterable[Cell], place: Mapping[int, int], width: int) -> list[float]:
    """Cells as [number minus the number before, rows, ...] in the order of their numbers (see `explorer`)."""
    counts: dict[int, float] = collections.defaultdict(float)
    others = width - 1
    for actual, predicted, n in cells:
        counts[place.get(actual, others) * width + place.get(predicted, others)] += n
    coded: list[float] = []
    before = 0
    for number in sorted(counts):
        n = round(counts[number], 3)
        coded += [number - before, int(n) if n == int(n) else n]
        before = number
    return coded


def _script_safe(content: Any) -> str:
    """JSON that cannot end the <script> element it stands in, whatever names it holds."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _row_totals(cells: Sequence[Cell]) -> dict[int, float]:
    totals: dict[int, float] = collections.defaultdict(float)
    for actual, _, n in cells:
        totals[actual] += n
    return totals


def _most_confused(cells: Sequence[Cell], special: int, limit: int) -> set[int]:
    """Both classes of the most frequent confusions, until the block is full."""
    chosen: set[int] = set()
    for actual, predicted, _ in sorted(cells, key=lambda cell: (-cell[2], cell[:2])):
        if len(chosen) >= limit:
            break
        pair = {actual, predicted}
        if actual != predicted and special not in pair and len(chosen | pair) <= limit:
            chosen |= pair
    return chosen


def _is_hit(cell: Cell, special: int) -> bool:
    # Unseen in training and without usable scores: the two have one index, but are no match.
    return cell[0] == cell[1] != special


def _name(labels: Sequence[str], index: int, special: str) -> str:
    return labels[index] or EMPTY if index < len(labels) else special


def _name_order(name: str) -> list[tuple[int, int, str]]:
    """Orders names without regard to case, and the numbers in them by size: class2 before class10."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
