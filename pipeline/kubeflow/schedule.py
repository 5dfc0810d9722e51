"""Keeps a cluster's schedules as pipeline files describe them.

A file has one schedule, which is known by the pipeline's name. Kubeflow Pipelines cannot change a schedule (a recurring run, in its
words), only replace it. So each carries a hash of everything it was made from: equal hashes mean nothing to do. A replacement is
created while it is still off, takes over by the old one being switched off and then itself on, and only then is the old one deleted.
Wherever this is interrupted, at most one of them is on, and applying the file again finishes what was begun.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import kfp_server_api as api

from components.errors import ParlanceError, UsageError
from pipeline.config import PipelineConfig
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow.client import Client
from pipeline.kubeflow.options import ScheduleOptions
from pipeline.kubeflow.package import Package

CREATED, UNCHANGED, UPDATED, RESUMED, PAUSED = "created", "unchanged", "updated", "resumed", "paused"

_MARK = re.compile(r"^Kept by Parlance as the pipeline file describes it, sha256:([0-9a-f]{64})$")


@dataclasses.dataclass(frozen=True)
class Applied:
    """What applying a pipeline file did.

    Attributes:
      action: created, unchanged, updated, resumed or paused.
      recurring_run_id: The schedule that is in force now.
      version: Name of the pipeline version it runs.
      waiting: How many predecessors, switched off, are still there because runs of theirs have not ended.
    """

    action: str
    recurring_run_id: str
    version: str
    waiting: int


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A schedule that a cluster has.

    Attributes:
      name: The pipeline's name, if it is ours.
      recurring_run_id: Kubeflow's id.
      when: A cron expression, or an interval such as `every 21600 s`.
      enabled: Whether it starts runs.
      ours: Whether `apply` made it.
      sha256: What `apply` made it from.
      version_id: The pipeline version it runs.
      max_concurrency: How many of its runs may be under way at once.
    """

    name: str
    recurring_run_id: str
    when: str
    enabled: bool
    ours: bool
    sha256: str
    version_id: str
    max_concurrency: int

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return dataclasses.asdict(self)


def options_of(config: PipelineConfig) -> ScheduleOptions:
    """Returns a pipeline file's schedule.

    Raises:
      UsageError: It has none.
    """
    if config.schedule is None:
        raise UsageError(
            f"The pipeline file {config.name} has no schedule. Add one, e.g. `schedule: {{cron: '0 30 2 * * *'}}` (second minute hour "
            "day month weekday) or `schedule: {interval: 6h}`"
        )
    return config.schedule


def apply(client: Client, config: PipelineConfig, package: Package) -> Applied:
    """Makes the cluster's schedule what a pipeline file says.

    Args:
      client: The cluster.
      config: The pipeline file, with a `schedule:` section.
      package: What it compiles to.

    Raises:
      UsageError: The file has no schedule, or the cluster has one of this name that somebody else made.
    """
    options = options_of(config)
    values = package.values(options.parameters)
    version, _ = client.ensure_version(package)
    account = config.kubeflow.service_account
    sha256 = _hash(options, package, values, account)
    named = list(client.recurring_runs(config.name))
    if foreign := [entry for entry in named if not _MARK.match(entry.description or "")]:
        raise UsageError(
            f"{client.endpoint} has a recurring run {config.name!r} ({foreign[0].recurring_run_id}) that Parlance did not make. "
            "Delete it there, or give the pipeline file another `name:`"
        )
    wanted = [entry for entry in named if _of(entry).sha256 == sha256]
    # Of two equal ones, which an interrupted apply may leave, the one that is on is kept.
    current = next((entry for entry in wanted if _of(entry).enabled), wanted[0] if wanted else None)
    others = [entry for entry in named if entry is not current]
    if current is not None:
        was_on, handed_over = _of(current).enabled, any(_of(entry).enabled for entry in others)
        _hand_over(client, others, current.recurring_run_id if options.enabled and not was_on else None)
        if was_on and not options.enabled:
            client.switch_recurring_run(current.recurring_run_id, False)
        action = UNCHANGED
        if was_on != options.enabled:
            action = UPDATED if handed_over else RESUMED if options.enabled else PAUSED
    else:
        body = _body(config.name, options, values, sha256, version, client.experiment(package.name), client.namespace, account)
        current = client.create_recurring_run(body)
        _hand_over(client, others, current.recurring_run_id if options.enabled else None)
        action = UPDATED if others else CREATED
    waiting = _remove(client, others)
    return Applied(action, current.recurring_run_id, package.version, waiting)


def schedules(client: Client, name: str | None = None) -> list[Schedule]:
    """Returns the cluster's schedules, newest first; only those of a name if one is given."""
    return [_of(entry) for entry in client.recurring_runs(name)]


def pause(client: Client, name: str) -> Schedule:
    """Switches a schedule off until `resume` or the next `apply` of a file that says otherwise.

    Raises:
      UsageError: There is none of this name.
    """
    for entry in _named(client, name):
        if entry.enabled:
            client.switch_recurring_run(entry.recurring_run_id, False)
    return _named(client, name)[0]


def resume(client: Client, name: str) -> Schedule:
    """Switches a schedule on.

    Raises:
      UsageError: There is none of this name.
    """
    newest, *older = _named(client, name)
    for entry in older:
        if entry.enabled:
            client.switch_recurring_run(entry.recurring_run_id, False)
    client.switch_recurring_run(newest.recurring_run_id, True)
    return _named(client, name)[0]


