import json
import math

import numpy as np
import pyarrow as pa
import pytest

from components.errors import UsageError
from components.evaluation import accumulate, report, resampling
from components.evaluation.options import EvaluationOptions
from components.evaluation.scored_rows import ScoredRows
from components.evaluation.segments import Segment, SegmentColumn

CLASSES = ("cancel", "order", "pay")
TRAIN = {"cancel": 1, "order": 5, "pay": 2}
LANGUAGE = Segment((SegmentColumn("language", "language"),))
CHANNEL_AND_LANGUAGE = Segment((SegmentColumn("channel", "channel"), SegmentColumn("language", "language")))


def sure(classes, predicted):
    """Probabilities of a model that gives 0.8 to what it predicts and shares the rest."""
    scores = np.full((len(predicted), len(classes)), 0.2 / (len(classes) - 1), np.float32)
    scores[np.arange(len(predicted)), [classes.index(name) for name in predicted]] = 0.8
    return scores


def measure(
    actual, *, predicted=None, scores=None, classes=CLASSES, baseline=None, segments=(), abstained=None, weight=None, train=None,
    subject=None, unit=None, columns=None, **options,
):  # fmt: skip
    """Measures a table; returns metrics.json and confusion.json.

    Args:
      actual: True labels.
      predicted: The candidate's predictions, or its `scores`.
      baseline: Classes and scores of the baseline.
      columns: Slice values by column.
      options: Of the `evaluation:` section.
    """
    known = {"candidate": tuple(classes)} | ({"baseline": tuple(baseline[0])} if baseline else {})
    content = {"gates": [{"metric": "accuracy", "min": 0.1}], "bootstrap": {"replicates": 20}, **options}
    measured = report.Subject(
        known, tuple(segments), train or dict.fromkeys(classes, 1), EvaluationOptions.model_validate(content), **(subject or {})
    )
    accumulator = accumulate.Accumulator(report.plan(measured))
    accumulator.add(
        ScoredRows(
            unit=resampling.units(0, len(actual), salt=0) if unit is None else unit,
            actual=pa.array(actual, pa.string()),
            scores={"candidate": sure(classes, predicted) if scores is None else np.asarray(scores, np.float32)}
            | ({"baseline": np.asarray(baseline[1], np.float32)} if baseline else {}),
            abstained={} if abstained is None else {"candidate": np.asarray(abstained)},
            slices={name: pa.array(values) for name, values in (columns or {}).items()},
            weight=None if weight is None else np.asarray(weight, float),
        )
    )
    return report.report(accumulator, measured)


def simulated(rows, classes=CLASSES, seed=0, skill=2.0):
    """True labels, scores and languages of random rows."""
    random = np.random.default_rng(seed)
    actual = random.integers(0, len(classes), rows)
    logits = random.normal(size=(rows, len(classes)))
    logits[np.arange(rows), actual] += skill
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [classes[label] for label in actual], scores, random.choice(["de", "en", "fr"], rows).tolist()


def text(slice_):
    return ",".join(f"{key}={value}" for key, value in slice_.items())


def by_slice(rows, metric, part="metrics"):
    return {text(row["slice"]): row[part].get(metric) for row in rows["slices"]}


class TestSlices:
    def test_all_rows_come_first_then_each_segment_by_value_and_all_models_have_the_same(self):
        actual, scores, language = simulated(60)
        columns = {"language": language, "channel": ["web", "(missing)", "app"] * 20}
        metrics, confusion = measure(
            actual, scores=scores, baseline=(CLASSES, scores), segments=[LANGUAGE, CHANNEL_AND_LANGUAGE], columns=columns
        )
        names = [text(row["slice"]) for row in metrics["candidate"]["slices"]]
        assert names[:6] == [
            "",
            "language=de",
            "language=en",
            "language=fr",
            "channel=app,language=de",
            "channel=app,language=en",
        ]
        assert names[-1] == "channel=(missing),language=fr"
        for other in (metrics["baseline"], metrics["majority"], metrics["comparison"]):
            assert [text(row["slice"]) for row in other["slices"]] == names
        assert len(confusion["candidate"]) == len(confusion["baseline"]) == len(names)
        assert [row["n"] for row in metrics["candidate"]["slices"]] == [row["n"] for row in metrics["majority"]["slices"]]

    def test_segments_are_described(self):
        length = Segment((SegmentColumn("length(text)", "text", "length", (11.0,)),), declared=False)
        columns = {"language": ["de", "en"], "length(text)": ["11 or more", "0 to 10"]}
        metrics, _ = measure(["pay", "pay"], predicted=["pay", "pay"], segments=[LANGUAGE, length], columns=columns)
        assert metrics["segments"] == [
            {"columns": ["language"], "kind": "values", "declared": True, "slices": 2, "overflow": False},
            {"columns": ["length(text)"], "kind": "length", "declared": False, "slices": 2, "overflow": False},
        ]
        assert [text(row["slice"]) for row in metrics["candidate"]["slices"]][1:] == [
            "language=de", "language=en", "length(text)=0 to 10", "length(text)=11 or more",
        ]  # fmt: skip

    def test_too_many_values_are_said_and_not_sliced(self, monkeypatch):
        monkeypatch.setattr(accumulate, "MOST_VALUES", 2)
        columns = {"language": ["a", "b", "c"], "channel": ["x", "x", "x"]}
        channel = Segment((SegmentColumn("channel", "channel"),))
        metrics, _ = measure(["pay"] * 3, predicted=["pay"] * 3, segments=[LANGUAGE, channel], columns=columns)
        assert [text(row["slice"]) for row in metrics["candidate"]["slices"]] == ["", "channel=x"]
        assert [(row["slices"], row["overflow"]) for row in metrics["segments"]] == [(0, True), (1, False)]
        assert any("segment language has more than" in note for note in metrics["notes"])
        assert metrics["fairness"][0]["groups"] == []

    def test_no_rows_are_refused(self):
        with pytest.raises(UsageError, match="test split has no rows"):
            measure([], scores=np.empty((0, 3)))


