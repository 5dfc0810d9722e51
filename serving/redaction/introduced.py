"""What shows its nature by the words before it: "my account number is 4417", "Passwort: sommer12", "geboren am 3. Mai 1990"."""

from __future__ import annotations

import re

from serving.redaction.detectors import Check, PatternDetector, Trigger

# Words between what is named and its value, in the languages of most messages. They are skipped for good: none can be a value.
_BETWEEN = (
    "is|are|was|it's|its|it is|that's|that is|this is|which is|here is|being|no|no\\.|nos|num|number|numbers|nr|nr\\.|#|id|code|card"
    "|details|detail|the|my|of|as|to be|will be|should be|ending in|ending with|ending|ends in|ends with|that ends|which ends|finishing in"
    "|finishing with|last|the last|first|four|4|digits?"
    "|digits of"
    "|ist|lautet|sind|war|nummer|kennung|meine?|der|die|das|sono|es|son|é|è|sao|são|est|sont|numero|número|numéro|núm|n°|nº|num[eé]ro"
    "|mi|mon|ma|mio|meu|minha|il|lo|el|la|le|de|del|di|do|da|jest|to|to jest|numer|mój|moje|zijn|mijn"
)
_GAP = rf"(?>(?:[\s:=.,;'\"()\-]{{0,4}}(?:{_BETWEEN})(?![^\W_])){{0,7}}[\s:=.,;'\"()#°\-]{{0,4}})"


def _any_of(stems: str) -> tuple[str, ...]:
    return tuple(stems.split("|"))


def introduced(
    name: str,
    entity: str,
    words: str,
    stems: tuple[str, ...],
    value: str,
    *,
    priority: int,
    digits: int = 0,
    check: Check | None = None,
    more: str = "",
) -> PatternDetector:
    """A detector of values that words introduce.

    Args:
        name: Names it in rules.
        entity: What it finds.
        words: Pattern of what introduces the value.
        stems: Each of the words begins with one of these.
        value: Pattern of the value.
        priority: See Span.
        digits: How many it has at least.
        check: See PatternDetector.
        more: Pattern of what must stand between the words and the value, besides what may always.
    """
    return PatternDetector(
        name,
        entity,
        rf"(?<![a-z0-9])(?:{words})(?![a-z]){more}{_GAP}(?P<value>{value})",
        priority=priority,
        trigger=Trigger(digits, stems),
        check=check,
        starts_with_stem=True,
    )


_FURTHER = r"(?:(?:,? (?:and|to|or|und|et|y|e|oder)|,|/) ?(?=[0-9])[0-9](?:[ \-]?[0-9]){3,23}){0,3}"
_OTHER_WORDS = (
    "a|about|and|at|be|by|for|from|got|had|has|have|i|in|just|my|need|of|on|only|or|over|paid|pay|sent|since|some|than|that|the|this|to|was"
    "|with|und|ab|am|seit|mit|von|y|e|et|de|en|con|per|por|om|op|met|na|od|do"
)
_NUMBER = rf"(?:(?!(?:{_OTHER_WORDS})(?![^\W_]))[a-z]{{1,4}}[ \-]?)?[0-9](?:[ \-]?[0-9]){{2,23}}(?![0-9])"

