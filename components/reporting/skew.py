"""The page of `parlance skew`: what a server was asked beside what its model was trained on.

It holds shares, distances and values of columns that are no text, never a message, and needs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.reporting import drift, page
from components.reporting.formats import plural

_TONES = {"error": ("bad", "✕ error"), "warning": ("warn", "! warning"), "info": ("plain", "– info")}


def render(result: Mapping[str, Any]) -> str:
    """Returns the page.

    Args:
      result: What `parlance skew --output json` prints: `pipeline`, `requests_to`, `rows`, `training`, `findings`, `comparison`, `notes`.
    """
    counts = {severity: sum(one["severity"] == severity for one in result["findings"]) for severity in _TONES}
    serious, odd = counts["error"], counts["warning"]
    title = ", ".join(plural(n, noun) for n, noun in ((serious, "error"), (odd, "warning")) if n)
    [table] = drift.tables([result["comparison"]])
    return page.render(
        "skew.html.j2",
        pipeline=result["pipeline"],
        asked=result["requests_to"],
        title=title or "No skew",
        tone="bad" if serious else "warn" if odd else "good",
        rows=plural(result["rows"], "row"),
        training=result["training"],
        trained_on=plural(result["training"]["rows"], "row"),
        findings=[{"tone": _TONES[one["severity"]], "finding": one} for one in result["findings"]],
        table=table,
        notes=result["notes"],
    )
