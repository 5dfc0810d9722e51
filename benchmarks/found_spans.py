"""How well spans that were found in texts fit those that are there: recall, precision, and what of them went."""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence

Found = tuple[int, int, str]
"""Start, end and entity, in characters."""


def score(rows: Sequence[tuple[str, list[Found]]], found: Sequence[list[Found]]) -> dict[str, dict[str, float]]:
    """Compares what was found with what is there, by entity.

    Args:
      rows: Texts with their spans.
      found: By row.

    Returns:
      By entity that the set has: `spans`, `found`, `recall`, `precision`, `f1`, `f2` and `removed`.
    """
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for (text, there), spans in zip(rows, found, strict=True):
        covered = {position for start, end, _ in spans for position in range(start, end)}
        for span in there:
            entity = counts[span[2]]
            entity["there"] += 1
            entity["recalled"] += any(_same(span, other) for other in spans)
            letters = [position for position in range(span[0], span[1]) if text[position].isalnum()]
            entity["letters"] += len(letters)
            entity["removed"] += sum(position in covered for position in letters)
        for span in spans:
            counts[span[2]]["found"] += 1
            counts[span[2]]["right"] += any(_same(span, other) for other in there)
    scores = {}
    for entity, count in sorted(counts.items()):
        if not count["there"]:
            continue
        recall, precision = count["recalled"] / count["there"], count["right"] / count["found"] if count["found"] else 0.0
        scores[entity] = {
            "spans": count["there"],
            "found": count["found"],
            "recall": round(recall, 4),
            "precision": round(precision, 4),
            "f1": round(2 * precision * recall / (precision + recall), 4) if recall and precision else 0.0,
            "f2": round(5 * precision * recall / (4 * precision + recall), 4) if recall and precision else 0.0,
            "removed": round(count["removed"] / count["letters"], 4),
        }
    return scores


def bare_numbers(
    rows: Sequence[tuple[str, list[Found]]], found: Sequence[list[Found]], also: Collection[str]
) -> dict[str, dict[str, float]]:
    """How many numbers without anything else went, and how much of what went was somebody's.

    Args:
      rows: Texts with their spans, also those of `also`.
      found: By row.
      also: Entities that are somebody's and no identifiers: addresses and names.

    Returns:
      By entity and for `all`: `spans` of four digits or more and nothing else; `recall`, the share of them of which more than half went,
      under any name; `named`, the share that went under their own; `short`, those of fewer digits, which are not among them, and
      `short_recall`. For `number` and `everything` of what was found: `found`; `precision`, the share that overlaps an identifier, and
      `precision_also`, that or one of `also`.
    """
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for (text, there), spans in zip(rows, found, strict=True):
        name_at = {position: entity for start, end, entity in spans for position in range(start, end)}
        for start, end, entity in there:
            places = [position for position in range(start, end) if text[position] != " "]
            if entity in also or not all(text[position].isdecimal() for position in places):
                continue
            names = [name_at[position] for position in places if position in name_at]
            size = "spans" if len(places) >= 4 else "short"
            for row in (counts[entity], counts["all"]):
                row[size] += 1
                row[f"{size} gone"] += 2 * len(names) > len(places)
                row[f"{size} named"] += 2 * names.count(entity) > len(places)
        for start, end, entity in spans:
            touched = {other[2] for other in there if other[0] < end and other[1] > start}
            for row in (counts["everything"], *([counts["number"]] if entity == "number" else [])):
                row["found"] += 1
                row["identifiers"] += bool(touched.difference(also))
                row["somebody's"] += bool(touched)
    scores: dict[str, dict[str, float]] = {}
    for entity, count in sorted(counts.items()):
        if count["found"]:
            shares = {"precision": count["identifiers"], "precision_also": count["somebody's"]}
            scores[entity] = {"found": count["found"], **{name: round(of / count["found"], 4) for name, of in shares.items()}}
        else:
            scores[entity] = {
                "spans": count["spans"],
                "recall": round(count["spans gone"] / max(1, count["spans"]), 4),
                "named": round(count["spans named"] / max(1, count["spans"]), 4),
                "short": count["short"],
                "short_recall": round(count["short gone"] / max(1, count["short"]), 4),
            }
    return scores


def _same(span: Found, other: Found) -> bool:
    overlap = min(span[1], other[1]) - max(span[0], other[0])
    return span[2] == other[2] and 2 * overlap >= max(span[1], other[1]) - min(span[0], other[0])
