"""The compiled package under KFP's own local orchestrator, on MariaDB, beside the local runner: the same pipeline file, the same run."""

import collections
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.parse

import pytest
from ml_metadata import metadata_store

from components.release import push
from pipeline.kubeflow import exit_handler, metadata_url, options, visuals
from tests.conftest import PROJECT, SMALL_INTENTS, parlance
from tests.pipeline.kubeflow import mariadb

pytest.importorskip("kfp", reason="needs the extra `kubeflow`")
pytestmark = pytest.mark.end_to_end

WAIT_SECONDS = 600


class Cluster:
    """What stands for a cluster: a database, a volume, a webhook."""

    def __init__(self, folder, url):
        self.root = folder / "volume"
        self.url = url
        self.folder = folder
        self.announced = {}
        announced = self.announced

        class Webhook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                announced[message["run_id"]] = message
                self.send_response(204)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.webhook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
        threading.Thread(target=self.webhook.serve_forever, args=(0.05,), daemon=True).start()
        self.secrets = {
            options.METADATA_PASSWORD: mariadb.PASSWORD,
            options.WEBHOOK_URL: f"http://127.0.0.1:{self.webhook.server_port}/",
        }

    def compile(self, name, *settings):
        """Compiles the small intents pipeline, as a user does."""
        address = urllib.parse.urlsplit(self.url)
        settings = (
            *SMALL_INTENTS,
            f"kubeflow.volume.mount={self.root}",
            f"kubeflow.metadata.host={address.hostname}",
            f"kubeflow.metadata.port={address.port}",
            f"kubeflow.metadata.user={address.username}",
            f"kubeflow.metadata.database={address.path[1:]}",
            "kubeflow.webhook={name: webhook, key: url}",
            *settings,
        )
        package = self.folder / f"{name}.yaml"
        shown = parlance("kubeflow", "compile", *(word for one in settings for word in ("--set", one)), "-o", package)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        return package

    def start(self, package, name, *more):
        """Starts a run of a package; `finish` waits for it."""
        command = [sys.executable, "-m", "tests.pipeline.kubeflow.kfp_local", package, self.folder / f"{name}.json", *more]
        log = open(self.folder / f"{name}.log", "wb")  # noqa: SIM115 - the process's
        return name, subprocess.Popen(command, stdout=log, stderr=log, cwd=PROJECT, env={**os.environ, **self.secrets})

    def finish(self, started):
        name, process = started
        assert process.wait(WAIT_SECONDS) == 0, (self.folder / f"{name}.log").read_text()[-3000:]
        return Run(self, json.loads((self.folder / f"{name}.json").read_text()))

    def versions(self):
        return sorted(path for path in (self.root / "serving" / "intents").iterdir() if path.name.isdigit())


class Run:
    """A run that has ended, as KFP, ML Metadata and the webhook know it."""

    def __init__(self, cluster, result):
        self.state = result["state"]
        self.tasks = {task["node"]: task for task in result["tasks"]}
        self.order = [task["node"] for task in result["tasks"]]
        self.kfp = pathlib.Path(result["kfp"])
        [self.run_id] = {task["run_id"] for task in result["tasks"]}
        self.announced = cluster.announced.get(self.run_id)
        self.nodes = {node.id: node for node in exit_handler.read_nodes(cluster.url, self.run_id, cluster.secrets)}
        self.artifacts = artifact_types(cluster.url, self.run_id, cluster.secrets)

    def states(self):
        return {node_id: node.state for node_id, node in self.nodes.items()}

    def explain(self):
        return "\n".join(pathlib.Path(task["attempts"][-1]["log"]).read_text()[-1500:] for task in self.tasks.values())

    def told(self, task):
        """What a task told KFP about its artifacts."""
        [path] = self.kfp.glob(f"*/{task}/executor_output.json")
        return {name: listed["artifacts"][0] for name, listed in json.loads(path.read_text())["artifacts"].items()}


def artifact_types(url, run_id, environment):
    """How many artifacts of each type a run has made or used."""
    store = metadata_store.MetadataStore(metadata_url.parse(url, environment))
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    return collections.Counter(artifact.type for artifact in store.get_artifacts_by_context(context.id))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    try:
        with mariadb.server(folder) as url:
            made = Cluster(folder, url)
            yield made
            made.webhook.shutdown()
            made.webhook.server_close()
    except mariadb.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def package(cluster):
    return cluster.compile("small")


@pytest.fixture(scope="module")
def first(cluster, package):
    """A run with nothing before it."""
    return cluster.finish(cluster.start(package, "first"))


@pytest.fixture(scope="module")
def twins(cluster, first):
    """Two runs at once of the same file with another setting of its last node: all else is up to date."""
    package = cluster.compile("twins", "release.card.contact=the team on call")
    started = [cluster.start(package, name) for name in ("left", "right")]
    return [cluster.finish(one) for one in started]


@pytest.fixture(scope="module")
def worse(cluster, package, twins):
    """A run on other data, of a model that has seen little of it; a step is killed on the way."""
    return cluster.finish(
        cluster.start(package, "worse", "--set", "rows=900", "--set", "epochs=1", "--attempts", "2", "--kill", "ExampleGen")
    )


