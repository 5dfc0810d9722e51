"""Removes personal data from texts by rules."""

from __future__ import annotations

import bisect
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from serving.redaction.detectors import Detector, Trigger
from serving.redaction.plain_form import PlainForm
from serving.redaction.rules import DETECTORS, ENTITIES, MissingKeyError, Mode, RedactionRules
from serving.redaction.spans import FILLER, Span, resolve

MASK = "####"

_DIGIT = re.compile("[0-9]")

# What is removed may have kept a pattern from matching what stands beside it. Each pass removes at least one character, so passes end;
# this many are more than any text has been seen to need, and a limit to what a hostile one can ask for.
_MOST_PASSES = 8

# Words of addresses are told apart by their signs; numbers are the same however they are grouped.
_SIGNS_COUNT = frozenset({"email", "url", "password", "user_name", "person", "address", "organisation"})


class MissingDetectorError(ValueError):
    """Rules name a detector that is not here."""


class Redactor:
    """Finds and replaces personal data. Thread-safe where its detectors are, as patterns are.

    The same rules do the same to a text alone, in a batch, in training and in serving. What was removed stays as it is when the
    result is redacted again.
    """

    def __init__(
        self,
        rules: RedactionRules | Iterable[str],
        *,
        key: bytes | None = None,
        detectors: Iterable[Detector] = (),
    ):
        """A redactor.

        Args:
            rules: Rules, or just entities that patterns find.
            key: For hashes.
            detectors: Those beside the patterns, such as a trained tagger.

        Raises:
            MissingDetectorError: The rules name one that is not here.
            MissingKeyError: The rules hash, and there is no key.
            ValueError: There is no such entity.
        """
        self.rules = rules if isinstance(rules, RedactionRules) else RedactionRules.of(rules)
        there = {**DETECTORS, **{detector.name: detector for detector in detectors}}
        wanted: dict[str, set[str]] = {}
        for entity, rule in self.rules.entities.items():
            for name in rule.detectors:
                wanted.setdefault(name, set()).add(entity)
        if missing := sorted(wanted.keys() - there.keys()):
            raise MissingDetectorError(f"no detector is called {', '.join(missing)}; there are: {', '.join(there)}")
        if key is None and any(rule.mode is Mode.HASH for rule in self.rules.entities.values()):
            raise MissingKeyError(f"the rules replace personal data by keyed hashes, and their key {self.rules.key} is not here")
        self._detectors = [(there[name], entities) for name, entities in wanted.items()]
        # By the digits they want, so that most texts are done with after the few that want none; many detectors share one.
        by_trigger: dict[Trigger, list[int]] = {}
        for number, (detector, _) in enumerate(self._detectors):
            by_trigger.setdefault(detector.trigger, []).append(number)
        self._triggers = sorted(by_trigger.items(), key=lambda one: one[0].digits)
        self._digits = [trigger.digits for trigger, _ in self._triggers]
        # What a redactor, this or another, has put into a text is not looked at again. Other brackets are people's: "ann [at] example".
        names = "|".join(map(re.escape, {*ENTITIES, *self.rules.entities}))
        self._put_there = re.compile(rf"\[(?:{names})\]|\[[a-z][a-z0-9_]{{0,31}}:[0-9a-f]{{16}}\]|{MASK}")
        self._replacements: dict[str, Callable[[str], str]] = {
            entity: _replacement(entity, rule.mode, key) for entity, rule in self.rules.entities.items()
        }

    @property
    def triggers(self) -> frozenset[Trigger]:
        """What texts have that any detector looks at."""
        return frozenset(trigger for trigger, _ in self._triggers)

    def find(self, text: str) -> list[Span]:
        """Finds personal data: disjoint spans of the text, by position."""
        return self.find_all([text])[0]

    def find_all(self, texts: Sequence[str], fired: Mapping[Trigger, Iterable[int]] | None = None) -> list[list[Span]]:
        """Finds it in several texts.

        Args:
            texts: The texts.
            fired: By trigger, the numbers of the texts it may fire on, where that is known already. More than it fires on do no harm.
        """
        forms = [PlainForm(text) for text in texts]
        left = {row: self._without_placeholders(form.text) for row, form in enumerate(forms)}
        found: list[list[Span]] = [[] for _ in texts]
        asked = self._fired(left) if fired is None else {trigger: list(rows) for trigger, rows in fired.items()}
        for number in range(_MOST_PASSES):
            changed = {}
            for row, spans in self._look(left, asked, again=number > 0).items():
                kept = resolve(spans, left[row])
                if kept:
                    found[row] += kept
                    changed[row] = _filled(left[row], kept)
            left = changed
            if not left:
                break
            asked = _still_fired(left, asked)
        return [_in_original(form, spans) for form, spans in zip(forms, found, strict=True)]

    def redact(self, text: str) -> str:
        """The text without personal data."""
        return self.replace(text, self.find(text))

    def replace(self, text: str, spans: Sequence[Span]) -> str:
        """The text with what the rules put in the place of spans.

        Args:
            text: A text.
            spans: Of `find` for this text.
        """
        if not spans:
            return text
        parts, end = [], 0
        for span in spans:
            parts += [text[end : span.start], self._replacements[span.entity](text[span.start : span.end])]
            end = span.end
        return "".join([*parts, text[end:]])

    def _without_placeholders(self, text: str) -> str:
        if "[" not in text and "#" not in text:
            return text
        return self._put_there.sub(lambda placeholder: FILLER * len(placeholder[0]), text)

    def _fired(self, texts: Mapping[int, str]) -> dict[Trigger, list[int]]:
        """The rows of the texts that each trigger fires on."""
        fired: dict[Trigger, list[int]] = {}
        for row, text in texts.items():
            lowered, digits = text.lower(), _digits(text)
            for trigger, _ in self._triggers[: bisect.bisect_right(self._digits, digits)]:
                if trigger.fires(lowered, digits):
                    fired.setdefault(trigger, []).append(row)
        return fired

    def _look(self, texts: Mapping[int, str], asked: Mapping[Trigger, Sequence[int]], again: bool) -> dict[int, list[Span]]:
        """What detectors find in texts, by row, where they find anything."""
        found: dict[int, list[Span]] = {}
        for trigger, numbers in self._triggers:
            rows = asked.get(trigger, ())
            for detector, entities in (self._detectors[number] for number in numbers if rows):
                if again and not detector.repeats:
                    continue
                for row, spans in zip(rows, detector.find_all([texts[row] for row in rows]), strict=True):
                    wanted = [span for span in spans if span.entity in entities]
                    if wanted:
                        found.setdefault(row, []).extend(wanted)
        return found


