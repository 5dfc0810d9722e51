"""Where personal data stands in a text, and what becomes of spans that overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

FILLER = "\ufffc"
"""Stands for a character that is removed already: no letter, no digit, no space, part of no pattern."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Personal data in a text.

    Attributes:
        start, end: Offsets of its first character and of the one behind its last, in characters (code points).
        entity: What it is, e.g. `email`.
        detector: Who found it.
        priority: Of overlapping spans, which one gives the name; more is stronger.
    """

    start: int
    end: int
    entity: str
    detector: str = ""
    priority: int = 0


def resolve(spans: Iterable[Span], text: str) -> list[Span]:
    """Makes spans disjoint without giving up a character that any of them covers.

    The stronger span keeps its whole extent (more priority, then longer, then further left); of a weaker one remain the parts outside
    of it that hold a letter or a digit. Characters that are FILLER belong to nobody.

    Args:
        spans: In any order.
        text: What they are in.

    Returns:
        Disjoint spans, by position.
    """
    ordered = sorted(spans, key=lambda span: (-span.priority, span.start - span.end, span.start, span.entity))
    if len(ordered) == 1 and FILLER not in text:
        return ordered
    taken = bytearray(character == FILLER for character in text) if FILLER in text else bytearray(len(text))
    kept = []
    for span in ordered:
        start = span.start
        while (start := taken.find(0, start, span.end)) >= 0:
            end = taken.find(1, start, span.end)
            end = span.end if end < 0 else end
            if (start, end) == (span.start, span.end):
                kept.append(span)
            elif any(map(str.isalnum, text[start:end])):
                kept.append(dataclasses.replace(span, start=start, end=end))
            taken[start:end] = b"\1" * (end - start)
            start = end
    return sorted(kept, key=lambda span: span.start)
