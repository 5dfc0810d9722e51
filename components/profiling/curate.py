"""From roles to what is written: a TFDV schema and the content of a pipeline file."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion import cells
from components.profiling.profile import ColumnProfile, Kind, TableProfile
from components.profiling.roles import Encoding, Roles
from serving.redaction import Redactor

ENVIRONMENTS = ("TRAINING", "SERVING")

_MAX_DOMAIN_VALUES = 300
# A few new values in a new batch of rows are life; a column in which one cell in twenty is new has changed its meaning.
_MIN_DOMAIN_MASS = 0.95
# Half as full as it was, in the split where it is emptiest, is when a column that may be empty becomes an anomaly.
_PRESENCE_SLACK = 0.5

# A text that is nothing but a number answers a question that is not there: one in twenty of multidogo's chats, none of the 107,000 texts
# of snips, banking77, clinc150 and voice commands.
_ONLY_A_NUMBER = r"^\s*[0-9](?:[ -]?[0-9]){3,}\s*$"
_CHAT_SHARE = 0.01

_SMALL_TABLE_ROWS = 1000
_FEW_GROUPS = 100
_SHARES = {"eval": 0.1, "test": 0.1}
_SMALL_TABLE_SHARES = {"eval": 0.15, "test": 0.2}

_STRONG_MAJORITY = 0.8
_WEIGHTED_CLASSES = 10
_WEIGHTED_RATIO = 10
# Weights of rarer classes would be so large that single rows decide.
_WEIGHTED_MIN_ROWS = 50

_MARGIN = 0.05
_LEAST_MARGIN = 0.005
_MAX_DROP = 0.02
_MAX_SLICE_DROP = 0.05
_MAX_QUARANTINED = 0.05


def schema(profile: TableProfile, roles: Roles) -> schema_pb2.Schema:
    """Writes down what the columns that are stored look like.

    Every value of this table fits, in every split, but those that look like personal data; later tables may bring a few new values and
    somewhat emptier columns before that is an anomaly. Everything but text and inputs is marked as not there when serving.
    """
    result = schema_pb2.Schema(default_environment=ENVIRONMENTS)
    inputs = {**dict.fromkeys(roles.text, None), **roles.inputs}
    only_training = [roles.label, *(name for name in roles.segments if name not in inputs)]
    only_training += [name for name in (roles.split_column, _group(roles), _timestamp(roles)) if name is not None]
    for name in [roles.label, *inputs, *only_training[1:]]:
        feature = result.feature.add(name=name)
        if name not in inputs:
            feature.not_in_environment.append("SERVING")
        _describe(feature, profile, roles, inputs.get(name))
    return result


def _group(roles: Roles) -> str | None:
    return roles.group if roles.split_by in ("group", "column") else None


def _timestamp(roles: Roles) -> str | None:
    return roles.timestamp if roles.split_by == "time" else None


def _describe(feature: schema_pb2.Feature, profile: TableProfile, roles: Roles, encoding: Encoding | None) -> None:
    column = profile.columns[feature.name]
    is_time = feature.name == roles.timestamp and column.kind is Kind.NUMBER and column.whole
    if encoding in (Encoding.CODE, Encoding.WHOLE) or is_time:
        feature.type = schema_pb2.INT
    elif encoding is Encoding.REAL:
        feature.type = schema_pb2.FLOAT
    else:
        feature.type = schema_pb2.BYTES
    if encoding is Encoding.CODE:
        feature.int_domain.is_categorical = True
    _set_presence(feature, profile, roles)
    if feature.type == schema_pb2.BYTES and feature.name not in (*roles.text, roles.group, roles.timestamp):
        values = roles.classes if feature.name == roles.label else column.counts
        if values is not None and len(values) <= _MAX_DOMAIN_VALUES:
            fit = [value for value in values if not _is_personal(value)]
            if sum(values[value] for value in fit) < _MIN_DOMAIN_MASS * sum(values.values()):
                return
            feature.string_domain.value.extend(sorted(fit))
            feature.distribution_constraints.min_domain_mass = _MIN_DOMAIN_MASS


def _is_personal(value: str) -> bool:
    """Whether a value must not be written into a schema, which many people read. A number by itself is a code as long as it may be one."""
    found = {span.entity for span in _patterns().find(value)}
    return bool(found) and not (value.isdecimal() and found == {"phone"})


@functools.cache
def _patterns() -> Redactor:
    return Redactor(["patterns"])


def _set_presence(feature: schema_pb2.Feature, profile: TableProfile, roles: Roles) -> None:
    column = profile.columns[feature.name]
    if not column.missing or feature.name == roles.label:
        feature.presence.min_fraction = 1
        feature.presence.min_count = 1
        return
    share = min([column.present_share, *_present_shares(profile, feature.name, roles.split_column)])
    if (fraction := math.floor(100 * _PRESENCE_SLACK * share) / 100) > 0:
        feature.presence.min_fraction = fraction


def _present_shares(profile: TableProfile, name: str, split_column: str | None) -> list[float]:
    """Share of rows that hold a value, by split."""
    if split_column is None:
        return []
    present = pc.cast(cells.text(profile.sample[name].combine_chunks()).is_valid(), pa.float64())
    table = pa.table({"split": profile.sample[split_column].combine_chunks(), "present": present})
    return table.group_by("split").aggregate([("present", "mean")])["present_mean"].to_pylist()


def pipeline_values(
    profile: TableProfile, roles: Roles, *, name: str, source: Mapping[str, str], schema_path: str, derive: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the content of a pipeline file, in the order in which it reads best.

    Args:
      profile: The table.
      roles: What its columns are for.
      name: The pipeline's name.
      source: `data.source`.
      schema_path: Where the schema is.
      derive: `data.derive`.
    """
    data: dict[str, Any] = {"source": dict(source)}
    if roles.text:
        data["text"] = roles.text[0] if len(roles.text) == 1 else list(roles.text)
    data["label"] = roles.label
    if roles.segments:
        data["segments"] = list(roles.segments)
    if roles.group is not None:
        data["group"] = roles.group
    if roles.timestamp is not None:
        data["timestamp"] = roles.timestamp
    data["split"] = _split(profile, roles)
    if derive:
        data["derive"] = dict(derive)
    if roles.exclude:
        data["exclude"] = list(roles.exclude)
    data["enforce_schema"] = True
    weights = "balanced" if _is_weighted(roles.classes) else "none"
    return {
        "name": name,
        "data": data,
        "schema": schema_path,
        **({"privacy": {"redact": _redacted(profile, roles)}} if roles.text else {}),
        "validation": {"max_quarantined": _tolerated_quarantine(profile, roles)},
        "model": {"encoder": "ngrams", "class_weights": weights},
        "evaluation": {"gates": _gates(roles)},
        "release": {"directory": "serving"},
    }


