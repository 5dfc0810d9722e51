"""What new data would change in the curated schema: one change per line of it, each of which a person accepts or not.

All changes loosen the schema so that the data fits: another value of a domain, wider limits of a number, a column that is emptier.
Nothing is ever taken out because it did not occur this time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.ingestion import broken_rules
from components.validation import distances

VALUE, PRESENCE, MIN, MAX = "value", "presence", "min", "max"

_RANGES = ("int_domain", "float_domain")
# What fewer rows have is not named, and cannot be accepted.
_MIN_ROWS = broken_rules.MIN_ROWS


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of the schema.

    Attributes:
      id: Names it on the command line: `channel/value=fax`, `fare/max`.
      column: The column whose data asks for it.
      field: VALUE, PRESENCE, MIN or MAX.
      new: The value to add, or the number to set.
      old: The number that is there; None of a value that is added.
      seen: What was seen, in a few words.
    """

    id: str
    column: str
    field: str
    new: str | int | float
    old: int | float | None
    seen: str

    def line(self) -> str:
        """Returns the change in words."""
        if self.field == VALUE:
            what = f"add the value {self.new!r}"
        else:
            name = "presence.min_fraction" if self.field == PRESENCE else self.field
            what = f"{name} {self.old:g} -> {self.new:g}"
        return f"{self.id}  {what}  ({self.seen})"


