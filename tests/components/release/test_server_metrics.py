import math

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.release import server_metrics
from components.release.server_metrics import Counts, Histogram, grown, of_model, of_version, parse, tells_versions, together
from serving.server.errors import StatusCode
from serving.server.metrics import Metrics


@pytest.fixture
def served():
    metrics = Metrics()
    for version, status in ((7, StatusCode.OK), (8, StatusCode.OK), (8, StatusCode.INTERNAL)):
        metrics.observe_request("intents", "Predict", "GRPC", 0.001, status, version)
    metrics.observe_request("intents", "predict", "REST", 0.1, StatusCode.OK, 7)
    metrics.observe_request("other", "Predict", "GRPC", 0.001, StatusCode.OK, 7)
    metrics.observe_scores("intents", 8, [0.93])
    return parse(metrics.prometheus_text())


class TestReading:
    def test_the_embedded_servers_versions(self, served):
        assert tells_versions(served)
        stable, canary = of_version(served, "intents", 7), of_version(served, "intents", 8)
        assert stable.requests == {"OK": 2}
        assert canary.requests == {"OK": 1, "INTERNAL": 1}
        assert (stable.latency.total, canary.latency.total) == (2, 1)
        assert (stable.scores, canary.scores.total) == (None, 1)
        assert math.isinf(canary.latency.limits[-1])

    def test_upstreams_names_add_up_all_interfaces(self, served):
        counts = of_model(served, "intents")
        assert counts.requests == {"OK": 3, "INTERNAL": 1}
        assert counts.latency.total == 3

    def test_nothing_is_known_of_a_version_that_answered_nothing(self, served):
        assert of_version(served, "intents", 9) == Counts({})

    def test_tensorflow_serving_does_not_tell_versions(self):
        samples = parse(':tensorflow:serving:request_count{model_name="intents",status="OK"} 5\n')
        assert not tells_versions(samples)
        assert of_model(samples, "intents") == Counts({"OK": 5})

    def test_the_text_format(self):
        samples = parse('# TYPE a counter\na 1\nb{x="q\\"\\\\\\n",y="2"} 2.5e3 1700000000\nnonsense\nc{} NaN\nd{z="1"} +Inf\n')
        assert samples["a", ()] == 1
        assert samples["b", (("x", 'q"\\\n'), ("y", "2"))] == 2500
        assert math.isinf(samples["d", (("z", "1"),)])
        assert ("nonsense", ()) not in samples


def histogram(*counts, limits=(1.0, 2.0, math.inf)):
    return Histogram(limits, counts)


class TestGrown:
    def test_is_what_came_in_between(self):
        before = Counts({"OK": 5}, histogram(3, 2, 0), histogram(5, 0, 0))
        after = Counts({"OK": 9, "INTERNAL": 1}, histogram(4, 4, 1), histogram(5, 4, 0))
        assert grown(before, after) == Counts({"OK": 4, "INTERNAL": 1}, histogram(1, 2, 1), histogram(0, 4, 0))

    def test_of_a_version_that_had_not_answered_before(self):
        after = Counts({"OK": 2}, histogram(2, 0, 0))
        assert grown(Counts({}), after) == after

    def test_a_server_that_restarted_counts_from_zero(self):
        window = grown(Counts({"OK": 500}, histogram(500, 0, 0)), Counts({"OK": 20}, histogram(20, 0, 0)))
        assert (window.requests, window.latency.total, window.restarted) == ({"OK": 20}, 20, True)

    def test_nothing_new_is_no_histogram(self):
        same = Counts({"OK": 2}, histogram(2, 0, 0))
        assert grown(same, same) == Counts({"OK": 0})


class TestTogether:
    def test_several_servers_add_up(self):
        one, other = (
            Counts({"OK": 2}, histogram(1, 1, 0), histogram(2, 0, 0)),
            Counts({"OK": 1, "INTERNAL": 3}, histogram(0, 1, 0), histogram(1, 0, 0)),
        )
        assert together([one, other]) == Counts({"OK": 3, "INTERNAL": 3}, histogram(1, 2, 0), histogram(3, 0, 0))

    def test_scores_of_some_servers_are_not_those_of_all(self):
        telling, silent = Counts({"OK": 2}, None, histogram(2, 0, 0)), Counts({"OK": 2})
        assert together([telling, silent]).scores is None
        assert together([telling, Counts({"INTERNAL": 2})]).scores == histogram(2, 0, 0)

    def test_buckets_of_another_kind_cannot_be_added(self):
        other = histogram(1, 1, limits=(5.0, math.inf))
        assert together([Counts({}, histogram(1, 0, 0)), Counts({}, other)]).latency is None


class TestScrape:
    @pytest.mark.parametrize("url", ["file:///etc/hostname", "127.0.0.1:8501"])
    def test_only_over_http(self, url):
        with pytest.raises(UsageError, match="over HTTP"):
            server_metrics.scrape(url)

    def test_without_an_answer(self):
        with pytest.raises(EnvironmentFailure, match="127.0.0.1:9/m.*--monitoring_config_file"):
            server_metrics.scrape("http://127.0.0.1:9/m")
