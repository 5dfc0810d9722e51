"""Announces the end of a run to a webhook: what became of it and, where a gate said no, why.

    python -m pipeline.kubeflow.exit_handler --pipeline intents --run-id ... --metadata mysql://... --status '{"state": "FAILED"}'

Kubeflow starts it after the last step, however the run ended, and says what it knows: whether a container failed. The verdict is read
from ML Metadata and the evaluation it points to. The address is a secret and comes in the environment variable PARLANCE_WEBHOOK_URL.
A webhook that cannot be reached is said in the log and is no reason for a finished run to fail.
"""

from __future__ import annotations

import argparse
import dataclasses
import http
import http.client
import json
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.errors import ParlanceError, UsageError
from components.ingestion.options import sample_name
from components.release import infra_blessing
from pipeline.kubeflow import metadata_url, step_words, visuals
from pipeline.kubeflow.options import WEBHOOK_URL
from serving.redaction import redact

UI_URL = "PARLANCE_KFP_UI"
"""Environment variable with the address of Kubeflow's pages; with it the message links to the run."""

FINDINGS = 5
_ATTEMPTS, _FIRST_PAUSE_SECONDS, _TIMEOUT_SECONDS = 5, 1.0, 10.0
_TEXT_LENGTH = 600
_RUN_CONTEXT = "pipeline_run"
_NODE_CONTEXT = "node"
_STATES = {"NEW": "unfinished", "RUNNING": "unfinished", "COMPLETE": "complete", "CACHED": "cached", "CANCELED": "skipped"}
_NO_STATE = "UNKNOWN"


@dataclasses.dataclass(frozen=True)
class Node:
    """What ML Metadata says of a node of a run.

    Attributes:
      id: The node.
      state: complete, cached, skipped, failed or unfinished.
      seconds: How long it took; None if it never said so.
      error: Why it failed, empty if it did not.
      findings: Findings of a gate that stopped the run, as plain values.
      outputs: Addresses of its artifacts by channel.
    """

    id: str
    state: str
    seconds: float | None = None
    error: str = ""
    findings: Sequence[Mapping[str, Any]] = ()
    outputs: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Announces a run; returns the exit code, which is 0 unless the command itself is wrong."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    try:
        status, executor_input = (
            _json_object(options.status, "--status"),
            _json_object(options.executor_input, "--executor-input"),
        )
    except UsageError as error:
        logging.error("%s", error)
        return error.exit_code
    nodes: Sequence[Node] = ()
    problem = ""
    try:
        nodes = read_nodes(options.metadata, options.run_id, environment)
    except (ParlanceError, RuntimeError) as error:
        problem = f"ML Metadata could not be read: {redact(str(error))}"
        logging.warning("%s", problem)
    content = message(options.pipeline, options.run_id, status, nodes, read_artifact, environment.get(UI_URL, ""))
    if problem:
        content["note"] = problem
    sys.stdout.write(f"{content['text']}\n")
    url = environment.get(WEBHOOK_URL, "")
    if not url:
        logging.warning("The run is announced to nobody, because the environment variable %s is not set", WEBHOOK_URL)
    elif failure := post(url, content):
        logging.error("The run could not be announced to the webhook: %s", failure)
    else:
        logging.info("The run was announced to the webhook")
    visuals.write({}, executor_input)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.exit_handler", description="Announces the end of a run.")
    parser.add_argument("--pipeline", required=True, help="name of the pipeline")
    parser.add_argument("--run-id", required=True, help="id of the run")
    parser.add_argument("--metadata", required=True, help="where ML Metadata is: mysql://USER@HOST:PORT/DATABASE")
    parser.add_argument("--status", default="{}", help="Kubeflow's final status of the run, as JSON")
    parser.add_argument("--executor-input", default="{}", help="what Kubeflow says about inputs and outputs, as JSON")
    return parser


