"""Which versions may be deleted: old ones that nobody needs.

to_delete(standing, loaded={7}, keep=10)      # [1, 2]
"""

from __future__ import annotations

from collections.abc import Collection

from components.errors import UsageError
from components.release import audit, changeover
from components.release.audit import Entry, State
from components.release.model_servers import ModelServers
from components.release.release_folder import ReleaseFolder
from components.release.rollout import Standing


def to_delete(standing: Standing, loaded: Collection[int], keep: int) -> list[int]:
    """Returns the versions that may be deleted, oldest first.

    What stays, whatever its age: the newest version, as pushes count on from it; every version with a label; every version that
    models.config names or that its policy serves; every one that a server has loaded; and the one that a rollback would return to.

    Args:
      standing: Where the model stands.
      loaded: The versions that servers have loaded or are loading.
      keep: So many of the newest versions stay besides.
    """
    served = standing.served
    staying = {*standing.versions[-max(keep, 1) :], *served.labels.values(), *served.policy.wanted(standing.versions), *loaded}
    staying |= served.policy.specific or frozenset()
    if standing.previous_stable is not None:
        staying.add(standing.previous_stable)
    return [version for version in standing.versions if version not in staying]


def prune(folder: ReleaseFolder, model: str, servers: ModelServers, keep: int, reason: str) -> list[int]:
    """Deletes the versions that may go, says so in the audit trail, and returns them; for holders of the lock.

    Args:
      folder: The folder of released models.
      model: The model's name.
      servers: The servers that may have versions loaded; all that there are, as others lose what they use.
      keep: See `to_delete`.
      reason: Why, for the audit trail.

    Raises:
      EnvironmentFailure: A server does not answer; nothing was deleted.
      UsageError: A change of labels is unfinished, so it is not known what is needed.
      OSError: A version cannot be deleted.
    """
    trail = folder.trail(model)
    if audit.unfinished(trail.entries()) is not None:
        raise UsageError(
            f"A rollout of {model} was killed before it ended, so what it needs is not known. Finish it with `parlance release "
            "promote` or `canary`, or take it back with `parlance release rollback`, then prune"
        )
    now = changeover.standing(folder, model)
    loaded = {version for versions in servers.loaded(model).values() for version in versions}
    doomed = to_delete(now, loaded, keep)
    folder.clear_deleted(model)
    for version in doomed:
        folder.delete(model, version)
    if doomed:
        labels = dict(now.served.labels)
        detail = f"deleted {', '.join(map(str, doomed))}; keep is {keep}"
        trail.append(Entry("prune", State.DONE, audit.user(), reason, labels, labels, servers=servers.targets, detail=detail))
    return doomed
