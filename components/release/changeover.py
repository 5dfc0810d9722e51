"""Carries out a change of labels so that no client is ever cut off, and so that it holds on all servers or not at all.

    outcome = carry_out(folder, change, servers, reason="better on German", timeout=120.0)

In order: a line in the audit trail says what is about to happen; models.config tells servers to load the new versions; when every
server named has them AVAILABLE, models.config moves the labels; when every server has moved them, a second line says that it is done.
A server that cannot load a version, or does not in time, ends that: models.config goes back to what it was, and the second line says so.

Whoever is killed on the way leaves a first line without a second one, and a models.config with the labels of before or of after, as
labels move in one file. The next command takes it from there: see `settle_unfinished`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from components.errors import GateError, ParlanceError
from components.release import audit, rollout
from components.release.audit import Entry, State
from components.release.model_servers import ModelServers, NotFollowedError
from components.release.release_folder import ReleaseFolder
from components.release.rollout import Change, Standing
from serving.model_config import phases
from serving.server.config import ModelSettings

# A version that a server is about to unload is AVAILABLE for up to a look at the folder (a second) after the file said otherwise.
SETTLED_SECONDS = 1.5


def standing(folder: ReleaseFolder, model: str) -> Standing:
    """Reads where a model stands.

    Raises:
      UsageError: models.config is wrong.
    """
    [served] = [settings for settings in folder.served() if settings.name == model]
    return Standing(served, folder.numbers(model), audit.stable_history(folder.trail(model).entries()))


def settle_unfinished(folder: ReleaseFolder, model: str) -> Entry | None:
    """Closes the account of a change whose command was killed; for holders of the lock, before any other change.

    If models.config has what the change wanted, it is done. Otherwise labels are where they were, and at most versions are loaded
    that have none: whatever is planned from there goes on with them or drops them.

    Returns:
      The first line of the change if it is not done; `take_back` undoes it. None if there is nothing unfinished.
    """
    trail = folder.trail(model)
    begun = audit.unfinished(trail.entries())
    if begun is None:
        return None
    [served] = [settings for settings in folder.served() if settings.name == model]
    done = served.labels == dict(begun.after) and served.policy.specific == frozenset(begun.after.values())
    trail.append(
        dataclasses.replace(
            begun,
            at="",
            state=State.DONE if done else State.ABANDONED,
            undo=None,
            detail="its command was killed; " + ("the next one found it done" if done else "the next one took over"),
        )
    )
    return None if done else begun


def take_back(folder: ReleaseFolder, model: str, begun: Entry, reason: str) -> Entry:
    """Undoes a change that `settle_unfinished` returned: servers are told again to serve what they served before it."""
    before = rollout.settings_from_json(model, begun.undo or {"listed": False})
    digest = _restore(folder, model, before)
    return folder.trail(model).append(
        Entry(
            action="rollback",
            state=State.DONE,
            by=audit.user(),
            reason=reason,
            before=begun.before,
            after=begun.before,
            config_sha256=digest,
            detail=f"took back an unfinished {begun.action} to {rollout.labels_text(begun.after)}",
        )
    )


def carry_out(
    folder: ReleaseFolder,
    change: Change,
    servers: ModelServers,
    *,
    reason: str = "",
    timeout: float,
    settled: float = SETTLED_SECONDS,
    detail: str = "",
    unfinished: Entry | None = None,
) -> Entry:
    """Makes a change; for holders of the lock.

    Args:
      folder: The folder of released models.
      change: What to do.
      servers: The servers that must follow. None to only write the file, for servers that start later.
      reason: Why, for the audit trail.
      timeout: Seconds that the servers may take to load, and again to move labels.
      settled: See `ModelServers.wait_until_loaded`.
      detail: What else the audit trail is to say.
      unfinished: The change that this one takes over from, as `settle_unfinished` returned it; what was before it is what a failure
        goes back to.

    Returns:
      The last line of the audit trail.

    Raises:
      GateError: A server did not follow; what was before holds again.
      EnvironmentFailure: A server does not answer; nothing was changed.
      OSError: A file cannot be written.
    """
    model = change.after.name
    trail = folder.trail(model)
    if unfinished is not None and unfinished.undo is not None:
        listed = rollout.settings_from_json(model, unfinished.undo)
    else:
        listed = next((settings for settings in folder.listed() if settings.name == model), None)
    served = folder.served()
    wanted = [change.after if settings.name == model else settings for settings in served]
    servers.note_failures(model)
    begun = trail.append(
        Entry(
            action=change.action,
            state=State.BEGUN,
            by=audit.user(),
            reason=reason,
            before=dict(change.before.labels),
            after=dict(change.after.labels),
            servers=servers.targets,
            undo=rollout.settings_to_json(listed),
            detail=detail,
        )
    )
    try:
        digest = _write_in_turn(folder, model, served, wanted, servers, timeout, settled)
        servers.wait_until_labelled(model, change.after.labels, timeout)
    except BaseException as error:
        # An interrupted person does not wait for servers again; what is written is what was before all the same.
        digest = _take_back_gently(
            folder, model, listed, servers if isinstance(error, NotFollowedError) else None, timeout, settled
        )
        why = str(error) if isinstance(error, NotFollowedError | ParlanceError | OSError) else type(error).__name__
        trail.append(dataclasses.replace(begun, at="", state=State.FAILED, undo=None, config_sha256=digest, detail=why))
        if isinstance(error, NotFollowedError):
            # Servers try a load that failed again only if they have seen a file without it: give them time for that.
            time.sleep(settled)
            raise GateError(
                f"{_what(change)} was taken back, and {rollout.labels_text(change.before.labels)} holds as before: {error}"
            ) from error
        raise
    return trail.append(dataclasses.replace(begun, at="", state=State.DONE, undo=None, config_sha256=digest))


def _write_in_turn(
    folder: ReleaseFolder,
    model: str,
    served: Sequence[ModelSettings],
    wanted: Sequence[ModelSettings],
    servers: ModelServers,
    timeout: float,
    settled: float,
) -> str:
    """Writes the files that lead to what is wanted; servers have loaded each one's versions before the next. Returns the last hash."""
    files = phases(served, wanted) or [list(wanted)]
    digest = ""
    for models in files:
        digest = folder.write(models)
        [now] = [settings for settings in models if settings.name == model]
        if now.policy.specific is not None:
            # Where the file also moves labels, its versions have been waited for already.
            servers.wait_until_loaded(model, now.policy.specific, timeout, settled if models is not files[-1] else 0.0)
    return digest


