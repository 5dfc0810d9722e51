"""The local runner: launches the nodes of a pipeline in order, and keeps the record of the run."""

from __future__ import annotations

import contextlib
import logging
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import yaml
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components.errors import ParlanceError, UsageError
from pipeline import dag, record, records
from pipeline.config import PipelineConfig
from pipeline.local import executors, failures, launch
from pipeline.local.root import Root
from pipeline.local.worker_environment import WORKER_ENVIRONMENT


class Listener(Protocol):
    """Hears about a run while it happens."""

    def run_started(self, run_id: str, nodes: Sequence[str]) -> None:
        """A run begins; these nodes will be looked at in this order."""

    def node_started(self, node_id: str) -> None:
        """A node is being launched."""

    def node_ended(self, node: dict[str, Any]) -> None:
        """A node's entry in the record is complete."""


def run(
    config: PipelineConfig,
    root: Root,
    listener: Listener,
    *,
    cache: bool = True,
    from_node: str | None = None,
    to_node: str | None = None,
) -> dict[str, Any]:
    """Runs a pipeline and returns its record, which is also kept in the run's folder.

    A node that fails ends the run; what is finished stays cached for the next one.

    Args:
      config: The pipeline file.
      root: Where everything goes.
      listener: Hears about progress.
      cache: Whether results of earlier runs may be reused.
      from_node: Take everything before this node from the last run.
      to_node: Stop after this node.

    Raises:
      ParlanceError: The run could not start. Failures of nodes are in the record (`state`, `error`, `exit_code`).
    """
    with root.locked():
        try:
            root.sweep()
            return _Run(config, root, listener, cache, from_node, to_node).execute()
        except ParlanceError:
            raise
        except Exception as error:
            # Outside of nodes there is the root folder and ML Metadata: a full disk strikes here as well.
            raise failures.explain(failures.describe(error), failures.number(error)) from error


class _Run:
    def __init__(
        self, config: PipelineConfig, root: Root, listener: Listener, cache: bool, from_node: str | None, to_node: str | None
    ):
        self.config = config
        self.root = root
        self.listener = listener
        connection = root.metadata_config()
        self.store = metadata.Metadata(connection)
        compiled = dag.compile_pipeline(config, root.path, connection, cache)
        # Everything that can be wrong with the request is known before the run has a folder.
        self.skipped = _mark_partial(compiled, from_node, to_node)
        self.reuses_a_run = from_node is not None
        self.folder = root.new_run(config.name)
        self.run_id = self.folder.name
        runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self.run_id})
        self.pipeline = compiled
        self.launched: dict[str, launch.Launched] = {}
        self.nodes: list[dict[str, Any]] = []
        self.started = time.time()

    def execute(self) -> dict[str, Any]:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config.effective(), sort_keys=False, allow_unicode=True))
        records.write(self.folder, record.opening(self.run_id, self.config, self.folder))
        log_path = self.folder / "run.log"
        handler = logging.FileHandler(log_path, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
        handler.addFilter(_worth_reading)
        logging.getLogger().addHandler(handler)
        logging.getLogger("absl").setLevel(logging.INFO)
        error: Exception | None = None
        scratch = self.folder / "tmp"
        scratch.mkdir()
        try:
            with open(log_path, "ab", buffering=0) as log:
                workers = executors.Workers(log, {**WORKER_ENVIRONMENT, "TMPDIR": str(scratch)})
                with contextlib.closing(workers), _interruptible(workers):
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
            nodes=self.nodes,
            launched=self.launched,
            error=error,
            seconds=time.time() - self.started,
            peak_mib=peak_mib + own_mib,
        )

    def _launch_all(self, workers: executors.Workers) -> Exception | None:
        """Launches every node; returns the error that ended the run early, if one did."""
        todo = [node_id for node_id in launch.node_ids(self.pipeline) if node_id not in self.skipped]
        self.listener.run_started(self.run_id, todo)
        if self.reuses_a_run:
            try:
                with self.store as connection:
                    partial_run_utils.snapshot(connection, self.pipeline)
            except (LookupError, ValueError):
                logging.exception("The nodes before %s cannot be taken from an earlier run", todo[0])
                return UsageError(
                    f"--from {todo[0]}: no earlier run of {self.config.name} in this root got past the nodes before it"
                )
        operators = executors.operators(workers)
        for node_id in todo:
            self.listener.node_started(node_id)
            before = time.time()
            error: Exception | None = None
            try:
                launched = launch.launch(self.pipeline, node_id, self.store, operators)
            except Exception as raised:  # every failure of a node belongs into the record
                launched, error = launch.Launched("failed", None, {}, {}), raised
                if not isinstance(raised, ParlanceError | executors.Interrupted):
                    logging.exception("Node %s failed", node_id)
                    error = failures.explain(failures.describe(raised), failures.number(raised))
            if launched.state == "failed" and error is None:
                error = failures.ExecutorFailed(f"The inputs of {node_id} could not be resolved; the log says which")
            self.launched[node_id] = launched
            node = record.node_entry(node_id, launched, time.time() - before, error)
            self.nodes.append(node)
            self.listener.node_ended(node)
            if error is None and workers.interrupted:
                error = executors.Interrupted()
            if error is not None:
                done = {entry["id"] for entry in self.nodes}
                self.nodes += [record.skipped_entry(other) for other in todo if other not in done]
                return error
        return None


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
