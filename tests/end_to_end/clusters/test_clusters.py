"""The Beam nodes of the default job on a real Flink and a real Spark, with portable workers, beside the same run in its own process.

It takes minutes, and fetches Flink and Spark from Maven Central if nobody has, so it runs only if it is asked for:

    PARLANCE_CLUSTERS=1 [PARLANCE_FLINK_JARS=FOLDER] [PARLANCE_SPARK_JARS=FOLDER] .venv/bin/python -m pytest tests/end_to_end/clusters
"""

import json
import os

import pytest

from tests.conftest import parlance
from tests.end_to_end.clusters import flink, processes, spark

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not os.environ.get("PARLANCE_CLUSTERS"), reason="takes minutes; asked for by PARLANCE_CLUSTERS=1"),
    pytest.mark.timeout(3600),
]

FEW_ROWS = (
    "data.source.languages=[de, en]",
    "data.source.rows=600",
    "model.epochs=1",
    "evaluation.gates=[{metric: accuracy, min: 0.0}]",
    "validation.warn_only=[language, intent]",
)
CLUSTERS = {"flink": flink, "spark": spark}
NODES = ("StatisticsGen", "Transform", "Evaluator")


class Run:
    """A finished run, with its artifacts."""

    def __init__(self, root, *settings):
        words = [word for setting in (*FEW_ROWS, *settings) for word in ("--set", setting)]
        shown = parlance("run", "--to", NODES[-1], "--root", root, *words, "--output", "json")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        self.root = root
        self.record = json.loads(shown.stdout)

    def output(self, node_id, channel):
        [execution_id] = [node["execution_id"] for node in self.record["nodes"] if node["id"] == node_id]
        return self.root / "pipelines" / "intents" / node_id / channel / str(execution_id)


@pytest.fixture(scope="module", params=list(CLUSTERS))
def runner(request):
    return request.param


@pytest.fixture(scope="module")
def cluster(runner, tmp_path_factory):
    try:
        with CLUSTERS[runner].running(tmp_path_factory.mktemp(runner)) as running:
            yield running
    except processes.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def on_cluster(runner, cluster, tmp_path_factory):
    section = json.dumps({"runner": runner, "args": cluster.arguments})
    return Run(tmp_path_factory.mktemp(f"on_{runner}"), f"beam={section}")


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("direct"))


def test_every_beam_node_was_a_job_of_the_cluster(cluster, on_cluster):
    jobs = cluster.job_states()
    assert len(jobs) >= len(NODES)
    assert set(jobs) == {"FINISHED"}
    states = {node["id"]: node["state"] for node in on_cluster.record["nodes"]}
    assert {states[node_id] for node_id in NODES} == {"complete"}


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_statistics_are_equal(on_cluster, direct, split):
    mine, other = (statistics(run.output("StatisticsGen", "statistics") / f"Split-{split}") for run in (on_cluster, direct))
    assert mine.keys() == other.keys()
    for place, value in other.items():
        # Partial sums are added in another order.
        assert mine[place] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), place


def statistics(folder):
    """All numbers and words of a split's statistics, by where they stand."""
    from google.protobuf import json_format
    from tensorflow_metadata.proto.v0 import statistics_pb2

    [file] = folder.glob("*.pb")
    [dataset] = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
    features = {feature.path.step[0]: json_format.MessageToDict(feature) for feature in dataset.features}
    return dict(leaves({"rows": dataset.num_examples, "features": features}, ""))


def leaves(value, place):
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{place}/{name}")
    else:
        yield place, value


def test_the_graph_knows_the_same_words(on_cluster, direct):
    assets = [
        {path.name: path.read_bytes() for path in (run.output("Transform", "transform_graph") / "transform_fn/assets").iterdir()}
        for run in (on_cluster, direct)
    ]
    assert assets[0]
    assert assets[0] == assets[1]


def test_the_evaluation_is_equal(on_cluster, direct):
    metrics = on_cluster.record["metrics"]
    assert metrics["accuracy"] > 0
    assert metrics == pytest.approx(direct.record["metrics"], rel=1e-5)


def test_the_workers_were_processes_of_the_pool(cluster, on_cluster):
    assert "SdkHarness" in (cluster.folder / "workers.log").read_text()
