"""What a model takes and gives, and the conversion of a caller's columns to it.

A server checks requests late and names tensors of its graph in errors; what it says about itself (GetModelMetadata) is enough to
check names and types here and to list the valid ones. A hot swap may change all of that, so knowledge is kept by version, and every
answer tells which version that was.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from serving.client.calls import ModelChoice
from serving.client.errors import InvalidInputError, SignatureNotFoundError
from serving.messages import DataType
from serving.tensors import Tensor

DEFAULT_SIGNATURE = "serving_default"
EXAMPLES_SIGNATURE = "serving_examples"

# How Parlance's models are told that a value is absent where a request cannot leave one out, and the outputs they are known by.
# Other models would take these for values.
_ABSENT = {
    DataType.DT_STRING: b"",
    DataType.DT_INT64: -(2**63),
    DataType.DT_FLOAT: float("nan"),
    DataType.DT_DOUBLE: float("nan"),
}
_OUTPUTS_OF_PARLANCE = frozenset({"label", "score", "top_labels", "top_scores", "abstained"})

# A process talks to few models in few versions; a release process might see many pass by.
_REMEMBERED = 64


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output.

    Attributes:
        dtype: The number of its `DataType`.
        shape: Its dimensions, None for one of any size; None if it may have any number of them.
    """

    dtype: int
    shape: tuple[int | None, ...] | None

    @property
    def type_name(self) -> str:
        """The type as TensorFlow writes it, e.g. "float" or "string"."""
        try:
            return str(DataType.Name(self.dtype)).removeprefix("DT_").lower()
        except ValueError:
            return f"type {self.dtype}"

    def __str__(self) -> str:
        shape = "..." if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.type_name} [{shape}]"


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a model.

    Attributes:
        name: Its name.
        inputs: By the name a request uses.
        outputs: By the name a response uses.
        method_name: What it was exported for, e.g. "tensorflow/serving/predict".
        optional: Inputs that have a default value.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = ""
    optional: frozenset[str] = frozenset()

    @property
    def classifies(self) -> bool:
        """Whether Classify can run it: one input, and classes, scores or both."""
        return len(self.inputs) == 1 and bool(self.outputs) and set(self.outputs) <= {"classes", "scores"}

    @property
    def regresses(self) -> bool:
        """Whether Regress can run it: one input and one output called `outputs`."""
        return len(self.inputs) == 1 and set(self.outputs) == {"outputs"}

    @property
    def knows_absent_values(self) -> bool:
        """Whether it is of a model of Parlance's that reads raw columns, whose values may be absent."""
        return set(self.outputs) == _OUTPUTS_OF_PARLANCE

    def describe_inputs(self) -> str:
        """The inputs with their types, for a person."""
        return ", ".join(f"{name} ({spec})" for name, spec in sorted(self.inputs.items())) or "none"

    def tensors(self, columns: Mapping[str, Any]) -> dict[str, Tensor]:
        """Converts columns to what the signature takes.

        Args:
            columns: By input: numbers, strings (str becomes UTF-8) or None in a list, nested lists, a numpy array, or a `Tensor`,
                which is sent as it is. A scalar for an input that takes a batch of scalars stands for that value in every row. None
                means absent, which only models of Parlance's know.

        Raises:
            InvalidInputError: A column is missing or unknown, or has another type. The text lists the inputs, never a value.
        """
        if columns.keys() != self.inputs.keys():
            self._check_names(columns)
        rows = {name: _rows(values) for name, values in columns.items()}
        count = next((number for number in rows.values() if number is not None), 1)
        converted = {}
        for name, values in columns.items():
            spec = self.inputs[name]
            if rows[name] is None and spec.shape == (None,):
                values = [values] * count
            converted[name] = self._tensor(name, values, spec)
        return converted

    def check_outputs(self, names: Iterable[str]) -> None:
        """Refuses a choice of outputs that there are not.

        Raises:
            InvalidInputError: The text lists those there are.
        """
        if unknown := [name for name in names if name not in self.outputs]:
            raise InvalidInputError(
                f"signature {self.name!r} has no output {', '.join(map(repr, unknown))}; it has: {', '.join(sorted(self.outputs))}"
            )

    def _check_names(self, columns: Mapping[str, Any]) -> None:
        missing = sorted(set(self.inputs) - set(columns) - self.optional)
        unknown = sorted(map(str, set(columns) - set(self.inputs)))
        if missing or unknown:
            wrong = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown)}"] * bool(unknown)
            raise InvalidInputError(f"signature {self.name!r} takes: {self.describe_inputs()}; {'; '.join(wrong)}")

    def _tensor(self, name: str, values: Any, spec: TensorSpec) -> Tensor:
        if isinstance(values, Tensor):
            return values
        try:
            return Tensor.of(values, spec.dtype)
        except (TypeError, ValueError) as refused:
            if isinstance(refused, UnicodeEncodeError):
                # Its text, and the error itself, hold the string.
                raise InvalidInputError(f"input {name!r} has text that UTF-8 cannot carry: half of a surrogate pair") from None
        elements = np.array(values, dtype=object)
        absent = np.array([value is None for value in elements.ravel().tolist()], bool).reshape(elements.shape)
        if absent.any():
            if not self.knows_absent_values or spec.dtype not in _ABSENT:
                raise InvalidInputError(f"input {name!r} has values that are None, and this model does not know absent values")
            elements[absent] = _ABSENT[spec.dtype]
            return self._tensor(name, elements.tolist(), spec)
        raise InvalidInputError(f"input {name!r} takes {spec}, got {_described(elements)}")


