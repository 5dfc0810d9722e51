"""`parlance init`: from any table to a pipeline file and a schema that run as they stand."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
from google.protobuf import text_format

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import derive as derivation
from components.ingestion import readers
from components.ingestion.options import FileSource
from components.profiling import curate, pipeline_text
from components.profiling.profile import Profiler, TableProfile
from components.profiling.roles import Roles, Wishes, assign
from components.validation import schema_file
from pipeline.config import PipelineConfig

# A file called `data` says nothing; its folder usually does.
_GENERIC_STEMS = frozenset(
    {"data", "dataset", "table", "train", "all", "full", "export", "records", "rows", "part", "messages", "turn"}
)
_NAME = re.compile(PipelineConfig.model_fields["name"].metadata[0].pattern)
_MAX_NAME = 63

# These end a line or a path in the files that name columns.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True)
class InitResult:
    """What `init_pipeline` wrote and why.

    Attributes:
      pipeline_file: The pipeline file.
      schema_file: The schema.
      decisions: What was decided, a line each.
      warnings: What a person should look at, a line each.
    """

    pipeline_file: pathlib.Path
    schema_file: pathlib.Path
    decisions: list[str]
    warnings: list[str]


def init_pipeline(
    data: str,
    *,
    label: str,
    text: Sequence[str] = (),
    segments: Sequence[str] = (),
    group: str | None = None,
    timestamp: str | None = None,
    split_column: str | None = None,
    name: str | None = None,
    derive: Sequence[str] = (),
    exclude: Sequence[str] = (),
    directory: str | os.PathLike[str] = ".",
    force: bool = False,
) -> InitResult:
    """Profiles a table and writes NAME.yaml and schemas/NAME/schema.pbtxt.

    Args:
      data: A CSV, JSONL or Parquet file, or a folder or glob of them.
      label: The column to predict.
      text, segments, group, timestamp, split_column: Columns in these roles; found by content where not given.
      name: The pipeline's name; by default made from the path.
      derive: New columns, `NAME=EXPRESSION` each.
      exclude: Columns no model may see.
      directory: Where to write.
      force: Replace existing files.

    Raises:
      UsageError: The table cannot be read or cannot make a classifier, a column is not there, or a file exists and differs.
      EnvironmentFailure: The files cannot be written.
    """
    source = FileSource(type=_source_type(data), path=data)
    name = _checked_name(name) if name is not None else _name_from(data)
    expressions = _parse_expressions(derive)
    profile = _profile(source, expressions)
    wishes = Wishes(
        label=label,
        text=tuple(text),
        segments=tuple(segments),
        group=group,
        timestamp=timestamp,
        split_column=split_column,
        exclude=tuple(exclude),
        label_sources=_sources(label, expressions),
    )
    roles = assign(profile, wishes)

    directory = pathlib.Path(directory)
    schema_path = pathlib.Path("schemas") / name / schema_file.FILE_NAME
    values = curate.pipeline_values(
        profile,
        roles,
        name=name,
        source={"type": source.type, "path": data if os.path.isabs(data) else os.path.relpath(data, directory)},
        schema_path=schema_path.as_posix(),
        derive={derived: expression.text for derived, expression in expressions.items()},
    )
    PipelineConfig.model_validate(values)
    pipeline_path = directory / f"{name}.yaml"
    _write(
        {
            pipeline_path: pipeline_text.render(values, f"Written by `parlance init` from {profile.rows:,} rows; yours to edit."),
            directory / schema_path: _schema_text(profile, roles),
        },
        force,
    )
    unreadable = [f"{profile.rejected:,} rows cannot be read and will be set aside"] if profile.rejected else []
    decisions = [f"rows: {profile.rows:,}", *roles.decisions]
    return InitResult(pipeline_path, directory / schema_path, decisions, [*unreadable, *roles.warnings])


def _source_type(data: str) -> str:
    """Returns the format by extension; of the files inside, where a folder or a glob was named."""
    path = pathlib.Path(data)
    candidates = sorted(entry.name for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path.name]
    for candidate in candidates:
        for kind, extensions in readers.EXTENSIONS.items():
            if candidate.lower().endswith(extensions):
                return kind
    if not path.is_dir() and not path.exists():
        raise UsageError(f"There is no file at {data}; name a CSV, JSONL or Parquet file, or a folder of them")
    known = "; ".join(f"{kind}: {', '.join(extensions)}" for kind, extensions in readers.EXTENSIONS.items())
    raise UsageError(f"A table's format is told by its extension; {data} has none of these: {known}. Rename or convert it")


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"A name starts with a lower-case letter and has only a-z, 0-9, _ and -, at most {_MAX_NAME}; received {name!r}"
        )
    return name


def _name_from(data: str) -> str:
    """Makes a name from the file's, or from its folder's where the file's says nothing."""
    path = pathlib.Path(data).absolute()
    for candidate in (path.stem, path.parent.name):
        name = re.sub(r"[^a-z0-9]+", "_", candidate.lower()).strip("_0123456789")[:_MAX_NAME]
        if name and name not in _GENERIC_STEMS:
            return name
    return "pipeline"


