import dataclasses
import math

import numpy as np
import pytest

from components.evaluation import metrics


def counts(*rows):
    return np.array(rows)


class TestJudge:
    def test_predicts_the_highest_score_and_ranks_the_true_class(self):
        scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
        predicted, probability, rank = metrics.judge(scores, np.array([2, 0]))
        assert predicted.tolist() == [1, 0]
        assert probability.tolist() == [0.2, 0.5]
        assert rank.tolist() == [1, 0]

    def test_an_unknown_label_has_probability_0_and_the_last_rank(self):
        _, probability, rank = metrics.judge(np.array([[0.9, 0.1]]), np.array([-1]))
        assert probability.tolist() == [0]
        assert rank.tolist() == [2]

    def test_ties_are_broken_by_class_order_as_the_prediction_is(self):
        scores = np.array([[0.5, 0.5], [0.5, 0.5]])
        predicted, _, rank = metrics.judge(scores, np.array([0, 1]))
        assert predicted.tolist() == [0, 0]
        assert rank.tolist() == [0, 1]

    def test_a_row_of_nan_is_never_a_top_k_hit(self):
        _, probability, rank = metrics.judge(np.array([[np.nan, np.nan]]), np.array([0]))
        assert math.isnan(probability[0])
        assert rank.tolist() == [2]


class TestLabelMetrics:
    def test_by_hand(self):
        # Class 0: 3 rows, 2 found. Class 1: 1 row, found, and one false alarm.
        values = metrics.label_metrics(counts([2, 1], [0, 1]))
        assert values["accuracy"] == pytest.approx(3 / 4)
        assert values["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
        assert values["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
        assert values["weighted_f1"] == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)

    def test_a_class_only_predicted_counts_for_macro_f1_alone(self):
        values = metrics.label_metrics(counts([3, 1, 0], [0, 0, 0], [0, 0, 0]))
        assert values["balanced_accuracy"] == pytest.approx(3 / 4)
        assert values["macro_f1"] == pytest.approx((6 / 7 + 0) / 2)
        assert values["weighted_f1"] == pytest.approx(6 / 7)

    def test_without_rows_nothing_is_a_number(self):
        assert all(math.isnan(value) for value in metrics.label_metrics(np.zeros((2, 2), int)).values())

    @pytest.mark.parametrize("seed", range(5))
    def test_equals_scikit_learn(self, seed):
        sklearn = pytest.importorskip("sklearn.metrics")
        random = np.random.default_rng(seed)
        actual, predicted = random.integers(0, 7, 60), random.integers(1, 9, 60)
        values = metrics.label_metrics(metrics.confusion_counts(actual, predicted, 10))
        assert values["accuracy"] == pytest.approx(sklearn.accuracy_score(actual, predicted))
        assert values["macro_f1"] == pytest.approx(sklearn.f1_score(actual, predicted, average="macro", zero_division=0))
        assert values["weighted_f1"] == pytest.approx(sklearn.f1_score(actual, predicted, average="weighted", zero_division=0))
        recall = sklearn.recall_score(actual, predicted, labels=np.unique(actual), average="macro", zero_division=0)
        assert values["balanced_accuracy"] == pytest.approx(recall)


class TestAreaUnderCurve:
    def test_by_hand_with_a_tie(self):
        positive = np.array([True, True, False, False])
        # Of the four pairs two are won, one is tied, one is lost.
        assert metrics.area_under_curve(positive, np.array([0.9, 0.4, 0.4, 0.5])) == pytest.approx(2.5 / 4)

    @pytest.mark.parametrize("decimals", [1, 6])
    def test_equals_scikit_learn(self, decimals):
        sklearn = pytest.importorskip("sklearn.metrics")
        random = np.random.default_rng(1)
        positive, scores = random.random(200) < 0.3, random.random(200).round(decimals)
        assert metrics.area_under_curve(positive, scores) == pytest.approx(sklearn.roc_auc_score(positive, scores))

    @pytest.mark.parametrize(
        ("positive", "scores"), [([True, True], [0.1, 0.2]), ([False], [0.1]), ([], []), ([True, False], [np.nan, 0.2])]
    )
    def test_has_no_value_without_two_classes_and_numbers(self, positive, scores):
        assert math.isnan(metrics.area_under_curve(np.array(positive, bool), np.array(scores)))


class TestMeasure:
    def judged(self, scores, actual):
        predicted, probability, rank = metrics.judge(scores, actual)
        return metrics.Judgements(actual, predicted, probability, rank, scores[:, -1])

    def test_probabilistic_metrics_equal_scikit_learn(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        random = np.random.default_rng(0)
        scores, actual = random.dirichlet(np.ones(5), 100), random.integers(0, 5, 100)
        values = metrics.measure(self.judged(scores, actual), 5, top_k=2, two_classes=None)
        assert values["log_loss"] == pytest.approx(sklearn.log_loss(actual, scores, labels=range(5)))
        assert values["top_k_accuracy"] == pytest.approx(sklearn.top_k_accuracy_score(actual, scores, k=2, labels=range(5)))
        assert "auc" not in values

    def test_auc_leaves_out_labels_that_are_neither_class(self):
        scores = np.array([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])
        judged = self.judged(scores, np.array([1, 0, -1]))
        judged = dataclasses.replace(judged, actual=np.array([1, 0, 2]))
        assert metrics.measure(judged, 3, top_k=2, two_classes=(0, 1))["auc"] == 1

    def test_a_certain_mistake_costs_a_finite_loss(self):
        values = metrics.measure(self.judged(np.array([[1.0, 0.0]]), np.array([1])), 2, top_k=2, two_classes=None)
        assert values["log_loss"] == pytest.approx(-math.log(1e-7))
