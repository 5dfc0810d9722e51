"""What each column of a table is for.

What the user said is taken as said. The rest is decided by content, with names to break ties, and on the side of caution: a column
that gives the label away makes every number look good and every prediction useless, a column left out costs a little accuracy.
Every decision is a line that a person can read and overrule.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Set
from typing import Literal

from components.errors import UsageError
from components.ingestion import columns as table_columns
from components.ingestion import splits
from components.profiling import column_names as names
from components.profiling.association import Association, associate
from components.profiling.profile import ColumnProfile, Kind, TableProfile

MAX_CLASSES = 200
RARE_CLASS_ROWS = 5

# More distinct numbers are amounts, not classes.
_MAX_CLASS_NUMBERS = 50
_MAX_CLASS_FRACTIONS = 8
_FEW_ROWS = 200

_MIN_MESSAGE_WORDS = 3.0
_MIN_NAMED_MESSAGE_WORDS = 1.3
_MIN_MESSAGES = 300
_MIN_NAMED_MESSAGES = 30
_MESSAGE_SHARE = 0.3

_MAX_CATEGORIES = 1000
_MAX_CATEGORY_SHARE = 0.5
_MAX_CODES = 2000
_MAX_UNNAMED_CODES = 12
_EXACT_INTEGER = 2.0**53
_FLOAT32_MAX = 3.4e38
_ALMOST_EMPTY = 0.01

_MIN_IDENTIFIERS = 30
_IDENTIFIER_SHARE = 0.9
_NAMED_IDENTIFIER_SHARE = 0.3

_MIN_GROUPS = 30
_MAX_GROUP_SHARE = 0.9
_LARGEST_GROUP_SHARE = 0.3

# Seconds since the epoch from 1980 to 2100.
_EPOCH_SECONDS = (315_532_800, 4_102_444_800)

_MAX_SEGMENT_VALUES = 30
_MAX_NAMED_SEGMENT_VALUES = 100
_MIN_SLICE_ROWS = 100
_MAX_FOUND_SEGMENTS = 3

# Explains nearly all of the label.
_GIVES_LABEL_AWAY = 0.97
# Beside text, extra columns are context; one that explains half of the label is more than that.
_TOO_TELLING_BESIDE_TEXT = 0.5
# A few columns that each tell so much, and so many times as much as the best of the others, were written with the label in hand.
_TELLING = 0.3
_TELLING_RATIO = 5.0
_MAX_TELLING_COLUMNS = 3
# Columns the label is computed from stay inputs only if they alone tell next to nothing.
_SOURCE_INFORMATION = 0.1

_NAMES_SHOWN = 6


class Encoding(enum.Enum):
    """How an input that is not text is stored and read by the model."""

    CATEGORY = "category"
    CODE = "code"
    WHOLE = "whole number"
    REAL = "number"


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the user said about the columns.

    Attributes:
      label: The column to predict.
      text, segments, group, timestamp, split_column: Columns in these roles; empty or None to have them found.
      exclude: Columns no model may see.
      label_sources: Columns that the expression behind a derived label reads.
    """

    label: str
    text: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    group: str | None = None
    timestamp: str | None = None
    split_column: str | None = None
    exclude: tuple[str, ...] = ()
    label_sources: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Roles:
    """What each column is for. A segment may be an input too; all other roles exclude each other.

    Attributes:
      label: The column to predict.
      classes: Rows by class, most frequent first.
      text: Message columns.
      inputs: The other inputs of the model, with their encoding.
      segments: Columns to slice by.
      group, timestamp, split_column: Columns that say how to split; timestamp is set only if the user asked for it.
      split_by: See `Split`.
      exclude: Columns no model may see: what the user excluded and what gives the label away.
      left_out: All other columns that are not stored, with the reason.
      best_gain: How much more accurate than the majority class the best single input is that is not text.
      decisions: What was decided, a line each.
      warnings: What a person should look at, a line each.
    """

    label: str
    classes: Mapping[str, int]
    text: tuple[str, ...]
    inputs: Mapping[str, Encoding]
    segments: tuple[str, ...]
    group: str | None
    timestamp: str | None
    split_column: str | None
    split_by: Literal["hash", "group", "time", "column"]
    exclude: tuple[str, ...]
    left_out: Mapping[str, str]
    best_gain: float
    decisions: tuple[str, ...]
    warnings: tuple[str, ...]


