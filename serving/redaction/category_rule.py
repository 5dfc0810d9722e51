"""What rules say of a column that is no text; `categories` follows it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class CategoryRule:
    """What stays in a column that is no text.

    Attributes:
        known: Its values that are not looked at: the domain that the schema gives it.
        pseudonym: Whether a value that holds personal data gives way as a whole to its pseudonym, so that rows which share it still do.
            That is for columns that say which rows belong together; elsewhere only what was found is replaced.
    """

    known: tuple[str, ...] = ()
    pseudonym: bool = False
