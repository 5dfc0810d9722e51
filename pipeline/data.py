"""The command `parlance data`: which data a run was made from, and the very examples back.

    parlance data show RUN
    parlance data restore RUN              # back to where the run had them
    parlance data restore RUN --to DIR     # a copy

Every run keeps a manifest in its folder: the source and the span that was read, and rows and fingerprint of every split. Examples
that are still there are read back and compared with it; others are ingested again and kept only if they turn out the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.errors import EnvironmentFailure, UsageError
from pipeline.records import Records

if TYPE_CHECKING:
    from components.ingestion.manifest import Manifest

FILE_NAME = "data.json"
"""The manifest of its data in a run's folder, with the place of its examples."""

_SHOWN_DIGITS = 16


def add_arguments(command: argparse.ArgumentParser, root: str) -> None:
    """Declares the subcommands, each with its own arguments.

    Args:
      command: The parser of `parlance data`.
      root: The default of --root.
    """
    commands = command.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Any, help_text: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text, epilog=f"example: parlance data {example}")
        added.set_defaults(action=run)
        added.add_argument(
            "--output", choices=("text", "json"), default=argparse.SUPPRESS, help="json prints one object for machines"
        )
        added.add_argument("run", metavar="RUN", help="a run id, the beginning of one, or `latest`")
        added.add_argument("--root", default=root, help="folder of all runs (default: %(default)s)")
        return added

    add("show", _show, "Say which source and span a run read, and what each split holds.", "show latest")
    restore = add("restore", _restore, "Bring the examples of a run back, exactly as they were.", "restore latest --to examples")
    restore.add_argument("--to", metavar="DIR", help="a new or empty folder (default: where the run had them)")


def run(options: argparse.Namespace) -> int:
    """Runs one of the subcommands; returns 0.

    Raises:
      UsageError: There is no such run, or its examples cannot be brought back.
      EnvironmentFailure: They cannot be written.
    """
    return options.action(options)


def _show(options: argparse.Namespace) -> int:
    record, values = _read(options)
    there = _there(values)
    if options.output == "json":
        _print_json({"run_id": record["run_id"], **values, "examples_exist": there})
        return 0
    source = [f"{name} {_shown(value)}" for name, value in values["source"].items() if value not in (None, "", [])]
    lines = [f"run      {record['run_id']}", f"source   {', '.join(source)}"]
    if values["span"] is not None:
        lines.append(f"span     {values['span']}")
    lines += [f"read     {path}" for path in values["paths"] or ()]
    lines += _split_lines(values["splits"])
    lines.append(f"examples {values['examples']}{'' if there else ' (gone; `parlance data restore` brings them back)'}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from components.ingestion import manifest as manifest_module
    from components.validation import schema_file

    record, values = _read(options)
    try:
        manifest = manifest_module.Manifest.from_json(values)
    except ValueError as error:
        raise UsageError(
            f"Run {record['run_id']} has options that this version of Parlance does not know; it was made by {values['parlance']}"
        ) from error
    examples = pathlib.Path(values["examples"])
    place = examples if options.to is None else pathlib.Path(options.to).absolute()
    if options.to is not None and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UsageError(f"--to takes a new or empty folder; there is something in {place}")
    schema = schema_file.parse(manifest.schema, "The schema of the run")
    intact = _there(values) and manifest_module.stored(examples, schema) == dict(manifest.splits)
    if not intact:
        how = "ingested again from the source"
        _ingest_again(manifest, place)
    elif place == examples:
        how = "there already"
    else:
        how = f"copied from {examples}"
        with _placed(place) as folder:
            shutil.copytree(examples, folder, dirs_exist_ok=True)
    if options.output == "json":
        _print_json({"run_id": record["run_id"], "folder": str(place), "how": how, "splits": values["splits"]})
    else:
        lines = [*_split_lines(values["splits"]), f"examples {place} ({how}; every split has the fingerprint of the run)"]
        sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _ingest_again(manifest: Manifest, place: pathlib.Path) -> None:
    from components.ingestion import manifest as manifest_module

    with _placed(place) as folder:
        manifest_module.ingest_again(manifest, folder)


@contextlib.contextmanager
def _placed(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder to fill, which takes its place only when all went well."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as temporary:
            folder = pathlib.Path(temporary) / "examples"
            folder.mkdir()
            yield folder
            if place.exists():
                # Of no use any more: empty, or examples that are not those of the run.
                place.replace(pathlib.Path(temporary) / "replaced")
            folder.replace(place)
    except OSError as error:
        raise EnvironmentFailure(f"The examples cannot be written to {place}: {error.strerror or error}") from error


def _read(options: argparse.Namespace) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    records = Records(options.root)
    record = records.one(options.run)
    file = records.folder / record["run_id"] / FILE_NAME
    try:
        return record, json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Run {record['run_id']} has no manifest of its data ({file}): it stopped before ExampleGen was done, or is older than"
            " manifests. Run it again"
        ) from error


def _there(values: Mapping[str, Any]) -> bool:
    return all((pathlib.Path(values["examples"]) / f"Split-{name}").is_dir() for name in values["splits"])


def _split_lines(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, version in splits.items():
        yield f"{name:<8} {version['rows']:>9} rows  {version['fingerprint'][:_SHOWN_DIGITS]}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
