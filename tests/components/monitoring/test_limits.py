"""Tails and limits, beside numbers computed by hand."""

import math

import numpy as np
import pytest

from components.monitoring import limits


def array(*values):
    return np.array(values, np.float64)


class TestRows:
    def test_without_dispersion_they_are_poissons(self):
        # No row where 5 were expected: exp(-5), on both sides.
        assert limits.of_rows(array(0), array(5), array(0)) == pytest.approx([2 * math.exp(-5)])
        # 12 or more where 4 were expected: one less the first twelve terms.
        above = 1 - sum(math.exp(-4) * 4**k / math.factorial(k) for k in range(12))
        assert limits.of_rows(array(12), array(4), array(0)) == pytest.approx([2 * above])

    def test_with_dispersion_they_are_negative_binomial(self):
        # Mean 4 and variance 8: r = 4, p = 1/2, P(K = k) = C(k + 3, 3) / 2^(k + 4).
        assert limits.of_rows(array(0), array(4), array(1)) == pytest.approx([2 / 16])
        above = 1 - sum(math.comb(k + 3, 3) / 2 ** (k + 4) for k in range(12))
        assert limits.of_rows(array(12), array(4), array(1)) == pytest.approx([2 * above])

    def test_none_expected_and_none_there_is_nothing_odd(self):
        assert limits.of_rows(array(0), array(0), array(0)) == [1.0]


class TestShares:
    def test_without_dispersion_they_are_binomial(self):
        above = sum(math.comb(20, k) * 0.1**k * 0.9 ** (20 - k) for k in range(8, 21))
        assert limits.of_shares(array(8), array(20), array(0.1), array(0)) == pytest.approx([2 * above])
        assert limits.of_shares(array(0), array(20), array(0.3), array(0)) == pytest.approx([2 * 0.7**20])
        assert limits.of_shares(array(20), array(20), array(0.7), array(0)) == pytest.approx([2 * 0.7**20])

    def test_rows_that_stray_twice_as_much_count_half(self):
        # 1 + 4 n extra = 2
        assert limits.of_shares(array(16), array(40), array(0.1), array(1 / 160)) == pytest.approx(
            limits.of_shares(array(8), array(20), array(0.1), array(0))
        )


class TestFew:
    @pytest.mark.parametrize("probability", [1e-2, 1e-3, 1e-5])
    @pytest.mark.parametrize("expected", [0.2, 1.0, 4.0])
    def test_rows_are_few_up_to_where_more_become_unlikely(self, expected, probability):
        low, [high] = limits.of_few(array(expected), array(np.nan), array(0), array(probability))
        assert low == 0
        assert limits.of_rows(np.ceil(array(high) + 0.01), array(expected), array(0)) <= probability
        assert limits.of_rows(np.floor(array(high) - 0.01), array(expected), array(0)) > probability

    def test_so_are_shares_and_nearly_all_rows_are_few_of_the_other_kind(self):
        ends = limits.of_few(array(0.01, 0.99), array(100, 100), array(0.001, 0.001), array(1e-3, 1e-3))
        assert ends[0] == pytest.approx([0, 1 - ends[1][0]], abs=1e-9)
        assert ends[1][1] == 1
        at_the_end = limits.of_shares(100 * ends[1][:1], array(100), array(0.01), array(0.001))
        assert at_the_end == pytest.approx([1e-3], rel=0.05)


def test_deviations_have_longer_tails_where_little_is_known():
    few, many = limits.of_deviations(array(4, 4), array(5, 1e9))
    assert many == pytest.approx(math.erfc(4 / math.sqrt(2)), rel=1e-4)
    assert few > 100 * many
    assert limits.of_deviations(limits.deviation_of(0.003, array(7)), array(7)) == pytest.approx(0.003)


class TestFalseDiscoveries:
    def test_the_worked_example(self):
        # Limits 0.01 0.02 0.03 0.04 0.05: the second is the last below its own.
        assert limits.rejected(array(0.001, 0.6, 0.039, 0.008, 0.041), 0.05).tolist() == [True, False, False, True, False]

    def test_one_that_fits_takes_all_smaller_ones_along(self):
        assert limits.rejected(array(0.02, 0.021, 0.022, 0.04), 0.04).tolist() == [True, True, True, True]

    def test_of_nothing_there_is_nothing_to_name(self):
        assert limits.rejected(array(), 0.01).tolist() == []

    def test_a_family_of_one_counts_as_much_as_one_of_four(self):
        weights = limits.weights(np.array(["rows", "label", "label", "label", "label"]))
        assert weights.tolist() == [2.5, 0.625, 0.625, 0.625, 0.625]
        # Half of the rate is for the rows, half for the labels together.
        for probabilities, named in (([0.0049, 1, 1, 1, 1], 1), ([0.0051, 1, 1, 1, 1], 0), ([1, 0.0013, 1, 1, 1], 0)):
            assert limits.rejected(array(*probabilities), 0.01, weights).sum() == named


def test_a_cusum_alarms_as_rarely_as_asked():
    # Siegmund's average run of a two-sided CUSUM.
    b = limits.cusum_limit(array(0.01, 0.0002), 0.5) + 1.166
    assert np.exp(b) - b - 1 == pytest.approx(array(100, 5000), rel=1e-6)
    # Measured, at a rate that alarms often enough to count: about 50 periods from one to the next.
    rng = np.random.default_rng(0)
    height, sums, alarms = limits.cusum_limit(array(0.02), 0.5), np.zeros((2, 400)), 0
    for step in rng.normal(size=(2000, 400)):
        sums = np.maximum(sums + np.stack([step, -step]) - 0.5, 0)
        over = (sums > height).any(0)
        alarms += over.sum()
        sums[:, over] = 0
    assert 2000 * 400 / alarms == pytest.approx(50, rel=0.1)