@dataclasses.dataclass(frozen=True)
class Changes:
    """What the data would change.

    Attributes:
      changes: In the schema's order.
      notes: What cannot be accepted line by line, in sentences.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def find(
    datasets: Mapping[str, statistics_pb2.DatasetFeatureStatistics],
    schema: schema_pb2.Schema,
    text: Collection[str] = (),
    ingestion: Mapping[str, Any] | None = None,
) -> Changes:
    """Compares data with the schema.

    Args:
      datasets: Statistics by split. A limit must hold in every split.
      schema: The curated schema.
      text: Message columns, of which no value is ever named.
      ingestion: The summary written by ingestion: what rows that were set aside break of the schema (`broken_rules`) is in no
        statistics, nor are columns that nobody named (`new_columns`).
    """
    ingestion = ingestion or {}
    total = sum(ingestion.get("rows", {}).values())
    by_split = [distances.by_name(dataset) for dataset in datasets.values()]
    rows = [float(dataset.num_examples) for dataset in datasets.values()]
    changes: list[Change] = []
    notes: list[str] = []
    for feature in schema.feature:
        broken = _Broken(ingestion.get("broken_rules", {}).get(feature.name, {}), total)
        there = [(columns[feature.name], count) for columns, count in zip(by_split, rows, strict=True) if feature.name in columns]
        if not there:
            notes.append(f"Column {feature.name!r} is in the schema and in no row")
            continue
        changes += _presence(feature, there, broken)
        changes += _limits(feature, [stats for stats, _ in there], broken)
        domain = domain_of(feature, schema)
        if domain is not None and feature.name not in text:
            new, rare = _values(feature.name, domain, [stats for stats, _ in there], broken)
            changes += new
            if broken.unnamed:
                notes.append(
                    f"{broken.unnamed:,} rows were set aside with values of column {feature.name!r} that are not named: each is in fewer"
                    f" than {_MIN_ROWS} rows, or holds personal data"
                )
            if rare:
                notes.append(
                    f"Column {feature.name!r} has {rare} new values of fewer than {_MIN_ROWS} rows each, which are not named"
                )
    notes += [
        f"Column {name!r} of the table is not in the schema (new_column); add a feature for it, or name it in data.exclude"
        for name in ingestion.get("new_columns", ())
    ]
    return Changes(tuple(changes), tuple(notes))


def apply(schema: schema_pb2.Schema, changes: Iterable[Change]) -> schema_pb2.Schema:
    """Returns a copy of the schema with changes made."""
    result = schema_pb2.Schema()
    result.CopyFrom(schema)
    for change in changes:
        feature = next(feature for feature in result.feature if feature.name == change.column)
        if change.field == VALUE:
            domain = domain_of(feature, result)
            if domain is not None:
                domain.value.append(str(change.new))
        elif change.field == PRESENCE:
            feature.presence.min_fraction = float(change.new)
        else:
            setattr(getattr(feature, str(range_of(feature))), change.field, change.new)
    return result


def domain_of(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> schema_pb2.StringDomain | None:
    """Returns the list of values a column may have, its own or one that it shares; None if it may have any."""
    if feature.HasField("string_domain"):
        return feature.string_domain
    if feature.HasField("domain"):
        return next((domain for domain in schema.string_domain if domain.name == feature.domain), None)
    return None


def range_of(feature: schema_pb2.Feature) -> str | None:
    """Returns the field in which a feature says the limits of a number; None if it has none."""
    return next((kind for kind in _RANGES if feature.HasField(kind)), None)


@dataclasses.dataclass(frozen=True)
class _Broken:
    """What rows that were set aside break of one column's rules.

    Attributes:
      told: See BrokenRules.report; empty if nothing.
      total: Rows that were read.
    """

    told: Mapping[str, Any]
    total: int

    @property
    def values(self) -> Mapping[str, int]:
        return self.told.get("values", {})

    @property
    def unnamed(self) -> int:
        return self.told.get("unnamed", 0)

    @property
    def missing(self) -> int:
        return self.told.get("rows", {}).get(broken_rules.MISSING, 0)

    def farthest(self, side: str) -> list[float]:
        value = self.told.get("least" if side == MIN else "most")
        return [] if value is None else [value]


def _presence(
    feature: schema_pb2.Feature, there: list[tuple[statistics_pb2.FeatureNameStatistics, float]], broken: _Broken
) -> Iterable[Change]:
    present = min(distances.present(stats) / count for stats, count in there if count) if any(n for _, n in there) else 0.0
    if feature.presence.min_fraction and present < feature.presence.min_fraction:
        yield Change(
            f"{feature.name}/{PRESENCE}",
            feature.name,
            PRESENCE,
            math.floor(100 * present) / 100,
            feature.presence.min_fraction,
            f"{present:.2%} of the rows of one split have it",
        )
    elif broken.missing:
        share = 1 - broken.missing / broken.total
        seen = f"{broken.missing:,} rows without it were set aside"
        yield Change(
            f"{feature.name}/{PRESENCE}",
            feature.name,
            PRESENCE,
            math.floor(100 * share) / 100,
            feature.presence.min_fraction,
            seen,
        )


def _limits(feature: schema_pb2.Feature, there: list[statistics_pb2.FeatureNameStatistics], broken: _Broken) -> Iterable[Change]:
    kind = range_of(feature)
    seen = [stats.num_stats for stats in there if stats.HasField("num_stats") and stats.num_stats.common_stats.num_non_missing]
    if kind is None or not seen:
        return
    limits = getattr(feature, kind)
    number = int if kind == "int_domain" else float
    least = min([*(stats.min for stats in seen), *broken.farthest(MIN)])
    most = max([*(stats.max for stats in seen), *broken.farthest(MAX)])
    for side, value in ((MIN, least), (MAX, most)):
        old = getattr(limits, side)
        if limits.HasField(side) and (value < old if side == MIN else value > old):
            yield Change(f"{feature.name}/{side}", feature.name, side, number(value), old, f"{value:g} was seen")


def _values(
    name: str, domain: schema_pb2.StringDomain, there: list[statistics_pb2.FeatureNameStatistics], broken: _Broken
) -> tuple[list[Change], int]:
    rows: dict[str, float] = {}
    for stats in there:
        for bucket in stats.string_stats.rank_histogram.buckets:
            rows[bucket.label] = rows.get(bucket.label, 0.0) + bucket.sample_count
    for value, count in broken.values.items():
        rows[value] = rows.get(value, 0.0) + count
    known = set(domain.value)
    new = {value: count for value, count in rows.items() if value not in known}
    named = [
        Change(f"{name}/{VALUE}={value}", name, VALUE, value, None, f"{count:,.0f} rows{_aside(broken.values.get(value, 0))}")
        for value, count in sorted(new.items(), key=lambda item: -item[1])
        if count >= _MIN_ROWS
    ]
    return named, len(new) - len(named)


def _aside(rows: int) -> str:
    return f", {rows:,} of them set aside" if rows else ""