def _take_back_gently(
    folder: ReleaseFolder, model: str, before: ModelSettings | None, servers: ModelServers | None, timeout: float, settled: float
) -> str:
    """Goes back to what was listed before. Servers that have moved their labels load the old versions before labels return to them."""
    if servers is not None and before is not None:
        served = folder.served()
        try:
            wanted = [before if settings.name == model else settings for settings in served]
            if len(phases(served, wanted)) > 1:
                _write_in_turn(folder, model, served, wanted, servers, timeout, settled)
        except NotFollowedError:
            # There is no better file than the one below; a server that comes back finds it.
            pass
    return _restore(folder, model, before)


def _restore(folder: ReleaseFolder, model: str, before: ModelSettings | None) -> str:
    """Writes what was listed of a model; where it was not listed and nothing else is rolled out, there is no file. Returns its hash."""
    plain = {settings.name: ModelSettings(settings.name, str(folder.path / settings.name)) for settings in folder.served()}
    models = [(before or plain[model]) if settings.name == model else settings for settings in folder.served()]
    if before is None and all(settings == plain[settings.name] for settings in models):
        folder.remove_config()
        return ""
    return folder.write(models)


def _what(change: Change) -> str:
    name = change.after.name
    if change.action == "rollback":
        return f"The rollback of {name} to {rollout.labels_text(change.after.labels)}"
    return f"{'The canary' if change.action == 'canary' else 'The promotion'} of version {change.version} of {name}"