def _digits(text: str) -> int:
    return len(_DIGIT.findall(text))


def _still_fired(left: Mapping[int, str], fired: Mapping[Trigger, Iterable[int]]) -> dict[Trigger, list[int]]:
    """Of the triggers, those that still fire on what is left of texts: what was removed can only have taken a reason away."""
    seen = {row: (text.lower(), _digits(text)) for row, text in left.items()}
    return {trigger: [row for row in rows if row in seen and trigger.fires(*seen[row])] for trigger, rows in fired.items()}


def _filled(text: str, spans: Sequence[Span]) -> str:
    parts, end = [], 0
    for span in spans:
        parts += [text[end : span.start], FILLER * (span.end - span.start)]
        end = span.end
    return "".join([*parts, text[end:]])


def _in_original(form: PlainForm, spans: list[Span]) -> list[Span]:
    placed = []
    for span in sorted(spans, key=lambda span: span.start):
        start, end = form.original(span.start, span.end)
        placed.append(Span(start, end, span.entity, span.detector, span.priority))
    return placed


def _replacement(entity: str, mode: Mode, key: bytes | None) -> Callable[[str], str]:
    if mode is Mode.MASK:
        return lambda value: MASK
    if mode is Mode.PLACEHOLDER:
        return lambda value: f"[{entity}]"
    return lambda value: f"[{entity}:{_hash(entity, value, key or b'')}]"


def _hash(entity: str, value: str, key: bytes) -> str:
    """The first 64 bits of the keyed hash of a value: of a billion values, chances are one in 37 that two share them."""
    plain = PlainForm(value).text.casefold()
    if entity not in _SIGNS_COUNT:
        plain = "".join(filter(str.isalnum, plain))
    content = f"{entity}\0{plain}".encode("utf-8", "surrogatepass")
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:16]
