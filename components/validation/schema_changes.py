"""What new data would change in the curated schema: one change per line of it, each of which a person accepts or not.

All changes loosen the schema so that the data fits: another value of a domain, wider limits of a number, a column that is emptier.
Nothing is ever taken out because it did not occur this time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.validation import distances

VALUE, PRESENCE, MIN, MAX = "value", "presence", "min", "max"

_RANGES = ("int_domain", "float_domain")
# A value that only a few rows have could identify a person; it is counted, not named, and cannot be accepted.
_MIN_ROWS = 5


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
    datasets: Mapping[str, statistics_pb2.DatasetFeatureStatistics], schema: schema_pb2.Schema, text: Collection[str] = ()
) -> Changes:
    """Compares data with the schema.

    Args:
      datasets: Statistics by split. A limit must hold in every split.
      schema: The curated schema.
      text: Message columns, of which no value is ever named.
    """
    by_split = [distances.by_name(dataset) for dataset in datasets.values()]
    rows = [float(dataset.num_examples) for dataset in datasets.values()]
    changes: list[Change] = []
    notes: list[str] = []
    for feature in schema.feature:
        there = [(columns[feature.name], count) for columns, count in zip(by_split, rows, strict=True) if feature.name in columns]
        if not there:
            notes.append(f"Column {feature.name!r} is in the schema and in no row")
            continue
        changes += _presence(feature, there)
        changes += _limits(feature, [stats for stats, _ in there])
        domain = domain_of(feature, schema)
        if domain is not None and feature.name not in text:
            new, rare = _values(feature.name, domain, [stats for stats, _ in there])
            changes += new
            if rare:
                notes.append(
                    f"Column {feature.name!r} has {rare} new values of fewer than {_MIN_ROWS} rows each, which are not named"
                )
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


def _presence(feature: schema_pb2.Feature, there: list[tuple[statistics_pb2.FeatureNameStatistics, float]]) -> Iterable[Change]:
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


def _limits(feature: schema_pb2.Feature, there: list[statistics_pb2.FeatureNameStatistics]) -> Iterable[Change]:
    kind = range_of(feature)
    seen = [stats.num_stats for stats in there if stats.HasField("num_stats") and stats.num_stats.common_stats.num_non_missing]
    if kind is None or not seen:
        return
    limits = getattr(feature, kind)
    number = int if kind == "int_domain" else float
    for side, value in ((MIN, min(stats.min for stats in seen)), (MAX, max(stats.max for stats in seen))):
        old = getattr(limits, side)
        if limits.HasField(side) and (value < old if side == MIN else value > old):
            yield Change(f"{feature.name}/{side}", feature.name, side, number(value), old, f"{value:g} was seen")


def _values(
    name: str, domain: schema_pb2.StringDomain, there: list[statistics_pb2.FeatureNameStatistics]
) -> tuple[list[Change], int]:
    rows: dict[str, float] = {}
    for stats in there:
        for bucket in stats.string_stats.rank_histogram.buckets:
            rows[bucket.label] = rows.get(bucket.label, 0.0) + bucket.sample_count
    known = set(domain.value)
    new = {value: count for value, count in rows.items() if value not in known}
    named = [
        Change(f"{name}/{VALUE}={value}", name, VALUE, value, None, f"{count:,.0f} rows")
        for value, count in sorted(new.items(), key=lambda item: -item[1])
        if count >= _MIN_ROWS
    ]
    return named, len(new) - len(named)
