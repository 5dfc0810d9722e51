import json
import math

import numpy as np
import pyarrow as pa
import pytest

from components.errors import UsageError
from components.evaluation import slices

CLASSES = ["cancel", "order", "pay"]


def sure(classes, predicted):
    """Probabilities of a model that gives 0.8 to what it predicts and shares the rest."""
    scores = np.full((len(predicted), len(classes)), 0.2 / (len(classes) - 1), np.float32)
    scores[np.arange(len(predicted)), [classes.index(name) for name in predicted]] = 0.8
    return scores


def batch(actual, predicted, classes=CLASSES, baseline=None, **segments):
    scores = {"candidate": (classes, sure(classes, predicted))}
    if baseline:
        scores["baseline"] = (baseline[0], sure(*baseline))
    return slices.scored_batch(pa.array(actual), scores, {name: pa.array(values) for name, values in segments.items()})


def report(batches, segments=(), counts=None, **options):
    return slices.report(batches, segments, counts or {"cancel": 1, "order": 5, "pay": 2}, **{"top_k": 2, **options})


def only_metric(model, metric):
    return {slice_text(row["slice"]): row["metrics"][metric] for row in model["slices"]}


def slice_text(slice_):
    return ",".join(f"{key}={value}" for key, value in slice_.items())


class TestSlices:
    def test_overall_comes_first_then_each_segment_by_value(self):
        rows = batch(["pay", "pay", "order"], ["pay", "order", "order"], language=["de", "bg", "de"], channel=["x", "x", "y"])
        result = report([rows], [("language",), ("channel", "language")])
        assert only_metric(result["candidate"], "accuracy") == {
            "": pytest.approx(2 / 3),
            "language=bg": 0,
            "language=de": 1,
            "channel=x,language=bg": 0,
            "channel=x,language=de": 1,
            "channel=y,language=de": 1,
        }
        assert [row["n"] for row in result["candidate"]["slices"]] == [3, 1, 2, 1, 1, 1]

    def test_a_row_without_a_value_is_in_no_slice(self):
        result = report([batch(["pay", "pay"], ["pay", "pay"], language=["de", None])], [("language",)])
        assert [(row["slice"], row["n"]) for row in result["candidate"]["slices"]] == [({}, 2), ({"language": "de"}, 1)]

    def test_a_segment_without_any_value_has_no_slices(self):
        result = report([batch(["pay"], ["pay"], language=pa.nulls(1, pa.string()))], [("language",)])
        assert [row["slice"] for row in result["candidate"]["slices"]] == [{}]

    def test_batches_are_measured_as_one(self):
        actual, predicted = ["pay", "order", "cancel", "pay"], ["pay", "pay", "cancel", "order"]
        language = ["de", "bg", "bg", "de"]
        whole = report([batch(actual, predicted, language=language)], [("language",)])
        halves = [batch(actual[i : i + 2], predicted[i : i + 2], language=language[i : i + 2]) for i in (0, 2)]
        assert report(halves, [("language",)]) == whole


