import numpy as np
import pytest
import tensorflow as tf

from components.training.counts import SplitCounts

pytestmark = pytest.mark.tensorflow


def alone(counted):
    return counted


def pool(texts, categories, labels):
    return {
        "text_0": tf.ragged.constant(texts, dtype=tf.int64, ragged_rank=1),
        "category_0": tf.constant(categories, tf.int64),
        "label": tf.constant(labels, tf.int64),
    }


@pytest.fixture
def counts():
    counts = SplitCounts(3, [1000], [4])
    counts.add(pool([[1, 2, 2], []], [3, 1], [2, 0]))
    counts.add(pool([[2, 3], [2, 900]], [3, 3], [2, 2]))
    return counts


def test_rows_of_each_label(counts):
    assert counts.rows_of_class(alone).tolist() == [1, 0, 3]


def test_rows_and_not_occurrences_of_each_identifier(counts):
    sizes = counts.input_sizes(7, alone)
    [text], [category] = sizes.texts, sizes.categories
    assert text.rows == category.rows == 4
    assert text.rows_with[[1, 2, 3, 900]].tolist() == [1, 3, 1, 1]
    assert text.rows_with.sum() == 6
    assert category.rows_with.tolist() == [0, 1, 0, 3]
    assert sizes.numbers == 7


def test_other_machines_count_too(counts):
    def twice(counted):
        return 2 * counted

    assert counts.rows_of_class(twice).tolist() == [2, 0, 6]
    sizes = counts.input_sizes(0, twice)
    assert sizes.texts[0].rows == 8
    np.testing.assert_array_equal(sizes.categories[0].rows_with, [0, 2, 0, 6])