ACCOUNT = introduced(
    "account_introduced",
    "account",
    r"account|acct|accnt|a/c|acc|ac|konto|kontonummer|kundennummer|cuenta|compte|conto|conta|rekening|rekeningnummer|customer|client"
    r"|member(?:ship)?|sort code|routing(?: number)?|iban",
    _any_of("acc|a/c|ac|konto|kundenn|cuenta|compte|conto|conta|rekening|customer|client|member|sort code|routing|iban"),
    rf"{_NUMBER}{_FURTHER}",
    priority=70,
    digits=3,
)
IBAN = introduced(
    "iban_introduced",
    "iban",
    r"iban",
    ("iban",),
    r"[a-z]{2}[0-9]{2}(?:[ .\-]?[a-z0-9]{2,4}){3,8}(?![a-z0-9])",
    priority=88,
    digits=2,
)
CARD = introduced(
    "card_introduced",
    "card",
    # A number and "cc" is an engine's size.
    r"card|creditcard|debitcard|(?<![0-9])(?<![0-9] )cc|visa|master ?card|amex|american express"
    r"|kreditkarte|tarjeta|carte|carta|cart[ãa]o|kaart|karta",
    _any_of("card|creditcard|debitcard|cc|visa|master|amex|american express|kreditkarte|tarjeta|cart|kaart|karta"),
    r"[0-9](?:[ .\-]?[0-9]){11,18}(?![0-9])|[0-9]{4}(?![0-9]|[.,][0-9]|\s?(?:dollars?|usd|eur|euros?|rupees?|pounds?))",
    priority=84,
    digits=4,
)
CARD_CODE = introduced(
    "card_code_introduced",
    "password",
    r"cvv2?|cvc2?|cvn|security code|pr[üu]fnummer",
    _any_of("cvv|cvc|cvn|security code|prüfnummer|prufnummer"),
    r"[0-9]{3,4}(?![0-9])",
    priority=71,
    digits=3,
)
PHONE = introduced(
    "phone_introduced",
    "phone",
    r"(?:tele)?phone|tel\.?|telefon|telefono|teléfono|téléphone|telefone|telefoon|mobile|mobil|móvil|cell(?:phone)?|handy|handynummer"
    r"|telefonnummer|call|call me|reach me|reach us|text me|fax|ph|contact|whatsapp|rufen?|llama|appelez|chiama(?:mi)?|answering at"
    r"|(?:call|phone|reach|text|ring)(?: \w{1,10}){0,3} (?:at|on|under)",
    _any_of("ph|tel|tél|mobil|móvil|cell|handy|call|reach|text|ring|fax|contact|whatsapp|ruf|llama|appel|chiama|answering"),
    r"\+?\(?[0-9](?:[ .\-/()]{0,3}[0-9]){4,14}(?:[ ,]{0,2}(?:x|ext\.?) ?[0-9]{1,6})?(?![a-z0-9]|[.,:][0-9])",
    priority=60,
    digits=5,
)
REFERENCE = introduced(
    "reference_introduced",
    "reference",
    r"(?:order|booking|confirmation|reservation|reference|ref|claim|policy|ticket|case|tracking|invoice|loyalty|employee|student"
    r"|patient|contract|serial|bestell|buchungs|auftrags|rechnungs|pedido|commande|ordine|zam[óo]wieni[ea]|bestelling)"
    r" ?(?:number|no\.?|num|nr\.?|#|id|code|nummer|n°|nº)"
    r"|(?:bestell|auftrags|rechnungs|buchungs|vertrags)nummer",
    _any_of(
        "order|booking|confirmation|reservation|ref|claim|policy|ticket|case|tracking|invoice|loyalty|employee|student"
        "|patient|contract|serial|bestell|auftrag|rechnung|buchung|vertrag|pedido|commande|ordine|zam"
    ),
    r"(?=[a-z0-9 \-]{0,8}[0-9])(?:[a-z]{1,6}[ \-]?)?[0-9][a-z0-9]{0,30}"
    r"(?:[ \-](?:[a-z]{1,3} )?[0-9][a-z0-9]{0,15}){0,5}(?![a-z0-9])",
    priority=65,
    digits=2,
    check=lambda value: sum(map(str.isdecimal, value)) >= 2,
)
BIRTH_DATE = introduced(
    "birth_date_introduced",
    "birth_date",
    r"born(?: on| in)?|date of birth|birth ?date|birthday|d\.?o\.?b\.?|geboren(?: am)?|geb\.|geburtsdatum|geburtstag|née? le"
    r"|date de naissance|naci(?:do|da|ó)?(?: el)?|fecha de nacimiento|nat[oa] il|data di nascita|data de nascimento|nascid[oa] em"
    r"|geboortedatum|geboren op|data urodzenia|urodzon[ya]",
    _any_of("born|date|birth|d.o.b|dob|geb|né|naci|fecha|nat|data|nasc|urodz"),
    r"[0-9]{1,4}[./\-] ?[0-9]{1,2}[./\-] ?[0-9]{1,4}"
    r"|[0-9]{1,2}(?:st|nd|rd|th|\.|er|º)? ?(?:of |de )?[^\W\d_]{3,10}\.?,?(?: (?:de )?[0-9]{2,4})?"
    r"(?<=[0-9])|[^\W\d_]{3,9}\.? [0-9]{1,2}(?:st|nd|rd|th)?,? (?:19|20)[0-9]{2}|(?:19|20)[0-9]{6}",
    priority=78,
    digits=3,
    check=lambda value: sum(map(str.isdecimal, value)) >= 3,
)
PASSPORT = introduced(
    "passport_introduced",
    "passport",
    r"passport|reisepass(?:nummer)?|pasaporte|passeport|passaporto|passaporte|paspoort|paszport",
    _any_of("passport|reisepass|pasaporte|passeport|passaport|paspoort|paszport"),
    r"(?=[a-z]{0,3}[0-9])[a-z0-9]{6,12}(?![a-z0-9])",
    priority=87,
    digits=3,
)
DRIVER_LICENSE = introduced(
    "driver_license_introduced",
    "driver_license",
    r"driv(?:er'?s?|ing) licen[cs]e|licen[cs]e|f[üu]hrerschein(?:nummer)?|permis de conduire|carnet de conducir|patente",
    _any_of("driv|licen|führerschein|fuhrerschein|permis de|carnet de|patente"),
    r"(?=[a-z]{0,5}[0-9])[a-z0-9](?:[ \-]?[a-z0-9]){4,17}(?<=[0-9a-z])(?![a-z0-9])",
    priority=87,
    digits=4,
    check=lambda value: sum(map(str.isdecimal, value)) >= 4,
)
USER_NAME = introduced(
    "user_name_introduced",
    "user_name",
    r"user ?name|user ?id|login(?: name| id)?|benutzername|usuario|identifiant|nome utente",
    _any_of("user|login|benutzername|usuario|identifiant|nome utente"),
    r"(?=[\w.\-]{0,31}[0-9_.\-][\w])[^\W_][\w.\-]{2,31}(?![\w])",
    priority=62,
    more=r"(?=\s?(?:is|:|=|ist|es|est|è|é)(?![a-z]))",
)

