"""The customer-facing view: one page per segment value that can be sent on alone, and an index of them that stays in the house.

A page holds the numbers of its own value and the average of all rows, nothing else: no other value's name or numbers, no class that
does not occur in it, no message text, no path, no lineage.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.reporting import confusion, page, quality
from components.reporting.axis import share_axis
from components.reporting.confusion import Cell, MatrixSlice
from components.reporting.formats import plural

FOLDER = "slices"
INDEX = f"{FOLDER}/index.html"
PAGES_PER_SEGMENT = 200
# A page of one customer is meant to be mailed; a larger table than this is for the interactive matrix alone.
FULL_MATRIX_CLASSES = 24
_NAME_LENGTH = 48
_DIGEST_LENGTH = 16
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]*")
_HASHED = re.compile(rf".*-[0-9a-f]{{{_DIGEST_LENGTH}}}")
# `index` is ours; the others are devices on Windows, where these pages may be unpacked.
_RESERVED = re.compile(r"index|con|prn|aux|nul|(com|lpt)\d")


@dataclasses.dataclass(frozen=True)
class SlicePage:
    """One page to write.

    Attributes:
      column: The segment's column.
      value: The segment value it is about.
      position: Where the slice stands in metrics.json and confusion.json.
      n: Its test rows.
      path: Where it is written, relative to the report's folder.
    """

    column: str
    value: str
    position: int
    n: int
    path: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The pages of a run, segment by segment and largest value first; `left_out` counts values beyond PAGES_PER_SEGMENT."""

    pages: tuple[SlicePage, ...]
    left_out: int

    def links(self) -> dict[tuple[tuple[str, str], ...], str]:
        """Returns the address of each page relative to the report, by `quality.slice_key`."""
        return {quality.slice_key({entry.column: entry.value}): entry.path for entry in self.pages}

    def note(self) -> str:
        """Returns how many pages there are, in a sentence."""
        made = (
            f"{plural(len(self.pages), 'value')} of the segments {'has a page' if len(self.pages) == 1 else 'have a page each'}"
        )
        if not self.left_out:
            return f"{made}; those too small to judge have none."
        return (
            f"{made}: the {PAGES_PER_SEGMENT} largest of each segment. {plural(self.left_out, 'smaller one')} and those too small to "
            "judge have none."
        )


@dataclasses.dataclass(frozen=True)
class About:
    """What a page says about where it comes from.

    Attributes:
      pipeline: The pipeline's name.
      run_id: The run.
      date: When it was measured, as text.
    """

    pipeline: str
    run_id: str
    date: str


NO_PAGES = Plan((), 0)


def plan(metrics: Mapping[str, Any]) -> Plan:
    """Returns which pages a run has: one for each value, large enough to judge, of the declared segments of one column.

    Args:
      metrics: The content of metrics.json.
    """
    declared = {segment["columns"][0] for segment in metrics["segments"] if segment["declared"] and len(segment["columns"]) == 1}
    by_column: dict[str, list[SlicePage]] = collections.defaultdict(list)
    for position, row in enumerate(metrics["candidate"]["slices"]):
        if len(row["slice"]) == 1 and row["n"] >= metrics["min_rows"]:
            [(column, value)] = row["slice"].items()
            if column in declared:
                path = f"{FOLDER}/{file_name(column)}/{file_name(value)}.html"
                by_column[column].append(SlicePage(column, value, position, row["n"], path))
    ranked = {column: sorted(pages, key=lambda entry: (-entry.n, entry.value)) for column, pages in by_column.items()}
    kept = [entry for pages in ranked.values() for entry in pages[:PAGES_PER_SEGMENT]]
    return Plan(tuple(kept), sum(map(len, ranked.values())) - len(kept))


def file_name(value: str) -> str:
    """Returns a name for files and addresses that no other value shares, also where case does not count.

    A short plain value is its own name. Any other one keeps what is readable of it and ends in the beginning of its SHA-256; plain
    values that look as if they did, too.
    """
    if len(value) <= _NAME_LENGTH and _PLAIN.fullmatch(value) and not _HASHED.fullmatch(value) and not _RESERVED.fullmatch(value):
        return value
    ascii_only = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:_NAME_LENGTH].rstrip("-") or "value"
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{readable}-{digest}"


