"""A loaded model that sees what it was trained on: text without personal data, by the rules it carries.

    model = redacting(runtime.load(path, options), path)

Which strings are looked at is told by the rules: inputs of a signature that are named like one of their columns, and the features of that
name in serialized tf.Examples, which are what signatures without such an input take.
"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving import tensors
from serving.messages import DataType
from serving.redaction.detectors import Detector
from serving.redaction.requests import RequestRedactor
from serving.redaction.rules import REVISION
from serving.server import tagging
from serving.server.errors import ServingError, StatusCode
from serving.server.runtime import LoadedModel
from serving.tensors import Tensor

logger = logging.getLogger(__name__)

DetectorLoader = Callable[[pathlib.Path], Sequence[Detector]]
"""Loads the detectors that a model version carries beside its rules."""


class RedactingModel:
    """A model whose inputs are redacted before it runs.

    Attributes:
        signatures, tags, tensorflow_version: See `LoadedModel`.
        redactor: What does it.
    """

    def __init__(self, model: LoadedModel, redactor: RequestRedactor, detectors: Sequence[Detector] = ()):
        """Wraps a model, which it closes when it is closed, as it does the detectors."""
        self.signatures = model.signatures
        self.tags = model.tags
        self.tensorflow_version = model.tensorflow_version
        self.redactor = redactor
        self._model = model
        self._detectors = tuple(detectors)
        self._columns, self._examples = _redacted_inputs(model.signatures, redactor.names)

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int = 0) -> list[Tensor]:
        """See `LoadedModel`."""
        return self._model.run({name: self._redacted(name, value) for name, value in feeds.items()}, fetches, timeout_ms)

    def close(self) -> None:
        """See `LoadedModel`."""
        self._model.close()
        for detector in self._detectors:
            detector.close()

    def _redacted(self, name: str, value: Any) -> Any:
        if name not in self._columns and name not in self._examples:
            return value
        if isinstance(value, Tensor):
            tensor = value
        elif value.dtype != DataType.DT_STRING:
            return value
        else:
            try:
                tensor = tensors.from_proto(value)
            except tensors.MalformedTensorProtoError:
                return value  # The runtime refuses it, in its own words.
        if tensor.array.dtype != object:
            return value
        sent = tensor.array.ravel().tolist()
        column = self._columns.get(name)
        kept = self.redactor.examples(sent) if column is None else self.redactor.values(column, sent)
        if kept == sent:
            return value
        array = np.empty(len(kept), object)
        array[:] = kept
        return Tensor.of(array.reshape(tensor.array.shape), DataType.DT_STRING)


def redacting(model: LoadedModel, path: pathlib.Path, load_detectors: DetectorLoader = tagging.carried) -> LoadedModel:
    """The model itself if it carries no rules.

    Args:
        model: A loaded model.
        path: Its folder.
        load_detectors: Loads the detectors that the model carries and that are more than words or patterns: its tagger.

    Raises:
        ServingError: FAILED_PRECONDITION if its rules cannot be followed here: it would see what it was not trained on, and what it was
            promised not to see.
    """
    detectors: Sequence[Detector] = ()
    try:
        detectors = load_detectors(path)
        redactor = RequestRedactor.load(path, detectors=detectors)
    except (ValueError, OSError) as error:
        for detector in detectors:
            detector.close()
        raise ServingError(
            StatusCode.FAILED_PRECONDITION, f"The model's rules against personal data cannot be followed: {error}"
        ) from error
    if redactor is None:
        return model
    if redactor.rules.revision != REVISION:
        logger.warning(
            "The model in %s was trained with revision %d of the detectors of personal data, this server has %d: a few texts may be "
            "redacted differently",
            *(path, redactor.rules.revision, REVISION),
        )
    return RedactingModel(model, redactor, detectors)


def _redacted_inputs(signatures: Mapping[str, Any], columns: frozenset[str]) -> tuple[dict[str, str], frozenset[str]]:
    """The columns that tensors hold, by the tensors' names; and the names of tensors that hold serialized tf.Examples."""
    held: dict[str, str] = {}
    examples: set[str] = set()
    for signature in signatures.values():
        named = columns & set(signature.inputs)
        held.update((signature.inputs[alias].name, alias) for alias in named)
        if not named:
            examples.update(
                info.name for info in signature.inputs.values() if info.dtype in (DataType.DT_STRING, DataType.DT_INVALID)
            )
    return held, frozenset(examples - held.keys())