class TestLabels:
    def test_unseen_labels_share_one_index_after_the_classes(self):
        result = report([batch(["refund", "complain", "pay"], ["pay", "order", "pay"])])
        assert result["classes"] == CLASSES
        assert sorted(result["candidate"]["confusion"]) == [[2, 2, 1], [3, 1, 1], [3, 2, 1]]
        assert result["candidate"]["slices"][0]["metrics"]["accuracy"] == pytest.approx(1 / 3)

    def test_per_class_lists_every_class_of_the_candidate(self):
        result = report([batch(["pay", "pay", "order"], ["pay", "order", "order"])])
        assert result["per_class"] == [
            {"class": "cancel", "n": 0, "precision": 0, "recall": 0, "f1": 0},
            {"class": "order", "n": 1, "precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3)},
            {"class": "pay", "n": 2, "precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3)},
        ]

    def test_a_row_without_label_is_refused(self):
        with pytest.raises(UsageError, match="1 of 2 rows"):
            batch(["pay", None], ["pay", "pay"])

    def test_no_rows_are_refused(self):
        with pytest.raises(UsageError, match="test split has no rows"):
            report([])


class TestBaseline:
    def test_is_absent_with_the_reason_if_there_is_one(self):
        result = report([batch(["pay"], ["pay"])], baseline_problem="it cannot be read")
        assert result["baseline"] is None
        assert result["baseline_problem"] == "it cannot be read"

    def test_classes_are_matched_by_name(self):
        rows = batch(["pay", "order"], ["pay", "order"], baseline=(["pay", "order"], ["pay", "pay"]))
        result = report([rows])
        assert result["baseline"]["slices"][0]["metrics"]["accuracy"] == 0.5
        assert sorted(result["baseline"]["confusion"]) == [[1, 2, 1], [2, 2, 1]]

    def test_knows_labels_the_candidate_does_not(self):
        rows = batch(["refund", "pay"], ["pay", "pay"], baseline=(["refund", "pay"], ["refund", "pay"]))
        result = report([rows])
        assert only_metric(result["baseline"], "accuracy") == {"": 1}
        assert only_metric(result["candidate"], "accuracy") == {"": 0.5}
        assert [3, 3, 1] in result["baseline"]["confusion"]

    def test_auc_does_not_depend_on_the_order_of_two_classes(self):
        rows = batch(["no", "yes"], ["no", "yes"], classes=["no", "yes"], baseline=(["yes", "no"], ["no", "yes"]))
        assert only_metric(report([rows], counts={"no": 1, "yes": 1})["baseline"], "auc") == {"": 1}

    @pytest.mark.parametrize("classes", [["maybe", "no", "yes"], ["maybe", "no"], ["no"]])
    def test_has_no_auc_if_it_tells_other_classes_apart(self, classes):
        scores = {"candidate": (["no", "yes"], np.eye(2)), "baseline": (classes, np.ones((2, len(classes))))}
        rows = slices.scored_batch(pa.array(["no", "yes"]), scores, {})
        result = report([rows], counts={"no": 1, "yes": 1})
        assert only_metric(result["candidate"], "auc") == {"": 1}
        assert "auc" not in result["baseline"]["slices"][0]["metrics"]


class TestMajority:
    def test_is_the_most_frequent_training_label_in_every_slice(self):
        rows = batch(["pay", "order", "order"], ["pay", "pay", "pay"], language=["de", "bg", "de"])
        result = report([rows], [("language",)])
        assert result["train_majority_class"] == "order"
        expected = {"": pytest.approx(2 / 3), "language=bg": 1, "language=de": 0.5}
        assert only_metric(result["majority"], "accuracy") == expected

    def test_its_probabilities_are_the_training_frequencies(self):
        metrics = report([batch(["pay", "order"], ["pay", "pay"])])["majority"]["slices"][0]["metrics"]
        assert metrics["log_loss"] == pytest.approx(-(math.log(2 / 8) + math.log(5 / 8)) / 2)
        assert metrics["top_k_accuracy"] == 1

    def test_its_auc_is_a_half(self):
        rows = batch(["no", "yes", "no"], ["no", "no", "no"], classes=["no", "yes"])
        assert only_metric(report([rows], counts={"no": 2, "yes": 1})["majority"], "auc") == {"": 0.5}

    def test_a_tie_goes_to_the_first_name(self):
        assert report([batch(["pay"], ["pay"])], counts={"pay": 3, "order": 3})["train_majority_class"] == "order"


class TestJson:
    def test_round_trips(self):
        result = report([batch(["pay", "zażółć"], ["pay", "pay"], language=["de", "pl"])], [("language",)])
        assert json.loads(json.dumps(result, allow_nan=False)) == result

    def test_a_metric_without_value_is_null(self):
        rows = batch(["no"], ["no"], classes=["no", "yes"])
        assert only_metric(report([rows], counts={"no": 1, "yes": 1})["candidate"], "auc") == {"": None}
