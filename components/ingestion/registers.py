"""Names of people, companies, streets and towns from Faker's lists, which go further than any of ours.

    registers = Registers(random.Random(0))
    registers.given("nordic"), registers.family("nordic")       # ("Kornelíus", "Sjöblom")

Given and family names are drawn by themselves: who they make up together is nobody's record.
"""

from __future__ import annotations

import random
from typing import Any

from components.errors import UsageError

_PEOPLE = {
    "en": ("en_US", "en_GB", "en_IE", "en_NZ", "en_KE", "en_NG", "en_IN"),
    "de": ("de_DE", "de_AT", "de_CH"),
    "fr": ("fr_FR", "fr_BE", "fr_CH", "fr_CA"),
    "es": ("es_ES", "es_MX", "es_AR", "es_CO", "es_CL"),
    "it": ("it_IT",),
    "nl": ("nl_NL", "nl_BE"),
    "pt": ("pt_PT", "pt_BR"),
    "nordic": ("da_DK", "sv_SE", "no_NO", "fi_FI", "is_IS", "et_EE"),
    "slavic": ("cs_CZ", "pl_PL", "sk_SK", "sl_SI", "hr_HR", "lt_LT", "lv_LV", "hu_HU", "ro_RO"),
    "asia": ("vi_VN", "id_ID", "fil_PH", "tr_TR", "az_AZ", "uz_UZ"),
    "south": ("en_IN", "sw", "yo_NG", "zu_ZA", "tw_GH", "en_KE", "ha_NG", "ig_NG"),
}
# Those that have towns, streets and companies of their own; others are given America's.
_PLACES = {
    "en": ("en_US", "en_US", "en_GB", "en_IE", "en_IN", "en_NZ"),
    "de": ("de_DE", "de_AT", "de_CH"),
    "fr": ("fr_FR", "fr_CH"),
    "es": ("es_ES", "es_MX", "es_CL"),
    "it": ("it_IT",),
    "nl": ("nl_NL", "nl_BE"),
    "pt": ("pt_PT", "pt_BR"),
    "nordic": ("da_DK", "sv_SE", "no_NO", "fi_FI"),
    "slavic": ("cs_CZ", "pl_PL", "sk_SK", "sl_SI", "hr_HR", "hu_HU", "ro_RO"),
}
REGIONS = tuple(_PEOPLE)
"""Where people are from."""

_PROVIDERS = [f"faker.providers.{kind}" for kind in ("person", "address", "company")]


class Registers:
    """Draws names. For one thread."""

    def __init__(self, source: random.Random):
        """Names that are a function of a source of chance, and of Faker's release.

        Raises:
          UsageError: Faker is not installed.
        """
        try:
            from faker import Factory
        except ImportError as error:
            raise UsageError(
                "data.source.type tagged_text needs the package faker; install it with: pip install 'parlance-tfx[tagger]'"
            ) from error
        self._source, self._make = source, Factory.create
        self._registers: dict[str, Any] = {}

    def given(self, region: str) -> str:
        """Returns a given name of one of `REGIONS`."""
        return str(self._of(_PEOPLE[region]).first_name())

    def family(self, region: str) -> str:
        """Returns a family name of one of `REGIONS`."""
        return str(self._of(_PEOPLE[region]).last_name())

    @classmethod
    def names(cls, draws: int = 3000) -> frozenset[str]:
        """Returns given and family names of all regions in small letters: those that so many draws for each find."""
        known = cls(random.Random(0))  # noqa: S311 - a draw, not a secret
        drawn = (draw(region) for region in REGIONS for draw in (known.given, known.family) for _ in range(draws))
        return frozenset(part for name in drawn for part in name.lower().split())

    def company(self, region: str) -> str:
        """Returns the name of a company."""
        return str(self._place(region).company())

    def town(self, region: str) -> str:
        """Returns the name of a town."""
        return str(self._place(region).city())

    def street(self, region: str) -> str:
        """Returns a street with a number, on one line."""
        return ", ".join(str(self._place(region).street_address()).split("\n"))

    def address(self, region: str) -> str:
        """Returns a whole address, on several lines."""
        return str(self._place(region).address())

    def _place(self, region: str) -> Any:
        return self._of(_PLACES.get(region, _PLACES["en"]))

    def _of(self, locales: tuple[str, ...]) -> Any:
        locale = self._source.choice(locales)
        register = self._registers.get(locale)
        if register is None:
            register = self._registers[locale] = self._make(locale, _PROVIDERS)
            register.random = self._source
        return register
