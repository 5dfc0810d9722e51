"""What is unusual and what is not: synthetic days with one thing wrong, or nothing."""

import numpy as np
import pytest

from components.monitoring import detect
from components.monitoring.detect import POINT, SHIFT
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import LEVEL, ROWS, SHARE, Series, Timeline

FIRST = 20_454 - 3  # a Monday
DAYS = 84
# A series that is alone gets the whole rate, which would be an odd day in many of these tests.
OPTIONS = MonitoringOptions(unit="day", false_discovery_rate=0.0005)


def days(*series, unit="day"):
    return Timeline(unit, np.arange(FIRST, FIRST + len(series[0].counts)), series)


def rows(counts):
    counts = np.asarray(counts, np.float64)
    return Series(ROWS, "", "", counts, counts)


def share(counts, totals, value="a"):
    counts = np.asarray(counts, np.float64)
    return Series(SHARE, "label", value, counts, np.broadcast_to(np.float64(totals), counts.shape).copy())


def poisson(mean, seed=0, count=DAYS):
    return np.random.default_rng(seed).poisson(mean, count).astype(np.float64)


def binomial(totals, probability, seed=0, count=DAYS):
    return np.random.default_rng(seed).binomial(totals, probability, count).astype(np.float64)


def alarms(*series, options=OPTIONS, unit="day"):
    return detect.judge(days(*series, unit=unit), options).alarms


class TestRows:
    @pytest.mark.parametrize(("factor", "seen"), [(0.0, True), (0.5, True), (2.0, True), (1.02, False)])
    def test_a_day_that_strays_is_seen_the_same_day(self, factor, seen):
        counts = poisson(200)
        counts[60] = round(200 * factor)
        found = alarms(rows(counts))
        assert [(alarm.kind, alarm.first, alarm.last, alarm.noticed) for alarm in found] == (
            [(POINT, 60, 60, 60)] if seen else []
        )
        if seen:
            [alarm] = found
            assert alarm.observed == counts[60]
            assert alarm.expected == pytest.approx(200, rel=0.1)
            assert not alarm.low <= alarm.observed <= alarm.high
            assert alarm.change == pytest.approx(factor - 1, abs=0.1)

    def test_limits_of_a_constant_are_those_of_chance(self):
        judged = detect.judge(days(rows([100.0] * 40)), OPTIONS)
        assert judged.alarms == ()
        # One series at 0.0005: 3.81 deviations of t with 38 degrees of freedom; sqrt(1 + 1/39) for the doubt.
        reach = 3.8059 * (1 + 1 / 39) ** 0.5
        centre = 2 * (100 + 3 / 8) ** 0.5
        limits = [(centre + sign * reach) ** 2 / 4 - 1 / 8 for sign in (-1, 1)]
        assert [judged.low[39, 0], judged.high[39, 0]] == pytest.approx(limits, rel=1e-3)

    def test_the_weekend_is_no_alarm_once_it_is_known(self):
        profile = np.array([1.2, 1.1, 1.0, 1.0, 1.1, 0.4, 0.3])
        for seed in range(5):
            counts = poisson(300 * profile[np.arange(DAYS) % 7], seed)
            assert alarms(rows(counts)) == ()
        # But a Sunday like a Monday is one.
        counts[62] = 350
        [alarm] = alarms(rows(counts))
        assert (alarm.first, alarm.high < 250) == (62, True)

    def test_hours_repeat_with_the_day(self):
        hours = 24 * 12
        profile = 60 + 50 * np.sin(np.arange(hours) % 24 / 24 * 2 * np.pi)
        options = MonitoringOptions(unit="hour", history=168, false_discovery_rate=0.0005)
        counts = poisson(profile, count=hours)
        assert alarms(rows(counts), options=options, unit="hour") == ()
        night = 24 * 10 + 18
        counts[night] = 70
        assert [alarm.first for alarm in alarms(rows(counts), options=options, unit="hour")] == [night]

    def test_days_that_stray_more_than_chance_anyway_have_wider_limits(self):
        rng = np.random.default_rng(5)
        calm, wild = poisson(200), rng.poisson(rng.gamma(10, 20, DAYS)).astype(np.float64)
        narrow, wide = (detect.judge(days(rows(counts)), OPTIONS) for counts in (calm, wild))
        assert np.nanmean(wide.high - wide.low) > 3 * np.nanmean(narrow.high - narrow.low)
        assert wide.alarms == ()

    def test_a_few_rows_a_day_are_judged_as_counts(self):
        counts = poisson(1.5, 3)
        assert alarms(rows(counts)) == ()
        counts[70] = 12
        assert [alarm.first for alarm in alarms(rows(counts))] == [70]

    def test_a_gap_of_days_is_one_alarm(self):
        counts = poisson(200)
        counts[60:63] = 0
        [alarm] = alarms(rows(counts), share(np.where(counts > 0, counts / 2, 0), counts))
        assert (alarm.kind, alarm.first, alarm.last, alarm.observed) == (POINT, 60, 62, 0)

    def test_nothing_at_all_is_nothing_unusual(self):
        assert alarms(rows(np.zeros(40))) == ()
        assert detect.judge(Timeline("day", np.array([], np.int64), ()), OPTIONS).alarms == ()


