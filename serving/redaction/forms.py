"""What shows its nature by its form alone: addresses of mail, pages and machines, cards, accounts and phone numbers."""

from __future__ import annotations

import ipaddress
import re

from serving.redaction import checksums
from serving.redaction.detectors import PatternDetector, Trigger, compact

# Letters of scripts that put spaces between words; in the others a pattern would swallow the sentence around it.
_LETTER = r"[^\W\d_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
_WORD = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"

_SIGN = rf"(?:{_WORD}|[.%+'-])"
_LABEL = rf"(?:{_WORD}|-){{1,63}}"

EMAIL = PatternDetector(
    "email_address",
    "email",
    rf"(?<!{_SIGN}){_SIGN}++@{_LABEL}(?:\.{_LABEL}){{0,7}}\.(?:xn--[a-z0-9-]{{1,59}}|{_LETTER}{{2,24}}(?!{_LETTER}))",
    priority=95,
    trigger=Trigger(stems=("@",)),
)

# "ann [at] example [dot] org", "ann(at)example.org", "ann at example dot org": a bare "at" is a word, so its dot must be spelled too.
_AT_WORDS = ("at", "ät", "arroba", "chiocciola", "arobase")
_DOT_WORDS = ("dot", "punkt", "punto", "ponto", "point")
_AT, _DOT = "|".join(_AT_WORDS), "|".join(_DOT_WORDS)
_MARKED_AT, _MARKED_DOT = rf"\s?[\[({{<]\s?(?:{_AT})\s?[\])}}>]\s?", rf"(?:\s?[\[({{<]\s?(?:{_DOT})\s?[\])}}>]\s?|\s(?:{_DOT})\s)"
_MAIL_ENDING = (
    r"(?:com|org|net|edu|gov|info|biz|io|me|eu|de|fr|es|it|nl|pl|pt|ru|ch|at|be|se|dk|no|fi|in|uk|us|ca|au|br|mx|jp|cn)(?![\w-])"
)
# Without those that are words: "look at this point in time".
_SAFE_MAIL_ENDING = r"(?:com|org|net|edu|gov|info|biz|io|eu|de|fr|nl|pl|ru|ch|uk|br|mx|jp|cn)(?![\w-])"
EMAIL_SPELLED = PatternDetector(
    "email_spelled",
    "email",
    rf"(?<![\w.+-])[\w+-]{{1,64}}(?:(?:\.|{_MARKED_DOT})[\w+-]{{1,64}}){{0,3}}?(?:"
    rf"{_MARKED_AT}[\w-]{{1,63}}(?:(?:{_MARKED_DOT}|\.)[\w-]{{1,63}}){{0,3}}?(?:{_MARKED_DOT}|\.){_MAIL_ENDING}"
    rf"|\s(?:{_AT})\s[\w-]{{1,63}}(?:{_MARKED_DOT}[\w-]{{1,63}}){{0,3}}?{_MARKED_DOT}{_SAFE_MAIL_ENDING})",
    priority=94,
    trigger=Trigger(
        stems=(
            *(f"{bracket}{space}{word}" for word in _AT_WORDS for bracket in "[({<" for space in ("", " ")),
            *(f" {word} " for word in _DOT_WORDS),
        )
    ),
)

# What is left of an address where punctuation was lost, as in transcripts: "ann 12 gmailcom", "anngmail.com".
_MAIL_HOSTS = "gmail|googlemail|yahoo|ymail|rocketmail|hotmail|outlook|icloud|aol|gmx|protonmail|rediffmail|comcast"
_LOST = r"(?:\.?(?:com|net|org|couk|co\.uk)|(?<=yahoo|gmail)\.?in|(?<=gmx)\.?(?:de|fr|it|es))(?![\w-])"
EMAIL_TRANSCRIBED = PatternDetector(
    "email_transcribed",
    "email",
    rf"(?<![\w.@+-])(?:[\w.+-]{{1,64}}?(?:{_MAIL_HOSTS}|mail|gamil|gmial){_LOST}"
    rf"|[\w.+-]{{1,64}}\s(?:[0-9]{{1,8}}\s)?(?:{_MAIL_HOSTS}){_LOST})",
    priority=93,
    trigger=Trigger(stems=("mail", "yahoo", "outlook", "icloud", "aol", "gmx", "comcast", "gamil", "gmial")),
)

