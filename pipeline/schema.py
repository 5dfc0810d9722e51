"""The command `parlance schema`: what the newest run's data would change in the curated schema, and accepting it line by line.

parlance schema diff tickets.yaml                             each change with its id
parlance schema update tickets.yaml --accept channel/value=fax   writes that one into the schema file
parlance schema update tickets.yaml --all                     writes all of them
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import pathlib
import sys
from typing import TYPE_CHECKING

from components.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from components.validation.schema_changes import Changes
    from pipeline.config import PipelineConfig

_NODE, _CHANNEL = "StatisticsGen", "statistics"
_INGESTED = ("ExampleGen", "examples")


def add_commands(parser: argparse.ArgumentParser, default_root: str) -> None:
    """Declares `diff` and `update`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    diff_text = "Say what the newest run's data would change in the curated schema; exit 1 if it would."
    update_text = "Write accepted changes into the schema file; everything else in it stays as it is."
    for name, run, text, example in (
        ("diff", diff, diff_text, "parlance schema diff tickets.yaml"),
        ("update", update, update_text, "parlance schema update tickets.yaml --accept channel/value=fax"),
    ):
        command = commands.add_parser(name, help=text, description=text, epilog=f"example: {example}")
        command.set_defaults(command=run)
        command.add_argument("file", nargs="?", metavar="FILE", help="a pipeline file (default: the intents pipeline)")
        command.add_argument("--root", default=default_root, help="folder of all runs (default: %(default)s)")
        command.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object for machines")
        if name == "update":
            which = command.add_mutually_exclusive_group(required=True)
            which.add_argument("--accept", nargs="+", default=[], metavar="ID", help="ids that `parlance schema diff` lists")
            which.add_argument("--all", action="store_true", help="accept every change")


def diff(options: argparse.Namespace) -> int:
    """Lists the changes. Returns 1 if there are any, else 0."""
    config, run_id, found = _find(options)
    if options.output == "json":
        _print_json(config, run_id, found, [])
    else:
        lines = [change.line() for change in found.changes] or [f"the data of run {run_id} fits {config.schema_path}"]
        lines += [f"! {note}" for note in found.notes]
        if found.changes:
            command = " ".join(["parlance schema update", *([options.file] if options.file else []), "--accept ID"])
            lines.append(f"from run {run_id}; accept with: {command}")
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found.changes else 0


def update(options: argparse.Namespace) -> int:
    """Writes accepted changes.

    Raises:
      UsageError: An id is not among the changes.
      EnvironmentFailure: The schema file cannot be written.
    """
    from components.validation import schema_text

    config, run_id, found = _find(options)
    known = {change.id: change for change in found.changes}
    for name in options.accept:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{name!r} is no change that run {run_id} asks for{hint}. Changes: {', '.join(known) or 'none'}")
    accepted = found.changes if options.all else [known[name] for name in dict.fromkeys(options.accept)]
    path = pathlib.Path(config.schema_path)
    text = path.read_text(encoding="utf-8")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(schema_text.edit(text, accepted), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise EnvironmentFailure(f"The schema file {path} cannot be written: {error.strerror}") from error
    if options.output == "json":
        _print_json(config, run_id, found, [change.id for change in accepted])
    else:
        lines = [
            *(change.line() for change in accepted),
            f"wrote {len(accepted)} change{'' if len(accepted) == 1 else 's'} to {path}",
        ]
        sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _find(options: argparse.Namespace) -> tuple[PipelineConfig, str, Changes]:
    """What the newest run of the pipeline that got as far as statistics would change."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from components.ingestion.ingest import SUMMARY_FILE
    from components.validation import schema_changes, schema_file
    from pipeline import config as config_module
    from pipeline import results

    config = config_module.load(options.file or config_module.DEFAULT)
    runs = results.every(_NODE, options.root, config.name)
    if not runs:
        raise UsageError(f"No run of {config.name} in {options.root} got as far as {_NODE}; `parlance run` makes one")
    datasets = {}
    for file in sorted(runs[-1].folder(_NODE, _CHANNEL).glob("Split-*/FeatureStats.pb")):
        [dataset] = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
        datasets[file.parent.name.removeprefix("Split-")] = dataset
    schema = schema_file.read(config.schema_path)
    # Rows that were set aside are in no statistics; only ingestion saw what is new in them.
    known = _INGESTED in runs[-1].artifacts and runs[-1].artifacts[_INGESTED].is_dir()
    ingestion = runs[-1].json(*_INGESTED, SUMMARY_FILE) if known else None
    return config, runs[-1].record["run_id"], schema_changes.find(datasets, schema, config.data.text, ingestion)


def _print_json(config: PipelineConfig, run_id: str, found: Changes, accepted: list[str]) -> None:
    changes = [
        {
            "id": change.id,
            "column": change.column,
            "field": change.field,
            "new": change.new,
            "old": change.old,
            "seen": change.seen,
        }
        for change in found.changes
    ]
    shown = {"schema": config.schema_path, "run_id": run_id, "changes": changes, "notes": found.notes, "accepted": accepted}
    json.dump(shown, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
