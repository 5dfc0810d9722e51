"""Numbers that states give to people, each with the check digits it has.

What is rare by its form or its check digits is found wherever it stands. A short number with a weak check is one only where a word
says so: one phone number in ten would pass for some country's.
"""

from __future__ import annotations

from serving.redaction import checksums
from serving.redaction.detectors import Check, PatternDetector, Trigger
from serving.redaction.introduced import introduced

_PRIORITY = 88
_INTRODUCED_PRIORITY = 89


def _number(name: str, pattern: str, check: Check | None, digits: int, form: str = "") -> PatternDetector:
    """One that is found anywhere.

    Args:
        name: The detector's and the entity's.
        pattern: What it looks like.
        check: See PatternDetector.
        digits: How many it has at least.
        form: What it looks like in the syntax of RE2, where the pattern is not.
    """
    return PatternDetector(
        name,
        name,
        rf"(?<![a-z0-9])(?<![0-9][.,\-/])(?:{pattern})(?![a-z0-9]|[.,\-/][0-9])",
        priority=_PRIORITY,
        trigger=Trigger(digits, form=form or pattern),
        check=check,
    )


def _named(name: str, words: str, stems: tuple[str, ...], pattern: str, check: Check | None, digits: int) -> PatternDetector:
    """One that is found where words introduce it."""
    return introduced(
        f"{name}_introduced",
        name,
        words,
        stems,
        rf"(?:{pattern})(?![a-z0-9])",
        priority=_INTRODUCED_PRIORITY,
        digits=digits,
        check=check,
    )


_YYMMDD = r"[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_DDMMYY = r"(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])[0-9]{2}"

DETECTORS = (
    _number(
        "us_ssn",
        r"[0-9]{3}-[0-9]{2}-[0-9]{4}|(?<!suite )(?<!apt )(?<!apt\. )[0-9]{3} [0-9]{2} [0-9]{4}",
        checksums.us_ssn,
        9,
        form="[0-9]{3}[ -][0-9]{2}[ -][0-9]{4}",
    ),
    # Also its last four digits, which is what people are asked for.
    _named(
        "us_ssn",
        r"s\.?s\.?n\.?|ssmn|social security|social",
        ("ss", "s.s", "social"),
        r"[0-9](?:[ .\-]?[0-9]){3,8}",
        None,
        4,
    ),
    _number("uk_nino", r"[a-ceghj-prtw-z][a-ceghj-nprtw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[a-d]", checksums.uk_nino, 6),
    _named("uk_nhs", r"nhs", ("nhs",), r"[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{4}", checksums.uk_nhs, 10),
    _number("de_tax_id", r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", checksums.de_tax_id, 11),
    _number("es_nif", r"[0-9]{8}[ \-]?[a-hj-np-tv-z]|[xyz][ \-]?[0-9]{7}[ \-]?[a-hj-np-tv-z]", checksums.es_nif, 7),
    _number(
        "fr_nir",
        r"[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[ab]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        checksums.fr_nir,
        14,
    ),
    _number(
        "it_codice_fiscale",
        r"[a-z]{3} ?[a-z]{3} ?[0-9lmnp-v]{2}[abcdehlmprst][0-9lmnp-v]{2} ?[a-z][0-9lmnp-v]{3}[a-z]",
        checksums.it_codice_fiscale,
        # Digits may be replaced by letters, the last ones first, where two people would share a code.
        3,
    ),
    _number("pl_pesel", r"[0-9]{2}[0-9][0-9][0-3][0-9]{6}", checksums.pl_pesel, 11),
    _number("br_cpf", r"[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}", checksums.br_cpf, 11),
    _named(
        "nl_bsn",
        r"bsn|burgerservicenummer|sofinummer",
        ("bsn", "burgerservice", "sofinum"),
        r"[0-9]{4}[ .]?[0-9]{2}[ .]?[0-9]{3}|[0-9]{9}",
        checksums.nl_bsn,
        9,
    ),
    _number("be_national_number", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}|[0-9]{11}", checksums.be_national_number, 11),
    _number("ch_ahv", r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", checksums.ch_ahv, 13),
    _number(
        "se_personnummer",
        rf"(?:19|20)?[0-9]{{4}}[0-9]{{2}}[\-+][0-9]{{4}}|(?:19|20){_YYMMDD}[0-9]{{4}}",
        checksums.se_personnummer,
        10,
    ),
    _number("no_fodselsnummer", r"[0-7][0-9][0-9]{4} ?[0-9]{5}", checksums.no_fodselsnummer, 11),
    _number("fi_hetu", rf"{_DDMMYY}[\-+a-fu-y][0-9]{{3}}[0-9a-fhj-npr-y]", checksums.fi_hetu, 9),
    _number("dk_cpr", rf"{_DDMMYY}-[0-9]{{4}}", checksums.dk_cpr, 10),
    _number("ro_cnp", rf"[1-9]{_YYMMDD}[0-9]{{6}}", checksums.ro_cnp, 13),
    _named("pt_nif", r"nif|contribuinte", ("nif", "contribuinte"), r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", checksums.pt_nif, 9),
    _number("tr_identity", r"[1-9][0-9]{10}", checksums.tr_identity, 11),
    _number(
        "in_aadhaar",
        r"(?<![0-9] )[2-9][0-9]{3}[ \-][0-9]{4}[ \-][0-9]{4}(?! ?[0-9])",
        checksums.verhoeff,
        12,
        form="[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}",
    ),
    _named("in_aadhaar", r"aadhaar|aadhar|uidai", ("aadha", "uidai"), r"[2-9][0-9]{3}[ \-]?[0-9]{4}[ \-]?[0-9]{4}", None, 12),
    _number("in_pan", r"[a-z]{3}[abcfghljpt][a-z][0-9]{4}[a-z]", None, 4),
    _number("cn_resident", rf"[1-9][0-9]{{5}}(?:18|19|20){_YYMMDD}[0-9]{{3}}[0-9x]", checksums.cn_resident, 17),
    _number("kr_rrn", rf"{_YYMMDD}-[1-8][0-9]{{6}}", checksums.kr_rrn, 13),
    _number("sg_nric", r"[stfgm][0-9]{7}[a-z]", checksums.sg_nric, 7),
    _named("za_identity", r"id|identity", ("id",), rf"{_YYMMDD} ?[0-9]{{4}} ?[01][0-9]{{2}}", checksums.za_identity, 13),
    _number("mx_curp", rf"[a-z][aeioux][a-z]{{2}}{_YYMMDD}[hmx][a-z]{{5}}[0-9a-z][0-9]", checksums.mx_curp, 7),
    _named(
        "ca_sin", r"sin|social insurance", ("sin", "social insurance"), r"[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{3}", checksums.luhn, 9
    ),
    _named("au_tfn", r"tfn|tax file", ("tfn", "tax file"), r"[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{3}", checksums.au_tfn, 9),
)

ENTITIES = tuple(dict.fromkeys(detector.entities[0] for detector in DETECTORS))
