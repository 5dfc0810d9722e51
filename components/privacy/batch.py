"""Personal data removed from columns of rows, fast: most rows hold none, and for those regular expressions in C++ settle it.

redactor = BatchRedactor(options, key, categories=stored_columns.categories(schema, ["text"], group=None))
batch = redactor.redact(batch, ["text"], {"language": batch["language"]})
redactor.audit()
"""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.errors import EnvironmentFailure, UsageError
from components.privacy.options import PrivacyOptions
from serving.redaction import (
    UNUSUAL_RE2,
    Detector,
    MissingDetectorError,
    MissingKeyError,
    RedactionRules,
    Redactor,
    Span,
    Trigger,
)
from serving.redaction.categories import CategoryRedactor
from serving.redaction.category_rule import CategoryRule

# A segment with more values than this is no segment a person would read; the rarest are left out of the audit.
_MOST_SEGMENT_VALUES = 200
_NO_VALUE = "(none)"


class BatchRedactor:
    """Removes personal data from columns of text and of categories, and counts what it removed.

    The result is that of the one-by-one `Redactor` and `CategoryRedactor`.
    """

    def __init__(
        self,
        options: PrivacyOptions,
        key: bytes | None = None,
        detectors: Iterable[Detector] | None = None,
        categories: Mapping[str, CategoryRule] | None = None,
    ):
        """A redactor that has seen nothing yet.

        Args:
          options: The `privacy:` section.
          key: The key of hashes; None where there are none.
          detectors: Those beside the patterns; those that the section names a file for, if not given.
          categories: The columns beside the texts, see `stored_columns.categories`; not used where the section names columns.

        Raises:
          EnvironmentFailure: The section hashes, and there is no key.
          UsageError: It names a detector that is not here, or the file of one that holds none.
        """
        self._rules = options.rules((), categories)
        try:
            self._redactor = Redactor(self._rules, key=key, detectors=options.detectors() if detectors is None else detectors)
        except MissingKeyError as error:
            raise EnvironmentFailure(f"privacy.key: {error}. Set the variable, or choose another mode than hash") from error
        except MissingDetectorError as error:
            raise UsageError(f"privacy.redact: {error}") from error
        self._columns = options.columns
        patterns = Redactor(self._rules.of_patterns(), key=key)
        self._texts, self._patterns = _Finder(self._redactor), _Finder(patterns)
        self._categories = {name: CategoryRedactor(rule, patterns, key) for name, rule in self._rules.categories.items()}
        self._known = {name: pa.array(rule.known, pa.string()) for name, rule in self._rules.categories.items()}
        self._seen_columns: dict[str, None] = dict.fromkeys(options.columns or ())
        self._rows = self._redacted_rows = 0
        self._counts: dict[str, _Counts] = {}

    @property
    def rules(self) -> RedactionRules:
        """What was done, to be done again when serving; complete once `redact` has seen a batch."""
        return dataclasses.replace(self._rules, columns=tuple(self._seen_columns))

    def fresh(self) -> BatchRedactor:
        """Returns another one, of the same rules and detectors, that has seen nothing yet; see `merge`."""
        other = copy.copy(self)
        other._seen_columns = dict.fromkeys(self._columns or ())
        other._rows = other._redacted_rows = 0
        other._counts = {}
        return other

    def merge(self, other: BatchRedactor) -> None:
        """Adds what another one removed to what this one did. Each of them may have been at work in a thread of its own."""
        self._seen_columns.update(other._seen_columns)
        self._rows += other._rows
        self._redacted_rows += other._redacted_rows
        for entity, counts in other._counts.items():
            self._counts.setdefault(entity, _Counts()).merge(counts)

    def redact(
        self, batch: pa.RecordBatch, text_columns: Sequence[str], segments: Mapping[str, pa.Array] | None = None
    ) -> pa.RecordBatch:
        """Removes personal data.

        Args:
          batch: Rows.
          text_columns: The pipeline's text columns; redacted, unless the options name other columns.
          segments: Columns to count by, of the batch's length; their values are shown in the audit.

        Returns:
          The rows, the same in number and order; columns of text without personal data are not copied.

        Raises:
          UsageError: A column is missing, or does not hold text.
        """
        found: list[_Hits] = []
        for name in self._columns if self._columns is not None else text_columns:
            self._seen_columns[name] = None
            index = _text_column(batch, name)
            column, hits = self._redact_texts(name, batch.column(index))
            if hits:
                batch = batch.set_column(index, batch.schema.field(index), column)
                found += hits
        for name in self._categories:
            index = _text_column(batch, name)
            column, hits = self._redact_category(name, batch.column(index))
            if hits:
                batch = batch.set_column(index, batch.schema.field(index), column)
                found += hits
        self._count(batch.num_rows, found, segments or {})
        return batch

    def redact_value(self, value: str) -> str:
        """Returns one value without personal data, for what is said of a column; it is not counted."""
        return self._redactor.redact(value)

    def audit(self) -> dict[str, Any]:
        """Returns what was removed so far: counts only, never a value.

        `rows` and `redacted_rows`; `entities`, each with its `mode`, `found` (how often) and `rows` (in how many), `columns` (how often
        in each) and `segments` (in how many rows, by segment column and value); `rules_sha256`.
        """
        return {
            "rows": self._rows,
            "redacted_rows": self._redacted_rows,
            "entities": {
                entity: {"mode": self._rules.entities[entity].mode.value, **self._counts[entity].to_json()}
                for entity in sorted(self._counts)
            },
            "rules_sha256": self.rules.sha256(),
        }

    def _redact_texts(self, name: str, column: pa.Array) -> tuple[pa.Array, list[_Hits]]:
        """The column without personal data, and what was in it."""
        rows, texts, spans = self._texts.find(column)
        if not spans:
            return column, []
        replaced = {text: self._redactor.replace(text, found) for text, found in spans.items()}
        hits = [(int(row), text) for row, text in zip(rows, texts, strict=True) if text in spans]
        mask = np.zeros(len(column), bool)
        mask[[row for row, _ in hits]] = True
        values = pa.array([replaced[text] for _, text in hits], column.type)
        by_entity: dict[str, list[int]] = collections.defaultdict(list)
        for row, text in hits:
            for span in spans[text]:
                by_entity[span.entity].append(row)
        return (
            pc.replace_with_mask(column, pa.array(mask), values),
            [_Hits(name, entity, np.array(of_entity)) for entity, of_entity in by_entity.items()],
        )

    def _redact_category(self, name: str, column: pa.Array) -> tuple[pa.Array, list[_Hits]]:
        """The same of a column of categories: each value is looked at once, unless it is known."""
        known, category = self._known[name], self._categories[name]
        if len(known) and pc.all(pc.is_in(column, known), skip_nulls=True).as_py():
            return column, []
        encoded = column.dictionary_encode()
        values = encoded.dictionary
        unknown = np.flatnonzero(pc.invert(pc.is_in(values, known)).to_numpy(zero_copy_only=False))
        places, texts, spans = self._patterns.find(values.take(pa.array(unknown)))
        if not spans:
            return column, []
        # To avoid Python's work for each row where every row has one, as with numbers that look like a phone's.
        codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        replaced = values.to_pylist()
        times: dict[str, np.ndarray] = {}
        for place, text in zip(unknown[places], texts, strict=True):
            if text in spans:
                replaced[place] = category.replace(text, spans[text])
                for span in spans[text]:
                    times.setdefault(span.entity, np.zeros(len(values) + 1, np.int64))[place] += 1
        rows = np.arange(len(column))
        return (
            pa.array(replaced, column.type).take(encoded.indices),
            [_Hits(name, entity, np.repeat(rows, counted[codes])) for entity, counted in times.items()],
        )

    def _count(self, rows: int, found: Sequence[_Hits], segments: Mapping[str, pa.Array]) -> None:
        self._rows += rows
        if not found:
            return
        changed = np.unique(np.concatenate([hits.rows for hits in found]))
        self._redacted_rows += len(changed)
        rows_of: dict[str, list[np.ndarray]] = collections.defaultdict(list)
        for hits in found:
            self._counts.setdefault(hits.entity, _Counts()).columns[hits.column] += len(hits.rows)
            rows_of[hits.entity].append(hits.rows)
        values = {name: self._shown(name, column.take(pa.array(changed))) for name, column in segments.items()}
        for entity, parts in rows_of.items():
            counts, hit = self._counts[entity], np.unique(np.concatenate(parts))
            counts.rows += len(hit)
            for name, (codes, shown) in values.items():
                counted = np.bincount(codes[np.searchsorted(changed, hit)], minlength=len(shown))
                for code in np.flatnonzero(counted):
                    counts.segments[name][shown[code]] += int(counted[code])

    def _shown(self, name: str, column: pa.Array) -> tuple[np.ndarray, list[str]]:
        """A segment's value of each row, as an index into those that are shown: it may itself be an address, and most rows share a few."""
        encoded = column.dictionary_encode()
        redact = self._categories[name].redact if name in self._categories else self._redactor.redact
        shown = [redact(str(value)) for value in encoded.dictionary.to_pylist()]
        return encoded.indices.fill_null(len(shown)).to_numpy(zero_copy_only=False), [*shown, _NO_VALUE]


