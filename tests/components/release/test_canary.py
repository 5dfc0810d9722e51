import math
import random

import pytest

from components.findings import Severity
from components.release.canary import (
    Decision,
    Outcome,
    difference_interval,
    distance_interval,
    judge,
    quantile_interval,
    wilson,
)
from components.release.rollout_options import RolloutRules
from components.release.server_metrics import Counts, Histogram

LATENCY = tuple(10 * 1.25**step for step in range(67)) + (math.inf,)
SCORES = tuple(step / 20 for step in range(1, 21)) + (math.inf,)
RULES = RolloutRules()


def histogram(limits, values):
    counts = [0] * len(limits)
    for value in values:
        counts[next(place for place, limit in enumerate(limits) if value < limit)] += 1
    return Histogram(limits, tuple(counts))


def counts(n=5000, *, errors=0, slow=1.0, least=0.8, scores=True, seed=1, **more):
    """What a version counted of n requests: latencies of some milliseconds, scores from `least` to 0.15 more."""
    drawn = random.Random(seed)
    good = n - errors
    latency = histogram(LATENCY, [slow * drawn.lognormvariate(7, 0.3) for _ in range(good)])
    score = histogram(SCORES, [least + 0.15 * drawn.random() for _ in range(good)])
    return Counts({"OK": good, "INTERNAL": errors, **more}, latency, score if scores else None)


def outcomes(judgement):
    return {result.rule: result.outcome for result in judgement.results}


class TestIntervals:
    @pytest.mark.parametrize(
        ("first", "second", "low", "high"),
        # Table II of Newcombe (1998), method 10.
        [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((10, 10), (0, 20), 0.6791, 1.0),
            ((0, 10), (0, 10), -0.2775, 0.2775),
        ],
    )
    def test_of_differences_are_those_published(self, first, second, low, high):
        assert difference_interval(first, second, 0.95) == pytest.approx((low, high), abs=5e-5)

    def test_wilson(self):
        assert wilson(0, 10, 0.95) == pytest.approx((0, 0.2775), abs=5e-5)
        assert wilson(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
        assert wilson(0, 0, 0.95) == (0, 1)

    def test_differences_are_covered_as_often_as_they_say(self):
        drawn, covered, p, q, n = random.Random(3), 0, 0.02, 0.01, 600
        for _ in range(300):
            first = sum(drawn.random() < p for _ in range(n))
            second = sum(drawn.random() < q for _ in range(n))
            low, high = difference_interval((first, n), (second, n), 0.95)
            covered += low <= p - q <= high
        assert covered >= 0.92 * 300

    def test_percentiles(self):
        values = Histogram((1.0, 2.0, 4.0, math.inf), (500, 480, 20, 0))
        low, value, high = quantile_interval(values, 0.99, 0.95)
        assert value == pytest.approx(3.0)
        assert 2 < low < value < high < 4

    def test_a_percentile_of_few_values_has_no_upper_end(self):
        assert quantile_interval(Histogram((1.0, math.inf), (300, 0)), 0.99, 0.95)[2] == math.inf
        assert quantile_interval(Histogram((1.0, math.inf), (400, 0)), 0.99, 0.95)[2] <= 1.0

    def test_distances(self):
        first, second = Histogram((0.5, math.inf), (900, 100)), Histogram((0.5, math.inf), (500, 500))
        low, value, high = distance_interval(first, second, 0.95)
        assert value == pytest.approx(0.4)
        assert 0.25 < low < value < high < 0.55
        assert distance_interval(first, first, 0.95)[:2] == (0, 0)


class TestDecision:
    def test_a_canary_like_stable_is_promoted(self):
        judgement = judge(counts(), counts(seed=2), RULES)
        assert judgement.decision is Decision.PROMOTE
        assert set(outcomes(judgement).values()) == {Outcome.PASS}
        assert (judgement.stable_requests, judgement.canary_requests) == (5000, 5000)

    @pytest.mark.parametrize(
        ("canary", "rule"),
        [
            (counts(errors=250, seed=2), "max_error_rate_increase"),
            (counts(slow=4.0, seed=2), "max_p99_ratio"),
            (counts(least=0.5, seed=2), "max_score_shift"),
            (counts(least=0.85, slow=0.5, errors=5000, seed=2), "max_error_rate_increase"),
        ],
    )
    def test_a_canary_that_is_worse_is_rolled_back_by_the_rule_that_says_so(self, canary, rule):
        judgement = judge(counts(), canary, RULES)
        assert judgement.decision is Decision.ROLLBACK
        assert [name for name, outcome in outcomes(judgement).items() if outcome is Outcome.FAIL] == [rule]

    @pytest.mark.parametrize(
        ("stable", "canary"),
        [
            (counts(), counts(499, seed=2)),
            (counts(20), counts(seed=2)),
            (counts(), Counts({})),
            (counts(), counts(60, errors=60, least=0.1, seed=2)),
        ],
    )
    def test_too_few_requests_decide_nothing_however_bad_they_look(self, stable, canary):
        judgement = judge(stable, canary, RULES)
        assert judgement.decision is Decision.HOLD
        assert outcomes(judgement)["min_requests"] is Outcome.HOLD
        assert Outcome.FAIL not in outcomes(judgement).values()

    def test_what_the_requests_do_not_say_holds(self):
        # One more error in a hundred than stable, with a limit of one in a hundred: on 600 requests it may be either side.
        judgement = judge(counts(600), counts(600, errors=6, seed=2), RULES.model_copy(update={"max_p99_ratio": 50.0}))
        assert outcomes(judgement)["max_error_rate_increase"] is Outcome.HOLD
        assert judgement.decision is Decision.HOLD

    def test_errors_that_stable_has_too_are_not_the_canarys(self):
        judgement = judge(counts(20000, errors=1000), counts(20000, errors=1000, seed=2), RULES)
        assert judgement.decision is Decision.PROMOTE

    def test_a_client_that_hangs_up_is_nobodys_fault(self):
        judgement = judge(counts(), counts(seed=2, CANCELLED=2000), RULES)
        assert judgement.decision is Decision.PROMOTE
        assert judgement.canary_requests == 5000

    def test_faster_surer_and_without_errors_is_no_reason_against_it_within_the_limit(self):
        assert judge(counts(errors=50), counts(slow=0.3, seed=2), RULES).decision is Decision.PROMOTE


class TestScores:
    def test_that_no_server_tells_are_seen_to_be_unchecked_and_do_not_block(self):
        judgement = judge(counts(scores=False), counts(seed=2, scores=False), RULES)
        [result] = [result for result in judgement.results if result.rule == "max_score_shift"]
        assert (result.outcome, result.finding().severity) == (Outcome.NOT_CHECKED, Severity.WARNING)
        assert "only the embedded server" in result.reason
        assert judgement.decision is Decision.PROMOTE

    def test_may_be_left_out(self):
        rules = RULES.model_copy(update={"max_score_shift": None})
        assert judge(counts(), counts(least=0.3, seed=2), rules).decision is Decision.PROMOTE


def test_findings_say_what_was_seen_and_allowed():
    judgement = judge(counts(), counts(slow=4.0, seed=2), RULES)
    findings = {result.rule: result.finding() for result in judgement.results}
    assert findings["max_p99_ratio"].severity is Severity.ERROR
    assert findings["max_p99_ratio"].expected == "<= 2"
    assert 3.5 < float(findings["max_p99_ratio"].observed) < 4.5
    assert "all above the limit 2" in findings["max_p99_ratio"].message
