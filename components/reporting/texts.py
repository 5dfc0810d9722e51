"""What the texts of the data are like, and which languages they are in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.reporting.data_profile import SPLITS, Bar, bars_of_shares
from components.reporting.formats import NOTHING, count, percent

COLUMNS = 20
LANGUAGES = 60
_SHOWN_VALUES = 4
_RANGES = 24


@dataclasses.dataclass(frozen=True)
class Texts:
    """The texts of one column and split, as written in a table.

    Attributes:
      column: The text column.
      split: The split.
      rows: Its rows.
      empty: The share of them without a text.
      length, words: Median, and where nine of ten texts lie, in characters and words.
      scripts, languages: The most frequent ones with their shares of the texts.
      duplicates: The share of the texts that repeat another one.
      unknown: The share of the words that train does not have; a dash for train.
      chart: Lengths, as a histogram over ranges that double.
    """

    column: str
    split: str
    rows: int
    empty: str
    length: str
    words: str
    scripts: str
    languages: str
    duplicates: str
    unknown: str
    chart: tuple[Bar, ...]

    @property
    def charts(self) -> dict[str, tuple[Bar, ...]]:
        """The chart by split, as histograms of columns have them."""
        return {self.split: self.chart} if self.chart else {}

    @property
    def name(self) -> str:
        """What the chart is of."""
        return f"lengths of {self.column}"


@dataclasses.dataclass(frozen=True)
class Language:
    """One value of the column of languages: rows that were compared, the share that agrees, what was detected most."""

    name: str
    rows: int
    agreement: float | None
    detected: str


@dataclasses.dataclass(frozen=True)
class Languages:
    """What language detection found.

    Attributes:
      summary: In a sentence or two.
      column: The column that was checked; empty if there was none.
      rows: By value of the column, the most frequent first.
      left_out: How many further values there are.
    """

    summary: str
    column: str
    rows: tuple[Language, ...]
    left_out: int


def tables(texts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Texts]:
    """Returns the texts of each column and split that has rows.

    Args:
      texts: `texts` of ingestion's summary.
    """
    return [
        _texts(column, split, by_split[split])
        for column, by_split in list(texts.items())[:COLUMNS]
        for split in SPLITS
        if by_split.get(split, {}).get("rows")
    ]


def languages(found: Mapping[str, Any]) -> Languages | None:
    """Returns what language detection found; None if nobody asked for it.

    Args:
      found: `languages` of ingestion's summary.
    """
    if not found:
        return None
    told = f"{percent(1 - found['undetermined'])} of {count(found['rows'])} rows have a text that tells its language: "
    sentences = [told + _shares(found["detected"], found["rows"], LANGUAGES, without="und") + "."]
    if not (column := found.get("column", "")):
        return Languages(sentences[0], "", (), 0)
    if silent := found["silent"]:
        done = "got the one their text is in" if found["filled"] else "are left without"
        sentences.append(f"{count(silent)} rows did not say it and {done}.")
    if found["agreement"] is not None:
        sentences.append(f"Of {count(found['compared'])} rows that say it, {percent(found['agreement'])} agree with their text.")
    if beyond := found["beyond"]:
        named = _shares(beyond, sum(beyond.values()), LANGUAGES)
        sentences.append(
            f"{count(sum(beyond.values()))} rows say one that was not to choose from (data.language.languages): {named}."
        )
    values = found["by_language"]
    rows = [
        Language(value, one["rows"], one["agreement"], _shares(one["detected"], one["rows"], _SHOWN_VALUES))
        for value, one in list(values.items())[:LANGUAGES]
    ]
    return Languages(" ".join(sentences), column, tuple(rows), max(len(values) - LANGUAGES, 0))


def _texts(column: str, split: str, told: Mapping[str, Any]) -> Texts:
    texts = told["rows"] - told["empty"]
    return Texts(
        column=column,
        split=split,
        rows=told["rows"],
        empty=percent(told["empty"] / told["rows"]),
        length=_spread(told["length"]["quantiles"]),
        words=_spread(told["words"]["quantiles"]),
        scripts=_shares(told["scripts"], texts),
        languages=_shares(told["languages"], texts),
        duplicates=percent(told["duplicates"]) if texts else NOTHING,
        unknown=percent(told["unknown_words"]) if told.get("all_words") and "unknown_words" in told else NOTHING,
        chart=_chart(told["length"]["histogram"]),
    )


def _spread(quantiles: Mapping[str, int]) -> str:
    if not quantiles:
        return NOTHING
    return f"{count(quantiles['p50'])} ({count(quantiles['p5'])} to {count(quantiles['p95'])}, at most {count(quantiles['max'])})"


def _shares(rows: Mapping[str, int], total: int, most: int = _SHOWN_VALUES, without: str = "") -> str:
    ranked = sorted(((name, n) for name, n in rows.items() if name != without), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {percent(n / total)}" for name, n in ranked[:most] if total]
    more = [f"{len(ranked) - most} more"] if len(ranked) > most else []
    return ", ".join([*shown, *more]) or NOTHING


def _chart(histogram: list[list[int]]) -> tuple[Bar, ...]:
    """Two ranges for each doubling of the length, from the first, so that charts of splits have one axis."""
    counts = [0] * _RANGES
    for lower, rows in histogram:
        doublings = max(lower, 1).bit_length() - 1
        upper_half = lower >= 1.5 * (1 << doublings)
        counts[min(2 * doublings + upper_half, _RANGES - 1)] += rows
    return bars_of_shares(counts) if histogram else ()
