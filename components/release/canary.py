"""Rules that say whether a canary is as good as the stable version beside it: promote, hold, or roll back.

    judgement = judge(stable, canary, RolloutRules())
    judgement.decision        # Decision.HOLD
    judgement.results         # one for each rule, with what was measured and its interval

Each rule compares an interval with its limit. All of the interval below the limit: the rule passes. All of it above: it fails. Otherwise
the requests do not say, and it holds. One rule that fails rolls back; otherwise one that holds holds; promotion takes all of them.
So a canary is promoted because it was shown to be good enough, not because nothing was shown.

* Errors: the difference of the shares of failed requests. Its interval is Newcombe's hybrid score interval, method 10 in R. G. Newcombe,
  "Interval estimation for the difference between independent proportions", Statistics in Medicine 17 (1998), 873-890: from the Wilson
  intervals (l, u) of both shares p, [d - sqrt((pc - lc)^2 + (us - ps)^2), d + sqrt((uc - pc)^2 + (ps - ls)^2)] with d = pc - ps. It
  holds its level where shares are near 0, as here, and the textbook's interval does not.
* Latency: the ratio of the 99th percentiles of successful requests. The interval of a percentile q of n values lies between the ranks
  n q +- z sqrt(n q (1 - q)) (order statistics, normal approximation), within a bucket of the histogram by linear interpolation; the
  ratio's goes from the lowest by the highest to the highest by the lowest. Below some 380 requests it has no upper end.
* Scores: the Kolmogorov-Smirnov distance between the distributions of the best class's score, at the limits of the buckets. Its
  interval is D +- sqrt(ln(2 / a) / 2) (1 / sqrt(n) + 1 / sqrt(m)) with a = (1 - confidence) / 2: the band of P. Massart, "The tight
  constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Annals of Probability 18 (1990), 1269-1283, around both distributions.
  Only the embedded server tells scores. Elsewhere the rule is not checked, and says so.

What this rests on: the two versions get requests of the same kind (clients choose at random, or by a hash of a key, as
`serving.client.label_for` does), and the decision is taken once, at the end of a time that was fixed before. Who looks again and again
until a rule passes will see it pass.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from components.findings import Finding, Severity
from components.release.rollout_options import RolloutRules
from components.release.server_metrics import Counts, Histogram

# A client that hangs up says nothing about the version that was to answer.
_NOBODYS_FAULT = ("CANCELLED",)
_PERCENTILE = 0.99


class Decision(str, enum.Enum):
    """What is to be done with a canary."""

    PROMOTE = "promote"
    HOLD = "hold"
    ROLLBACK = "rollback"


class Outcome(str, enum.Enum):
    """What a rule says. NOT_CHECKED: there is nothing to check it on; it decides nothing."""

    PASS = "pass"  # noqa: S105 - no password
    HOLD = "hold"
    FAIL = "fail"
    NOT_CHECKED = "not checked"


_SEVERITIES = {
    Outcome.PASS: Severity.INFO,
    Outcome.HOLD: Severity.WARNING,
    Outcome.FAIL: Severity.ERROR,
    Outcome.NOT_CHECKED: Severity.WARNING,
}


@dataclasses.dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    Attributes:
      rule: Its name, a key of `release.rollout.rules`.
      outcome: What it says.
      reason: Why, in a sentence.
      stable, canary: What was measured on each side; None if nothing was.
      value: What is compared with the limit; None if it cannot be computed.
      interval: The value's interval; None likewise. The upper end may be infinite.
      limit: The limit.
    """

    rule: str
    outcome: Outcome
    reason: str
    stable: float | None = None
    canary: float | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None

    def finding(self) -> Finding:
        """The result as a finding."""
        return Finding(
            check=self.rule,
            severity=_SEVERITIES[self.outcome],
            message=self.reason,
            subject="canary",
            expected="" if self.limit is None else f"<= {self.limit:g}",
            observed="" if self.value is None else f"{self.value:.4g}",
        )


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What all rules say together.

    Attributes:
      decision: What is to be done.
      results: One for each rule.
      stable_requests, canary_requests: How many requests each side ended.
    """

    decision: Decision
    results: Sequence[RuleResult]
    stable_requests: int
    canary_requests: int


def judge(stable: Counts, canary: Counts, rules: RolloutRules) -> Judgement:
    """Compares what a canary did with what the stable version did in the same time.

    Args:
      stable: What the stable version counted.
      canary: What the canary counted.
      rules: The limits.
    """
    requests = [sum(_ended(counts).values()) for counts in (stable, canary)]
    enough = _enough(requests, rules)
    results = [enough]
    checks: Sequence[Callable[[Counts, Counts, RolloutRules], RuleResult]] = (_errors, _latency, _scores)
    for check in checks:
        result = check(stable, canary, rules)
        if enough.outcome is not Outcome.PASS and result.outcome in (Outcome.PASS, Outcome.FAIL):
            result = dataclasses.replace(result, outcome=Outcome.HOLD, reason=f"{result.reason}, but on too few requests")
        results.append(result)
    outcomes = {result.outcome for result in results}
    decision = Decision.HOLD if Outcome.HOLD in outcomes else Decision.PROMOTE
    if Outcome.FAIL in outcomes:
        decision = Decision.ROLLBACK
    return Judgement(decision, results, int(requests[0]), int(requests[1]))


def wilson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """The Wilson score interval of a share; everything from 0 to 1 where n is 0."""
    if not n:
        return 0.0, 1.0
    z = _z(confidence)
    p, denominator = successes / n, 1 + z * z / n
    centre, half = (p + z * z / (2 * n)) / denominator, z / denominator * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding must not keep a share of 0 or 1 out of its own interval.
    return min(max(centre - half, 0.0), p), max(min(centre + half, 1.0), p)


def difference_interval(first: tuple[float, float], second: tuple[float, float], confidence: float) -> tuple[float, float]:
    """Newcombe's interval of a difference of two shares, (successes, n) each: the first less the second."""
    p, q = (successes / n if n else 0.0 for successes, n in (first, second))
    (p_low, p_high), (q_low, q_high) = wilson(*first, confidence), wilson(*second, confidence)
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