class TestHistory:
    def test_the_first_days_are_not_judged(self):
        counts = poisson(200)
        counts[13] = 0
        judged = detect.judge(days(rows(counts)), OPTIONS)
        assert np.flatnonzero(np.isfinite(judged.expected[:, 0]))[0] == OPTIONS.needed_history == 14
        assert judged.alarms == ()

    def test_an_odd_day_does_not_hide_the_next(self):
        counts = poisson(200)
        counts[[40, 44, 48]] = 2000
        assert [alarm.first for alarm in alarms(rows(counts))] == [40, 44, 48]

    def test_shares_of_few_rows_are_not_judged(self):
        few, many = binomial(29, 0.5), binomial(30, 0.5)
        few[70] = many[70] = 0
        assert alarms(share(few, 29)) == ()
        assert [alarm.first for alarm in alarms(share(many, 30))] == [70]


class TestShares:
    def test_one_that_jumps_is_seen(self):
        counts = binomial(400, 0.2)
        counts[60] = 160
        one, other = alarms(share(counts, 400), share(400 - counts, 400, "b"))
        assert (one.first, one.observed, other.first, other.observed) == (60, 0.4, 60, 0.6)
        assert [one.change, other.change] == pytest.approx([0.2, -0.2], abs=0.03)

    def test_more_rows_with_the_same_shares_are_no_change_of_shares(self):
        totals = poisson(400)
        totals[60:] *= 3
        assert not any(alarm.series == 1 for alarm in alarms(rows(totals), share(np.round(totals * 0.2), totals)))

    def test_a_new_value_is_seen_and_a_rare_one_is_not(self):
        counts = np.zeros(DAYS)
        counts[[20, 50]] = 1
        assert alarms(share(counts, 400)) == ()
        counts[60:63] = 80
        [alarm] = alarms(share(counts, 400))
        assert (alarm.first, alarm.last, alarm.observed) == (60, 62, 0.2)
        assert alarm.expected < 0.001

    def test_a_few_rows_of_a_rare_value_are_judged_as_counts(self):
        # Five where 0.4 are expected: 6 in 100,000.
        counts = binomial(400, 0.001, 2)
        counts[60] = 5
        careful = OPTIONS.model_copy(update={"warning": OPTIONS.warning.model_copy(update={"share": 0.005})})
        assert [alarm.first for alarm in alarms(share(counts, 400), options=careful)] == [60]

    def test_a_value_that_disappears_is_seen(self):
        counts = binomial(400, 0.1)
        counts[60:] = 0
        [alarm] = alarms(share(counts, 400))
        assert (alarm.kind, alarm.first, alarm.observed) == (SHIFT, 60, 0)

    def test_a_sure_but_small_change_is_not_worth_a_word(self):
        counts = binomial(10**6, 0.2)
        counts[60] = 210_000  # ten times what chance does, and one point
        assert alarms(share(counts, 10**6)) == ()
        careful = OPTIONS.model_copy(update={"warning": OPTIONS.warning.model_copy(update={"share": 0.005})})
        assert [alarm.first for alarm in alarms(share(counts, 10**6), options=careful)] == [60]


