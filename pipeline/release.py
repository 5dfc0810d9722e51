"""The command `parlance release`: which version of a model is stable, which one is tried as a canary, and which ones may go.

    parlance release list
    parlance release canary                # the newest version answers those who ask for the label canary; else stable does
    parlance release judge                 # compares it with stable by the servers' metrics; --act promotes or rolls back
    parlance release promote               # the canary becomes stable
    parlance release rollback              # one step back
    parlance release prune                 # deletes old versions that nobody needs

State is in the release folder alone: models.config, which servers read, and for each model an audit trail. Servers are asked whether they
have followed; nothing is sent to them. Importing this module imports nothing heavy.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from components.errors import EnvironmentFailure, GateError, UsageError

if TYPE_CHECKING:
    from components.release.audit import Entry
    from components.release.canary import Judgement
    from components.release.model_servers import ModelServers
    from components.release.release_folder import ReleaseFolder
    from components.release.rollout import Change, Standing
    from components.release.rollout_options import RolloutOptions, RolloutRules
    from components.release.server_metrics import Counts

RELEASES = "serving"
_SERVER = "127.0.0.1:8500"
_METRICS = "http://127.0.0.1:8501/monitoring/prometheus/metrics"
_NOT_CHANGED_MEANWHILE = "the labels changed while the canary was watched, so nothing was done; judge again"


def add_arguments(command: argparse.ArgumentParser, root: str) -> None:
    """Declares the subcommands, each with its own arguments.

    Args:
      command: The parser of `parlance release`.
      root: The default of --root.
    """
    commands = command.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Any, help_text: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text, epilog=f"example: parlance release {example}")
        added.set_defaults(release=run, action=name)
        added.add_argument(
            "--output", choices=("text", "json"), default=argparse.SUPPRESS, help="json prints one object for machines"
        )
        added.add_argument("--root", default=root, help="folder of all runs (default: %(default)s)")
        added.add_argument("--model", metavar="NAME", help="name of the model (default: the only one)")
        servers = added.add_mutually_exclusive_group()
        servers.add_argument(
            "--server",
            action="append",
            default=[],
            metavar="HOST:PORT",
            help=f"a server, by its port for gRPC; repeat it to name all (default: {_SERVER} if one answers there)",
        )
        servers.add_argument(
            "--no-server", action="store_true", help="ask no server: those that start later read what is written"
        )
        return added

    def add_change(name: str, run: Any, help_text: str, example: str, version: str) -> None:
        added = add(name, run, help_text, example)
        added.add_argument("version", nargs="?", type=int, metavar="VERSION", help=version)
        _add_change_arguments(added)

    add("list", _list, "List the versions of each model, their labels, and who changed what last.", "list")
    add_change(
        "canary", _change, "Try a version beside the stable one: it gets the label canary.", "canary --reason 'more German data'",
        "a version (default: the newest)",
    )  # fmt: skip
    add_change(
        "promote", _change, "Make the canary stable; or a version, where there is no canary.", "promote --reason 'judged good'",
        "a version (default: the canary; where nothing is stable yet, the newest)",
    )  # fmt: skip
    add_change(
        "rollback", _change, "Take one step back: give the canary up; without one, stable returns to the version before.",
        "rollback --reason 'too many errors'", "an earlier stable version to return to (default: one step back)",
    )  # fmt: skip
    judge = add(
        "judge", _judge, "Compare the canary with stable by the servers' metrics: promote, hold, or roll back. Exit 0 to promote.",
        "judge --act",
    )  # fmt: skip
    judge.add_argument("--act", action="store_true", help="do what the rules say; holding does nothing")
    judge.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="URL",
        help=f"metrics of an embedded server that serves both versions; repeat it to name all (default: {_METRICS})",
    )
    for track in ("stable", "canary"):
        judge.add_argument(
            f"--{track}-metrics",
            action="append",
            default=[],
            metavar="URL",
            help=f"metrics of a server that serves {track} alone, as TensorFlow Serving has them; repeat it to name all",
        )
    judge.add_argument(
        "--rule", action="append", default=[], metavar="NAME=VALUE", help="another limit this time, e.g. min_requests=2000"
    )
    _add_change_arguments(judge)
    prune = add("prune", _prune, "Delete old versions that nobody needs; never one that is labelled or loaded.", "prune --keep 5")
    prune.add_argument("--keep", type=int, metavar="N", help="so many of the newest stay (default: release.rollout.keep)")
    prune.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit trail")
    _add_file(prune)


def run(options: argparse.Namespace) -> int:
    """Carries out one subcommand; returns the exit code.

    Raises:
      UsageError: The command asks for what cannot be.
      GateError: A server did not follow, so the change was taken back.
      EnvironmentFailure: A server does not answer, or a file cannot be written.
    """
    code: int = options.release(options)
    return code


def _add_change_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reason", default="", metavar="TEXT", help="why, for the audit trail")
    command.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help="seconds servers may take to load (default: release.rollout.load_timeout_seconds)",
    )
    _add_file(command)


def _add_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pipeline", metavar="FILE", help="take release.rollout from this pipeline file (default: that of the version's run)"
    )


# ---- list


def _list(options: argparse.Namespace) -> int:
    from components.release import release_folder

    folder = _folder(options)
    if options.model is None:
        names = release_folder.released_models(folder.path)
        if not names:
            folder.model(None)
    else:
        names = [folder.model(options.model)]
    described = []
    for name in names:
        with _servers(options, name) as (servers, note):
            described.append(_described(folder, name, servers, note))
    if options.output == "json":
        _print_json({"models": described})
    else:
        sys.stdout.write("\n\n".join("\n".join(_listing(model)) for model in described) + "\n")
    return 0


def _described(folder: ReleaseFolder, name: str, servers: ModelServers, note: str) -> dict[str, Any]:
    from components.release import audit, changeover

    standing = changeover.standing(folder, name)
    entries = folder.trail(name).entries()
    unfinished = audit.unfinished(entries)
    loaded = servers.loaded(name)
    versions = []
    for number in standing.versions:
        version = folder.version(name, number, verify=True)
        versions.append(
            {
                "version": number,
                "labels": sorted(label for label, labelled in standing.served.labels.items() if labelled == number),
                "pushed_at": _utc(version.manifest.get("pushed_at")),
                "run": version.manifest.get("run"),
                "accuracy": (version.manifest.get("metrics") or {}).get("accuracy"),
                "override": version.manifest.get("override"),
                "problems": list(version.problems or ()),
                "loaded": [target for target, numbers in loaded.items() if number in numbers],
            }
        )
    return {
        "model": name,
        "path": str(folder.path / name),
        "config": str(folder.config) if folder.config.exists() else None,
        "labels": dict(standing.served.labels),
        "rollback_to": standing.previous_stable,
        "versions": versions,
        "servers": list(servers.targets),
        "note": note,
        "last_change": entries[-1].to_json() if entries else None,
        "unfinished": unfinished.to_json() if unfinished is not None else None,
    }


def _listing(model: Mapping[str, Any]) -> list[str]:
    """What a person sees of a model."""
    servers = len(model["servers"])
    rows = [("version", "labels", "pushed (UTC)", "accuracy", "loaded", "state", "run")]
    for version in reversed(model["versions"]):
        accuracy = version["accuracy"]
        state = "intact" if not version["problems"] else f"damaged ({len(version['problems'])} files)"
        rows.append(
            (
                str(version["version"]),
                ", ".join(label for label in version["labels"] if label != "canary" or "stable" not in version["labels"]) or "-",
                (version["pushed_at"] or "-").replace("T", " ").removesuffix("+00:00"),
                f"{accuracy:.3f}" if isinstance(accuracy, int | float) else "-",
                f"{len(version['loaded'])} of {servers}" if servers else "-",
                state + (", by override" if version["override"] else ""),
                version["run"] or "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{model['model']}   {model['path']}"]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if not model["labels"]:
        lines.append("no version is stable yet: servers answer with the newest; `parlance release promote` makes it stable")
    if model["last_change"]:
        change = model["last_change"]
        why = f": {change['reason']}" if change["reason"] else ""
        lines.append(f"last change: {_entry_line(change)}, {change['at']} by {change['by']}{why}")
    if model["unfinished"]:
        lines.append(
            f"unfinished: {_entry_line(model['unfinished'])}; its command was killed. Give it again to go on, or take it back with "
            "`parlance release rollback`"
        )
    if model["note"]:
        lines.append(model["note"])
    return lines


def _entry_line(entry: Mapping[str, Any]) -> str:
    if entry["action"] == "prune":
        return f"prune {entry['state']} ({entry['detail']})"
    return f"{entry['action']} {entry['state']} ({_shown(entry['before'])} -> {_shown(entry['after'])})"


# ---- canary, promote, rollback


def _change(options: argparse.Namespace) -> int:
    folder = _folder(options)
    name = folder.model(options.model)
    with _servers(options, name) as (servers, note), folder.locked(name):
        return _changed(options, folder, name, servers, note, sys.stdout)


def _changed(
    options: argparse.Namespace,
    folder: ReleaseFolder,
    name: str,
    servers: ModelServers,
    note: str,
    out: TextIO,
    *,
    action: str = "",
    detail: str = "",
) -> int:
    """Plans and makes a change, tells of it, and afterwards deletes what a promotion made superfluous; under the lock."""
    from components.release import changeover, retention, rollout

    action = action or options.action
    unfinished = changeover.settle_unfinished(folder, name)
    if unfinished is not None and action == "rollback" and options.version is None:
        entry = changeover.take_back(folder, name, unfinished, options.reason)
        _tell(options, name, entry, [], note, out)
        return 0
    plan = {"canary": rollout.canary, "promote": rollout.promote, "rollback": rollout.rollback}[action]
    standing = changeover.standing(folder, name)
    change = plan(standing, options.version)
    if change.version != standing.stable:
        _require_intact(folder, name, change)
    if change.is_nothing and unfinished is None:
        return _tell_nothing(options, change, out)
    settings = _rollout_options(options, folder, name, change.version)
    timeout = settings.load_timeout_seconds if options.timeout is None else options.timeout
    entry = changeover.carry_out(
        folder, change, servers, reason=options.reason, timeout=timeout, detail=detail, unfinished=unfinished
    )
    # Without servers to ask, nobody knows what is loaded.
    deleted = retention.prune(folder, name, servers, settings.keep, "") if action == "promote" and servers.targets else []
    _tell(options, name, entry, deleted, note, out)
    return 0


def _require_intact(folder: ReleaseFolder, name: str, change: Change) -> None:
    problems = folder.version(name, change.version, verify=True).problems
    if problems:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise UsageError(
            f"Only a version that is as its push left it can be rolled out; version {change.version} of {name} is not: {shown}. "
            "Release it again"
        )


def _tell(options: argparse.Namespace, name: str, entry: Entry, deleted: Sequence[int], note: str, out: TextIO) -> None:
    if options.output == "json":
        _print_json({"model": name, **entry.to_json(), "deleted": list(deleted), "note": note}, out)
        return
    followed = f"{', '.join(entry.servers)} followed" if entry.servers else note
    print(f"{entry.action:<9} {name}: {_shown(entry.before)} -> {_shown(entry.after)}", file=out)
    if entry.detail.startswith("took back"):
        print(f"detail    {entry.detail}", file=out)
    print(f"servers   {followed}", file=out)
    if deleted:
        print(f"deleted   {', '.join(map(str, deleted))}", file=out)
    if "stable" in entry.after:
        print("clients   ask for the label stable or canary; who asks for none gets the highest version that is loaded", file=out)


def _tell_nothing(options: argparse.Namespace, change: Change, out: TextIO) -> int:
    labels = dict(change.after.labels)
    if options.output == "json":
        _print_json({"model": change.after.name, "action": change.action, "state": "nothing to do", "after": labels}, out)
    else:
        print(f"nothing to do: {change.after.name} has {_shown(labels)} already", file=out)
    return 0


# ---- judge


def _judge(options: argparse.Namespace) -> int:
    from components.release import canary, changeover
    from components.release.canary import Decision

    folder = _folder(options)
    name = folder.model(options.model)
    standing = changeover.standing(folder, name)
    if standing.stable is None or standing.canary is None:
        raise UsageError(
            f"Judging needs a stable version and a canary; {name} has {_shown(standing.served.labels)}. "
            "Start one with `parlance release canary`"
        )
    rules = _rollout_options(options, folder, name, standing.canary).rules
    rules = _with_given(rules, options.rule)
    before = _read_counts(options, name, standing)
    sys.stderr.write(f"watching {name}: stable {standing.stable}, canary {standing.canary}, for {rules.observe_seconds:g} s\n")
    sys.stderr.flush()
    time.sleep(rules.observe_seconds)
    judgement = _compared(before, _read_counts(options, name, standing), canary.judge, rules)
    acted = None
    if options.act and judgement.decision is not Decision.HOLD:
        acted = judgement.decision.value
    if options.output == "json":
        _print_json(_judgement_json(name, standing, judgement, acted))
    else:
        sys.stdout.write("\n".join(_judgement_lines(judgement)) + "\n")
    if acted is not None:
        _act(options, folder, name, standing, judgement)
    return 0 if judgement.decision is Decision.PROMOTE else 1


def _act(options: argparse.Namespace, folder: ReleaseFolder, name: str, watched: Standing, judgement: Judgement) -> None:
    from components.release import changeover

    options.version = None
    reason = "; ".join(f"{result.rule}: {result.reason}" for result in judgement.results)
    options.reason = options.reason or f"judged by its metrics to {judgement.decision.value}"
    # What is printed as JSON is the judgement alone.
    out = sys.stderr if options.output == "json" else sys.stdout
    with _servers(options, name) as (servers, note), folder.locked(name):
        now = changeover.standing(folder, name)
        if (now.stable, now.canary) != (watched.stable, watched.canary):
            raise GateError(_NOT_CHANGED_MEANWHILE)
        _changed(options, folder, name, servers, note, out, action=judgement.decision.value, detail=reason)


# The counts of each server: those that serve stable, and those that serve the canary.
_Readings = tuple[list["Counts"], list["Counts"]]


def _read_counts(options: argparse.Namespace, name: str, standing: Standing) -> _Readings:
    """Reads the counts of stable and canary from every server."""
    from components.release import server_metrics

    if bool(options.stable_metrics) != bool(options.canary_metrics) or (options.stable_metrics and options.metrics):
        raise UsageError("Give --stable-metrics and --canary-metrics together, or --metrics for servers that serve both versions")
    readings: _Readings = ([], [])
    if options.stable_metrics:
        for urls, version, counts in zip(
            (options.stable_metrics, options.canary_metrics), (standing.stable, standing.canary), readings, strict=True
        ):
            for url in urls:
                samples = server_metrics.scrape(url)
                tells = server_metrics.tells_versions(samples)
                counts.append(
                    server_metrics.of_version(samples, name, version or 0) if tells else server_metrics.of_model(samples, name)
                )
        return readings
    for url in options.metrics or [_METRICS]:
        samples = server_metrics.scrape(url)
        if not server_metrics.tells_versions(samples) and server_metrics.of_model(samples, name).requests:
            raise UsageError(
                f"The metrics at {url} do not tell versions apart, as TensorFlow Serving's never do. Run stable and canary in servers "
                "of their own (serving/deploy/overlays/istio does), and name them with --stable-metrics and --canary-metrics"
            )
        for version, counts in zip((standing.stable, standing.canary), readings, strict=True):
            counts.append(server_metrics.of_version(samples, name, version or 0))
    return readings


def _compared(before: _Readings, after: _Readings, judge: Any, rules: Any) -> Judgement:
    from components.release import server_metrics

    sides = [
        server_metrics.together(server_metrics.grown(then, now) for then, now in zip(first, second, strict=True))
        for first, second in zip(before, after, strict=True)
    ]
    judgement: Judgement = judge(*sides, rules)
    return judgement


def _judgement_json(name: str, standing: Standing, judgement: Judgement, acted: str | None) -> dict[str, Any]:
    return {
        "model": name,
        "stable": standing.stable,
        "canary": standing.canary,
        "decision": judgement.decision.value,
        "acted": acted,
        "requests": {"stable": judgement.stable_requests, "canary": judgement.canary_requests},
        "rules": [_finite({**dataclasses.asdict(result), "outcome": result.outcome.value}) for result in judgement.results],
        "findings": [result.finding().to_json() for result in judgement.results],
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity; None stands for an interval without an end."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value


def _judgement_lines(judgement: Judgement) -> list[str]:
    width = max(len(result.rule) for result in judgement.results)
    lines = [f"{result.outcome.value:<11}  {result.rule:<{width}}  {result.reason}" for result in judgement.results]
    return [*lines, f"decision: {judgement.decision.value}"]


def _with_given(rules: RolloutRules, given: Sequence[str]) -> RolloutRules:
    """The rules, with those that the command line says laid over them."""
    import pydantic
    import yaml

    values = rules.model_dump()
    for setting in given:
        name, separator, value = setting.partition("=")
        if not separator or name not in values:
            raise UsageError(f"--rule takes NAME=VALUE; received {setting!r}. Names: {', '.join(values)}")
        try:
            values[name] = yaml.safe_load(value)
            type(rules).model_validate(values)
        except (yaml.YAMLError, pydantic.ValidationError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else "it is not YAML"
            raise UsageError(f"--rule {name} cannot be {value!r}: {why}") from error
    return type(rules).model_validate(values)


# ---- prune


def _prune(options: argparse.Namespace) -> int:
    from components.release import retention

    folder = _folder(options)
    name = folder.model(options.model)
    if options.keep is not None and options.keep < 1:
        raise UsageError(f"--keep takes how many of the newest versions stay, 1 or more; received {options.keep}")
    with _servers(options, name) as (servers, note), folder.locked(name):
        newest = folder.numbers(name)[-1]
        keep = options.keep or _rollout_options(options, folder, name, newest).keep
        deleted = retention.prune(folder, name, servers, keep, options.reason)
        left = folder.numbers(name)
    if options.output == "json":
        _print_json({"model": name, "deleted": deleted, "versions": left, "note": note})
    else:
        sys.stdout.write(f"deleted   {', '.join(map(str, deleted)) or 'nothing'}; left: {', '.join(map(str, left))}\n")
        if note:
            sys.stdout.write(f"servers   {note}\n")
    return 0


# ---- what they share


def _folder(options: argparse.Namespace) -> ReleaseFolder:
    from components.release.release_folder import ReleaseFolder

    return ReleaseFolder(pathlib.Path(options.root) / RELEASES)


@contextlib.contextmanager
def _servers(options: argparse.Namespace, model: str) -> Iterator[tuple[ModelServers, str]]:
    """The servers to ask, and a note for people where there are none."""
    from components.release.model_servers import ModelServers, listens

    if options.no_server:
        targets, note = [], "no server was asked"
    elif options.server:
        targets, note = list(dict.fromkeys(options.server)), ""
        silent = [target for target in targets if not listens(target)]
        if silent:
            raise EnvironmentFailure(
                f"Every server named must answer, and nothing does at {', '.join(silent)}; nothing was changed. Start it, leave it "
                "out, or give --no-server"
            )
    else:
        targets, note = ([_SERVER], "") if listens(_SERVER) else ([], f"no server was asked: nothing answers at {_SERVER}")
        if targets:
            with ModelServers(targets) as servers:
                why = _not_ours(servers, model)
            if why:
                targets, note = [], f"no server was asked: the one at {_SERVER} {why}"
    if not targets:
        note += "; one that starts later reads what is written, one that runs elsewhere has to be named with --server"
    with ModelServers(targets) as servers:
        yield servers, note


def _not_ours(servers: ModelServers, model: str) -> str:
    """Why the server that happens to be at the usual place is none of this model's; "" if it is one."""
    try:
        [loaded] = servers.loaded(model).values()
    except EnvironmentFailure:
        return "is no model server"
    return "" if loaded else f"does not serve {model}"


def _rollout_options(options: argparse.Namespace, folder: ReleaseFolder, model: str, version: int) -> RolloutOptions:
    """`release.rollout` of the pipeline file that is named, or of the run that made a version; the defaults if it is gone."""
    import yaml

    from components.release.rollout_options import RolloutOptions

    if options.pipeline is not None:
        from pipeline import config

        return config.load(options.pipeline).release.rollout
    run = folder.version(model, version).manifest.get("run")
    try:
        values = yaml.safe_load((pathlib.Path(options.root) / "runs" / str(run) / "config.yaml").read_text(encoding="utf-8"))
        return RolloutOptions.model_validate(values["release"].get("rollout") or {})
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return RolloutOptions()


def _shown(labels: Mapping[str, int]) -> str:
    from components.release import rollout

    return rollout.labels_text(labels)


def _utc(seconds: Any) -> str | None:
    if not isinstance(seconds, int):
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _print_json(value: Any, stream: TextIO | None = None) -> None:
    json.dump(value, stream or sys.stdout, indent=1, ensure_ascii=False)
    (stream or sys.stdout).write("\n")
