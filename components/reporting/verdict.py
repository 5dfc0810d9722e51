"""The top of the report: how a run ended and why, and the decisions behind it."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.reporting.formats import is_interval, is_number, plural, shorten

REASON_LENGTH = 400
ERROR_LENGTH = 4000
# Failures are what a reader looks for; of what passed, enough to see what was looked at.
SHOWN_DECISIONS = {"failed": 200, "warning": 100, "passed": 150, "too small": 40, "not applied": 40}
# More than this of what needs nobody's attention is folded away.
UNFOLDED = 12
_OUTCOMES = {"fail": "failed", "warn": "warning", "pass": "passed", "too small": "too small", "not applied": "not applied"}
# How a rule about all values of a segment names them.
_ANY_VALUE = "*"
_LIMIT = re.compile(r"(?P<sign>[<>])=?\s*(?P<value>[+-]?\d+(\.\d+)?(e-?\d+)?)")

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
class LimitMark:
    """Where a value stands to its limit, which is in the middle of the drawing. Places are in percent of its width.

    Attributes:
      bad: The side of the limit that is forbidden: `left` or `right`.
      at: The value.
      low, length: Its interval; a length of 0 is none.
    """

    bad: str
    at: float
    low: float
    length: float


@dataclasses.dataclass(frozen=True)
class Decision:
    """One finding with its outcome.

    Attributes:
      outcome: `failed`, `warning`, `passed`, `too small` (too few rows) or `not applied` (nothing to compare with).
      check: The rule.
      subject: What it was applied to; empty for everything.
      of_slice: Whether that is a part of the rows.
      n: Test rows; None where rows do not count.
      value, interval: What was measured, None where it is not a number.
      signed: Whether that is a difference.
      observed, expected: What was seen and the limit, as text.
      message: Why.
      mark: The value beside its limit, None where one of them is missing.
    """

    outcome: str
    check: str
    subject: str
    of_slice: bool
    n: int | None
    value: Any
    interval: Sequence[float] | None
    signed: bool
    observed: str
    expected: str
    message: str
    mark: LimitMark | None


@dataclasses.dataclass(frozen=True)
class Decisions:
    """Decisions, failures first.

    Attributes:
      shown: Those to see at once.
      folded: Those to see on demand: of slices, where many passed or could not be applied.
      totals: How many there are of each outcome that occurs, also of those not shown.
      folded_totals: How many of each outcome are folded.
      left_out: How many are neither shown nor folded.
    """

    shown: tuple[Decision, ...]
    folded: tuple[Decision, ...]
    totals: Mapping[str, int]
    folded_totals: Mapping[str, int]
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
        groups[outcome(finding)].append(_decision(finding))
    kept = {name: group[: SHOWN_DECISIONS[name]] for name, group in groups.items()}
    urgent = [*kept.pop("failed"), *kept.pop("warning")]
    calm = [decision for group in kept.values() for decision in group]
    folded = [decision for decision in calm if decision.of_slice] if len(calm) > UNFOLDED else []
    shown = [*urgent, *(decision for decision in calm if not (folded and decision.of_slice))]
    return Decisions(
        shown=tuple(shown),
        folded=tuple(folded),
        totals={name: len(group) for name, group in groups.items() if group},
        folded_totals=collections.Counter(decision.outcome for decision in folded),
        left_out=sum(map(len, groups.values())) - len(shown) - len(folded),
    )


def outcome(finding: _Finding) -> str:
    """Returns what a finding means to its reader. A check without a limit to hold against neither passed nor failed."""
    if finding.get("outcome") in _OUTCOMES:
        return _OUTCOMES[finding["outcome"]]
    severity = finding.get("severity")
    if severity in ("error", "warning"):
        return "failed" if severity == "error" else "warning"
    return "passed" if finding.get("expected") else "not applied"


def _decision(finding: _Finding) -> Decision:
    value, interval, limit = finding.get("value"), finding.get("interval"), str(finding.get("limit") or "")
    return Decision(
        outcome=outcome(finding),
        check=str(finding.get("rule") or finding.get("check") or ""),
        subject=str(finding.get("subject") or ""),
        of_slice=any(wanted != _ANY_VALUE for wanted in (finding.get("slice") or {}).values()),
        n=finding.get("n"),
        value=value if is_number(value) else None,
        interval=interval if is_interval(interval) else None,
        signed=_signed(limit),
        observed=str(finding.get("observed") or ""),
        expected=limit or str(finding.get("expected") or ""),
        # A rule that passed needs no reason beside value and limit.
        message=str(finding["reason"] if "reason" in finding else finding.get("message") or ""),
        mark=_mark(value, interval, limit),
    )


def _signed(limit: str) -> bool:
    parsed = _LIMIT.match(limit)
    return parsed is not None and parsed["value"][0] in "+-"


def _mark(value: Any, interval: Any, limit: str) -> LimitMark | None:
    parsed = _LIMIT.match(limit)
    if not parsed or not is_number(value):
        return None
    middle = float(parsed["value"])
    low, high = interval if is_interval(interval) else (value, value)
    # Room for the farthest point, with a margin; a value that is its limit stands in the middle of any scale.
    reach = 1.15 * max(abs(place - middle) for place in (value, low, high)) or 1.0

    def at(place: float) -> float:
        return round(50 + 50 * (place - middle) / reach, 1)

    return LimitMark("left" if parsed["sign"] == ">" else "right", at(value), at(low), round(at(high) - at(low), 1))


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
    passed, idle = totals.get("passed", 0), totals.get("not applied", 0) + totals.get("too small", 0)
    reason = f"{plural(passed, 'check')} passed"
    reason += f", {idle:,} had nothing to compare with or too few rows." if idle else ", none failed."
    if pushed := record.get("pushed"):
        return Headline(
            "good", "Blessed and pushed", f"{reason} Version {pushed['version']} is ready to serve.", notes=tuple(notes)
        )
    return Headline("good", "Blessed, not pushed", f"{reason} No version was pushed.", notes=tuple(notes))
