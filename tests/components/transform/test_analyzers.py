import pickle

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

analyzers = pytest.importorskip("components.transform.analyzers")


def boundaries(batches, count=4, shards=1):
    """Combines batches as Beam would on several workers."""
    combine = analyzers.ColumnSketches(batches[0].shape[1], count, 0.005)
    accumulators = [combine.create_accumulator() for _ in range(shards)]
    for number, batch in enumerate(batches):
        accumulators[number % shards] = combine.add_input(accumulators[number % shards], batch)
    travelled = [pickle.loads(pickle.dumps(accumulator)) for accumulator in accumulators]
    return combine.extract_output(combine.merge_accumulators(travelled))


class TestColumnSketches:
    @pytest.mark.parametrize("shards", [1, 3])
    def test_part_each_column_within_the_error(self, shards):
        numbers = np.random.default_rng(0).lognormal(size=(60_000, 2)).astype(np.float32) * [1, -1000]
        found = boundaries(np.array_split(numbers.astype(np.float32), 20), count=100, shards=shards)
        assert found.shape == (2, 99)
        assert found.dtype == np.float32
        for column, limits in enumerate(found):
            below = np.searchsorted(np.sort(numbers[:, column]), limits) / len(numbers)
            np.testing.assert_allclose(below, np.arange(1, 100) / 100, atol=0.005)

    def test_pass_over_absent_numbers(self):
        batch = np.array([[1, 10], [np.nan, 20], [2, 30], [3, np.nan], [4, 40], [5, np.nan]], np.float32)
        alone = [boundaries([column[~np.isnan(column)][:, np.newaxis]])[0] for column in batch.T]
        np.testing.assert_array_equal(boundaries([batch]), alone)

    def test_give_zeros_for_columns_without_any_and_leave_the_others_alone(self):
        full = np.arange(1, 9, dtype=np.float32)
        batch = np.stack([np.full(8, np.nan), full, np.full(8, np.nan)], axis=1).astype(np.float32)
        empty, found, also_empty = boundaries([batch], shards=2)
        assert empty.tolist() == also_empty.tolist() == [0, 0, 0]
        np.testing.assert_array_equal(found, boundaries([full[:, np.newaxis]])[0])

    def test_know_values_that_only_one_worker_saw(self):
        empty = np.full((4, 1), np.nan, np.float32)
        assert boundaries([empty, empty + 1, np.full((4, 1), 7, np.float32)], shards=3).tolist() == [[7, 7, 7]]

    def test_of_one_value_repeat_it(self):
        assert boundaries([np.full((5, 1), 7, np.float32)]).tolist() == [[7, 7, 7]]

    def test_of_no_rows_are_zeros(self):
        assert boundaries([np.zeros((0, 2), np.float32)]).tolist() == [[0, 0, 0]] * 2


class TestValueCounts:
    def counts(self, *batches):
        combine = analyzers.ValueCounts(2)
        accumulator = combine.create_accumulator()
        for batch in batches:
            reduced = [tensor.numpy() for tensor in combine.reduce(analyzers.tf.constant(batch))]
            accumulator = combine.add_input(accumulator, *reduced)
        return accumulator

    def test_are_of_each_column(self):
        assert self.counts([["a", "b"], ["a", "a"]], [["c", "a"]]) == [{b"a": 2, b"c": 1}, {b"b": 1, b"a": 2}]

    def test_of_files_add_up(self):
        first, second = self.counts([["a", "b"]]), self.counts([["a", "c"], ["d", "b"]])
        merged = analyzers.ValueCounts(2).merge_accumulators([first, pickle.loads(pickle.dumps(second))])
        assert merged == [{b"a": 2, b"d": 1}, {b"b": 2, b"c": 1}]

    def test_of_no_rows_are_empty(self):
        assert self.counts(np.zeros((0, 2), object).astype(str)) == self.counts() == [{}, {}]


@pytest.mark.parametrize(
    ("most", "least", "ranked"),
    [
        (None, 0, [(3, b"c"), (2, b"b"), (2, b"a"), (1, b"d")]),
        (None, 2, [(3, b"c"), (2, b"b"), (2, b"a")]),
        (2, 0, [(3, b"c"), (2, b"b")]),
        (9, 3, [(3, b"c")]),
    ],
)
def test_values_are_ranked_by_rows_and_then_backwards(most, least, ranked):
    counted = [(2, b"a"), (2, b"b"), (3, b"c"), (1, b"d")]
    assert analyzers.most_frequent(counted, most, least) == ranked


def test_identifiers_are_counted_by_the_column_a_line_begins_with():
    assert analyzers.identifiers_per_column([b"0\t", b"0", b"0\t1\t1", b"1\t", b"1", b"12\t", b"12"], 13) == [3, 2, *[0] * 10, 2]
