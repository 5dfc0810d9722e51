"""The `monitoring:` section of a pipeline file: what counts as unusual in data and answers over time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.options import Options

Unit = Literal["hour", "day", "week", "span"]

# Two weeks of hours and eight of days see every weekday often enough to know it; longer, and the baseline follows growth too slowly.
_HISTORY = {"hour": 336, "day": 56, "week": 26, "span": 20}
_MINIMUM_HISTORY = {"hour": 48, "day": 14, "week": 8, "span": 5}


class Limits(Options):
    """How large a change must be to matter, however sure it is. With many rows the smallest change is no accident.

    Attributes:
      rows: Relative change of the number of rows: 0.2 is a fifth more or less.
      share: Change of a share: 0.03 is three points of a hundred.
      level: Relative change of a typical value, e.g. the length of texts or the latency.
    """

    rows: float = Field(ge=0)
    share: float = Field(ge=0, le=1)
    level: float = Field(ge=0)


class MonitoringOptions(Options):
    """What `parlance monitor` looks at and what it says.

    Attributes:
      unit: Length of a period, in UTC; weeks begin on Monday. `span` takes each run's data as one period.
      history: How many periods the baseline looks back; 336 hours, 56 days, 26 weeks or 20 spans if not given.
      minimum_history: How many periods must come before one that is judged; 48 hours, 14 days, 8 weeks or 5 spans if not given.
      minimum_rows: Shares and typical values of periods with fewer rows are not judged.
      false_discovery_rate: Of the values reported per period, the share that may be chance. With nothing wrong, it is also the
        chance that a period reports anything at all.
      values: Labels and segment values that are followed by name, the most frequent of each column; the others are one value.
      numbers: Whether typical values of numeric columns are followed.
      warning: Changes from here on are warnings.
      error: Changes from here on are errors.
    """

    unit: Unit = "day"
    history: int | None = Field(default=None, ge=5, le=2000)
    minimum_history: int | None = Field(default=None, ge=4)
    minimum_rows: int = Field(default=30, ge=1)
    false_discovery_rate: float = Field(default=0.005, gt=0, lt=0.5)
    values: int = Field(default=30, ge=1, le=200)
    numbers: bool = True
    warning: Limits = Limits(rows=0.2, share=0.03, level=0.1)
    error: Limits = Limits(rows=0.5, share=0.15, level=0.5)

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> MonitoringOptions:
        if self.needed_history > self.looked_back:
            raise ValueError(
                f"monitoring.minimum_history ({self.needed_history}) must not exceed monitoring.history ({self.looked_back})"
            )
        for name, warning in self.warning.model_dump().items():
            if warning > (error := getattr(self.error, name)):
                raise ValueError(f"monitoring.warning.{name} ({warning}) must not exceed monitoring.error.{name} ({error})")
        return self

    @property
    def looked_back(self) -> int:
        """How many periods the baseline looks back."""
        return self.history if self.history is not None else _HISTORY[self.unit]

    @property
    def needed_history(self) -> int:
        """How many periods must come before one that is judged."""
        if self.minimum_history is not None:
            return self.minimum_history
        return min(_MINIMUM_HISTORY[self.unit], self.looked_back)
