import math

import pytest

pytestmark = pytest.mark.tensorflow

records = pytest.importorskip("components.evaluation.tfma_records")

from tensorflow_model_analysis.metrics import metric_types  # noqa: E402
from tensorflow_model_analysis.view import util as view_util  # noqa: E402
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as tfma_writer  # noqa: E402

from tests.components.evaluation import scored  # noqa: E402

OPTIONS = {
    "gates": [
        {"metric": "accuracy", "min": 0.99},
        {"metric": "accuracy", "min": 0.99, "slices": {"language": "de"}, "judge_by": "value"},
    ],
    "min_rows": 10,
    "bootstrap": {"replicates": 20},
    "fairness": {"metrics": ["accuracy", {"metric": "equal_opportunity", "class": "pay"}]},
}
THREE = ["cancel", "order", "pay"]


@pytest.fixture(scope="module")
def two_models():
    subject = scored.subject({**OPTIONS, "weight": "weight"}, {"candidate": THREE, "baseline": ["pay", "refund"]})
    return scored.results(subject, scored.rows(subject))


@pytest.fixture(scope="module")
def two_classes():
    subject = scored.subject(OPTIONS | {"fairness": {"metrics": ["accuracy"]}}, {"candidate": ["no", "yes"]})
    return scored.results(subject, scored.rows(subject))


def loaded(metrics, verdict, model):
    """Metrics by slice and sub key as TFMA's reader gives them after TFMA's writer."""
    found = {}
    for record in records.slice_metrics(metrics, verdict):
        proto = tfma_writer.convert_slice_metrics_to_proto(record, add_metrics_callbacks=[])
        key, values = view_util.convert_metrics_proto_to_dict(proto, model_name=model)
        found[key] = values[""]
    return found


def loaded_plots(metrics, confusion, model):
    found = {}
    for record in records.slice_plots(metrics, confusion):
        proto = tfma_writer.convert_slice_plots_to_proto(record, add_metrics_callbacks=[])
        key, values = view_util.convert_plots_proto_to_dict(proto, model_name=model)
        found[key] = values[""]
    return found


class TestMetrics:
    @pytest.mark.parametrize("model", ["candidate", "baseline"])
    def test_are_those_of_metrics_json_with_their_intervals(self, two_models, model):
        metrics, _, verdict = two_models
        found = loaded(metrics, verdict, model)
        assert len(found) == 7
        for row in metrics[model]["slices"]:
            values = found[tuple(sorted(row["slice"].items()))][""]
            assert values["example_count"] == {"doubleValue": row["n"]}
            assert values["weighted_example_count"] == {"doubleValue": row["weight"]}
            for name, value in row["metrics"].items():
                expected = {"doubleValue": "NaN" if value is None else value}
                if name in row["intervals"]:
                    low, high = row["intervals"][name]
                    expected = {"boundedValue": {"value": value, "lowerBound": low, "upperBound": high}}
                assert values[name] == expected

    def test_the_order_of_columns_is_that_of_tfma_keys(self, two_models):
        metrics, _, verdict = two_models
        assert (("app", "web"), ("language", "de")) in loaded(metrics, verdict, "candidate")

    def test_changes_are_on_the_labels_both_know(self, two_models):
        metrics, _, verdict = two_models
        compared = metrics["comparison"]["slices"][0]
        overall = loaded(metrics, verdict, "candidate")[()][""]
        change, (low, high) = compared["metrics"]["accuracy"], compared["intervals"]["accuracy"]
        assert overall["accuracy_diff"] == {"boundedValue": {"value": change, "lowerBound": low, "upperBound": high}}
        assert change != pytest.approx(
            metrics["candidate"]["slices"][0]["metrics"]["accuracy"] - metrics["baseline"]["slices"][0]["metrics"]["accuracy"]
        )

    def test_classes_that_nobody_asked_for_do_not_fill_the_views(self, two_models):
        metrics, _, verdict = two_models
        overall = loaded(metrics, verdict, "candidate")[()]
        assert list(overall) == [""]
        assert "recall(pay)" in overall[""]
        assert not any("cancel" in name for name in overall[""])

    def test_failed_rules_count_by_slice(self, two_models):
        metrics, _, verdict = two_models
        found = loaded(metrics, verdict, "candidate")
        failed = {key: values[""]["failed_rules"]["doubleValue"] for key, values in found.items()}
        assert failed == dict.fromkeys(found, 0.0) | {(): 1.0, (("language", "de"),): 1.0}
        assert "failed_rules" not in loaded(metrics, verdict, "baseline")[()][""]

    def test_gaps_between_groups_are_metrics_of_all_rows(self, two_models):
        metrics, _, verdict = two_models
        found = loaded(metrics, verdict, "candidate")
        by_metric = {entry["metric"]: entry for entry in metrics["fairness"]}
        low, high = by_metric["accuracy"]["gap_interval"]
        assert found[()][""]["accuracy gap by language"] == {
            "boundedValue": {"value": by_metric["accuracy"]["gap"], "lowerBound": low, "upperBound": high}
        }
        ratio = found[()][""]["equal_opportunity(pay) ratio by language"]["boundedValue"]["value"]
        assert ratio == by_metric["recall(pay)"]["ratio"]
        assert "accuracy gap by language" not in found[("language", "de"),][""]

    def test_a_metric_without_a_value_is_not_a_number(self):
        [(_, values)] = [
            record for record in records.slice_metrics(*_without_gap()) if not record[0]
        ]  # fmt: skip
        gap = values[records.metric_key("accuracy gap by language", "")]
        assert math.isnan(gap)

    def test_a_lone_model_has_no_name(self, two_classes):
        metrics, _, verdict = two_classes
        for _, values in records.slice_metrics(metrics, verdict):
            assert {key.model_name for key in values} == {""}
            assert not any(key.is_diff for key in values)
            assert metric_types.MetricKey("weighted_example_count", example_weighted=None) not in values


