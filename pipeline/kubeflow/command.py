"""The command `parlance kubeflow`: compile, check, submit, schedule, runs, logs.

Nothing heavy is imported before a command runs: the SDK and TFX only where something is compiled, the API's client only where a
cluster is asked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.errors import EnvironmentFailure, UsageError
from components.findings import Finding, Severity, has_errors

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.client import Client
    from pipeline.kubeflow.package import Package
    from pipeline.kubeflow.run_state import Step

_POLL_SECONDS = 5.0
_SHOWN_RUNS = 20
_LONGEST_WAIT = 24 * 3600
_FILE_HELP = "a pipeline file (default: the intents pipeline that ships with Parlance)"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Declares the commands below `parlance kubeflow`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    compile_ = _add(commands, "compile", _compile, "Compile a pipeline file into a package that Kubeflow Pipelines runs as it is.",
                    "parlance kubeflow compile tickets.yaml -o tickets.kfp.yaml")  # fmt: skip
    _add_file(compile_)
    compile_.add_argument(
        "-o", dest="package", metavar="OUT.yaml", required=True, help="where to write the package; - for stdout"
    )

    check = _add(commands, "check", _check, "Say what Kubeflow, Argo or a step would not like about a package; exit 1 if anything.",
                 "parlance kubeflow check tickets.kfp.yaml")  # fmt: skip
    check.add_argument("package", metavar="OUT.yaml", help="what `parlance kubeflow compile` wrote")

    submit = _add(commands, "submit", _submit, "Start a run. What is compiled is uploaded once, however often it is run.",
                  "parlance kubeflow submit tickets.yaml --wait --endpoint http://localhost:8888")  # fmt: skip
    submit.add_argument("file", nargs="?", metavar="FILE|OUT.yaml", help=f"{_FILE_HELP}, or a compiled package")
    submit.add_argument("--set", action="append", default=[], metavar="K=V", help="override a setting of a pipeline file")
    submit.add_argument("--parameter", action="append", default=[], metavar="K=V", help="a value for a runtime parameter")
    submit.add_argument("--experiment", metavar="NAME", help="experiment the run is listed in (default: the pipeline's name)")
    submit.add_argument(
        "--service-account", metavar="NAME", help="Kubernetes account of the run's pods (default: kubeflow.service_account)"
    )
    submit.add_argument(
        "--wait",
        action="store_true",
        help="wait for the end; exit 1 if a gate rejected the run or it failed, with the first reasons",
    )
    submit.add_argument(
        "--timeout", type=float, default=_LONGEST_WAIT, metavar="S", help="give up waiting after so many seconds, the run goes on"
    )
    _add_connection(submit)

    schedule = commands.add_parser(
        "schedule", help="Keep the cluster's schedules as pipeline files describe them.",
        description="Keep the cluster's schedules as pipeline files describe them. A schedule has the name of its pipeline.",
        epilog="example: parlance kubeflow schedule apply tickets.yaml",
    )  # fmt: skip
    actions = schedule.add_subparsers(title="actions", metavar="ACTION", required=True)
    apply = _add(actions, "apply", _schedule_apply, "Make the cluster's schedule what the section `schedule:` says; twice changes nothing.",
                 "parlance kubeflow schedule apply tickets.yaml --set 'schedule.cron=0 30 2 * * *'")  # fmt: skip
    _add_file(apply)
    _add_connection(apply)
    _add_connection(
        _add(actions, "list", _schedule_list, "List the cluster's schedules.", "parlance kubeflow schedule list --output json")
    )
    for name, run, text in (
        ("pause", _schedule_pause, "Switch a schedule off."),
        ("resume", _schedule_resume, "Switch a schedule on."),
        ("trigger", _schedule_trigger, "Start a run of a schedule now."),
        ("delete", _schedule_delete, "Delete a schedule."),
    ):
        action = _add(actions, name, run, text, f"parlance kubeflow schedule {name} tickets")
        action.add_argument("name", metavar="NAME", help="the pipeline's name")
        if name == "delete":
            action.add_argument("--force", action="store_true", help="also while runs of it are under way; they end with it")
        _add_connection(action)

    runs = _add(commands, "runs", _runs, "List the cluster's runs, newest first.", "parlance kubeflow runs --limit 50")
    runs.add_argument("--limit", type=int, default=_SHOWN_RUNS, metavar="N", help="how many (default: %(default)s)")
    _add_connection(runs)

    logs = _add(
        commands, "logs", _logs, "Show how a run's nodes are doing, or the log of one.", "parlance kubeflow logs latest Trainer"
    )
    logs.add_argument("run", metavar="RUN", help="a run's id or name, the beginning of one, or `latest`")
    logs.add_argument("node", nargs="?", metavar="NODE", help="a node, e.g. Trainer (default: a line for each)")
    _add_connection(logs)


def _add(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help_text: str, example: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help_text, description=help_text, epilog=f"example: {example}")
    command.set_defaults(command=run)
    command.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object for machines")
    return command


def _add_file(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", nargs="?", metavar="FILE", help=_FILE_HELP)
    command.add_argument("--set", action="append", default=[], metavar="K=V", help="override a setting, e.g. model.epochs=5")


def _add_connection(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("the cluster")
    group.add_argument(
        "--endpoint", metavar="URL", help="API of Kubeflow Pipelines (default: PARLANCE_KFP_ENDPOINT; in a pod, that of its cluster; "
        "else that of kubectl's current context)",
    )  # fmt: skip
    group.add_argument("--namespace", metavar="NAME", help="your namespace, where Kubeflow is shared (PARLANCE_KFP_NAMESPACE)")
    group.add_argument("--token-file", metavar="PATH", help="file with a bearer token (PARLANCE_KFP_TOKEN_FILE)")
    group.add_argument("--ca-file", metavar="PATH", help="certificates to check the endpoint's with (PARLANCE_KFP_CA_FILE)")


def _compile(options: argparse.Namespace) -> int:
    text = _compiled(_config(options))
    if options.package == "-":
        if options.output == "json":
            raise UsageError("-o - writes the package itself to stdout, so --output json has no place there; name a file")
        sys.stdout.write(text)
        return 0
    path = pathlib.Path(options.package)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(f"The package cannot be written to {path}: {error.strerror}") from error
    package = _package(text, str(path))
    nodes = list(_nodes(package).values())
    if options.output == "json":
        _print_json(
            {"package": str(path), "pipeline": package.name, "version": package.version, "sha256": package.sha256,
             "bytes": len(text.encode()), "nodes": nodes, "parameters": dict(package.parameters)}
        )  # fmt: skip
        return 0
    _print(
        f"wrote {path}: {len(nodes)} steps, {len(text.encode()) / 1024:.1f} KiB, version {package.version}",
        f"parameters: {', '.join(package.parameters) or 'none'}",
        f"next: parlance kubeflow check {path}; parlance kubeflow submit {path}",
    )
    return 0


def _check(options: argparse.Namespace) -> int:
    text = _read(options.package)
    findings = _findings(text)
    if options.output == "json":
        _print_json([finding.to_json() for finding in findings])
    else:
        _print(*_finding_lines(findings))
        if not findings:
            _print(f"{options.package}: nothing to complain about")
    return 1 if has_errors(findings) else 0


def _submit(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import client as client_module

    given = _pairs(options.parameter)
    client = _client(options)
    text = _read(options.file) if options.file else None
    account = options.service_account
    if text is not None and _is_package(text):
        if options.set:
            raise UsageError(
                f"--set changes a pipeline file, and {options.file} is compiled already; use --parameter, or compile again"
            )
        package = _package(text, options.file)
    else:
        config = _config(options)
        package = _package(_checked(_compiled(config)), config.name)
        account = account or config.kubeflow.service_account
    values = package.values(given)
    _refuse_wrong_values(package, given)
    version, uploaded = client.ensure_version(package)
    run = client.start(version, client.experiment(options.experiment or package.name), package.name, values, account)
    shown = {
        "run_id": run.run_id, "name": run.display_name, "pipeline": package.name, "version": package.version, "uploaded": uploaded,
    }  # fmt: skip
    if not options.wait:
        if options.output == "json":
            _print_json({**shown, "state": "submitted"})
        else:
            _print(
                f"run {run.run_id}",
                f"{'uploaded' if uploaded else 'already there'}: version {package.version} of pipeline {package.name}",
                f"next: parlance kubeflow logs {run.display_name}",
            )
        return 0
    progress = sys.stderr if options.output == "json" else sys.stdout
    progress.write(f"run {run.run_id}\n")
    return _wait(client, client_module, run.run_id, _nodes(package), options, shown, progress)


def _wait(
    client: Client,
    client_module: Any,
    run_id: str,
    nodes: dict[str, str],
    options: argparse.Namespace,
    shown: dict[str, Any],
    progress: Any,
) -> int:
    """Shows a run's nodes as they end, and at the end what came out."""
    from pipeline.kubeflow import run_state

    width = max(map(len, nodes.values()), default=0)
    deadline = time.monotonic() + options.timeout
    logs: dict[str, Any] = {}
    told: set[str] = set()
    while True:
        run = client.run(run_id)
        steps = run_state.steps(run, nodes)
        for step in steps:
            if step.ended and step.node not in told:
                told.add(step.node)
                logs[step.node] = run_state.read_log(step, lambda pod: client.log(run_id, pod))
                progress.write(step.line(width, logs[step.node]) + "\n")
                progress.flush()
        if client_module.is_final(run):
            break
        if time.monotonic() > deadline:
            raise EnvironmentFailure(
                f"The run {run_id} has not ended after {options.timeout:.0f} s and goes on; look with `parlance kubeflow logs {run_id}`"
            )
        time.sleep(_POLL_SECONDS)
    outcome = run_state.outcome(run, steps, logs)
    if options.output == "json":
        _print_json(
            {
                **shown,
                "state": outcome.state,
                "reasons": list(outcome.reasons),
                "nodes": [_step_json(step, logs.get(step.node)) for step in steps],
            }
        )
    else:
        _print("", outcome.state, *(f"  {line}" for line in outcome.reasons))
    return {run_state.SUCCEEDED: 0, run_state.UNKNOWN: 3}.get(outcome.state, 1)