def _parse_expressions(derive: Iterable[str]) -> dict[str, derivation.Expression]:
    expressions = {}
    for entry in derive:
        name, separator, text = entry.partition("=")
        if not separator or not name.strip() or not text.strip():
            raise UsageError(f"--derive takes NAME=EXPRESSION, e.g. --derive 'big_tip=tips > 0.2 * fare'; received {entry!r}")
        expressions[name.strip()] = derivation.parse(text.strip())
    return expressions


def _sources(name: str, expressions: Mapping[str, derivation.Expression]) -> tuple[str, ...]:
    """Lists the columns a derived column is computed from, directly or through other derived ones."""
    if name not in expressions:
        return ()
    sources: dict[str, None] = {}
    for column in expressions[name].columns:
        sources.update(dict.fromkeys((column, *(_sources(column, expressions) if column != name else ()))))
    return tuple(sources)


def _profile(source: FileSource, expressions: Mapping[str, derivation.Expression]) -> TableProfile:
    profiler = Profiler()
    for chunk in readers.read_batches(source):
        rows = chunk.rows
        _check_columns(rows.schema.names, expressions)
        for name, expression in expressions.items():
            rows = rows.append_column(name, _evaluate(expression, rows))
        profiler.add(rows, sum(len(entry.positions) for entry in chunk.rejected))
    profile = profiler.finish()
    if not profile.rows:
        unreadable = f"; {profile.rejected} cannot be read" if profile.rejected else ""
        raise UsageError(f"{source.path} has no rows{unreadable}. A classifier takes rows of at least two classes")
    return profile


def _evaluate(expression: derivation.Expression, rows: pa.RecordBatch) -> pa.Array:
    if rows.num_rows == 0:
        return pa.nulls(0, pa.string())
    return expression.evaluate(rows)


def _check_columns(columns: Iterable[str], expressions: Mapping[str, derivation.Expression]) -> None:
    for column in columns:
        if not column.strip() or _UNWRITABLE.search(column):
            raise UsageError(f"Every column needs a name without control characters; received {column!r}. Rename it in the table")
        if column in expressions:
            raise UsageError(f"--derive makes {column!r}, but the table has it already; choose another name")


def _schema_text(profile: TableProfile, roles: Roles) -> str:
    left_out = ", ".join(map(repr, roles.left_out))
    header = "# Written by `parlance init`; yours to edit. Remove not_in_environment to make a column an input of the model.\n"
    if left_out:
        header += f"# Not stored: {left_out}\n"
    return header + text_format.MessageToString(curate.schema(profile, roles), as_utf8=True)


def _write(contents: Mapping[pathlib.Path, str], force: bool) -> None:
    """Writes files whole or not at all; first checks that nothing of the user's is lost."""
    for path, text in contents.items():
        if not force and path.exists() and path.read_bytes() != text.encode():
            raise UsageError(f"{path} exists and differs; replace it with --force, or choose another --name")
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            raise EnvironmentFailure(
                f"{path} cannot be written: {error.strerror}. Free space or choose another folder"
            ) from error
