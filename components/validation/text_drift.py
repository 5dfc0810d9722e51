"""Whether the texts of a run are still like those one knows: script, language, length, words, repetitions.

Like other columns (see `drift`) two train splits are compared, and a difference counts only if it is more than chance and as large as
the limits of `validation.texts`. Its size is the share of the rows that would have to be otherwise for the two to be equal.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.findings import Finding, Severity
from components.ingestion import text_statistics
from components.ingestion.hashed_counts import HashedCounts
from components.validation import distances
from components.validation.options import SKEW, Limit, ValidationOptions

SCRIPT, LANGUAGE, LENGTH, UNKNOWN_WORDS, DUPLICATES = "script", "language", "length", "unknown_words", "duplicates"
"""What is compared; the names of the options of `validation.texts`."""

_TRAIN, *_LATER = text_statistics.SPLITS
_PARTS = 10
_SHOWN_CELLS = 3
_MOST_CELLS = 20
_KNOWN, _UNKNOWN = "known words", "unknown words"
_FIRST, _AGAIN = "first of their kind", "repeated"
_TITLES = {
    SCRIPT: "the scripts of texts",
    LANGUAGE: "the languages of texts",
    LENGTH: "the lengths of texts in characters",
    UNKNOWN_WORDS: "words that the other data does not have",
    DUPLICATES: "repeated texts",
}
# By chance alone, such a difference is not seen once in all runs there will ever be.
_LEAST_CHANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class Texts:
    """What ingestion says of the texts of a data set.

    Attributes:
      columns: By text column and split, see TextStatistics.report.
      vocabulary: The words of the train split by text column, as hashes.
    """

    columns: Mapping[str, Mapping[str, Mapping[str, Any]]]
    vocabulary: Mapping[str, HashedCounts]


@dataclasses.dataclass(frozen=True)
class TextDrift:
    """One measure of the texts of one column in two data sets.

    Attributes:
      column: The text column.
      measure: SCRIPT, LANGUAGE, LENGTH, UNKNOWN_WORDS or DUPLICATES.
      distance: The share of the rows (of the words, for UNKNOWN_WORDS) that would have to be otherwise.
      p_value: Probability of such a difference by chance, corrected for the number of measures.
      cells: Both distributions: every value or range with its shares, in order.
      different: Whether it is more than chance and above a limit.
    """

    column: str
    measure: str
    distance: float
    p_value: float
    cells: tuple[distances.Contribution, ...]
    different: bool


def of_data(summary: Mapping[str, Any], folder: str | os.PathLike[str]) -> Texts:
    """Returns what ingestion says of texts; nothing, if the data is from before there was such a thing.

    Args:
      summary: The summary written by ingestion.
      folder: The Examples artifact, which holds the vocabulary.
    """
    return Texts(summary.get("texts", {}), text_statistics.read_vocabulary(folder))


def compare(before: Texts, after: Texts, options: ValidationOptions) -> tuple[TextDrift, ...]:
    """Compares the texts of two data sets.

    Args:
      before: The older data, or the training data.
      after: The newer data, or what a server was asked.
      options: From when on a difference counts (`validation.texts`, `validation.drift.alpha`).

    Returns:
      A result for every measure that both data sets have, those that differ first.
    """
    counted = {
        (column, measure): cells
        for column in before.columns
        if column in after.columns
        for measure, cells in _cells(column, before, after)
        if cells is not None
    }
    chances = distances.adjust([distances.g_test(cells) for cells in counted.values()]) if counted else []
    results = []
    for ((column, measure), cells), chance in zip(counted.items(), chances, strict=True):
        p, q = cells.shares()
        # Fewer new words than between the splits of the older data are no news.
        distance = max(float(q[1] - p[1]), 0.0) if measure == UNKNOWN_WORDS else float(np.abs(p - q).sum() / 2)
        limit = getattr(options.texts, measure)
        results.append(
            TextDrift(
                column=column,
                measure=measure,
                distance=distance,
                p_value=chance,
                cells=tuple(map(distances.Contribution, cells.names, map(float, p), map(float, q)))[:_MOST_CELLS],
                different=_severity(distance, limit) is not Severity.INFO and chance <= options.drift.alpha,
            )
        )
    return tuple(sorted(results, key=lambda result: (not result.different, -result.distance)))


def findings(compared: Iterable[TextDrift], against: str, kind: str, options: ValidationOptions) -> Iterator[Finding]:
    """Yields a finding per measure that differs.

    Args:
      compared: The results of `compare`.
      against: What the data was compared with, in words.
      kind: DRIFT or SKEW: which severity of a column counts (`validation.severity`), if there is one.
      options: The limits.
    """
    for one in compared:
        limit = getattr(options.texts, one.measure)
        if not one.different or (severity := options.severity_of(one.column, kind, _severity(one.distance, limit))) is None:
            continue
        bounds = ", ".join(
            f"{word} above {bound:.2%}" for word, bound in (("warning", limit.warn), ("error", limit.fail)) if bound is not None
        )
        chance = f"{one.p_value:.2g}" if one.p_value >= _LEAST_CHANCE else f"below {_LEAST_CHANCE:g}"
        yield Finding(
            check=f"{kind}: {_TITLES[one.measure]}",
            severity=severity,
            message=f"Column {one.column!r}: {_said(one, against, kind)} (chance {chance}; validation.texts.{one.measure}: {bounds})",
            subject=one.column,
            expected=bounds,
            observed=f"{one.distance:.2%}",
        )


def change(what: str, before: str, after: str, kind: str) -> str:
    """Says how much of something there was before and is now, or, of SKEW, on either side."""
    return f"{what} {before} in training, {after} in serving" if kind == SKEW else f"{what} {before} -> {after}"


def _said(one: TextDrift, against: str, kind: str) -> str:
    if one.measure == UNKNOWN_WORDS:
        before, after = one.cells[1].before, one.cells[1].after
        return (
            f"{after:.1%} of the words are none of {against}, where {before:.1%} of the words of eval and test are none of train"
        )
    if one.measure == DUPLICATES:
        return f"{one.cells[1].after:.1%} of the texts repeat another one, {one.cells[1].before:.1%} of as many in {against}"
    moved = sorted(one.cells, key=lambda cell: -abs(cell.after - cell.before))[:_SHOWN_CELLS]
    changes = "; ".join(
        change(cell.cell, f"{cell.before:.1%}", f"{cell.after:.1%}", kind) for cell in moved if cell.before != cell.after
    )
    return f"{_TITLES[one.measure]} differ from {against} in {one.distance:.1%} of the rows: {changes}"


def _severity(distance: float, limit: Limit) -> Severity:
    if limit.fail is not None and distance > limit.fail:
        return Severity.ERROR
    return Severity.WARNING if limit.warn is not None and distance > limit.warn else Severity.INFO


def _cells(column: str, before: Texts, after: Texts) -> Iterator[tuple[str, distances.Cells | None]]:
    old, new = before.columns[column], after.columns[column]
    yield SCRIPT, _of_values(old[_TRAIN]["scripts"], new[_TRAIN]["scripts"])
    yield LANGUAGE, _of_values(old[_TRAIN]["languages"], new[_TRAIN]["languages"])
    yield LENGTH, _of_histograms(old[_TRAIN]["length"]["histogram"], new[_TRAIN]["length"]["histogram"])
    if column in before.vocabulary and column in after.vocabulary:
        yield UNKNOWN_WORDS, _of_words(old, new, before.vocabulary[column], after.vocabulary[column])
    yield DUPLICATES, _of_repeats(old[_TRAIN]["repeats"], new[_TRAIN]["repeats"])


def _of_values(before: Mapping[str, int], after: Mapping[str, int]) -> distances.Cells | None:
    if not before or not after:
        return None
    names = sorted({*before, *after}, key=lambda name: -before.get(name, 0) - after.get(name, 0))
    old, new = (np.array([counts.get(name, 0) for name in names], float) for counts in (before, after))
    return distances.Cells(tuple(names), old, new)


def _of_histograms(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> distances.Cells | None:
    """Rows between the older data's deciles."""
    if not before or not after:
        return None
    lower = [low for low, _ in before]
    ranks = np.cumsum([rows for _, rows in before])
    deciles = {lower[place] for place in np.searchsorted(ranks, np.arange(1, _PARTS) / _PARTS * ranks[-1])}
    # One length that many texts have is a cell of its own.
    often = {low for low, rows in before if rows >= ranks[-1] / _PARTS}
    cuts = np.array(sorted(deciles | often | {text_statistics.end_of_range(low) for low in often}))
    counts = [
        np.bincount(np.searchsorted(cuts, [low for low, _ in part], side="right"), [rows for _, rows in part], len(cuts) + 1)
        for part in (before, after)
    ]
    between = [str(low) if low == high - 1 else f"{low} to {high - 1}" for low, high in zip(cuts, cuts[1:], strict=False)]
    names = (f"below {cuts[0]}", *between, f"from {cuts[-1]}")
    used = counts[0] + counts[1] > 0
    return distances.Cells(
        tuple(name for name, there in zip(names, used, strict=True) if there), counts[0][used], counts[1][used]
    )