def quantile_interval(histogram: Histogram, q: float, confidence: float) -> tuple[float, float, float]:
    """A quantile of the values in a histogram, between the ends of its interval; the upper end is infinite where ranks run out."""
    n = histogram.total
    half = _z(confidence) * math.sqrt(q * (1 - q) / n)
    high = _quantile(histogram, q + half) if q + half < 1 else math.inf
    return _quantile(histogram, max(q - half, 0.0)), _quantile(histogram, q), high


def distance_interval(first: Histogram, second: Histogram, confidence: float) -> tuple[float, float, float]:
    """The largest difference of the cumulative shares of two histograms with the same limits, between the ends of its interval."""
    shares = [[count / histogram.total for count in itertools.accumulate(histogram.counts)] for histogram in (first, second)]
    distance = max(abs(one - other) for one, other in zip(*shares, strict=True))
    # Each distribution is within its band with half of the risk.
    band = math.sqrt(math.log(4 / (1 - confidence)) / 2) * (1 / math.sqrt(first.total) + 1 / math.sqrt(second.total))
    return max(distance - band, 0.0), distance, min(distance + band, 1.0)


def _enough(requests: Sequence[float], rules: RolloutRules) -> RuleResult:
    shown = f"stable ended {requests[0]:.0f} requests, the canary {requests[1]:.0f}; each needs {rules.min_requests}"
    outcome = Outcome.PASS if min(requests) >= rules.min_requests else Outcome.HOLD
    return RuleResult("min_requests", outcome, shown, requests[0], requests[1])


def _errors(stable: Counts, canary: Counts, rules: RolloutRules) -> RuleResult:
    rule, limit = "max_error_rate_increase", rules.max_error_rate_increase
    sides = []
    for counts in (canary, stable):
        ended = _ended(counts)
        n = sum(ended.values())
        sides.append((n - ended.get("OK", 0.0), n))
    (bad, n), (stable_bad, m) = sides
    if not n or not m:
        return RuleResult(rule, Outcome.HOLD, "one side ended no requests", limit=limit)
    low, high = difference_interval(sides[0], sides[1], rules.confidence)
    share, stable_share = bad / n, stable_bad / m
    what = f"{share:.2%} of the canary's requests failed, {stable_share:.2%} of stable's"
    return _compared(rule, what, "the difference", stable_share, share, (low, share - stable_share, high), limit)