def trigger(client: Client, name: str) -> Any:
    """Starts a run now, with the version and the parameters of a schedule; whether that is on does not matter.

    Returns:
      The run.

    Raises:
      UsageError: There is no schedule of this name.
    """
    newest = _named(client, name)[0].recurring_run_id
    entry = next(entry for entry in client.recurring_runs(name) if entry.recurring_run_id == newest)
    parameters = (entry.runtime_config.parameters if entry.runtime_config else None) or {}
    return client.start(entry.pipeline_version_reference, entry.experiment_id, name, parameters, entry.service_account)


def delete(client: Client, name: str, force: bool = False) -> int:
    """Deletes a schedule.

    Args:
      client: The cluster.
      name: The pipeline's name.
      force: Also while runs of it are under way. Kubernetes ends them, because they belong to it.

    Returns:
      How many recurring runs were deleted: one, and predecessors that were still there.

    Raises:
      UsageError: There is none of this name, or runs are under way; then it is switched off.
    """
    entries = _named(client, name)
    for entry in entries:
        if entry.enabled:
            client.switch_recurring_run(entry.recurring_run_id, False)
    if not force and (active := [run for entry in entries for run in client.active_runs(entry.recurring_run_id)]):
        raise UsageError(
            f"{len(active)} runs of the schedule {name} are under way, and would end with it: "
            f"{', '.join(run.display_name for run in active[:5])}. It starts no more; delete it when they have ended, or use --force"
        )
    for entry in entries:
        client.delete_recurring_run(entry.recurring_run_id)
    return len(entries)


def _named(client: Client, name: str) -> list[Schedule]:
    found = [entry for entry in schedules(client, name) if entry.ours]
    if not found:
        known = sorted({entry.name for entry in schedules(client) if entry.ours})
        raise UsageError(
            f"{client.endpoint} has no schedule {name!r}; schedules: "
            f"{', '.join(known) or 'none yet; `parlance kubeflow schedule apply FILE` makes one'}"
        )
    # Newest first, as listed. An interrupted apply may have left a new one off and its predecessor on, and that one is in force.
    return sorted(found, key=lambda entry: not entry.enabled)


def _hash(options: ScheduleOptions, package: Package, values: Mapping[str, Any], service_account: str | None) -> str:
    """Of everything that a recurring run is made from. Whether it is on is not part of it, since that can be changed."""
    content = {
        "package": package.sha256,
        "schedule": options.model_dump(mode="json", exclude={"enabled", "parameters"}),
        "parameters": dict(values),
        "service_account": service_account,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _body(
    name: str,
    options: ScheduleOptions,
    values: Mapping[str, Any],
    sha256: str,
    version: Any,
    experiment_id: str,
    namespace: str,
    service_account: str | None,
) -> Any:
    moments = {"start_time": options.start, "end_time": options.end}
    if options.cron is not None:
        trigger = api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=options.cron, **moments))
    else:
        seconds = str(options.interval_seconds)
        trigger = api.V2beta1Trigger(periodic_schedule=api.V2beta1PeriodicSchedule(interval_second=seconds, **moments))
    return api.V2beta1RecurringRun(
        display_name=name,
        description=f"Kept by Parlance as the pipeline file describes it, sha256:{sha256}",
        pipeline_version_reference=client_module.reference(version),
        runtime_config=api.V2beta1RuntimeConfig(parameters=dict(values)),
        service_account=service_account,
        max_concurrency=str(options.max_concurrency),
        trigger=trigger,
        mode="DISABLE",
        no_catchup=not options.catchup,
        namespace=namespace or None,
        experiment_id=experiment_id,
    )


def _of(entry: Any) -> Schedule:
    mark = _MARK.match(entry.description or "")
    cron = entry.trigger and entry.trigger.cron_schedule
    periodic = entry.trigger and entry.trigger.periodic_schedule
    when = cron.cron if cron else f"every {_interval(int(periodic.interval_second))}" if periodic else "never"
    return Schedule(
        name=entry.display_name,
        recurring_run_id=entry.recurring_run_id,
        when=when,
        enabled=entry.status == "ENABLED" if entry.status in ("ENABLED", "DISABLED") else entry.mode == "ENABLE",
        ours=mark is not None,
        sha256=mark[1] if mark else "",
        version_id=(entry.pipeline_version_reference and entry.pipeline_version_reference.pipeline_version_id) or "",
        max_concurrency=int(entry.max_concurrency or 1),
    )


def _interval(seconds: int) -> str:
    """An interval as a pipeline file gives it."""
    unit, size = next((unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % size == 0)
    return f"{seconds // size}{unit}"


def _hand_over(client: Client, others: Sequence[Any], to: str | None) -> None:
    """Switches off the others, then one on. If that fails, what was on before is on again."""
    switched_off: list[str] = []
    try:
        for entry in others:
            if _of(entry).enabled:
                client.switch_recurring_run(entry.recurring_run_id, False)
                switched_off.append(entry.recurring_run_id)
        if to is not None:
            client.switch_recurring_run(to, True)
    except ParlanceError:
        # The answer may be what got lost. Two that are on would be worse than none, so the new one goes off first.
        with contextlib.suppress(ParlanceError):
            if to is not None and switched_off:
                client.switch_recurring_run(to, False)
            for recurring_run_id in switched_off[:1]:
                client.switch_recurring_run(recurring_run_id, True)
        raise


def _remove(client: Client, others: Sequence[Any]) -> int:
    """Deletes predecessors; those with runs under way are left, since these would end with them. Returns how many."""
    waiting = 0
    for entry in others:
        if client.active_runs(entry.recurring_run_id):
            waiting += 1
        else:
            client.delete_recurring_run(entry.recurring_run_id)
    return waiting
