"""What ingestion asks of a server's request log: the model's inputs, and nothing of what only training needs.

A request carries what the model reads. Labels, segments that are no input, groups, times and splits are in no request; such columns may
be missing, and rows without them are as good as any.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion.options import DataOptions, PredictionLogSource, Split
from components.validation import schema_file


def options_for(options: DataOptions) -> DataOptions:
    """Returns the options by which rows of a source are read: of any other source than a log, those given.

    Of a log nothing is derived: derived columns that are inputs were logged as such, and what the others are made of is in no request.
    Its rows are split by hash where the table's are by time or by a column, as nothing is learned from them or measured on them.

    Args:
      options: The `data:` section.
    """
    if not isinstance(options.source, PredictionLogSource):
        return options
    split = options.split
    if split.by in ("time", "column"):
        split = Split(
            by="hash", eval=split.eval, test=split.test, seed=split.seed, allow_near_duplicates=split.allow_near_duplicates
        )
    return options.model_copy(update={"derive": {}, "split": split})


def optional_columns(options: DataOptions, schema: schema_pb2.Schema) -> frozenset[str]:
    """Returns the columns that a log may lack; none of any other source.

    Args:
      options: The `data:` section.
      schema: Says what the model's inputs are. A group that is one of them may be missing all the same.
    """
    if not isinstance(options.source, PredictionLogSource):
        return frozenset()
    inputs = {feature.name for feature in schema_file.model_inputs(schema)}
    others = {feature.name for feature in schema.feature} - inputs
    return frozenset(others | ({options.group} if options.group is not None else set()))


def notes(given: DataOptions, lacking: Collection[str]) -> list[str]:
    """Returns what a reader of the summary should know, in sentences.

    Args:
      given: The `data:` section as it was given.
      lacking: The columns that the log lacks.
    """
    if not isinstance(given.source, PredictionLogSource):
        return []
    told = []
    if lacking:
        names = ", ".join(map(repr, sorted(lacking)))
        what = "column" if len(lacking) == 1 else "columns"
        told.append(f"The log has no {what} {names}, which a request need not carry, so there are no values")
    if given.split.by in ("time", "column"):
        told.append(f"Rows of the log were split by hash, not by {given.split.by}")
    return told


def require_rows(options: DataOptions, rows: int, skipped: Mapping[str, int]) -> None:
    """Checks that there is a request to speak of.

    Args:
      options: The `data:` section.
      rows: How many rows were read, good or set aside.
      skipped: What else the log holds, by what it is.

    Raises:
      UsageError: There is none.
    """
    if rows or not isinstance(options.source, PredictionLogSource):
        return
    source = options.source
    of_model = f" of the model {source.model!r}" if source.model is not None else ""
    besides = f" ({', '.join(f'{count} {what}' for what, count in skipped.items())})" if skipped else ""
    raise UsageError(f"{source.path} holds no logged request{of_model}{besides}; is it what --request_log_dir named?")
