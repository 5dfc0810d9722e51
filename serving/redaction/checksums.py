"""Check digits: what tells a real card, account or identity number from any other number of its length.

Each function takes the number without separators, letters in upper case, and says whether its check digits are right.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

_COUNTRIES_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "AO CV GW LY MZ PT ST",
    26: "DZ IR IS TR",
    27: "BI CF CG CM DJ FR GA GQ GR IT KM MC MG MR SM TD",
    28: "AL AZ BF BJ BY CI CY DO GT HN HU LB MA ML NE NI PL SN SV TG",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
IBAN_LENGTHS = {country: length for length, countries in _COUNTRIES_BY_LENGTH.items() for country in countries.split()}
"""Characters of an IBAN by country, of the registry and of countries that use the format without being in it."""


def _weighted(number: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))


def luhn(number: str) -> bool:
    """ISO/IEC 7812: every second digit from the right is doubled and its digits added up; the sum ends in 0."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def iban(number: str) -> bool:
    """ISO 13616: the length of its country, and 1 modulo 97 when read as one number with the first four characters last."""
    if IBAN_LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1


# Each row is the permutation that its index stands for.
_VERHOEFF_PRODUCT = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_VERHOEFF_SHIFT = (
    *("0123456789", "1576283094", "5803796142", "8916043527"),
    *("9453126870", "4286573901", "2793806415", "7046913258"),
)


def verhoeff(number: str) -> bool:
    """Verhoeff's scheme over the dihedral group of ten elements (Aadhaar)."""
    check = 0
    for position, digit in enumerate(reversed(number)):
        check = int(_VERHOEFF_PRODUCT[check][int(_VERHOEFF_SHIFT[position % 8][int(digit)])])
    return check == 0


def is_date(year: int, month: int, day: int) -> bool:
    """Says whether there is such a day."""
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def _two_digit_date(yymmdd: str) -> bool:
    year, month, day = int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:6])
    # A leap year, so that 29 February of an unknown century passes.
    return is_date(1900 + year, month, day) or is_date(2000 + year, month, day)


def us_ssn(number: str) -> bool:
    """Social Security or taxpayer number: no part of it is all zeros, and area 666 is never given."""
    return number[:3] not in ("000", "666") and number[3:5] != "00" and number[5:] != "0000"


def uk_nino(number: str) -> bool:
    """National Insurance number: prefixes that are never given."""
    return number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def uk_nhs(number: str) -> bool:
    """NHS number: modulo 11 over the first nine digits."""
    check = 11 - _weighted(number[:9], range(10, 1, -1)) % 11
    return check != 10 and check % 11 == int(number[9])


def de_tax_id(number: str) -> bool:
    """Steuerliche Identifikationsnummer: of the first ten digits exactly one occurs twice or three times; ISO 7064 modulo 11, 10."""
    counts = sorted((number[:10].count(digit) for digit in set(number[:10])), reverse=True)
    if number[0] == "0" or counts[0] not in (2, 3) or counts[1] != 1:
        return False
    product = 10
    for digit in number[:10]:
        product = 2 * ((int(digit) + product) % 10 or 10) % 11
    return (11 - product) % 10 == int(number[10])