def _of_words(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], known: HashedCounts, words: HashedCounts
) -> distances.Cells | None:
    """Words that the older train split has and has not: those of its own later splits beside those of the newer train split.

    Words of one text come together, so that there is no more evidence than there are texts.
    """
    all_words = sum(old[split]["all_words"] for split in _LATER)
    texts_before = sum(old[split]["rows"] - old[split]["empty"] for split in _LATER)
    texts_after = new[_TRAIN]["rows"] - new[_TRAIN]["empty"]
    if not all_words or not words.total or not known.total:
        return None
    shares = (
        sum(old[split]["unknown_words"] * old[split]["all_words"] for split in _LATER) / all_words,
        words.unknown_to(known),
    )
    return _of_shares(_KNOWN, _UNKNOWN, shares, (min(texts_before, all_words), min(texts_after, words.total)))


def _of_repeats(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> distances.Cells | None:
    """Repeated texts among as many of the one as of the other: the more texts there are, the more of them repeat another one."""
    sizes = [sum(often * many for often, many in part) for part in (before, after)]
    if not all(sizes):
        return None
    drawn = min(sizes)
    shares = []
    for part, size in zip((before, after), sizes, strict=True):
        # A text that occurs so often is among those drawn at all with this probability, if each is drawn by itself.
        different = sum(many * -np.expm1(often * np.log1p(-drawn / size)) if drawn < size else many for often, many in part)
        shares.append(1 - min(different / drawn, 1.0))
    return _of_shares(_FIRST, _AGAIN, (shares[0], shares[1]), (drawn, drawn))


def _of_shares(first: str, second: str, shares: tuple[float, float], of: tuple[float, float]) -> distances.Cells:
    """Two kinds of things, of which the second is a share of so many."""
    counts = [np.array([(1 - share) * n, share * n]) for share, n in zip(shares, of, strict=True)]
    return distances.Cells((first, second), *counts)
