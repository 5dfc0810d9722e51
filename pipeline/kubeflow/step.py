"""A container's work in Kubeflow: launches one node of the pipeline.

    python -m pipeline.kubeflow.step --node Trainer --ir ... --run-id ... --metadata mysql://... --executor-input '{...}'

The node is launched as the local runner does it, by TFX's launcher, with the executor in a process of its own. This process stays
small and answers at once: it imports no TensorFlow, it outlives an executor that the kernel kills for its memory, and SIGTERM ends
the executor and records the failure well within the seconds that Kubernetes leaves.

A step may be started again under the same run id at any time. One that has succeeded does nothing; one that was killed takes up its
execution, after what was half-written has been removed. Exit codes are those of the command line; 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import pathlib
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.errors import EnvironmentFailure, GateError, ParlanceError, UsageError
from pipeline.kubeflow import step_words

if TYPE_CHECKING:  # TFX is imported by `main`, once it is known how
    from ml_metadata.proto import metadata_store_pb2
    from tfx.orchestration import metadata
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.config import PipelineConfig
    from pipeline.kubeflow import storage
    from pipeline.local import executors, launch

TERMINATED = 128 + signal.SIGTERM
ERROR_LENGTH = 4000
LOG_WIDTH = 120
STORED_FINDINGS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a step; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_worth_reading)
    # TFX's launcher tells at length what it is about to do, and warns of what is no matter here. A pod's log is read by people.
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DeprecationWarning)
    termination = _Termination()
    try:
        return _Step(options, termination).run()
    except ParlanceError as error:
        _say(f"failed: {error}")
        return error.exit_code
    except Exception as error:  # Python's own exit code for it is a gate's
        from serving.redaction import redact

        _log_traceback(f"The step of {options.node} failed outside of its node")
        _say(f"failed: {redact(f'{type(error).__name__}: {error}')}")
        return EnvironmentFailure.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.kubeflow.step", description="Launches one node of a pipeline in its container."
    )
    parser.add_argument("--node", required=True, help="id of the node")
    parser.add_argument("--ir", required=True, help="the node, as `parlance kubeflow compile` packed it")
    parser.add_argument("--run-id", required=True, help="id of the run; the same for all its steps")
    parser.add_argument("--metadata", required=True, help="where ML Metadata is: mysql://USER@HOST:PORT/DATABASE")
    parser.add_argument("--executor-input", default="{}", help="what Kubeflow says about inputs and outputs, as JSON")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="a runtime parameter")
    return parser


class _Termination:
    """Hears SIGTERM from the first moment on, and ends the executor, if one runs by then."""

    def __init__(self) -> None:
        self.heard = False
        self.worker: executors.WorkerProcess | None = None
        with contextlib.suppress(ValueError):  # signals belong to the main thread; elsewhere (a test) nobody sends one
            signal.signal(signal.SIGTERM, self._hear)

    def _hear(self, number: int, frame: Any) -> None:
        self.heard = True
        if self.worker is not None:
            self.worker.interrupt()


class _Step:
    def __init__(self, options: argparse.Namespace, termination: _Termination):
        from pipeline.kubeflow import step_argument

        self._node_id: str = options.node
        self._run_id: str = options.run_id
        self._metadata_url: str = options.metadata
        self._values = _parameters(options.parameter)
        self._executor_input = _json_object(options.executor_input, "--executor-input")
        self._termination = termination
        # One small message tells whether the artifacts are on object storage, which decides what may be imported.
        self._pipeline = step_argument.unpack(options.ir)
        packed = [node.pipeline_node.node_info.id for node in self._pipeline.nodes]
        if packed != [self._node_id]:
            raise UsageError(f"--ir must hold the node {self._node_id}; it holds: {', '.join(packed) or 'none'}")
        self._remote = "://" in self._pipeline.runtime_spec.pipeline_root.field_value.string_value

    def run(self) -> int:
        """Runs the node; returns the exit code.

        Raises:
          ParlanceError: It did not come to that.
        """
        try:
            return self._run()
        except Exception:
            from pipeline.kubeflow import visuals

            visuals.write({}, self._executor_input)
            raise

    def _run(self) -> int:
        if not self._remote:
            from pipeline.local import lean_imports

            lean_imports.install()
        from components import executor_path
        from pipeline.kubeflow import storage
        from pipeline.local import executor_imports, executors, worker_environment

        spec = _executor_spec(self._pipeline, self._node_id)
        lean = spec is None or executor_path.LEAN_FLAG in getattr(spec, "extra_flags", ())
        worker = executors.WorkerProcess(sys.stderr.buffer, worker_environment.WORKER_ENVIRONMENT, lean)
        with contextlib.closing(worker), tempfile.TemporaryDirectory(prefix="parlance-") as scratch:
            self._termination.worker = worker
            if self._termination.heard:
                worker.interrupt()
            elif not lean:
                # TensorFlow takes seconds, and so does asking what there is to do. If it is nothing, the worker ends half-way.
                cloud = self._remote or executor_imports.asks_for_cloud(spec.SerializeToString())
                worker.start(getattr(spec, "python_executor_spec", spec).class_path, cloud)
            return self._launch(worker, storage.Staging(scratch))

    def _launch(self, worker: executors.WorkerProcess, staging: storage.Staging) -> int:
        from tfx.orchestration import metadata

        from pipeline.kubeflow import metadata_url
        from pipeline.local import executors, failures, launch

        config = self._substitute()
        store = metadata.Metadata(metadata_url.parse(self._metadata_url))
        launched, error = launch.Launched("failed", None, {}, {}), None
        before = time.monotonic()
        try:
            earlier = self._executions(store)
            done = [execution for execution in earlier if execution.last_known_state in _successful()]
            if done:
                logging.info("%s is done already: execution %d", self._node_id, done[-1].id)
                launched = launch.read_back(store, done[-1].id)
            else:
                self._clear(earlier)
                launched = launch.launch(self._pipeline, self._node_id, store, _operators(worker, staging, self._remote))
        except Exception as raised:  # every failure of a node belongs into metadata and the log
            error = raised
            if not isinstance(raised, ParlanceError | executors.Interrupted):
                _log_traceback(f"Node {self._node_id} failed")
                error = failures.explain(failures.describe(raised), failures.number(raised))
        if launched.state == "failed" and error is None:
            error = failures.ExecutorFailed(f"The inputs of {self._node_id} could not be resolved; the log says which")
        peak_mib = worker.peak_mib + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.monotonic() - before
        with contextlib.suppress(RuntimeError) if error is not None else contextlib.nullcontext():
            # Metadata that cannot be reached may be the very failure; otherwise its loss is one.
            launched, seconds, peak_mib = self._record(store, launched, error, seconds, peak_mib)
        return self._tell(launched, error, seconds, peak_mib, config, staging)

    def _substitute(self) -> PipelineConfig:
        """Puts run id and runtime parameters into the pipeline; returns the pipeline file as this run has it."""
        from tfx.dsl.compiler import constants
        from tfx.orchestration.portable import runtime_parameter_utils

        from pipeline.kubeflow import parameters

        config = parameters.substitute(self._pipeline, self._values)
        runtime_parameter_utils.substitute_runtime_parameter(
            self._pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        return config

    @property
    def _node(self) -> pipeline_pb2.PipelineNode:
        return self._pipeline.nodes[0].pipeline_node

    def _executions(self, store: metadata.Metadata) -> list[metadata_store_pb2.Execution]:
        """This node's executions in this run: of earlier attempts, and after the launch its own; the newest last.

        Raises:
          EnvironmentFailure: ML Metadata cannot be reached.
        """
        from tfx.orchestration.portable.mlmd import context_lib, execution_lib

        try:
            with store as connection:
                contexts = context_lib.prepare_contexts(connection, self._node.contexts)
                found = execution_lib.get_executions_associated_with_all_contexts(connection, contexts)
        except RuntimeError as error:
            raise EnvironmentFailure(f"ML Metadata at {self._metadata_url} cannot be used: {error}") from error
        return sorted(found, key=lambda execution: execution.id)

    def _clear(self, earlier: Sequence[metadata_store_pb2.Execution]) -> None:
        """Removes what attempts that did not succeed have left, since TFX's launcher writes over it at most."""
        from pipeline.kubeflow import storage

        folder = f"{self._pipeline.runtime_spec.pipeline_root.field_value.string_value}/{self._node_id}"
        for execution in earlier:
            logging.warning("An earlier attempt left execution %d unfinished; what it wrote is removed", execution.id)
            places = [*self._node.outputs.outputs, ".system/executor_execution"]
            storage.clear([f"{folder}/{place}/{execution.id}" for place in places])

    def _record(
        self, store: metadata.Metadata, launched: launch.Launched, error: Exception | None, seconds: float, peak_mib: float
    ) -> tuple[launch.Launched, float, float]:
        """Leaves time, memory and error in ML Metadata; an execution that nobody works on any more becomes a failed one.

        Returns:
          The node with its execution's id, and the time and memory of the attempt that did the work.
        """
        from ml_metadata.proto import metadata_store_pb2

        executions = self._executions(store)
        if not executions:  # skipped, or it failed before there was one
            return launched, seconds, peak_mib
        execution = executions[-1]
        known = execution.custom_properties
        if launched.state in ("complete", "cached") and step_words.SECONDS in known and step_words.ERROR not in known:
            return launched, known[step_words.SECONDS].double_value, known[step_words.PEAK_MIB].int_value
        execution.custom_properties[step_words.SECONDS].double_value = round(seconds, 3)
        execution.custom_properties[step_words.PEAK_MIB].int_value = round(peak_mib)
        if error is None:
            for name in (step_words.ERROR, step_words.FINDINGS):
                execution.custom_properties.pop(name, None)
        else:
            execution.custom_properties[step_words.ERROR].string_value = _described(error)[:ERROR_LENGTH]
            findings = [finding.to_json() for finding in getattr(error, "findings", ())][:STORED_FINDINGS]
            execution.custom_properties[step_words.FINDINGS].string_value = json.dumps(findings, ensure_ascii=False)
            if execution.last_known_state not in _successful():
                # TFX's launcher publishes an executor that failed, but not a driver.
                execution.last_known_state = metadata_store_pb2.Execution.FAILED
        with store as connection:
            connection.store.put_executions([execution])
        return dataclasses.replace(launched, execution_id=execution.id), seconds, peak_mib

    def _tell(
        self,
        launched: launch.Launched,
        error: Exception | None,
        seconds: float,
        peak_mib: float,
        config: PipelineConfig,
        staging: storage.Staging,
    ) -> int:
        """Tells the log and Kubeflow what became of the node; returns the exit code."""
        from pipeline import progress, record
        from pipeline.kubeflow import storage, visuals

        files = {channel: [staging.down(uri, storage.SHOWN_FILES) for uri in uris] for channel, uris in launched.outputs.items()}
        shown = dataclasses.replace(launched, outputs=files)
        try:
            entry = record.node_entry(self._node_id, shown, seconds, error)
        except Exception:  # what is finished does not fail because its key numbers cannot be read
            _log_traceback(f"The key numbers of {self._node_id} cannot be read")
            entry = {**record.skipped_entry(self._node_id), "state": shown.state, "seconds": round(seconds, 3)}
            entry["execution_id"] = shown.execution_id
        if error is not None:
            entry["error"] = _described(error)
        _say(progress.node_line(entry, len(self._node_id)))
        if error is not None:
            _say(f"{'rejected' if isinstance(error, GateError) else 'failed'}: {entry['error']}")
        for line in _verdict(files):
            _say(line)
        outcome = visuals.Outcome(
            node=entry,
            run_id=self._run_id,
            pipeline=config.name,
            inputs=launched.inputs,
            outputs=launched.outputs,
            files=files,
            peak_mib=peak_mib,
            text_columns=config.data.text,
            findings=[finding.to_json() for finding in getattr(error, "findings", ())],
            sample=config.data.sample,
        )
        try:
            visuals.write(visuals.of_node(outcome), self._executor_input)
        except Exception:  # hours of work do not fail for a picture of them
            _log_traceback(f"What Kubeflow's pages show of {self._node_id} could not be made")
            visuals.write({}, self._executor_input)
        return _exit_code(error)


