"""The `evaluation:` section of a pipeline file: what is measured and what a model must reach to be released."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.options import Options


class Gate(Options):
    """One rule. Exactly one of the limits is given.

    Attributes:
      metric: What is measured (`auc` for two classes only). All but log_loss are better when larger.
      min: The value must be at least this.
      max: The value must be at most this.
      above_majority: The value must exceed that of always predicting the most frequent training class by this much.
      max_drop: The value may be worse than the baseline's (the last blessed model's) by at most this much. Passes, saying so,
        while there is no baseline.
      slices: `overall`, or `each`: every slice of every segment that has at least `min_rows` rows.
      min_rows: Slices below this size are reported as too small and not gated; `overall` is gated whatever its size.
      severity: `error` blocks the release, `warning` is only shown.
    """

    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "top_k_accuracy", "log_loss", "auc"]
    min: float | None = None
    max: float | None = None
    above_majority: float | None = Field(default=None, ge=0)
    max_drop: float | None = Field(default=None, ge=0)
    slices: Literal["overall", "each"] = "overall"
    min_rows: int = Field(default=100, gt=0)
    severity: Literal["error", "warning"] = "error"

    @model_validator(mode="after")
    def _exactly_one_limit(self) -> Gate:
        limits = [name for name in ("min", "max", "above_majority", "max_drop") if getattr(self, name) is not None]
        if len(limits) != 1:
            raise ValueError(f"a gate has exactly one of min, max, above_majority, max_drop; received {limits or 'none'}")
        return self


class EvaluationOptions(Options):
    """The `evaluation:` section.

    Attributes:
      gates: Rules a model must meet to be blessed; at least one, because a pipeline that releases anything gates nothing.
      top_k: The k of top_k_accuracy.
    """

    gates: tuple[Gate, ...] = Field(min_length=1)
    top_k: int = Field(default=3, gt=1)
