"""What ingestion says about leaks, held against its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.findings import Finding, Severity
from components.validation.options import LeakLimits, Limit

_DUPLICATES = {
    "exact": ("exact duplicates", "exact_duplicates", "the very text"),
    "near": ("near duplicates", "near_duplicates", "the text, give or take case, punctuation and spacing,"),
}


def check(report: Mapping[str, Any], limits: LeakLimits) -> Iterator[Finding]:
    """Yields the findings about leaks.

    Args:
      report: `leaks` of ingestion's summary, see LeakWatch.report.
      limits: From which share on a leak is a warning or an error.
    """
    if "near" in report:
        yield from _of_texts(report, limits)
    for name, told in sorted(report["columns"].items(), key=lambda item: -item[1]["information"]):
        finding = _finding(
            "column that tells the label",
            "telling_column",
            limits.telling_column,
            told["information"],
            f"The input {name!r} alone explains {told['information']:.0%} of the label, and a guess from it is right"
            f" {told['gain'] * 100:+.1f} points more often than the most frequent class; exclude it, unless a request carries it"
            " before the label is known",
            subject=name,
        )
        if finding.severity is not Severity.INFO:
            yield finding


def _of_texts(report: Mapping[str, Any], limits: LeakLimits) -> Iterator[Finding]:
    estimated = "" if report["share_of_texts"] == 1 else f" (estimated from {report['share_of_texts']:.2%} of the texts)"
    for kind, (check_name, option, text) in _DUPLICATES.items():
        # The share that is shown is the test split's: it is the one that only measures.
        found = report[kind]["test"]
        yield _finding(
            check_name,
            option,
            getattr(limits, option),
            found["share"],
            f"{found['rows']} test rows ({found['share']:.2%}) have {text} of a train or eval row{estimated}",
        )
    found = report["label_conflicts"]
    yield _finding(
        "label conflicts",
        "label_conflicts",
        limits.label_conflicts,
        found["share"],
        f"{found['texts']} texts have several labels; {found['rows']} rows ({found['share']:.2%}) have another than their text"
        f" mostly has, so that from the text alone no model gets more than {1 - found['share']:.2%} right{estimated}",
    )


def _finding(check: str, option: str, limit: Limit, share: float, message: str, subject: str = "") -> Finding:
    severity = Severity.INFO
    if limit.warn is not None and share > limit.warn:
        severity = Severity.WARNING
    if limit.fail is not None and share > limit.fail:
        severity = Severity.ERROR
    bounds = [
        f"{word} above {bound:.2%}" for word, bound in (("warning", limit.warn), ("error", limit.fail)) if bound is not None
    ]
    place = ": ".join([f"validation.leaks.{option}", *([", ".join(bounds)] if bounds else [])])
    return Finding(check, severity, f"{message} ({place})", subject, ", ".join(bounds), f"{share:.2%}")