def _redacted(profile: TableProfile, roles: Roles) -> list[str]:
    """What patterns find; also bare numbers, where people answer with them."""
    for name in roles.text:
        texts = cells.text(profile.sample[name].combine_chunks()).drop_null()
        if len(texts) and pc.mean(pc.match_substring_regex(texts, _ONLY_A_NUMBER)).as_py() >= _CHAT_SHARE:
            return ["patterns", "number"]
    return ["patterns"]


def _split(profile: TableProfile, roles: Roles) -> dict[str, Any]:
    if roles.split_by == "column":
        return {"by": "column", "column": roles.split_column}
    few_groups = roles.split_by == "group" and profile.columns[roles.group].distinct < _FEW_GROUPS
    small = few_groups or profile.rows < _SMALL_TABLE_ROWS
    return {"by": roles.split_by, **(_SMALL_TABLE_SHARES if small else _SHARES)}


def _tolerated_quarantine(profile: TableProfile, roles: Roles) -> float:
    """What this table loses, known before the first run, and the usual tolerance on top."""
    lost = profile.rejected + profile.columns[roles.label].missing + _misfits(profile.columns[name] for name in roles.inputs)
    if roles.split_by == "time":
        lost += profile.columns[roles.timestamp].missing + profile.columns[roles.timestamp].misfits
    share = lost / (profile.rows + profile.rejected)
    if share < _MAX_QUARANTINED / 2:
        return _MAX_QUARANTINED
    return round(min(1.0, math.ceil(round(100 * share, 6)) / 100 + _MAX_QUARANTINED), 2)


def _misfits(columns: Iterable[ColumnProfile]) -> int:
    return sum(column.misfits for column in columns)


def _is_weighted(classes: Mapping[str, int]) -> bool:
    most, least = max(classes.values()), min(classes.values())
    return len(classes) <= _WEIGHTED_CLASSES and least >= _WEIGHTED_MIN_ROWS and most >= _WEIGHTED_RATIO * least


def _gates(roles: Roles) -> list[dict[str, Any]]:
    metric = _gated_metric(roles.classes)
    gates: list[dict[str, Any]] = [
        {"metric": metric, "above_majority": _margin(metric, roles)},
        {"metric": metric, "max_drop": _MAX_DROP},
    ]
    if roles.segments:
        # No group of users may pay for a better average. Slices are judged by their intervals, so chance alone fails none.
        gates.append({"metric": "accuracy", "max_drop": _MAX_SLICE_DROP, "slices": "each"})
    return gates


def _gated_metric(classes: Mapping[str, int]) -> str:
    """Accuracy, unless always saying the majority class already has nearly all of it."""
    if len(classes) == 2:
        return "auc"
    majority = max(classes.values()) / sum(classes.values())
    return "balanced_accuracy" if majority > _STRONG_MAJORITY or _is_weighted(classes) else "accuracy"


def _margin(metric: str, roles: Roles) -> float:
    """How far above the majority class a model must be: so far that a useless one never gets there, and any good one does."""
    if metric != "accuracy":
        return _MARGIN
    majority = max(roles.classes.values()) / sum(roles.classes.values())
    margin = min(_MARGIN, (1 - majority) / 4)
    if not roles.text:
        # Tables may hold little about their label; what the best column alone adds says how much can be asked for.
        margin = min(margin, max(_LEAST_MARGIN, roles.best_gain / 2))
    return round(margin, 3)
