"""When the model should rather not answer: the threshold on its top score, and the label that means "none of these".

The threshold is the lowest one at which enough of the answered rows of the eval split are right. That is a statement about those
rows: on new ones the share varies by chance, the more the fewer rows were answered, and drops when the data changes.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np

from components.errors import UsageError

# One row's score differs by about a ten-millionth from batch to batch, so scores closer than this are one. A power of two, so
# that thresholds are the same number in NumPy, in JSON and as float32 in the model.
_RESOLUTION = 2.0**-20

FEWEST_ROWS = 30
"""The share of right ones among fewer rows than these is mostly chance: of 30 rows at 0.9, its standard error is 0.055."""


@dataclasses.dataclass(frozen=True)
class Abstention:
    """When an exported model abstains.

    Attributes:
      threshold: Rows whose top score is lower, or not a number, are not answered. None answers whatever the score.
      out_of_scope: Index of the label that is no answer. None if all are.
    """

    threshold: float | None = None
    out_of_scope: int | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """A threshold, and what it did to the rows it was chosen on.

    Attributes:
      threshold: Rows with this top score or a higher one are answered.
      coverage: Share of all rows that are answered.
      precision: Share of the answered rows that are right.
      reached: Whether that is at least the target.
      rows: How many rows are answered.
    """

    threshold: float
    coverage: float
    precision: float
    reached: bool
    rows: int


def choose_threshold(
    scores: np.ndarray, correct: np.ndarray, target_precision: float, answerable: np.ndarray | None = None
) -> Choice | None:
    """Returns the lowest threshold at which the share of right ones among the answered rows is at least the target.

    Rows with the same score are answered together or not at all. Where no threshold reaches the target, it is the one with the
    highest share among those that answer `FEWEST_ROWS` rows or more (all rows, if there are fewer), and of those the lowest: very
    few rows are all right by luck.

    Args:
      scores: Top score of each row between 0 and 1, shape [n]. A row whose score is not a number is never answered.
      correct: Whether the label with the top score is the row's own, bool, shape [n].
      target_precision: Between 0 and 1.
      answerable: False for rows that are not answered at any threshold, bool, shape [n]; by default none.

    Returns:
      The choice; None if no row can be answered.
    """
    answered = np.isfinite(scores) if answerable is None else np.isfinite(scores) & answerable
    if not answered.any():
        return None
    blocks = np.floor(scores[answered].astype(np.float64) / _RESOLUTION) * _RESOLUTION
    # Thresholds from high to low, how many rows each answers, and how many of those are right.
    thresholds, block_of_row = np.unique(-blocks, return_inverse=True)
    rows = np.cumsum(np.bincount(block_of_row))
    precisions = np.cumsum(np.bincount(block_of_row, weights=correct[answered])) / rows

    reached = np.flatnonzero(precisions >= target_precision)
    if reached.size:
        chosen = reached[-1]
    else:
        enough = rows >= min(FEWEST_ROWS, rows[-1])
        chosen = np.flatnonzero(enough & (precisions == precisions[enough].max()))[-1]
    return Choice(
        threshold=float(-thresholds[chosen]),
        coverage=float(rows[chosen] / len(scores)),
        precision=float(precisions[chosen]),
        reached=bool(reached.size),
        rows=int(rows[chosen]),
    )


def label_index(label: str, labels: Sequence[str]) -> int:
    """Returns where the label that `model.abstain.out_of_scope` names stands among those seen in training.

    Raises:
      UsageError: It is not there; the nearest ones are listed, or else how many there are.
    """
    if label in labels:
        return labels.index(label)
    near = difflib.get_close_matches(label, labels, n=3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"None of the {len(labels)} labels there is similar"
    raise UsageError(
        f"model.abstain.out_of_scope must be a label of the train split; received {label!r}, which is not there. {hint}"
    )
