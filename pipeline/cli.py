"""The command `parlance`.

Parsing and help import nothing heavy; each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from components.errors import ParlanceError, UsageError
from pipeline import data as data_command
from pipeline import monitor as monitor_command
from pipeline import predict as predict_command
from pipeline import release as release_command
from pipeline import schema as schema_command
from pipeline import serve as serve_command
from pipeline import skew as skew_command
from pipeline.kubeflow import command as kubeflow_command

DEFAULT_ROOT = ".parlance"
_STATE_CODES = {"succeeded": 0, "rejected": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 done; 1 a gate or validation said no; 2 the command or file is wrong; 3 the environment failed; 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except ParlanceError as error:
        print(f"parlance: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("parlance: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; Python must not complain about that at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parlance",
        description="From labelled messages to a validated, evaluated, servable model.",
        epilog="example: parlance init messages.csv --label intent && parlance run messages.yaml",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], help_text: str, example: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text, epilog=f"example: {example}")
        command.set_defaults(command=run)
        command.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object for machines")
        return command

    def add_root(command: argparse.ArgumentParser) -> None:
        command.add_argument("--root", default=DEFAULT_ROOT, help="folder of all runs (default: %(default)s)")

    add("doctor", _doctor, "Say what is there, what is missing and how to get it.", "parlance doctor")

    init = add(
        "init", _init, "Profile a table and write a pipeline file and a schema that run as they stand.",
        "parlance init tickets.csv --label queue --segment language",
    )  # fmt: skip
    init.add_argument("data", metavar="DATA", help="a CSV, JSONL or Parquet file")
    init.add_argument("--label", required=True, metavar="C", help="the column to predict")
    init.add_argument("--text", action="append", default=[], metavar="C", help="a text column (default: found by content)")
    init.add_argument("--segment", action="append", default=[], metavar="C", help="a column to slice evaluation by")
    init.add_argument("--group", metavar="C", help="a column whose rows never straddle splits, e.g. a conversation id")
    init.add_argument("--timestamp", metavar="C", help="a column that orders rows: newest rows are the test split")
    init.add_argument("--split-column", metavar="C", help="a column that says train, eval or test")
    init.add_argument(
        "--derive", action="append", default=[], metavar="NAME=EXPR", help="a column to compute, e.g. 'big_tip=tips > 0.2 * fare'"
    )
    init.add_argument("--exclude", action="append", default=[], metavar="C", help="a column no model may see")
    init.add_argument("--name", metavar="NAME", help="name of the pipeline (default: from the file's name)")
    init.add_argument("--force", action="store_true", help="replace an existing pipeline file and schema")

    run = add(
        "run", _run, "Run a pipeline.", "parlance run tickets.yaml --set model.epochs=5",
    )  # fmt: skip
    run.add_argument(
        "file", nargs="?", metavar="FILE", help="a pipeline file (default: the intents pipeline that ships with Parlance)"
    )
    add_root(run)
    run.add_argument("--set", action="append", default=[], metavar="K=V", help="override a setting, e.g. model.epochs=5")
    run.add_argument("--from", dest="from_node", metavar="NODE", help="take everything before this node from the last run")
    run.add_argument("--to", dest="to_node", metavar="NODE", help="stop after this node")
    run.add_argument("--no-cache", dest="cache", action="store_false", help="run every node, whatever earlier runs left")
    run.add_argument(
        "--metadata",
        metavar="URL",
        help="keep a new root's ML Metadata in a database: mysql://USER@HOST:PORT/DATABASE, or env:NAME; the password is in "
        "PARLANCE_METADATA_PASSWORD (default: a SQLite file in the root)",
    )
    run.add_argument("--print-config", action="store_true", help="print the effective configuration and stop")

    add_root(add("runs", _runs, "List the runs, newest first.", "parlance runs"))

    def add_of_run(name: str, run: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
        command = add(name, run, help_text, f"parlance {name} latest")
        command.add_argument("run", metavar="RUN", help="a run id, the beginning of one, or `latest`")
        add_root(command)
        return command

    add_of_run("show", _show, "Show one run: nodes, numbers, verdict.")
    gate = add_of_run("gate", _gate, "Print a run's verdict as a table; exit 0 if it was blessed, 1 if not.")
    gate.add_argument("--override", action="store_true", help="release the rejected model of the run all the same")
    gate.add_argument("--reason", metavar="TEXT", help="with --override: why; it goes into manifest, record and ML Metadata")
    report = add_of_run("report", _report, "Say where a run's report is, or open it.")
    report.add_argument("--open", action="store_true", help="open it in a browser")

    data = add(
        "data", data_command.run, "Say which data a run was made from, or bring its examples back.",
        "parlance data restore latest --to examples",
    )  # fmt: skip
    data_command.add_arguments(data, DEFAULT_ROOT)

    schema_text = "Say what new data would change in the curated schema, and accept it line by line."
    schema_command.add_commands(
        commands.add_parser(
            "schema", help=schema_text, description=schema_text, epilog="example: parlance schema diff tickets.yaml"
        ),
        DEFAULT_ROOT,
    )

    serve = add(
        "serve", serve_command.run, "Serve the released models over gRPC and REST, as TensorFlow Serving does.",
        "parlance serve --port 8500",
    )  # fmt: skip
    add_root(serve)
    serve_command.add_arguments(serve)
    predict_command.add_arguments(
        add("predict", _predict, "Ask a running model server for predictions.", 'parlance predict "turn on the kitchen light"')
    )
    release = add(
        "release", release_command.run, "Say which version of a model is stable, try one as a canary, and judge it.",
        "parlance release canary --reason 'more German data'",
    )  # fmt: skip
    release_command.add_arguments(release, DEFAULT_ROOT)
    monitor = add(
        "monitor", monitor_command.run, "Say what is unusual in data or in a server's answers over time; exit 1 on errors.",
        "parlance monitor tickets.yaml --log /var/log/parlance --since 7",
    )  # fmt: skip
    add_root(monitor)
    monitor_command.add_arguments(monitor)
    skew = add(
        "skew", skew_command.run, "Hold what a server was asked against its model's training data; exit 1 on errors.",
        "parlance skew tickets.yaml --log /var/log/parlance --since 2026-11-20",
    )  # fmt: skip
    add_root(skew)
    skew_command.add_arguments(skew)
    kubeflow_text = "Run the same pipeline on Kubeflow Pipelines, now or on a schedule."
    kubeflow_command.add_commands(
        commands.add_parser(
            "kubeflow",
            help=kubeflow_text,
            description=kubeflow_text,
            epilog="example: parlance kubeflow submit tickets.yaml --wait",
        )
    )
    return parser


def _run(options: argparse.Namespace) -> int:
    from pipeline import config as config_module

    config = config_module.load(options.file or config_module.DEFAULT, options.set)
    if options.print_config:
        import yaml

        if options.output == "json":
            _print_json(config.effective())
        else:
            print(yaml.safe_dump(config.effective(), sort_keys=False, allow_unicode=True), end="")
        return 0
    # The streams people see are kept aside; whatever libraries write below Python goes to the run's log or nowhere.
    progress_stream, result_stream = _take_over_streams(sys.stderr if options.output == "json" else sys.stdout)

    from pipeline.local import lean_imports

    lean_imports.install()
    from pipeline import progress
    from pipeline.local import root as root_module
    from pipeline.local import runner

    try:
        record = runner.run(
            config,
            root_module.Root(options.root),
            progress.Progress(progress_stream),
            cache=options.cache,
            from_node=options.from_node,
            to_node=options.to_node,
            metadata=options.metadata,
        )
    except ParlanceError as error:
        progress_stream.write(f"parlance: {error}\n")
        return error.exit_code
    if options.output == "json":
        _print_json(record, result_stream)
    else:
        progress_stream.write("\n" + "\n".join(progress.conclusion(record)) + "\n")
    return record.get("exit_code", _STATE_CODES.get(record["state"], 3))


def _take_over_streams(shown: TextIO) -> tuple[TextIO, TextIO]:
    """Returns streams to the terminal for progress and result, and points file descriptors 1 and 2 at nothing."""
    progress = os.fdopen(os.dup(shown.fileno()), "w", encoding="utf-8", errors="replace")
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return progress, result


def _init(options: argparse.Namespace) -> int:
    from pipeline import init

    result = init.init_pipeline(
        options.data,
        text=options.text,
        label=options.label,
        segments=options.segment,
        group=options.group,
        timestamp=options.timestamp,
        split_column=options.split_column,
        name=options.name,
        derive=options.derive,
        exclude=options.exclude,
        force=options.force,
    )
    if options.output == "json":
        _print_json(
            {
                "pipeline_file": str(result.pipeline_file),
                "schema_file": str(result.schema_file),
                "decisions": result.decisions,
                "warnings": result.warnings,
            }
        )
        return 0
    for line in result.decisions:
        print(f"  {line}")
    for line in result.warnings:
        print(f"! {line}")
    print(f"\nwrote {result.pipeline_file} and {result.schema_file}\nnext: parlance run {result.pipeline_file}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from pipeline import doctor

    checks = doctor.examine(pathlib.Path.cwd())
    if options.output == "json":
        _print_json([check.to_json() for check in checks])
    else:
        print("\n".join(check.line() for check in checks))
    return 0 if all(check.ok for check in checks) else 3


def _runs(options: argparse.Namespace) -> int:
    records = _records(options.root).all()
    if options.output == "json":
        _print_json(records)
        return 0
    if not records:
        print(f"no runs in {options.root}; `parlance run` makes one")
    for record in records:
        accuracy = record["metrics"].get("accuracy")
        shown = f"accuracy {accuracy:.3f}" if accuracy is not None else ""
        print(f"{record['run_id']}  {record['state']:<9} {record['seconds']:7.1f} s  {shown}".rstrip())
    return 0


def _show(options: argparse.Namespace) -> int:
    from pipeline import progress

    record = _records(options.root).one(options.run)
    if options.output == "json":
        _print_json(record)
        return 0
    width = max((len(node["id"]) for node in record["nodes"]), default=0)
    print(f"run {record['run_id']}")
    print("\n".join(progress.node_line(node, width) for node in record["nodes"]))
    print("\n" + "\n".join(progress.conclusion(record)))
    return 0


def _gate(options: argparse.Namespace) -> int:
    from pipeline import progress, verdict_table

    if options.override:
        return _override(options)
    if options.reason is not None:
        raise UsageError("--reason goes with --override; without it, `parlance gate` only shows the verdict")
    record = _records(options.root).one(options.run)
    verdict = record["verdict"]
    if options.output == "json":
        _print_json(verdict)
    elif verdict is None:
        print(f"run {record['run_id']} was not evaluated ({record['state']})")
        _print_data_findings(record)
    else:
        _print_data_findings(record)
        print("\n".join(verdict_table.lines(verdict["findings"])))
        if "baseline" in verdict:
            print(f"baseline: {verdict['baseline']['note']}")
        print("blessed" if verdict["blessed"] else "not blessed")
        if "override" in record:
            print(progress.override_line(record["override"]))
    return 0 if verdict and verdict["blessed"] else 1


def _print_data_findings(record: dict[str, Any]) -> None:
    from pipeline import progress, verdict_table

    if found := progress.data_warnings(record):
        print("\n".join(verdict_table.lines(found)))


def _override(options: argparse.Namespace) -> int:
    """Releases a rejected model; see override.override."""
    if options.reason is None:
        raise UsageError("--override needs --reason with a text that says why, e.g. --reason 'rollback is worse'")
    from pipeline import progress
    from pipeline.local import lean_imports

    lean_imports.install()
    from pipeline import override
    from pipeline.local import root as root_module

    record = override.override(root_module.Root(options.root), options.run, options.reason)
    if options.output == "json":
        _print_json({"pushed": record["pushed"], "override": record["override"]})
    else:
        pushed = record["pushed"]
        print(progress.override_line(record["override"]))
        print(f"pushed   {pushed['model']} version {pushed['version']} to {pushed['path']}")
    return 0


def _report(options: argparse.Namespace) -> int:
    path = _records(options.root).one(options.run)["report"]
    if options.output == "json":
        _print_json({"report": path})
    else:
        print(path)
    if options.open:
        import webbrowser

        webbrowser.open(pathlib.Path(path).as_uri())
    return 0


def _predict(options: argparse.Namespace) -> int:
    return predict_command.run(options, sys.stdout, sys.stderr)


def _records(root: str) -> Any:
    from pipeline import records

    return records.Records(root)


def _print_json(value: Any, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    json.dump(value, stream, indent=1, ensure_ascii=False)
    stream.write("\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
