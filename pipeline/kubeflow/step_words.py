"""What a step leaves in ML Metadata beside what TFX does: names of custom properties of its execution."""

from __future__ import annotations

SECONDS = "parlance_seconds"
"""Wall time of the attempt that ended the execution, in seconds."""

PEAK_MIB = "parlance_peak_mib"
"""Its peak memory, in MiB."""

ERROR = "parlance_error"
"""Why it failed, as in the log."""

FINDINGS = "parlance_findings"
"""Findings of a gate that stopped the run, as JSON."""