def render(metrics: Mapping[str, Any], cells: Mapping[str, Any], about: About) -> Iterator[tuple[str, str]]:
    """Yields the path, relative to the report's folder, and the content of each page, the index last; nothing without pages.

    Args:
      metrics: The content of metrics.json.
      cells: The content of confusion.json.
      about: Where the numbers come from.
    """
    planned = plan(metrics)
    for entry in planned.pages:
        yield entry.path, _page(entry, metrics, cells, about)
    if planned.pages:
        yield INDEX, _index(planned, metrics, about)


def _page(entry: SlicePage, metrics: Mapping[str, Any], cells: Mapping[str, Any], about: About) -> str:
    alone = _alone(metrics, entry.position)
    overall = quality.overall(alone)
    whole = quality.overall_slice(metrics)["metrics"]
    average = [whole.get(name) for name in quality.overall_slice(alone)["metrics"]]
    labels, ours, theirs = _occurring(metrics["labels"], cells, entry.position)
    shown = MatrixSlice(entry.column, entry.value, entry.n, small=False, candidate=ours, baseline=theirs)
    return page.render(
        "slice_page.html.j2",
        about=about,
        column=entry.column,
        value=entry.value,
        n=entry.n,
        rows=overall.rows,
        axis=share_axis(
            place
            for row, other in zip(overall.rows, average, strict=True)
            if row.on_axis
            for place in (row.candidate, other, *(row.interval or ()))
        ),
        accuracy=next((row for row in overall.rows if row.label == "Accuracy"), None),
        average=average,
        average_accuracy=whole.get("accuracy"),
        has_baseline=bool(metrics.get("baseline")),
        confidence=(metrics.get("bootstrap") or {}).get("confidence"),
        classes=len(labels),
        explorer=confusion.explorer(labels, [shown]),
        pairs=confusion.top_pairs(labels, ours),
        matrix=confusion.matrix(labels, ours, FULL_MATRIX_CLASSES),
        per_class=quality.classes(_per_class(labels, ours), _per_class(labels, theirs) if theirs is not None else ()),
    )


def _index(planned: Plan, metrics: Mapping[str, Any], about: About) -> str:
    slices = metrics["candidate"]["slices"]
    by_column: dict[str, list[tuple[SlicePage, Mapping[str, Any]]]] = collections.defaultdict(list)
    for entry in planned.pages:
        by_column[entry.column].append((entry, slices[entry.position]))
    return page.render(
        "slice_index.html.j2",
        about=about,
        note=planned.note(),
        segments=[
            {
                "column": column,
                "rows": [
                    {
                        "value": entry.value,
                        "link": entry.path.removeprefix(f"{FOLDER}/"),
                        "n": entry.n,
                        "accuracy": row["metrics"].get("accuracy"),
                        "interval": (row.get("intervals") or {}).get("accuracy"),
                    }
                    for entry, row in entries
                ],
            }
            for column, entries in by_column.items()
        ],
    )


def _alone(metrics: Mapping[str, Any], position: int) -> dict[str, Any]:
    """metrics.json as if the slice were all rows there are."""

    def only(part: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return {"slices": [{**part["slices"][position], "slice": {}}]} if part else None

    return {
        "top_k": metrics.get("top_k"),
        "candidate": only(metrics["candidate"]),
        "majority": only(metrics.get("majority")),
        "comparison": only(metrics.get("comparison")),
    }


def _occurring(labels: Sequence[str], cells: Mapping[str, Any], position: int) -> tuple[list[str], list[Cell], list[Cell] | None]:
    """The labels that occur in a slice, and the cells of both models counted in those."""
    ours, theirs = cells["candidate"][position], (cells.get("baseline") or {position: None})[position]
    used = sorted({index for cell in [*ours, *(theirs or ())] for index in cell[:2] if index < len(labels)})
    place = {index: new for new, index in enumerate(used)} | {len(labels): len(used)}

    def moved(chosen: Sequence[Sequence[float]]) -> list[Cell]:
        return [(place[int(actual)], place[int(predicted)], n) for actual, predicted, n in chosen]

    return [labels[index] for index in used], moved(ours), None if theirs is None else moved(theirs)


def _per_class(labels: Sequence[str], cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label from its cells, None where there is nothing to divide by."""
    support, predicted, hits = (collections.defaultdict[int, float](float) for _ in range(3))
    for actual, said, n in cells:
        support[actual] += n
        predicted[said] += n
        if actual == said:
            hits[actual] += n
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(labels):
        n, answers, right = support[index], predicted[index], hits[index]
        rows.append(
            {
                "class": name,
                "n": n,
                "precision": right / answers if answers else None,
                "recall": right / n if n else None,
                "f1": 2 * right / (n + answers) if n + answers else None,
            }
        )
    return rows
