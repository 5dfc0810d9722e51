import threading

import pytest

from serving.server.errors import StatusCode
from serving.server.metrics import LATENCY_LIMITS, UNKNOWN_MODEL, VERSION_LATENCY_LIMITS, Metrics


def values(metrics):
    """Numbers by name with labels."""
    rows = (line.rpartition(" ") for line in metrics.prometheus_text().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.know_models(["m", 'a"b\\c\nd'])
    return metrics


def test_buckets_are_upstreams():
    assert len(LATENCY_LIMITS) == 33
    assert LATENCY_LIMITS[:4] == pytest.approx((10, 18, 32.4, 58.32))
    assert LATENCY_LIMITS[-1] == pytest.approx(10 * 1.8**32)


def test_every_request_is_counted_and_successes_are_timed_in_microseconds(metrics):
    metrics.observe_request("m", "Predict", "GRPC", 0.00002, StatusCode.OK)
    metrics.observe_request("m", "Predict", "GRPC", 7.0, StatusCode.NOT_FOUND)
    found = values(metrics)
    labels = 'model_name="m",API="Predict",entrypoint="GRPC"'
    assert found[':tensorflow:serving:request_count{model_name="m",status="OK"}'] == 1
    assert found[':tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"}'] == 1
    assert found[f":tensorflow:serving:request_latency_count{{{labels}}}"] == 1
    assert found[f":tensorflow:serving:request_latency_sum{{{labels}}}"] == pytest.approx(20)
    buckets = [found[f':tensorflow:serving:request_latency_bucket{{{labels},le="{limit}"}}'] for limit in ("18", "32.4", "+Inf")]
    assert buckets == [0, 1, 1]


def test_types_are_declared_once_and_unused_metrics_are_absent(metrics):
    metrics.observe_run("a", "Predict", 0.1)
    metrics.observe_run("b", "Predict", 0.1)
    declared = [line for line in metrics.prometheus_text().splitlines() if line.startswith("#")]
    assert declared == ["# TYPE :tensorflow:serving:runtime_latency histogram"]


def test_what_ml_metadata_calls_a_version(metrics):
    metrics.observe_lineage("m", 42, "f00d")
    assert metrics.prometheus_text().splitlines() == [
        "# TYPE :tensorflow:serving:mlmd_map gauge",
        ':tensorflow:serving:mlmd_map{model_name="m",version="42",mlmd_uuid="f00d"} 1',
    ]


def test_labels_are_escaped(metrics):
    metrics.observe_request('a"b\\c\nd', "Predict", "REST", 0.1, StatusCode.INTERNAL)
    assert 'model_name="a\\"b\\\\c\\nd"' in metrics.prometheus_text()


def test_batches(metrics):
    metrics.observe_batched_input(3)
    metrics.observe_batch(4, 1, [0.0001, 0.5], "pool")
    found = values(metrics)
    prefix = ":tensorflow:serving:batching_session:"
    assert found[f"{prefix}wrapped_run_count{{}}"] == 1
    assert found[f'{prefix}queuing_latency_count{{thread_pool_name="pool"}}'] == 2
    assert found[f"{prefix}input_batch_size_sum{{}}"] == 3
    assert found[f"{prefix}processed_batch_size_sum{{}}"] == 4
    assert found[f'{prefix}padding_size_sum{{execution_batch_size="4"}}'] == 1


def test_a_client_that_invents_names_makes_one_series_only(metrics):
    for number in range(100):
        metrics.observe_request(f"m{number}", "Predict", "GRPC", 0.1, StatusCode.NOT_FOUND)
    found = values(metrics)
    assert found == {f':tensorflow:serving:request_count{{model_name="{UNKNOWN_MODEL}",status="NOT_FOUND"}}': 100}


def test_models_that_come_and_go_for_months_do_not_fill_the_memory(metrics):
    for number in range(10_100):
        metrics.observe_run(f"m{number}", "Predict", 0.1)
    assert metrics.prometheus_text().count("runtime_latency_count{") == 10_000
    metrics.observe_run("m0", "Predict", 0.1)
    assert values(metrics)[':tensorflow:serving:runtime_latency_count{model_name="m0",API="Predict",runtime="TF1"}'] == 2


class TestVersions:
    def test_requests_and_latency_are_told_apart_and_still_counted_as_upstream_does(self, metrics):
        for version, status in ((7, StatusCode.OK), (8, StatusCode.OK), (8, StatusCode.INTERNAL)):
            metrics.observe_request("m", "Predict", "GRPC", 0.00002, status, version)
        found = values(metrics)
        assert found[':parlance:serving:request_count{model_name="m",version="7",status="OK"}'] == 1
        assert found[':parlance:serving:request_count{model_name="m",version="8",status="INTERNAL"}'] == 1
        assert found[':parlance:serving:request_latency_count{model_name="m",version="8"}'] == 1
        assert found[':tensorflow:serving:request_count{model_name="m",status="OK"}'] == 2

    def test_a_model_with_a_version_need_not_be_known_otherwise(self, metrics):
        metrics.observe_request("new", "Predict", "GRPC", 0.1, StatusCode.OK, 1)
        assert values(metrics)[':tensorflow:serving:request_count{model_name="new",status="OK"}'] == 1

    def test_latency_has_fine_buckets_up_to_half_a_minute(self):
        steps = [high / low for low, high in zip(VERSION_LATENCY_LIMITS, VERSION_LATENCY_LIMITS[1:], strict=False)]
        assert steps == pytest.approx([1.25] * len(steps))
        assert 25e6 < VERSION_LATENCY_LIMITS[-1] < 40e6

    def test_scores(self, metrics):
        metrics.observe_scores("m", 7, [0.02, 0.93, 1.0])
        found = values(metrics)
        counts = [
            found[f':parlance:serving:top_score_bucket{{model_name="m",version="7",le="{le}"}}']
            for le in ("0.05", "0.95", "+Inf")
        ]
        assert counts == [1, 2, 3]

    def test_a_large_batch_does_not_hold_up_others_for_its_scores(self, metrics):
        metrics.observe_scores("m", 7, [0.5] * 1000)
        assert values(metrics)[':parlance:serving:top_score_count{model_name="m",version="7"}'] == 64


def test_no_count_is_lost_between_threads(metrics):
    def count():
        for _ in range(2000):
            metrics.observe_request("m", "Predict", "GRPC", 0.1, StatusCode.OK)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counters()[":tensorflow:serving:request_count"] == 16_000
