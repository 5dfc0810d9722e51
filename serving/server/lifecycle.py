"""Which version of which model loads, serves and unloads when: a state machine without threads, files, clocks or TensorFlow.

    lifecycle = Lifecycle()
    lifecycle.aspire("intents", {3: "/models/intents/3"})
    for action in lifecycle.next_actions():      # [Load(ServableId("intents", 3), "/models/intents/3")]
        ...                                      # do it, on whatever thread
    lifecycle.loaded(ServableId("intents", 3))   # AVAILABLE

A version goes START, LOADING, AVAILABLE, UNLOADING, END. The rules are those of TensorFlow Serving's availability-preserving policy:

* New aspired versions load highest first, one at a time per model.
* A version no longer aspired unloads only when an aspired one is AVAILABLE, or another unaspired one still is, or the model has no
  aspired versions any more; lowest first. So a model with aspired versions never loses its last AVAILABLE version: it may answer
  from an old one.
* A failed load is repeated after an interval, a limited number of times. Then the version is END with its error and stays so
  until it is aspired anew after not having been.
* What reached END stays in the list of statuses, for good.

Where TensorFlow Serving leaves a case open or to its threads, this machine decides for availability: a version aspired again before
its unloading has begun just stays, one aspired again while unloading loads anew after it, and a version that waits for its retry
holds up no other one.

Not thread-safe: the caller keeps a lock around each call.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from serving.server.errors import ServingError


class State(enum.IntEnum):
    """The states of a version, numbered as `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class ServableId(NamedTuple):
    """A version of a model."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.model} version: {self.version}}}"


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Load a version, then report `loaded` or `load_failed`."""

    id: ServableId
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Unload:
    """Take a version out of service, wait until nobody uses it, free it, then report `unloaded`."""

    id: ServableId


@dataclasses.dataclass(frozen=True, slots=True)
class VersionStatus:
    """What is known of one version.

    Attributes:
        version: Its number.
        state: Its state. LOADING includes waiting for a retry.
        aspired: Whether it is wanted.
        error: Why it was given up; None unless it was.
    """

    version: int
    state: State
    aspired: bool
    error: ServingError | None


@dataclasses.dataclass(slots=True)
class _Version:
    """A version with what only the machine needs to know."""

    path: str
    state: State = State.START
    aspired: bool = True
    error: ServingError | None = None
    failures: int = 0
    # When a failed load may be repeated; None while none waits.
    retry_at: float | None = None


class Lifecycle:
    """The versions of all models of a server; see the module's description."""

    def __init__(self, max_load_retries: int = 5, retry_interval: float = 60.0, clock: Callable[[], float] = time.monotonic):
        """A machine without models.

        Args:
            max_load_retries: How often a failed load is repeated before the version is given up.
            retry_interval: Seconds between two loads of the same version; negative for none.
            clock: Tells the time in seconds.
        """
        self._max_load_retries = max_load_retries
        self._retry_interval = max(retry_interval, 0.0)
        self._clock = clock
        self._models: dict[str, dict[int, _Version]] = {}

    def aspire(self, model: str, versions: Mapping[int, str]) -> None:
        """Says which versions of a model are wanted from now on, replacing what was said before.

        Args:
            model: The model's name.
            versions: The path of each wanted version; empty to drop the model. A version that is there already keeps its path.
        """
        known = self._models.setdefault(model, {})
        for number, version in known.items():
            if number in versions:
                if version.state == State.END and not version.aspired:
                    known[number] = _Version(versions[number])
                version.aspired = True
            else:
                version.aspired = False
                if version.state == State.START or version.retry_at is not None:
                    version.state, version.retry_at = State.END, None
        for number, path in versions.items():
            known.setdefault(number, _Version(path))

    def next_actions(self) -> list[Load | Unload]:
        """What is to be done now. Each action is handed out once and counts as begun: unloads first, then loads."""
        unloads: list[Load | Unload] = []
        loads: list[Load | Unload] = []
        for model, versions in self._models.items():
            for number in _to_unload(versions):
                versions[number].state = State.UNLOADING
                unloads.append(Unload(ServableId(model, number)))
            next_load = self._to_load(versions)
            if next_load is not None:
                version = versions[next_load]
                version.state, version.retry_at = State.LOADING, None
                loads.append(Load(ServableId(model, next_load), version.path))
        return unloads + loads

    def seconds_to_retry(self) -> float | None:
        """Seconds until a failed load may be repeated, 0 if one is due; None where none waits."""
        waiting = [
            version.retry_at
            for versions in self._models.values()
            for version in versions.values()
            if version.retry_at is not None
        ]
        return max(min(waiting) - self._clock(), 0.0) if waiting else None

    def loaded(self, id: ServableId) -> None:
        """Reports that a `Load` succeeded and the version serves."""
        version = self._begun(id, State.LOADING)
        version.state, version.error, version.failures = State.AVAILABLE, None, 0

    def load_failed(self, id: ServableId, error: ServingError) -> None:
        """Reports that a `Load` failed. It is handed out again later, or the version is given up."""
        version = self._begun(id, State.LOADING)
        version.error = error
        version.failures += 1
        if version.aspired and version.failures <= self._max_load_retries:
            version.retry_at = self._clock() + self._retry_interval
        else:
            version.state = State.END

    def unloaded(self, id: ServableId) -> None:
        """Reports that an `Unload` is done."""
        version = self._begun(id, State.UNLOADING)
        if version.aspired:
            self._models[id.model][id.version] = _Version(version.path)
        else:
            version.state = State.END

    def models(self) -> list[str]:
        """The names of all models that ever had a version, in the order they came."""
        return [model for model, versions in self._models.items() if versions]

    def statuses(self, model: str) -> list[VersionStatus]:
        """All versions of a model since the server started, highest first; empty for a model that never had one."""
        return [
            VersionStatus(number, version.state, version.aspired, version.error if version.state == State.END else None)
            for number, version in sorted(self._models.get(model, {}).items(), reverse=True)
        ]

    def available(self, model: str) -> list[int]:
        """The versions of a model that serve, highest first."""
        return [status.version for status in self.statuses(model) if status.state == State.AVAILABLE]

    def undecided(self, model: str) -> bool:
        """Whether a model may yet become available: none of its versions serves and not all aspired ones are given up.

        A model without any aspired version is undecided, as one may be pushed any moment.
        """
        aspired = [version for version in self._models.get(model, {}).values() if version.aspired]
        return not self.available(model) and (not aspired or any(version.state != State.END for version in aspired))

    def _begun(self, id: ServableId, state: State) -> _Version:
        version = self._models.get(id.model, {}).get(id.version)
        if version is None or version.state != state or version.retry_at is not None:
            raise ValueError(f"{id} was reported without having been handed out for it; it is {version and version.state.name}")
        return version

    def _to_load(self, versions: Mapping[int, _Version]) -> int | None:
        """The version to load next: the highest new one, or one whose retry is due; None while another one loads."""
        if any(version.state == State.LOADING and version.retry_at is None for version in versions.values()):
            return None
        now = self._clock()
        return max(
            (
                number
                for number, version in versions.items()
                if version.state == State.START or (version.retry_at is not None and version.retry_at <= now)
            ),
            default=None,
        )


def _to_unload(versions: Mapping[int, _Version]) -> list[int]:
    """The versions that may leave service now, lowest first."""
    unaspired = sorted(number for number, version in versions.items() if version.state == State.AVAILABLE and not version.aspired)
    aspired = [version for version in versions.values() if version.aspired]
    if not aspired or any(version.state == State.AVAILABLE for version in aspired):
        return unaspired
    return unaspired[:-1]