def _latency(stable: Counts, canary: Counts, rules: RolloutRules) -> RuleResult:
    rule, limit = "max_p99_ratio", rules.max_p99_ratio
    if not (stable.latency and stable.latency.total and canary.latency and canary.latency.total):
        return RuleResult(rule, Outcome.HOLD, "one side answered no request, so there is no latency to compare", limit=limit)
    lowest, base, highest = quantile_interval(stable.latency, _PERCENTILE, rules.confidence)
    low, value, high = quantile_interval(canary.latency, _PERCENTILE, rules.confidence)
    interval = (_ratio(low, highest), _ratio(value, base), _ratio(high, lowest))
    what = f"99 of 100 answers of the canary took up to {value / 1000:.3g} ms, of stable {base / 1000:.3g} ms"
    return _compared(rule, what, "the ratio", base, value, interval, limit)


def _scores(stable: Counts, canary: Counts, rules: RolloutRules) -> RuleResult:
    rule, limit = "max_score_shift", rules.max_score_shift
    if limit is None:
        return RuleResult(rule, Outcome.NOT_CHECKED, "the rules leave scores out")
    first, second = stable.scores, canary.scores
    if not (first and first.total and second and second.total):
        why = "no server told scores on both sides: only the embedded server does, for models with the output score or scores"
        return RuleResult(rule, Outcome.NOT_CHECKED, why, limit=limit)
    if first.limits != second.limits:
        return RuleResult(rule, Outcome.NOT_CHECKED, "the two servers count scores in different buckets", limit=limit)
    interval = distance_interval(first, second, rules.confidence)
    what = f"the canary's scores ({second.total:.0f}) are at most {interval[1]:.3f} apart from stable's ({first.total:.0f})"
    return _compared(rule, what, "the distance", _mean(first), _mean(second), interval, limit)


def _compared(
    rule: str, what: str, value_name: str, stable: float, canary: float, interval: tuple[float, float, float], limit: float
) -> RuleResult:
    low, value, high = interval
    if high <= limit:
        outcome, reason = Outcome.PASS, f"all below the limit {limit:g}"
    elif low > limit:
        outcome, reason = Outcome.FAIL, f"all above the limit {limit:g}"
    else:
        outcome, reason = Outcome.HOLD, f"with the limit {limit:g} inside, so more requests have to tell"
    shown = f"{what}; the interval of {value_name} is {low:.4g} to {high:.4g}, {reason}"
    return RuleResult(rule, outcome, shown, stable, canary, value, (low, high), limit)


def _ended(counts: Counts) -> dict[str, float]:
    return {status: count for status, count in counts.requests.items() if status not in _NOBODYS_FAULT}


def _quantile(histogram: Histogram, q: float) -> float:
    """The value at a share of all values, by linear interpolation; what lies beyond the last limit counts as that limit."""
    rank, below, start = q * histogram.total, 0.0, 0.0
    for limit, count in zip(histogram.limits, histogram.counts, strict=True):
        if count and below + count >= rank:
            return start if math.isinf(limit) else start + (limit - start) * (rank - below) / count
        below += count
        start = start if math.isinf(limit) else limit
    return start


def _ratio(above: float, below: float) -> float:
    if math.isinf(below):
        return 0.0
    return above / below if below else math.inf


def _mean(histogram: Histogram) -> float:
    """The mean of the values, taking each for the middle of its bucket."""
    total, start = 0.0, 0.0
    for limit, count in zip(histogram.limits, histogram.counts, strict=True):
        end = start if math.isinf(limit) else limit
        total += count * (start + end) / 2
        start = end
    return total / histogram.total


def _z(confidence: float) -> float:
    return statistics.NormalDist().inv_cdf((1 + confidence) / 2)
