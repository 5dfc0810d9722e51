"""Keeps the configured models loaded and hands out the version that answers a request.

    manager = ServableManager(runtime, ManagerOptions())
    manager.start(config)                    # a ModelServerConfig
    manager.wait_until_available()
    with manager.servable(request.model_spec) as servable:
        response = servable.predict(request)

Which version loads and unloads when is decided by `lifecycle.Lifecycle`; this module lends it threads, a clock, the file system and the
runtime. One thread looks for versions, one hands out the work that the lifecycle decides on, and pools do it: a load or an unload that
takes long never holds up a request.

A request finds its version in a map that is never changed, only replaced, so finding takes no lock. It counts as a user of the version
while it runs; a version that left the map is freed when its last user is gone.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from serving.messages import ModelServerConfig, ModelVersionStatus
from serving.redaction.requests import RequestRedactor
from serving.server import config as config_module
from serving.server.errors import ServingError, StatusCode
from serving.server.lifecycle import Lifecycle, Load, ServableId, State, Unload, VersionStatus
from serving.server.redacting import redacting
from serving.server.runtime import LoadedModel, LoadOptions, Runtime
from serving.server.servable import Servable, ServableOptions
from serving.server.source import VersionSource
from serving.server.warmup import WarmUpOptions, warm_up

# How long the thread that hands out work sleeps at most; it is woken when something changes.
_TICK_SECONDS = 0.1
_MAX_UUID_BYTES = 256
# At the start nothing serves yet, so loads may take all CPUs; upstream has the same factor.
_INITIAL_LOADS_PER_CPU = 4

logger = logging.getLogger(__name__)


class RunMetrics(Protocol):
    """What the manager reports; `metrics.Metrics` is one."""

    def know_models(self, names: Iterable[str]) -> None:
        """The server has models of these names."""

    def observe_scores(self, model: str, version: int, scores: Sequence[float]) -> None:
        """A version answered rows; the score of each one's best class."""

    def observe_lineage(self, model: str, version: int, uuid: str) -> None:
        """A version was loaded that tells its UUID in ML Metadata."""

    def observe_run(self, model: str, api: str, seconds: float) -> None:
        """A model ran once."""

    def observe_examples(self, model: str, count: int) -> None:
        """An inference of several signatures had so many tf.Examples."""

    def observe_warm_up(self, path: str, status: str, seconds: float, records: int) -> None:
        """A version in a directory was warmed up, with a status as text ("OK" if all went well)."""


@dataclasses.dataclass(frozen=True, slots=True)
class ManagerOptions:
    """How models are found, loaded and run.

    Attributes:
        load: How the runtime loads.
        servable: How requests are answered.
        warm_up: What runs before a version serves; None for nothing.
        poll_seconds: Seconds between two looks for new versions; 0 for one look per configuration, negative for none.
        load_threads, unload_threads: Threads that load and unload. Where both are 0, one thread does both.
        max_load_retries: How often a failed load is repeated.
        load_retry_seconds: Seconds between two loads of the same version.
        allow_labels_for_unavailable: Let a label that is not in use point to a version that does not serve yet.
        wrap: Given a loaded model and its directory, what is to run in its place: one that batches, for example. None for itself.
    """

    load: LoadOptions = dataclasses.field(default_factory=LoadOptions)
    servable: ServableOptions = dataclasses.field(default_factory=ServableOptions)
    warm_up: WarmUpOptions | None = dataclasses.field(default_factory=WarmUpOptions)
    poll_seconds: float = 1.0
    load_threads: int = 0
    unload_threads: int = 0
    max_load_retries: int = 5
    load_retry_seconds: float = 60.0
    allow_labels_for_unavailable: bool = False
    wrap: Callable[[LoadedModel, pathlib.Path], LoadedModel] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Serving:
    """What serves of one model: the highest version, and all of them by number."""

    latest: Servable
    versions: Mapping[int, Servable]


class _Handle:
    """A servable in use, from entering to leaving the block."""

    __slots__ = ("_servable",)

    def __init__(self, servable: Servable):
        self._servable = servable

    def __enter__(self) -> Servable:
        return self._servable

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._servable.release()


