"""What the columns of a table hold: facts over all rows, measured in one pass of bounded memory.

Whether every cell of a column is a number is a question about the whole file; how a column relates to another is answered by a
sample of whole blocks of rows, because neighbouring rows (turns of a conversation) must stay neighbours in it.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingestion import cells

# Columns with more distinct values are counted on the sample only.
MAX_COUNTED_VALUES = 20_000

# A column is of a kind if all but this share of its cells are; the others' rows will be set aside.
TOLERATED_MISFITS = 0.02

_SAMPLE_ROWS = 200_000
_SAMPLE_BYTES = 256 << 20
_BLOCK_ROWS = 2048
_SHAPE_ROWS = 20_000

_NUMBER = r"^\s*-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
# int64 holds any 18 digits.
_WHOLE = r"^\s*-?\d{1,18}(\.0*)?\s*$"
_LEADING_ZERO = r"^\s*-?0\d"
_TIME = r"^\s*\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d{1,9})?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?\s*$"
_NESTED = r"(?s)^\s*(\{.*\}|\[.*\])\s*$"
_SPACES = r"\s+"
# Scripts that write no spaces; about two characters make a word.
_SPACELESS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
_SPACELESS_CHARACTERS_PER_WORD = 2


class Kind(enum.Enum):
    """What the cells of a column are."""

    EMPTY = "empty"
    NUMBER = "number"
    TIME = "time"
    NESTED = "nested"
    STRING = "string"


@dataclasses.dataclass(frozen=True)
class ColumnProfile:
    """Facts about one column.

    Attributes:
      name: The column.
      kind: What nearly all its cells are.
      rows: Rows of the table.
      missing: Cells without a value, of `kind` NUMBER also those that say so (`n/a`).
      misfits: Cells that are not of the kind.
      whole: Every number is a whole number.
      dotted: Numbers are written with a fraction, if only `.0`.
      counts: Rows by value as text, most frequent first; None with more than MAX_COUNTED_VALUES values.
      distinct: How many values there are; in the sample, where there are too many to count.
      distinct_share: Distinct values per cell that has one; near 1 for identifiers.
      words: Mean words per cell that has text.
      least, greatest: Range of the numbers in the sample; NaN where there are none.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    misfits: int
    whole: bool
    dotted: bool
    counts: Mapping[str, int] | None
    distinct: int
    distinct_share: float
    words: float
    least: float
    greatest: float

    @property
    def present(self) -> int:
        """Cells that hold a value."""
        return self.rows - self.missing

    @property
    def present_share(self) -> float:
        """Share of the rows that hold a value."""
        return self.present / self.rows


@dataclasses.dataclass(frozen=True)
class TableProfile:
    """Facts about a table.

    Attributes:
      rows: How many there are.
      rejected: Rows the reader set aside; not among `rows`.
      columns: By name, in the table's order.
      sample: Some blocks of rows, all columns; string, int64 or float64.
    """

    rows: int
    rejected: int
    columns: Mapping[str, ColumnProfile]
    sample: pa.Table


class Profiler:
    """Takes a table batch by batch. Batches may lack columns, and a column may change its type between them."""

    def __init__(self):
        self._rows = 0
        self._rejected = 0
        self._facts: dict[str, _Facts] = {}
        self._sample = _BlockSample()

    def add(self, rows: pa.RecordBatch, rejected: int = 0) -> None:
        """Takes the next rows.

        Args:
          rows: Plain columns (string, int64, float64; see `cells.plain`).
          rejected: Rows the reader set aside from this batch.
        """
        self._rejected += rejected
        if rows.num_rows == 0:
            return
        for name, array in zip(rows.schema.names, rows.columns, strict=True):
            self._facts.setdefault(name, _Facts()).add(array)
        self._sample.add(rows)
        self._rows += rows.num_rows

    def finish(self) -> TableProfile:
        """Returns what was found."""
        sample = self._sample.table(list(self._facts))
        columns = {name: facts.profile(name, self._rows, sample[name]) for name, facts in self._facts.items()}
        return TableProfile(self._rows, self._rejected, columns, sample)


