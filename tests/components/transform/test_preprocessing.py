import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import schema_utils

from components.training.options import NgramsOptions, WindowOptions
from components.transform import columns, preprocessing
from components.validation import schema_file
from tests.components import raw_rows

pytestmark = pytest.mark.tensorflow

SCHEMA = """
feature { name: "the text (größe/1)" type: BYTES }
feature { name: "Kanal 日本" type: BYTES }
feature { name: "zip" type: INT int_domain { is_categorical: true } }
feature { name: "never" type: FLOAT }
feature { name: "never either" type: BYTES }
feature { name: "same" type: INT }
feature { name: "price" type: FLOAT }
feature { name: "extreme" type: FLOAT }
feature { name: "label!" type: BYTES not_in_environment: "SERVING" }
feature { name: "group" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""
TEXT, CHANNEL = "the text (größe/1)", "Kanal 日本"
# Of every twenty rows, ten have a channel: five by mail, three by chat, and two that try to look like other lines of a file.
CHANNELS = {
    1: "mail",
    3: "chat",
    5: "mail",
    7: "chat",
    9: "mail",
    11: "chat",
    13: "mail",
    15: "a\tb",
    17: "mail",
    19: "two\nlines",
}


def rows():
    for number in range(200):
        row = {
            TEXT: f"order number {number % 4}",
            "same": 7,
            "label!": "ab"[number % 3 == 0],
            "price": float(np.exp(number / 10)),
            "extreme": (-1) ** number * (3e38 - number * 1e36),
        }
        if number % 2:
            row |= {CHANNEL: CHANNELS[number % 20], "zip": 80_000 + number % 3}
        if number % 5 == 0:
            row["price"] = float("inf") if number % 10 else None
        yield {name: value for name, value in row.items() if value is not None}


class Analysed:
    """A preprocessing graph made from `rows`."""

    def __init__(self, folder, encoder):
        self.spec = schema_utils.schema_as_feature_spec(schema_file.parse(SCHEMA)).feature_spec
        config = {"schema": SCHEMA, "text": [TEXT], "label": "label!", "encoder": encoder}
        self.output = tft.TFTransformOutput(str(raw_rows.analyse(rows(), config, folder)))

    def __call__(self, *instances, without=()):
        spec = {name: kind for name, kind in self.spec.items() if name not in without}
        return self.output.transform_features_layer()(tf.io.parse_example([raw_rows.serialized(row) for row in instances], spec))


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    return Analysed(tmp_path_factory.mktemp("ngrams"), {"name": "ngrams"})


class TestNumbers:
    def test_become_ranks(self, analysed):
        prices = [float(np.exp(number / 10)) for number in (1, 50, 101, 199)]
        ranks = analysed(*({"price": price} for price in prices))["numbers"][:, 2].numpy()
        np.testing.assert_allclose(ranks, [0.0, 0.25, 0.5, 1.0], atol=0.03)

    def test_beyond_those_of_training_stay_at_the_ends(self, analysed):
        assert analysed({"price": -1e30}, {"price": 1e30})["numbers"][:, 2].numpy().tolist() == [0.0, 1.0]

    @pytest.mark.parametrize("row", [{}, {"price": float("nan")}, {"price": float("inf")}])
    def test_absent_or_not_finite_are_marked(self, analysed, row):
        features = analysed(row)
        assert features["numbers"][0, 2] == 0.5
        assert features["absent"][0, 2] == 1.0

    def test_of_constant_columns_are_at_one_end_or_the_other(self, analysed):
        assert analysed({"same": 6}, {"same": 7}, {"same": 8}, {})["numbers"][:, 1].numpy().tolist() == [0.0, 1.0, 1.0, 0.5]

    def test_of_empty_columns_are_finite(self, analysed):
        features = analysed({"never": 3.0}, {"never": -3.0}, {})
        assert features["numbers"][:, 0].numpy().tolist() == [1.0, 0.0, 0.5]
        assert features["absent"][:, 0].numpy().tolist() == [0.0, 0.0, 1.0]

    def test_at_the_limits_of_their_type_are_finite(self, analysed):
        ranks = analysed(*({"extreme": value} for value in (-3.4e38, -2e38, 0.0, 2e38, 3.4e38)))["numbers"][:, 3].numpy()
        assert (np.diff(ranks) > 0).all()
        np.testing.assert_allclose(ranks[[0, 2, 4]], [0.0, 0.5, 1.0], atol=0.01)


class TestRanks:
    @pytest.mark.parametrize("boundaries", [[1.0, 2.0, 4.0, 8.0], [3.0, 3.0, 3.0, 3.0], [-1.0, 0.0, 0.0, 5.0]])
    def test_are_those_of_tensorflow_transform(self, boundaries):
        values = np.array([-9.0, -1.0, 0.0, 0.5, 1.0, 2.5, 3.0, 5.0, 7.99, 8.0, 9.0], np.float32)
        columns = np.stack([values, values[::-1]], axis=1)
        ranks = preprocessing.ranks(tf.constant(columns), tf.constant([[0.0, 1.0, 2.0, 3.0], boundaries]))
        for position, limits in enumerate(([0.0, 1.0, 2.0, 3.0], boundaries)):
            expected = tft.apply_buckets_with_interpolation(tf.constant(columns[:, position]), [limits])
            np.testing.assert_allclose(ranks[:, position], expected, atol=1e-6)


class TestCategories:
    def test_absent_unknown_and_known_differ(self, analysed):
        identifiers = analysed({}, {CHANNEL: "carrier pigeon"}, {CHANNEL: "mail"}, {CHANNEL: "chat"})["category_0"].numpy()
        # Mail is the more frequent one.
        assert identifiers.tolist() == [columns.ABSENT_CATEGORY, columns.UNKNOWN_CATEGORY, 2, 3]

    def test_empty_is_absent(self, analysed):
        assert analysed({CHANNEL: ""})["category_0"].numpy() == [columns.ABSENT_CATEGORY]

    def test_may_be_integers(self, analysed):
        identifiers = analysed({"zip": 80_001}, {"zip": 1}, {})["category_1"].numpy()
        assert identifiers[0] >= columns.RESERVED_CATEGORIES
        assert identifiers[1:].tolist() == [columns.UNKNOWN_CATEGORY, columns.ABSENT_CATEGORY]

    def test_may_hold_anything_but_line_ends(self, analysed):
        identifiers = analysed({CHANNEL: "a\tb"}, {CHANNEL: "two\nlines"}, {CHANNEL: "0\tmail"}, {CHANNEL: "0"})["category_0"]
        assert identifiers.numpy().tolist() == [4, *[columns.UNKNOWN_CATEGORY] * 3]

    def test_are_known_in_their_own_column_only(self, analysed):
        features = analysed({CHANNEL: "80001", "never either": "mail"})
        assert features["category_0"] == features["category_2"] == columns.UNKNOWN_CATEGORY

    def test_are_counted_with_the_reserved_ones(self, analysed):
        assert preprocessing.category_identifiers(analysed.output, 3) == [2 + 3, 2 + 3, 2]
        assert preprocessing.category_identifiers(analysed.output, 0) == []

    def test_of_an_empty_column_are_unknown(self, analysed):
        assert analysed({"never either": "now"}, {})["category_2"].numpy().tolist() == [1, 0]


class TestLabel:
    def test_is_its_place_in_the_vocabulary(self, analysed):
        assert analysed.output.vocabulary_by_name("label") == [b"a", b"b"]
        assert analysed({"label!": "b"}, {"label!": "a"}, {"label!": "new"}, {})["label"].numpy().tolist() == [1, 0, -1, -1]

    def test_is_not_needed_to_serve(self, analysed):
        assert set(analysed({TEXT: "order"}, without=("label!", "group"))) == {
            "text_0", "category_0", "category_1", "category_2", "numbers", "absent",
        }  # fmt: skip


class TestText:
    def test_ngrams_ignore_case_and_width(self, analysed):
        plain, shouted = analysed({TEXT: "order number"}, {TEXT: "ＯＲＤＥＲ NUMBER"})["text_0"].to_list()
        assert plain == shouted
        assert max(plain) < NgramsOptions().buckets

    def test_ngrams_of_frames_see_the_sentence_around_names(self):
        texts = tf.constant(["see Good Morning now", "see Bad Day now", "see good morning now"])
        named, other, plain = map(set, preprocessing.ngram_identifiers(texts, NgramsOptions(characters=(8,))).to_list())
        # The words "see" and "now", and of "[ see _ now ]" the ends, the blank, four pairs and three triples.
        assert len(named & other) == 2 + 3 + 4 + 3
        assert named != plain

    def test_ngrams_without_frames_are_blind_to_capitals(self):
        texts = tf.constant(["see Good Morning now", "see good morning now"])
        named, plain = preprocessing.ngram_identifiers(texts, NgramsOptions(frames=())).to_list()
        assert named == plain

    def test_absent_or_empty_has_no_identifiers(self, analysed):
        assert analysed({}, {TEXT: ""}, {TEXT: "?!"})["text_0"].to_list() == [[], [], []]

    def test_tokens_are_known_or_hashed(self, tmp_path):
        analysed = Analysed(tmp_path, {"name": "tokens", "unknown_buckets": 5, "max_tokens": 3})
        known = preprocessing.known_tokens(analysed.output, 0)
        row, cut = analysed({TEXT: "Order unheard"}, {TEXT: "order order order order"})["text_0"].to_list()
        assert row[0] <= known < row[1] <= known + 5
        assert cut == [row[0]] * 3
        assert 0 not in row

    def test_a_window_is_its_words_one_after_the_other(self):
        options = WindowOptions(width=3, prefixes=(1,), suffixes=(2,), buckets=2**20)
        texts = tf.constant(["i am Jürgen", "am Jürgen i", "i am", "a b c d", ""])
        full, turned, short, long, empty = preprocessing.window_identifiers(texts, options).to_list()
        assert {len(row) for row in (full, turned, short, long, empty)} == {3 * options.features} == {12}
        assert full == turned[8:] + turned[:8]
        assert short == full[:8] + empty[:4]
        assert long == preprocessing.window_identifiers(tf.constant(["a b c"]), options).to_list()[0]

    def test_a_window_of_nothing(self):
        assert preprocessing.window_identifiers(tf.constant([], tf.string), WindowOptions()).shape[0] == 0