class TestLabels:
    def test_unseen_labels_and_unusable_scores_share_one_index_after_the_labels(self):
        scores = sure(CLASSES, ["pay", "order", "pay"])
        scores[2] = math.nan
        metrics, confusion = measure(["refund", "complain", "pay"], scores=scores)
        assert confusion["labels"] == list(CLASSES)
        assert confusion["candidate"] == [[[2, 3, 1], [3, 1, 1], [3, 2, 1]]]
        assert metrics["candidate"]["slices"][0]["unusable"] == 1
        assert metrics["candidate"]["slices"][0]["metrics"]["accuracy"] == 0
        assert metrics["notes"] == [
            "1 test rows got scores from the candidate that are not numbers; they count as wrong",
            "2 test rows have labels that no training row had; no model can get them right",
        ]

    def test_notes_count_rows_and_not_weight(self):
        metrics, _ = measure(["refund", "refund"], predicted=["pay", "pay"], weight=[0.5, 0.25])
        assert metrics["notes"] == ["2 test rows have labels that no training row had; no model can get them right"]

    def test_per_class_lists_every_class_of_the_model(self):
        metrics, _ = measure(["pay", "pay", "order"], predicted=["pay", "order", "order"])
        rows = [
            {name: row[name] for name in ("class", "n", "precision", "recall", "f1")} for row in metrics["candidate"]["per_class"]
        ]
        assert rows == [
            {"class": "cancel", "n": 0, "precision": None, "recall": None, "f1": None},
            {"class": "order", "n": 1, "precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3)},
            {"class": "pay", "n": 2, "precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3)},
        ]
        assert metrics["candidate"]["per_class"][0]["auc"] is None
        assert metrics["candidate"]["per_class"][2]["auc"] == pytest.approx((1 + 0.5) / 2)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_confusion_cells_add_up_to_each_slice(self, weighted):
        actual, scores, language = simulated(80)
        weight = np.random.default_rng(0).random(80) if weighted else None
        scores[3] = math.nan
        actual[0] = "new"
        metrics, confusion = measure(actual, scores=scores, weight=weight, segments=[LANGUAGE], columns={"language": language})
        for row, cells in zip(metrics["candidate"]["slices"], confusion["candidate"], strict=True):
            assert sum(weight for _, _, weight in cells) == pytest.approx(row["weight"])
            assert weighted or row["weight"] == row["n"]

    def test_confusion_cells_are_whole_where_weights_are(self):
        for weight in ([2.0], [0.5], [1e30]):
            cells = measure(["pay"], predicted=["order"], weight=weight)[1]["candidate"]
            assert cells == [[[2, 1, weight[0]]]]
            assert isinstance(cells[0][0][2], int) == (weight == [2.0])


class TestBaseline:
    def test_is_absent_with_the_reason_if_there_is_one(self):
        metrics, confusion = measure(["pay"], predicted=["pay"], subject={"baseline_problem": "it cannot be read"})
        assert metrics["baseline"] is metrics["comparison"] is confusion["baseline"] is None
        assert metrics["baseline_problem"] == "it cannot be read"

    def test_classes_are_matched_by_name(self):
        other = CLASSES[::-1]
        metrics, confusion = measure(["pay", "order"], predicted=["pay", "order"], baseline=(other, sure(other, ["pay", "pay"])))
        assert by_slice(metrics["baseline"], "accuracy") == {"": 0.5}
        assert confusion["baseline"] == [[[1, 2, 1], [2, 2, 1]]]
        assert metrics["comparison"]["labels"] == "all"
        assert metrics["comparison"]["left_out_labels"] == []
        assert by_slice(metrics["comparison"], "accuracy") == {"": 0.5}

    def test_an_identical_model_differs_nowhere_and_surely(self):
        actual, scores, language = simulated(90)
        gates = [{"metric": name, "max_drop": 0.1} for name in ("accuracy", "macro_f1", "log_loss", "calibration_error", "auc")]
        gates.append({"metric": "recall", "class": "pay", "max_drop": 0.1, "slices": "each"})
        gates.append({"metric": "auc", "class": "pay", "max_drop": 0.1, "slices": "each"})
        metrics, _ = measure(
            actual, scores=scores, baseline=(CLASSES, scores), gates=gates, segments=[LANGUAGE], columns={"language": language}
        )
        for row in metrics["comparison"]["slices"]:
            assert set(row["metrics"].values()) == {0}
            assert {"accuracy", "macro_f1", "log_loss", "calibration_error", "recall(pay)", "auc(pay)"} <= row["intervals"].keys()
            assert all(limits == [0, 0] for limits in row["intervals"].values())
        assert metrics["comparison"]["slices"][0]["intervals"]["auc"] == [0, 0]

    def test_a_difference_is_surer_than_the_two_values(self):
        actual, scores, _ = simulated(2000)
        worse = scores.copy()
        worse[::25] = np.roll(worse[::25], 1, axis=1)
        metrics, _ = measure(actual, scores=scores, baseline=(CLASSES, worse), bootstrap={"replicates": 200})
        low, high = metrics["comparison"]["slices"][0]["intervals"]["accuracy"]
        alone = metrics["candidate"]["slices"][0]["intervals"]["accuracy"]
        assert 0 < low < by_slice(metrics["comparison"], "accuracy")[""] < high
        assert high - low < (alone[1] - alone[0]) * 0.6

    def test_with_other_labels_is_compared_on_common_ones(self):
        other = ("order", "pay", "refund")
        actual = ["refund", "pay", "order", "cancel", "pay", "new"]
        metrics, confusion = measure(
            actual,
            predicted=["pay", "pay", "order", "cancel", "order", "pay"],
            baseline=(other, sure(other, ["refund", "pay", "refund", "pay", "pay", "order"])),
            segments=[LANGUAGE],
            columns={"language": ["de", "de", "de", "de", "en", "en"]},
        )
        assert metrics["labels"] == confusion["labels"] == ["cancel", "order", "pay", "refund"]
        # Alone, each model answers for all rows.
        assert by_slice(metrics["candidate"], "accuracy")[""] == pytest.approx(3 / 6)
        assert by_slice(metrics["baseline"], "accuracy")[""] == pytest.approx(3 / 6)
        assert [3, 3, 1] in confusion["baseline"][0]
        comparison = metrics["comparison"]
        assert (comparison["labels"], comparison["left_out_labels"]) == ("common", ["cancel", "refund"])
        # Rows of order and pay: the candidate has two of three right, the baseline another two of three.
        assert [row["n"] for row in comparison["slices"]] == [3, 2, 1]
        assert [row["candidate"]["accuracy"] for row in comparison["slices"]] == [pytest.approx(2 / 3), 1, 0]
        assert [row["baseline"]["accuracy"] for row in comparison["slices"]] == [pytest.approx(2 / 3), 0.5, 1]
        assert by_slice(comparison, "accuracy") == {"": 0, "language=de": 0.5, "language=en": -1}
        assert any("one of the 2 labels both know" in note for note in metrics["notes"])

    def test_n_of_a_comparison_counts_rows_and_not_weight(self):
        other = ("order", "pay")
        metrics, _ = measure(
            ["pay", "order", "cancel"],
            predicted=["pay", "pay", "pay"],
            baseline=(other, sure(other, ["pay", "pay", "pay"])),
            weight=[10, 0.5, 3],
        )
        assert metrics["comparison"]["slices"][0]["n"] == 2

    def test_without_a_common_label_cannot_be_compared(self):
        metrics, _ = measure(["pay", "order"], predicted=["pay", "order"], baseline=(("x", "y"), sure(("x", "y"), ["x", "y"])))
        row = metrics["comparison"]["slices"][0]
        assert (row["n"], row["intervals"], set(row["metrics"].values())) == (0, {}, {None})
        assert "candidate and baseline have no label in common, so they cannot be compared" in metrics["notes"]

    @pytest.mark.parametrize("classes", [("maybe", "no", "yes"), ("maybe", "no"), ("no", "other")])
    def test_has_an_area_only_of_a_class_it_knows(self, classes):
        scores = sure(classes, ["no", "no"])
        metrics, _ = measure(["no", "yes"], predicted=["no", "yes"], classes=("no", "yes"), baseline=(classes, scores))
        assert by_slice(metrics["candidate"], "auc") == {"": 1}
        assert ("auc" in metrics["baseline"]["slices"][0]["metrics"]) == ("yes" in classes)
        assert ("auc" in metrics["comparison"]["slices"][0]["metrics"]) == ("yes" in classes)

    def test_two_classes_in_another_order_have_the_same_area(self):
        baseline = (("yes", "no"), sure(("yes", "no"), ["no", "yes"]))
        metrics, _ = measure(["no", "yes"], predicted=["no", "yes"], classes=("no", "yes"), baseline=baseline)
        assert metrics["positive_class"] == "yes"
        assert by_slice(metrics["baseline"], "auc") == {"": 1}


class TestMajority:
    def test_is_the_most_frequent_training_label_in_every_slice(self):
        actual, scores, language = simulated(90)
        metrics, _ = measure(actual, scores=scores, train=TRAIN, segments=[LANGUAGE], columns={"language": language})
        assert metrics["train_majority_class"] == "order"
        truth, language = np.array(actual), np.array(language)
        expected = {f"language={name}": pytest.approx((truth[language == name] == "order").mean()) for name in ("de", "en", "fr")}
        assert by_slice(metrics["majority"], "accuracy") == {"": pytest.approx((truth == "order").mean()), **expected}

    @pytest.mark.parametrize("weighted", [False, True])
    def test_equals_a_model_with_the_training_frequencies_as_scores(self, weighted):
        sklearn = pytest.importorskip("sklearn.metrics")
        dummy = pytest.importorskip("sklearn.dummy").DummyClassifier(strategy="prior")
        train = [label for label, count in TRAIN.items() for _ in range(count)]
        dummy.fit(np.zeros((len(train), 1)), train)
        actual, scores, _ = simulated(100)
        weight = np.random.default_rng(0).random(100) if weighted else None
        gates = [{"metric": "recall", "class": "order", "min": 0}, {"metric": "false_positive_rate", "class": "order", "max": 1}]
        metrics, _ = measure(actual, scores=scores, train=TRAIN, weight=weight, top_k=2, gates=gates)
        received = metrics["majority"]["slices"][0]["metrics"]
        answers, frequencies = dummy.predict(np.zeros((100, 1))), dummy.predict_proba(np.zeros((100, 1)))
        with_weight = {"sample_weight": weight}
        assert received["accuracy"] == pytest.approx(sklearn.accuracy_score(actual, answers, **with_weight))
        assert received["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(actual, answers, **with_weight))
        for average in ("macro", "weighted"):
            expected = sklearn.f1_score(actual, answers, average=average, zero_division=0, **with_weight)
            assert received[f"{average}_f1"] == pytest.approx(expected)
        assert received["log_loss"] == pytest.approx(sklearn.log_loss(actual, frequencies, labels=CLASSES, **with_weight))
        expected = sklearn.top_k_accuracy_score(actual, frequencies, k=2, labels=CLASSES, **with_weight)
        assert received["top_k_accuracy"] == pytest.approx(expected)
        assert (received["coverage"], received["answered_accuracy"]) == (1, received["accuracy"])
        assert (received["recall(order)"], received["false_positive_rate(order)"]) == (1, 1)
        shares = [np.average(np.array(actual) == name, weights=weight) for name in CLASSES]
        assert (received["auc"], received["pr_auc"]) == (0.5, pytest.approx(np.mean(shares)))

    def test_a_tie_goes_to_the_first_name(self):
        assert measure(["pay"], predicted=["pay"], train={"pay": 3, "order": 3})[0]["train_majority_class"] == "order"

    def test_a_label_the_model_does_not_know_is_never_right(self):
        metrics, _ = measure(["pay", "rare"], predicted=["pay", "pay"], train={"rare": 9, "pay": 1})
        assert by_slice(metrics["majority"], "accuracy") == {"": 0}

    def test_has_no_area_where_a_class_is_alone(self):
        columns = {"language": ["de", "de", "en"]}
        metrics, _ = measure(
            ["no", "no", "yes"], predicted=["no", "yes", "yes"], classes=("no", "yes"), segments=[LANGUAGE], columns=columns
        )
        assert by_slice(metrics["majority"], "auc") == {"": 0.5, "language=de": None, "language=en": None}
        assert by_slice(metrics["majority"], "pr_auc") == {"": pytest.approx(1 / 3), "language=de": None, "language=en": 1}

    def test_an_unseen_label_costs_as_much_as_for_any_model(self):
        metrics, _ = measure(["new"], predicted=["pay"], train=TRAIN)
        assert metrics["majority"]["slices"][0]["metrics"]["log_loss"] == pytest.approx(-math.log(1e-7))
        assert metrics["candidate"]["slices"][0]["metrics"]["log_loss"] == pytest.approx(-math.log(1e-7))


class TestCosts:
    COSTS = {"wrong": 2.0, "right": -0.5, "abstained": 0.25, "pairs": [{"actual": "pay", "predicted": "cancel", "cost": 10}]}

    def test_by_hand(self):
        metrics, _ = measure(
            ["pay", "pay", "order", "cancel", "new"],
            predicted=["pay", "cancel", "pay", "pay", "pay"],
            abstained=[False, False, False, True, False],
            costs=self.COSTS,
            train=TRAIN,
        )
        # Right, the expensive pair, wrong, abstained from, wrong.
        assert by_slice(metrics["candidate"], "cost_per_1000")[""] == pytest.approx(1000 * (-0.5 + 10 + 2 + 0.25 + 2) / 5)
        # The majority class answers "order" to all of them.
        assert by_slice(metrics["majority"], "cost_per_1000")[""] == pytest.approx(1000 * (4 * 2 - 0.5) / 5)

    def test_rows_cost_by_their_weight(self):
        metrics, _ = measure(["pay", "order"], predicted=["cancel", "order"], costs=self.COSTS, weight=[1, 3])
        assert by_slice(metrics["candidate"], "cost_per_1000")[""] == pytest.approx(1000 * (10 - 3 * 0.5) / 4)

    def test_a_pair_of_unknown_classes_is_no_error(self):
        costs = {"pairs": [{"actual": "gone", "predicted": "pay", "cost": 3}]}
        metrics, _ = measure(["pay"], predicted=["order"], costs=costs)
        assert by_slice(metrics["candidate"], "cost_per_1000")[""] == 1000

    def test_without_costs_there_is_no_such_metric(self):
        metrics, _ = measure(["pay"], predicted=["pay"])
        assert "cost_per_1000" not in metrics["candidate"]["slices"][0]["metrics"]
        assert "cost_per_1000" not in metrics["majority"]["slices"][0]["metrics"]


class TestAbstaining:
    def test_answered_accuracy_by_hand(self):
        metrics, _ = measure(
            ["pay", "pay", "order", "order"],
            predicted=["pay", "order", "order", "pay"],
            abstained=[False, True, False, False],
            subject={"abstain_threshold": 0.62},
        )
        values = metrics["candidate"]["slices"][0]["metrics"]
        assert (values["coverage"], values["answered_accuracy"], values["accuracy"]) == (0.75, pytest.approx(2 / 3), 0.5)
        assert metrics["abstain_threshold"] == 0.62

    def test_a_model_that_answers_nothing_has_no_answered_accuracy(self):
        metrics, _ = measure(["pay"] * 3, predicted=["pay"] * 3, abstained=[True] * 3)
        values = metrics["candidate"]["slices"][0]["metrics"]
        assert (values["coverage"], values["answered_accuracy"], values["accuracy"]) == (0, None, 1)

    def test_coverage_curve_by_hand(self):
        # Top scores 0.95 (right), 0.725 (wrong), 0.5 (right), and one that is no number (wrong).
        scores = [[0.95, 0.05, 0], [0.725, 0.275, 0], [0.5, 0.3, 0.2], [math.nan, 0, 0]]
        metrics, _ = measure(["cancel", "order", "cancel", "cancel"], scores=scores)
        curve = {point["threshold"]: (point["coverage"], point["accuracy"]) for point in metrics["candidate"]["coverage"]}
        assert len(curve) == 101
        assert curve[0] == (1, 0.5)
        assert curve[0.01] == curve[0.5] == (0.75, pytest.approx(2 / 3))
        assert curve[0.51] == curve[0.72] == (0.5, 0.5)
        assert curve[0.73] == curve[0.94] == (0.25, 1)
        assert curve[0.96] == curve[1] == (0, None)


class TestCurves:
    def test_threshold_curve_by_hand(self):
        scores = [[0.1, 0.9], [0.6, 0.4], [0.3, 0.7], [0.95, 0.05], [0.5, 0.5]]
        metrics, _ = measure(["yes", "yes", "no", "no", "new"], scores=scores, classes=("no", "yes"))
        curve = {round(point["threshold"], 2): point for point in metrics["candidate"]["threshold_curve"]}
        assert len(curve) == 101
        assert curve[0] == {"threshold": 0, "tp": 2, "fp": 3, "tn": 0, "fn": 0}
        assert curve[0.45] == {"threshold": 0.45, "tp": 1, "fp": 2, "tn": 1, "fn": 1}
        assert curve[0.8] == {"threshold": 0.8, "tp": 1, "fp": 0, "tn": 3, "fn": 1}
        assert curve[1] == {"threshold": 1, "tp": 0, "fp": 0, "tn": 3, "fn": 2}

    def test_more_classes_have_no_threshold_curve(self):
        assert measure(["pay"], predicted=["pay"])[0]["candidate"]["threshold_curve"] is None

    def test_calibration_by_hand(self):
        scores = [[0.92, 0.08, 0], [0.94, 0.06, 0], [0.5, 0.3, 0.2], [1, 0, 0]]
        metrics, _ = measure(["cancel", "order", "cancel", "cancel"], scores=scores, weight=[1, 3, 2, 1])
        bins = metrics["candidate"]["calibration"]
        assert [round(row["low"], 2) for row in bins] == [round(0.05 * number, 2) for number in range(20)]
        assert bins[18] == {
            "low": 0.9, "high": 0.95, "n": 4, "correct": 1, "accuracy": 0.25, "confidence": pytest.approx((0.92 + 3 * 0.94) / 4),
        }  # fmt: skip
        assert (bins[10]["n"], bins[10]["accuracy"]) == (2, 1)
        assert (bins[19]["n"], bins[19]["confidence"]) == (1, 1)
        assert (bins[0]["n"], bins[0]["accuracy"], bins[0]["confidence"]) == (0, None, None)
        expected = (4 * abs(1 / 4 - 3.74 / 4) + 2 * 0.5 + 0) / 7
        assert by_slice(metrics["candidate"], "calibration_error")[""] == pytest.approx(expected)


class TestAreas:
    def test_of_two_classes_are_the_positive_ones_in_every_slice(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        classes = ("no", "yes")
        actual, scores, language = simulated(300, classes)
        metrics, _ = measure(
            actual, scores=scores, classes=classes, segments=[LANGUAGE], columns={"language": language},
            gates=[{"metric": "auc", "min": 0.5, "slices": "each"}],
        )  # fmt: skip
        truth, language = np.array(actual) == "yes", np.array(language)
        for row in metrics["candidate"]["slices"]:
            chosen = language == row["slice"]["language"] if row["slice"] else np.ones(300, bool)
            expected = sklearn.roc_auc_score(truth[chosen], scores[chosen, 1])
            assert row["metrics"]["auc"] == pytest.approx(expected, abs=3e-4)
            low, high = row["intervals"]["auc"]
            assert low < row["metrics"]["auc"] < high
            assert row["metrics"]["pr_auc"] is not None

    def test_of_one_class_of_many_can_be_gated_in_slices(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        actual, scores, language = simulated(300)
        gates = [{"metric": "auc", "class": "pay", "min": 0.5, "slices": "each"}]
        metrics, _ = measure(actual, scores=scores, segments=[LANGUAGE], columns={"language": language}, gates=gates)
        truth, language = np.array(actual) == "pay", np.array(language)
        for row in metrics["candidate"]["slices"]:
            chosen = language == row["slice"]["language"] if row["slice"] else np.ones(300, bool)
            expected = sklearn.roc_auc_score(truth[chosen], scores[chosen, 2])
            assert row["metrics"]["auc(pay)"] == pytest.approx(expected, abs=3e-4)
            assert row["intervals"]["auc(pay)"][0] < row["metrics"]["auc(pay)"] < row["intervals"]["auc(pay)"][1]

    def test_of_many_classes_are_means_over_all_rows_with_interval(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        actual, scores, language = simulated(300)
        gates = [{"metric": "auc", "min": 0.5}, {"metric": "auc", "class": "pay", "min": 0.5}]
        metrics, _ = measure(actual, scores=scores, segments=[LANGUAGE], columns={"language": language}, gates=gates)
        overall, *slices = metrics["candidate"]["slices"]
        expected = sklearn.roc_auc_score(actual, scores, multi_class="ovr", labels=CLASSES)
        assert overall["metrics"]["auc"] == pytest.approx(expected, abs=1e-4)
        assert overall["intervals"]["auc"][0] < expected < overall["intervals"]["auc"][1]
        assert all("auc" not in row["metrics"] and "auc" not in row["intervals"] for row in slices)

    def test_never_leave_the_unit_interval(self):
        # Five positive and five negative rows tie in the coarse buckets of the bootstrap, though not in truth: the area is 1, and
        # replicates with fewer of these rows than there are come out above what they are shifted by.
        positive = [0.9] * 20 + [0.52] * 5 + [0.1] * 20 + [0.515] * 5
        metrics, _ = measure(
            ["yes"] * 25 + ["no"] * 25,
            scores=[[1 - score, score] for score in positive],
            classes=("no", "yes"),
            gates=[{"metric": "auc", "min": 0.5}],
        )
        row = metrics["candidate"]["slices"][0]
        low, high = row["intervals"]["auc"]
        assert row["metrics"]["auc"] == 1
        assert low < high == 1


class TestIntervals:
    GATES = ({"metric": "accuracy", "min": 0.1}, {"metric": "macro_f1", "min": 0.1, "slices": "each"})

    def measured(self, **bootstrap):
        actual, scores, language = simulated(150)
        return measure(
            actual, scores=scores, segments=[LANGUAGE], columns={"language": language}, gates=self.GATES, bootstrap=bootstrap, min_rows=9
        )  # fmt: skip

    def test_are_there_for_every_gated_metric_in_every_slice_and_hold_the_value(self):
        metrics, _ = self.measured(replicates=100)
        assert metrics["bootstrap"] == {"replicates": 100, "seed": 0, "confidence": 0.95, "unit": "row"}
        for row in metrics["candidate"]["slices"]:
            assert row["intervals"].keys() == {"accuracy", "macro_f1"}
            for name, (low, high) in row["intervals"].items():
                assert low < row["metrics"][name] < high

    def test_are_those_of_the_replicates_alone(self):
        row = self.measured(replicates=1)[0]["candidate"]["slices"][0]
        low, high = row["intervals"]["macro_f1"]
        assert low == high != row["metrics"]["macro_f1"]

    def test_are_a_function_of_the_seed(self):
        assert self.measured(replicates=30, seed=1) == self.measured(replicates=30, seed=1)
        one, other = (self.measured(replicates=30, seed=seed)[0]["candidate"]["slices"] for seed in (1, 2))
        assert [row["intervals"] for row in one] != [row["intervals"] for row in other]
        assert [row["metrics"] for row in one] == [row["metrics"] for row in other]

    def test_are_narrower_with_less_confidence_and_in_larger_slices(self):
        def width(metrics, position=0):
            low, high = metrics["candidate"]["slices"][position]["intervals"]["accuracy"]
            return high - low

        wide, narrow = (self.measured(replicates=100, confidence=confidence)[0] for confidence in (0.95, 0.5))
        assert width(narrow) < width(wide) < width(wide, 1)

    def test_without_replicates_there_are_none(self):
        metrics, _ = self.measured(replicates=0)
        assert metrics["bootstrap"] is None
        assert all(row["intervals"] == {} for row in metrics["candidate"]["slices"])
        assert metrics["fairness"][0]["gap_interval"] is None
        assert metrics["fairness"][0]["gap"] is not None

    def test_of_rows_drawn_together_are_as_wide_as_those_of_few_rows(self):
        actual, scores, _ = simulated(400)
        groups = np.repeat(resampling.units(0, 4, salt=0), 100)
        unit = {"subject": {"unit": "conversation"}, "unit": groups}
        # Rows of a group are alike: all right, or all wrong.
        predicted = ["pay"] * 200 + ["order"] * 200
        together, _ = measure(["pay"] * 400, predicted=predicted, bootstrap={"replicates": 200}, **unit)
        alone, _ = measure(["pay"] * 400, predicted=predicted, bootstrap={"replicates": 200})
        widths = [high - low for low, high in (m["candidate"]["slices"][0]["intervals"]["accuracy"] for m in (together, alone))]
        assert widths[0] > 5 * widths[1]
        assert together["bootstrap"]["unit"] == "conversation"

    def test_cover_the_truth_as_often_as_they_say(self):
        truth, rows, sets = 0.8, 120, 200
        random = np.random.default_rng(0)
        # All data sets in one pass: each is a slice.
        right = random.random(rows * sets) < truth
        columns = {"language": np.repeat([f"set {number:03}" for number in range(sets)], rows).tolist()}
        metrics, _ = measure(
            ["pay"] * len(right),
            predicted=np.where(right, "pay", "order").tolist(),
            segments=[LANGUAGE],
            columns=columns,
            bootstrap={"replicates": 150},
        )
        intervals = [row["intervals"]["accuracy"] for row in metrics["candidate"]["slices"][1:]]
        covered = sum(low <= truth <= high for low, high in intervals)
        assert len(intervals) == sets
        assert 0.90 * sets <= covered <= 0.99 * sets

    def test_that_too_few_replicates_define_are_left_out(self):
        # One row of "pay" among 30: a third of the replicates have none, and no recall.
        gates = [{"metric": "recall", "class": "pay", "min": 0.1}]
        metrics, _ = measure(["pay"] + ["order"] * 29, predicted=["pay"] + ["order"] * 29, gates=gates)
        assert metrics["candidate"]["slices"][0]["metrics"]["recall(pay)"] == 1
        assert metrics["candidate"]["slices"][0]["intervals"].keys() == {"accuracy"}

    def test_percentiles(self):
        assert report.interval(np.arange(101.0), 0.9) == pytest.approx([5, 95])
        assert report.interval(np.array([1.0] * 9 + [math.nan]), 0.9) == [1, 1]
        assert report.interval(np.array([1.0] * 8 + [math.nan] * 2), 0.9) is None
        assert report.interval(np.array([]), 0.9) is None


class TestFairness:
    def test_compares_the_groups_of_every_declared_segment_of_one_column(self):
        actual, scores, language = simulated(300)
        columns = {"language": language, "channel": ["app", "web"] * 150, "length(text)": ["0 to 10"] * 300}
        length = Segment((SegmentColumn("length(text)", "text", "length", (11.0,)),), declared=False)
        metrics, _ = measure(
            actual, scores=scores, segments=[LANGUAGE, CHANNEL_AND_LANGUAGE, length], columns=columns, min_rows=10,
            fairness={"metrics": ["accuracy", {"metric": "equal_opportunity", "class": "pay"}]},
        )  # fmt: skip
        assert [(row["segment"], row["metric"], row["criterion"]) for row in metrics["fairness"]] == [
            ("language", "accuracy", None),
            ("language", "recall(pay)", "equal_opportunity"),
        ]
        values = by_slice(metrics["candidate"], "accuracy")
        for row in metrics["fairness"]:
            assert {group["value"] for group in row["groups"]} == {"de", "en", "fr"}
        accuracy = metrics["fairness"][0]
        assert {f"language={group['value']}": group["metric"] for group in accuracy["groups"]} == {
            key: value for key, value in values.items() if key.startswith("language=")
        }
        assert accuracy["gap"] == max(accuracy["groups"], key=lambda g: g["metric"])["metric"] - accuracy["groups"][0]["metric"]

    def test_the_interval_of_the_gap_of_equal_halves_holds_0(self):
        actual, scores, _ = simulated(400)
        metrics, _ = measure(
            actual * 2, scores=np.tile(scores, (2, 1)), segments=[LANGUAGE], columns={"language": ["de"] * 400 + ["en"] * 400},
            bootstrap={"replicates": 100},
        )  # fmt: skip
        low, high = metrics["fairness"][0]["gap_interval"]
        assert metrics["fairness"][0]["gap"] == 0
        assert low < 0 < high


def odd_inputs():
    nan = math.nan
    actual, scores, language = simulated(40)
    zero_slice = [0.0 if name == "de" else 1.0 for name in language]
    sliced = {"segments": [LANGUAGE], "columns": {"language": language}}
    gates = [
        {"metric": "accuracy", "min": 0.1, "slices": "each"},
        {"metric": "log_loss", "max": 9},
        {"metric": "calibration_error", "max": 1, "slices": "each"},
        {"metric": "pr_auc", "class": "pay", "min": 0, "slices": "each"},
        {"metric": "auc", "min": 0},
        {"metric": "precision", "class": "cancel", "min": 0, "slices": "each"},
        {"metric": "false_positive_rate", "class": "pay", "max_gap": 1},
    ]
    two = ("no", "yes")
    yield "ordinary", {"actual": actual, "scores": scores, **sliced}
    yield "one row", {"actual": ["pay"], "predicted": ["order"], "segments": [LANGUAGE], "columns": {"language": ["de"]}}
    yield "only scores that are not numbers", {"actual": actual, "scores": np.full((40, 3), nan), **sliced}
    yield "only unseen labels", {"actual": ["new"] * 40, "scores": scores, **sliced}
    yield "infinite scores", {"actual": actual, "scores": np.where(scores > 0.5, np.inf, -np.inf), **sliced}
    yield "weight 0 in a slice", {"actual": actual, "scores": scores, "weight": zero_slice, **sliced}
    yield "weight 0 everywhere", {"actual": actual, "scores": scores, "weight": [0.0] * 40, **sliced}
    yield "huge and tiny weights", {"actual": actual, "scores": scores, "weight": [1e30, 1e-320] * 20, **sliced}
    yield "huge costs", {"actual": actual, "scores": scores, "costs": {"wrong": 1e308, "right": -1e308}, **sliced}
    yield "no replicates", {"actual": actual, "scores": scores, "bootstrap": {"replicates": 0}, **sliced}
    yield "one replicate", {"actual": actual, "scores": scores, "bootstrap": {"replicates": 1}, **sliced}
    yield "one class in the truth", {"actual": ["pay"] * 40, "scores": scores, **sliced}
    yield "another baseline", {"actual": actual, "scores": scores, "baseline": (("pay", "x"), scores[:, :2]), **sliced}
    yield "nothing in common", {"actual": actual, "scores": scores, "baseline": (("x", "y"), scores[:, :2]), **sliced}
    yield "all abstained", {"actual": actual, "scores": scores, "abstained": [True] * 40, **sliced}
    for name, content in (
        ("two classes", {"actual": ["no", "yes"] * 20, "scores": scores[:, :2]}),
        ("two classes and one in the truth", {"actual": ["no"] * 40, "scores": scores[:, :2]}),
    ):
        yield name, {**content, "classes": two, "gates": [{"metric": "auc", "min": 0, "slices": "each"}], **sliced}
    for name, content in (
        ("ordinary", {}),
        ("one class in the truth", {"actual": ["pay"] * 40}),
        ("weight 0 everywhere", {"weight": [0.0] * 40}),
    ):
        yield f"{name}, many gates", {"actual": actual, "scores": scores, "gates": gates, **sliced, **content}


class TestJson:
    @pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in odd_inputs()])
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_whatever_comes_in_is_plain_json(self, content):
        content = dict(content)
        metrics, confusion = measure(content.pop("actual"), **content)
        assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
        assert json.loads(json.dumps(confusion, allow_nan=False)) == confusion

    def test_says_what_was_measured(self):
        metrics, _ = measure(["pay"], predicted=["pay"], top_k=2, min_rows=7, weight=[2.0], train=TRAIN)
        expected = {
            "format": 2,
            "classes": list(CLASSES),
            "labels": list(CLASSES),
            "positive_class": None,
            "top_k": 2,
            "min_rows": 7,
        }
        assert metrics.items() >= expected.items()
        assert metrics["candidate"]["slices"][0]["weight"] == 2