class _Facts:
    """Running counts of one column."""

    def __init__(self):
        self._seen: collections.Counter[str] = collections.Counter()
        self._counts: collections.Counter[str] | None = collections.Counter()

    def add(self, array: pa.Array) -> None:
        text = cells.text(array)
        self._seen["present"] += len(text) - text.null_count
        if pa.types.is_string(array.type):
            self._look_at(text)
        else:
            self._seen["number"] += len(text) - text.null_count
            if pa.types.is_integer(array.type):
                self._seen["whole"] += len(text) - text.null_count
            else:
                self._seen["whole"] += _true(pc.equal(pc.floor(array), array))
                self._seen["dotted"] += 1
        self._count(text)

    def _look_at(self, text: pa.StringArray) -> None:
        numbers = _true(pc.match_substring_regex(text, _NUMBER))
        self._seen["number"] += numbers
        if numbers:
            self._seen["whole"] += _true(pc.match_substring_regex(text, _WHOLE))
            self._seen["code"] += _true(pc.match_substring_regex(text, _LEADING_ZERO))
            self._seen["dotted"] += _true(pc.match_substring(text, "."))
        if numbers < len(text) - text.null_count:
            no_number = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(text)), pa.array(cells.MISSING_NUMBERS))
            self._seen["no number"] += _true(no_number)
            self._seen["time"] += _true(pc.match_substring_regex(text, _TIME))
            self._seen["nested"] += _true(pc.match_substring_regex(text, _NESTED))

    def _count(self, text: pa.StringArray) -> None:
        if self._counts is None:
            return
        values, counts = pc.value_counts(text.drop_null()).flatten()
        if len(values) <= MAX_COUNTED_VALUES:
            self._counts.update(dict(zip(values.to_pylist(), counts.to_pylist(), strict=True)))
        if len(values) > MAX_COUNTED_VALUES or len(self._counts) > MAX_COUNTED_VALUES:
            self._counts = None

    def profile(self, name: str, rows: int, sample: pa.ChunkedArray) -> ColumnProfile:
        seen = self._seen
        kind, misfits = self._kind()
        present = seen["present"] - (seen["no number"] if kind is Kind.NUMBER else 0)
        text = cells.text(sample.combine_chunks()).drop_null()
        distinct = len(self._counts) if self._counts is not None else pc.count_distinct(text).as_py()
        counted = seen["present"] if self._counts is not None else len(text)
        numbers = finite_numbers(sample) if kind is Kind.NUMBER else np.empty(0)
        return ColumnProfile(
            name=name,
            kind=kind,
            rows=rows,
            missing=rows - present,
            misfits=misfits,
            whole=seen["whole"] == seen["number"],
            dotted=seen["dotted"] > 0,
            counts=None if self._counts is None else dict(self._counts.most_common()),
            distinct=distinct,
            distinct_share=distinct / counted if counted else 0.0,
            words=_mean_words(text),
            least=float(numbers.min()) if len(numbers) else np.nan,
            greatest=float(numbers.max()) if len(numbers) else np.nan,
        )

    def _kind(self) -> tuple[Kind, int]:
        """Returns the kind, and how many cells do not fit it."""
        seen = self._seen
        present = seen["present"]
        if present == seen["no number"] == 0:
            return Kind.EMPTY, 0
        tolerated = TOLERATED_MISFITS * present
        numbers = present - seen["no number"]
        # `00123` is a code: as a number it would lose its zeros.
        if numbers and not seen["code"] and numbers - seen["number"] <= tolerated:
            return Kind.NUMBER, numbers - seen["number"]
        for kind in (Kind.TIME, Kind.NESTED):
            if present - seen[kind.value] <= tolerated:
                return kind, present - seen[kind.value]
        return Kind.STRING, 0


class _BlockSample:
    """Every k-th block of rows; k doubles whenever the sample outgrows its bounds."""

    def __init__(self):
        self._blocks: list[tuple[int, pa.RecordBatch]] = []
        self._step = 1
        self._next = 0

    def add(self, rows: pa.RecordBatch) -> None:
        for start in range(0, rows.num_rows, _BLOCK_ROWS):
            if self._next % self._step == 0:
                self._blocks.append((self._next, rows.slice(start, _BLOCK_ROWS)))
            self._next += 1
        while len(self._blocks) > 1 and self._is_too_large():
            self._step *= 2
            self._blocks = [(number, block) for number, block in self._blocks if number % self._step == 0]

    def _is_too_large(self) -> bool:
        blocks = [block for _, block in self._blocks]
        return sum(block.num_rows for block in blocks) > _SAMPLE_ROWS or sum(block.nbytes for block in blocks) > _SAMPLE_BYTES

    def table(self, names: list[str]) -> pa.Table:
        blocks = [block for _, block in self._blocks]
        return pa.table({name: _join(name, blocks) for name in names})


def _join(name: str, blocks: list[pa.RecordBatch]) -> pa.Array:
    """One column of all blocks; text where its types differ."""
    parts = [block.column(name) if name in block.schema.names else pa.nulls(block.num_rows, pa.string()) for block in blocks]
    types = {part.type for part in parts if part.null_count < len(part)}
    kind = types.pop() if len(types) == 1 else pa.string()
    return pa.concat_arrays([part.cast(kind) for part in parts])


def finite_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Returns the numbers of a column: float64, without missing cells and cells that are none."""
    values, _ = cells.number(column.combine_chunks())
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    return numbers[np.isfinite(numbers)]


def _mean_words(text: pa.StringArray) -> float:
    if len(text) == 0:
        return 0.0
    some = text.take(np.arange(0, len(text), max(1, len(text) // _SHAPE_ROWS)))
    spaced = pc.add(pc.count_substring_regex(pc.utf8_trim_whitespace(some), _SPACES), 1)
    spaceless = pc.divide(pc.cast(pc.count_substring_regex(some, _SPACELESS), pa.float64()), _SPACELESS_CHARACTERS_PER_WORD)
    return pc.mean(pc.max_element_wise(pc.cast(spaced, pa.float64()), spaceless)).as_py()


def _true(values: pa.BooleanArray) -> int:
    return pc.sum(values).as_py() or 0