class TestLastingChanges:
    def test_a_step_too_small_for_a_day_is_seen_by_its_sum(self):
        counts = binomial(400, 0.2, 1)
        counts[60:] = binomial(400, 0.245, 2)[60:]
        judged = detect.judge(days(share(counts, 400)), OPTIONS)
        [alarm] = judged.alarms
        assert alarm.kind == SHIFT
        assert abs(alarm.first - 60) <= 4
        assert alarm.noticed <= 70
        assert alarm.observed == pytest.approx(0.245, abs=0.02)
        # From there on the new level is what is expected.
        assert judged.expected[-1, 0] == pytest.approx(0.245, abs=0.015)

    def test_a_slow_drift_is_seen(self):
        totals, drift = 400, np.clip((np.arange(DAYS) - 40) * 0.003, 0, 0.12)
        counts = np.random.default_rng(1).binomial(totals, 0.2 + drift).astype(np.float64)
        found = alarms(share(counts, totals))
        # By its sum, then again where it has gone on.
        assert {alarm.kind for alarm in found} == {SHIFT}
        assert 45 <= found[0].noticed <= 70

    def test_a_large_step_is_an_alarm_at_once_and_then_the_new_normal(self):
        counts = poisson(200)
        counts[50:] = poisson(500, 1)[50:]
        [alarm] = alarms(rows(counts))
        assert (alarm.kind, alarm.first, alarm.noticed) == (SHIFT, 50, 50)
        assert alarm.observed == pytest.approx(500, rel=0.05)
        assert alarm.expected == pytest.approx(200, rel=0.05)

    def test_a_second_one_is_seen_as_well(self):
        counts = poisson(200, count=120)
        counts[40:80] = poisson(500, 1, 40)
        counts[80:] = poisson(200, 2, 40)
        assert [(alarm.kind, alarm.first) for alarm in alarms(rows(counts))] == [(SHIFT, 40), (SHIFT, 80)]

    @pytest.mark.parametrize("seed", [0, 2])
    def test_waves_of_a_few_days_are_no_change(self, seed):
        rng = np.random.default_rng(seed)
        wave, x = np.zeros(250), 0.0
        for day in range(250):
            x = 0.6 * x + rng.normal(0, 0.08)
            wave[day] = x
        assert alarms(rows(rng.poisson(500 * np.exp(wave)))) == ()


def fares(factor_from_60=100):
    """A hundred fares a day; from day 60 on in another unit."""
    rng = np.random.default_rng(0)
    sums, squares = np.zeros(DAYS), np.zeros(DAYS)
    for day in range(DAYS):
        levels = np.log1p(rng.lognormal(3, 1, 100) * (factor_from_60 if day >= 60 else 1))
        sums[day], squares[day] = levels.sum(), (levels**2).sum()
    return Series(LEVEL, "fare", "", sums, np.full(DAYS, 100.0), squares)


def test_a_change_of_unit_is_seen():
    [alarm] = alarms(fares())
    assert (alarm.kind, alarm.first, alarm.noticed) == (SHIFT, 60, 60)
    assert 50 < alarm.observed / alarm.expected < 150


def test_with_nothing_wrong_it_is_quiet():
    """40 series over a year, without a smallest change: 3.5 periods with an alarm and as many sums are the rate asked for."""
    rng = np.random.default_rng(11)
    totals = poisson(400 * np.array([1, 1, 1, 1, 1.1, 0.5, 0.4])[np.arange(365) % 7], 1, 365)
    shares = [
        share(rng.binomial(totals.astype(int), probability).astype(np.float64), totals, str(number))
        for number, probability in enumerate(np.geomspace(0.001, 0.5, 39))
    ]
    nothing = dict.fromkeys(("rows", "share", "level"), 0.0)
    options = MonitoringOptions.model_validate({"warning": nothing, "false_discovery_rate": 0.01})
    assert len(alarms(rows(totals), *shares, options=options)) <= 8


def test_what_is_judged_of_a_day_does_not_depend_on_later_ones():
    counts = poisson(200)
    counts[50:] = poisson(320, 1)[50:]
    timeline = days(rows(counts), share(np.minimum(counts, 100), 400), fares())
    whole, part = detect.judge(timeline, OPTIONS), detect.judge(timeline.between(0, 62), OPTIONS)
    np.testing.assert_array_equal(part.low, whole.low[:62])


def test_only_what_matters_is_judged_and_the_history_before_it():
    counts = poisson(200, count=120)
    counts[[20, 100]] = 500
    judged = detect.judge(days(rows(counts)), OPTIONS, since=110)
    assert np.flatnonzero(np.isfinite(judged.expected[:, 0]))[0] == 110 - OPTIONS.looked_back
    assert [alarm.first for alarm in judged.alarms] == [100]
