"""The command `parlance skew`: whether a model is asked what it was trained for.

    parlance skew tickets.yaml --log DIR                        all logged requests
    parlance skew tickets.yaml --log DIR --since 2026-11-20     those since a day

The request log of a model server is held against the training data of the released model, column by column, with the limits and severities
of the section `validation:`. Nothing is trained, and no later run knows of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from components.validation.data_gate import Known
    from components.validation.log_skew import Judged
    from pipeline.config import PipelineConfig

FOLDER = "skew"
_MARKS = {"error": "FAIL", "warning": "warn", "info": "info"}
_STATISTICS, _EXAMPLES = ("StatisticsGen", "statistics"), ("ExampleGen", "examples")


@dataclasses.dataclass(frozen=True)
class _Model:
    """A released model and what it was trained on."""

    version: int
    run_id: str
    data: Known


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command, but for --root."""
    command.add_argument("file", nargs="?", metavar="FILE", help="a pipeline file (default: the intents pipeline)")
    command.add_argument("--log", required=True, metavar="DIR", help="the request log of a model server, or a file of it")
    command.add_argument("--model", metavar="NAME", help="whose requests to read (default: the pipeline's name)")
    command.add_argument(
        "--version", type=int, metavar="N",
        help="compare with the training data of this released version (default: the one labelled stable, else the newest)",
    )  # fmt: skip
    command.add_argument("--since", metavar="DATE", help="leave out requests from before this time")
    command.add_argument("--until", metavar="DATE", help="leave out requests from this time on")
    command.add_argument("--set", action="append", default=[], metavar="K=V", help="override a setting of the pipeline file")
    command.add_argument("--report", metavar="PATH", help=f"where the page goes (default: ROOT/{FOLDER}/NAME.html)")


def run(options: argparse.Namespace) -> int:
    """Compares and reports. Returns 0, or 1 if a finding is an error.

    Raises:
      UsageError: The file, the log or an argument cannot be used, or there is no released model whose training data is still there.
      EnvironmentFailure: Something cannot be written.
    """
    from components.findings import has_errors
    from components.ingestion.options import PredictionLogSource
    from components.validation import schema_file
    from pipeline import config as config_module
    from pipeline.monitor import moment

    config = config_module.load(options.file or config_module.DEFAULT, options.set)
    if not pathlib.Path(options.log).exists():
        raise UsageError(
            f"There is no request log {options.log}; name the directory that the server was given as --request_log_dir"
        )
    log = PredictionLogSource(
        type="prediction_log",
        path=options.log,
        model=options.model or config.name,
        label=config.data.label,
        since=None if options.since is None else moment(options.since, "--since"),
        until=None if options.until is None else moment(options.until, "--until"),
    )
    model = _model(pathlib.Path(options.root), config, options.version)
    schema = schema_file.read(config.schema_path)
    path = pathlib.Path(options.report or pathlib.Path(options.root) / FOLDER / f"{config.name}.html").absolute()
    with _scratch(path.parent) as folder, _quiet():
        from components.validation import log_skew

        judged = log_skew.judge(
            log,
            model.data,
            config.data,
            schema,
            config.privacy,
            config.validation,
            folder,
        )
    result = _result(config, log.model or "", model, judged)
    _write_page(path, result)
    result["report"] = str(path)
    if options.output == "json":
        json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(_lines(result)) + "\n")
    return 1 if has_errors(judged.findings) else 0


def _model(root: pathlib.Path, config: PipelineConfig, version: int | None) -> _Model:
    """The released model whose training data the log is held against."""
    from components.release import changeover
    from components.release.release_folder import ReleaseFolder
    from components.validation.data_gate import Known
    from pipeline import results

    folder = ReleaseFolder(root / config.release.directory)
    standing = changeover.standing(folder, folder.model(config.name))
    number = version if version is not None else standing.stable or max(standing.versions)
    if number not in standing.versions:
        known = ", ".join(map(str, standing.versions))
        raise UsageError(f"There is no version {number} of {config.name} in {folder.path}. Versions: {known}")
    run_id = folder.version(config.name, number).manifest.get("run")
    if not run_id:
        raise UsageError(
            f"The manifest of {config.name} version {number} names no run, so nobody knows its training data; --version names another"
        )
    made_by = results.of_run(root, run_id)
    examples = made_by.artifacts.get(_EXAMPLES)
    data = Known(
        against=f"the training data of {config.name} version {number}",
        statistics=str(made_by.folder(*_STATISTICS)),
        # Statistics say most; texts are compared while the examples are there, too.
        examples=str(examples) if examples is not None and examples.is_dir() else None,
    )
    return _Model(number, run_id, data)


@contextlib.contextmanager
def _scratch(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder for what is read, in the page's, where there is room for data, and removes it."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".", dir=place)
    except OSError as error:
        raise EnvironmentFailure(f"{place} cannot be written: {error.strerror or error}; --report names another place") from error
    with temporary as folder:
        yield pathlib.Path(folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what TensorFlow and Beam write below Python from the terminal. What goes wrong is an exception all the same."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _result(config: PipelineConfig, asked: str, model: _Model, judged: Judged) -> dict[str, Any]:
    before, after = judged.comparison.rows
    return {
        "pipeline": config.name,
        "requests_to": asked,
        "rows": after,
        "set_aside": judged.ingestion["rows"]["quarantined"],
        "training": {"model": config.name, "version": model.version, "run_id": model.run_id, "rows": before},
        "different": [
            *(column.column for column in judged.comparison.columns if column.different),
            *(f"{text.column}: {text.measure}" for text in judged.comparison.texts if text.different),
        ],
        "findings": [finding.to_json() for finding in judged.findings],
        "comparison": judged.comparison.to_json(),
        "notes": list(judged.ingestion["notes"]),
    }


def _write_page(path: pathlib.Path, result: Mapping[str, Any]) -> None:
    from components.reporting import skew as page

    try:
        path.write_text(page.render(result), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(
            f"The page cannot be written to {path}: {error.strerror}; --report names another place"
        ) from error


def _lines(result: Mapping[str, Any]) -> list[str]:
    found = [finding for finding in result["findings"] if finding["severity"] != "info"]
    training = result["training"]
    aside = f" ({result['set_aside']:,} were set aside)" if result["set_aside"] else ""
    return [
        *(f"{_MARKS[finding['severity']]}  {finding['message']}" for finding in found),
        *([] if found else ["what the model is asked is like what it was trained on"]),
        *(f"note  {note}" for note in result["notes"]),
        f"compared {result['rows']:,} rows of requests to {result['requests_to']}{aside} with {training['rows']:,} rows that version"
        f" {training['version']} was trained on (run {training['run_id']})",
        f"report   {result['report']}",
    ]
