"""Findings: what a check reports. Checks return findings; a gate turns them into a verdict."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any


class Severity(str, enum.Enum):
    """How much a finding matters: `error` stops the run, `warning` is shown, `info` is a passed check worth showing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result of one check.

    Attributes:
      check: Name of the check or rule, e.g. `anomaly` or `accuracy >= 0.8`.
      severity: How much it matters.
      message: One sentence: what was expected, what was seen. Never holds message text.
      subject: What it is about: a column, a slice (`language=de`) or empty for the whole data set.
      expected: The limit or domain, as text; empty where there is none.
      observed: What was seen, as text; empty where there is none.
    """

    check: str
    severity: Severity
    message: str
    subject: str = ""
    expected: str = ""
    observed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as plain JSON values."""
        return {**dataclasses.asdict(self), "severity": self.severity.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finding:
        """Reads what `to_json` wrote."""
        return cls(**{**values, "severity": Severity(values["severity"])})


def has_errors(findings: Iterable[Finding]) -> bool:
    """Says whether any finding is severe enough to stop a run."""
    return any(finding.severity is Severity.ERROR for finding in findings)
