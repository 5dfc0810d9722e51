"""What is left of single code points where case, width, digits' script, punctuation and symbols do not count.

Unicode's normalisation looks at neighbours, but hardly any text needs it to: where every code point has one counterpart, and no mark
could join the letter before it or change places with another mark, normalising the text is looking up its code points in a table. Such
texts are mapped a buffer at a time; the few others are told apart, and left to the libraries that take them one by one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

GAP = ord(" ")

# Whatever is no letter, mark or number. Marks are letters' vowels in many scripts.
NO_WORD = r"[^\p{L}\p{M}\p{N}]+"

_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")

# The planes in which living scripts and emoji are; what is beyond them is told apart.
_CODES = 0x20000
_PAGE = 256
# Vowels and final consonants of Korean, which Unicode joins to the consonants before them by a rule of its own.
_KOREAN = frozenset([*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)])
# What an entry holds, and two classes that Unicode, whose highest is 240, does not know: of code points that depend on their neighbours,
# and of those nobody has asked for yet.
_COUNTERPART, _CLASS_PLACE = 0xFFFFFF, 24
_ODD, _UNKNOWN = 255, 254


def plain_letters(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps code points: NFKC, lower case, digits of any script as ASCII ones, `GAP` for what is no part of a word.

    Args:
      codes: uint32, code points of texts one after another.

    Returns:
      uint32, their counterparts, and bool, true for those whose text must not be mapped: it takes more than one look at a time.
    """
    found = _table().look_up(codes)
    counterparts, odd = found & _COUNTERPART, np.zeros(len(codes), bool)
    # Few code points are marks in most scripts.
    special = np.flatnonzero(found > _COUNTERPART)
    classes = found[special] >> _CLASS_PLACE
    odd[special[classes == _ODD]] = True
    # Marks stand in the order of their classes. One that begins a text is compared with the end of the one before, which at worst
    # tells a text apart that need not be.
    behind = special > 0
    odd[special[behind]] |= found[special[behind] - 1] >> _CLASS_PLACE > classes[behind]
    return counterparts, odd


def ascii_digits(text: str) -> str:
    """Writes the digits of any script as ASCII ones."""
    return _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text)


class _Table:
    """Counterparts by code point, made by pages as texts ask for them: one table holds few scripts, and all of them take a second.

    An entry is the counterpart and, above `_CLASS_PLACE`, its canonical combining class, `_ODD` or `_UNKNOWN`.
    """

    def __init__(self) -> None:
        # One entry more stands for all code points beyond.
        self._entries = np.full(_CODES + 1, _UNKNOWN << _CLASS_PLACE, np.uint32)
        self._entries[_CODES] = _ODD << _CLASS_PLACE

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """Returns the entries of code points. Several threads may ask at once: what one makes twice it makes the same."""
        found = self._entries.take(codes, mode="clip")
        unknown = found >> _CLASS_PLACE == _UNKNOWN
        if not unknown.any():
            return found
        for page in np.unique(codes[unknown] // _PAGE):
            first = int(page) * _PAGE
            self._entries[first : first + _PAGE] = _entries(range(first, first + _PAGE))
        return self._entries.take(codes, mode="clip")


def _entries(codes: Sequence[int]) -> list[int]:
    forms = [_normal(code) for code in codes]
    # The very steps that other texts go through, so that both ways agree.
    lowered = pc.utf8_lower(pa.array([form or "" for form in forms], pa.string()))
    plain = pc.replace_substring_regex(lowered, NO_WORD, " ").to_pylist()
    made = []
    for form, text in zip(forms, plain, strict=True):
        if form is None or len(text) != 1:
            made.append(_ODD << _CLASS_PLACE)
        else:
            group = unicodedata.combining(form) if len(form) == 1 else 0
            made.append(ord(ascii_digits(text)) | group << _CLASS_PLACE)
    return made


def _normal(code: int) -> str | None:
    """The NFKC form of a code point, None if it depends on the neighbours."""
    character = chr(code)
    if unicodedata.category(character) in ("Cn", "Co", "Cs"):
        return None
    form = unicodedata.normalize("NFKC", character)
    if any(ord(part) in _joining() for part in form):
        return None
    # Several that are no part of a word are one gap, as long as no mark is among them.
    return form if len(form) == 1 or not any(unicodedata.category(part)[0] in "LMN" for part in form) else None


@functools.cache
def _joining() -> frozenset[int]:
    """Code points that may become one with the one before."""
    found = set(_KOREAN)
    for code in range(128, _CODES):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(int(parts[1], 16))
    return frozenset(found)


@functools.cache
def _table() -> _Table:
    return _Table()