def message(
    pipeline: str,
    run_id: str,
    status: Mapping[str, Any],
    nodes: Sequence[Node],
    read: Callable[[str, str], Any],
    ui: str = "",
) -> dict[str, Any]:
    """Returns what is announced.

    Args:
      pipeline: Name of the pipeline.
      run_id: The run.
      status: Kubeflow's final status: `state`, and `error` if a task failed.
      nodes: What ML Metadata says of the run's nodes.
      read: Reads a JSON file of an artifact by its address and the file's name; None if there is none.
      ui: Address of Kubeflow's pages; empty if unknown.

    Returns:
      run_id, pipeline, state (succeeded, rejected, failed or cancelled), kubeflow_state, error, verdict (blessed and its first
      findings, those that failed before warnings; None if nothing was judged), pushed, sample (share of the rows that were used),
      nodes, links, and `text`, all of it in a sentence or two, which chat services show.
    """
    by_id = {node.id: node for node in nodes}
    verdict = _verdict(by_id, read)
    failures = [node for node in nodes if node.state == "failed"]
    # Data that a gate stopped may have been too much for a node beside it, too.
    failed = next((node for node in failures if _said_no(node)), next(iter(failures), None))
    kubeflow_state = str(status.get("state") or _NO_STATE)
    state = _state(kubeflow_state, verdict, failed)
    error = failed.error if failed else redact(str((status.get("error") or {}).get("message") or ""))
    pushed = _artifact(by_id, "Pusher", "pushed_model", "pushed.json", read)
    sample = (_artifact(by_id, "ExampleGen", "examples", "summary.json", read) or {}).get("sample", 1.0)
    run = f"{run_id} ({sample_name(sample)})" if sample < 1 else run_id
    links = {"run": f"{ui.rstrip('/')}/#/runs/details/{run_id}"} if ui else {}
    links |= {name: uris[0] for name, uris in getattr(by_id.get("Evaluator"), "outputs", {}).items() if uris}
    return {
        "run_id": run_id,
        "pipeline": pipeline,
        "state": state,
        "kubeflow_state": kubeflow_state,
        "error": error if state != "succeeded" else "",
        "failed_node": failed.id if failed else None,
        "verdict": verdict,
        "pushed": pushed,
        "sample": sample,
        "nodes": [{"id": node.id, "state": node.state, "seconds": node.seconds} for node in nodes],
        "links": links,
        "text": _text(pipeline, run, state, failed, error, verdict, pushed),
    }


def _state(kubeflow_state: str, verdict: Mapping[str, Any] | None, failed: Node | None) -> str:
    if failed is not None and _said_no(failed):
        return "rejected"
    if kubeflow_state.upper().startswith("CANCEL"):
        return "cancelled"
    if failed is not None or kubeflow_state.upper() not in ("SUCCEEDED", _NO_STATE):
        return "failed"
    return "rejected" if verdict is not None and not verdict["blessed"] else "succeeded"


def _said_no(node: Node) -> bool:
    return any(finding.get("severity") == "error" for finding in node.findings)


def _verdict(nodes: Mapping[str, Node], read: Callable[[str, str], Any]) -> dict[str, Any] | None:
    """The evaluation's verdict with what the smoke test found, or the data gate's if it stopped the run."""
    stopped = next((node for node in nodes.values() if node.state == "failed" and node.findings), None)
    if stopped is not None:
        return {"blessed": False, "findings": _first(stopped.findings)}
    verdict = _artifact(nodes, "Evaluator", "evaluation", "verdict.json", read)
    if verdict is None:
        return None
    tried = _artifact(nodes, "InfraValidator", "blessing", infra_blessing.RESULT_FILE, read) or {}
    blessed = verdict["blessed"] and tried.get("state") != infra_blessing.FAILED
    return {"blessed": blessed, "findings": _first([*verdict["findings"], *tried.get("findings", ())])}


