"""The `evaluation:` section of a pipeline file: what is measured, for whom, and what a model must reach to be released."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat, field_validator, model_validator

from components.options import Options, Text

METRICS = (
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "top_k_accuracy", "log_loss", "calibration_error",
    "coverage", "answered_accuracy", "cost_per_1000",
)  # fmt: skip
"""Metrics of all classes together, measured in every slice."""

RANKING_METRICS = ("auc", "pr_auc")
"""Of the positive class where there are two; of more classes the macro average over all rows, and of one class with `class`."""

CLASS_METRICS = ("precision", "recall", "f1", "false_positive_rate", "positive_rate")
"""Metrics of one class against the rest. With two classes, the class defaults to the positive one."""

CRITERIA = {
    "demographic_parity": ("positive_rate",),
    "equal_opportunity": ("recall",),
    "equalised_odds": ("recall", "false_positive_rate"),
}
"""Fairness criteria of one class, and the metrics whose gaps between groups they look at; see `fairness`."""

LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "cost_per_1000", "false_positive_rate"})

OVERALL, EACH, ANY = "overall", "each", "*"

_VALUE_LIMITS = ("min", "max", "above_majority", "max_drop")
_FAIRNESS_LIMITS = ("max_gap", "min_ratio")
_ALL_METRICS = (*METRICS, *RANKING_METRICS, *CLASS_METRICS, *CRITERIA)
# All others are shares, between 0 and 1.
UNBOUNDED = frozenset({"log_loss", "cost_per_1000"})


def metric_id(metric: str, class_: str | None) -> str:
    """Returns the name under which a metric stands in metrics.json: `accuracy`, or `recall(refund)` for one of a class."""
    return metric if class_ is None else f"{metric}({class_})"


def parse_metric_id(name: str) -> tuple[str, str | None]:
    """Takes apart what `metric_id` put together: the metric, and its class or None."""
    metric, opening, rest = name.partition("(")
    return metric, rest.removesuffix(")") if opening else None


def lower_is_better(name: str) -> bool:
    """Says whether smaller values of a metric, given by its id, are better."""
    return parse_metric_id(name)[0] in LOWER_IS_BETTER


def length_column(text_column: str) -> str:
    """Returns the name of the automatic segment by length of a text column."""
    return f"length({text_column})"


class FairnessMetric(Options):
    """A metric, and the class it is about.

    Attributes:
      metric: One of METRICS, RANKING_METRICS, CLASS_METRICS or CRITERIA.
      class_: The class (`class` in the file) of a metric or criterion of one class. None stands for the positive class, which only
        two classes have.
    """

    # The file says `class`; JSON between nodes may hold either.
    model_config = ConfigDict(populate_by_name=True)

    metric: str
    class_: Text | None = Field(default=None, alias="class")

    @field_validator("metric")
    @classmethod
    def _metric_exists(cls, value: str) -> str:
        if value not in _ALL_METRICS:
            near = difflib.get_close_matches(value, _ALL_METRICS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"there is no metric {value!r}; {hint}metrics: {', '.join(_ALL_METRICS)}; received {value!r}")
        return value

    @model_validator(mode="after")
    def _class_fits_metric(self) -> FairnessMetric:
        if self.class_ is not None and self.metric in METRICS:
            one_of = ", ".join((*CLASS_METRICS, *RANKING_METRICS, *CRITERIA))
            raise ValueError(f"{self.metric} is about all classes and takes no `class`; metrics of one class: {one_of}")
        return self

    @property
    def metric_id(self) -> str:
        """The metric or criterion with its class, e.g. `recall(refund)` or `equalised_odds(refund)`."""
        return metric_id(self.metric, self.class_)

    @property
    def criterion(self) -> str | None:
        """The fairness criterion, None for a plain metric."""
        return self.metric if self.metric in CRITERIA else None

    @property
    def measured(self) -> tuple[str, ...]:
        """Ids of the metrics that have to be measured for it: its own, or those of the criterion."""
        return tuple(metric_id(metric, self.class_) for metric in CRITERIA.get(self.metric, (self.metric,)))

    @property
    def needs_class(self) -> bool:
        """Says whether a class has to be named, or inferred because there are two."""
        return self.metric in CLASS_METRICS or self.metric in CRITERIA


class Gate(FairnessMetric):
    """One rule. Exactly one of the limits is given.

    Attributes:
      metric, class_: What is measured; criteria only with `max_gap` or `min_ratio`.
      min: The value must be at least this.
      max: The value must be at most this.
      above_majority: The value must be better than that of always predicting the most frequent training class by this much.
      max_drop: The value may be worse than the baseline's (the last blessed model's) by at most this much. Passes, saying so,
        while there is no baseline.
      max_gap: The best group of a segment may be better than the worst by at most this much.
      min_ratio: The worst group's value as a share of the best's (for metrics where lower is better the best's as a share of the
        worst's) must be at least this; 0.8 is the four-fifths rule.
      slices: Where the rule applies: `overall` (all rows; the default of the first four limits), `each` (every slice of every
        declared segment; for `max_gap` and `min_ratio`, whose default it is, every declared segment of one column), or a mapping
        of the columns of one segment to a value or `*`, any value.
      judge_by: `value`, or `interval`: fails only if the whole interval is on the wrong side of the limit, and warns if only the
        value is. By default `value` for all rows, `interval` for slices and groups. Where there is no interval, the value decides.
      min_rows: Slices below this size are reported as too small and not gated; by default `evaluation.min_rows`. All rows
        together are gated whatever their number.
      severity: `error` blocks the release, `warning` is only shown.
    """

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    above_majority: FiniteFloat | None = Field(default=None, ge=0)
    max_drop: FiniteFloat | None = Field(default=None, ge=0)
    max_gap: FiniteFloat | None = Field(default=None, ge=0)
    min_ratio: FiniteFloat | None = Field(default=None, gt=0, le=1)
    slices: Literal["overall", "each"] | dict[str, Text] = "overall"
    judge_by: Literal["value", "interval"] = "value"
    min_rows: int | None = Field(default=None, gt=0)
    severity: Literal["error", "warning"] = "error"

    @model_validator(mode="before")
    @classmethod
    def _defaults_follow_the_limit(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        compares_groups = any(values.get(limit) is not None for limit in _FAIRNESS_LIMITS)
        slices = values.get("slices", EACH if compares_groups else OVERALL)
        judge_by = values.get("judge_by", "value" if slices == OVERALL else "interval")
        return {**values, "slices": slices, "judge_by": judge_by}

    @field_validator("slices", mode="before")
    @classmethod
    def _slices_are_a_word_or_a_mapping(cls, value: Any) -> Any:
        if value in (OVERALL, EACH) or (
            isinstance(value, Mapping) and value and all(isinstance(entry, str | int | float) for entry in value.values())
        ):
            return value
        raise ValueError(
            f'slices is {OVERALL}, {EACH}, or a mapping of a segment\'s columns to a value or "{ANY}", '
            f'e.g. {{language: "{ANY}"}}; received {value!r}'
        )

    @model_validator(mode="after")
    def _limit_fits(self) -> Gate:
        limits = [name for name in (*_VALUE_LIMITS, *_FAIRNESS_LIMITS) if getattr(self, name) is not None]
        if len(limits) != 1:
            all_limits = ", ".join((*_VALUE_LIMITS, *_FAIRNESS_LIMITS))
            raise ValueError(f"a gate has exactly one of {all_limits}; received {', '.join(limits) or 'none'}")
        if problem := self._misfit(limits[0]):
            raise ValueError(f"{problem}; received {limits[0]}: {getattr(self, limits[0]):g}")
        return self

    def _misfit(self, limit: str) -> str | None:
        """Says why a limit cannot go with the rest of the rule."""
        if self.criterion and limit not in _FAIRNESS_LIMITS:
            return f"{self.metric} compares groups, so its limit is max_gap or min_ratio"
        if self.metric == "positive_rate" and limit in ("above_majority", "max_drop"):
            return "no direction of positive_rate is better, so its limit is min or max (between groups: demographic_parity)"
        if self.metric not in UNBOUNDED and limit in ("min", "max", "max_gap") and not 0 <= getattr(self, limit) <= 1:
            return f"{self.metric} is a share, so {limit} is between 0 and 1"
        if limit not in _FAIRNESS_LIMITS:
            return None
        if self.slices == OVERALL or (isinstance(self.slices, dict) and list(self.slices.values()) != [ANY]):
            return f'{limit} compares the groups of a segment of one column, so slices is {EACH} or {{COLUMN: "{ANY}"}}'
        if self.min_rows is not None:
            return "groups take part from evaluation.min_rows on, so set that instead of the gate's min_rows"
        return None

    @property
    def limit(self) -> str:
        """The name of its limit."""
        return next(name for name in (*_VALUE_LIMITS, *_FAIRNESS_LIMITS) if getattr(self, name) is not None)

    @property
    def compares_groups(self) -> bool:
        """Says whether it is about the gap or ratio between groups, and not about each slice alone."""
        return self.limit in _FAIRNESS_LIMITS


class BootstrapOptions(Options):
    """How intervals are made.

    Attributes:
      replicates: Weighted copies of the test split that are measured; 0 for no intervals.
      seed: The weights are a function of this.
      confidence: Share of replicates an interval holds, in its middle.
    """

    replicates: int = Field(default=200, ge=0, le=10_000)
    seed: int = Field(default=0, ge=0)
    confidence: float = Field(default=0.95, gt=0, lt=1)


class FairnessOptions(Options):
    """Which differences between groups are reported, whether gated or not.

    Attributes:
      metrics: Metrics and criteria, each a name or a mapping of `metric` and `class`.
      segments: Segments of one column; None for all declared ones.
    """

    metrics: tuple[FairnessMetric, ...] = (FairnessMetric(metric="accuracy"),)
    segments: tuple[str, ...] | None = None

    @field_validator("metrics", mode="before")
    @classmethod
    def _a_name_may_stand_alone(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple({"metric": entry} if isinstance(entry, str) else entry for entry in value)


class CostPair(Options):
    """What it costs to take one class for another.

    Attributes:
      actual: The true class.
      predicted: What the model says.
      cost: Of one such row.
    """

    actual: Text
    predicted: Text
    cost: FiniteFloat


class CostOptions(Options):
    """What answers cost, in any one unit (money, minutes); `cost_per_1000` is their sum per 1,000 rows.

    Attributes:
      wrong: Cost of a wrong answer, unless `pairs` has it.
      right: Cost of a right one; negative for a gain.
      abstained: Cost of a row the model leaves to somebody else (see `model.abstain`).
      pairs: Costs of single confusions.
    """

    wrong: FiniteFloat = 1.0
    right: FiniteFloat = 0.0
    abstained: FiniteFloat = 0.2
    pairs: tuple[CostPair, ...] = ()

    @field_validator("pairs")
    @classmethod
    def _a_pair_has_one_cost(cls, value: tuple[CostPair, ...]) -> tuple[CostPair, ...]:
        pairs = [(pair.actual, pair.predicted) for pair in value]
        if repeated := sorted({pair for pair in pairs if pairs.count(pair) > 1}):
            shown = ", ".join(f"{actual} -> {predicted}" for actual, predicted in repeated)
            raise ValueError(f"every pair of classes has one cost; received more than one for {shown}")
        return value


class EvaluationOptions(Options):
    """The `evaluation:` section.

    Attributes:
      gates: Rules a model must meet to be blessed; at least one, because a pipeline that releases anything gates nothing.
      top_k: The k of top_k_accuracy.
      min_rows: Slices and groups below this size are shown as too small, and never gated.
      weight: Numeric column; each row weighs this much in every metric.
      length_slices: Whether there is an automatic segment by length of each text column.
      bootstrap: How intervals are made.
      fairness: Which differences between groups are reported.
      costs: What answers cost; without it there is no cost_per_1000.
    """

    gates: tuple[Gate, ...]
    top_k: int = Field(default=3, gt=1)
    min_rows: int = Field(default=100, gt=0)
    weight: str | None = None
    length_slices: bool = True
    bootstrap: BootstrapOptions = BootstrapOptions()
    fairness: FairnessOptions = FairnessOptions()
    costs: CostOptions | None = None

    @field_validator("gates")
    @classmethod
    def _there_is_a_gate(cls, value: tuple[Gate, ...]) -> tuple[Gate, ...]:
        if not value:
            raise ValueError("a pipeline needs at least one gate, e.g. {metric: accuracy, above_majority: 0.05}; received none")
        return value

    @model_validator(mode="after")
    def _costs_are_given_where_used(self) -> EvaluationOptions:
        if self.costs is None and any(entry.metric == "cost_per_1000" for entry in (*self.gates, *self.fairness.metrics)):
            raise ValueError("cost_per_1000 needs evaluation.costs, e.g. `costs: {wrong: 1.0, abstained: 0.2}`")
        return self

    def min_rows_of(self, gate: Gate) -> int:
        """Returns from how many rows on a slice is held against a gate."""
        return self.min_rows if gate.min_rows is None else gate.min_rows

    def metric_ids(self) -> tuple[str, ...]:
        """Returns the ids of all metrics that gates and fairness refer to, without repeats; criteria as what they look at."""
        return _unique(name for entry in (*self.gates, *self.fairness.metrics) for name in entry.measured)

    @property
    def resampled(self) -> tuple[str, ...]:
        """Ids of the metrics that get intervals: accuracy, which every chart shows, and those of `metric_ids`."""
        return _unique(("accuracy", *self.metric_ids()))

    def fairness_pairs(self, single_segments: Iterable[str]) -> tuple[tuple[str, FairnessMetric], ...]:
        """Returns which metric or criterion is compared between the groups of which segment, for reports and gates, no repeats.

        Args:
          single_segments: The declared segments of one column, in the file's order.
        """
        declared = tuple(single_segments)
        wanted = self.fairness.segments if self.fairness.segments is not None else declared
        pairs = {(segment, entry.metric_id): entry for segment in wanted for entry in self.fairness.metrics}
        for gate in self.gates:
            if gate.compares_groups:
                columns = gate.slices if isinstance(gate.slices, dict) else declared
                entry = FairnessMetric.model_validate({"metric": gate.metric, "class": gate.class_})
                pairs |= {(column, gate.metric_id): entry for column in columns}
        return tuple((segment, entry) for (segment, _), entry in pairs.items())


def resolved(options: EvaluationOptions, positive_class: str | None) -> EvaluationOptions:
    """Fills in the class of metrics of one class that name none, once the classes are known.

    `auc` and `pr_auc` stay as they are: with two classes they are about the positive one by definition.

    Args:
      options: As in the pipeline file.
      positive_class: The last of two classes; None where there are more, then nothing is filled in.
    """
    if positive_class is None:
        return options

    def fill(entry):
        return entry.model_copy(update={"class_": positive_class}) if entry.needs_class and entry.class_ is None else entry

    fairness = options.fairness.model_copy(update={"metrics": tuple(map(fill, options.fairness.metrics))})
    return options.model_copy(update={"gates": tuple(map(fill, options.gates)), "fairness": fairness})


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