def _schedule_apply(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import schedule

    config = _config(options)
    schedule.options_of(config)  # says that there is none before anything is compiled
    client = _client(options)
    package = _package(_checked(_compiled(config)), config.name)
    applied = schedule.apply(client, config, package)
    if options.output == "json":
        _print_json(
            {"schedule": config.name, "action": applied.action, "recurring_run_id": applied.recurring_run_id,
             "version": applied.version, "waiting": applied.waiting}
        )  # fmt: skip
        return 0
    _print(f"{config.name}: {applied.action}  (version {applied.version}, recurring run {applied.recurring_run_id})")
    if applied.waiting:
        _print(
            f"{applied.waiting} of its predecessors are off but still there, because runs of theirs are under way; the next apply "
            "removes them"
        )
    return 0


def _schedule_list(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import schedule

    found = schedule.schedules(_client(options))
    if options.output == "json":
        _print_json([entry.to_json() for entry in found])
        return 0
    if not found:
        _print("no schedules; `parlance kubeflow schedule apply FILE` makes one")
    width = max((len(entry.name) for entry in found), default=0)
    _print(
        *(
            f"{entry.name:<{width}}  {'on ' if entry.enabled else 'off'}  {entry.when:<20}  {entry.recurring_run_id}"
            f"{'' if entry.ours else '  (not made by Parlance)'}"
            for entry in found
        )
    )
    return 0


def _schedule_pause(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import schedule

    return _show_schedule(schedule.pause(_client(options), options.name), options)


def _schedule_resume(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import schedule

    return _show_schedule(schedule.resume(_client(options), options.name), options)


def _show_schedule(entry: Any, options: argparse.Namespace) -> int:
    if options.output == "json":
        _print_json(entry.to_json())
    else:
        _print(f"{entry.name}: {'on' if entry.enabled else 'off'}  ({entry.when})")
    return 0


def _schedule_trigger(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import schedule

    run = schedule.trigger(_client(options), options.name)
    if options.output == "json":
        _print_json({"run_id": run.run_id, "name": run.display_name})
    else:
        _print(f"run {run.run_id}", f"next: parlance kubeflow logs {run.display_name}")
    return 0


def _schedule_delete(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import schedule

    deleted = schedule.delete(_client(options), options.name, options.force)
    if options.output == "json":
        _print_json({"schedule": options.name, "deleted": deleted})
    else:
        _print(f"{options.name}: deleted")
    return 0


def _runs(options: argparse.Namespace) -> int:
    if options.limit < 1:
        raise UsageError(f"--limit is a number of runs, at least 1; received {options.limit}")
    found = [
        {
            "run_id": run.run_id,
            "name": run.display_name,
            "state": (run.state or "PENDING").lower(),
            "created_at": run.created_at.isoformat() if run.created_at else None,
            "seconds": _seconds(run),
            "schedule": run.recurring_run_id,
        }
        for run in itertools.islice(_client(options).runs(), options.limit)
    ]
    if options.output == "json":
        _print_json(found)
        return 0
    if not found:
        _print("no runs; `parlance kubeflow submit FILE` starts one")
    for entry in found:
        seconds = f"{entry['seconds']:8.0f} s" if entry["seconds"] is not None else " " * 10
        _print(f"{entry['run_id']}  {entry['state']:<9} {seconds}  {entry['name']}")
    return 0


def _logs(options: argparse.Namespace) -> int:
    from pipeline.kubeflow import run_state

    client = _client(options)
    run = client.find_run(options.run)
    nodes = run_state.nodes_of(client.specification(run))
    if not nodes:
        raise UsageError(f"The run {run.display_name} is not one of a package that Parlance compiled, so its nodes are not known")
    steps = run_state.steps(run, nodes)
    if options.node is None:
        return _show_steps(client, run, steps, options)
    chosen = [step for step in steps if options.node in (step.node, step.task)]
    if not chosen:
        raise UsageError(f"The run {run.display_name} has no node {options.node!r}; nodes: {', '.join(nodes.values())}")
    [step] = chosen
    texts = [(pod, client.log(run.run_id, pod)) for pod in step.pods]
    if options.output == "json":
        _print_json(
            {
                "run_id": run.run_id,
                "node": step.node,
                "state": step.state,
                "attempts": [{"pod": pod, "log": text} for pod, text in texts],
            }
        )
    for number, (pod, text) in enumerate(texts, 1):
        if options.output == "text":
            if len(texts) > 1:
                _print(f"--- attempt {number}: {pod}")
            _print((text or f"(the cluster no longer has the log of {pod})").rstrip("\n"))
    if not any(text is not None for _, text in texts):
        raise EnvironmentFailure(
            f"There is no log of {step.node} ({step.state}) at {client.endpoint}: its pod has not started, or is gone and Argo keeps no "
            f"logs. While there is a pod: kubectl logs {step.pods[-1] if step.pods else 'POD'} -c main"
        )
    return 0


def _show_steps(client: Client, run: Any, steps: Sequence[Step], options: argparse.Namespace) -> int:
    from pipeline.kubeflow import run_state

    logs = {
        step.node: run_state.read_log(step, lambda pod: client.log(run.run_id, pod)) if step.ended else None for step in steps
    }
    if options.output == "json":
        _print_json(
            {"run_id": run.run_id, "name": run.display_name, "state": (run.state or "PENDING").lower(),
             "nodes": [_step_json(step, logs[step.node]) for step in steps]}
        )  # fmt: skip
        return 0
    width = max(len(step.node) for step in steps)
    _print(f"run {run.run_id}  {run.display_name}  {(run.state or 'PENDING').lower()}")
    for step in steps:
        _print(step.line(width, logs[step.node]) if step.ended else f"  · {step.node:<{width}} {step.state}")
    return 0


def _step_json(step: Step, log: Any) -> dict[str, Any]:
    return {
        "id": step.node, "state": log.state if log is not None else step.state, "seconds": step.seconds, "pods": list(step.pods),
        "note": log.line.strip() if log is not None else None,
    }  # fmt: skip


def _config(options: argparse.Namespace) -> PipelineConfig:
    from pipeline import config as config_module

    return config_module.load(options.file or config_module.DEFAULT, options.set)


def _compiled(config: PipelineConfig) -> str:
    """The package of a pipeline file. TFX is imported without the weight of executors, which nothing here runs."""
    _import_lean()
    from pipeline.kubeflow import compiler

    return compiler.compile_package(config)


def _findings(text: str) -> Sequence[Finding]:
    _import_lean()
    from pipeline.kubeflow import check

    return check.check(text)


def _import_lean() -> None:
    if "tensorflow" in sys.modules:  # too late to keep anything out
        return
    from pipeline.local import lean_imports

    lean_imports.install()


def _checked(text: str) -> str:
    """A package without errors; what is worth a warning goes to stderr.

    Raises:
      UsageError: There are errors.
    """
    findings = _findings(text)
    if has_errors(findings):
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        raise UsageError("\n  ".join(["Kubeflow would not run this:", *_finding_lines(errors)]))
    for line in _finding_lines(findings):
        sys.stderr.write(f"parlance: {line}\n")
    return text


def _refuse_wrong_values(package: Package, given: Mapping[str, str]) -> None:
    """Checks values of runtime parameters as the first step of the run would.

    Raises:
      UsageError: The pipeline file would not be valid with one.
    """
    if not given or "--ir" not in package.text:  # without nodes there is nothing that would know
        return
    _import_lean()
    from pipeline.kubeflow import check, parameters

    for step in check.read(package.text).steps.values():
        if step.pipeline is not None and given.keys() <= parameters.known(step.pipeline):
            parameters.substitute(step.pipeline, given)
            return


def _finding_lines(findings: Iterable[Finding]) -> list[str]:
    """A line for what is the matter; what several steps have in common is said once."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        subjects.setdefault((finding.severity.value, finding.message), []).append(finding.subject)
    lines = []
    for (severity, message), of in subjects.items():
        others = f" and {len(of) - 1} more" if len(of) > 1 else ""
        lines.append(f"{severity}: {of[0]}{others}: {message}" if of[0] else f"{severity}: {message}")
    return lines


def _client(options: argparse.Namespace) -> Client:
    from pipeline.kubeflow import client, connection

    return client.connect(connection.Connection.of(options.endpoint, options.namespace, options.token_file, options.ca_file))


def _package(text: str, origin: str) -> Package:
    from pipeline.kubeflow import package

    return package.Package.parse(text, origin)


def _nodes(package: Package) -> dict[str, str]:
    import yaml

    from pipeline.kubeflow import run_state

    return run_state.nodes_of(next(iter(yaml.safe_load_all(package.text))))


def _is_package(text: str) -> bool:
    """Tells a compiled package from a pipeline file. What is neither is left to what reads pipeline files."""
    import yaml

    try:
        first = next(iter(yaml.safe_load_all(text)), None)
    except yaml.YAMLError:
        return False
    return isinstance(first, dict) and "pipelineInfo" in first


def _read(path: str) -> str:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}); `parlance kubeflow compile FILE -o OUT.yaml` writes a package"
        ) from error


def _pairs(arguments: Sequence[str]) -> dict[str, str]:
    values = {}
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator or not name:
            raise UsageError(f"--parameter takes NAME=VALUE; received {argument!r}")
        values[name] = value
    return values


def _seconds(run: Any) -> float | None:
    if not run.created_at or not run.finished_at:
        return None
    seconds = (run.finished_at - run.created_at).total_seconds()
    return seconds if seconds >= 0 else None  # of a run that has not ended, some releases say 1970


def _print(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=1, ensure_ascii=False))
