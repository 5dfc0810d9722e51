"""The `validation:` section of a pipeline file: which anomalies stop a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.findings import Severity
from components.monitoring.options import MonitoringOptions
from components.options import Options

DRIFT, SKEW = "drift", "skew"
ANY_COLUMN = "*"
IGNORE = "ignore"

Kind = Literal["type", "domain", "range", "missing", "shape", "new_column", "drift", "skew", "other"]
"""What may be wrong with a column: another type, a value outside its domain, a number outside its limits, too few values, too many or
too few values in one row, a column the schema does not have, a distribution that moved, one that differs between training and serving."""


class Limit(Options):
    """From which share on something is worth a warning, and from which it stops the run.

    Attributes:
      warn: A larger share is a warning; never, if null.
      fail: A larger share is an error; never, if null.
    """

    warn: float | None = Field(default=None, ge=0, le=1)
    fail: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _a_warning_comes_first(self) -> Limit:
        if self.warn is not None and self.fail is not None and self.warn > self.fail:
            raise ValueError(f"warn is at most fail; received warn: {self.warn}, fail: {self.fail}")
        return self


class LeakLimits(Options):
    """What makes a measurement look better than the model is.

    Attributes:
      exact_duplicates: Share of the test rows whose text train or eval has too.
      near_duplicates: The same of texts that differ in case, width, punctuation or spacing only.
      label_conflicts: Share of the rows that have another label than their text mostly has.
      telling_column: Share of the label's uncertainty that one input alone explains, 1 for a column that is the label.
    """

    exact_duplicates: Limit = Limit(warn=0.05)
    near_duplicates: Limit = Limit(warn=0.1)
    label_conflicts: Limit = Limit(warn=0.02)
    telling_column: Limit = Limit(warn=0.3)


class TextLimits(Options):
    """How far texts may move from those they are compared with, as the share of the rows that would have to be otherwise.

    A difference that may be chance (`drift.alpha`) is none.

    Attributes:
      script: In which script most of a text's letters are.
      language: In which language texts are, where `data.language` detects it.
      length: How many characters texts have, by the deciles of the older data.
      unknown_words: How much larger the share of words is that the older train split does not have than it is in the older data's
        own eval and test splits.
      duplicates: The share of the texts that repeat another one, among as many of the older as of the newer ones.
    """

    script: Limit = Limit(warn=0.03)
    language: Limit = Limit(warn=0.1)
    length: Limit = Limit(warn=0.15)
    unknown_words: Limit = Limit(warn=0.05)
    duplicates: Limit = Limit(warn=0.2)


class DriftOptions(Options):
    """From when on a column counts as different from what it was: a difference that is both no chance and large.

    Attributes:
      alpha: The share of false alarms that is accepted among the columns called different (Benjamini and Hochberg).
      min_psi: A population stability index from here on is large; 0.1 is moderate and 0.25 large by custom.
      min_l_infinity: A change of one value's share from here on is large.
    """

    alpha: float = Field(default=0.01, gt=0, lt=1)
    min_psi: float = Field(default=0.1, gt=0)
    min_l_infinity: float = Field(default=0.05, gt=0, le=1)


class SpanMonitoring(MonitoringOptions):
    """What is unusual in a run's data beside that of the runs before it, one period each; see MonitoringOptions.

    Attributes:
      unit: Always `span`.
      stop: Whether changes from `error` on stop the run; otherwise they are warnings.
    """

    unit: Literal["span"] = "span"  # type: ignore[assignment]  # one of the units
    stop: bool = False


class ValidationOptions(Options):
    """What the data gate tolerates.

    Attributes:
      max_quarantined: The run stops if a larger share of rows was set aside.
      warn_only: Columns whose anomalies are shown but do not stop the run.
      leaks: How much may leak between splits and from columns to the label.
      drift: From when on a column counts as different from the previous data, or from the data the current model was trained on.
      texts: From when on texts count as different from those.
      labels: How much smaller the share of rows may be whose label is the one that data suggests for them, see label_agreement.
      monitoring: From when on the number of rows, shares of labels and segment values, and missing cells are out of line with the
        series of the runs before, of which there must be `minimum_history`; null says that nobody looks.
      environment: The schema's environment that says which columns there must be; SERVING for a model server's log, TRAINING for all
        other data if not given.
      severity: By column, or `*` for every other one, and by kind of anomaly: error, warning, info or ignore. What is not listed is
        an error, but for new columns, drift and skew, which are warnings unless they look like a fault of the data: columns that
        changed places, numbers in another unit, a column that is empty now, labels on the wrong rows.
    """

    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    warn_only: tuple[str, ...] = ()
    leaks: LeakLimits = LeakLimits()
    drift: DriftOptions = DriftOptions()
    texts: TextLimits = TextLimits()
    labels: Limit = Limit(warn=0.1)
    monitoring: SpanMonitoring | None = SpanMonitoring()
    environment: Literal["TRAINING", "SERVING"] | None = None
    severity: dict[str, dict[Kind, Literal["error", "warning", "info", "ignore"]]] = Field(default_factory=dict)

    def severity_of(self, column: str, kind: str, default: Severity) -> Severity | None:
        """Returns how severe an anomaly of a column is; None if it is to be ignored.

        Args:
          column: The column's name.
          kind: One of Kind.
          default: The severity of what the options do not list.
        """
        for name in (column, ANY_COLUMN):
            if chosen := self.severity.get(name, {}).get(kind):  # type: ignore[call-overload]  # any text may be asked for
                return None if chosen == IGNORE else Severity(chosen)
        return Severity.WARNING if default is Severity.ERROR and column in self.warn_only else default
