import http.server
import json
import logging
import threading

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline.kubeflow import exit_handler, metadata_url, options, step_words
from pipeline.kubeflow.exit_handler import Node

FAILED_RULE = {"check": "accuracy >= 0.9", "severity": "error", "subject": "", "message": "accuracy is 0.8000"}
WARNING = {"check": "recall >= 0.5", "severity": "warning", "subject": "language=de", "message": "recall is 0.4000"}
PASSED = {"check": "f1 >= 0.1", "severity": "info", "subject": "", "message": "f1 is 0.5000"}
REJECTED = {"blessed": False, "findings": [PASSED, WARNING, FAILED_RULE]}
BLESSED = {"blessed": True, "findings": [PASSED, WARNING]}
EVALUATOR = Node("Evaluator", "complete", 3.0, outputs={"evaluation": ["/e/9"], "blessing": ["/b/9"]})
PUSHER = Node("Pusher", "complete", 1.0, outputs={"pushed_model": ["/p/10"]})


def message(nodes, files=(), state="SUCCEEDED", **more):
    return exit_handler.message(
        "intents", "run-1", {"state": state, **more}, nodes, lambda uri, file: dict(files).get(f"{uri}/{file}")
    )


class TestMessage:
    def test_of_a_released_model(self):
        told = message([EVALUATOR, PUSHER], {"/e/9/verdict.json": BLESSED, "/p/10/pushed.json": {"version": "17"}})
        assert told["state"] == "succeeded"
        assert told["pushed"] == {"version": "17"}
        assert told["verdict"]["blessed"]
        assert told["text"] == "intents: run run-1 succeeded, version 17 was pushed"
        assert told["error"] == ""

    def test_of_a_sample_says_so(self):
        ingested = Node("ExampleGen", "complete", outputs={"examples": ["/x/2"]})
        told = message([ingested, EVALUATOR], {"/x/2/summary.json": {"sample": 0.05}, "/e/9/verdict.json": BLESSED})
        assert told["sample"] == 0.05
        assert told["text"] == "intents: run run-1 (5 % sample) succeeded"

    def test_of_a_rejected_model_has_the_worst_findings_first_and_none_that_passed(self):
        told = message([EVALUATOR], {"/e/9/verdict.json": REJECTED})
        assert told["state"] == "rejected"
        assert [finding["check"] for finding in told["verdict"]["findings"]] == ["accuracy >= 0.9", "recall >= 0.5"]
        assert told["text"] == "intents: run run-1 rejected: accuracy is 0.8000"

    def test_a_failed_smoke_test_rejects_a_blessed_model(self):
        tried = {"state": "failed", "findings": [{**FAILED_RULE, "message": "another answer"}]}
        nodes = [EVALUATOR, Node("InfraValidator", "complete", outputs={"blessing": ["/i/9"]})]
        told = message(nodes, {"/e/9/verdict.json": BLESSED, "/i/9/smoke_test.json": tried})
        assert told["state"] == "rejected"
        assert told["text"].endswith("another answer")

    def test_of_data_that_the_gate_stopped(self):
        gate = Node("DataGate", "failed", 0.2, error="too many rows were set aside", findings=[WARNING, FAILED_RULE])
        told = message([gate], state="FAILED")
        assert told["state"] == "rejected"
        assert told["failed_node"] == "DataGate"
        assert told["verdict"]["findings"][0]["message"] == "accuracy is 0.8000"

    def test_of_data_that_the_gate_stopped_and_that_another_node_failed_on_first(self):
        gate = Node("DataGate", "failed", 0.2, error="too many rows were set aside", findings=[FAILED_RULE])
        told = message([Node("Transform", "failed", error="no labels"), gate], state="FAILED")
        assert (told["state"], told["failed_node"], told["error"]) == ("rejected", "DataGate", "too many rows were set aside")

    def test_of_a_failed_node_says_which_and_why(self):
        told = message([Node("Trainer", "failed", error="The disk is full.\nMore")], state="FAILED")
        assert told["state"] == "failed"
        assert told["text"] == "intents: run run-1 failed in Trainer: The disk is full."
        assert told["verdict"] is None

    def test_of_a_pod_that_never_began_has_what_kubeflow_says_without_personal_data(self):
        told = message([], state="FAILED", error={"message": "no node for ann@example.org"})
        assert told["state"] == "failed"
        assert told["error"] == "no node for [email]"

    def test_of_a_cancelled_run(self):
        assert message([Node("Trainer", "unfinished")], state="CANCELLED")["state"] == "cancelled"

    def test_at_most_a_few_findings(self):
        told = message([EVALUATOR], {"/e/9/verdict.json": {"blessed": False, "findings": [FAILED_RULE] * 40}})
        assert len(told["verdict"]["findings"]) == exit_handler.FINDINGS

    def test_links(self):
        told = exit_handler.message("p", "run-1", {}, [EVALUATOR], lambda *_: None, "https://kfp.example/pipeline/")
        assert told["links"] == {
            "run": "https://kfp.example/pipeline/#/runs/details/run-1",
            "evaluation": "/e/9",
            "blessing": "/b/9",
        }


class Webhook:
    """A webhook that answers with the given codes, one a call, the last one forever."""

    def __init__(self, *codes):
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(codes[min(len(received), len(codes)) - 1])
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/geheim"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook():
    made = []

    def make(*codes):
        made.append(Webhook(*codes))
        return made[-1]

    yield make
    for one in made:
        one.close()