def assign(profile: TableProfile, wishes: Wishes) -> Roles:
    """Decides what each column is for.

    Raises:
      UsageError: A column named is not there or has two roles, the label makes no classes, or nothing is left to predict from.
    """
    return _Assignment(profile, wishes).roles()


class _Assignment:
    """Works through the roles, from those that bind most to the leftovers; each takes columns out of `_free`."""

    def __init__(self, profile: TableProfile, wishes: Wishes):
        self._columns = profile.columns
        self._profile = profile
        self._wishes = wishes
        self._decisions: list[str] = []
        self._warnings: list[str] = []
        self._left_out: dict[str, str] = {}
        _check_wishes(profile, wishes)
        self._free = [name for name in profile.columns if name not in (wishes.label, *wishes.exclude)]
        self._named = {*wishes.text, *wishes.segments, wishes.group, wishes.timestamp, wishes.split_column}

    def roles(self) -> Roles:
        wishes = self._wishes
        classes = self._label()
        self._leave_out_worthless()
        split_column = self._split_column()
        group = self._group()
        timestamp = self._timestamp()
        split_by = self._split_by(split_column, group)
        text = self._text()
        associations = {name: self._associate(name) for name in self._free}
        leaks = self._leaks(associations, bool(text))
        segments = self._segments(associations)
        self._say_leaks(leaks, segments)
        inputs = self._inputs(associations, {*leaks}, {*segments}, bool(text))
        if not text and not inputs:
            raise UsageError(
                f"Nothing is left to predict {wishes.label!r} from: {_reasons(self._left_out, leaks)}. "
                "Name a text column with --text, or give a table with more columns"
            )
        self._say_segments(segments, inputs)
        self._say_left_out()
        return Roles(
            label=wishes.label,
            classes=classes,
            text=text,
            inputs=inputs,
            segments=segments,
            group=group,
            timestamp=timestamp,
            split_column=split_column,
            split_by=split_by,
            exclude=(*wishes.exclude, *(name for name in leaks if name not in segments)),
            left_out=self._left_out,
            best_gain=max((associations[name].gain for name in inputs), default=0.0),
            decisions=tuple(self._decisions),
            warnings=tuple(self._warnings),
        )

    def _label(self) -> Mapping[str, int]:
        column = self._columns[self._wishes.label]
        classes = _classes(column)
        rows = sum(classes.values())
        majority = max(classes.values()) / rows
        self._decisions.append(f"label: {column.name}, {len(classes)} classes; the most frequent has {majority:.1%} of the rows")
        if rare := sum(count < RARE_CLASS_ROWS for count in classes.values()):
            self._warnings.append(
                f"{rare} of {len(classes)} classes have fewer than {RARE_CLASS_ROWS} rows: too few to learn, and some may be "
                "missing from a split. Merge them or collect more"
            )
        if column.missing:
            self._warnings.append(f"{column.missing} rows have no {column.name} and will be set aside")
        if rows < _FEW_ROWS:
            self._warnings.append(f"{rows} labelled rows are few: splits will be small and every number uncertain")
        return classes

    def _leave_out_worthless(self) -> None:
        """Takes out what holds no information, unless the user gave it a role."""
        for name in list(self._free):
            column = self._columns[name]
            if column.kind is Kind.EMPTY:
                reason = "empty"
            elif column.distinct <= 1:
                reason = "one value only"
            elif column.present_share < _ALMOST_EMPTY:
                reason = "almost empty"
            else:
                continue
            if name not in self._named:
                self._left_out[name] = reason
                self._free.remove(name)

    def _take(self, name: str | None) -> str | None:
        if name is not None:
            self._free.remove(name)
        return name

    def _unnamed(self) -> list[str]:
        """Lists the free columns that the user gave no role."""
        return [name for name in self._free if name not in self._named]

    def _split_column(self) -> str | None:
        wished = self._wishes.split_column
        found = [name for name in self._unnamed() if _is_split_column(self._columns[name])]
        if wished is None and found:
            values = ", ".join(self._columns[found[0]].counts)
            self._decisions.append(f"split: by the column {found[0]}, whose values are {values}")
            return self._take(found[0])
        if wished is not None:
            self._decisions.append(f"split: by the column {wished}, as named")
        return self._take(wished)

    def _group(self) -> str | None:
        wished = self._wishes.group
        if wished is not None:
            self._decisions.append(f"group: {wished}, as named")
            return self._take(wished)
        candidates = [name for name in self._unnamed() if _is_group(self._columns[name])]
        if not candidates:
            return None
        found = min(candidates, key=lambda name: _group_rank(name))
        column = self._columns[found]
        self._decisions.append(f"group: {found}, about {1 / column.distinct_share:.1f} rows each")
        return self._take(found)

    def _timestamp(self) -> str | None:
        wished = self._wishes.timestamp
        if wished is not None:
            self._decisions.append(f"timestamp: {wished}, as named")
        self._take(wished)
        times = [name for name in self._unnamed() if _is_time(self._columns[name])]
        for name in times:
            self._left_out[name] = "a time"
            self._free.remove(name)
        if wished is None and times:
            best = min(times, key=lambda name: names.hints(name, names.LATER_TIME))
            self._decisions.append(f"times: {', '.join(times)}; to test on the newest rows: --timestamp {best}")
        return wished

    def _split_by(self, split_column: str | None, group: str | None) -> Literal["hash", "group", "time", "column"]:
        if split_column is not None:
            return "column"
        # A group that was only found yields to a time the user asked for.
        if self._wishes.group is not None or (group is not None and self._wishes.timestamp is None):
            self._decisions.append(f"split: by the group {group}")
            return "group"
        if self._wishes.timestamp is not None:
            self._decisions.append(f"split: by time, the newest {self._wishes.timestamp} for eval and test")
            return "time"
        self._decisions.append("split: by hash of the row, so that rows whose texts are nearly equal stay together")
        return "hash"

    def _text(self) -> tuple[str, ...]:
        wished = self._wishes.text
        if wished:
            self._decisions.append(f"text: {', '.join(wished)}, as named")
            found = wished
        else:
            free = [self._columns[name] for name in self._unnamed()]
            named = [column.name for column in free if _is_named_message(column)]
            found = tuple(named) or _best_message(free)
            if found:
                why = "by name and content" if named else "by content"
                self._decisions.append(f"text: {', '.join(found)}, {why}")
            else:
                self._decisions.append("text: none, the table is numbers and categories only")
        for name in found:
            self._take(name)
            missing = self._columns[name].missing
            if missing:
                self._warnings.append(f"{missing} rows have no {name}: the model will read them as empty text")
        return tuple(found)

    def _associate(self, name: str) -> Association:
        sample = self._profile.sample
        return associate(sample[name], self._columns[name].kind is Kind.NUMBER, sample[self._wishes.label])

    def _leaks(self, associations: Mapping[str, Association], has_text: bool) -> dict[str, str]:
        """Finds the columns that give the label away, with the reason."""
        leaks = {}
        sources = [name for name in self._wishes.label_sources if name in associations]
        if sources:
            most = max(sources, key=lambda name: associations[name].information)
            for name in sources:
                if name == most or associations[name].information >= _SOURCE_INFORMATION:
                    leaks[name] = "the label is computed from it"
        for name, association in associations.items():
            if name in leaks:
                continue
            if association.information >= _GIVES_LABEL_AWAY:
                leaks[name] = "it gives the label away"
            elif association.follows_label:
                leaks[name] = "every label has one value of it, so it is a coarser label"
            elif has_text and association.information >= _TOO_TELLING_BESIDE_TEXT and self._is_usable(name):
                leaks[name] = f"alone it explains {association.information:.0%} of the label, which a request would hardly tell"
        if not has_text:
            rest = {name: found for name, found in associations.items() if name not in leaks and self._is_usable(name)}
            for name in _far_ahead(rest):
                leaks[name] = f"alone it explains {rest[name].information:.0%} of the label, far more than any other column"
        return leaks

    def _is_usable(self, name: str) -> bool:
        """Says whether a column could be an input; identifiers explain anything in a small table."""
        return _unusable(self._columns[name]) is None

    def _segments(self, associations: Mapping[str, Association]) -> tuple[str, ...]:
        wished = self._wishes.segments
        for name in wished:
            if self._columns[name].distinct > _MAX_NAMED_SEGMENT_VALUES:
                self._warnings.append(f"the segment {name} has {self._columns[name].distinct} values: most slices will be tiny")
        if wished:
            return wished
        found = [name for name in self._free if _is_segment(self._columns[name], associations[name])]
        # Named ones first: sort is stable and False comes first.
        found.sort(key=lambda name: not names.hints(name, names.SEGMENT))
        return tuple(found[:_MAX_FOUND_SEGMENTS])

    def _inputs(self, free: Iterable[str], leaks: Set[str], segments: Set[str], has_text: bool) -> dict[str, Encoding]:
        inputs = {}
        for name in free:
            column = self._columns[name]
            if name in leaks:
                continue
            encoding = _encoding(column)
            reason = _unusable(column)
            if reason is None and has_text and not _is_context(column, encoding):
                reason = "not clearly known when a request arrives"
            if reason is not None:
                if name not in segments:
                    self._left_out[name] = reason
                continue
            inputs[name] = encoding
            if column.misfits:
                self._warnings.append(f"{column.misfits} cells of {name} are not numbers; their rows will be set aside")
        if inputs:
            kinds = {kind: [name for name, encoding in inputs.items() if encoding is kind] for kind in Encoding}
            parts = [f"{len(found)} {kind.value} ({_some(found)})" for kind, found in kinds.items() if found]
            self._decisions.append(f"{'further ' if has_text else ''}inputs: {'; '.join(parts)}")
            if has_text:
                self._warnings.append(f"does a request carry {_some(inputs)}? Name what it does not with --exclude")
        return inputs

    def _say_leaks(self, leaks: Mapping[str, str], segments: tuple[str, ...]) -> None:
        for name, reason in leaks.items():
            if name in segments:
                fix = "remove not_in_environment from it in the schema"
            else:
                fix = "take it out of data.exclude and add it to the schema"
            self._warnings.append(f"{name} is not an input: {reason}. If a request does carry it, {fix}")

    def _say_segments(self, segments: tuple[str, ...], inputs: Mapping[str, Encoding]) -> None:
        if not segments:
            self._decisions.append("segments: none; name columns to slice the evaluation by with --segment")
            return
        notes = {name: "" if name in inputs else ", not an input" for name in segments}
        shown = [f"{name} ({self._columns[name].distinct} values{note})" for name, note in notes.items()]
        self._decisions.append(f"segments: {', '.join(shown)}")

    def _say_left_out(self) -> None:
        by_reason: dict[str, list[str]] = {}
        for name, reason in self._left_out.items():
            by_reason.setdefault(reason, []).append(name)
        if by_reason:
            parts = [f"{_some(found)} ({reason})" for reason, found in by_reason.items()]
            self._decisions.append(f"left out: {'; '.join(parts)}")