class _Hits(NamedTuple):
    """Personal data of one kind in one column.

    Attributes:
        column: The column.
        entity: The kind.
        rows: int [found], the row of each find.
    """

    column: str
    entity: str
    rows: np.ndarray


class _Finder:
    """Finds personal data in columns, without looking closely at what no detector would look at."""

    def __init__(self, redactor: Redactor):
        self._redactor = redactor
        self._screens = _screens(redactor.triggers)

    def find(self, column: pa.Array) -> tuple[np.ndarray, list[str], dict[str, list[Span]]]:
        """Returns which texts were looked at, int [looked at], and what they are; and what is in texts that hold any."""
        rows = np.flatnonzero(self.worth_a_look(column))
        if not len(rows):
            return rows, [], {}
        texts = column.take(pa.array(rows)).to_pylist()
        different = list(dict.fromkeys(texts))
        every = self._redactor.find_all(different, self._fired(pa.array(different, column.type)))
        return rows, texts, {text: found for text, found in zip(different, every, strict=True) if found}

    def worth_a_look(self, column: pa.Array) -> np.ndarray:
        """Says for each text whether any detector would look at it; too often yes, never wrongly no."""
        worth = np.zeros(len(column), bool)
        rows = np.arange(len(column))
        for screen in self._screens:
            if screen.digits:
                # Most texts have no digits: what is asked of those that have is asked of few.
                enough = _matches(column, Trigger(screen.digits).re2())
                rows, column = rows[enough], column.filter(pa.array(enough))
            for patterns in screen.patterns:
                worth[rows[_matches(column, patterns)]] = True
        return worth

    def _fired(self, texts: pa.Array) -> dict[Trigger, list[int]]:
        """By trigger, the texts that it may fire on: too many, but never one too few."""
        # Those whose plain form is another text than they are: what is in it is seen only there.
        unusual = np.flatnonzero(_matches(texts, (UNUSUAL_RE2,)))
        fired, rows, digits = {}, np.arange(len(texts)), 0
        for trigger in sorted(self._redactor.triggers, key=lambda trigger: trigger.digits):
            if trigger.digits > digits:
                digits = trigger.digits
                enough = _matches(texts, Trigger(digits).re2())
                rows, texts = rows[enough], texts.filter(pa.array(enough))
            matched = rows[_matches(texts, dataclasses.replace(trigger, digits=0).re2())]
            fired[trigger] = np.union1d(matched, unusual).tolist()
        return fired