def _without_gap():
    subject = scored.subject(OPTIONS, {"candidate": THREE})
    metrics, _, verdict = scored.results(subject, scored.rows(subject, languages=["de"]))
    return metrics, verdict


class TestPlots:
    @pytest.mark.parametrize("model", ["candidate", "baseline"])
    def test_every_slice_has_a_matrix_of_all_labels(self, two_models, model):
        metrics, confusion, _ = two_models
        plots = loaded_plots(metrics, confusion, model)
        assert len(plots) == 7
        for row, cells in zip(metrics[model]["slices"], confusion[model], strict=True):
            [matrix] = plots[tuple(sorted(row["slice"].items()))][""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
            found = {
                # JSON of a proto leaves zeros out, and TFMA's widget puts them back.
                (entry.get("actualClassId", 0), entry.get("predictedClassId", 0)): entry.get("numWeightedExamples", 0.0)
                for entry in matrix["entries"]
            }
            assert {place: weight for place, weight in found.items() if weight} == {(i, j): weight for i, j, weight in cells}
            assert {actual for actual, _ in found} == {0, 1, 2, 3}

    def test_rows_without_usable_scores_have_no_prediction(self, two_classes):
        metrics, confusion, _ = two_classes
        broken = confusion | {"candidate": [[[0, 0, 5], [1, 2, 3], [2, 1, 4]]] * len(confusion["candidate"])}
        matrix = loaded_plots(metrics, broken, "")[()][""]["multiClassConfusionMatrixAtThresholds"]["matrices"][0]
        found = {
            (row.get("actualClassId", 0), row.get("predictedClassId", 0)): row.get("numWeightedExamples")
            for row in matrix["entries"]
        }
        assert found == {(0, 0): 5, (1, 1): None, (1, -1): 3, (2, 1): 4}

    def test_calibration_stands_beside_the_matrix_of_all_rows(self, two_models):
        metrics, confusion, _ = two_models
        plots = loaded_plots(metrics, confusion, "candidate")
        buckets = plots[()][""]["calibrationHistogramBuckets"]["buckets"]
        assert len(buckets) == len(metrics["candidate"]["calibration"])
        for bucket, row in zip(buckets, metrics["candidate"]["calibration"], strict=True):
            assert bucket["numWeightedExamples"] == row["n"]
            assert bucket["totalWeightedLabel"] == row["correct"]
            assert bucket["totalWeightedRefinedPrediction"] == pytest.approx(row["n"] * (row["confidence"] or 0))
        assert "calibrationHistogramBuckets" not in plots[("language", "de"),][""]

    def test_two_classes_have_counts_at_thresholds_of_the_positive_one(self, two_classes):
        metrics, confusion, _ = two_classes
        matrices = loaded_plots(metrics, confusion, "")[()]["classId:1"]["confusionMatrixAtThresholds"]["matrices"]
        curve = metrics["candidate"]["threshold_curve"]
        assert len(matrices) == len(curve)
        middle, point = matrices[50], curve[50]
        assert middle["threshold"] == 0.5
        assert [middle[name] for name in ("truePositives", "falsePositives", "trueNegatives", "falseNegatives")] == [
            point[name] for name in ("tp", "fp", "tn", "fn")
        ]
        assert middle["precision"] == pytest.approx(point["tp"] / (point["tp"] + point["fp"]))

    def test_more_classes_have_none(self, two_models):
        metrics, confusion, _ = two_models
        assert list(loaded_plots(metrics, confusion, "candidate")[()]) == [""]
