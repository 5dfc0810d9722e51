"""Removes personal data from text that is about to be stored.

    redact("mail ann@example.org or call +49 30 1234567")            # "mail [email] or call [phone]"
    Redactor(("email", "card")).redact(text)

Patterns, with a check where the kind of data has one (checksums of cards and IBANs, addresses that parse). They find what has a
form; names and street addresses have none. When in doubt something is removed: a long order number looks like a phone number.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable


def _is_iban(text: str) -> bool:
    """ISO 7064: moved and read as one number, it leaves 1 modulo 97."""
    rearranged = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1


def _is_card(text: str) -> bool:
    """Luhn's checksum."""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _without_iban(found: re.Match[str]) -> str:
    """The match with the IBAN it starts with replaced: it may have swallowed the beginning of what follows."""
    text = found[0]
    for end in range(len(text), 14, -1):
        compact = re.sub(r"[ -]", "", text[:end])
        if 15 <= len(compact) <= 34 and text[end - 1] not in " -" and _is_iban(compact):
            return "[iban]" + text[end:]
    return text


def _replaced_if(check: Callable[[str], bool], name: str) -> Callable[[re.Match[str]], str]:
    return lambda found: f"[{name}]" if check(found[0]) else found[0]


_DATE = re.compile(r"(?:19|20)\d\d[-./]\d\d?[-./]\d\d?(?:[ T]\d\d?)?|\d\d?[-./]\d\d?[-./](?:19|20)\d\d")
_DIGIT = re.compile(r"\d")
_IPV4 = r"\d{1,3}(?:\.\d{1,3}){3}"

# In the order they are applied: a URL may hold an address, a card number looks like a phone number.
_PATTERNS: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = {
    "url": (
        re.compile(r"(?:\b(?:https?|ftps?|file)://|\bwww\.)[^\s<>\"]{1,2000}", re.IGNORECASE),
        lambda found: "[url]",
    ),
    "email": (
        re.compile(r"(?<![\w.%+'-])[\w.%+'-]+@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}"),
        lambda found: "[email]",
    ),
    "iban": (
        re.compile(r"(?<![^\W_])[a-z]{2}\d{2}(?:[ -]?[a-z0-9]){11,30}", re.IGNORECASE | re.ASCII),
        _without_iban,
    ),
    "card": (re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)", re.ASCII), _replaced_if(_is_card, "card")),
    "ip": (
        re.compile(
            rf"(?<![\w.]){_IPV4}(?![\w]|\.\d)|(?<![\w:])(?:[0-9a-f]{{0,4}}:){{2,7}}(?:{_IPV4}|[0-9a-f]{{0,4}})(?![\w:])",
            re.IGNORECASE | re.ASCII,
        ),
        _replaced_if(_is_address, "ip"),
    ),
    "phone": (
        re.compile(r"(?<![\w+])\+?\(?\d(?:[ ().\-/\u00a0]{0,3}\d){6,14}(?!\w)"),
        lambda found: found[0] if _DATE.fullmatch(found[0]) else "[phone]",
    ),
}
KINDS = tuple(_PATTERNS)


class Redactor:
    """Replaces chosen kinds of personal data by their names in brackets."""

    def __init__(self, kinds: Iterable[str] = KINDS):
        """A redactor.

        Args:
            kinds: Of `KINDS`.

        Raises:
            ValueError: There is no such kind.
        """
        chosen = set(kinds)
        if unknown := chosen - _PATTERNS.keys():
            raise ValueError(f"no such kind of personal data: {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
        self._patterns = [pattern for kind, pattern in _PATTERNS.items() if kind in chosen]

    def redact(self, text: str) -> str:
        """The text without personal data."""
        # Most texts hold none of these, and looking for one character takes no time.
        if "@" in text or "." in text or ":" in text or _DIGIT.search(text):
            for pattern, replacement in self._patterns:
                text = pattern.sub(replacement, text)
        return text


def redact(text: str) -> str:
    """The text without personal data of any kind in `KINDS`."""
    return _EVERYTHING.redact(text)


_EVERYTHING = Redactor()