@dataclasses.dataclass
class _Counts:
    """Of one entity."""

    rows: int = 0
    columns: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    segments: dict[str, collections.Counter[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )

    def merge(self, other: _Counts) -> None:
        self.rows += other.rows
        self.columns.update(other.columns)
        for name, values in other.segments.items():
            self.segments[name].update(values)

    def to_json(self) -> dict[str, Any]:
        return {
            "found": self.columns.total(),
            "rows": self.rows,
            "columns": dict(sorted(self.columns.items())),
            "segments": {name: dict(values.most_common(_MOST_SEGMENT_VALUES)) for name, values in sorted(self.segments.items())},
        }


class _Screen(NamedTuple):
    """What texts with so many digits have to match for a detector to look at them.

    Attributes:
        digits: A text has at least so many.
        patterns: RE2 patterns; it matches all of one of these.
    """

    digits: int
    patterns: Sequence[tuple[str, ...]]


def _screens(triggers: Collection[Trigger]) -> list[_Screen]:
    """What a text on which any trigger fires passes one of; by their digits, fewest first."""
    screens: list[_Screen] = []
    for digits in sorted({0, *(trigger.digits for trigger in triggers)}):
        here = [dataclasses.replace(trigger, digits=0) for trigger in triggers if trigger.digits == digits]
        plain = [trigger for trigger in here if not trigger.form]
        # One pattern for all stems, as each costs a look at every text.
        stems = Trigger(stems=tuple(sorted({stem for trigger in plain for stem in trigger.stems})))
        patterns = [stems.re2()] if stems.stems else []
        patterns += sorted({trigger.re2() for trigger in here if trigger.form})
        if any(not trigger.stems for trigger in plain):
            # Whatever has more digits passes here already.
            return [*screens, _Screen(digits, [()])]
        screens.append(_Screen(digits, patterns if digits else [*patterns, (UNUSUAL_RE2,)]))
    return screens if triggers else []


def _matches(column: pa.Array, patterns: Iterable[str]) -> np.ndarray:
    """Says which texts match all of some RE2 patterns; bool [texts]."""
    matches = column.is_valid()
    for pattern in patterns:
        matches = pc.and_(matches, pc.fill_null(pc.match_substring_regex(column, pattern), False))
    return matches.to_numpy(zero_copy_only=False)


def _text_column(batch: pa.RecordBatch, name: str) -> int:
    index = batch.schema.get_field_index(name)
    if index < 0:
        raise UsageError(
            f"privacy.columns: there is no column {name!r} to remove personal data from; columns: {', '.join(batch.schema.names)}"
        )
    kind = batch.schema.field(index).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UsageError(f"privacy.columns: personal data is removed from text; {name!r} is {kind}")
    return index
