"""Numbers that nothing introduces: what people type when they are asked for a card, an account, a PIN or the last digits of a number.

"4417", "ann 4417", "sure its 5566 and 7788". What was asked stands in another message, so which kind of number it is cannot be told, and
nothing tells a PIN from an amount but what stands around amounts, years and measures. It is therefore no part of `patterns`: where texts
are commands or articles it takes out numbers that are nobody's. In chats it finds what the other patterns cannot (figures:
benchmarks/README.md). A detector that knows what a number is has its way with it.

Three digits are an amount more often than not, and stay.
"""

from __future__ import annotations

import re

from serving.redaction.detectors import PatternDetector, Trigger
from serving.redaction.forms import DATE

FEWEST_DIGITS = 4
"""Of a number: the last four are what people are asked for."""

_FEWEST_IN_SMALL_GROUPS = 7
"""Digits of a number none of whose groups is that long: shorter ones are two amounts, or a size ("220 25")."""

_NEVER_AN_AMOUNT = 9
"""With so many digits it is taken for an identifier whatever stands beside it."""

# Those that people write of; others are as likely as any four digits.
_OUR_YEARS = "(?:19[3-9]|20[0-3])[0-9]"
_YEAR = re.compile(rf"{_OUR_YEARS}(?:[ -](?:(?:19|20)?[0-9]{{2}}|[0-9]))?|[0-9]{{1,3}}[ -]{_OUR_YEARS}")
# "92018", "062018", "2292018": month and day, or day and month, and a year of messages.
_MONTH, _DAY, _MESSAGE_YEAR = "(?:0?[1-9]|1[0-2])", "(?:0?[1-9]|[12][0-9]|3[01])", "(?:20)?(?:1[5-9]|2[0-9])"
_BARE_DATE = re.compile(f"(?:{_MONTH}{_DAY}|{_DAY}{_MONTH}){_MESSAGE_YEAR}")
# One number in a hundred ends so, and most amounts and sizes do.
_ROUND = re.compile("[1-9][0-9]00|[1-9][0-9]{0,3}0{3,}")
_MONEY = "dollars?|bucks|usd|eur|euros?|rupees?|rs|inr|pounds?|gbp|cents?|k|grand|lakhs?|yen|francs?|pesos?|reais|z[łl]otych|рублей|kr|chf"
_MEASURES = (
    "miles?|mi|kms?|kilomet(?:er|re)s?|met(?:er|re)s?|feet|ft|cc|kgs?|lbs?|grams?|g|ml|lit(?:er|re)s?|kb|mb|gb|tb|mbps|gbps|hz|kelvins?"
    "|calories|k?cal|points?|pts|people|persons?|times|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|yrs?|percent"
    "|degrees?|watts?|volts?|items?|units?|pieces?|pcs|nos|packs?|copies|pages?|words?|characters?|steps?|am|pm|a\\.m|p\\.m|o'?clock"
    "|uhr|jahren?|tagen?|stunden|minuten|prozent|grad|punkten?|personen|metern?|stück|horas|d[ií]as|años|personas|heures|jours|ans|ore"
    "|giorni|anni"
)
_AFTER = re.compile(rf"\s?(?:[$€£¥₹%°]|(?:{_MONEY}|{_MEASURES})(?![^\W_]))", re.IGNORECASE)
_BEFORE_AMOUNTS = (
    "costs?|price|priced|amounts?|budget|total|worth|paid|pay|paying|spend|spent|charge[ds]?|transfer(?:red|ring)?|deposit(?:ed)?"
    "|withdraw|fee|refund(?:ed)?|rate|around|about|approximately|almost|nearly|over|under|than|between|up to|for"
    "|betrag|preis|kostet|etwa|rund|[üu]ber|f[üu]r|montant|prix|precio|importe|importo|prezzo|pre[çc]o"
)
_BEFORE_OTHERS = (
    "year|since|until|till|time|at|model|version|windows|office|zip|zip ?code|post ?code|postal code|pin ?code|plz|cep|jahr|seit|um"
    "|postleitzahl|année|depuis|año|desde|anno|ano"
)
_BETWEEN = "is|was|are|of|for|be|to be|would be|will be|limit|around|about|approximately|the|my|its|it's|von|ist|de|di"
_BEFORE = re.compile(
    rf"(?:[$€£¥₹]|(?<![^\W_])(?:{_MONEY}|{_BEFORE_AMOUNTS}|{_BEFORE_OTHERS})(?: (?:{_BETWEEN})){{0,3}}\.?:?) ?$", re.IGNORECASE
)
# Characters before a number that are looked at: the longest of such words, and three between.
_REACH = 48


def _bare(found: re.Match[str]) -> tuple[int, int] | None:
    text, (start, end) = found[0], found.span()
    groups = [len(group) for group in re.split("[ -]", text)]
    digits, longest = sum(groups), max(groups)
    said_one_by_one = longest == 1
    if digits < FEWEST_DIGITS or (longest < FEWEST_DIGITS and digits < _FEWEST_IN_SMALL_GROUPS and not said_one_by_one):
        return None
    if any(pattern.fullmatch(text) for pattern in (_YEAR, _ROUND, DATE)) or (digits > 4 and _BARE_DATE.fullmatch(text)):
        return None
    if digits < _NEVER_AN_AMOUNT and (
        _AFTER.match(found.string, end) or _BEFORE.search(found.string[max(0, start - _REACH) : start])
    ):
        return None
    return start, end


BARE = PatternDetector(
    "bare_number",
    "number",
    # Digits in one piece or in groups, or said one by one.
    r"(?<![a-z0-9])(?<![0-9][.,:/])(?:[0-9]{2,}+(?:[ -][0-9]{2,}+){0,12}|[0-9](?:[ -][0-9]){3,24})(?![a-z0-9]|[.,:/][0-9])",
    priority=10,
    trigger=Trigger(FEWEST_DIGITS),
    choose=_bare,
)
# What a spreadsheet makes of a card number, "4.41712E+15", also where the signs were lost ("441 e 15").
EXPONENT = PatternDetector(
    "number_with_exponent",
    "number",
    r"(?<![a-z0-9])(?<![0-9][.,])[0-9]\.?[0-9]{1,14} ?e ?\+? ?1[0-9](?![a-z0-9])",
    priority=12,
    trigger=Trigger(FEWEST_DIGITS, form=r"[0-9] ?e ?\+? ?1"),
)

DETECTORS = (BARE, EXPONENT)
