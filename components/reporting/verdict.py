"""The top of the report: how a run ended and why, and the decisions behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.reporting.formats import plural, shorten

REASON_LENGTH = 400
ERROR_LENGTH = 4000
# Failures are what a reader looks for; of what passed, enough to see what was looked at.
SHOWN_DECISIONS = {"failed": 200, "warning": 100, "passed": 60, "not applied": 40}

_Finding = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Headline:
    """How a run ended.

    Attributes:
      tone: `good`, `bad`, `warn` or `plain`; picks the colour, never carries meaning alone.
      title: The verdict in a few words.
      reason: Why, in a sentence.
      detail: What else the error says, or all of it where the reason had to cut it.
      notes: What else a reader should know before reading on.
    """

    tone: str
    title: str
    reason: str
    detail: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Decision:
    """One finding with its outcome: `failed`, `warning`, `passed` or `not applied` (nothing to compare, too few rows)."""

    outcome: str
    check: str
    subject: str
    observed: str
    expected: str
    message: str


@dataclasses.dataclass(frozen=True)
class Decisions:
    """Decisions, failures first.

    Attributes:
      shown: Those in the report.
      totals: How many there are of each outcome that occurs, also of those not shown.
      left_out: How many are not shown.
    """

    shown: tuple[Decision, ...]
    totals: dict[str, int]
    left_out: int


def headline(
    record: Mapping[str, Any] | None,
    verdict: Mapping[str, Any] | None,
    findings: Sequence[_Finding],
    missing: Sequence[str],
) -> Headline:
    """Returns how a run ended.

    Args:
      record: The run record.
      verdict: The evaluation gate's verdict, None if no model was judged.
      findings: The data gate's findings.
      missing: Names of the parts the run did not produce.
    """
    notes = [f"Not in this report, because the run has none: {', '.join(missing)}."] if missing else []
    if not record:
        return Headline("plain", "No record of the run", "Below is what was found of it.", notes=tuple(notes))
    if record.get("state") == "failed":
        return _failed(record, notes)
    if note := (verdict or {}).get("baseline", {}).get("note"):
        notes.insert(0, f"Baseline: {note}.")
    if record.get("state") == "rejected":
        return _rejected(verdict, findings, notes)
    if record.get("state") == "running":
        return Headline("warn", "Not finished", "This report was made while the run was going on.", notes=tuple(notes))
    warnings = sum(outcome(finding) == "warning" for finding in [*(verdict or {}).get("findings", ()), *findings])
    if warnings:
        notes.insert(0, f"{plural(warnings, 'warning')} below.")
    return _succeeded(record, verdict, notes)


def decisions(findings: Iterable[_Finding]) -> Decisions:
    """Returns findings as decisions: what failed first, then warnings, what passed, and what could not be applied."""
    groups: dict[str, list[Decision]] = {name: [] for name in SHOWN_DECISIONS}
    for finding in findings:
        fields = {name: str(finding.get(name) or "") for name in ("check", "subject", "observed", "expected", "message")}
        groups[outcome(finding)].append(Decision(outcome(finding), **fields))
    shown = [decision for name, group in groups.items() for decision in group[: SHOWN_DECISIONS[name]]]
    totals = {name: len(group) for name, group in groups.items() if group}
    return Decisions(tuple(shown), totals, sum(totals.values()) - len(shown))


def outcome(finding: _Finding) -> str:
    """Returns what a finding means to its reader. A check without a limit to hold against neither passed nor failed."""
    severity = finding.get("severity")
    if severity in ("error", "warning"):
        return "failed" if severity == "error" else "warning"
    return "passed" if finding.get("expected") else "not applied"


def _failed(record: Mapping[str, Any], notes: Sequence[str]) -> Headline:
    culprit: Mapping[str, Any] = next((node for node in record.get("nodes", ()) if node.get("state") == "failed"), {})
    error = str(record.get("error") or culprit.get("error") or "The run left no error message; its log may say more.")
    first, _, rest = error.strip().partition("\n")
    reason = shorten(first, REASON_LENGTH)
    where = f"Failed in {culprit['id']}" if culprit else "Failed"
    detail = rest if reason == first else error
    return Headline("bad", where, reason, shorten(detail.strip(), ERROR_LENGTH), tuple(notes))


def _rejected(verdict: Mapping[str, Any] | None, findings: Sequence[_Finding], notes: Sequence[str]) -> Headline:
    judged = verdict["findings"] if verdict else findings
    errors = [finding for finding in judged if outcome(finding) == "failed"]
    title = "Model rejected" if verdict else "Data rejected"
    kept = "The model was not released." if verdict else "The run stopped before training."
    if not errors:
        return Headline("bad", title, kept, notes=tuple(notes))
    first = shorten(str(errors[0]["message"]).rstrip("."), REASON_LENGTH)
    others = f" ({plural(len(errors), 'check')} failed; this is the first)" if len(errors) > 1 else ""
    return Headline("bad", title, f"{first[:1].upper()}{first[1:]}{others}. {kept}", notes=tuple(notes))


def _succeeded(record: Mapping[str, Any], verdict: Mapping[str, Any] | None, notes: Sequence[str]) -> Headline:
    if verdict is None:
        return Headline("plain", "Finished", "Every node that was asked for ran; no model was judged.", notes=tuple(notes))
    totals = decisions(verdict["findings"]).totals
    passed, idle = totals.get("passed", 0), totals.get("not applied", 0)
    reason = f"{plural(passed, 'check')} passed"
    reason += f", {idle:,} had nothing to compare with or too few rows." if idle else ", none failed."
    if pushed := record.get("pushed"):
        return Headline(
            "good", "Blessed and pushed", f"{reason} Version {pushed['version']} is ready to serve.", notes=tuple(notes)
        )
    return Headline("good", "Blessed, not pushed", f"{reason} No version was pushed.", notes=tuple(notes))
