"""Removes personal data from requests, before a model or whatever is between here and there sees them.

    redactor = RequestRedactor.load(pathlib.Path("/models/intents/3"))
    redactor.columns({"text": ["mail ann@example.org"], "channel": ["web"]})     # {"text": ["mail [email]"], "channel": ["web"]}

A model that was trained on redacted text has to be asked with redacted text. The embedded server does this by itself, with the rules that
the model carries. TensorFlow's own server cannot: what a graph has for it, replacing by RE2 expressions, knows no check digits, no words
that stand before, and no keyed hashes, so it would be other text than in training. There the caller does it, `Client(..., redact=...)`,
and personal data does not even leave the caller's machine.

Text columns are looked at by all detectors, the other columns that the rules name (categories) by patterns alone, and not where a value
is one that the schema lists; see `serving.redaction.categories`. Columns that the rules do not name are left as they are.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.redaction import tagger, words
from serving.redaction.categories import CategoryRedactor
from serving.redaction.detectors import Detector
from serving.redaction.redactor import MissingDetectorError, Redactor
from serving.redaction.rules import FILE, RedactionRules


class RequestRedactor:
    """Removes personal data from the inputs of one model. Thread-safe.

    Attributes:
        rules: What is removed, and from which columns.
    """

    def __init__(self, rules: RedactionRules, *, key: bytes | None = None, detectors: Iterable[Detector] = ()):
        """A redactor for requests; see `Redactor`."""
        self.rules = rules
        self._redactor = Redactor(rules, key=key, detectors=detectors)
        patterns = Redactor(rules.of_patterns(), key=key)
        self._change: dict[str, Callable[[str], str]] = {
            **{name: CategoryRedactor(rule, patterns, key).redact for name, rule in rules.categories.items()},
            **dict.fromkeys(rules.columns, self._redactor.redact),
        }

    @property
    def names(self) -> frozenset[str]:
        """The columns that it redacts."""
        return frozenset(self._change)

    @classmethod
    def load(cls, version: pathlib.Path, *, detectors: Iterable[Detector] = ()) -> RequestRedactor | None:
        """The redactor of a model version; None if it was trained on text as it is.

        Args:
            version: The SavedModel's folder.
            detectors: See `Redactor`. Word lists that the model carries are read without being named here; its tagger, which only
                TensorFlow runs, is not.

        Raises:
            ValueError: Its rules cannot be read or followed: no rules, a detector or the key is missing.
            MissingDetectorError: The same, where it is a detector.
            OSError: The file cannot be read.
        """
        try:
            content = (version / FILE).read_bytes()
        except FileNotFoundError:
            return None
        rules = RedactionRules.loads(content)
        given = list(detectors)
        there = {detector.name for detector in given}
        if tagger.NAME in rules.files and tagger.NAME not in there:
            found = ", ".join(name for name, rule in rules.entities.items() if tagger.NAME in rule.detectors)
            raise MissingDetectorError(
                f"{found} is found by a trained tagger, which TensorFlow runs and which is not loaded here. Send text as it is to the "
                "embedded server, which removes it, or load the tagger where TensorFlow is installed: "
                "detectors=serving.server.tagging.carried(version)"
            )
        folder = (version / FILE).parent
        given += [
            words.read(entity, folder / rules.files[name].path)
            for entity in rules.entities
            if (name := words.detector_name(entity)) in rules.files and name not in there
        ]
        return cls(rules, key=rules.read_key(), detectors=given)

    def text(self, text: str) -> str:
        """One text."""
        return self._redactor.redact(text)

    def columns(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Columns by name: values alone, in lists, or in arrays, as `str` or UTF-8. Those that the rules do not name as they are."""
        return {name: self.values(name, value) if name in self._change else value for name, value in inputs.items()}

    def values(self, column: str, value: Any) -> Any:
        """The values of one column. What changes is a copy; what does not is the same object.

        Args:
            column: One of `names`.
            value: See `columns`.
        """
        return _changed(value, self._change[column])

    def examples(self, examples: Sequence[bytes]) -> Sequence[bytes]:
        """Serialized tf.Examples. What does not parse is left as it is, for the model to refuse."""
        return [self._example(example) for example in examples]

    def _example(self, serialized: bytes) -> bytes:
        from google.protobuf.message import DecodeError

        from serving.messages import Example

        try:
            example = Example.FromString(serialized)
        except DecodeError:
            return serialized
        changed = False
        for name in self._change.keys() & set(example.features.feature):
            values = example.features.feature[name].bytes_list.value
            redacted = [_encoded(value, self._change[name]) for value in values]
            if redacted != list(values):
                values[:] = redacted
                changed = True
        return example.SerializeToString() if changed else serialized


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, bytes):
        return _encoded(value, change)
    if isinstance(value, list | tuple):
        return type(value)([_changed(entry, change) for entry in value])
    if isinstance(value, np.ndarray) and value.dtype.kind in "OSU":
        flat = value.ravel().tolist()
        redacted = [_changed(entry, change) for entry in flat]
        return value if redacted == flat else _array(redacted, value)
    return value


def _encoded(value: bytes, change: Callable[[str], str]) -> bytes:
    text = value.decode("utf-8", "surrogateescape")
    redacted = change(text)
    return value if redacted == text else redacted.encode("utf-8", "surrogateescape")


def _array(values: list[Any], like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(like.shape)