def _check_wishes(profile: TableProfile, wishes: Wishes) -> None:
    single = (
        ("--label", wishes.label),
        ("--group", wishes.group),
        ("--timestamp", wishes.timestamp),
        ("--split-column", wishes.split_column),
    )
    named = [(option, name) for option, name in single if name is not None]
    named += [("--text", name) for name in wishes.text] + [("--exclude", name) for name in wishes.exclude]
    for option, name in [*named, *(("--segment", name) for name in wishes.segments)]:
        table_columns.require([name], profile.columns.keys(), f"{option} names")
    taken: dict[str, str] = {}
    for option, name in named:
        if name in taken:
            raise UsageError(f"A column has one role; {name!r} is named by {taken[name]} and by {option}. Remove one")
        taken[name] = option
    for name in wishes.segments:
        if name in taken:
            raise UsageError(f"--segment names {name!r}, which {taken[name]} names too; a segment is a column of its own")
    _check_contents(profile, wishes)


def _check_contents(profile: TableProfile, wishes: Wishes) -> None:
    for name in wishes.text:
        if profile.columns[name].kind is Kind.EMPTY:
            raise UsageError(f"--text names {name!r}, which has no text in any of {profile.rows} rows; name another column")
    if wishes.timestamp is not None and profile.columns[wishes.timestamp].kind not in (Kind.TIME, Kind.NUMBER):
        raise UsageError(
            f"A timestamp is seconds since the epoch or ISO 8601 text, e.g. 2024-01-31T10:00:00Z; {wishes.timestamp!r} is neither. "
            "Convert it, or name another column with --timestamp"
        )
    if wishes.split_column is not None and not _is_split_column(profile.columns[wishes.split_column]):
        raise UsageError(
            f"A split column holds only the values {', '.join(splits.NAMES)}, train among them; {wishes.split_column!r} does not. "
            "Map its values first, or leave out --split-column"
        )


