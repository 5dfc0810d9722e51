"""The `data:` section of a pipeline file: where messages come from, what each column is, how rows become splits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from components.options import Options

SPLITS = ("train", "eval", "test")


class FileSource(Options):
    """A table in files.

    Attributes:
      type: The format.
      path: A file, a folder, or a glob; `{SPAN}`, `{VERSION}` and `{YYYY}{MM}{DD}` are understood as in TFX. Relative to the
        working directory.
    """

    type: Literal["csv", "jsonl", "parquet"]
    path: str


class HomeAssistantIntentsSource(Options):
    """Utterances sampled from the production voice grammar in the package home-assistant-intents.

    Its columns are text, intent, language and template (which sentence template the utterance was drawn from).

    Attributes:
      languages: Language codes of the package.
      rows: How many utterances to draw, over all languages.
      seed: The draw is a function of this, the languages and the package's version.
    """

    type: Literal["home_assistant_intents"]
    languages: tuple[str, ...] = Field(min_length=1)
    rows: int = Field(gt=0)
    seed: int = 0


Source = Annotated[FileSource | HomeAssistantIntentsSource, Field(discriminator="type")]


class Split(Options):
    """How rows become the splits train, eval and test.

    Attributes:
      by: `hash` (of the row as it is stored; of its group where `data.group` is set), `group` (rows of one `data.group` stay
        together; rows without one stand for themselves), `time` (`data.timestamp` in order: the newest rows are test, those
        before them eval) or `column` (the column named here says it).
      eval: Share of rows for the eval split, which picks models and thresholds.
      test: Share of rows for the test split, which only measures.
      seed: Salt of the hash.
      gap: With `time`: seconds of data dropped (quarantined as `gap`) before each later split, so that neighbours do not leak.
      column: With `column`: its name. Values train, training -> train; val, valid, validation, dev, eval -> eval; test -> test;
        compared without case. If the column has no eval or no test rows, that share of its train rows is taken by hash.
    """

    by: Literal["hash", "group", "time", "column"] = "hash"
    eval: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, gt=0, lt=0.5)
    seed: int = 0
    gap: float = Field(default=0.0, ge=0)
    column: str | None = None

    @model_validator(mode="after")
    def _column_goes_with_by_column(self) -> Split:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("split.column is given exactly when split.by is 'column'")
        return self


class DataOptions(Options):
    """The `data:` section.

    Attributes:
      source: Where rows come from.
      text: Text columns; none for purely tabular data.
      label: The column to predict; its values are read as strings.
      segments: Columns to slice evaluation by; a list inside the list is a cross of columns.
      group: Column whose rows never straddle splits.
      timestamp: Column that orders rows: seconds since the epoch or ISO 8601 text.
      split: How rows become splits.
      derive: New columns from expressions over columns, e.g. `big_tip: tips > 0.2 * fare`; a later one may use an earlier one.
      exclude: Columns dropped after `derive`: leaks, identifiers, anything no model may see.
      max_text_bytes: Rows with a longer string (UTF-8 bytes) in any stored column are quarantined.
    """

    source: Source
    text: tuple[str, ...] = ()
    label: str
    segments: tuple[tuple[str, ...], ...] = ()
    group: str | None = None
    timestamp: str | None = None
    split: Split = Split()
    derive: dict[str, str] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    max_text_bytes: int = Field(default=100_000, gt=0)

    @field_validator("text", mode="before")
    @classmethod
    def _one_text_column_may_stand_alone(cls, value):
        return (value,) if isinstance(value, str) else value

    @field_validator("segments", mode="before")
    @classmethod
    def _a_segment_is_a_tuple_of_columns(cls, value):
        if not isinstance(value, list | tuple):
            return value
        return tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in value)

    @model_validator(mode="after")
    def _columns_fit_together(self) -> DataOptions:
        if self.split.by == "group" and self.group is None:
            raise ValueError("split.by is 'group', so data.group must name the column")
        if self.split.by == "time" and self.timestamp is None:
            raise ValueError("split.by is 'time', so data.timestamp must name the column")
        if self.label in self.exclude:
            raise ValueError(f"data.exclude drops the label column {self.label!r}")
        return self
