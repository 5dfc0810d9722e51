"""Ingestion from end to end: rows of a source become tf.Examples in splits, a quarantine and a summary, in one streaming pass.

Splits by time or by a column take one more pass over that column beforehand, and `split.near_duplicates: set_aside` one over all columns.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import EnvironmentFailure, GateError, UsageError
from components.findings import Finding, Severity
from components.ingestion import (
    broken_rules,
    earlier_texts,
    encode,
    in_order,
    language,
    leaks,
    logged,
    near_duplicates,
    quarantine,
    readers,
    row_hash,
    sample,
    splits,
    text_statistics,
)
from components.ingestion.conform import MISSING_LABEL, check_roles, conform
from components.ingestion.fingerprint import Fingerprint
from components.ingestion.options import SPLITS, DataOptions, PredictionLogSource, sample_name
from components.ingestion.table import Table
from components.privacy import stored_columns
from components.privacy.batch import BatchRedactor
from components.privacy.options import PrivacyOptions

SUMMARY_FILE = "summary.json"

# A segment with more values than this is no segment a person would read; the rarest are left out of the summary.
_MOST_SEGMENT_VALUES = 200

_NO_SPLIT = -1

PERSONAL_LABEL = "looks like personal data, and is not in the schema's domain"

# A rule that more rows break says what is wrong with a table of which too little is left.
_MOST_ROWS = 0.5

_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "writing there is not permitted",
    errno.EPERM: "writing there is not permitted",
}


def ingest(
    options: DataOptions,
    schema: schema_pb2.Schema,
    paths: list[str] | None,
    output_dir: str,
    quarantine_dir: str,
    privacy: PrivacyOptions | None = None,
) -> dict[str, Any]:
    """Reads a source, brings its rows to the schema, and writes them by split.

    Writes `output_dir/Split-<split>/data_tfrecord-*.gz`, `output_dir/summary.json` and `quarantine_dir/part-*.jsonl`.

    Args:
      options: The `data:` section.
      schema: Lists the columns to store. Columns of the table that it does not list are read only where an expression, the group,
        the timestamp or the split needs them.
      paths: Files, folders or globs in place of the source's own path; None for the source's own.
      output_dir: Folder for the examples.
      quarantine_dir: Folder for the rows set aside.
      privacy: The `privacy:` section. What it removes is gone before a row is hashed, split, counted or written.

    Returns:
      The summary: `rows` by split and `quarantined`; `sample`, the share of the table they are; `quarantine_reasons` with their
      rows, and `quarantine_segments`, the same by segment column and value, of rows that could be read; `broken_rules`, what they
      break of the schema, see BrokenRules.report; `fingerprint`, the SHA-256 of the stored rows as a multiset (order, files and
      splits do not matter, column names and types do), and
      `split_fingerprints`, that of each split; `labels`, rows by split and label; `segments`, stored rows by segment column and
      value, and `test_segments`, those of the test split; `ignored_columns`, those of the table that are not stored, and
      `new_columns`, those among them that neither the schema nor the `data:` section names; `missing`,
      stored rows without a value by column, and `empty_columns`, those without a single one; `notes`, sentences; `texts`, see
      TextStatistics.report; `languages`, see Agreement.report; `leaks`, see LeakWatch.report; `privacy`, what was removed by kind
      of personal data, see BatchRedactor.audit; `seconds`; `bytes` on disk.

    Raises:
      UsageError: The options, the schema and the table do not fit together, or the table cannot make a model: no rows, one class,
        an empty split, a text column without text.
      GateError: The same, because most rows break a rule of the schema.
      EnvironmentFailure: The disk is full or not writable.
    """
    started = time.monotonic()
    check_roles(options, schema)
    given, options = options, logged.options_for(options)
    privacy = privacy or PrivacyOptions()
    categories = stored_columns.categories(schema, options.text, options.group)
    redactor = BatchRedactor(privacy, privacy.read_key(), categories=categories)
    languages = language.LanguageColumn(options, schema)
    optional = logged.optional_columns(options, schema) | ({languages.optional} if languages.optional is not None else set())
    table = Table(options, schema, paths, optional)
    work = _ChunkWork(options, schema, splits.plan(options, table.scan), redactor, languages)
    if earlier_texts.are_asked_for(options):
        with contextlib.closing(in_order.in_order(work.splits_of, table.chunks(table.needed))) as parts:
            work.earlier = earlier_texts.EarlierTexts(parts)
    counts = work.no_counts()
    watch = leaks.LeakWatch(options, schema)
    skipped: collections.Counter[str] = collections.Counter()
    with _disk(output_dir, quarantine_dir), contextlib.ExitStack() as stack:
        set_aside = quarantine.QuarantineWriter(_folder(quarantine_dir))
        # The summary is written last: where it is, all else is there.
        (_folder(output_dir) / SUMMARY_FILE).unlink(missing_ok=True)
        writers = [stack.enter_context(encode.ExampleWriter(_folder(output_dir) / f"Split-{name}")) for name in SPLITS]
        chunks = stack.enter_context(contextlib.closing(in_order.in_order(work, table.chunks(table.needed))))
        part = 0
        for done in chunks:
            if done.part != part:
                part = done.part
                # A span's rows are in the same files whatever window it is in, so that what was made of a file can be found again.
                for writer in writers:
                    writer.end_shard()
            watch.add(done.assigned, done.rows, done.exact, done.near, done.texts)
            skipped.update(done.skipped)
            set_aside.write(done.source, done.rejected)
            counts.merge(done.counts)
            for writer, blocks in zip(writers, done.blocks, strict=True):
                writer.append(blocks)
        tally = counts.tally
        logged.require_rows(options, sum(tally.rows) + set_aside.reasons.total(), skipped)
        broken = counts.broken.report(counts.redactor.redact_value)
        try:
            tally.check(set_aside.reasons)
        except UsageError as error:
            _say_what_broke(broken, sum(tally.rows) + set_aside.reasons.total(), error)
            raise
    segments = _most_common(tally.segments(*SPLITS))
    summary = {
        "rows": {**dict(zip(SPLITS, tally.rows, strict=True)), "quarantined": set_aside.reasons.total()},
        "sample": options.sample,
        "quarantine_reasons": dict(set_aside.reasons.most_common()),
        "quarantine_segments": counts.reasons.by_value(segments),
        "broken_rules": broken,
        "fingerprint": tally.fingerprint(),
        "split_fingerprints": tally.split_fingerprints(),
        "labels": {name: dict(sorted(labels.items())) for name, labels in zip(SPLITS, tally.labels, strict=True)},
        "segments": segments,
        "test_segments": _most_common(tally.segments("test")),
        "ignored_columns": table.ignored(),
        "new_columns": table.new(),
        "missing": {name: sum(tally.rows) - values for name, values in tally.values.items()},
        "empty_columns": sorted(name for name, values in tally.values.items() if not values),
        "notes": [
            *work.plan.notes,
            *logged.notes(given, table.lacking() - {languages.optional}),
            *(f"{count} {what} were skipped" for what, count in skipped.items()),
        ],
        "texts": counts.texts.report(),
        "languages": counts.languages.report(options.language),
        "leaks": watch.report(),
        "privacy": counts.redactor.audit(),
        "seconds": round(time.monotonic() - started, 3),
        "bytes": sum(writer.bytes for writer in writers),
    }
    with _disk(output_dir):
        counts.texts.write(output_dir)
        (pathlib.Path(output_dir) / SUMMARY_FILE).write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
    return summary


@dataclasses.dataclass(frozen=True)
class _Counts:
    """What is counted of rows, those of a chunk or all of them.

    Every one has a `merge` that adds what another one of its kind counted; chunks are merged in the order of reading.
    """

    tally: _Tally
    reasons: quarantine.SegmentReasons
    broken: broken_rules.BrokenRules
    redactor: BatchRedactor
    texts: text_statistics.TextStatistics
    languages: language.Agreement

    def merge(self, other: _Counts) -> None:
        """Adds what was counted of other rows."""
        for field in dataclasses.fields(self):
            getattr(self, field.name).merge(getattr(other, field.name))


@dataclasses.dataclass(frozen=True)
class _Done:
    """What became of a chunk.

    Attributes:
      source: The name of the file, table or collection.
      part: See `readers.Chunk`.
      skipped: See `readers.Chunk`.
      rejected: The rows set aside.
      rows: The schema's columns of all rows, personal data removed.
      assigned: int8 [rows], indices into `SPLITS`; below zero for rows set aside.
      exact: uint64 [rows], hashes of the rows' texts.
      near: uint64 [rows], hashes that near duplicates share.
      texts: bool [rows], whether there is a text.
      blocks: The stored rows by split, ready to be written.
      counts: What was counted.
    """

    source: str
    part: int
    skipped: Mapping[str, int]
    rejected: list[quarantine.Rejected]
    rows: pa.RecordBatch
    assigned: np.ndarray
    exact: np.ndarray
    near: np.ndarray
    texts: np.ndarray
    blocks: list[list[encode.Block]]
    counts: _Counts


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A chunk whose rows have splits.

    Attributes:
      chunk: What was read, or the sample of it.
      sieve: Has the rows set aside.
      spoken: The languages of the rows; None if nobody asked.
      rows, assigned, exact, near, texts: See `_Done`; of `assigned`, rows set aside are not marked yet.
      hashes: uint64 [rows], of all columns.
      plain: What near duplicates have in common, by text column.
    """

    chunk: readers.Chunk
    sieve: quarantine.Sieve
    spoken: language.Spoken | None
    rows: pa.RecordBatch
    assigned: np.ndarray
    hashes: np.ndarray
    exact: np.ndarray
    near: np.ndarray
    texts: np.ndarray
    plain: dict[str, pa.StringArray]


