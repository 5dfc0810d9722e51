"""Where timelines come from: a table with a time column, a model server's request log, or the data of earlier runs.

Each is read once, in batches; no row is kept.
"""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion import cells, columns, derive, readers, source_path
from components.ingestion.options import DataOptions, FileSource, PredictionLogSource
from components.monitoring import periods
from components.monitoring.findings import VERSIONS
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import MISSING, ROWS, SHARE, Collector, Series, Timeline

TIMESTAMP, SCORE, LATENCY, ABSTAINED = "timestamp", "score", "latency_ms", "abstained"
QUARANTINED = "quarantined"

_NUMERIC = (schema_pb2.INT, schema_pb2.FLOAT)


def of_table(data: DataOptions, schema: schema_pb2.Schema, options: MonitoringOptions, now: float) -> Timeline:
    """Returns the timeline of a table: labels, segments, empty cells, lengths of texts, typical values of numbers.

    Args:
      data: The `data:` section; it names the column of time.
      schema: The columns that are stored, and which are numbers.
      options: What a period is.
      now: Seconds since the epoch; a period that is not over yet is left out.

    Raises:
      UsageError: The source is no table in files, has no column of time, or lacks a column.
    """
    if data.timestamp is None:
        raise UsageError(
            "Monitoring over time needs the column that says when a row is from: set data.timestamp, or monitoring.unit to span"
        )
    types = {feature.name: feature.type for feature in schema.feature}
    left_out = {data.timestamp, data.label, *(name for name in data.exclude if name not in data.derive)}
    stored = [name for name in types if name not in left_out]
    floats = {name for name, kind in types.items() if kind == schema_pb2.FLOAT}
    # A column of fractions is no list of values; what is typical of it is followed below.
    shares = [(data.label,), *(segment for segment in data.segments if not floats & set(segment))]
    collector = Collector(
        options.unit,
        shares=list(dict.fromkeys(shares)),
        missing=list(dict.fromkeys([data.label, *stored])),
        lengths=data.text,
        numbers=[name for name in stored if options.numbers and types[name] in _NUMERIC and (name,) not in shares],
        values=options.values,
        until=now,
    )
    expressions = {name: derive.parse(text) for name, text in data.derive.items()}
    asked = dict.fromkeys((data.timestamp, data.label, *stored, *(name for cross in shares for name in cross)), "Monitoring")
    wanted = _raw(asked, expressions)
    seen: dict[str, None] = {}
    for chunk in _chunks(data.source, wanted):
        seen.update(dict.fromkeys(chunk.columns))
        rows = chunk.rows
        for name, expression in expressions.items():
            if set(expression.columns) <= set(rows.schema.names):
                rows = rows.append_column(name, expression.evaluate(rows))
        collector.add(rows, _seconds(rows, data.timestamp, len(chunk.positions)))
    columns.require(wanted, seen, "Monitoring reads")
    return _complete(collector.timeline(), options, now)


def of_log(folder: pathlib.Path, data: DataOptions, model: str, options: MonitoringOptions, now: float) -> Timeline:
    """Returns the timeline of a request log: answers, abstentions, scores, latency and versions, and what was asked.

    Rows are those that were logged, so a change of the log's sampling rate changes their number. Periods up to now count, also
    those without a request.

    Args:
      folder: The log's directory, or a file of it.
      data: The `data:` section of the model's pipeline, for its label, segments and texts.
      model: The model whose answers to follow.
      options: What a period is.
      now: Seconds since the epoch; a period that is not over yet is left out.

    Raises:
      UsageError: There is no log, or no record of the model in it.
    """
    source = PredictionLogSource(type="prediction_log", path=str(folder), model=model, label=data.label)
    segments = [segment for segment in data.segments if data.label not in segment]
    collector = Collector(
        options.unit,
        shares=[(data.label,), (ABSTAINED,), (VERSIONS,), *segments],
        missing=data.text,
        lengths=data.text,
        numbers=[SCORE, LATENCY],
        values=options.values,
        until=now,
    )
    if not folder.exists():
        raise UsageError(f"There is no request log {folder}; name the directory that the server was given as --request_log_dir")
    others, read = 0, 0
    for chunk in readers.read_batches(source):
        others += sum(chunk.skipped.values())
        read += len(chunk.positions)
        collector.add(chunk.rows, _seconds(chunk.rows, TIMESTAMP, len(chunk.positions)))
    if not read:
        besides = f" ({others} are of other models)" if others else ""
        raise UsageError(f"{folder} holds no logged request of the model {model!r}{besides}; is it what --request_log_dir named?")
    last = int(periods.of_seconds(np.array([now]), options.unit)[0]) - 1
    return collector.timeline(last)


