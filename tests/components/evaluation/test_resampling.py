import warnings

import numpy as np
import pytest

from components.evaluation import resampling

ROWS, REPLICATES = 20_000, 60


@pytest.fixture(scope="module")
def drawn():
    return resampling.poisson_weights(resampling.units(0, ROWS, salt=1), REPLICATES, seed=0)


class TestUnits:
    def test_belong_to_rows_and_not_to_batches(self):
        whole = resampling.units(0, 1000, salt=5)
        parts = [resampling.units(start, 100, salt=5) for start in range(0, 1000, 100)]
        assert np.array_equal(np.concatenate(parts), whole)

    def test_differ_between_rows_and_files(self):
        files = np.concatenate([resampling.units(0, 10_000, salt) for salt in (0, 1, 2, 2**63, -1)])
        assert len(np.unique(files)) == 50_000

    @pytest.mark.parametrize("salt", [0, -1, 2**64 - 1, 2**80])
    def test_any_integer_is_a_salt(self, salt):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert resampling.units(0, 3, salt).dtype == np.uint64


class TestPoissonWeights:
    def test_the_first_column_is_the_sample_itself(self, drawn):
        assert drawn.shape == (ROWS, 1 + REPLICATES)
        assert (drawn[:, 0] == 1).all()

    def test_follow_a_poisson_distribution(self, drawn):
        values, counts = np.unique(drawn[:, 1:], return_counts=True)
        share = dict(zip(values.tolist(), counts / counts.sum(), strict=True))
        for times, expected in enumerate([0.36788, 0.36788, 0.18394, 0.06131, 0.01533, 0.00307]):
            assert share[times] == pytest.approx(expected, abs=0.002)
        assert drawn[:, 1:].mean() == pytest.approx(1, abs=0.003)
        assert drawn[:, 1:].var() == pytest.approx(1, abs=0.01)

    def test_every_replicate_has_mean_and_variance_1(self, drawn):
        error = 1 / np.sqrt(ROWS)
        assert np.abs(drawn[:, 1:].mean(axis=0) - 1).max() < 4 * error
        # The variance of the squared deviation of Poisson(1) is 3.
        assert np.abs(drawn[:, 1:].var(axis=0) - 1).max() < 4 * error * np.sqrt(3)

    def test_replicates_are_independent_of_each_other(self, drawn):
        correlation = np.corrcoef(drawn[:, 1:], rowvar=False) - np.eye(REPLICATES)
        # Of 1770 pairs the largest correlation of independent columns is about 3.6 standard errors.
        assert np.abs(correlation).max() < 5 / np.sqrt(ROWS)

    def test_rows_that_follow_each_other_are_independent(self, drawn):
        ahead, behind = drawn[:-1, 1:].ravel(), drawn[1:, 1:].ravel()
        assert abs(np.corrcoef(ahead, behind)[0, 1]) < 4 / np.sqrt(len(ahead))

    def test_the_same_rows_get_the_same_weights_in_any_order_and_batch(self, drawn):
        unit = resampling.units(0, ROWS, salt=1)
        order = np.random.default_rng(0).permutation(ROWS)[:3000]
        assert np.array_equal(resampling.poisson_weights(unit[order], REPLICATES, seed=0), drawn[order])
        assert np.array_equal(resampling.poisson_weights(unit[7:8], REPLICATES, seed=0), drawn[7:8])

    def test_more_replicates_keep_the_first_ones(self, drawn):
        unit = resampling.units(0, 500, salt=1)
        assert np.array_equal(resampling.poisson_weights(unit, 7, seed=0), drawn[:500, :8])

    @pytest.mark.parametrize("seed", [1, 2**32, 2**40])
    def test_another_seed_draws_independently(self, drawn, seed):
        other = resampling.poisson_weights(resampling.units(0, ROWS, salt=1), REPLICATES, seed)
        assert abs(np.corrcoef(other[:, 1:].ravel(), drawn[:, 1:].ravel())[0, 1]) < 4 / np.sqrt(ROWS * REPLICATES)

    def test_another_file_draws_independently(self, drawn):
        other = resampling.poisson_weights(resampling.units(0, ROWS, salt=2), REPLICATES, seed=0)
        assert abs(np.corrcoef(other[:, 1:].ravel(), drawn[:, 1:].ravel())[0, 1]) < 4 / np.sqrt(ROWS * REPLICATES)

    def test_equal_units_are_drawn_together(self):
        unit = np.array([9, 4, 9, 9, 4], np.uint64)
        weights = resampling.poisson_weights(unit, 50, seed=3)
        assert np.array_equal(weights[0], weights[2])
        assert np.array_equal(weights[0], weights[3])
        assert np.array_equal(weights[1], weights[4])
        assert not np.array_equal(weights[0], weights[1])

    def test_no_rows_and_no_replicates(self):
        assert resampling.poisson_weights(np.empty(0, np.uint64), 5, seed=0).shape == (0, 6)
        assert resampling.poisson_weights(np.arange(3, dtype=np.uint64), 0, seed=0).tolist() == [[1], [1], [1]]
