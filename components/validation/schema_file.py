"""The curated schema: a TFDV schema in text form, and what the pipeline reads from it.

A feature that is in the environment SERVING is an input of the model; one marked `not_in_environment: "SERVING"` (label, group,
timestamp, split, plain segments) is stored, validated and sliced by, and never reaches the network.
"""

from __future__ import annotations

import os
import pathlib

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError

FILE_NAME = "schema.pbtxt"
TRAINING, SERVING = "TRAINING", "SERVING"
"""The environments: of data to train and evaluate on, and of what a request carries."""


def parse(text: str, origin: str = "the schema") -> schema_pb2.Schema:
    """Reads a schema from its text form.

    Raises:
      UsageError: The text is not a TFDV schema, lists a feature twice, or no feature at all.
    """
    try:
        schema = text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise UsageError(f"{origin} is not a TFDV schema in text form: {error}") from error
    names = [feature.name for feature in schema.feature]
    if not names:
        raise UsageError(f"{origin} lists no feature; `parlance init` writes a schema from a table")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{origin} lists these features more than once: {', '.join(repeated)}")
    return schema


def read(path: str | os.PathLike[str]) -> schema_pb2.Schema:
    """Reads a schema file; see `parse`.

    Raises:
      UsageError: The file is missing, unreadable or not a schema.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The schema {path} cannot be read ({error}). `parlance init` writes one from a table") from error
    return parse(text, f"The schema {path}")


def read_folder(folder: str | os.PathLike[str]) -> schema_pb2.Schema:
    """Reads the schema of a Schema artifact."""
    return read(pathlib.Path(folder) / FILE_NAME)


def model_inputs(schema: schema_pb2.Schema) -> list[schema_pb2.Feature]:
    """Returns the features a request carries, in the schema's order."""
    return [feature for feature in schema.feature if SERVING not in feature.not_in_environment]
