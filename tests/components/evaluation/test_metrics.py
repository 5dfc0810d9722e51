import math

import numpy as np
import pytest

from components.evaluation import metrics
from components.evaluation.metrics import CALIBRATION_BINS, ROW_SUMS, SCORE_BUCKETS, MetricId, SliceSums

LABELS = {"a": 0, "b": 1, "c": 2}
WIDTH = len(LABELS) + 1


def counted(actual, predicted, weights):
    """Sums by label of rows with weights [n, S]."""
    actual, predicted, weights = np.asarray(actual, int), np.asarray(predicted, int), np.asarray(weights, float)
    weights = weights.reshape(len(actual), weights.shape[1] if weights.ndim == 2 else 1)
    hit = (actual == predicted) & (actual < WIDTH - 1)
    by_actual, by_predicted, hits = (np.zeros((WIDTH, weights.shape[1])) for _ in range(3))
    np.add.at(by_actual, actual, weights)
    np.add.at(by_predicted, predicted, weights)
    np.add.at(hits, actual[hit], weights[hit])
    rows = {name: np.zeros(weights.shape[1]) for name in ROW_SUMS} | {
        "weight": weights.sum(axis=0),
        "hits": weights[hit].sum(axis=0),
    }
    return SliceSums(rows, by_actual, by_predicted, hits)


def one(name, sums, class_=None):
    return metrics.value(MetricId(name, class_), sums, LABELS)


def by_bucket(scores, positive, weights=None):
    counts = np.zeros((2, SCORE_BUCKETS, 1 if weights is None else np.shape(weights)[1]))
    np.add.at(counts, (np.asarray(positive, int), metrics.score_bucket(np.asarray(scores))), 1 if weights is None else weights)
    return counts


@pytest.fixture(scope="module")
def random_rows():
    random = np.random.default_rng(0)
    return random.integers(0, WIDTH, 200), random.integers(0, WIDTH, 200), random.random((200, 1))


class TestMetricId:
    @pytest.mark.parametrize(
        "metric", [MetricId("accuracy"), MetricId("recall", "refund"), MetricId("f1", "card (lost)"), MetricId("f1", "")]
    )
    def test_is_read_as_it_was_written(self, metric):
        assert MetricId.parse(str(metric)) == metric

    def test_is_written_with_its_class_in_brackets(self):
        assert (str(MetricId("accuracy")), str(MetricId("recall", "refund"))) == ("accuracy", "recall(refund)")


class TestLabelMetrics:
    def test_by_hand(self):
        # a: 3 rows, 2 found. b: 1 row, found, and one false alarm.
        sums = counted([0, 0, 0, 1], [0, 0, 1, 1], np.ones(4))
        assert one("accuracy", sums) == pytest.approx(3 / 4)
        assert one("micro_f1", sums) == pytest.approx(3 / 4)
        assert one("balanced_accuracy", sums) == pytest.approx((2 / 3 + 1) / 2)
        assert one("macro_f1", sums) == pytest.approx((4 / 5 + 2 / 3) / 2)
        assert one("weighted_f1", sums) == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)
        assert one("precision", sums, "b") == pytest.approx(1 / 2)
        assert one("recall", sums, "a") == pytest.approx(2 / 3)
        assert one("f1", sums, "b") == pytest.approx(2 / 3)
        assert one("false_positive_rate", sums, "b") == pytest.approx(1 / 3)
        assert one("positive_rate", sums, "b") == pytest.approx(1 / 2)

    def test_a_class_only_predicted_counts_for_macro_f1_alone(self):
        sums = counted([0, 0, 0, 0], [0, 0, 0, 1], np.ones(4))
        assert one("balanced_accuracy", sums) == pytest.approx(3 / 4)
        assert one("macro_f1", sums) == pytest.approx((6 / 7 + 0) / 2)
        assert one("weighted_f1", sums) == pytest.approx(6 / 7)

    def test_an_unseen_label_is_never_a_hit_not_even_of_unusable_scores(self):
        sums = counted([3, 3, 0], [3, 0, 0], np.ones(3))
        assert one("accuracy", sums) == pytest.approx(1 / 3)
        assert one("balanced_accuracy", sums) == pytest.approx((1 + 0) / 2)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_equal_scikit_learn(self, random_rows, weighted):
        sklearn = pytest.importorskip("sklearn.metrics")
        actual, predicted, weight = random_rows
        # Scikit-learn knows no special label: a label that cannot be predicted takes the place of "no usable scores".
        truth, answer = actual, np.where(predicted == WIDTH - 1, 0, predicted)
        w = weight[:, 0] if weighted else np.ones(len(truth))
        sums = counted(truth, answer, w)
        assert one("accuracy", sums) == pytest.approx(sklearn.accuracy_score(truth, answer, sample_weight=w))
        assert one("balanced_accuracy", sums) == pytest.approx(sklearn.balanced_accuracy_score(truth, answer, sample_weight=w))
        for average in ("macro", "weighted", "micro"):
            expected = sklearn.f1_score(truth, answer, average=average, sample_weight=w, zero_division=0)
            assert one(f"{average}_f1", sums) == pytest.approx(expected)
        each = sklearn.precision_recall_fscore_support(truth, answer, labels=[0, 1, 2], sample_weight=w)
        for label, name in enumerate(LABELS):
            assert one("precision", sums, name) == pytest.approx(each[0][label])
            assert one("recall", sums, name) == pytest.approx(each[1][label])
            assert one("f1", sums, name) == pytest.approx(each[2][label])

    def test_weights_are_repeated_rows(self, random_rows):
        actual, predicted, _ = random_rows
        times = np.random.default_rng(1).integers(0, 4, len(actual))
        weighted = counted(actual, predicted, times)
        repeated = counted(np.repeat(actual, times), np.repeat(predicted, times), np.ones(times.sum()))
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"):
            assert one(name, weighted) == one(name, repeated)
        for name in ("precision", "recall", "f1", "false_positive_rate", "positive_rate"):
            assert one(name, weighted, "b") == one(name, repeated, "b")

    def test_samples_are_measured_as_if_alone(self, random_rows):
        actual, predicted, _ = random_rows
        weights = np.random.default_rng(2).poisson(1, (len(actual), 9)).astype(float)
        # A sample without any row is one too.
        weights[:, 4] = 0
        together = counted(actual, predicted, weights)
        for sample in range(9):
            alone = counted(actual, predicted, weights[:, [sample]])
            for metric in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"):
                np.testing.assert_array_equal(one(metric, together)[[sample]], one(metric, alone))
            for metric in ("precision", "recall", "f1", "false_positive_rate", "positive_rate"):
                np.testing.assert_array_equal(one(metric, together, "a")[[sample]], one(metric, alone, "a"))


