"""The text of a pipeline file: YAML a person reads top to bottom, with a word on what to look at in each section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_COMMENTS = {
    "data": "Check first: is `text` what a request will hold, is `label` what you want to know, and may `exclude` stay excluded?",
    "schema": "Types and inputs of every stored column. Lines with SERVING mark columns that are not inputs of the model.",
    "privacy": "Removed before anything is stored; values that the schema lists stay. Names need a tagger; number is for chats.",
    "validation": "Rows that break a rule of the schema are set aside (data.enforce_schema); a larger share than this stops the run.",
    "model": "encoder: ngrams (fast) or tokens. class_weights: balanced helps rare classes, at the price of the frequent ones.",
    "evaluation": "A model that fails a gate is not released. Raise the limits once you know what this data allows.",
    "release": "Blessed models go to <root>/<directory>/<name>/<version>/.",
}
_MAX_LINE = 100


def render(values: Mapping[str, Any], header: str) -> str:
    """Writes a pipeline file.

    Args:
      values: Its content, in order.
      header: What the comment at the top says.
    """
    lines = [f"# {line}" for line in header.splitlines()]
    for key, value in values.items():
        if key in _COMMENTS:
            lines += ["", f"# {_COMMENTS[key]}"]
        lines += _entry(key, value, depth=0)
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, depth: int) -> list[str]:
    """One key: on one line if it is short, opened up if not."""
    indent = "  " * depth
    line = f"{indent}{_flow(key)}: {_flow(value)}"
    opens = isinstance(value, dict | list) and (len(line) > _MAX_LINE or key in ("data", "gates", "evaluation"))
    if not opens:
        return [line]
    lines = [f"{indent}{_flow(key)}:"]
    if isinstance(value, dict):
        for inner_key, inner in value.items():
            lines += _entry(inner_key, inner, depth + 1)
    else:
        lines += [f"{indent}  - {_flow(item)}" for item in value]
    return lines


def _flow(value: Any) -> str:
    """One value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")