URL = PatternDetector(
    "url_with_scheme",
    "url",
    r"(?:(?<![a-z0-9])(?:https?|ftps?|sftp|file|wss?)://|(?<![a-z0-9@.-])www\.)[^\s<>\"\ufffc]{1,2000}(?<![.,;:!?'\")\]}])",
    priority=100,
    trigger=Trigger(stems=("http", "ftp", "sftp", "file:", "ws:", "wss:", "www.")),
    starts_with_stem=True,
)
# Endings of names of hosts that stand alone. Not in them: endings of the names of files (py, md, sh).
_HOST_ENDINGS = (
    "com|org|net|edu|gov|mil|info|biz|io|dev|app|xyz|online|shop|site|store|eu|uk|fr|nl|pl|ru|cz|dk|fi|ch|pt|gr|hu|ro|bg|ua|jp|cn|kr|br"
    "|mx|au|nz|za|ie|il|tr|tw|hk|sg|ar|cl|at|be|ca|co|de|es|in|it|is|me|no|se|so|to|tv|us"
)
# Also words, which may follow a full stop and a forgotten space ("done.in fact"): these need more than one dot, or a path.
_WORDS_TOO = frozenset(["at", "be", "ca", "co", "de", "es", "in", "it", "is", "me", "no", "se", "so", "to", "us"])


def _host(found: re.Match[str]) -> tuple[int, int] | None:
    labels = found["host"].lower().split(".")
    certain = labels[-1] not in _WORDS_TOO or len(labels) > 2 or found["path"] or any("-" in label for label in labels)
    return found.span() if certain and not labels[0].isdecimal() else None


URL_BARE = PatternDetector(
    "url_bare",
    "url",
    rf"(?<![\w@.\-/])(?P<host>(?:[a-z0-9][a-z0-9-]{{0,62}}\.){{1,5}}(?:{_HOST_ENDINGS}))(?![\w@-]|\.\w)"
    r"(?P<path>(?::[0-9]{1,5})?[/?#][^\s<>\"\ufffc]{0,2000}(?<![.,;:!?'\")\]}]))?",
    priority=90,
    trigger=Trigger(stems=tuple(f".{ending}" for ending in _HOST_ENDINGS.split("|"))),
    choose=_host,
)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_OCTETS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
IP_V4 = PatternDetector(
    "ip_v4",
    "ip",
    rf"(?<![a-z0-9.])(?<!version )(?<!release ){_OCTETS}(?![a-z0-9]|\.[0-9])",
    priority=75,
    trigger=Trigger(digits=4, stems=(".",)),
    choose=lambda found: found.span() if _is_address(found[0]) else None,
)
IP_V6 = PatternDetector(
    "ip_v6",
    "ip",
    rf"(?<![a-z0-9:])(?:[0-9a-f]{{0,4}}:){{2,7}}(?:{_OCTETS}|[0-9a-f]{{0,4}})(?![a-z0-9:])",
    priority=75,
    trigger=Trigger(form=":[0-9a-f]{0,4}:"),
    # "::" is an address, and no one's.
    choose=lambda found: found.span() if len(found[0]) > 2 and _is_address(found[0]) else None,
)
MAC = PatternDetector(
    "mac_address",
    "mac",
    r"(?<![a-z0-9:-])[0-9a-f]{2}(?P<between>[:-])(?:[0-9a-f]{2}(?P=between)){4}[0-9a-f]{2}(?![a-z0-9:-])",
    priority=80,
    trigger=Trigger(form="[0-9a-f]{2}[:-][0-9a-f]{2}[:-]"),
)


def _iban(found: re.Match[str]) -> tuple[int, int] | None:
    """The IBAN a match starts with: it may have swallowed the beginning of what follows."""
    value = compact(found[0])
    length = checksums.IBAN_LENGTHS.get(value[:2], 0)
    if not length or len(value) < length or not checksums.iban(value[:length]):
        return None
    end, seen = found.start(), 0
    while seen < length:
        seen += found.string[end].isalnum()
        end += 1
    return found.start(), end


IBAN = PatternDetector(
    "iban",
    "iban",
    r"(?<![a-z0-9])[a-z]{2}[0-9]{2}(?:[ .\-]?[a-z0-9]){11,31}",
    priority=90,
    trigger=Trigger(digits=6),
    choose=_iban,
)


def _card(found: re.Match[str]) -> tuple[int, int] | None:
    """The longest card number a match begins with: it may have swallowed what follows, such as the month it expires."""
    text = found[0]
    ends = [end for end in range(len(text), 12, -1) if text[end - 1].isdecimal() and not text[end : end + 1].isdecimal()]
    for end in ends:
        number = compact(text[:end])
        if len(number) >= 13 and len(set(number)) > 1 and checksums.luhn(number):
            return found.start(), found.start() + end
    return None


