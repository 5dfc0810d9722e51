"""What a compiled pipeline says about processes."""

import pytest

from pipeline import config

pytestmark = pytest.mark.tensorflow  # importing TFX here, in a process that also runs TensorFlow tests, imports it whole


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    from ml_metadata.proto import metadata_store_pb2

    from pipeline import dag

    file = config.load(config.DEFAULT, ["data.source.rows=300"])
    return dag.compile_pipeline(file, tmp_path_factory.mktemp("root"), metadata_store_pb2.ConnectionConfig())


@pytest.fixture(scope="module")
def whole(compiled):
    from pipeline.local import launch, plan

    return plan.of(compiled, launch.node_ids(compiled))


def test_every_node_with_an_executor_is_lean_or_heavy(whole):
    assert not set(whole.lean) & set(whole.heavy)
    assert set(whole.nodes) - set(whole.lean) - set(whole.heavy) == {"BaselineStatistics", "LatestBlessedModel"}
    assert {"StatisticsGen", "Transform", "Trainer", "Evaluator"} <= set(whole.heavy)
    assert {"SchemaImport", "ExampleGen", "Pusher"} <= set(whole.lean)


def test_what_follows_a_node_that_runs_may_need_tensorflow(whole):
    assert whole.heavy_from("SchemaImport") == list(whole.heavy.values())
    assert whole.heavy_from("Trainer") == [whole.heavy["Trainer"], whole.heavy["Evaluator"]]
    assert whole.heavy_from("InfraValidator") == []


def test_only_the_nodes_of_the_run_count(compiled):
    from pipeline.local import plan

    part = plan.of(compiled, ["ExampleGen", "StatisticsGen", "Evaluator"])
    assert part.nodes == ["ExampleGen", "StatisticsGen", "Evaluator"]
    assert part.upstream["ExampleGen"] == []
    assert set(part.upstream["Evaluator"]) == {"ExampleGen", "StatisticsGen"}
    assert part.heavy_from("ExampleGen") == [part.heavy["StatisticsGen"], part.heavy["Evaluator"]]


def test_a_node_is_held_up_by_what_it_waits_for_however_far_away(whole):
    assert whole.held_up("Pusher", ["DataGate"]) == ["DataGate"]
    assert whole.held_up("Transform", ["Trainer", "DataGate"]) == []
    assert whole.held_up("Evaluator", ["Trainer", "ExampleValidator"]) == ["ExampleValidator", "Trainer"]
