"""Text as detectors read it: one form for what people write in many, character by character.

Full-width and mathematical letters and digits, digits of every script, the many dashes and spaces become their ASCII counterparts;
characters that cannot be seen (zero-width ones, direction marks, soft hyphens, variation selectors) go. Positions are kept, so that
what is found can be removed from the text as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff"
)
_DASHES = "\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d"
_SPACES = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
# İ is here because it has no lower-case form of one character: what looks for words may then fold case as it likes.
_WRITTEN_OTHERWISE = (
    f"{_INVISIBLE}{_DASHES}{_SPACES}\u0130\u2024\u3002\ufe50-\ufe6b\uff01-\uff61\U0001d400-\U0001d7ff\U000e0100-\U000e01ef"
)

UNUSUAL_RE2 = rf"[{_WRITTEN_OTHERWISE}]|[^\P{{Nd}}0-9]"
"""RE2 for what only texts have whose plain form is another."""
_UNUSUAL = re.compile(rf"[{_WRITTEN_OTHERWISE}]|(?![0-9])\d")
_REMOVED = re.compile(rf"[{_INVISIBLE}\U000e0100-\U000e01ef]")
_DASH = re.compile(f"[{_DASHES}]")
_SPACE = re.compile(f"[{_SPACES}]")


def _plain(character: str) -> str:
    """One character's plain form: one character, or none."""
    if _REMOVED.match(character):
        return ""
    if _DASH.match(character):
        return "-"
    if _SPACE.match(character):
        return " "
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if character in "\u2024\u3002\uff61":
        return "."
    if character == "\u0130":
        return "I"
    folded = unicodedata.normalize("NFKC", character) if _UNUSUAL.match(character) else character
    return folded if len(folded) == 1 else character


class _Table(dict[int, str]):
    """For `str.translate`: filled as characters turn up, as going through all of Unicode takes a second."""

    def __missing__(self, code: int) -> str:
        self[code] = plain = _plain(chr(code)) if code > 127 else chr(code)
        return plain


_TABLE = _Table()


class PlainForm:
    """A text in plain form.

    Attributes:
        text: The plain form.
    """

    __slots__ = ("_positions", "text")

    def __init__(self, original: str):
        self.text = original
        self._positions: Sequence[int] | None = None
        if original.isascii() or not _UNUSUAL.search(original):
            return
        self.text = original.translate(_TABLE)
        if len(self.text) != len(original):
            kept = [position for position, character in enumerate(original) if _TABLE[ord(character)]]
            self._positions = kept

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Returns where a non-empty part of the plain form stands in the original; invisible characters inside belong to it."""
        if self._positions is None:
            return start, end
        return self._positions[start], self._positions[end - 1] + 1