class TestNoValue:
    def test_nothing_is_a_number_without_rows(self):
        sums = counted([], [], np.ones((0, 1)))
        sums = SliceSums(sums.rows, sums.actual, sums.predicted, sums.hits, np.zeros((CALIBRATION_BINS, 3, 1)))
        for name in metrics.STANDARD:
            assert np.isnan(one(name, sums)), name

    def test_recall_needs_rows_and_precision_predictions_of_the_class(self):
        sums = counted([0, 0], [1, 1], np.ones(2))
        assert one("recall", sums, "a") == 0
        assert np.isnan(one("precision", sums, "a"))
        assert np.isnan(one("recall", sums, "b"))
        assert one("precision", sums, "b") == 0
        assert one("f1", sums, "a") == 0
        assert np.isnan(one("f1", sums, "c"))

    def test_false_positive_rate_needs_rows_of_other_classes(self):
        assert np.isnan(one("false_positive_rate", counted([0, 0], [0, 1], np.ones(2)), "a"))

    def test_the_rounding_of_weights_makes_no_rows_of_other_classes(self):
        sums = counted([0] * 3, [0, 1, 2], [0.1, 0.2, 0.3])
        rounded = SliceSums({**sums.rows, "weight": sums.rows["weight"] + 1e-16}, sums.actual, sums.predicted, sums.hits)
        assert np.isnan(one("false_positive_rate", rounded, "a"))

    def test_an_unknown_metric_is_a_key_error(self):
        with pytest.raises(KeyError):
            one("beauty", counted([0], [0], [1]), "a")


class TestScoreBucket:
    def test_a_bucket_is_a_ten_thousandth(self):
        scores = [0, 1e-5, 0.00015, 0.5, 0.50005, 0.5001, 0.99985, 0.9999, 1]
        assert metrics.score_bucket(np.array(scores)).tolist() == [0, 0, 0, 4999, 4999, 5000, 9996, 9997, 9998]

    def test_are_those_that_tfma_tells_apart(self):
        """Buckets are counted above thresholds as far as these lie 1/9999 apart; a ten-millionth keeps them off the boundaries."""
        thresholds = np.append(np.arange(9999) / 9999 + 1e-7, 1 + 1e-7)
        thresholds[0] = 0
        lower_ends = np.append(np.arange(10_000) / 10_000, np.inf)
        told_apart = np.unique(np.searchsorted(thresholds, lower_ends, side="right"), return_inverse=True)[1]
        scores = np.append(np.arange(10_000) / 10_000 + 5e-5, 1.0)
        assert metrics.score_bucket(scores).tolist() == told_apart.tolist()

    def test_what_is_no_probability_goes_to_the_ends(self):
        assert metrics.score_bucket(np.array([np.nan, -np.inf, -3, 2, np.inf], np.float32)).tolist() == [0, 0, 0, 9998, 9998]