def _classes(column: ColumnProfile) -> Mapping[str, int]:
    name = column.name
    derive = (
        f"A class is a small set of values. Derive one, e.g. --derive 'high=`{name}` > 10' --label high, or map the column to "
        "categories first"
    )
    if column.present == 0:
        raise UsageError(f"--label names {name!r}, which has no value in any of {column.rows} rows; name another column")
    many_numbers = column.kind is Kind.NUMBER and column.distinct > _MAX_CLASS_NUMBERS
    if column.counts is None or column.distinct > MAX_CLASSES or many_numbers:
        kind = "different numbers" if column.kind is Kind.NUMBER else "different values"
        raise UsageError(f"A label has at most {MAX_CLASSES} classes; {name!r} has {column.distinct} {kind}. {derive}")
    if column.kind is Kind.NUMBER and not column.whole and column.distinct > _MAX_CLASS_FRACTIONS:
        raise UsageError(f"A label is a class; {name!r} holds {column.distinct} different amounts. {derive}")
    classes: dict[str, int] = {}
    for value, rows in column.counts.items():
        if value.strip():
            classes[value.strip()] = classes.get(value.strip(), 0) + rows
    if len(classes) < 2:
        raise UsageError(f"A classifier takes at least two classes; {name!r} has one in {column.present} rows. Name another")
    return classes


