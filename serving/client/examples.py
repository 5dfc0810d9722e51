"""tf.Examples, built from rows with types that the model expects.

    builder = ExampleBuilder.from_schema("schemas/taxi/schema.pbtxt")
    builder.build({"fare": 12, "company": "Blue Ribbon", "trip_miles": None})

The classic failure is an integer for a float feature: tf.Examples carry their own types and models refuse others than they were
trained on. So every feature has a declared type here, from a schema or spelled out (`ExampleBuilder({"fare": float})`); values are
converted where nothing is lost and refused where something would be.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.client.errors import InvalidInputError
from serving.messages import BytesList, Example, Feature, FloatList, Int64List

SERVING = "SERVING"

_BYTES, _INT, _FLOAT = "bytes", "int", "float"
_KINDS: dict[Any, str] = {
    **dict.fromkeys((str, bytes, "bytes", "string", "str"), _BYTES),
    **dict.fromkeys((int, "int", "int64"), _INT),
    **dict.fromkeys((float, "float", "float32"), _FLOAT),
}
_SCHEMA_KINDS = {"BYTES": _BYTES, "INT": _INT, "FLOAT": _FLOAT}
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True, slots=True)
class _Declared:
    kind: str
    required: bool


class ExampleBuilder:
    """Builds tf.Examples whose features have declared types."""

    def __init__(self, types: Mapping[str, Any], *, required: Iterable[str] = (), ignored: Iterable[str] = ()):
        """Declares the features.

        Args:
            types: By feature: float, int, str or bytes, or their names ("float", "int", "bytes").
            required: Features that every row must have.
            ignored: Columns that rows may have and that are left out, such as the label.

        Raises:
            ValueError: A type is none of these, or a required feature has none.
        """
        if unknown := [name for name, kind in types.items() if kind not in _KINDS]:
            raise ValueError(f"the type of a feature is float, int or bytes; it is not for: {', '.join(map(repr, unknown))}")
        required = frozenset(required)
        if untyped := sorted(required - set(types)):
            raise ValueError(f"required features without a type: {', '.join(map(repr, untyped))}")
        self._declared = {name: _Declared(_KINDS[kind], name in required) for name, kind in types.items()}
        self._ignored = frozenset(ignored)

    @classmethod
    def from_schema(cls, schema: Any, *, environment: str = SERVING) -> ExampleBuilder:
        """Declares the features that a TFDV schema has in an environment.

        Features that are always present there (`min_fraction: 1`) are required. Those of other environments only, such as the
        label, may be in a row and are left out.

        Args:
            schema: The path of a schema.pbtxt, or a `schema_pb2.Schema`.
            environment: Whose features a request carries.

        Raises:
            ValueError: The file is no schema in text form, or a feature has a type that tf.Examples cannot carry.
            OSError: The file cannot be read.
        """
        parsed = _parse(schema) if isinstance(schema, str | os.PathLike) else schema
        types: dict[str, str] = {}
        required, ignored = [], []
        for feature in parsed.feature:
            if not _is_in(feature, environment):
                ignored.append(feature.name)
                continue
            kind = type(feature).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[feature.type].name
            if kind not in _SCHEMA_KINDS:
                raise ValueError(
                    f"feature {feature.name!r} of the schema has the type {kind}; tf.Examples carry BYTES, INT and FLOAT"
                )
            types[feature.name] = _SCHEMA_KINDS[kind]
            if feature.presence.min_fraction >= 1:
                required.append(feature.name)
        return cls(types, required=required, ignored=ignored)

    @property
    def types(self) -> dict[str, str]:
        """Each feature's type, "bytes", "int" or "float", in declared order."""
        return {name: declared.kind for name, declared in self._declared.items()}

    def build(self, row: Mapping[str, Any], position: int | None = None) -> Any:
        """Builds the tf.Example of one row.

        Args:
            row: By feature a value, or a list or one-dimensional array of values. str becomes UTF-8. None and a feature left out
                mean that it is absent. Integers become floats where those are declared; nothing else is converted.
            position: The row's number, for the text of an error.

        Raises:
            InvalidInputError: A feature is not declared, has values of another type or is missing though required. The text names
                the feature and the types, never the value.
        """
        where = "" if position is None else f"row {position}: "
        if unknown := [name for name in row if name not in self._declared and name not in self._ignored]:
            raise InvalidInputError(
                f"{where}no feature is called {', '.join(map(repr, unknown))}; the features are: {', '.join(self._declared)}"
            )
        example = Example()
        features = example.features.feature
        for name, declared in self._declared.items():
            values = _values(row.get(name))
            if values is None:
                if declared.required:
                    raise InvalidInputError(f"{where}feature {name!r} is missing, and every row must have it")
                continue
            try:
                features[name].CopyFrom(_feature(declared.kind, values))
            except (TypeError, OverflowError) as error:
                raise InvalidInputError(f"{where}feature {name!r} {error}") from None
        return example

    def build_all(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Builds the tf.Examples of several rows; see `build`."""
        return [self.build(row, position) for position, row in enumerate(rows)]


def serialized(rows: Any, builder: ExampleBuilder | None) -> list[bytes]:
    """tf.Examples as bytes.

    Args:
        rows: tf.Examples (anything that has `SerializeToString`), their bytes, or rows for the builder.
        builder: What makes tf.Examples of rows that are mappings.

    Raises:
        InvalidInputError: A row cannot be built, or there is no builder for it.
    """
    if isinstance(rows, bytes | Mapping) or hasattr(rows, "SerializeToString"):
        rows = [rows]
    examples = []
    for position, row in enumerate(rows):
        if isinstance(row, bytes):
            examples.append(row)
        elif hasattr(row, "SerializeToString"):
            examples.append(row.SerializeToString())
        elif isinstance(row, Mapping):
            if builder is None:
                raise InvalidInputError(
                    "rows that are dictionaries need a builder that knows the types of their features: "
                    "builder=ExampleBuilder.from_schema(PATH), or ExampleBuilder({'fare': float})"
                )
            examples.append(builder.build(row, position).SerializeToString())
        else:
            raise InvalidInputError(
                f"row {position}: a tf.Example, its bytes or a dictionary is needed, got {type(row).__name__}"
            )
    return examples


def _parse(path: str | os.PathLike[str]) -> Any:
    # Takes 20 ms and no TensorFlow, but only those who have a schema need it.
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(pathlib.Path(path).read_text(encoding="utf-8"), schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TFDV schema in text form: {error}") from error


def _is_in(feature: Any, environment: str) -> bool:
    """Whether a model in an environment reads a feature: unless the schema says otherwise, as when the model was trained."""
    return environment not in feature.not_in_environment and (not feature.in_environment or environment in feature.in_environment)


def _values(value: Any) -> list[Any] | None:
    """A feature's values as a list; None if it is absent."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return list(value.ravel()) if value.dtype == object else value.ravel().tolist()
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def _feature(kind: str, values: list[Any]) -> Any:
    if kind == _BYTES:
        return Feature(bytes_list=BytesList(value=[_as_bytes(value) for value in values]))
    if kind == _INT:
        return Feature(int64_list=Int64List(value=[_as_int(value) for value in values]))
    return Feature(float_list=FloatList(value=[_as_float(value) for value in values]))


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:
            raise TypeError("has text that UTF-8 cannot carry: half of a surrogate pair") from None
    raise TypeError(f"takes strings, got {type(value).__name__}")


def _as_int(value: Any) -> int:
    if isinstance(value, np.bool_):
        value = bool(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"takes integers, got {type(value).__name__}") from None
    if not -(2**63) <= number < 2**63:
        raise OverflowError("takes integers of 64 bits, got a larger one")
    return number


def _as_float(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"takes numbers, got {type(value).__name__}")
    if not _fits_float(value):
        raise OverflowError("takes numbers of 32 bits, got a larger one")
    return float(value)


def _fits_float(value: Any) -> bool:
    return not _LARGEST_FLOAT < abs(value) < math.inf