class ServableManager:
    """The models of a server; see the module's description. Thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        options: ManagerOptions | None = None,
        metrics: RunMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        source: VersionSource | None = None,
    ):
        """A manager without models.

        Args:
            runtime: What loads and runs models.
            options: How.
            metrics: Told of runs and warm-ups.
            clock: Tells the time in seconds, for retries.
            source: What finds versions.
        """
        self._runtime = runtime
        self._options = options or ManagerOptions()
        self._metrics = metrics
        self._source = source or VersionSource()
        # Guards the lifecycle, the configuration and the replacing of the map and the labels; notified when any of them changes.
        self._changed = threading.Condition()
        self._lifecycle = Lifecycle(self._options.max_load_retries, self._options.load_retry_seconds, clock)
        self._config: Any = ModelServerConfig()
        self._models: list[config_module.ModelSettings] = []
        self._serving: Mapping[str, _Serving] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._work_to_hand_out = False
        self._reloading = threading.Lock()
        self._look_now = threading.Event()
        self._stopping = threading.Event()
        self._started: list[threading.Thread] = []
        loads = _INITIAL_LOADS_PER_CPU * len(os.sched_getaffinity(0))
        self._initial_loaders = concurrent.futures.ThreadPoolExecutor(loads, "initial-load")
        self._loaders = concurrent.futures.ThreadPoolExecutor(max(self._options.load_threads, 1), "load")
        together = self._options.load_threads == self._options.unload_threads == 0
        self._unloaders = (
            self._loaders if together else concurrent.futures.ThreadPoolExecutor(max(self._options.unload_threads, 1), "unload")
        )
        self._initial = True

    def start(self, config: Any) -> None:
        """Begins to load the models of a ModelServerConfig, and to look for new versions.

        Raises:
            ServingError: The configuration is refused; nothing has begun.
        """
        models = config_module.model_settings(config)
        self._adopt(config, models, self._assigned(models))
        for name, work in (("versions", self._look_for_versions), ("lifecycle", self._hand_out)):
            self._run_in_thread(name, work)

    def wait_until_available(
        self, timeout: float | None = None, cancelled: Callable[[], bool] = lambda: False, names: Sequence[str] | None = None
    ) -> None:
        """Waits until every model serves or is given up. A model without any version on disk is waited for.

        Args:
            timeout: Seconds; None for no limit.
            cancelled: Asked now and then; True ends the waiting.
            names: The models to wait for; None for all configured ones.

        Raises:
            ServingError: UNKNOWN, with upstream's text, if models are given up; DEADLINE_EXCEEDED when time is up; CANCELLED if that is
                so or the manager stops.
        """
        awaited = [model.name for model in self._models] if names is None else list(names)
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while any(self._lifecycle.undecided(name) for name in awaited):
                if self._stopping.is_set() or cancelled():
                    raise ServingError(StatusCode.CANCELLED, "The wait for models to become available was given up.")
                if end is not None and time.monotonic() >= end:
                    raise ServingError(StatusCode.DEADLINE_EXCEEDED, "Models did not become available in time.")
                self._changed.wait(_TICK_SECONDS)
            failed = [name for name in awaited if not self._lifecycle.available(name)]
            if failed:
                raise ServingError(StatusCode.UNKNOWN, self._describe_failures(failed))
        self._initial = False

    def servable(self, spec: Any | None) -> _Handle:
        """The version that answers requests with a ModelSpec, for use in a `with` statement.

        Args:
            spec: The ModelSpec; None for a request that has none.

        Raises:
            ServingError: INVALID_ARGUMENT or NOT_FOUND, with upstream's texts.
        """
        if spec is None:
            raise ServingError(StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        name = spec.name
        if not name:
            raise ServingError(StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        while True:
            version = self._version(spec, name)
            serving = self._serving.get(name)
            if serving is not None:
                found = serving.latest if version is None else serving.versions.get(version)
                # One that retires right now has left the map already: look again.
                if found is not None and found.acquire():
                    return _Handle(found)
                if found is not None:
                    continue
            if version is not None and self._version(spec, name) != version:
                # The label moved in between, and the version it pointed to has gone already.
                continue
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError(StatusCode.NOT_FOUND, f"Servable not found for request: {which}")

    def statuses(self, name: str, version: int | None = None) -> list[Any]:
        """What is known of the versions of a model, highest first, or of one of them, as ModelVersionStatus messages.

        Raises:
            ServingError: NOT_FOUND; nothing is.
        """
        with self._changed:
            known = self._lifecycle.statuses(name)
        if version is not None:
            known = [status for status in known if status.version == version]
            if not known:
                raise ServingError(StatusCode.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not known:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        return [_status_message(status) for status in known]

    def models(self) -> list[str]:
        """The names of the configured models, in the order of the configuration."""
        return [model.name for model in self._models]

    def reload(self, config: Any, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Replaces the configuration, and waits until models that are new in it serve.

        Models that are not in it any more unload. A configuration that is refused changes nothing.

        Args:
            config: A ModelServerConfig; one that is not set at all changes nothing.
            cancelled: Asked now and then; True ends the waiting, not the loading.

        Raises:
            ServingError: The configuration is refused, a new model does not load, or the wait is over.
        """
        while not self._reloading.acquire(timeout=_TICK_SECONDS):
            if cancelled() or self._stopping.is_set():
                raise ServingError(StatusCode.CANCELLED, "Another configuration is still being loaded.")
        try:
            previous = self._config
            models = config_module.model_settings(config, previous)
            if config.WhichOneof("config") is None:
                return
            known = {model.name for model in self._models}
            self._adopt(config, models, self._assigned(models))
            self.wait_until_available(cancelled=cancelled, names=[model.name for model in models if model.name not in known])
        finally:
            self._reloading.release()

    def watch(self, read: Callable[[], Any], seconds: float) -> None:
        """Reads the configuration again and again; reloads it when it has changed. What is wrong with it goes to the log.

        Args:
            read: Returns a ModelServerConfig, or raises ServingError; what it returned last is in effect now.
            seconds: Seconds between two readings.
        """
        self._run_in_thread("config", lambda: self._watch(read, seconds))

    def redactor(self, model: str, version: int) -> RequestRedactor | None:
        """What removes personal data from requests to a version; None if it does not serve, or was trained on text as it is."""
        serving = self._serving.get(model)
        found = serving.versions.get(version) if serving is not None else None
        return found.redactor if found is not None else None

    def drain_and_stop(self, timeout: float | None = None) -> bool:
        """Stops loading, waits for requests in progress, and unloads everything. Requests find no model any more.

        Args:
            timeout: Seconds to wait for requests; None for no limit.

        Returns:
            Whether everything was unloaded in time.
        """
        self._stopping.set()
        self._look_now.set()
        with self._changed:
            serving, self._serving = self._serving, {}
            self._changed.notify_all()
        for thread in self._started:
            thread.join()
        retired = [
            threading.Thread(target=servable.retire, name="drain", daemon=True)
            for model in serving.values()
            for servable in model.versions.values()
        ]
        for thread in retired:
            thread.start()
        end = None if timeout is None else time.monotonic() + timeout
        for thread in retired:
            thread.join(None if end is None else max(end - time.monotonic(), 0))
        done = not any(thread.is_alive() for thread in retired)
        for pool in (self._initial_loaders, self._loaders, self._unloaders):
            pool.shutdown(wait=done, cancel_futures=True)
        return done

    def _version(self, spec: Any, name: str) -> int | None:
        """The version that a ModelSpec asks for; None for the latest."""
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            return None
        if choice == "version":
            return int(spec.version.value)
        version = self._labels.get(name, {}).get(spec.version_label)
        if version is None:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        return version

    def _run_in_thread(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._started.append(thread)
        thread.start()

    def _assigned(self, models: Sequence[config_module.ModelSettings]) -> dict[str, dict[str, int]]:
        """The labels of models, checked against what serves."""
        serving = self._serving

        def is_available(name: str, version: int) -> bool:
            return name in serving and version in serving[name].versions

        return config_module.assign_labels(models, is_available, self._labels, self._options.allow_labels_for_unavailable)

    def _adopt(self, config: Any, models: list[config_module.ModelSettings], labels: Mapping[str, Mapping[str, int]]) -> None:
        adopted = ModelServerConfig()
        adopted.CopyFrom(config)
        if self._metrics is not None:
            self._metrics.know_models(model.name for model in models)
        with self._changed:
            kept = {model.name for model in models}
            for model in self._models:
                if model.name not in kept:
                    self._lifecycle.aspire(model.name, {})
            self._config, self._models, self._labels = adopted, models, labels
            self._wake()
        self._look_now.set()

    def _wake(self) -> None:
        """Tells everybody who waits that something changed; under the lock."""
        self._work_to_hand_out = True
        self._changed.notify_all()

    def _look_for_versions(self) -> None:
        """The thread that looks for versions."""
        wait = self._options.poll_seconds
        while not self._stopping.is_set():
            self._look_now.wait(wait if wait > 0 else None)
            self._look_now.clear()
            if self._stopping.is_set() or wait < 0:
                continue
            models = self._models
            try:
                found = self._source.poll(models)
            except Exception:
                logger.exception("Looking for versions failed.")
                continue
            with self._changed:
                # What was found for a configuration that has been replaced meanwhile is of no interest.
                if models is self._models:
                    for name, versions in found.items():
                        self._lifecycle.aspire(name, versions)
                    self._wake()

    def _hand_out(self) -> None:
        """The thread that hands out the work that the lifecycle decides on."""
        while not self._stopping.is_set():
            with self._changed:
                if not self._work_to_hand_out:
                    self._changed.wait(_TICK_SECONDS)
                self._work_to_hand_out = False
                actions = [] if self._stopping.is_set() else self._lifecycle.next_actions()
            for action in actions:
                if isinstance(action, Load):
                    (self._initial_loaders if self._initial else self._loaders).submit(self._load, action)
                else:
                    self._unloaders.submit(self._unload, action)

    def _load(self, action: Load) -> None:
        id, started = action.id, time.monotonic()
        logger.info("Loading servable version %s from %s", id, action.path)
        servable, failure = None, None
        try:
            servable = self._loaded(id, pathlib.Path(action.path))
        except ServingError as error:
            failure = error
        except Exception as error:
            logger.exception("Loading servable version %s failed unexpectedly.", id)
            failure = ServingError(StatusCode.INTERNAL, f"Unexpected {type(error).__name__} while loading.")
        with self._changed:
            late = self._stopping.is_set()
            if servable is not None and not late:
                self._publish(servable)
                self._lifecycle.loaded(id)
            elif failure is not None:
                self._lifecycle.load_failed(id, failure)
            self._wake()
        if servable is not None and late:
            servable.retire()
        elif servable is not None:
            logger.info("Successfully loaded servable version %s in %.2f s", id, time.monotonic() - started)
        else:
            logger.error("Loading servable: %s failed: %s", id, failure)

    def _loaded(self, id: ServableId, path: pathlib.Path) -> Servable:
        options, metrics = self._options, self._metrics
        model = self._runtime.load(path, options.load)
        try:
            if options.wrap is not None:
                model = options.wrap(model, path)
            model = redacting(model, path)
            observers = (metrics.observe_run, metrics.observe_examples) if metrics is not None else (None, None)
            servable = Servable(id.model, id.version, model, options.servable, *observers)
            if options.warm_up is not None:
                warm_up(servable, path, options.warm_up, metrics.observe_warm_up if metrics is not None else None)
            if metrics is not None:
                servable.report_scores(metrics.observe_scores)
                if uuid := _mlmd_uuid(path):
                    metrics.observe_lineage(id.model, id.version, uuid)
        except BaseException:
            model.close()
            raise
        return servable

    def _unload(self, action: Unload) -> None:
        id = action.id
        with self._changed:
            servable = self._withdraw(id)
        if servable is not None:
            try:
                servable.retire()
            except Exception:
                logger.exception("Unloading servable version %s failed.", id)
        with self._changed:
            self._lifecycle.unloaded(id)
            self._wake()
        logger.info("Unloaded servable version %s", id)

    def _publish(self, servable: Servable) -> None:
        """Puts a servable on the map; under the lock."""
        before = self._serving.get(servable.name)
        versions = {**(before.versions if before else {}), servable.version: servable}
        self._serving = {**self._serving, servable.name: _Serving(versions[max(versions)], versions)}

    def _withdraw(self, id: ServableId) -> Servable | None:
        """Takes a servable off the map; under the lock."""
        serving = self._serving.get(id.model)
        if serving is None or id.version not in serving.versions:
            return None
        others = {name: model for name, model in self._serving.items() if name != id.model}
        versions = {version: servable for version, servable in serving.versions.items() if version != id.version}
        if versions:
            others[id.model] = _Serving(versions[max(versions)], versions)
        self._serving = others
        return serving.versions[id.version]

    def _describe_failures(self, names: Sequence[str]) -> str:
        described = []
        for name in names:
            for status in self._lifecycle.statuses(name):
                if status.aspired and status.state == State.END:
                    error = f" due to error: {status.error}" if status.error is not None else ""
                    described.append(f"{ServableId(name, status.version)}{error}}}, ")
        return f"{len(names)} servable(s) did not become available: {{{''.join(described)}}}"

    def _watch(self, read: Callable[[], Any], seconds: float) -> None:
        said = ""
        while not self._stopping.wait(seconds):
            try:
                config = read()
                if config != self._config:
                    self.reload(config)
                said = ""
            except ServingError as error:
                if str(error) != said and not self._stopping.is_set():
                    logger.error("The model config was not adopted: %s", error)
                said = str(error)


def _mlmd_uuid(path: pathlib.Path) -> str:
    """The UUID in ML Metadata that a version's directory tells; "" if it tells none."""
    try:
        with (path / "assets.extra" / "mlmd_uuid").open("rb") as file:
            return file.read(_MAX_UUID_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _status_message(known: VersionStatus) -> Any:
    message = ModelVersionStatus(version=known.version, state=int(known.state))
    message.status.SetInParent()
    if known.error is not None:
        message.status.error_code = int(known.error.code)
        message.status.error_message = known.error.message
    return message


@contextlib.contextmanager
def running(manager: ServableManager, config: Any) -> Iterator[ServableManager]:
    """A manager that serves a ModelServerConfig within a block.

    Raises:
        ServingError: The configuration is refused or a model does not load.
    """
    manager.start(config)
    try:
        manager.wait_until_available()
        yield manager
    finally:
        manager.drain_and_stop()
