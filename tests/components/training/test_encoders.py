import numpy as np
import pytest
import tensorflow as tf

from components.training import encoders
from components.training.encoders import IdentifierStatistics
from components.training.options import NgramsOptions, TokensOptions, WindowOptions

pytestmark = pytest.mark.tensorflow

BUCKETS = 1024
TEXTS = [[1, 2, 2], [], [2, 3], [2, 900]]


def ragged(rows):
    return tf.ragged.constant(rows, dtype=tf.int64, ragged_rank=1)


def statistics_of(texts):
    rows_with = np.zeros(BUCKETS, np.int64)
    for text in texts:
        rows_with[list(set(text))] += 1
    return IdentifierStatistics(len(texts), rows_with)


@pytest.fixture
def statistics():
    return statistics_of(TEXTS)


@pytest.fixture(
    params=[
        NgramsOptions(buckets=BUCKETS, min_rows=1, dimension=8),
        TokensOptions(dimension=8, filters=4),
        WindowOptions(width=3, buckets=BUCKETS, dimension=8, units=16),
    ],
    ids=lambda options: options.name,
)
def encoder(request, statistics):
    return encoders.make(request.param, statistics, "encoder_0")


class TestAnyEncoder:
    def test_returns_one_vector_per_text(self, encoder):
        vectors = encoder(ragged(TEXTS)).numpy()
        assert vectors.shape == (4, encoder.compute_output_spec(None).shape[1])
        assert np.isfinite(vectors).all()

    def test_does_not_mix_texts(self, encoder):
        together = encoder(ragged(TEXTS)).numpy()
        alone = np.concatenate([encoder(ragged([text])).numpy() for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-5)

    @pytest.mark.parametrize("texts", [[[]], [[], []]])
    def test_stands_texts_without_identifiers(self, encoder, texts):
        assert np.isfinite(encoder(ragged(texts), training=True).numpy()).all()

    def test_hides_parts_of_the_text_in_training_only(self, encoder):
        texts = ragged([[1, 2, 3, 900] * 4] * 16)
        assert (encoder(texts).numpy() == encoder(texts).numpy()).all()
        assert (encoder(texts, training=True).numpy() != encoder(texts, training=True).numpy()).any()

    def test_has_a_sparse_gradient(self, encoder):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(ragged(TEXTS)))
        assert isinstance(tape.gradient(loss, encoder.table.value), tf.IndexedSlices)


class TestNgramBag:
    def bag(self, statistics, **options):
        return encoders.NgramBag(NgramsOptions(buckets=BUCKETS, dimension=8, **options), statistics)

    def test_keeps_a_row_for_frequent_buckets_only(self, statistics):
        assert encoders_rows(self.bag(statistics, min_rows=1)) == 1 + 4
        assert encoders_rows(self.bag(statistics, min_rows=2)) == 1 + 1
        assert encoders_rows(self.bag(statistics, min_rows=1, max_features=2)) == 1 + 2

    def test_ignores_buckets_that_training_has_not_seen(self, statistics):
        bag = self.bag(statistics, min_rows=1)
        np.testing.assert_allclose(bag(ragged([[1, 2, 77, 78]])), bag(ragged([[1, 2]])), atol=1e-6)

    def test_does_not_grow_with_the_length_of_the_text(self, statistics):
        bag = self.bag(statistics, min_rows=1)
        np.testing.assert_allclose(bag(ragged([[1]])), np.asarray(bag(ragged([[1] * 9]))) / 3, atol=1e-6)


class TestWindowNetwork:
    # Three features a word: itself, its last two letters, its shape.
    WINDOW = [1, 10, 20, 2, 11, 20, 3, 12, 21]

    def network(self, texts=None, **options):
        options = WindowOptions(width=3, prefixes=(), suffixes=(2,), buckets=BUCKETS, dimension=8, units=16, **options)
        return encoders.WindowNetwork(options, statistics_of(texts or [self.WINDOW]))

    def test_knows_what_stands_where(self):
        network, moved = self.network(), self.WINDOW[3:] + self.WINDOW[:3]
        there, elsewhere = network(ragged([self.WINDOW, moved])).numpy()
        assert (there != elsewhere).any()

    def test_a_word_has_one_vector_wherever_it_stands(self):
        network = self.network()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(ragged([self.WINDOW, self.WINDOW[3:] + self.WINDOW[:3]])))
        assert set(np.unique(tape.gradient(loss, network.table.value).indices)) <= set(range(1 + 8))
        assert network.table.shape == (1 + 8, 8)

    def test_an_unknown_feature_is_nothing(self):
        network = self.network()
        unknown, other = [99 if feature == 12 else feature for feature in self.WINDOW], [98, *self.WINDOW[1:]]
        np.testing.assert_allclose(network(ragged([unknown])), network(ragged([self.WINDOW[:7] + [97, 21]])))
        assert (network(ragged([other])).numpy() != network(ragged([self.WINDOW])).numpy()).any()

    def test_rare_features_are_unknown(self):
        assert encoders_rows(self.network([self.WINDOW, [1] * 9], min_rows=2)) == 1 + 1

    def test_a_short_window_is_filled_up_with_nothing(self):
        network = self.network()
        np.testing.assert_allclose(network(ragged([self.WINDOW[:6]])), network(ragged([self.WINDOW[:6] + [700, 701, 702]])))


def encoders_rows(bag):
    bag(ragged(TEXTS))
    return bag.table.shape[0]
