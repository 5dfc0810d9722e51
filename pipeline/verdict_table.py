"""A verdict as a table for terminals: what failed first, what many slices have in common folded into a line."""

from __future__ import annotations

import collections
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WORDS = {"fail": "FAIL", "warn": "warn", "pass": "pass", "too small": "too small", "not applied": "not applied"}
_MORE = {
    "fail": "failed", "warn": "are warnings", "pass": "passed", "too small": "are too small", "not applied": "had nothing to compare with",
}  # fmt: skip
_OF_SEVERITY = {"error": "fail", "warning": "warn", "info": "pass"}
# Rows of one rule with one outcome; failures are what a reader looks for.
_SHOWN = {"fail": 20, "warn": 6, "pass": 3, "too small": 3, "not applied": 3}
_HEADER = ("outcome", "rule", "slice", "n", "value", "interval", "limit")
_RIGHT = frozenset({"n", "value"})
_WIDEST = {"rule": 44, "slice": 32}
_NARROW, _WIDE, _NOT_A_TERMINAL = 80, 140, 120
_GAP = "  "

_Finding = Mapping[str, Any]


def lines(findings: Iterable[_Finding], *, urgent_only: bool = False, width: int | None = None) -> list[str]:
    """Returns the findings of a verdict as lines of text, with a header; of slices, the worst of each rule.

    Args:
      findings: `findings` of verdict.json. Those of the data gate, which have no rule, become a line each, the worst first.
      urgent_only: Leave out what passed, was too small or not applied, but for a line that counts it.
      width: How wide the table may be; that of the terminal if None.
    """
    findings = list(findings)
    if any("outcome" not in finding for finding in findings):
        return _without_rules(findings, urgent_only)
    groups = {outcome: [finding for finding in findings if finding["outcome"] == outcome] for outcome in _WORDS}
    calm = {outcome: groups.pop(outcome) for outcome in ("pass", "too small", "not applied") if urgent_only}
    entries = [entry for outcome, group in groups.items() for entry in _folded(outcome, group)]
    shown = [entry for entry in entries if not isinstance(entry, str)]
    rows = {id(finding): _row(finding) for finding in shown}
    widths = [max(map(_cells, column)) for column in zip(_HEADER, *rows.values(), strict=True)]
    indent = " " * (widths[0] + len(_GAP))
    width = width or min(max(shutil.get_terminal_size((_NOT_A_TERMINAL, 0)).columns, _NARROW), _WIDE)
    text = [_line(_HEADER, widths)] if shown else []
    for entry in entries:
        if isinstance(entry, str):
            text.append(indent + entry)
        else:
            text += _with_reason(_line(rows[id(entry)], widths), entry, indent, width)
    counts = [f"{len(group)} {_MORE[outcome]}" for outcome, group in calm.items() if group]
    return [*text, f"{'and ' if text else ''}{', '.join(counts)}"] if counts else text


def _without_rules(findings: Sequence[_Finding], urgent_only: bool) -> list[str]:
    worst_first = sorted(findings, key=lambda finding: list(_OF_SEVERITY).index(finding["severity"]))
    return [
        f"{_WORDS[_OF_SEVERITY[finding['severity']]]}  {_printable(finding['message'])}"
        for finding in worst_first
        if not urgent_only or finding["severity"] != "info"
    ]


def _folded(outcome: str, findings: Sequence[_Finding]) -> Iterable[_Finding | str]:
    """The findings of one outcome, rule by rule, and a line of text for those a rule has too many of."""
    by_rule: dict[str, list[_Finding]] = collections.defaultdict(list)
    for finding in findings:
        by_rule[finding["rule"]].append(finding)
    for group in by_rule.values():
        ranked = sorted(group, key=_margin)
        # One line about one slice is no longer than the slice itself.
        limit = len(ranked) if len(ranked) == _SHOWN[outcome] + 1 else _SHOWN[outcome]
        yield from ranked[:limit]
        if (more := len(ranked) - limit) > 0:
            yield f"and {more} more slices {_MORE[outcome]}"


def _margin(finding: _Finding) -> float:
    """Orders the findings of one rule, the worst value first."""
    if finding["value"] is None:
        return float("-inf")
    return finding["value"] if finding["limit"].startswith(">") else -finding["value"]


def _row(finding: _Finding) -> tuple[str, ...]:
    # What is held against the baseline is a difference.
    sign = "+" if " baseline " in finding["rule"] else ""
    n, value, interval = finding["n"], finding["value"], finding["interval"]
    return (
        _WORDS[finding["outcome"]],
        _shortened(finding["rule"], _WIDEST["rule"]),
        _shortened(finding["subject"] or "all rows", _WIDEST["slice"]),
        "" if n is None else f"{n:,}",
        "" if value is None else f"{value:{sign}.4f}",
        "" if interval is None else f"[{interval[0]:{sign}.4f}, {interval[1]:{sign}.4f}]",
        finding["limit"],
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for name, cell, width in zip(_HEADER, cells, widths, strict=True):
        space = " " * (width - _cells(cell))
        padded.append(space + cell if name in _RIGHT else cell + space)
    return _GAP.join(padded).rstrip()


def _with_reason(line: str, finding: _Finding, indent: str, width: int) -> list[str]:
    """Adds why, where a reader asks for it: beside the row if there is room, otherwise below it."""
    reason = "" if finding["outcome"] == "pass" else _printable(finding["reason"])
    if not reason:
        return [line]
    if _cells(line) + len(_GAP) + _cells(reason) <= width:
        return [line + _GAP + reason]
    return [line, *textwrap.wrap(reason, width, initial_indent=indent, subsequent_indent=indent)]


def _shortened(text: str, most: int) -> str:
    text = _printable(text)
    if _cells(text) <= most:
        return text
    while _cells(text) > most - 1:
        text = text[:-1]
    return text + "…"


def _printable(text: str) -> str:
    """Class names and slice values come from data; what moves a terminal's cursor is shown as a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _cells(text: str) -> int:
    """How many columns a terminal takes for a text."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