# What is said of a password without telling it.
_SAID_OF_PASSWORDS = (
    "not|wrong|incorrect|invalid|expired|correct|required|reset|being|too|still|also|same|locked|blocked|forgotten|lost|changed|a|an|in"
    "|on|so|very|weak|strong|needed|missing|empty|what|where|how|please|failing|stored|sent|used|working|unknown|compromised|protected"
    "|denied|declined|rejected|disabled|unlocked|enabled|me|you|him|her|us|them|it|my|your|our|the|this|that|something|another|new|old|be|never"
    "|always|already|now|then|there|here|fine|ok|okay|good|bad|easy|safe|secure|secret|private|different|up|out|gone|to|for|from|all|any|no"
    "|falsch|nicht|abgelaufen|vergessen|weg|richtig|ung[üu]ltig|incorrecta?|no|pas|oubli[ée]|sbagliata|err[óo]nea|inv[áa]lid[ao]"
)


def _password(found: re.Match[str]) -> tuple[int, int] | None:
    """A word is taken for a password where it ends what is said, or looks like one."""
    start, end = found.span("value")
    value = found["value"]
    plain = value.isalpha() and (value.islower() or value.istitle())
    follows = found.string[end : end + 5].lower()
    ends = not follows.strip(" .!?\"'") or follows.startswith((" and", ".", ",", ";", "\n", " or", " und", " et ", " y "))
    return (start, end) if not plain or ends else None


_CODE_WORDS = (
    r"pass ?(?:word|wort|wd|code|phrase)|passward|pwd?|kennwort|mot de passe|contrase(?:ñ|n\u0303?)a|clave|senha|palavra-?passe"
    r"|parola d'ordine|wachtwoord|has[łl]o|пароль|pin(?: ?code)?|geheimzahl|otp|one[- ]time code|verification code"
)
_CODE_STEMS = _any_of(
    "pass|pw|kennwort|mot de|contrase|clave|senha|palavra|parola|wachtwoord|has|парол|pin|geheimzahl|otp|one-time code|one time code"
    "|verification code"
)
PASSWORD = PatternDetector(
    "password_introduced",
    "password",
    rf"(?<![a-z0-9])(?:{_CODE_WORDS})(?![a-z])(?: (?:for|to|of|on|at|f[üu]r|de|del) (?:[^\W\d_]{{1,12}} ){{0,2}}[^\W\d_]{{1,12}})?"
    r"(?:\s?[:=]\s?|\s(?:is|was|it's|ist|lautet|war|es|est|è|é|jest|to be|to|as|will be|should be)(?![^\W_])[\s:=]{0,3}){1,2}[\"'“«]?"
    rf"(?!(?:{_SAID_OF_PASSWORDS})(?![^\W_]))(?P<value>[^\s\"'“”«»]{{2,}}(?<![.,;!?)])(?: [0-9]{{2,8}}(?![0-9]))?)",
    priority=72,
    trigger=Trigger(stems=_CODE_STEMS),
    choose=_password,
    starts_with_stem=True,
)
PASSWORD_NUMBER = introduced(
    "password_number",
    "password",
    _CODE_WORDS,
    _CODE_STEMS,
    r"[0-9]{3,12}(?![a-z0-9])",
    priority=71,
    digits=3,
)

DETECTORS = (
    *(
        ACCOUNT,
        IBAN,
        CARD,
        CARD_CODE,
        PHONE,
        REFERENCE,
        BIRTH_DATE,
        PASSPORT,
        DRIVER_LICENSE,
        USER_NAME,
        PASSWORD,
        PASSWORD_NUMBER,
    ),
)
