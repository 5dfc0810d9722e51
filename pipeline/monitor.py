"""The command `parlance monitor`: what is unusual over time, in the data, in a server's answers, or from run to run.

    parlance monitor tickets.yaml                    the table of the pipeline file, by data.timestamp
    parlance monitor tickets.yaml --log DIR          the request log of a model server
    parlance monitor tickets.yaml --unit span        the data of the runs in --root, one period each

It reports on the newest period that is over, or on those since --since, and writes a page with every series.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any

from components.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from components.monitoring.series import Timeline
    from pipeline.config import PipelineConfig

FOLDER = "monitoring"
_UNITS = ("hour", "day", "week", "span")
_ALL = "all"
_MARKS = {"error": "FAIL", "warning": "warn", "info": "info"}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command, but for --root."""
    command.add_argument("file", nargs="?", metavar="FILE", help="a pipeline file (default: the intents pipeline)")
    command.add_argument("--log", metavar="DIR", help="the request log of a model server, instead of the pipeline file's table")
    command.add_argument("--model", metavar="NAME", help="with --log: whose answers (default: the pipeline's name)")
    command.add_argument("--unit", choices=_UNITS, help="length of a period (default: monitoring.unit)")
    command.add_argument(
        "--since", default="1", metavar="WHEN", help=f"report on the newest N periods, those since a date, or {_ALL} (default: 1)"
    )
    command.add_argument("--until", metavar="DATE", help="look at what there was before this time (default: now)")
    command.add_argument("--set", action="append", default=[], metavar="K=V", help="override a setting of the pipeline file")
    command.add_argument("--report", metavar="PATH", help=f"where the page goes (default: ROOT/{FOLDER}/NAME.html)")


def run(options: argparse.Namespace) -> int:
    """Judges and reports. Returns 0, or 1 if a finding is an error.

    Raises:
      UsageError: The file, the log or an argument cannot be used.
      EnvironmentFailure: The page cannot be written.
    """
    from components.findings import has_errors
    from components.monitoring import detect, findings
    from components.reporting import monitoring as page
    from pipeline import config as config_module

    settings = [*options.set, *([f"monitoring.unit={options.unit}"] if options.unit else [])]
    config = config_module.load(options.file or config_module.DEFAULT, settings)
    now = time.time() if options.until is None else moment(options.until, "--until")
    timeline, source = _timeline(options, config, now)
    if options.until is not None:
        # Left out because it was asked for.
        timeline = dataclasses.replace(timeline, future=0)
    since = _since(options.since, timeline)
    judged = detect.judge(timeline, config.monitoring, since)
    found = [*findings.of_alarms(judged, config.monitoring, since), *findings.of_state(timeline, config.monitoring)]
    path = pathlib.Path(options.report or pathlib.Path(options.root) / FOLDER / f"{config.name}.html").absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.render(config.name, source, judged, found, since), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(
            f"The page cannot be written to {path}: {error.strerror}; --report names another place"
        ) from error
    result = {
        "pipeline": config.name,
        "source": source,
        "unit": timeline.unit,
        "periods": len(timeline.periods),
        "first": timeline.name(0) if len(timeline.periods) else None,
        "since": timeline.name(since) if since < len(timeline.periods) else None,
        "last": timeline.name(-1) if len(timeline.periods) else None,
        "series": len(timeline.series),
        "judged": not any(finding.check == findings.HISTORY for finding in found),
        "findings": [finding.to_json() for finding in found],
        "report": str(path),
    }
    if options.output == "json":
        json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(_lines(result)) + "\n")
    return 1 if has_errors(found) else 0


def _timeline(options: argparse.Namespace, config: PipelineConfig, now: float) -> tuple[Timeline, str]:
    """Returns what there is to judge, and what it is in words."""
    from components.monitoring import sources
    from components.validation import schema_file

    if options.log is not None:
        if config.monitoring.unit == "span":
            raise UsageError("A request log has no spans; use --unit hour, day or week")
        model = options.model or config.name
        timeline = sources.of_log(pathlib.Path(options.log), config.data, model, config.monitoring, now)
        return timeline, f"requests to {model}"
    if options.model is not None:
        raise UsageError("--model goes with --log, which says where requests were logged")
    if config.monitoring.unit == "span":
        return sources.of_runs(_summaries(options.root, config.name, now), config.data.label), f"runs of {config.name}"
    schema = schema_file.read(config.schema_path)
    return sources.of_table(config.data, schema, config.monitoring, now), f"data of {config.name}"


def _summaries(root: str, name: str, now: float) -> list[tuple[str, Any]]:
    """Ingestion's summaries of the runs of a pipeline, oldest first; of runs over the same data, the first."""
    from components.ingestion.ingest import SUMMARY_FILE
    from pipeline import results

    summaries: dict[pathlib.Path, tuple[str, Any]] = {}
    for run in results.every("ExampleGen", root, name):
        folder = run.folder("ExampleGen", "examples")
        if folder not in summaries and (folder / SUMMARY_FILE).stat().st_mtime <= now:
            summaries[folder] = f"run {run.record['run_id']}", run.json("ExampleGen", "examples", SUMMARY_FILE)
    return list(summaries.values())


def _since(text: str, timeline: Timeline) -> int:
    """The index of the first period to report on."""
    from components.monitoring import periods

    count = len(timeline.periods)
    if text == _ALL:
        return 0
    if text.isdigit():
        return max(count - int(text), 0)
    if timeline.unit == "span":
        raise UsageError(f"With --unit span, --since takes a number of runs or {_ALL}; received {text!r}")
    when = moment(text, "--since")
    return sum(periods.end(int(period), timeline.unit) <= when for period in timeline.periods)


def moment(text: str, option: str) -> float:
    """Returns a date or time that an option was given, in seconds since the epoch; in UTC unless it says otherwise.

    Raises:
      UsageError: It is none.
    """
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} takes a date or time, e.g. 2026-11-21 or 2026-11-21T14:00; received {text!r}") from error
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


def _lines(result: dict[str, Any]) -> list[str]:
    found = result["findings"]
    lines = [f"{_MARKS[finding['severity']]}  {finding['message']}" for finding in found]
    if result["judged"] and not any(finding["severity"] in ("error", "warning") for finding in found):
        lines.append("nothing unusual")
    looked = f"{result['periods']} {result['unit']}s" if result["periods"] != 1 else f"1 {result['unit']}"
    reach = f", {result['first']} to {result['last']}; reported from {result['since']}" if result["since"] else ""
    return [
        *lines,
        f"looked at {result['series']} series of {looked} of {result['source']}{reach}",
        f"report   {result['report']}",
    ]
