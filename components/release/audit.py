"""The audit trail of a model's rollouts: who changed what is served, when, why, from what to what. Lines of JSON that only ever grow.

    trail = AuditTrail(base / "releases.jsonl")
    trail.append(Entry(action="promote", state=State.BEGUN, by=user(), reason="...", before={"stable": 7}, after={"stable": 8}))
    stable_history(trail.entries())      # [7, 8]

A change has two lines: one before anything is written, one when it has ended. A first line without a second one is what a command
leaves that was killed.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import os
import pathlib
import pwd
from collections.abc import Iterable, Mapping
from typing import Any

STABLE, CANARY = "stable", "canary"


class State(str, enum.Enum):
    """How far a change has come.

    BEGUN: it is under way, or its command was killed. DONE: it holds. FAILED: it was taken back, and what was before holds.
    ABANDONED: a later command found it unfinished and went on from there.
    """

    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the trail.

    Attributes:
      action: canary, promote, rollback or prune.
      state: How far it has come.
      by: The user of the operating system.
      reason: Why, in the user's words.
      before: Versions by label, before.
      after: Versions by label, after.
      at: When, ISO 8601 in UTC.
      config_sha256: Hash of models.config as it was left; "" before that.
      servers: The servers that were asked whether they followed.
      undo: With BEGUN, what to write to take the change back, as `rollout.settings_to_json` returns it.
      detail: What else is to be said: why it failed, which versions were deleted, what the rules found.
    """

    action: str
    state: State
    by: str
    reason: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    at: str = ""
    config_sha256: str = ""
    servers: tuple[str, ...] = ()
    undo: Mapping[str, Any] | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the entry as plain JSON values."""
        values = {**dataclasses.asdict(self), "state": self.state.value, "servers": list(self.servers)}
        return {key: value for key, value in values.items() if key != "undo" or value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Entry:
        """Reads what `to_json` wrote, and leaves out what it does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        given = {key: value for key, value in values.items() if key in known}
        return cls(**{**given, "state": State(values["state"]), "servers": tuple(values.get("servers", ()))})


class AuditTrail:
    """The trail of one model. Writers hold the push lock of the model's folder."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)

    def append(self, entry: Entry) -> Entry:
        """Writes an entry through to the disk, with the time if it has none; returns what was written.

        Raises:
          OSError: The file cannot be written.
        """
        if not entry.at:
            entry = dataclasses.replace(entry, at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
        line = json.dumps(entry.to_json(), ensure_ascii=False).encode() + b"\n"
        with open(self.path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # Half a line, from a machine that lost its power, must not swallow this one too.
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return entry

    def entries(self) -> list[Entry]:
        """Returns all entries, oldest first; lines that cannot be read are left out. None if there is no file.

        Raises:
          OSError: There is a file, and it cannot be read.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [entry for line in lines if (entry := _parsed(line)) is not None]


def unfinished(entries: Iterable[Entry]) -> Entry | None:
    """Returns the change whose command was killed before its end, if the last one was."""
    last = next((entry for entry in reversed(list(entries)) if entry.action != "prune"), None)
    return last if last is not None and last.state is State.BEGUN else None


def stable_history(entries: Iterable[Entry]) -> list[int]:
    """Returns the versions that were stable, oldest first, the present one last; those that were rolled back are not among them.

    Promotions to 1, 2 and 3 and a rollback give 1, 2; another rollback gives 1, and does not return to 3.
    """
    history: list[int] = []
    for entry in entries:
        stable = entry.after.get(STABLE)
        if entry.state is not State.DONE or stable is None or stable == entry.before.get(STABLE):
            continue
        if entry.action == "rollback" and stable in history:
            while history[-1] != stable:
                history.pop()
        elif not history or history[-1] != stable:
            history.append(stable)
    return history


def user() -> str:
    """The name of the user of the operating system."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number nobody has a name for
        return f"uid {os.getuid()}"


def _parsed(line: bytes) -> Entry | None:
    try:
        return Entry.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
