"""The servers that a rollout waits for: which versions they have loaded, and where their labels point.

with ModelServers(["10.0.0.7:8500", "10.0.0.8:8500"]) as servers:
    servers.note_failures("intents")
    ...                                                   # models.config is written
    servers.wait_until_loaded("intents", [8], timeout=120.0)
    servers.wait_until_labelled("intents", {"stable": 8, "canary": 8}, timeout=30.0)
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from components.errors import EnvironmentFailure, UsageError
from serving.redaction import redact

if TYPE_CHECKING:
    from serving.client import Client

DEFAULT = "127.0.0.1:8500"

_LOOK_SECONDS = 0.2
_CALL_SECONDS = 5.0
_PROBE_SECONDS = 0.5


class NotFollowedError(Exception):
    """A server did not load a version or move a label. The message says which one and what was seen."""


def listens(target: str) -> bool:
    """Whether anything accepts connections at HOST:PORT.

    Raises:
      UsageError: That is no HOST:PORT.
    """
    host, separator, port = target.rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise UsageError(f"A server is named as HOST:PORT, its port for gRPC; received {target!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS).close()
    except (OSError, OverflowError):
        return False
    return True


class ModelServers:
    """Servers that are asked by gRPC; a context manager.

    Attributes:
      targets: HOST:PORT of each.
    """

    def __init__(self, targets: Sequence[str]):
        self.targets = tuple(targets)
        self._clients: dict[str, Client] = {}
        # Loads that had failed before anything was changed, as (target, version): a server goes on listing them.
        self._failed: set[tuple[str, int]] = set()

    def __enter__(self) -> Self:
        if self.targets:
            # Only now, because it takes 0.3 s and often nobody is asked.
            from serving.client import Client

            self._clients = {target: Client(target) for target in self.targets}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for client in self._clients.values():
            client.close()

    def loaded(self, model: str) -> dict[str, set[int]]:
        """Returns the versions of a model that each server has loaded or is about to, by target.

        Raises:
          EnvironmentFailure: A server does not answer.
        """
        from serving.client import ClientError

        found = {}
        for target in self.targets:
            try:
                found[target] = {
                    number
                    for number, state in self._states(target, model).items()
                    if state[0] in ("START", "LOADING", "AVAILABLE")
                }
            except ClientError as error:
                raise EnvironmentFailure(
                    f"The server {target} does not say what it has loaded ({error}), so nothing was changed. "
                    "Start it, or name those that run with --server"
                ) from error
        return found

    def note_failures(self, model: str) -> None:
        """Notes which versions servers could not load before, so that these are not taken for failures of what comes now.

        Raises:
          EnvironmentFailure: A server does not answer.
        """
        from serving.client import ClientError

        for target in self.targets:
            try:
                states = self._states(target, model)
            except ClientError as error:
                raise EnvironmentFailure(f"The server {target} does not answer ({error}), so nothing was changed") from error
            self._failed |= {(target, number) for number, (state, failure) in states.items() if failure and state == "END"}

    def wait_until_loaded(self, model: str, versions: Iterable[int], timeout: float, settled: float = 0.0) -> None:
        """Waits until every server has loaded every one of the versions.

        Args:
          model: The model's name.
          versions: The versions.
          timeout: Seconds to wait at most.
          settled: So many seconds they must have been loaded without a break; a version about to be unloaded looks loaded, too.

        Raises:
          NotFollowedError: A server could not load a version, or time is up.
        """
        from serving.client import ClientError

        wanted = sorted(versions)
        end = time.monotonic() + timeout
        since: float | None = None
        while self.targets:
            missing = []
            for target in self.targets:
                try:
                    states = self._states(target, model)
                except ClientError as error:
                    missing.append(f"{target} does not answer: {error}")
                    continue
                for number in wanted:
                    state, failure = states.get(number, ("not known there", ""))
                    if state == "END" and failure and (target, number) not in self._failed:
                        raise NotFollowedError(f"{target} could not load version {number}: {redact(failure)}")
                    if state != "END":
                        self._failed.discard((target, number))
                    if state != "AVAILABLE":
                        missing.append(f"version {number} is {state} on {target}{': ' if failure else ''}{redact(failure)}")
            now = time.monotonic()
            since = None if missing else since or now
            if since is not None and now - since >= settled:
                return
            if now >= end + settled or (missing and now >= end):
                raise NotFollowedError(
                    f"after {timeout:g} s {'; '.join(missing) or 'versions still come and go'}. Does every server named read this "
                    "models.config, again and again (--model_config_file_poll_wait_seconds)?"
                )
            time.sleep(_LOOK_SECONDS)

    def wait_until_labelled(self, model: str, labels: Mapping[str, int], timeout: float) -> None:
        """Waits until every server's labels point to these versions.

        Args:
          model: The model's name.
          labels: Versions by label.
          timeout: Seconds to wait at most.

        Raises:
          NotFollowedError: Time is up.
        """
        end = time.monotonic() + timeout
        while True:
            wrong = []
            for target in self.targets:
                for label, version in sorted(labels.items()):
                    seen = self._labelled(target, model, label)
                    if seen != version:
                        wrong.append(f"label {label} on {target} is {seen if seen is not None else 'missing'}")
            if not wrong:
                return
            if time.monotonic() >= end:
                raise NotFollowedError(f"after {timeout:g} s {'; '.join(wrong)}")
            time.sleep(_LOOK_SECONDS)

    def _states(self, target: str, model: str) -> dict[int, tuple[str, str]]:
        """The state of each version of a model and why it failed; none for a model that the server does not know."""
        from serving.client import NotFoundError

        try:
            statuses = self._clients[target].status(model, timeout=_CALL_SECONDS)
        except NotFoundError:
            return {}
        return {status.version: (status.state, status.error_text if status.failed else "") for status in statuses}

    def _labelled(self, target: str, model: str, label: str) -> int | str | None:
        from serving.client import ClientError, NotFoundError

        try:
            return self._clients[target].metadata(model, label=label, timeout=_CALL_SECONDS).version
        except NotFoundError:
            return None
        except ClientError as error:
            return f"not known: {error}"
