"""What is expected of a period, beside numbers computed by hand."""

import numpy as np
import pytest

from components.monitoring import baseline
from components.monitoring.series import LEVEL, ROWS, SHARE, Series, level_of


def of_rows(*counts):
    counts = np.array(counts, np.float64)
    return Series(ROWS, "", "", counts, counts)


def expect(x, variance=1.0, used=None, seasons=(), now=(), variance_now=1.0):
    """The forecast of one series."""
    x = np.asarray(x, np.float64)[:, None]
    used = np.ones_like(x, bool) if used is None else np.asarray(used)[:, None]
    return baseline.forecast(x, np.full_like(x, variance), used, seasons, now, np.array([variance_now]))


class TestScales:
    def test_rows(self):
        scaled = baseline.scaled([of_rows(0, 100)])
        assert scaled.x[:, 0] == pytest.approx([2 * 0.375**0.5, 2 * 100.375**0.5])
        assert scaled.variance[:, 0] == pytest.approx([1, 1])

    def test_shares(self):
        one = Series(SHARE, "label", "a", np.array([5.0, 0.0]), np.array([20.0, 0.0]))
        scaled = baseline.scaled([one])
        assert scaled.x[:, 0] == pytest.approx([np.arcsin((5.375 / 20.75) ** 0.5), np.arcsin(0.5**0.5)])
        assert scaled.variance[:, 0] == pytest.approx([1 / 82, 1 / 2])

    def test_typical_values(self):
        levels = level_of(np.array([1.0, 3.0, 10.0]))
        one = Series(LEVEL, "x", "", np.array([levels.sum()]), np.array([3.0]), np.array([(levels**2).sum()]))
        scaled = baseline.scaled([one])
        assert scaled.x[0, 0] == pytest.approx(levels.mean())
        assert scaled.variance[0, 0] == pytest.approx(levels.var(ddof=1) / 3)
        assert baseline.values(np.array([LEVEL]), levels.mean()) == pytest.approx([(2 * 4 * 11) ** (1 / 3) - 1])

    def test_there_and_back(self):
        # The root of a count of mean 50 has nearly this mean: 2 sqrt(50 + 1/8).
        measures = np.array([ROWS, SHARE])
        assert baseline.values(measures, np.array([2 * 50.125**0.5, np.arcsin(0.2**0.5)])) == pytest.approx([50, 0.2])


class TestForecast:
    def test_of_a_constant_it_is_the_constant_and_chance(self):
        forecast = expect([7.0] * 20)
        assert forecast.x == pytest.approx([7.0])
        # Chance, and a twentieth of it for the doubt about the level.
        assert forecast.variance == pytest.approx([1.05])
        assert forecast.freedom == pytest.approx([19])

    def test_dispersion_beyond_chance_widens_it(self):
        x = np.random.default_rng(1).normal(50, 3, 4000)
        assert expect(x).variance[0] == pytest.approx(9, rel=0.1)

    def test_less_than_chance_does_not_narrow_it(self):
        x = np.random.default_rng(1).normal(50, 0.1, 400)
        assert expect(x).variance[0] == pytest.approx(1, rel=0.01)

    def test_a_few_odd_periods_move_and_widen_it_little(self):
        x = np.random.default_rng(2).normal(50, 1, 56)
        odd = x.copy()
        odd[[5, 20, 40]] = 100
        assert expect(odd).x == pytest.approx(expect(x).x, abs=0.3)
        assert expect(odd).variance[0] < 2 * expect(x).variance[0]

    def test_what_is_not_used_does_not_count(self):
        used = np.ones(20, bool)
        used[3] = False
        assert expect([*[7.0] * 3, 1000.0, *[7.0] * 16], used=used).x == pytest.approx([7.0])

    def test_weekdays_are_learned(self):
        places = np.arange(56) % 7
        x = np.where(places == 6, 10.0, 20.0) + np.random.default_rng(3).normal(0, 0.5, 56)
        sunday, monday = (expect(x, 0.25, seasons=[places], now=[day], variance_now=0.25) for day in (6, 0))
        assert sunday.x == pytest.approx([10], abs=0.6)
        assert monday.x == pytest.approx([20], abs=0.6)
        assert monday.variance[0] < 1

    def test_weekdays_that_are_chance_are_not(self):
        rng = np.random.default_rng(4)
        places = np.arange(56) % 7
        x = rng.normal(20, 1, (56, 300))
        forecast = baseline.forecast(x, np.ones_like(x), np.ones_like(x, bool), [places], [0], np.ones(300))
        alone = baseline.forecast(x, np.ones_like(x), np.ones_like(x, bool), [], [], np.ones(300))
        # A weekday's own mean of eight would stray from that of all by 0.33.
        assert np.std(forecast.x - alone.x) < 0.2
