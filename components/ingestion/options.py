"""The `data:` section of a pipeline file: where messages come from, what each column is, how rows become splits."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from components.options import Options

SPLITS = ("train", "eval", "test")

# YAML reads a date as one; as JSON and in the hash it is text.
DatabaseValue = Annotated[
    int | float | str, BeforeValidator(lambda value: value.isoformat() if hasattr(value, "isoformat") else value)
]

_PASSWORD = re.compile(r"://[^/@]*:[^/]*@")


def _without_password(url: str) -> str:
    if not url.startswith("env:") and (_PASSWORD.search(url) or re.search(r"(?i)[?&](password|passwd|pwd)=", url)):
        raise ValueError(
            "a password stays out of the pipeline file, in an environment variable: url: env:NAME; received a URL with one"
        )
    return url


class FileSource(Options):
    """A table in files.

    Attributes:
      type: The format.
      path: A file, a folder, or a glob; `{SPAN}`, `{VERSION}` and `{YYYY}{MM}{DD}` are understood as in TFX. Relative to the
        working directory.
      span: Which span to read where the path has `{SPAN}`; the newest if not given.
      window: How many spans to read: that one and those before it that there are.
    """

    type: Literal["csv", "jsonl", "parquet", "tfrecord"]
    path: str
    span: int | None = Field(default=None, ge=0)
    window: int = Field(default=1, ge=1)

    @property
    def has_spans(self) -> bool:
        """Whether the path says where spans are in it."""
        return re.search(r"\{(SPAN|YYYY)", self.path) is not None

    @model_validator(mode="after")
    def _span_needs_its_place_in_the_path(self) -> FileSource:
        if self.span is not None and "{SPAN" not in self.path:
            raise ValueError(f"source.span is given, so source.path must say where {{SPAN}} is in it; received {self.path!r}")
        if self.window > 1 and not self.has_spans:
            raise ValueError(
                f"source.window reads several spans, so source.path must say where {{SPAN}} or {{YYYY}}, {{MM}} and {{DD}} are in it;"
                f" received {self.path!r}"
            )
        return self


class PredictionLogSource(FileSource):
    """The request log of a model server: files of TFRecords that `--request_log_dir` wrote, to be looked at, never to train on.

    Its columns are the model's inputs, the answer's label, score, model_version, timestamp and latency_ms. Columns of the schema that
    are not in its environment SERVING, and the group, may be missing.

    Attributes:
      model: The model whose records to read; those of others are skipped and counted. All records if not given.
      label: What to call the column of the labels that the model answered.
      since: Records from before this time, in seconds since the epoch, are skipped and counted.
      until: So are records from this time on.
    """

    type: Literal["prediction_log"]  # type: ignore[assignment]  # the same kind of path, of another format
    model: str | None = Field(default=None, min_length=1)
    label: str = Field(default="label", min_length=1)
    since: float | None = None
    until: float | None = None


class Incremental(Options):
    """Reads a database span by span: every run takes what has arrived since the last one.

    A span ends at a watermark: all rows up to the newest value of `column`, or up to the last full hour, day or month of it. The next
    span holds what the watermark after it reaches and this one did not. ML Metadata keeps the watermarks of finished ingestions.

    Attributes:
      column: What orders the rows: a number that grows, an ObjectId, a time (days begin in UTC) or text that sorts, e.g. ISO 8601.
      by: Where spans end: at the newest `value`, or at the last full `hour`, `day` or `month` that has newer rows behind it.
      arrival: A second column that grows with every row that is stored, e.g. the primary key. With it a row whose `column` is old but
        that arrived after its span was closed lands in the next one; without it such rows are counted and are in no span.
      lag: How far below the newest value a span ends at most, in seconds of a time or units of a number, because open transactions may
        still write there. Of `arrival` where there is one.
      start: Rows below this value of `column` are in no span.
      window: How many spans to read: the newest and those before it.
      span: Read this span again, and with `window` those before it, as they were closed; numbered from 1. The newest if not given.
    """

    column: str = Field(min_length=1)
    by: Literal["value", "hour", "day", "month"] = "value"
    arrival: str | None = Field(default=None, min_length=1)
    lag: float = Field(default=0, ge=0)
    start: DatabaseValue | None = None
    window: int = Field(default=1, ge=1)
    span: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _two_columns(self) -> Incremental:
        if self.arrival == self.column:
            raise ValueError(f"incremental.arrival is a second column; received {self.arrival!r} for both")
        return self


class DatabaseSource(Options):
    """A table that a server holds.

    Attributes:
      incremental: Reads it span by span; all of it, if not given.
      version: A column that grows when a row changes, e.g. `updated_at`. Its newest value and the number of rows tell whether an earlier
        ingestion can be reused. Without it and without `incremental` every run reads the rows again.
    """

    incremental: Incremental | None = None
    version: str | None = Field(default=None, min_length=1)


class SqlSource(DatabaseSource):
    """A table or a query of a database that SQLAlchemy reaches.

    Attributes:
      type: The kind of source.
      url: SQLAlchemy's URL; `env:NAME` where it holds a password.
      table: The table or view, with its schema if it is not the default one: `support.tickets`.
      query: A SELECT, in place of a table.
      key: A column to read the rows in order of, best one with an index. An integer is also what the quarantine gives as a row's
        position, otherwise that is its number in the order of reading.
      partitions: Into how many ranges of `key`, a number or a time, the rows are read one after the other, so that no query of the
        server's is open for long.
    """

    type: Literal["sql"]
    url: str
    table: str | None = Field(default=None, min_length=1)
    query: str | None = Field(default=None, min_length=1)
    key: str | None = Field(default=None, min_length=1)
    partitions: int = Field(default=1, ge=1, le=10_000)

    @field_validator("url")
    @classmethod
    def _no_password_in_the_file(cls, value: str) -> str:
        return _without_password(value)

    @model_validator(mode="after")
    def _one_table(self) -> SqlSource:
        if (self.table is None) == (self.query is None):
            raise ValueError("a sql source has either source.table or source.query")
        if self.partitions > 1 and self.key is None:
            raise ValueError("source.partitions are ranges of source.key, which must name a column")
        return self


class MongoSource(DatabaseSource):
    """A collection of documents in MongoDB or a server that speaks its protocol.

    Attributes:
      type: The kind of source.
      url: MongoDB's connection string; `env:NAME` where it holds a password.
      database: The database.
      collection: The collection.
      fields: Dotted path of a value inside a document by the name of its column, e.g. `{tier: customer.tier}`; a column that is not
        named here is the field of that name. `incremental` and `version` name paths.
      batch_size: How many documents the server sends at a time.
    """

    type: Literal["mongodb"]
    url: str
    database: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    fields: dict[str, str] = Field(default_factory=dict)
    batch_size: int = Field(default=2000, ge=1)

    @field_validator("url")
    @classmethod
    def _no_password_in_the_file(cls, value: str) -> str:
        return _without_password(value)


class BigQuerySource(DatabaseSource):
    """A query of BigQuery, whose answer is streamed as Arrow.

    Attributes:
      type: The kind of source.
      query: A SELECT in GoogleSQL.
      project: The project that pays; that of the credentials, if not given.
      location: Where the data is, if BigQuery cannot tell.
    """

    type: Literal["bigquery"]
    query: str = Field(min_length=1)
    project: str | None = None
    location: str | None = None


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


class TaggedTextSource(Options):
    """Words of made-up sentences, each with what it is: training data for the tagger of personal data.

    Its columns are those of the tagger (see `serving.redaction.tagger`), label (person, address, organisation or none), language and
    template (which pattern the sentence was made from).

    Attributes:
      languages: Of the sentences; the first one gets half of them.
      texts: How many sentences to make; each is some ten rows.
      seed: The sentences are a function of this, the languages and their number.
      table: A Parquet file of further sentences, with the columns text, spans (JSON: entity, start and end in characters) and, if
        there, language and template or template_id. Another file has to have another name, as the content is no part of what a run
        reuses.
      entities: What the table calls the tagger's entities, `{PERSON: person}`, if not as the tagger does. Others are nothing.
      copies: How often each of the table's sentences is there: once as it is, then as others would have typed it.
    """

    type: Literal["tagged_text"]
    languages: tuple[str, ...] = Field(min_length=1)
    texts: int = Field(gt=0)
    seed: int = 0
    table: str | None = Field(default=None, min_length=1)
    entities: dict[str, Literal["person", "address", "organisation"]] = {}
    copies: int = Field(default=1, gt=0, le=100)


Source = Annotated[
    FileSource | PredictionLogSource | SqlSource | MongoSource | BigQuerySource | HomeAssistantIntentsSource | TaggedTextSource,
    Field(discriminator="type"),
]


class Split(Options):
    """How rows become the splits train, eval and test.

    Attributes:
      by: `hash` (of the row's text, near duplicates counting as one; of the row as it is stored where it has none; of its group
        where `data.group` is set), `group` (rows of one `data.group` stay together; rows without one are drawn by their text),
        `time` (`data.timestamp` in order: the newest rows are test, those before them eval) or `column` (the column named here
        says it).
      eval: Share of rows for the eval split, which picks models and thresholds.
      test: Share of rows for the test split, which only measures.
      seed: Salt of the hash.
      gap: With `time`: seconds of data dropped (quarantined as `gap`) before each later split, so that neighbours do not leak.
      column: With `column`: its name. Values train, training -> train; val, valid, validation, dev, eval -> eval; test -> test;
        compared without case. If the column has no eval or no test rows, that share of its train rows is taken by hash.
      allow_near_duplicates: Draws rows by all their columns, so that near duplicates (see `near_duplicates`) may end up in several
        splits.
      near_duplicates: What happens to near duplicates where a group, a time or a column tells a row's split whatever its text:
        `report` counts how many straddle (see `validation.leaks`), `set_aside` quarantines rows of eval whose text train has, and rows
        of test whose text train or eval has. Whoever measures then measures on unseen texts only, without those that everybody
        writes. It takes a second pass over the table and eight bytes for each different text; rows set aside so do not count
        for `validation.max_quarantined`.
    """

    by: Literal["hash", "group", "time", "column"] = "hash"
    eval: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, gt=0, lt=0.5)
    seed: int = 0
    gap: float = Field(default=0.0, ge=0)
    column: str | None = None
    allow_near_duplicates: bool = False
    near_duplicates: Literal["report", "set_aside"] = "report"

    @model_validator(mode="after")
    def _allowed_ones_stay(self) -> Split:
        if self.allow_near_duplicates and self.near_duplicates == "set_aside":
            raise ValueError("split.near_duplicates: set_aside goes without split.allow_near_duplicates, which lets them be")
        return self

    @model_validator(mode="after")
    def _column_goes_with_by_column(self) -> Split:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("split.column is given exactly when split.by is 'column'")
        return self


class LanguageOptions(Options):
    """How the languages of texts are told apart.

    Attributes:
      column: The column that says a row's language, best one of `data.segments`; the schema lists it. It is checked against what the
        text says and, with `fill`, need not be in the table. Without a column languages are only counted.
      text: The text column to tell it by; the first of `data.text` if not given.
      languages: Codes of ISO 639-1 to choose from, e.g. `[de, en, nb]`; all that the model knows if none is given. Regional ones
        (`pt-BR`) cannot be told from each other and are named by their language.
      min_confidence: A text whose most probable language is less probable than this is `und`, undetermined.
      fill: Whether rows that do not say their language get the one their text is in (true), or stay without and the given ones are
        compared (check). What is given is never changed.
    """

    column: str | None = Field(default=None, min_length=1)
    text: str | None = None
    languages: tuple[str, ...] = ()
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    fill: Literal[True, "check"] = True

    @property
    def fills(self) -> bool:
        """Whether rows without a language get one."""
        return self.column is not None and self.fill is True


def sample_name(share: float) -> str:
    """Returns what a sample is called where people read of it, e.g. `10 % sample`; nothing if it is all rows."""
    return f"{100 * share:g} % sample" if share < 1 else ""


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
      sample: Share of the rows that are used, the same ones every time: drawn by their group where `data.group` is set, else by their
        texts, else by all columns. Whatever shows results of a sample says so.
      language: Detects the language of texts, and fills or checks a column of languages; not done if not given.
      derive: New columns from expressions over columns, e.g. `big_tip: tips > 0.2 * fare`; a later one may use an earlier one.
      exclude: Columns dropped after `derive`: leaks, identifiers, anything no model may see.
      max_text_bytes: Rows with a longer string (UTF-8 bytes) in any stored column are quarantined.
      enforce_schema: Rows are quarantined that lack a value the schema wants of every row (`presence.min_fraction: 1`), or have one
        outside a domain without tolerance (`min_domain_mass` 1, the default; limits of numbers). What is new in them is counted, so
        that the data gate and `parlance schema diff` know of it. Otherwise, and of a server's log always, they are kept, and the data
        gate judges the column.
    """

    source: Source
    text: tuple[str, ...] = ()
    label: str
    segments: tuple[tuple[str, ...], ...] = ()
    group: str | None = None
    timestamp: str | None = None
    split: Split = Split()
    sample: float = Field(default=1.0, gt=0, le=1)
    language: LanguageOptions | None = None
    derive: dict[str, str] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    max_text_bytes: int = Field(default=100_000, gt=0)
    enforce_schema: bool = False

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
        if self.language is not None:
            if not self.text or (self.language.text or self.text[0]) not in self.text:
                named = "" if self.language.text is None else f"; received {self.language.text!r}"
                raise ValueError(
                    f"data.language tells languages by a column of data.text ({', '.join(self.text) or 'which names none'}){named}"
                )
            taken = {self.label, self.group, self.timestamp, *self.text, *self.exclude} - {None}
            if self.language.column in taken:
                raise ValueError(
                    f"data.language.column is a column of languages, neither excluded nor label, group, timestamp or text;"
                    f" received {self.language.column!r}"
                )
        return self
