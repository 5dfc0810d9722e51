"""Which columns the model reads, in which role, and what their transformed features are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.validation import schema_file

LABEL = "label"
NUMBERS = "numbers"
ABSENT = "absent"

# Identifiers of a categorical feature before those of the vocabulary.
ABSENT_CATEGORY = 0
UNKNOWN_CATEGORY = 1
RESERVED_CATEGORIES = 2


def text_feature(position: int) -> str:
    """Returns the transformed feature of a text column, named by its place because column names may hold anything."""
    return f"text_{position}"


def category_feature(position: int) -> str:
    """Returns the transformed feature of a categorical column."""
    return f"category_{position}"


@dataclasses.dataclass(frozen=True)
class Columns:
    """The model's columns by role, each in the schema's order, text in the pipeline file's order.

    Attributes:
      text: Columns that the encoder reads.
      categorical: Strings and categorical integers.
      numeric: Floats and counting integers.
      integers: Those categorical or numeric columns that are stored as int64.
      label: The column to predict.
    """

    text: tuple[str, ...]
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    integers: frozenset[str]
    label: str

    @classmethod
    def of(cls, schema: schema_pb2.Schema, text: Sequence[str], label: str) -> Columns:
        """Reads the roles from a curated schema.

        Args:
          schema: Its features in the environment SERVING are the model's inputs.
          text: Names of the text columns.
          label: Name of the label column.

        Raises:
          UsageError: A text column is not a BYTES input, or there is no input at all.
        """
        inputs = [feature for feature in schema_file.model_inputs(schema) if feature.name != label]
        strings = {feature.name for feature in inputs if feature.type == schema_pb2.BYTES}
        if wrong := [name for name in text if name not in strings]:
            raise UsageError(
                f"Text columns must be BYTES features in the environment SERVING; {', '.join(map(repr, wrong))} "
                f"{'is' if len(wrong) == 1 else 'are'} not. The schema has: {', '.join(sorted(strings)) or 'none'}"
            )
        if not inputs:
            raise UsageError("The schema has no feature in the environment SERVING, so the model would have no input")
        categorical = [
            feature.name
            for feature in inputs
            if feature.name not in text and (feature.type == schema_pb2.BYTES or feature.int_domain.is_categorical)
        ]
        return cls(
            text=tuple(text),
            categorical=tuple(categorical),
            numeric=tuple(feature.name for feature in inputs if feature.name not in {*text, *categorical}),
            integers=frozenset(feature.name for feature in inputs if feature.type == schema_pb2.INT),
            label=label,
        )

    @property
    def inputs(self) -> tuple[str, ...]:
        """All columns a request carries."""
        return self.text + self.categorical + self.numeric
