"""StatisticsGen and Transform of the default job on a real Flink, with portable workers, beside the same run in its own process.

The Evaluator is not here: its records are larger than the sort buffers of a TaskManager as small as this one.

It takes minutes, and fetches Flink from Maven Central if nobody has, so it runs only if it is asked for:

    PARLANCE_FLINK=1 [PARLANCE_FLINK_JARS=FOLDER] .venv/bin/python -m pytest tests/end_to_end/flink
"""

import json
import os
import pathlib

import pytest

from tests.conftest import parlance
from tests.end_to_end.flink import cluster

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(not os.environ.get("PARLANCE_FLINK"), reason="takes minutes; asked for by PARLANCE_FLINK=1"),
    pytest.mark.timeout(3600),
]

FEW_ROWS = (
    "data.source.languages=[de, en]",
    "data.source.rows=600",
    "model.epochs=1",
    "evaluation.gates=[{metric: accuracy, min: 0.0}]",
    "validation.warn_only=[language, intent]",
)
NODES = ("StatisticsGen", "Transform")


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


@pytest.fixture(scope="module")
def flink(tmp_path_factory):
    try:
        with cluster.running(tmp_path_factory.mktemp("flink")) as running:
            yield running
    except cluster.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def on_flink(flink, tmp_path_factory):
    section = json.dumps({"runner": "flink", "args": flink.arguments()})
    return Run(tmp_path_factory.mktemp("on_flink"), f"beam={section}")


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("direct"))


def test_every_beam_node_was_a_job_of_the_cluster(flink, on_flink):
    jobs = flink.jobs()
    assert len(jobs) >= len(NODES)
    assert {job["state"] for job in jobs} == {"FINISHED"}
    states = {node["id"]: node["state"] for node in on_flink.record["nodes"]}
    assert {states[node_id] for node_id in NODES} == {"complete"}


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_statistics_are_equal(on_flink, direct, split):
    mine, other = (statistics(run.output("StatisticsGen", "statistics") / f"Split-{split}") for run in (on_flink, direct))
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


def test_the_graph_knows_the_same_words(on_flink, direct):
    assets = [
        {path.name: path.read_bytes() for path in (run.output("Transform", "transform_graph") / "transform_fn/assets").iterdir()}
        for run in (on_flink, direct)
    ]
    assert assets[0]
    assert assets[0] == assets[1]


def test_the_workers_were_processes_of_the_pool(flink, on_flink):
    assert "SdkHarness" in (flink.folder / "workers.log").read_text()
    assert pathlib.Path(flink.folder / "job_server.log").stat().st_size > 0