class TestCurves:
    def test_roc_auc_by_hand_with_a_tie(self):
        # Of the four pairs two are won, one is tied, one is lost.
        assert metrics.roc_auc(by_bucket([0.9, 0.4, 0.4, 0.5], [1, 1, 0, 0])) == pytest.approx(2.5 / 4)

    def test_pr_auc_by_hand(self):
        # The best row is positive (precision 1 up to recall 1/2); then a negative one comes, and at last the second positive one.
        # From (1 found of 2 taken) on, precision rises along (1 + x) / (2 + x), x from 0 to 1, whose mean is 1 - ln(3/2).
        expected = 1 / 2 + 1 / 2 * (1 - math.log(3 / 2))
        assert metrics.pr_auc(by_bucket([0.9, 0.5, 0.2], [1, 0, 1])) == pytest.approx(expected)

    def test_pr_auc_of_one_bucket_is_the_share_of_the_class(self):
        assert metrics.pr_auc(by_bucket([0.3] * 8, [1, 0, 0, 0, 1, 0, 0, 0])) == pytest.approx(1 / 4)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_are_close_to_scikit_learn(self, weighted):
        sklearn = pytest.importorskip("sklearn.metrics")
        random = np.random.default_rng(0)
        positive = random.random(3000) < 0.3
        scores = np.clip(random.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
        weight = random.random((3000, 1)) if weighted else np.ones((3000, 1))
        counts = by_bucket(scores, positive, weight)
        assert metrics.roc_auc(counts) == pytest.approx(
            sklearn.roc_auc_score(positive, scores, sample_weight=weight[:, 0]), abs=1e-4
        )
        # Average precision sums steps, not the curve between them.
        expected = sklearn.average_precision_score(positive, scores, sample_weight=weight[:, 0])
        assert metrics.pr_auc(counts) == pytest.approx(expected, abs=2e-3)

    def test_roc_auc_of_scores_on_the_grid_equals_scikit_learn(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        random = np.random.default_rng(1)
        positive, scores = random.random(500) < 0.5, random.integers(1, 100, 500) / 100 + 0.001
        assert metrics.roc_auc(by_bucket(scores, positive)) == pytest.approx(sklearn.roc_auc_score(positive, scores), abs=1e-12)

    @pytest.mark.parametrize(
        ("curve", "positive"), [(metrics.roc_auc, [1, 1]), (metrics.roc_auc, [0, 0]), (metrics.pr_auc, [0, 0])]
    )
    def test_have_no_value_without_rows_of_both_kinds(self, curve, positive):
        assert np.isnan(curve(by_bucket([0.1, 0.2], positive)))

    @pytest.mark.parametrize("curve", [metrics.roc_auc, metrics.pr_auc])
    def test_samples_are_measured_as_if_alone(self, curve):
        random = np.random.default_rng(2)
        scores, positive = random.random(100), random.random(100) < 0.4
        weights = random.poisson(1, (100, 6)).astype(float)
        weights[:, 2] = 0
        together = curve(by_bucket(scores, positive, weights))
        for sample in range(6):
            alone = curve(by_bucket(scores, positive, weights[:, [sample]]))
            np.testing.assert_allclose(together[[sample]], alone, rtol=1e-12)

    def test_the_mean_over_classes_leaves_out_those_without_value(self):
        known, absent = by_bucket([0.9, 0.4, 0.4, 0.5], [1, 1, 0, 0]), by_bucket([0.1, 0.2], [0, 0])
        sums = SliceSums({}, scores={"a": known, "b": absent, "c": by_bucket([0.1, 0.2], [0, 1])})
        assert one("auc", sums) == pytest.approx((2.5 / 4 + 1) / 2)
        assert one("auc", sums, "a") == pytest.approx(2.5 / 4)


class TestCalibrationError:
    def test_by_hand(self):
        bins = np.zeros((CALIBRATION_BINS, 3, 1))
        # Four rows with a mean score of 0.975, three right; six with 0.52, three right.
        bins[19, :, 0] = [4, 3, 3.9]
        bins[10, :, 0] = [6, 3, 3.12]
        expected = 4 / 10 * abs(3 / 4 - 0.975) + 6 / 10 * abs(1 / 2 - 0.52)
        assert one("calibration_error", SliceSums({}, calibration=bins)) == pytest.approx(expected)


class TestNeeds:
    def test_names_only_what_a_metric_is_computed_from(self):
        assert set(metrics.needs(MetricId("accuracy")).rows) == {"weight", "hits"}
        assert set(metrics.needs(MetricId("answered_accuracy")).rows) == {"weight", "answered_hits", "answered"}
        assert metrics.needs(MetricId("recall", "a")) == metrics.Needs(labels=True)
        assert metrics.needs(MetricId("auc", "a")) == metrics.Needs(scores=True)
        assert metrics.needs(MetricId("calibration_error")) == metrics.Needs(calibration=True)

    @pytest.mark.parametrize("name", ["macro_f1", "calibration_error"])
    def test_sums_that_were_not_made_are_an_error(self, name):
        with pytest.raises(ValueError, match="made without"):
            one(name, SliceSums({"weight": np.ones(1)}))
