"""Personal data in columns that are no text: categories, segments, groups, and whatever a source writes into one of them by mistake.

    column = CategoryRedactor(CategoryRule(known=("sales", "support")), Redactor(rules.of_patterns()))
    column.redact("support")              # "support"
    column.redact("ann@example.org")      # "[email]"

What the schema lists for a column stays, whatever it looks like, and only what has a form is looked for elsewhere: a tagger made for
sentences would take streets out of a column of streets.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from serving.redaction.category_rule import CategoryRule
from serving.redaction.redactor import Redactor
from serving.redaction.spans import Span

_BUCKETS = 4096


class CategoryRedactor:
    """Removes personal data from the values of one column. Thread-safe.

    Attributes:
        rule: What stays.
    """

    def __init__(self, rule: CategoryRule, redactor: Redactor, key: bytes | None = None):
        """A redactor of a column.

        Args:
            rule: What stays.
            redactor: Of rules for such columns, see `RedactionRules.of_patterns`.
            key: For pseudonyms that no two values share.
        """
        self.rule = rule
        self._known = frozenset(rule.known)
        self._redactor = redactor
        self._key = key

    def redact(self, value: str) -> str:
        """One value without personal data."""
        return value if value in self._known else self.replace(value, self._redactor.find(value))

    def replace(self, value: str, spans: Sequence[Span]) -> str:
        """The value with what takes the place of spans.

        Args:
            value: A value that is not known.
            spans: Of `Redactor.find` for this value.
        """
        if spans and self.rule.pseudonym:
            return pseudonym(value, self._key)
        return self._redactor.replace(value, spans)


def pseudonym(value: str, key: bytes | None) -> str:
    """What stands for a value wherever it occurs.

    With a key the first 64 bits of HMAC-SHA256. Without one, whoever tries all phone numbers finds the one behind a hash, so that it is
    one of 4,096 names which many values share: a list of a million customers leaves 244 of them in doubt. Resampling such groups of
    groups estimates the same variance as resampling groups, as long as they are many (random groups; Wolter, Introduction to Variance
    Estimation, chapter 2).

    Args:
        value: A value.
        key: Of keyed hashes; None for none.
    """
    content = f"id\0{value}".encode("utf-8", "surrogatepass")
    if key is not None:
        return f"[id:{hmac.new(key, content, hashlib.sha256).hexdigest()[:16]}]"
    return f"[id:{int.from_bytes(hashlib.sha256(content).digest()[:8]) % _BUCKETS:03x}]"