CARD = PatternDetector(
    "card_number",
    "card",
    r"(?<![0-9])(?<![0-9][.,])[0-9](?:[ .\-]?[0-9]){12,18}(?![0-9])",
    priority=85,
    trigger=Trigger(digits=13),
    choose=_card,
)

DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-./][0-9]{1,2}[-./][0-9]{1,2}(?:[ T][0-9]{1,2})?|[0-9]{1,2}[-./][0-9]{1,2}[-./](?:19|20)[0-9]{2}(?: [0-9]{1,2})?"
    r"|(?:19|20)[0-9]{2} ?[-/] ?(?:19|20)[0-9]{2}"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])|(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2]))(?:19|20)[0-9]{2}"
)
# 52.520008, 1.234.567, 75534-030: fractions, thousands and postal codes, not what people dial.
_QUANTITY = re.compile(r"-?[0-9]{1,3}\.[0-9]{4,}|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}|[0-9]{5}-[0-9]{3,4}")
# Before sums of money, and before the first of several numbers of a street address.
_BEFORE_OTHER_NUMBERS = re.compile(
    r"(?:[$€£¥₹]|\b(?:usd|eur|gbp|inr|rs|apt|suite|ste|unit|flat|room|box|zip|code|plz|cep)\.?:?) ?$", re.IGNORECASE
)


# "17151 2450 Crown St": a postal code or a flat, and the number of a house.
_TWO_NUMBERS = re.compile("[1-9][0-9]{1,4}[ -][0-9]{1,5}")
_STREET = re.compile(
    r" (?-i:[A-ZÀ-ÖØ-ÞΑ-ΩА-Я])|(?: [\w.']{1,20}){1,4} (?:st|street|ave?|avenue|r[do]|road|dr|drive|lane|ln|place|pl|court|ct|close|blvd"
    r"|boulevard|hwy|highway|way|square|rue|calle|stra(?:ss|ß)e|str|u)(?![^\W_])",
    re.IGNORECASE,
)


def _is_of_an_address(found: re.Match[str]) -> bool:
    return _TWO_NUMBERS.fullmatch(found[0]) is not None and _STREET.match(found.string, found.end()) is not None


def _phone(found: re.Match[str]) -> tuple[int, int] | None:
    text = found[0]
    start, end = found.span()
    if (
        found["longer"]
        or DATE.fullmatch(text)
        or _QUANTITY.fullmatch(text)
        or _is_of_an_address(found)
        or _BEFORE_OTHER_NUMBERS.search(found.string[max(0, start - 7) : start])
    ):
        return None
    return start, end


# More digits than any phone number has: a part of them is none either.
_SIXTEEN_DIGITS = r"(?<![a-z0-9])(?<![0-9][.,])[0-9](?:[ .\-/()]{0,3}[0-9]){15,33}"
PHONE = PatternDetector(
    "phone_number",
    "phone",
    rf"(?P<longer>{_SIXTEEN_DIGITS})"
    r"|(?<![a-z0-9+])(?<![0-9][.,])(?:\+ ?)?\(?[0-9](?:[ .\-/()]{0,3}[0-9]){6,14}"
    r"(?:[ ,]{0,2}(?:x|ext\.?|extension) ?[0-9]{1,6})?(?![a-z0-9]|,[0-9]|[ .\-/()]{0,3}[0-9])",
    priority=40,
    trigger=Trigger(digits=7),
    choose=_phone,
)
PHONE_LABELLED = PatternDetector(
    "phone_labelled",
    "phone",
    r"(?<![a-z0-9+])(?P<value>(?:\+ ?)?\(?[0-9](?:[ .\-/()]{0,3}[0-9]){4,14}(?:[ ,]{0,2}(?:x|ext\.?) ?[0-9]{1,6})?)"
    r"(?=[ \-(]{1,2}(?:office|fax|mobile|cell|home|work|phone|tel|mobil|privat)(?![a-z]))",
    priority=41,
    trigger=Trigger(digits=5, stems=("office", "fax", "mobil", "cell", "home", "work", "phone", "tel", "privat")),
)
# Nothing harmless is that long.
LONG_NUMBER = PatternDetector(
    "long_number",
    "account",
    rf"{_SIXTEEN_DIGITS}(?![a-z0-9]|,[0-9])",
    priority=30,
    trigger=Trigger(digits=16),
)

DETECTORS = (
    EMAIL,
    EMAIL_SPELLED,
    EMAIL_TRANSCRIBED,
    URL,
    URL_BARE,
    IP_V4,
    IP_V6,
    MAC,
    IBAN,
    CARD,
    PHONE,
    PHONE_LABELLED,
    LONG_NUMBER,
)
