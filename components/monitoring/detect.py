"""What is unusual in a timeline: periods that stray from their baseline, and changes that last.

Periods are judged in order, each by those before it. Two tests run side by side:

- A period strays: its count, share or typical value is too unlikely under the baseline (see `baseline`, `limits`), with
  Benjamini-Hochberg over all series of the period. The number of rows, the shares of each column, the missing cells and the typical
  values are families of the same weight. What strays is left out of later baselines.
- A change lasts: a two-sided CUSUM (Page, "Continuous inspection schemes", Biometrika 41, 1954) of what is left of each period adds up
  small deviations of one direction, so it also sees a slow drift or a small step that no single period shows. It says since when. Where
  deviations of neighbours resemble each other anyway, they are scaled down by sqrt((1 - r) / (1 + r)) for a correlation of r.

After a change that lasts, what came before it no longer says what to expect: the series learns its baseline anew from there. Nothing is
reported that is smaller than the limit for warnings.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from components.monitoring import baseline, limits, periods
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import LEVEL, ROWS, SHARE, Timeline

POINT, SHIFT = "point", "shift"

# A change of half a standard deviation per period is noise to the CUSUM: the usual choice against changes of one.
_ALLOWANCE = 0.5
_CLIP = 3.0
_MOST_CORRELATION = 0.8
# Deviations that speak for a correlation of zero before any are seen.
_PRIOR = 10.0
_FEWEST_TO_RELEARN = 4


@dataclasses.dataclass(frozen=True)
class Alarm:
    """Something unusual in one series.

    Attributes:
      series: Its index in the timeline.
      kind: `point`, consecutive periods that stray, or `shift`, a change that lasts.
      first, last: Indices of the first and the last period of it; for a shift, the last is where it was noticed.
      noticed: Index of the period that raised it.
      observed: Rows, share or typical value: of the period that strays most, or of all periods since the shift.
      expected: What was expected in its place.
      low, high: The limits of what would not have been reported; equal to `expected` for a shift, which its sum gives away.
      change: Relative to what was expected, or for shares the difference.
    """

    series: int
    kind: str
    first: int
    last: int
    noticed: int
    observed: float
    expected: float
    low: float
    high: float
    change: float


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """A timeline with what was expected of it.

    Attributes:
      timeline: What was judged.
      expected, low, high: float64 [periods, series]; NaN where a period was not judged.
      alarms: By the period that raised them.
    """

    timeline: Timeline
    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    alarms: tuple[Alarm, ...]


def judge(timeline: Timeline, options: MonitoringOptions, since: int = 0) -> Judged:
    """Judges the periods of a timeline that have enough history.

    Args:
      timeline: The series.
      options: How far back to look, and what is unlikely enough.
      since: Index of the first period that matters. The history before it is judged as well, so that what was odd in it does not
        count as usual; what is older is neither judged nor needed.
    """
    state = _State(timeline, options)
    for index in range(max(0, since - options.looked_back), len(timeline.periods)):
        state.step(index)
    return state.result()


def change_of(measure: str, observed: float, expected: float) -> float:
    """Returns how much two values differ: relative to what was expected, for shares the difference itself."""
    scale = max(expected, 1.0) if measure == ROWS else max(abs(expected), 1e-9) if measure == LEVEL else 1.0
    return float((observed - expected) / scale)


class _State:
    """What judging has learned up to a period."""

    def __init__(self, timeline: Timeline, options: MonitoringOptions):
        self._timeline, self._options = timeline, options
        series, shape = timeline.series, (len(timeline.periods), len(timeline.series))
        self._expected, self._low, self._high = (np.full(shape, np.nan) for _ in range(3))
        self._alarms: list[Alarm] = []
        if not series:
            return
        self._seasons = periods.seasons(timeline.periods, timeline.unit)
        self._measures = np.array([one.measure for one in series])
        self._k, self._n = (np.stack([getattr(one, name) for one in series], 1) for name in ("counts", "totals"))
        self._seen = np.stack([one.values for one in series], 1)
        self._scaled = baseline.scaled(series)
        self._is_rows, is_level = self._measures == ROWS, self._measures == LEVEL
        self._is_share = ~self._is_rows & ~is_level
        self._enough = self._is_rows | (self._n >= options.minimum_rows)
        self._smallest = np.array([_limit(options, measure) for measure in self._measures])
        self._strays = np.zeros(shape, bool)
        self._deviations = np.full(shape, np.nan)
        self._since = np.zeros(shape[1], np.int64)
        self._sums = np.zeros((2, shape[1]))  # of deviations upwards and downwards
        self._began = np.zeros((2, shape[1]), np.int64)
        self._open: dict[int, int] = {}  # the place in the alarms of a series' last point alarm
        self._rate = options.false_discovery_rate
        _, self._families = np.unique(
            [f"{one.measure} {one.column if one.measure == SHARE else ''}" for one in series], return_inverse=True
        )
        self._heights = limits.cusum_limit(self._rate * limits.weights(self._families) / len(series), _ALLOWANCE)
        self._relearn = max(_FEWEST_TO_RELEARN, options.needed_history // 2)

    def result(self) -> Judged:
        alarms = sorted(self._alarms, key=lambda alarm: (alarm.noticed, alarm.series))
        return Judged(self._timeline, self._expected, self._low, self._high, tuple(alarms))

    def step(self, t: int) -> None:
        """Judges one period."""
        if not self._timeline.series:
            return
        first = max(0, t - self._options.looked_back)
        used = self._enough[first:t] & ~self._strays[first:t] & (np.arange(first, t)[:, None] >= self._since)
        needed = np.where(self._since > 0, self._relearn, self._options.needed_history)
        chosen = np.flatnonzero((used.sum(0) >= needed) & self._enough[t])
        if not len(chosen):
            return
        used = used[:, chosen]
        forecast = baseline.forecast(
            self._scaled.x[first:t, chosen],
            self._scaled.variance[first:t, chosen],
            used,
            [places[first:t] for places in self._seasons],
            [int(places[t]) for places in self._seasons],
            self._scaled.variance[t, chosen],
        )
        expected = baseline.values(self._measures[chosen], forecast.x)
        deviations = (self._scaled.x[t, chosen] - forecast.x) / np.sqrt(forecast.variance)
        probabilities, expected, extra, sparse = self._tails(t, first, chosen, used, forecast, expected, deviations)
        weights = limits.weights(self._families[chosen])
        named = limits.rejected(probabilities, self._rate, weights)
        least = self._rate * weights * max(named.sum(), 1) / len(chosen)
        self._remember_limits(t, chosen, forecast, expected, extra, sparse, least)
        for place in np.flatnonzero(named):
            self._point(t, int(chosen[place]))
        calm = ~self._strays[t, chosen] & ~sparse
        self._add_up(t, chosen[calm], deviations[calm])

    def _tails(
        self,
        t: int,
        first: int,
        chosen: np.ndarray,
        used: np.ndarray,
        forecast: baseline.Forecast,
        expected: np.ndarray,
        deviations: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities of what is seen, what was expected, the variance beyond chance, and which counts are small.

        Small counts are expected to be what all of their history together was.
        """
        k, n = self._k[t, chosen], self._n[t, chosen]
        rows, shares = self._is_rows[chosen], self._is_share[chosen]
        past_k, past_n = (np.where(used, part[first:t, chosen], 0.0) for part in (self._k, self._n))
        history, total = used.sum(0), np.maximum(past_n.sum(0), 1)
        mean = past_k.sum(0) / history
        # Half a row more in both directions: what was never seen is rare, not impossible.
        pooled = (past_k.sum(0) + 0.5) / (total + 1)
        expected_rows = np.where(shares, n * np.minimum(pooled, 1 - pooled), mean)
        sparse = (rows | shares) & (expected_rows < baseline.SPARSE)
        expected = np.where(sparse, np.where(rows, mean, pooled), expected)

        extra = forecast.extra.copy()
        if sparse.any():
            chance = np.where(rows, np.maximum(mean, 0.5), past_n * pooled * (1 - pooled))
            square = (past_k - np.where(rows, mean, past_n * pooled)) ** 2 / np.maximum(chance, 1e-9)
            dispersion = np.maximum(np.where(used, square, 0.0).sum(0) / np.maximum(history - 1, 1), 1.0)
            for_rows = dispersion - 1 + dispersion / history
            for_shares = (dispersion - 1) / (4 * total / history) + dispersion / (4 * total)
            extra = np.where(sparse, np.where(rows, for_rows, for_shares), extra)
        by_count = np.where(rows, limits.of_rows(k, expected, extra), 0.0)
        by_count = np.where(shares, limits.of_shares(np.where(shares, k, 0), n, np.where(shares, expected, 0.5), extra), by_count)
        by_deviation = np.where(sparse, 0.0, limits.of_deviations(deviations, forecast.freedom))
        return np.maximum(by_count, by_deviation), expected, extra, sparse

    def _remember_limits(
        self,
        t: int,
        chosen: np.ndarray,
        forecast: baseline.Forecast,
        expected: np.ndarray,
        extra: np.ndarray,
        sparse: np.ndarray,
        probability: np.ndarray,
    ) -> None:
        """The band of what is not less likely than the probability that would be named."""
        reach = limits.deviation_of(probability, forecast.freedom) * np.sqrt(forecast.variance)
        measures, rows = self._measures[chosen], self._is_rows[chosen]
        low, high = baseline.values(measures, forecast.x - reach), baseline.values(measures, forecast.x + reach)
        few = np.flatnonzero(sparse)
        low[few], high[few] = limits.of_few(
            expected[few], np.where(rows, np.nan, self._n[t, chosen])[few], extra[few], probability[few]
        )
        self._expected[t, chosen] = expected
        self._low[t, chosen] = np.minimum(low, expected)
        self._high[t, chosen] = np.maximum(high, expected)

    def _point(self, t: int, series: int) -> None:
        change = change_of(self._measures[series], self._seen[t, series], self._expected[t, series])
        if abs(change) < self._smallest[series]:
            return
        self._strays[t, series] = True
        observed, expected = float(self._seen[t, series]), float(self._expected[t, series])
        low, high = float(self._low[t, series]), float(self._high[t, series])
        alarm = Alarm(series, POINT, t, t, t, observed, expected, low, high, change)
        place = self._open.get(series)
        before = None if place is None else self._alarms[place]
        if place is None or before is None or not self._continues(before, t, change):
            self._open[series] = len(self._alarms)
            self._alarms.append(alarm)
            return
        worst = max(before, alarm, key=lambda one: abs(one.change))
        merged = dataclasses.replace(worst, kind=before.kind, first=before.first, last=t, noticed=before.noticed)
        if self._strays[merged.first :, series].sum() >= self._relearn:
            merged = self._lasting(series, merged.first, t, merged.noticed)
            self._restart(series, merged.first)
        self._alarms[place] = merged

    def _continues(self, before: Alarm, t: int, change: float) -> bool:
        """Whether a period that strays goes on with an alarm: same direction, and nothing in between was judged to be calm."""
        if before.kind != POINT or (change > 0) != (before.change > 0):
            return False
        between = slice(before.last + 1, t)
        return not (self._enough[between, before.series] & ~self._strays[between, before.series]).any()

    def _add_up(self, t: int, chosen: np.ndarray, deviations: np.ndarray) -> None:
        """One step of the CUSUMs."""
        self._deviations[t, chosen] = deviations
        correlation = self._correlation(t, chosen)
        steps = np.clip(deviations * np.sqrt((1 - correlation) / (1 + correlation)), -_CLIP, _CLIP)
        for direction, sign in enumerate((1.0, -1.0)):
            before = self._sums[direction, chosen]
            self._began[direction, chosen] = np.where(before == 0, t, self._began[direction, chosen])
            self._sums[direction, chosen] = np.maximum(before + sign * steps - _ALLOWANCE, 0.0)
        for series in chosen[(self._sums[:, chosen] > self._heights[chosen]).any(0)]:
            self._shift(t, int(series))

    def _shift(self, t: int, series: int) -> None:
        start = int(self._began[int(self._sums[:, series].argmax()), series])
        alarm = self._lasting(series, start, t, t)
        if abs(alarm.change) < self._smallest[series]:
            self._sums[:, series] = 0.0
            return
        self._alarms.append(alarm)
        self._restart(series, start)

    def _lasting(self, series: int, start: int, t: int, noticed: int) -> Alarm:
        """A change from a period on, by all periods since."""
        since = np.arange(start, t + 1)
        since = since[self._enough[start : t + 1, series] & np.isfinite(self._expected[start : t + 1, series])]
        observed = _typical(self._measures[series], self._k[since, series], self._n[since, series])
        expected = float(self._expected[since, series].mean())
        change = change_of(self._measures[series], observed, expected)
        return Alarm(series, SHIFT, start, t, noticed, observed, expected, expected, expected, change)

    def _restart(self, series: int, start: int) -> None:
        """Learns a series anew from where it changed."""
        self._since[series] = start
        self._strays[start:, series] = False
        self._sums[:, series] = 0.0
        self._open.pop(series, None)

    def _correlation(self, t: int, chosen: np.ndarray) -> np.ndarray:
        """How much deviations resemble those one period before, not below zero; few of them say little."""
        first = max(0, t - self._options.looked_back)
        past = self._deviations[first:t, chosen]
        past = np.clip(np.where(np.isfinite(past), past, 0.0), -_CLIP, _CLIP)
        products, squares = (past[1:] * past[:-1]).sum(0), (past**2).sum(0)
        return np.clip(products / (squares + _PRIOR), 0.0, _MOST_CORRELATION)


def _limit(options: MonitoringOptions, measure: str) -> float:
    return {ROWS: options.warning.rows, LEVEL: options.warning.level}.get(measure, options.warning.share)


def _typical(measure: str, k: np.ndarray, n: np.ndarray) -> float:
    if measure == ROWS:
        return float(k.mean())
    mean = k.sum() / max(n.sum(), 1.0)
    return float(baseline.values(np.array([LEVEL]), np.array([mean]))[0]) if measure == LEVEL else float(mean)