class _ChunkWork:
    """All that is done with a chunk and needs no other one.

    Attributes:
      plan: How rows become splits.
      earlier: The texts of earlier splits, whose near duplicates are set aside; None if they are not.
    """

    def __init__(
        self,
        options: DataOptions,
        schema: schema_pb2.Schema,
        plan: splits.Plan,
        redactor: BatchRedactor,
        languages: language.LanguageColumn,
    ):
        self.plan = plan
        self.earlier: earlier_texts.EarlierTexts | None = None
        self._options = options
        self._schema = schema
        self._redactor = redactor
        self._languages = languages

    def no_counts(self) -> _Counts:
        """Returns the counts of no rows."""
        tally = _Tally(self._options, self._schema)
        return _Counts(
            tally,
            quarantine.SegmentReasons(tally.segment_columns),
            broken_rules.BrokenRules(),
            self._redactor.fresh(),
            text_statistics.TextStatistics(self._options.text),
            language.Agreement(),
        )

    def __call__(self, chunk: readers.Chunk) -> _Done:
        """Brings the rows of a chunk to the schema, draws their splits, counts and encodes them.

        Called in several threads at once: it changes nothing but what it makes. What is to be known of all rows is counted in a member
        of `_Counts`, which are merged afterwards.
        """
        counts = self.no_counts()
        drawn = self._draw(chunk, counts)
        chunk, sieve, rows, spoken, assigned = drawn.chunk, drawn.sieve, drawn.rows, drawn.spoken, drawn.assigned
        if self.earlier is not None:
            sieve.reject(self.earlier.have(assigned, drawn.near, drawn.texts), earlier_texts.NEAR_DUPLICATE)
        assigned[~sieve.kept()] = _NO_SPLIT
        counts.reasons.add(rows, sieve)
        detected = None if spoken is None else {self._languages.text: spoken.detected}
        counts.texts.add(assigned, rows, drawn.plain, drawn.near, detected)
        if spoken is not None:
            counts.languages.add(self._languages.as_stored(spoken, rows), assigned != _NO_SPLIT)
        blocks = []
        for code in range(len(SPLITS)):
            part = rows.filter(pa.array(assigned == code))
            counts.tally.count(code, part, drawn.hashes[assigned == code])
            blocks.append(list(encode.blocks(part)))
        rejected = [*chunk.rejected, *sieve.rejected()]
        return _Done(
            chunk.source,
            chunk.part,
            chunk.skipped,
            rejected,
            rows,
            assigned,
            drawn.exact,
            drawn.near,
            drawn.texts,
            blocks,
            counts,
        )

    def splits_of(self, chunk: readers.Chunk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws the splits of a chunk and leaves it at that; returns `assigned`, `near` and `texts` of `_Done`."""
        drawn = self._draw(chunk, self.no_counts())
        drawn.assigned[~drawn.sieve.kept()] = _NO_SPLIT
        return drawn.assigned, drawn.near, drawn.texts

    def _draw(self, chunk: readers.Chunk, counts: _Counts) -> _Drawn:
        chunk = sample.thin(chunk, self._options)
        sieve = quarantine.Sieve(chunk.positions)
        # As it was written, before anything is taken out of it.
        read, spoken = self._languages.read(chunk.rows)
        rows = conform(read, self._schema, self._options, sieve, counts.broken)
        segments = {name: rows.column(name) for name in counts.tally.segment_columns}
        if spoken is not None and self._languages.column not in segments:
            segments[language.DETECTED] = spoken.detected
        label = rows.column(self._options.label)
        rows = counts.redactor.redact(rows, self._options.text, segments)
        # A class of its own for whatever was removed would be learned and answered.
        personal = pc.not_equal(label, rows.column(self._options.label))
        sieve.reject(personal, f"{self._options.label}: {PERSONAL_LABEL}")
        cells = row_hash.hash_columns(rows)
        hashes = row_hash.join(cells, rows.num_rows)
        plain = {name: near_duplicates.plain_form(rows.column(name)) for name in self._options.text}
        exact, near, texts = near_duplicates.hash_texts(rows, self._options.text, cells, plain)
        units = hashes if self._options.split.allow_near_duplicates else np.where(texts, near, hashes)
        assigned = self.plan.assign(chunk.rows, units, sieve)
        return _Drawn(chunk, sieve, spoken, rows, assigned, hashes, exact, near, texts, plain)


class _Tally:
    """Counts what is stored.

    Attributes:
      rows: By split.
      labels: Rows by label, by split.
      values: Values that are not missing, by column.
      segment_columns: The columns that segments are made of.
    """

    def __init__(self, options: DataOptions, schema: schema_pb2.Schema):
        self._options = options
        self._schema = schema
        self._fingerprints = [Fingerprint(schema) for _ in SPLITS]
        self.rows = [0] * len(SPLITS)
        self.labels: list[collections.Counter[str]] = [collections.Counter() for _ in SPLITS]
        self.segment_columns = tuple(dict.fromkeys(name for segment in options.segments for name in segment))
        self._segments = [{name: collections.Counter[str]() for name in self.segment_columns} for _ in SPLITS]
        self.values = {feature.name: 0 for feature in schema.feature}

    def count(self, split: int, rows: pa.RecordBatch, hashes: np.ndarray) -> None:
        """Adds rows of one split, with their hashes."""
        self.rows[split] += rows.num_rows
        _add_values(self.labels[split], rows.column(self._options.label))
        for name, counter in self._segments[split].items():
            _add_values(counter, rows.column(name))
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            self.values[name] += len(column) - column.null_count
        self._fingerprints[split].add(hashes)

    def merge(self, other: _Tally) -> None:
        """Adds what another one counted."""
        for split in range(len(SPLITS)):
            self.rows[split] += other.rows[split]
            self.labels[split].update(other.labels[split])
            for name, counter in self._segments[split].items():
                counter.update(other._segments[split][name])
            self._fingerprints[split].join([other._fingerprints[split]])
        for name, values in other.values.items():
            self.values[name] += values

    def segments(self, *of: str) -> dict[str, collections.Counter[str]]:
        """Returns rows by value, by segment column, over some splits."""
        counted = [self._segments[SPLITS.index(split)] for split in of]
        return {name: sum((values[name] for values in counted), collections.Counter()) for name in counted[0]}

    def fingerprint(self) -> str:
        """Returns the fingerprint of all stored rows."""
        return Fingerprint(self._schema).join(self._fingerprints).hexdigest()

    def split_fingerprints(self) -> dict[str, str]:
        """Returns the fingerprint of each split's rows."""
        return {name: fingerprint.hexdigest() for name, fingerprint in zip(SPLITS, self._fingerprints, strict=True)}

    def check(self, reasons: collections.Counter[str]) -> None:
        """Checks what only the whole table shows.

        Args:
          reasons: Quarantined rows by reason.

        Raises:
          UsageError: See `ingest`.
        """
        label, stored = self._options.label, sum(self.rows)
        of_sample = f" in a {sample_name(self._options.sample)}" if self._options.sample < 1 else ""
        if not stored and not reasons:
            raise UsageError(f"The table has no rows{of_sample}")
        if not stored:
            if set(reasons) == {MISSING_LABEL}:
                raise UsageError(f"data.label {label!r} has no value in any of {reasons.total()} rows; name another column")
            why = "; ".join(f"{reason}: {rows}" for reason, rows in reasons.most_common(5))
            raise UsageError(f"All {reasons.total()} rows were set aside ({why}); correct the table or the types in the schema")
        if isinstance(self._options.source, PredictionLogSource):
            # No model is made of it, so that few rows, one answer or texts that are all empty are for the data gate to judge.
            return
        for name in self._options.text:
            if not self.values[name]:
                raise UsageError(f"data.text {name!r} has no text in any of {stored} rows; name another column")
        classes = set().union(*self.labels)
        if len(classes) < 2:
            raise UsageError(f"A classifier takes at least two classes; data.label {label!r} has one in {stored} rows")
        for name, rows in zip(SPLITS, self.rows, strict=True):
            if not rows:
                sizes = ", ".join(map("{}: {}".format, SPLITS, self.rows))
                together = self._options.text and not self._options.split.allow_near_duplicates
                hint = " (near duplicates stay together unless data.split.allow_near_duplicates)" if together else ""
                raise UsageError(
                    f"The {name} split is empty ({sizes} rows{of_sample})."
                    f" Give more rows, a larger share in data.split, or another split than by {self._options.split.by}{hint}"
                )
        if len(self.labels[0]) < 2:
            raise UsageError(f"All {self.rows[0]} train rows are of one class of {len(classes)}; split by hash or a finer column")


def _say_what_broke(broken: Mapping[str, Any], rows: int, error: UsageError) -> None:
    """Says of a table that is of no use which rules most of its rows break, if that is why.

    Raises:
      GateError: It is.
    """
    found = sorted(broken_rules.breaks(broken, rows), key=lambda one: -one.rows) if rows else []
    if found and found[0].share > _MOST_ROWS:
        findings = [
            Finding("broken rule", Severity.ERROR, one.message, one.column, one.expected, f"{one.share:.1%}")
            for one in found
            if one.share > _MOST_ROWS
        ]
        raise GateError("\n".join([*(finding.message for finding in findings), str(error)]), findings) from error


def _most_common(segments: dict[str, collections.Counter[str]]) -> dict[str, dict[str, int]]:
    return {name: dict(values.most_common(_MOST_SEGMENT_VALUES)) for name, values in segments.items()}


def _add_values(counter: collections.Counter[str], column: pa.Array) -> None:
    for entry in pc.value_counts(column.drop_null()).to_pylist():
        counter[str(entry["values"])] += entry["counts"]


def _folder(path: str) -> pathlib.Path:
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _disk(*folders: str) -> Iterator[None]:
    """Says of a disk that fails which folder and why; what goes wrong while reading has been said before it gets here."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        place, why = error.filename or " or ".join(folders), _DISK_ERRORS[error.errno]
        raise EnvironmentFailure(f"Cannot write to {place}: {why}. Free space or choose another --root") from error