def of_runs(summaries: Sequence[tuple[str, Mapping[str, Any]]], label: str) -> Timeline:
    """Returns the timeline of the data that runs read, one period each.

    Its series are rows, rows set aside, labels, segment values, empty cells, and the scripts and detected languages of texts. A run
    whose summary does not tell of one of them has no rows in its series.

    Args:
      summaries: What each run is called with ingestion's summary of its data, oldest first.
      label: What the column of labels is called.
    """
    n = len(summaries)
    series: list[Series] = []
    if n:
        stored = [{name: rows for name, rows in summary["rows"].items() if name != QUARANTINED} for _, summary in summaries]
        rows = np.array([sum(splits.values()) for splits in stored], np.float64)
        aside = np.array([summary["rows"].get(QUARANTINED, 0) for _, summary in summaries], np.float64)
        series = [Series(ROWS, "", "", rows, rows), Series(MISSING, "a place in a split (quarantined)", "", aside, rows + aside)]
        labels = [_sum(summary["labels"].values()) for _, summary in summaries]
        series += _shares(label, labels)
        for column in sorted({name for _, summary in summaries for name in summary.get("segments", {})}):
            series += _shares(column, [summary.get("segments", {}).get(column, {}) for _, summary in summaries])
        for column in sorted({name for _, summary in summaries for name in summary.get("missing", {})}):
            empty = [summary.get("missing", {}).get(column) for _, summary in summaries]
            told = np.array([count is not None for count in empty])
            series.append(Series(MISSING, column, "", np.array([count or 0 for count in empty], np.float64), rows * told))
        for column in sorted({name for _, summary in summaries for name in summary.get("texts", {})}):
            texts = [summary.get("texts", {}).get(column, {}).values() for _, summary in summaries]
            for what in ("script", "language"):
                series += _shares(f"{what} of {column}", [_sum(split[f"{what}s"] for split in splits) for splits in texts])
    return Timeline("span", np.arange(n), tuple(series), names=tuple(name for name, _ in summaries))


def _shares(column: str, counts: Sequence[Mapping[str, float]]) -> list[Series]:
    totals = np.array([sum(values.values()) for values in counts], np.float64)
    names = sorted({value for values in counts for value in values})
    return [
        Series(SHARE, column, name, np.array([values.get(name, 0) for values in counts], np.float64), totals) for name in names
    ]


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, n in part.items():
            total[name] = total.get(name, 0) + n
    return total


def _chunks(source: Any, wanted: Collection[str]) -> Iterable[readers.Chunk]:
    if not isinstance(source, FileSource):
        return readers.read_batches(source, columns=wanted)
    # Every span there is: a timeline is longer than one.
    path = source_path.resolve(source.path)
    for pattern in ("{SPAN}", "{VERSION}", "{YYYY}", "{MM}", "{DD}"):
        path = path.replace(pattern, "*")
    return readers.read_batches(source, [path], wanted)


def _raw(wanted: Mapping[str, str], expressions: Mapping[str, derive.Expression]) -> dict[str, str]:
    """Replaces derived columns by those they are made of."""
    raw = dict(wanted)
    # An expression may use columns derived before it, so the last one is taken apart first.
    for name, expression in reversed(list(expressions.items())):
        if raw.pop(name, None):
            raw = {**dict.fromkeys(expression.columns, f"data.derive.{name}"), **raw}
    return raw


def _seconds(rows: pa.RecordBatch, column: str, length: int) -> np.ndarray:
    """When each row is from; NaN where its cell is no time."""
    if column not in rows.schema.names:
        return np.full(length, np.nan)
    seconds, wrong = cells.seconds(rows.column(column))
    return np.where(wrong, np.nan, seconds)


def _complete(timeline: Timeline, options: MonitoringOptions, now: float) -> Timeline:
    """Leaves out a last period that is not over: it has not got all of its rows yet."""
    if not len(timeline.periods) or periods.end(int(timeline.periods[-1]), options.unit) <= now:
        return timeline
    return timeline.between(0, len(timeline.periods) - 1)