def _is_split_column(column: ColumnProfile) -> bool:
    if column.kind is not Kind.STRING or column.counts is None or len(column.counts) < 2:
        return False
    values = {value.strip().lower() for value in column.counts}
    return values <= splits.NAMES.keys() and splits.TRAIN in {splits.NAMES[value] for value in values}


def _is_group(column: ColumnProfile) -> bool:
    return (
        names.hints(column.name, frozenset(names.GROUP))
        and column.kind in (Kind.STRING, Kind.NUMBER)
        and column.missing == 0
        and column.distinct >= _MIN_GROUPS
        and column.distinct_share <= _MAX_GROUP_SHARE
        and (column.counts is None or max(column.counts.values()) <= _LARGEST_GROUP_SHARE * column.rows)
        and (column.kind is Kind.NUMBER or column.words < _MIN_MESSAGE_WORDS or names.hints(column.name, names.IDENTIFIER))
    )


def _group_rank(name: str) -> tuple[bool, int]:
    words = names.words(name)
    return not words & names.IDENTIFIER, min(index for index, hint in enumerate(names.GROUP) if hint in words)


def _is_time(column: ColumnProfile) -> bool:
    if column.kind is Kind.TIME:
        return True
    low, high = _EPOCH_SECONDS
    return (
        column.kind is Kind.NUMBER
        and names.hints(column.name, names.TIME)
        and low <= column.least
        and (column.greatest <= high or low * 1000 <= column.least <= column.greatest <= high * 1000)
    )


def _is_message(column: ColumnProfile, words: float, messages: int) -> bool:
    return (
        column.kind is Kind.STRING
        and not names.hints(column.name, names.AFTERWARDS | names.IDENTIFIER)
        and column.words >= words
        and (column.distinct > messages or column.distinct_share > _MESSAGE_SHARE)
    )


def _is_named_message(column: ColumnProfile) -> bool:
    return names.hints(column.name, names.MESSAGE) and (
        _is_message(column, _MIN_NAMED_MESSAGE_WORDS, _MIN_NAMED_MESSAGES) or _is_message(column, _MIN_MESSAGE_WORDS, 1)
    )


def _best_message(columns: Iterable[ColumnProfile]) -> tuple[str, ...]:
    candidates = [
        column
        for column in columns
        if _is_message(column, _MIN_MESSAGE_WORDS, _MIN_MESSAGES) and not names.hints(column.name, names.PROPER)
    ]
    best = max(candidates, key=lambda column: column.words, default=None)
    return () if best is None else (best.name,)


