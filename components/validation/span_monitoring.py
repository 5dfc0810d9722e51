"""Whether the data of a run is in line with the series of runs before it: how many rows, which labels and segments, what is missing.

The comparison with the previous data (`drift`) sees how far two data sets are apart; the series knows how far they usually are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.findings import Finding, Severity
from components.monitoring import detect, findings, sources
from components.validation.options import SpanMonitoring

THIS_RUN = "this run"


def check(
    summary: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], label: str, options: SpanMonitoring | None
) -> list[Finding]:
    """Returns what is out of line in the data of one run, worst first; nothing while there is too little history.

    Args:
      summary: Ingestion's summary of the run's data.
      earlier: The summaries of the data before it, oldest first; those of other samples of a table are passed over.
      label: What the column of labels is called.
      options: What counts as unusual; None says that nobody looks.
    """
    # A sample beside the whole, or beside another sample, would look like rows that are missing.
    share = summary.get("sample", 1.0)
    earlier = [one for one in earlier if one.get("sample", 1.0) == share]
    if options is None or len(earlier) < options.needed_history:
        return []
    ages = range(len(earlier), 0, -1)
    names = [f"the span {age} before" if age > 1 else "the span before" for age in ages]
    timeline = sources.of_runs([*zip(names, earlier, strict=True), (THIS_RUN, summary)], label)
    newest = len(timeline.periods) - 1
    found = findings.of_alarms(detect.judge(timeline, options, newest), options, newest)
    if options.stop:
        return found
    return [
        dataclasses.replace(finding, severity=Severity.WARNING) if finding.severity is Severity.ERROR else finding
        for finding in found
    ]
