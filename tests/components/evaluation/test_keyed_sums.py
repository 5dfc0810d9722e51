import collections

import numpy as np
import pytest

from components.evaluation.keyed_sums import KeyedSums, distinct


def by_dictionary(batches, width):
    """The same sums, row by row."""
    sums = collections.defaultdict(lambda: np.zeros(width))
    for keys, values, scale in batches:
        for row, row_keys in enumerate(keys):
            for key in row_keys[row_keys >= 0]:
                sums[key] += values[row] * (1 if scale is None else scale[row])
    return dict(sums)


def random_batches(count, highest, width, groups=3, rows=40, seed=0):
    random = np.random.default_rng(seed)
    for batch in range(count):
        keys = random.integers(-2, highest, (rows, groups))
        scale = random.random(rows) if batch % 2 else None
        yield keys, random.random((rows, width)), scale


class TestAdd:
    @pytest.mark.parametrize("highest", [5, 1000, 2**40])
    def test_equals_a_dictionary(self, highest):
        sums, batches = KeyedSums(2), list(random_batches(6, highest, 2))
        for batch in batches:
            sums.add(*batch)
        expected = by_dictionary(batches, 2)
        assert sums.keys.tolist() == sorted(expected)
        assert np.allclose(sums.sums, [expected[key] for key in sorted(expected)], rtol=1e-12)

    def test_a_key_twice_in_a_row_counts_twice(self):
        sums = KeyedSums(1)
        sums.add(np.array([[4, 4]]), np.array([[3.0]]))
        assert sums.sums.tolist() == [[6]]

    def test_negative_keys_count_nowhere(self):
        sums = KeyedSums(1)
        sums.add(np.array([[-1, -5], [-2, -1]]), np.ones((2, 1)))
        assert len(sums.keys) == 0
        sums.add(np.array([[-1, 3]]), np.ones((1, 1)))
        assert sums.keys.tolist() == [3]

    def test_no_rows_change_nothing(self):
        sums = KeyedSums(1)
        sums.add(np.empty((0, 2), np.int64), np.empty((0, 1)))
        assert len(sums.keys) == 0

    def test_float32_stays_float32(self):
        sums = KeyedSums(3, np.float32)
        sums.add(np.array([[1], [1]]), np.ones((2, 3), np.float32), scale=np.array([True, False]))
        assert sums.sums.dtype == np.float32
        assert sums.sums.tolist() == [[1, 1, 1]]

    def test_a_row_of_scale_0_still_makes_its_key_known(self):
        sums = KeyedSums(1)
        sums.add(np.array([[7]]), np.ones((1, 1)), scale=np.zeros(1))
        assert (sums.keys.tolist(), sums.sums.tolist()) == ([7], [[0]])


class TestMerge:
    def test_equals_one_pass(self):
        batches = list(random_batches(8, 60, 2, seed=1))
        whole, parts = KeyedSums(2), [KeyedSums(2) for _ in range(4)]
        for number, batch in enumerate(batches):
            whole.add(*batch)
            parts[number % 4].add(*batch)
        merged = KeyedSums(2)
        for part in parts:
            merged.merge(part)
        assert np.array_equal(merged.keys, whole.keys)
        assert np.allclose(merged.sums, whole.sums, rtol=1e-12)

    def test_translates_keys_and_forgets_negative_ones(self):
        ours, theirs = KeyedSums(1), KeyedSums(1)
        ours.add(np.array([[2], [9]]), np.array([[1.0], [2.0]]))
        theirs.add(np.array([[0], [1], [2]]), np.array([[10.0], [20.0], [30.0]]))
        table = np.array([9, -1, 4])
        ours.merge(theirs, lambda keys: table[keys])
        assert ours.keys.tolist() == [2, 4, 9]
        assert ours.sums.tolist() == [[1], [30], [12]]
        assert theirs.keys.tolist() == [0, 1, 2]

    def test_does_not_share_memory(self):
        ours, theirs = KeyedSums(1), KeyedSums(1)
        theirs.add(np.array([[1]]), np.ones((1, 1)))
        ours.merge(theirs)
        ours.add(np.array([[1]]), np.ones((1, 1)))
        assert theirs.sums.tolist() == [[1]]


class TestReading:
    @pytest.fixture
    def sums(self):
        sums = KeyedSums(1)
        sums.add(np.array([[3], [10], [12], [19], [20]]), np.arange(1.0, 6)[:, np.newaxis])
        return sums

    def test_between_is_relative_to_its_start(self, sums):
        keys, values = sums.between(10, 20)
        assert (keys.tolist(), values.ravel().tolist()) == ([0, 2, 9], [2, 3, 4])

    def test_dense_has_zeros_where_there_is_nothing(self, sums):
        assert sums.dense(10, 4).ravel().tolist() == [2, 0, 3, 0]
        assert sums.dense(100, 2).ravel().tolist() == [0, 0]

    def test_keep_forgets_the_others(self, sums):
        sums.keep(sums.keys >= 12)
        assert sums.keys.tolist() == [12, 19, 20]
        assert sums.dense(19, 2).ravel().tolist() == [4, 5]


@pytest.mark.parametrize("scale", [1, 2**30])
def test_distinct_equals_numpy(scale):
    keys = np.random.default_rng(0).integers(0, 50, 200) * scale
    found, position = distinct(keys)
    assert np.array_equal(found, np.unique(keys))
    assert np.array_equal(found[position], keys)
