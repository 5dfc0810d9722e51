"""What finds personal data: one interface for patterns, word lists and trained taggers."""

from __future__ import annotations

import abc
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Sequence

from serving.redaction.spans import Span


@dataclasses.dataclass(frozen=True, slots=True)
class Trigger:
    """What a text must have for a detector to look at it: cheap to see, in one text or in a column of a million.

    Attributes:
        digits: At least so many ASCII digits.
        stems: At least one of these, without regard to case; none for any text.
        form: Something that this matches, without regard to case, in the syntax that RE2 and Python share; empty for any text. Many
            texts have a few digits, and most of them nothing else of a number that is mostly letters.
    """

    digits: int = 0
    stems: tuple[str, ...] = ()
    form: str = ""

    def fires(self, lowered: str, digits: int) -> bool:
        """Says it of a text in plain form and lower case that has so many digits."""
        if digits < self.digits or (self.form and not _compiled_form(self.form).search(lowered)):
            return False
        for stem in self.stems:  # a loop, as any() with a generator takes twice as long and this is asked of every text
            if stem in lowered:
                return True
        return not self.stems

    def re2(self) -> tuple[str, ...]:
        """RE2 patterns all of which a text matches if the trigger fires."""
        patterns = []
        if self.digits:
            patterns.append("[0-9]" + "[^0-9]*[0-9]" * (self.digits - 1))
        if self.stems:
            patterns.append(f"(?i)(?:{'|'.join(map(re.escape, self.stems))})")
        if self.form:
            patterns.append(f"(?i)(?:{self.form})")
        return tuple(patterns)


@functools.cache
def _compiled_form(form: str) -> re.Pattern[str]:
    return re.compile(form, re.IGNORECASE)


class Detector(abc.ABC):
    """Finds personal data.

    Attributes:
        name: Names it in rules.
        entities: What it finds.
        trigger: Texts in plain form without it have nothing to find.
        repeats: Whether it is asked again about what is left of a text once everything found is removed. Patterns are, since what
            was removed may have hidden something; what judges a text as a whole is not.
    """

    name: str
    entities: tuple[str, ...]
    trigger: Trigger = Trigger()
    repeats: bool = False

    @abc.abstractmethod
    def find_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """Finds it in several texts in plain form; `FILLER` in them is data that was removed before."""

    def find(self, text: str) -> list[Span]:
        """Finds it in one."""
        return self.find_all([text])[0]

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Gives back what it holds besides memory, such as a model that is loaded."""


Check = Callable[[str], bool]


class PatternDetector(Detector):
    """Finds what has a form, by a regular expression and perhaps a check of what it found.

    Expressions are compiled when they are first needed: most programs that import this never use most of them.
    """

    repeats = True

    def __init__(
        self,
        name: str,
        entity: str,
        pattern: str,
        *,
        priority: int,
        trigger: Trigger,
        check: Check | None = None,
        choose: Callable[[re.Match[str]], tuple[int, int] | None] | None = None,
        starts_with_stem: bool = False,
    ):
        """A detector.

        Args:
            name: Names it in rules.
            entity: What it finds.
            pattern: With a group `value`, that is what is found; without, the whole match. Matched without regard to case. Takes time
                linear in the text: repetitions are bounded or possessive, or cannot start again inside of what they passed.
            priority: See Span.
            trigger: See Detector.
            check: Says whether the value, without anything but letters and digits and in upper case, is one.
            choose: In place of both: the part of a match that is found, None for none.
            starts_with_stem: Whether whatever the pattern matches begins with one of the trigger's stems. Then it is tried there only,
                which is many times faster where it is long and its stems are rare.
        """
        self.name, self.entities, self.trigger = name, (entity,), trigger
        self._pattern, self._priority, self._check, self._choose = pattern, priority, check, choose
        self._starts_with_stem = starts_with_stem

    @functools.cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self._pattern, re.IGNORECASE)

    def find_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """See the base class."""
        return [self.find(text) for text in texts]

    def find(self, text: str) -> list[Span]:
        """See the base class."""
        spans = []
        for found in self._matches_at_stems(text) if self._starts_with_stem else self._compiled.finditer(text):
            if (place := self._place(found)) is not None:
                spans.append(Span(*place, self.entities[0], self.name, self._priority))
        return spans

    def _matches_at_stems(self, text: str) -> Iterator[re.Match[str]]:
        lowered, match, end = text.lower(), self._compiled.match, 0
        for start in sorted({start for stem in self.trigger.stems for start in _places(stem, lowered)}):
            if start >= end and (found := match(text, start)):
                yield found
                end = found.end()

    def _place(self, found: re.Match[str]) -> tuple[int, int] | None:
        if self._choose is not None:
            return self._choose(found)
        place = found.span("value") if "value" in self._compiled.groupindex else found.span()
        if self._check is not None and not self._check(compact(found.string[slice(*place)])):
            return None
        return place


def _places(stem: str, text: str) -> Iterator[int]:
    start = text.find(stem)
    while start >= 0:
        yield start
        start = text.find(stem, start + 1)


def compact(value: str) -> str:
    """A value's letters and digits, in upper case."""
    return "".join(filter(str.isalnum, value)).upper()
