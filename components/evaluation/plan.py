"""What is known about an evaluation before its first row."""

from __future__ import annotations

import dataclasses

import numpy as np

from components.evaluation.metrics import MetricId
from components.evaluation.segments import Segment

OVERALL = 0
"""The slice of all rows."""


@dataclasses.dataclass(frozen=True)
class View:
    """A model, as the evaluation sees it.

    Attributes:
      model: Its name.
      classes: Its classes, in the order of its scores.
    """

    model: str
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything about an evaluation that is known before its first row.

    Attributes:
      labels: The labels of all models, those of the candidate first. One index more is "unseen in training" as a true label and
        "no usable scores" as a prediction.
      views: What is measured.
      segments: What rows are sliced by.
      top_k: The k of top_k_accuracy.
      common: Labels all models know, if some know more: rows with one of these can then be measured apart. None if all know the same.
      curves: Classes whose scores are kept in every slice, for metrics of areas under curves.
      resampled: Metrics that get intervals in every slice.
      resampled_overall: Metrics that get intervals over all rows.
      replicates: Bootstrap samples; 0 for none.
      seed: Of the bootstrap.
      costs: Cost of each true label (first axis) taken for each predicted one, [labels + 1, labels + 1]; None for no costs.
      abstained_cost: Cost of a row the model abstained from.
    """

    labels: tuple[str, ...]
    views: tuple[View, ...]
    segments: tuple[Segment, ...]
    top_k: int
    common: frozenset[str] | None = None
    curves: tuple[str, ...] = ()
    resampled: tuple[MetricId, ...] = ()
    resampled_overall: tuple[MetricId, ...] = ()
    replicates: int = 0
    seed: int = 0
    costs: np.ndarray | None = None
    abstained_cost: float = 0.0

    @property
    def parts(self) -> int:
        """How many parts the rows of a slice are summed in: those with a common label and the others, or all in one."""
        return 1 if self.common is None else 2
