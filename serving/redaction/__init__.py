"""Removes personal data from text that is about to be stored.

    redact("mail ann@example.org or call +49 30 1234567")            # "mail [email] or call [phone]"
    Redactor(("email", "card")).redact(text)
    Redactor(RedactionRules.loads(file)).redact(text)                # what a model was trained with

Detectors find it, rules say which of it goes and what takes its place. Patterns are here, with a check where the kind of data has one
(check digits of cards, accounts and identity numbers, addresses that parse), and words that introduce what has no form of its own. Names
and street addresses have neither: `tagger` finds them with a trained model, and `words` finds what a list holds. When in doubt something
is removed: a long order number looks like a phone number. Numbers that nothing introduces, as people answer with in chats, go only if
`number` is asked for. Columns that are no text have rules of their own, see `categories`.

The patterns are not Presidio's. They have to find the same in training, in a server and in a client that has neither spaCy nor TensorFlow,
say beforehand which texts they need not look at, so that a column is screened in C++, and find numbers however people write them. Beside
Presidio's default recognisers they find the same or more on sentences that no rule was chosen on, and more of what people type in chats, in
a seventh of the time (figures and the command: benchmarks/README.md).
"""

from __future__ import annotations

import functools

from serving.redaction.detectors import Detector, PatternDetector, Trigger
from serving.redaction.plain_form import UNUSUAL_RE2
from serving.redaction.redactor import MASK, MissingDetectorError, Redactor
from serving.redaction.rules import (
    DETECTORS,
    ENTITIES,
    FILE,
    GROUPS,
    DetectorFile,
    EntityRule,
    MissingKeyError,
    Mode,
    RedactionRules,
    expand,
)
from serving.redaction.spans import FILLER, Span

__all__ = [
    "DETECTORS",
    "ENTITIES",
    "FILE",
    "FILLER",
    "GROUPS",
    "KINDS",
    "MASK",
    "Detector",
    "DetectorFile",
    "EntityRule",
    "MissingDetectorError",
    "MissingKeyError",
    "Mode",
    "PatternDetector",
    "RedactionRules",
    "Redactor",
    "Span",
    "Trigger",
    "UNUSUAL_RE2",
    "expand",
    "redact",
]

KINDS = GROUPS["patterns"]
"""What `redact` removes."""


def redact(text: str) -> str:
    """The text without personal data of any kind in `KINDS`."""
    return _everything().redact(text)


@functools.cache
def _everything() -> Redactor:
    return Redactor(KINDS)