def _parameters(arguments: Sequence[str]) -> dict[str, str]:
    values = {}
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator or not name:
            raise UsageError(f"--parameter takes NAME=VALUE; received {argument!r}")
        values[name] = value
    return values


def _json_object(text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{place} must be JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{place} must be a JSON object; received {type(value).__name__}")
    return value


def _executor_spec(pipeline: pipeline_pb2.Pipeline, node_id: str) -> Any:
    """What a node executes; None of a resolver."""
    from tfx.orchestration.local import runner_utils

    return runner_utils.extract_executor_spec(runner_utils.extract_local_deployment_config(pipeline), node_id)


def _operators(worker: executors.WorkerProcess, staging: storage.Staging, remote: bool) -> Mapping[Any, Any]:
    """The launcher's table of executor operators: all executors go to the worker, with local copies of what is on object storage."""
    from tfx.orchestration.portable import base_executor_operator
    from tfx.proto.orchestration import executable_spec_pb2

    class InWorker(base_executor_operator.BaseExecutorOperator):
        """Runs Python and Beam executors."""

        SUPPORTED_EXECUTOR_SPEC_TYPE = [
            executable_spec_pb2.PythonClassExecutableSpec,
            executable_spec_pb2.BeamExecutableSpec,
        ]
        SUPPORTED_PLATFORM_CONFIG_TYPE = []

        def run_executor(self, execution_info):
            invocation = execution_info.to_proto()
            staged = remote and not _runs_elsewhere(self._executor_spec)
            if staged:
                staging.take_in(invocation)
            output = worker.run(self._executor_spec, invocation)
            if staged:
                staging.bring_out(output)
            return output

    return dict.fromkeys(InWorker.SUPPORTED_EXECUTOR_SPEC_TYPE, InWorker)


def _runs_elsewhere(spec: Any) -> bool:
    """Says whether Beam workers on other machines read and write the artifacts; they do not see this one's folders."""
    runners = [text for text in getattr(spec, "beam_pipeline_args", ()) if text.startswith("--runner=")]
    return bool(runners) and "FnApiRunner" not in runners[-1] and "DirectRunner" not in runners[-1]


def _verdict(files: Mapping[str, Sequence[str]]) -> list[str]:
    """What a terminal shows of an evaluation's verdict."""
    from pipeline import verdict_table

    path = pathlib.Path(files["evaluation"][0]) / "verdict.json" if files.get("evaluation") else None
    if path is None or not path.exists():
        return []
    verdict = json.loads(path.read_text(encoding="utf-8"))
    lines = verdict_table.lines(verdict["findings"], urgent_only=True, width=LOG_WIDTH)
    return lines if verdict["blessed"] else ["rejected: the gate said no", *lines]


def _successful() -> tuple[int, ...]:
    from ml_metadata.proto import metadata_store_pb2

    return metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED


def _described(error: Exception) -> str:
    """What an error says. Those that nobody foresaw may quote data, so personal data is taken out of them."""
    from pipeline.local import executors, failures
    from serving.redaction import redact

    if isinstance(error, executors.Interrupted):
        return "The step was told to end (SIGTERM). Started again, it takes up its execution; finished nodes are cached"
    return redact(str(error)) if isinstance(error, failures.ExecutorFailed) else str(error)


def _exit_code(error: Exception | None) -> int:
    from pipeline.local import executors

    if isinstance(error, executors.Interrupted):
        return TERMINATED
    if error is None:
        return 0
    return error.exit_code if isinstance(error, ParlanceError) else EnvironmentFailure.exit_code


def _log_traceback(what: str) -> None:
    """Logs the error that is being handled. Clusters collect the logs of their pods, so personal data is taken out."""
    from serving.redaction import redact

    logging.error("%s\n%s", what, redact(traceback.format_exc()))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _worth_reading(entry: logging.LogRecord) -> bool:
    """Keeps out what ML Metadata's client says at every query of a build without ZetaSQL, which is every build there is."""
    return "ZetaSQL" not in entry.getMessage()


if __name__ == "__main__":
    sys.exit(main())