class TestPost:
    def test_delivers_json(self, webhook):
        hook = webhook(204)
        assert exit_handler.post(hook.url, {"text": "größer"}) == ""
        assert hook.received == [{"text": "größer"}]

    def test_tries_again_after_failures_that_pass_with_growing_pauses(self, webhook):
        hook, pauses = webhook(503, 429, 200), []
        assert exit_handler.post(hook.url, {}, pauses.append) == ""
        assert pauses == [1.0, 2.0]

    def test_gives_up_at_some_point(self, webhook):
        hook, pauses = webhook(500), []
        assert exit_handler.post(hook.url, {}, pauses.append) == "it answered 500, 5 times"
        assert len(hook.received) == 5

    def test_does_not_repeat_what_cannot_succeed(self, webhook):
        hook = webhook(404)
        assert exit_handler.post(hook.url, {}, pytest.fail).startswith("it answered 404")

    def test_says_that_a_redirect_would_lose_the_message(self, webhook):
        hook = webhook(302)
        assert options.WEBHOOK_URL in exit_handler.post(hook.url, {}, pytest.fail)

    def test_survives_a_port_that_nobody_listens_on(self):
        assert exit_handler.post("http://127.0.0.1:9/geheim", {}, lambda seconds: None).startswith("no answer")

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "hooks.example/x", "http://[bad/geheim"])
    def test_an_address_that_is_none_is_no_crash_and_not_repeated(self, url):
        failure = exit_handler.post(url, {}, lambda seconds: None)
        assert failure
        assert "geheim" not in failure


@pytest.fixture
def stored(tmp_path):
    """Metadata of a run as TFX and steps write it: one gate that said no, one resolver with a killed attempt."""
    url = f"sqlite:///{tmp_path}/metadata.db"
    store = metadata_store.MetadataStore(metadata_url.parse(url, {}))
    types = {name: store.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in ("pipeline_run", "node")}
    [run] = store.put_contexts([metadata_store_pb2.Context(type_id=types["pipeline_run"], name="run-1")])
    kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="anything"))
    artifact_kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    states = metadata_store_pb2.Execution
    for node, state in (
        ("LatestBlessedModel", states.RUNNING),
        ("LatestBlessedModel", states.COMPLETE),
        ("ExampleGen", states.CACHED),
        ("DataGate", states.FAILED),
    ):
        found = store.get_context_by_type_and_name("node", f"intents.{node}")
        contexts = [found.id] if found else store.put_contexts(
            [metadata_store_pb2.Context(type_id=types["node"], name=f"intents.{node}")]
        )  # fmt: skip
        execution = metadata_store_pb2.Execution(type_id=kind, last_known_state=state)
        execution.custom_properties[step_words.SECONDS].double_value = 1.5
        if state == states.FAILED:
            execution.custom_properties[step_words.ERROR].string_value = "too many rows"
            execution.custom_properties[step_words.FINDINGS].string_value = json.dumps([FAILED_RULE])
        event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
        event.path.steps.add().key = "examples"
        event.path.steps.add().index = 0
        pairs = [(metadata_store_pb2.Artifact(type_id=artifact_kind, uri="/x/3"), event)] if state == states.CACHED else []
        execution_id, _, _ = store.put_execution(execution, pairs, [])
        associations = [
            metadata_store_pb2.Association(execution_id=execution_id, context_id=context) for context in (run, *contexts)
        ]
        store.put_attributions_and_associations([], associations)
    return url


def test_nodes_of_a_run_in_metadata(stored):
    nodes = {node.id: node for node in exit_handler.read_nodes(stored, "run-1", {})}
    assert {name: node.state for name, node in nodes.items()} == {
        "LatestBlessedModel": "complete", "ExampleGen": "cached", "DataGate": "failed",
    }  # fmt: skip
    assert nodes["ExampleGen"].outputs == {"examples": ["/x/3"]}
    assert nodes["DataGate"].error == "too many rows"
    assert nodes["DataGate"].findings == [FAILED_RULE]
    assert exit_handler.read_nodes(stored, "another", {}) == []


class TestMain:
    def arguments(self, url):
        return ["--pipeline", "intents", "--run-id", "run-1", "--metadata", url, "--status", '{"state": "FAILED"}']

    def test_announces_what_metadata_says(self, stored, webhook, capsys):
        hook = webhook(200)
        assert exit_handler.main(self.arguments(stored), {options.WEBHOOK_URL: hook.url}) == 0
        [told] = hook.received
        assert told["state"] == "rejected"
        assert told["kubeflow_state"] == "FAILED"
        assert capsys.readouterr().out == "intents: run run-1 rejected in DataGate: accuracy is 0.8000\n"

    def test_announces_also_without_metadata_and_says_so(self, webhook, monkeypatch):
        hook = webhook(200)
        assert exit_handler.main(self.arguments("sqlite:///proc/none/x.db"), {options.WEBHOOK_URL: hook.url}) == 0
        assert hook.received[0]["state"] == "failed"
        assert "ML Metadata could not be read" in hook.received[0]["note"]

    def test_a_webhook_that_is_down_does_not_fail_the_run_and_its_address_stays_secret(self, stored, webhook, caplog):
        hook = webhook(403)
        with caplog.at_level(logging.INFO):
            assert exit_handler.main(self.arguments(stored), {options.WEBHOOK_URL: hook.url}) == 0
        assert "could not be announced to the webhook: it answered 403" in caplog.text
        assert "geheim" not in caplog.text

    def test_without_an_address_nobody_is_told(self, stored, caplog):
        assert exit_handler.main(self.arguments(stored), {}) == 0
        assert options.WEBHOOK_URL in caplog.text

    def test_a_status_that_is_no_json_is_a_wrong_command(self, stored):
        assert exit_handler.main([*self.arguments(stored), "--status", "FAILED"], {}) == 2
