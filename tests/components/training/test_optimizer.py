import keras
import numpy as np
import pytest
import tensorflow as tf

from components.training.optimizer import SparseAdam

pytestmark = pytest.mark.tensorflow


def apply(optimizer, variable, *gradients):
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([gradient], [variable])
    return variable.numpy()


class TestSparseGradients:
    def test_move_only_the_rows_they_name(self):
        table = keras.Variable(np.ones((5, 2), "float32"))
        after = apply(SparseAdam(0.1), table, tf.IndexedSlices(tf.ones((2, 2)), [1, 3], (5, 2)))
        assert (after[[0, 2, 4]] == 1).all()
        assert (after[[1, 3]] < 1).all()

    def test_of_one_row_add_up(self):
        twice, once = keras.Variable(np.ones((2, 1), "float32")), keras.Variable(np.ones((2, 1), "float32"))
        np.testing.assert_allclose(
            apply(SparseAdam(0.1), twice, tf.IndexedSlices([[1.0], [2.0]], [0, 0], (2, 1))),
            apply(SparseAdam(0.1), once, tf.IndexedSlices([[3.0]], [0], (2, 1))),
        )

    def test_of_equal_size_in_all_rows_equal_adam(self):
        lazy, dense = keras.Variable(np.ones((2, 1), "float32")), keras.Variable(np.ones((2, 1), "float32"))
        values = [tf.constant([[1.0], [-1.0]]), tf.constant([[0.5], [0.5]]), tf.constant([[-0.1], [0.1]])]
        np.testing.assert_allclose(
            apply(SparseAdam(0.1), lazy, *(tf.IndexedSlices(value, [0, 1], (2, 1)) for value in values)),
            apply(keras.optimizers.Adam(0.1), dense, *values),
            rtol=1e-5,
        )

    def test_learn_the_same_in_fixed_shapes(self):
        start = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
        gradients = [
            tf.IndexedSlices(tf.random.stateless_normal((4, 3), (number, 0)), [1, 3, 3, number % 6], (6, 3))
            for number in range(7)
        ]
        by_row, by_table = (
            apply(SparseAdam(0.1, fixed_shapes=fixed), keras.Variable(start), *gradients) for fixed in (False, True)
        )
        np.testing.assert_allclose(by_row, by_table, rtol=1e-5)

    def test_move_a_row_of_small_gradients_less(self):
        table = keras.Variable(np.zeros((2, 1), "float32"))
        large, small = apply(SparseAdam(0.1), table, tf.IndexedSlices([[1.0], [0.01]], [0, 1], (2, 1)))[:, 0]
        assert large == pytest.approx(-0.1, rel=1e-3)
        assert small == pytest.approx(-0.1 * 0.01 / 0.5**0.5, rel=1e-3)


def test_dense_gradients_equal_adam():
    ours, theirs = keras.Variable(np.ones(3, "float32")), keras.Variable(np.ones(3, "float32"))
    gradient = tf.constant([1.0, -1.0, 0.0])
    np.testing.assert_array_equal(apply(SparseAdam(0.1), ours, gradient), apply(keras.optimizers.Adam(0.1), theirs, gradient))