def _unusable(column: ColumnProfile) -> str | None:
    """Says why a column cannot be an input, or None."""
    if column.kind is Kind.NESTED:
        return "nested values"
    if column.kind is Kind.TIME:
        return "a time"
    if _is_identifier(column):
        return "an identifier"
    if column.kind is Kind.NUMBER:
        extreme = max(abs(column.least), abs(column.greatest))
        return None if extreme < _FLOAT32_MAX else "numbers beyond float32"
    few = column.distinct <= _MAX_UNNAMED_CODES
    if column.distinct > _MAX_CATEGORIES or (column.distinct_share > _MAX_CATEGORY_SHARE and not few):
        return "too many values for a category"
    return None


def _is_identifier(column: ColumnProfile) -> bool:
    if column.distinct < _MIN_IDENTIFIERS:
        return False
    named = names.hints(column.name, names.IDENTIFIER)
    if column.kind is Kind.STRING:
        share = _NAMED_IDENTIFIER_SHARE if named else _IDENTIFIER_SHARE
        return column.distinct_share > share and (named or column.words < _MIN_NAMED_MESSAGE_WORDS)
    if column.kind is not Kind.NUMBER or not column.whole:
        return False
    counts_rows = column.distinct_share == 1 and not column.dotted and column.greatest - column.least == column.distinct - 1
    return counts_rows or (named and column.distinct_share > _NAMED_IDENTIFIER_SHARE)


def _encoding(column: ColumnProfile) -> Encoding:
    if column.kind is not Kind.NUMBER:
        return Encoding.CATEGORY
    if not column.whole or column.misfits:
        return Encoding.REAL
    if not names.hints(column.name, names.COUNT):
        named_code = names.hints(column.name, names.CODE) and column.distinct <= _MAX_CODES
        if named_code or (column.distinct <= _MAX_UNNAMED_CODES and not column.dotted):
            return Encoding.CODE
    # A missing number is NaN in a request, which only a float can be; and `180.0` may be `180.5` in the next file.
    exact = max(abs(column.least), abs(column.greatest)) < _EXACT_INTEGER
    return Encoding.WHOLE if exact and not column.missing and not column.dotted else Encoding.REAL


def _is_context(column: ColumnProfile, encoding: Encoding) -> bool:
    """Says whether a column beside text is likely to be known when a message arrives."""
    if names.hints(column.name, names.AFTERWARDS):
        return False
    if encoding in (Encoding.WHOLE, Encoding.REAL):
        return True
    return names.hints(column.name, names.CONTEXT) and column.distinct <= _MAX_NAMED_SEGMENT_VALUES


def _is_segment(column: ColumnProfile, association: Association) -> bool:
    if column.kind not in (Kind.STRING, Kind.NUMBER) or column.counts is None or _unusable(column):
        return False
    if sum(rows >= _MIN_SLICE_ROWS for rows in column.counts.values()) < 2:
        return False
    # A column that is as good as the label itself makes slices of one class each.
    if association.information >= _GIVES_LABEL_AWAY:
        return False
    if names.hints(column.name, names.SEGMENT) and not names.hints(column.name, names.AFTERWARDS | names.IDENTIFIER):
        return column.kind is Kind.STRING and column.distinct <= _MAX_NAMED_SEGMENT_VALUES
    return association.follows_label and column.kind is Kind.STRING and column.distinct <= _MAX_SEGMENT_VALUES


def _far_ahead(associations: Mapping[str, Association]) -> list[str]:
    """Returns the few columns that tell very much more than the best of the others."""
    ranked = sorted(associations, key=lambda name: -associations[name].information)
    for count in range(1, min(_MAX_TELLING_COLUMNS, len(ranked) - 1) + 1):
        last, following = (associations[ranked[index]].information for index in (count - 1, count))
        if last >= _TELLING and last >= _TELLING_RATIO * following:
            return ranked[:count]
    return []


def _some(found: Iterable[str]) -> str:
    shown = list(found)
    more = f" and {len(shown) - _NAMES_SHOWN} more" if len(shown) > _NAMES_SHOWN else ""
    return ", ".join(shown[:_NAMES_SHOWN]) + more


def _reasons(*reasons: Mapping[str, str]) -> str:
    lines = [f"{name} ({reason})" for found in reasons for name, reason in found.items()]
    return _some(lines) or "the table has no other column"