def _first(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The findings that matter, the worst first."""
    order = {"error": 0, "warning": 1}
    urgent = sorted((finding for finding in findings if finding["severity"] in order), key=lambda one: order[one["severity"]])
    return [{key: str(finding[key]) for key in ("check", "severity", "subject", "message")} for finding in urgent[:FINDINGS]]


def _artifact(nodes: Mapping[str, Node], node_id: str, channel: str, file: str, read: Callable[[str, str], Any]) -> Any:
    uris = nodes[node_id].outputs.get(channel) if node_id in nodes else None
    return read(uris[0], file) if uris else None


def _text(
    pipeline: str,
    run: str,
    state: str,
    failed: Node | None,
    error: str,
    verdict: Mapping[str, Any] | None,
    pushed: Mapping[str, Any] | None,
) -> str:
    where = f" in {failed.id}" if failed else ""
    text = f"{pipeline}: run {run} {state}{where if state != 'succeeded' else ''}"
    if state == "succeeded" and pushed:
        return f"{text}, version {pushed['version']} was pushed"
    reasons = [finding["message"] for finding in (verdict or {}).get("findings", ()) if finding["severity"] == "error"]
    reason = reasons[0] if state == "rejected" and reasons else error.partition("\n")[0] if state != "succeeded" else ""
    text = f"{text}: {reason}" if reason else text
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 1]}…"


def read_nodes(url: str, run_id: str, environment: Mapping[str, str] = os.environ) -> list[Node]:
    """Returns what ML Metadata says of the nodes of a run, in the order they began.

    Args:
      url: Where ML Metadata is; see `metadata_url.parse`.
      run_id: The run; one that no step has registered has no nodes.
      environment: Where the password is.

    Raises:
      RuntimeError: ML Metadata cannot be used (what its client raises).
    """
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    store = metadata_store.MetadataStore(metadata_url.parse(url, environment))
    run = store.get_context_by_type_and_name(_RUN_CONTEXT, run_id)
    if run is None:
        return []
    nodes: dict[str, Node] = {}
    for execution in sorted(store.get_executions_by_context(run.id), key=lambda one: one.id):
        names = [context.name for context in store.get_contexts_by_execution(execution.id) if context.type == _NODE_CONTEXT]
        node_id = names[0].rpartition(".")[2] if names else execution.type
        state = _STATES.get(metadata_store_pb2.Execution.State.Name(execution.last_known_state), "failed")
        # A killed attempt of a resolver stays beside the one that succeeded.
        if node_id in nodes and nodes[node_id].state in ("complete", "cached") and state not in ("complete", "cached"):
            continue
        known = execution.custom_properties
        nodes[node_id] = Node(
            id=node_id,
            state=state,
            seconds=known[step_words.SECONDS].double_value if step_words.SECONDS in known else None,
            error=known[step_words.ERROR].string_value if state == "failed" and step_words.ERROR in known else "",
            findings=json.loads(known[step_words.FINDINGS].string_value or "[]") if step_words.FINDINGS in known else (),
            outputs=_outputs(store, execution.id),
        )
    return list(nodes.values())


def _outputs(store: Any, execution_id: int) -> dict[str, list[str]]:
    from ml_metadata.proto import metadata_store_pb2

    kinds = metadata_store_pb2.Event
    # The last is what a resolver chose.
    wanted = (kinds.OUTPUT, kinds.DECLARED_OUTPUT, kinds.INTERNAL_OUTPUT)
    outputs: dict[str, list[str]] = {}
    events = [event for event in store.get_events_by_execution_ids([execution_id]) if event.type in wanted]
    uris = {artifact.id: artifact.uri for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])}
    for event in events:
        key = next((step.key for step in event.path.steps if step.HasField("key")), "")
        outputs.setdefault(key, []).append(uris[event.artifact_id])
    return outputs


def read_artifact(uri: str, file: str) -> Any:
    """Returns a JSON file of an artifact, wherever the artifacts are; None if it is not there."""
    path = f"{uri.rstrip('/')}/{file}"
    try:
        if "://" not in uri:
            with open(path, encoding="utf-8") as stream:
                return json.load(stream)
        from tfx.dsl.io import fileio  # with TensorFlow's file systems behind it

        with fileio.open(path) as stream:
            return json.loads(stream.read())
    except (OSError, ValueError) as error:
        logging.warning("%s of an artifact cannot be read: %s", file, type(error).__name__)
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without its content and without an error."""

    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        return None


def post(url: str, content: Mapping[str, Any], sleep: Callable[[float], None] = time.sleep) -> str:
    """Posts a message as JSON, again after failures that may pass.

    Args:
      url: The webhook's address. It is a secret, so nothing that is returned or logged holds it.
      content: The message.
      sleep: Waits some seconds.

    Returns:
      Why it could not be delivered; empty if it was.
    """
    if not url.startswith(("https://", "http://")):
        return f"the address in {WEBHOOK_URL} must begin with https:// or http://"
    opener = urllib.request.build_opener(_NoRedirect)
    failure = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            request = urllib.request.Request(  # noqa: S310 - the scheme was checked
                url, json.dumps(content, ensure_ascii=False).encode(), {"Content-Type": "application/json"}
            )
            with opener.open(request, timeout=_TIMEOUT_SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            failure = f"it answered {error.code}"
            if 300 <= error.code < 400:
                return f"{failure}, a redirect; {WEBHOOK_URL} must hold the final address"
            if error.code < 500 and error.code not in (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS):
                return f"{failure}, which another attempt would not change"
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = f"no answer ({type(getattr(error, 'reason', error)).__name__})"
        logging.warning("The webhook: %s (attempt %d of %d)", failure, attempt + 1, _ATTEMPTS)
    return f"{failure}, {_ATTEMPTS} times"


def _json_object(text: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UsageError(f"{place} must be JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{place} must be a JSON object; received {type(value).__name__}")
    return value


if __name__ == "__main__":
    sys.exit(main())
