"""One run of a pipeline on this machine."""

from __future__ import annotations

import contextlib
import logging
import queue
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from tfx.dsl.compiler import constants
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components.errors import ParlanceError, UsageError
from pipeline import dag, logged_data, record, records
from pipeline.config import PipelineConfig
from pipeline.local import executors, failures, fork_server, launch, store
from pipeline.local import plan as plan_module
from pipeline.local.root import Root
from pipeline.local.runner import Listener
from pipeline.local.worker_environment import WORKER_ENVIRONMENT


class _Ended(NamedTuple):
    node_id: str
    launched: launch.Launched
    seconds: float
    error: Exception | None


class OneRun:
    """One run: checked when it is made, done by `execute`."""

    def __init__(
        self, config: PipelineConfig, root: Root, listener: Listener, cache: bool, from_node: str | None, to_node: str | None
    ):
        logged_data.refuse_training(config, to_node)
        self.config = config
        self.root = root
        self.listener = listener
        root.metadata.check_owner(config.name)
        connection = root.metadata_config()
        self.store = store.KeptOpen(connection)
        compiled = dag.compile_pipeline(config, root.path, connection, cache)
        # Everything that can be wrong with the request is known before the run has a folder.
        self.skipped = _mark_partial(compiled, from_node, to_node)
        self.reuses_a_run = from_node is not None
        self.folder = root.new_run(config.name)
        self.run_id = self.folder.name
        runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self.run_id})
        self.pipeline = compiled
        self.plan = plan_module.of(compiled, (node for node in launch.node_ids(compiled) if node not in self.skipped))
        self.launched: dict[str, launch.Launched] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, Exception] = {}
        # One thread at a time uses ML Metadata, which is the one that launches or publishes a node.
        self.turn = threading.Lock()
        # What the threads of nodes tell: the id of a node whose executor has begun, or how a node ended.
        self.news: queue.SimpleQueue[str | _Ended] = queue.SimpleQueue()
        self.started = time.time()

    def execute(self, servers: fork_server.Servers, note: str | None = None) -> dict[str, Any]:
        """Runs the nodes and returns the run's record.

        Args:
          servers: Where executors' processes come from; the caller closes them.
          note: What the run's log begins with.
        """
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config.effective(), sort_keys=False, allow_unicode=True))
        records.write(self.folder, record.opening(self.run_id, self.config, self.folder))
        log_path = self.folder / "run.log"
        handler = logging.FileHandler(log_path, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
        handler.addFilter(_worth_reading)
        logging.getLogger().addHandler(handler)
        logging.getLogger("absl").setLevel(logging.INFO)
        if note is not None:
            logging.warning("%s", note)
        error: Exception | None = None
        scratch = self.folder / "tmp"
        scratch.mkdir()
        try:
            with open(log_path, "ab", buffering=0) as log:
                workers = executors.Workers(log, {**WORKER_ENVIRONMENT, "TMPDIR": str(scratch)}, self.plan, servers)
                with contextlib.closing(self.store), contextlib.closing(workers), _interruptible(workers):
                    error = self._launch_all(workers)
                    peak_mib = workers.peak_mib
            if error is not None:
                # The launcher publishes a failed executor, but not a driver that failed before it. The next run's sweep does the
                # same, so that what ended this run, e.g. a full disk, may get in the way here.
                with contextlib.suppress(Exception):
                    self.root.fail_unfinished()
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()
            shutil.rmtree(scratch, ignore_errors=True)
        own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return record.close(
            run_id=self.run_id,
            config=self.config,
            folder=self.folder,
            nodes=[self.entries[node_id] for node_id in self.plan.nodes if node_id in self.entries],
            launched=self.launched,
            error=error,
            seconds=time.time() - self.started,
            peak_mib=max(peak_mib, own_mib),
        )

    def _launch_all(self, workers: executors.Workers) -> Exception | None:
        """Launches every node that can be; returns the error that the run ends with, if there is one."""
        self.listener.run_started(self.run_id, self.plan.nodes)
        if self.reuses_a_run:
            try:
                with self.store as connection:
                    base = logged_data.base_run(records.Records(self.root.path), self.config, self.run_id)
                    partial_run_utils.snapshot(connection, self.pipeline, base)
            except (LookupError, ValueError):
                logging.exception("The nodes before %s cannot be taken from an earlier run", self.plan.nodes[0])
                return UsageError(
                    f"--from {self.plan.nodes[0]}: no earlier run of {self.config.name} in this root got past the nodes before it"
                )
        operators = executors.operators(workers, self.turn, self.news.put)
        waiting, running = list(self.plan.nodes), set[str]()
        while True:
            ready = [] if workers.interrupted else [node_id for node_id in waiting if self._is_ready(node_id)]
            if ready:
                # The next one is launched when this one has ended or its executor runs, so that their order is always the same.
                [node_id] = ready[:1]
                waiting.remove(node_id)
                running.add(node_id)
                self.listener.node_started(node_id)
                threading.Thread(target=self._launch, args=(node_id, operators), name=node_id, daemon=True).start()
                self._hear(running, until=node_id)
            elif running:
                self._hear(running)
            else:
                break
        for node_id in waiting:
            held_up = self.plan.held_up(node_id, self.errors)
            reason = f"needs {', '.join(held_up)}" if held_up else "the run was interrupted"
            self.entries[node_id] = {**record.skipped_entry(node_id), "reason": reason}
        if workers.interrupted:
            return executors.Interrupted()
        return next((self.errors[node_id] for node_id in self.plan.nodes if node_id in self.errors), None)

    def _is_ready(self, node_id: str) -> bool:
        return all(other in self.entries and other not in self.errors for other in self.plan.upstream[node_id])

    def _launch(self, node_id: str, operators: Any) -> None:
        """Launches a node; in a thread of its own."""
        before = time.time()
        launched, error = launch.Launched("failed", None, {}, {}), None
        with self.turn:
            try:
                launched = launch.launch(self.pipeline, node_id, self.store, operators)
            except Exception as raised:  # every failure of a node belongs into the record
                error = raised
                if not isinstance(raised, ParlanceError | executors.Interrupted):
                    logging.exception("Node %s failed", node_id)
                    error = failures.explain(failures.describe(raised), failures.number(raised))
        if launched.state == "failed" and error is None:
            error = failures.ExecutorFailed(f"The inputs of {node_id} could not be resolved; the log says which")
        self.news.put(_Ended(node_id, launched, time.time() - before, error))

    def _hear(self, running: set[str], until: str | None = None) -> None:
        """Takes in what the nodes' threads tell, the first thing, or until a certain node has ended or its executor runs."""
        while True:
            news = self.news.get()
            if isinstance(news, _Ended):
                running.remove(news.node_id)
                self.launched[news.node_id] = news.launched
                if news.error is not None:
                    self.errors[news.node_id] = news.error
                entry = record.node_entry(news.node_id, news.launched, news.seconds, news.error)
                self.entries[news.node_id] = entry
                self.listener.node_ended(entry)
            if until is None or until == (news.node_id if isinstance(news, _Ended) else news):
                return


def _mark_partial(pipeline: pipeline_pb2.Pipeline, from_node: str | None, to_node: str | None) -> set[str]:
    """Marks which nodes run, TFX's way; returns the ids of those that do not."""
    ids = launch.node_ids(pipeline)
    for option, node_id in (("--from", from_node), ("--to", to_node)):
        if node_id is not None and node_id not in ids:
            raise UsageError(f"{option} {node_id}: there is no such node. Nodes: {', '.join(ids)}")
    if from_node is None and to_node is None:
        return set()
    partial_run_utils.mark_pipeline(
        pipeline, from_nodes=[from_node] if from_node else None, to_nodes=[to_node] if to_node else None
    )
    return {node.pipeline_node.node_info.id for node in pipeline.nodes if node.pipeline_node.execution_options.HasField("skip")}


def _worth_reading(entry: logging.LogRecord) -> bool:
    """Keeps out what ML Metadata's client says at every query of a build without ZetaSQL, which is every build there is."""
    return "ZetaSQL" not in entry.getMessage()


@contextlib.contextmanager
def _interruptible(workers: executors.Workers) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM into an orderly end of the running node."""

    def interrupt(number: int, frame: Any) -> None:
        workers.interrupt()

    try:
        previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        # Signals belong to the main thread; a run on another one (a test, a notebook) is interrupted by its owner.
        yield
        return
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
