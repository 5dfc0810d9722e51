"""The errors Parlance raises on purpose, and the exit code each one means."""

from __future__ import annotations

from collections.abc import Sequence

from components.findings import Finding


class ParlanceError(Exception):
    """Base of every error a person is meant to read.

    The message states the rule, what was received and the fix. It never holds message text from the data: values that identify
    a problem are column names, types, counts, positions and reasons.

    Attributes:
      exit_code: The exit code of the command that ends with this error.
    """

    exit_code = 3


class UsageError(ParlanceError):
    """The command, the pipeline file or the data the user named cannot be used as it stands."""

    exit_code = 2


class GateError(ParlanceError):
    """A validation or a gate said no; everything worked, the answer is negative.

    Attributes:
      findings: All findings of the gate, also those that passed.
    """

    exit_code = 1

    def __init__(self, message: str, findings: Sequence[Finding] = ()):
        super().__init__(message)
        self.findings = tuple(findings)

    def __reduce__(self):
        return type(self), (str(self), self.findings)


class EnvironmentFailure(ParlanceError):
    """The machine failed: disk full, no permission, a killed process, a package that is not installed."""

    exit_code = 3
