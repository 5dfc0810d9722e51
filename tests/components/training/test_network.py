import numpy as np
import pytest
import tensorflow as tf

from components.training import network
from components.training.encoders import IdentifierStatistics
from components.training.options import ModelOptions

pytestmark = pytest.mark.tensorflow

STATISTICS = IdentifierStatistics(rows=9, rows_with=np.full(1024, 5))
TEXT = tf.ragged.constant([[1, 2], []], dtype=tf.int64, ragged_rank=1)


def features(texts, categories, numbers):
    values = {f"text_{position}": TEXT for position in range(texts)}
    values |= {f"category_{position}": tf.constant([0, 2], tf.int64) for position in range(categories)}
    if numbers:
        values |= {"numbers": tf.fill([2, numbers], 0.3), "absent": tf.zeros([2, numbers])}
    return values


class TestBuild:
    @pytest.mark.parametrize("encoder", [{"name": "ngrams", "buckets": 1024}, "tokens", {"name": "window", "buckets": 1024}])
    @pytest.mark.parametrize(("texts", "categories", "numbers"), [(1, 0, 0), (2, 1, 3), (0, 2, 0), (0, 0, 1)])
    def test_joins_whatever_columns_there_are(self, encoder, texts, categories, numbers):
        sizes = network.InputSizes([STATISTICS] * texts, [STATISTICS] * categories, numbers)
        model = network.build(ModelOptions(encoder=encoder), sizes, classes=7)
        assert model(features(texts, categories, numbers)).shape == (2, 7)

    def test_swapping_the_encoder_leaves_the_rest_alone(self):
        sizes = network.InputSizes([STATISTICS], [STATISTICS], 2)
        layers = [
            [layer.name for layer in network.build(ModelOptions(encoder=encoder), sizes, 3).layers if "encoder" not in layer.name]
            for encoder in ({"name": "ngrams", "buckets": 1024}, "tokens", {"name": "window", "buckets": 1024})
        ]
        without_numbers = [[name.rstrip("0123456789_") for name in names] for names in layers]
        assert without_numbers[0] == without_numbers[1] == without_numbers[2]


class TestAverage:
    def test_answers_with_the_mean_of_the_probabilities(self):
        numbers = {"numbers": np.array([[0.1], [0.9]], np.float32), "absent": np.zeros((2, 1), np.float32)}
        members = [network.build(ModelOptions(hidden=4), network.InputSizes([], [], 1), 3) for _ in range(3)]
        answers = [tf.nn.softmax(member(numbers)).numpy() for member in members]
        assert np.abs(answers[0] - answers[1]).max() > 1e-3
        averaged = network.average(members)
        np.testing.assert_allclose(tf.nn.softmax(averaged(numbers)), np.mean(answers, axis=0), atol=1e-5)
        assert averaged.count_params() == sum(member.count_params() for member in members)

    def test_a_lone_member_is_itself(self):
        member = network.build(ModelOptions(hidden=4), network.InputSizes([], [], 1), 2)
        assert network.average([member]) is member


class TestPiecewiseLinear:
    def test_fills_pieces_in_order(self):
        spread = network.PiecewiseLinear()(tf.constant([[0.0], [0.5], [1.0]])).numpy() + 0.5
        assert spread.sum(axis=1).tolist() == [0.0, 8.0, 16.0]
        assert spread[1].tolist() == [1.0] * 8 + [0.0] * 8


class TestCategoryEmbedding:
    @pytest.mark.parametrize(("rows", "rare"), [(100, [3]), (1_000, [3, 4]), (1_000_000, [3, 4, 5])])
    def test_rare_categories_share_the_row_of_unknown_ones(self, rows, rare):
        embedding = network.CategoryEmbedding(IdentifierStatistics(rows, np.array([0, 0, 500, 1, 9, 99])))
        absent, unknown, *categories = embedding(tf.range(6, dtype=tf.int64)).numpy()
        assert (absent != unknown).any()
        assert [identifier for identifier, vector in enumerate(categories, 2) if (vector == unknown).all()] == rare
