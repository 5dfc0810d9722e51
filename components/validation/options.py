"""The `validation:` section of a pipeline file: which anomalies stop a run."""

from pydantic import Field

from components.options import Options


class ValidationOptions(Options):
    """What the data gate tolerates.

    Attributes:
      max_quarantined: The run stops if a larger share of rows was set aside.
      warn_only: Columns whose anomalies are shown but do not stop the run.
    """

    max_quarantined: float = Field(default=0.05, ge=0, le=1)
    warn_only: tuple[str, ...] = ()