@dataclasses.dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a version of a model says about itself.

    Attributes:
        model: The model's name.
        version: The version.
        signatures: By name.
    """

    model: str
    version: int | None
    signatures: Mapping[str, Signature]

    @classmethod
    def of(cls, model: str, version: int | None, definitions: Mapping[str, Any]) -> ModelMetadata:
        """Reads a map of SignatureDefs."""
        # An op that TensorFlow 2 runs when it loads a model passes as a signature without inputs.
        named = {name: definition for name, definition in definitions.items() if not name.startswith("__saved_model")}
        return cls(model, version, {name: _signature(name, definition) for name, definition in sorted(named.items())})

    def signature(self, name: str | None) -> Signature:
        """The signature of a name, by default `serving_default`.

        Raises:
            SignatureNotFoundError: There is none; the text lists those there are.
        """
        found = self.signatures.get(name or DEFAULT_SIGNATURE)
        if found is None:
            raise SignatureNotFoundError(
                f"model {self.model!r} version {self.version} has no signature {name or DEFAULT_SIGNATURE!r}; "
                f"it has: {', '.join(self.signatures) or 'none'}"
            )
        return found

    def classifier(self) -> str | None:
        """The signature that Classify can run: `serving_default`, else the only one; None leaves the choice to the server."""
        return self._only([name for name, signature in self.signatures.items() if signature.classifies])

    def regressor(self) -> str | None:
        """The signature that Regress can run: `serving_default`, else the only one; None leaves the choice to the server."""
        return self._only([name for name, signature in self.signatures.items() if signature.regresses])

    @staticmethod
    def _only(names: list[str]) -> str | None:
        return names[0] if len(names) == 1 and DEFAULT_SIGNATURE not in names else None


class MetadataCache:
    """What is known about models, by the version that answers a choice. Thread-safe.

    Callers go on with what they have when the version changes; one of them gets the task to fetch the new version's.
    """

    def __init__(self, max_age: float | None = None):
        """Starts with nothing known.

        Args:
            max_age: Seconds after which knowledge is fetched again; for servers whose answers do not tell their version.
        """
        self._max_age = max_age
        self._lock = threading.Lock()
        self._versions: dict[tuple[str, int | None], ModelMetadata] = {}
        self._current: dict[ModelChoice, tuple[ModelMetadata, float]] = {}
        self._to_fetch: dict[ModelChoice, ModelChoice] = {}

    def lookup(self, choice: ModelChoice) -> tuple[ModelMetadata | None, ModelChoice | None]:
        """What is known of the version that answers, and whose metadata the caller shall fetch, if anyone's."""
        with self._lock:
            known = self._current.get(choice)
            if known is None:
                return None, choice
            metadata, fetched = known
            if self._max_age is not None and time.monotonic() - fetched > self._max_age:
                # Put off for the others while this caller asks.
                self._current[choice] = metadata, time.monotonic()
                return metadata, choice
            return metadata, self._to_fetch.pop(choice, None)

    def learned(self, choice: ModelChoice, metadata: ModelMetadata) -> None:
        """Takes over fetched metadata as that of the version that answers."""
        with self._lock:
            self._versions[metadata.model, metadata.version] = metadata
            self._current[choice] = metadata, time.monotonic()
            _forget_oldest(self._versions)
            _forget_oldest(self._current)

    def answered(self, choice: ModelChoice, version: int | None) -> None:
        """Notes which version answered."""
        known = self._current.get(choice)
        if known is None or version is None or known[0].version == version:
            return
        with self._lock:
            metadata = self._versions.get((choice.model, version))
            if metadata is not None:
                self._current[choice] = metadata, time.monotonic()
            else:
                self._to_fetch[choice] = ModelChoice(choice.model, version)


def _forget_oldest(remembered: dict[Any, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _signature(name: str, definition: Any) -> Signature:
    return Signature(
        name,
        {alias: _spec(info) for alias, info in definition.inputs.items()},
        {alias: _spec(info) for alias, info in definition.outputs.items()},
        definition.method_name,
        frozenset(definition.defaults),
    )


def _spec(info: Any) -> TensorSpec:
    if info.tensor_shape.unknown_rank:
        return TensorSpec(info.dtype, None)
    return TensorSpec(info.dtype, tuple([None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]))


def _rows(values: Any) -> int | None:
    """The size of the first dimension; None for a scalar."""
    if isinstance(values, list | tuple):
        return len(values)
    if isinstance(values, Tensor):
        return values.shape[0] if values.shape else None
    if isinstance(values, str | bytes) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) == 0:
        return None
    return len(values)


def _described(elements: Any) -> str:
    """The types of values, without the values."""
    kinds = sorted({type(value).__name__ for value in elements.ravel().tolist()})
    return f"{', '.join(kinds[:3]) or 'nothing'} of shape {list(elements.shape)}"
