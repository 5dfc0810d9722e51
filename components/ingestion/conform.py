"""Rows brought to the schema: the columns it lists, in its types, and nothing else.

A cell that does not cast sets its row aside. What is missing stays missing: empty text (in any format), null and, in a numeric
column, NaN and the words in `cells.MISSING_NUMBERS`; a row whose message is missing is kept, whether that is too many is for
validation to say. Only a row without a label is set aside, as nothing can be learned from or measured on it.

With `data.enforce_schema` a row is also set aside if it lacks a value that the schema wants of every row, or has one outside a domain
that the schema allows no exception from. Where the schema tolerates some, one row breaks no rule, and validation judges the column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion import broken_rules, cells
from components.ingestion.broken_rules import BrokenRules
from components.ingestion.options import DataOptions, PredictionLogSource
from components.ingestion.quarantine import Sieve

MISSING_LABEL = "missing label"
TEXT_TOO_LONG = "text too long"


def check_roles(options: DataOptions, schema: schema_pb2.Schema) -> None:
    """Checks that the `data:` section and the schema describe the same table.

    Raises:
      UsageError: The label, a text column or a segment is not in the schema or not BYTES, an excluded column is, or a feature has
        a type no column can have.
    """
    types = {feature.name: feature.type for feature in schema.feature}
    for name, kind in types.items():
        if kind not in _CASTS:
            raise UsageError(
                f"Features are of type BYTES, INT or FLOAT; the schema gives {name!r} {schema_pb2.FeatureType.Name(kind)}"
            )
    segments = {name for segment in options.segments for name in segment}
    textual = [("data.label", options.label), *(("data.text", name) for name in options.text)]
    for role, name in textual + [("data.segments", name) for name in sorted(segments)]:
        if name not in types:
            raise UsageError(f"{role} names {name!r}, which the schema does not list; add a feature {name!r} to the schema")
    for role, name in textual:
        if types[name] != schema_pb2.BYTES:
            raise UsageError(f"{role} {name!r} is stored as text; set its type in the schema to BYTES")
    if both := sorted(set(options.exclude) & types.keys()):
        names = ", ".join(map(repr, both))
        raise UsageError(f"data.exclude drops {names}, which the schema lists; remove it from one of the two")


def conform(
    rows: pa.RecordBatch, schema: schema_pb2.Schema, options: DataOptions, sieve: Sieve, broken: BrokenRules | None = None
) -> pa.RecordBatch:
    """Casts the schema's columns.

    Args:
      rows: Plain columns (see `readers.Chunk`), at least those the schema lists.
      schema: Says which columns, and their types.
      options: Says which of them is the label, and how long text may be.
      sieve: Takes the rows that do not fit; they stay in the result, which is filtered once when everyone has had a say.
      broken: Counts what rows break of the schema's rules, where these are enforced.

    Returns:
      [rows], the schema's columns in its order, as string, int64 or float32.
    """
    columns, missing = {}, {}
    for feature in schema.feature:
        # What does not fit is null from here on, but was not missing.
        misfits = Sieve(np.zeros(rows.num_rows, np.int64))
        column = _CASTS[feature.type](rows.column(feature.name), feature.name, misfits)
        if feature.name == options.label:
            column = cells.text(pc.utf8_trim_whitespace(column))
            # A model that answers no label was asked something all the same.
            if not isinstance(options.source, PredictionLogSource):
                sieve.reject(column.is_null(), MISSING_LABEL)
        if feature.type == schema_pb2.BYTES:
            too_long = pc.greater(pc.binary_length(column), options.max_text_bytes)
            misfits.reject(too_long, TEXT_TOO_LONG)
            # Hashing megabytes only to set them aside would cost twenty times their memory.
            column = cells.keep(column, pc.invert(too_long))
        for reason, which in misfits.by_reason():
            sieve.reject(which, reason)
        columns[feature.name] = column
        missing[feature.name] = pc.and_(column.is_null(), pa.array(misfits.kept()))
    # A server's log is there to be looked at: what is wrong with it must not be left out.
    if options.enforce_schema and not isinstance(options.source, PredictionLogSource):
        _enforce(columns, missing, schema, options, sieve, BrokenRules() if broken is None else broken)
    return pa.RecordBatch.from_pydict(columns)


def _enforce(
    columns: Mapping[str, pa.Array],
    missing: Mapping[str, pa.BooleanArray],
    schema: schema_pb2.Schema,
    options: DataOptions,
    sieve: Sieve,
    broken: BrokenRules,
) -> None:
    for feature in schema.feature:
        name, column = feature.name, columns[feature.name]
        if feature.presence.min_fraction == 1:
            broken.missing(name, missing[name])
            sieve.reject(missing[name], f"{name}: missing")
        kind = feature.WhichOneof("domain_info")
        if kind in ("int_domain", "float_domain"):
            limits = getattr(feature, kind)
            for rule, field, compare in ((broken_rules.BELOW, "min", pc.less), (broken_rules.ABOVE, "max", pc.greater)):
                if limits.HasField(field):
                    beyond = compare(column, getattr(limits, field))
                    broken.beyond(name, rule, column, beyond)
                    sieve.reject(beyond, f"{name}: {rule} {getattr(limits, field)}")
    domains = {feature.name: domain for feature in schema.feature if (domain := _domain(feature, schema)) is not None}
    outside = {name: pc.and_(columns[name].is_valid(), pc.invert(pc.is_in(columns[name], domains[name]))) for name in domains}
    # Where the values of a column that has others now may be: two columns that changed places both have others.
    others = {name for name, rows in outside.items() if 2 * rows.true_count > len(rows)} | set(options.text)
    for name, rows in outside.items():
        places = {other: columns[other] for other in sorted(others - {name})}
        broken.outside(name, columns[name], rows, domains[name], places)
        sieve.reject(rows, f"{name}: not in its domain")


def _domain(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> pa.Array | None:
    """The values that a column of text may have in any row; None if it may have others, in some rows at least."""
    kind = feature.WhichOneof("domain_info")
    if kind not in ("string_domain", "domain") or feature.type != schema_pb2.BYTES:
        return None
    if feature.distribution_constraints.min_domain_mass < 1:
        return None
    shared = {domain.name: domain for domain in schema.string_domain}
    domain = feature.string_domain if kind == "string_domain" else shared.get(feature.domain)
    return None if domain is None else pa.array(list(domain.value), pa.string())


def _text(array: pa.Array, name: str, sieve: Sieve) -> pa.StringArray:
    del name, sieve  # anything a reader yields has a text form
    return cells.text(array)


def _whole_number(array: pa.Array, name: str, sieve: Sieve) -> pa.Int64Array:
    values, invalid = cells.whole_number(array)
    sieve.reject(invalid, f"{name}: not a whole number")
    return values


def _number(array: pa.Array, name: str, sieve: Sieve) -> pa.FloatArray:
    values, invalid = cells.number(array)
    sieve.reject(invalid, f"{name}: not a number")
    single = values.cast(pa.float32(), safe=False)
    sieve.reject(pc.is_inf(single), f"{name}: out of range")
    return single


_CASTS: dict[int, Callable[[pa.Array, str, Sieve], pa.Array]] = {
    schema_pb2.BYTES: _text,
    schema_pb2.INT: _whole_number,
    schema_pb2.FLOAT: _number,
}