def es_nif(number: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23; X, Y and Z stand for 0, 1 and 2."""
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


def fr_nir(number: str) -> bool:
    """Numéro de sécurité sociale: 97 minus the number modulo 97; Corsica's 2A and 2B count as 19 and 18."""
    body = number[:13].replace("2A", "19", 1).replace("2B", "18", 1)
    return body.isdecimal() and 97 - int(body) % 97 == int(number[13:])


# What a character at an odd position counts; digits count as the letters of their rank.
_CODICE_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def it_codice_fiscale(number: str) -> bool:
    """Codice fiscale: the last letter is the weighted sum of the other fifteen characters modulo 26."""
    ranks = [int(character) if character.isdecimal() else ord(character) - ord("A") for character in number]
    total = sum(_CODICE_ODD[rank] if position % 2 == 0 else rank for position, rank in enumerate(ranks[:15]))
    return total % 26 == ranks[15]


def pl_pesel(number: str) -> bool:
    """PESEL: a date of birth whose month says the century, and a weighted sum that ends in 0."""
    month = int(number[2:4])
    century = {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}[month // 20]
    return (
        is_date(century + int(number[:2]), month % 20, int(number[4:6]))
        and _weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    )


def br_cpf(number: str) -> bool:
    """CPF: two check digits modulo 11; all digits equal is no number."""
    if len(set(number)) == 1:
        return False
    return all((10 * _weighted(number[:length], range(length + 1, 1, -1)) % 11) % 10 == int(number[length]) for length in (9, 10))


def nl_bsn(number: str) -> bool:
    """Burgerservicenummer: the eleven test."""
    return number != "000000000" and (_weighted(number[:8], range(9, 1, -1)) - int(number[8])) % 11 == 0


def be_national_number(number: str) -> bool:
    """Rijksregisternummer: 97 minus the number modulo 97, with a 2 before it for those born from 2000 on."""
    return _belgian_birth(number) and any(97 - int(prefix + number[:9]) % 97 == int(number[9:]) for prefix in ("", "2"))


def _belgian_birth(number: str) -> bool:
    return int(number[2:4]) <= 12 and int(number[4:6]) <= 31


def ch_ahv(number: str) -> bool:
    """AHV number: 756 and the check digit of EAN-13."""
    return (10 - _weighted(number[:12], (1, 3) * 6) % 10) % 10 == int(number[12])


def se_personnummer(number: str) -> bool:
    """Personnummer: a date of birth, its day raised by 60 in a coordination number, and Luhn over the last ten digits."""
    short = number[-10:]
    day = int(short[4:6])
    return _two_digit_date(short[:4] + f"{day - 60 if day > 60 else day:02d}") and luhn(short)


def no_fodselsnummer(number: str) -> bool:
    """Fødselsnummer: two check digits modulo 11."""
    first = (11 - _weighted(number[:9], (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11) % 11
    second = (11 - _weighted(number[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11) % 11
    day = int(number[:2])
    return first == int(number[9]) and second == int(number[10]) and 1 <= (day - 40 if day > 40 else day) <= 31


def fi_hetu(number: str) -> bool:
    """Henkilötunnus: the last character is the date of birth and the individual number modulo 31; the century's sign does not count."""
    digits = number[:6] + number[-4:-1]
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == number[-1]


def dk_cpr(number: str) -> bool:
    """CPR number: a date of birth; newer numbers have no check digit."""
    return _two_digit_date(number[4:6] + number[2:4] + number[:2])


def ro_cnp(number: str) -> bool:
    """Cod numeric personal: modulo 11, 10 counting as 1, and a date of birth."""
    check = _weighted(number, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return number[0] != "0" and _two_digit_date(number[1:7]) and (1 if check == 10 else check) == int(number[12])


def pt_nif(number: str) -> bool:
    """NIF: modulo 11."""
    check = 11 - _weighted(number[:8], range(9, 1, -1)) % 11
    return (0 if check >= 10 else check) == int(number[8])


def tr_identity(number: str) -> bool:
    """T.C. kimlik numarası: two check digits."""
    digits = list(map(int, number))
    tenth = (7 * sum(digits[0:9:2]) - sum(digits[1:8:2])) % 10
    return digits[0] != 0 and tenth == digits[9] and sum(digits[:10]) % 10 == digits[10]


def cn_resident(number: str) -> bool:
    """Resident identity number: a date of birth, and ISO 7064 modulo 11, 2."""
    if not is_date(int(number[6:10]), int(number[10:12]), int(number[12:14])):
        return False
    weights = [2 ** (17 - position) % 11 for position in range(17)]
    return "10X98765432"[_weighted(number[:17], weights) % 11] == number[17]


def kr_rrn(number: str) -> bool:
    """Resident registration number: a date of birth; the digit after it says sex and century."""
    return _two_digit_date(number[:6]) and number[6] in "12345678"


def sg_nric(number: str) -> bool:
    """NRIC and FIN: the letter is a weighted sum modulo 11, from a list of the first letter's."""
    total = _weighted(number[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(number[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "KLJNPQRTUWX"}[number[0]]
    return letters[total % 11] == number[8]


def za_identity(number: str) -> bool:
    """South African identity number: a date of birth and Luhn."""
    return _two_digit_date(number[:6]) and luhn(number)


def mx_curp(number: str) -> bool:
    """CURP: the last digit is a weighted sum over an alphabet with Ñ."""
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(alphabet.index(character) * (18 - position) for position, character in enumerate(number[:17]))
    return (10 - total % 10) % 10 == int(number[17]) and _two_digit_date(number[4:10])


def au_tfn(number: str) -> bool:
    """Tax file number: a weighted sum divisible by 11."""
    return _weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0