class TestTheFirstRun:
    def test_succeeds_and_launches_the_nodes_of_the_local_runner(self, first, shared_run):
        assert first.state == "SUCCEEDED", first.explain()
        local = [node["id"] for node in shared_run.record["nodes"]]
        assert set(first.nodes) == set(local)
        assert first.states() == {node["id"]: node["state"] for node in shared_run.record["nodes"]}
        assert first.order[-1] == "exit"

    def test_makes_the_same_artifacts(self, first, shared_run):
        url, run_id = f"sqlite:///{shared_run.root}/metadata.db", shared_run.record["run_id"]
        assert first.artifacts == artifact_types(url, run_id, {})
        local = {node.id: node for node in exit_handler.read_nodes(url, run_id, {})}
        for node_id, node in first.nodes.items():
            channels = {channel: len(uris) for channel, uris in node.outputs.items()}
            assert channels == {channel: len(uris) for channel, uris in local[node_id].outputs.items()}, node_id

    def test_measures_the_same(self, first, shared_run):
        metrics = json.loads((pathlib.Path(first.nodes["Evaluator"].outputs["evaluation"][0]) / "metrics.json").read_text())
        overall = next(entry for entry in metrics["candidate"]["slices"] if not entry["slice"])
        assert overall["metrics"] == pytest.approx(shared_run.record["metrics"], abs=1e-6)

    def test_releases_its_model(self, cluster, first):
        version = pathlib.Path(first.announced["pushed"]["path"])
        assert version in cluster.versions()
        assert push.verify(version) == []

    def test_is_announced(self, first):
        assert first.announced["state"] == "succeeded"
        assert first.announced["kubeflow_state"] == "SUCCEEDED"
        assert first.announced["verdict"]["blessed"]

    def test_is_seen_in_kubeflow(self, first):
        told = first.told("evaluator")
        assert set(told) == set(visuals.outputs_of("Evaluator"))
        assert told["confusion"]["metadata"]["confusionMatrix"]["rows"]
        assert pathlib.Path(told["report"]["uri"]).read_text().startswith("<!DOCTYPE html>")
        assert "### Blessed" in pathlib.Path(told["summary"]["uri"]).read_text()
        assert told["metrics"]["metadata"]["accuracy"] > 0.2
        assert told["summary"]["metadata"]["tfx_run_id"] == first.run_id


def pushed_by(runs):
    """The folders of the versions that runs say they released."""
    return {run.announced["pushed"]["path"] for run in runs}


def releases_of(runs):
    """How many of the runs released a version themselves, and did not find it in the cache."""
    return sum(run.states()["Pusher"] == "complete" for run in runs)


class TestTwoRunsAtOnce:
    def test_take_what_is_up_to_date(self, twins):
        for run in twins:
            assert run.state == "SUCCEEDED", run.explain()
            states = run.states()
            assert states.pop("LatestBlessedModel") == states.pop("BaselineStatistics") == "complete"  # a resolver always looks
            assert states.pop("Pusher") in ("complete", "cached")
            assert set(states.values()) == {"cached"}, states

    def test_see_the_same_baseline(self, twins):
        left, right = (run.nodes["LatestBlessedModel"].outputs for run in twins)
        assert left == right

    def test_release_whole_versions(self, cluster, twins):
        # Each has a version of its own, or the later one met the release of the earlier in the cache.
        assert len(pushed_by(twins)) == releases_of(twins) >= 1
        assert all(push.verify(path) == [] for path in pushed_by(twins))


class TestAWorseModel:
    def test_is_made_of_the_other_data(self, worse):
        assert worse.state == "SUCCEEDED", worse.explain()
        states = worse.states()
        assert states.pop("SchemaImport") == "cached"
        assert set(states.values()) == {"complete"}

    def test_a_killed_step_was_started_again_and_left_nothing_half_written(self, worse):
        assert [attempt["code"] for attempt in worse.tasks["ExampleGen"]["attempts"]] == [-9, 0]
        folder = pathlib.Path(worse.nodes["ExampleGen"].outputs["examples"][0])
        assert not (folder / "half-written").exists()
        assert sum(json.loads((folder / "summary.json").read_text())["rows"].values()) == 900

    def test_is_measured_against_the_last_blessed_one_and_rejected(self, worse, first):
        folder = pathlib.Path(worse.nodes["Evaluator"].outputs["evaluation"][0])
        assert json.loads((folder / "metrics.json").read_text())["baseline"] is not None
        assert not json.loads((folder / "verdict.json").read_text())["blessed"]
        # TFX hands a resolver's choice on under the name of its input.
        [baseline] = worse.nodes["LatestBlessedModel"].outputs["model"]
        assert baseline == first.nodes["Trainer"].outputs["model"][0]

    def test_is_not_released_and_announced_with_the_reason(self, cluster, worse, twins):
        assert worse.announced["state"] == "rejected"
        assert worse.announced["pushed"] is None
        assert worse.announced["verdict"]["findings"][0]["severity"] == "error"
        assert worse.announced["text"].startswith(f"intents: run {worse.run_id} rejected: ")
        assert len(cluster.versions()) == 1 + releases_of(twins)
