from __future__ import annotations

import functools
import json
import types

import pytest

from components.reporting import notebook_model as show
from tests.components.reporting import runs

intents = functools.cache(runs.intents)
taxi = functools.cache(runs.taxi)


def result(*slices):
    """What tfma.load_eval_result returns, as far as it is read."""
    return types.SimpleNamespace(slicing_metrics=[(key, {"": {"": values}}) for key, values in slices])


def bounded(value, low, high):
    return {"boundedValue": {"value": value, "lowerBound": low, "upperBound": high}}


class TestTfmaMetrics:
    STORED = result(
        ((), {"example_count": {"doubleValue": 9.0}, "accuracy": {"doubleValue": 0.5}, "log_loss": {"doubleValue": "NaN"}}),
        ((("language", "de"),), {"example_count": {"doubleValue": 4.0}, "accuracy": {"doubleValue": 0.25}}),
        ((("language", "en"),), {"example_count": {"doubleValue": 5.0}, "accuracy": bounded(0.75, 0.5, 0.9)}),
        ((("language", "en"), ("channel", "app")), {"accuracy": {"doubleValue": 1.0}}),
    )

    def test_all_rows(self):
        shown = show.tfma_metrics(self.STORED).markup
        assert "Overall" in shown
        assert "0.500" in shown
        assert "language" not in shown
        assert "log_loss" not in shown  # it has no value anywhere

    def test_slices_by_one_column_largest_first_with_intervals(self):
        shown = show.tfma_metrics(self.STORED, ["language"]).markup
        assert shown.index("language=en") < shown.index("language=de")
        assert "0.500 to 0.900" in shown
        assert "Overall" not in shown
        assert "app" not in shown

    def test_crosses_whatever_the_order_of_their_columns(self):
        assert "language=en, channel=app" in show.tfma_metrics(self.STORED, ["channel", "language"]).markup

    def test_no_such_slice(self):
        assert "TFMA stored no such slice" in show.tfma_metrics(self.STORED, ["tenant"]).markup

    @pytest.mark.parametrize(
        ("specs", "name"),
        [
            ([{"signatureName": "serving_examples"}], None),
            ([{"name": "baseline", "isBaseline": True}, {"name": "candidate"}], "candidate"),
            ([], None),
        ],
    )
    def test_the_candidate_has_a_name_only_beside_a_baseline(self, tmp_path, specs, name):
        (tmp_path / "eval_config.json").write_text(json.dumps({"evalConfig": {"modelSpecs": specs}}))
        assert show.candidate_name(tmp_path) == name


class TestTfmaPlots:
    @staticmethod
    def stored(plots, key=()):
        return types.SimpleNamespace(slicing_metrics=[], plots=[(key, {"": plots})])

    def test_the_matrix_has_names_also_of_class_0_and_of_rows_without_a_prediction(self):
        # JSON of a proto leaves out the id 0; -1 is TFMA's "no prediction".
        entries = [
            {"numWeightedExamples": 5.0},
            {"actualClassId": 1, "numWeightedExamples": 2.0},
            {"actualClassId": 1, "predictedClassId": -1, "numWeightedExamples": 1.0},
        ]
        plots = {"": {"multiClassConfusionMatrixAtThresholds": {"matrices": [{"entries": entries}]}}}
        shown = show.tfma_plots(self.stored(plots), ["cancel", "refund"]).markup
        assert 'title="cancel: 5"' in shown
        assert 'title="cancel: 2"' in shown
        assert 'title="(no usable scores): 1"' in shown

    def test_calibration(self):
        bucket = {"upperThresholdExclusive": 0.5, "numWeightedExamples": 4.0, "totalWeightedLabel": 1.0}
        plots = {"": {"calibrationHistogramBuckets": {"buckets": [{**bucket, "totalWeightedRefinedPrediction": 1.6}]}}}
        shown = show.tfma_plots(self.stored(plots), ["a"]).markup
        assert "score 0.400, right 0.250, 4 rows" in shown

    def test_curves_of_two_classes(self):
        matrix = {"threshold": 0.5, "truePositives": 3.0, "falsePositives": 1.0, "trueNegatives": 4.0}
        plots = {"classId:1": {"confusionMatrixAtThresholds": {"matrices": [matrix]}}}
        assert "false-positive rate 0.200, true-positive rate 1.000" in show.tfma_plots(self.stored(plots), ["a", "b"]).markup

    def test_plots_of_slices_are_not_those_of_all_rows(self):
        plots = {"": {"multiClassConfusionMatrixAtThresholds": {"matrices": [{"entries": [{"numWeightedExamples": 5.0}]}]}}}
        shown = show.tfma_plots(self.stored(plots, (("language", "de"),)), ["a"]).markup
        assert "stored no plots" in shown

    def test_which_class_curves_are_about(self):
        assert show.plotted_class({"positive_class": "yes", "labels": ["no", "yes"]}) == 1
        assert show.plotted_class({"positive_class": None, "labels": ["a", "b", "c"]}) is None


@pytest.mark.tensorflow
class TestTfmaValidation:
    @staticmethod
    def validation(text):
        from google.protobuf import text_format
        from tensorflow_model_analysis.proto import validation_result_pb2

        return text_format.Parse(text, validation_result_pb2.ValidationResult())

    def test_ok(self):
        assert "validation ok" in show.tfma_validation(self.validation("validation_ok: true")).markup

    def test_what_failed(self):
        failed = self.validation(
            """metric_validations_per_slice {
              slice_key { single_slice_keys { column: "language" bytes_value: "de" } }
              failures { metric_key { name: "accuracy" } metric_value { double_value { value: 0.25 } } message: "below 0.5" }
            }"""
        )
        shown = show.tfma_validation(failed).markup
        for expected in ("validation not ok", "language=de", "accuracy", "0.250", "below 0.5"):
            assert expected in shown

    def test_none(self):
        assert "stored no validation" in show.tfma_validation(None).markup


def test_rules_with_those_that_failed_first():
    shown = show.rules(taxi().verdict).markup
    assert "not blessed" in shown
    assert shown.index("failed") < shown.index("passed")


@pytest.mark.parametrize("run", [intents, taxi], ids=["with a baseline", "two classes"])
def test_overall_has_every_metric(run):
    shown = show.overall(run().metrics).markup
    accuracy = run().metrics["candidate"]["slices"][0]["metrics"]["accuracy"]
    assert f"{accuracy:.3f}" in shown
    assert ("Baseline" in shown) == bool(run().metrics["baseline"])


def test_every_slice_is_shown_small_ones_too():
    shown = show.slices(intents().metrics).markup
    for language in runs.LANGUAGES:
        assert language in shown
    assert "too small" in shown


def test_no_segments_no_slices():
    without = intents().metrics | {"segments": [], "fairness": []}
    without["candidate"] = without["candidate"] | {"slices": without["candidate"]["slices"][:1]}
    assert "names no segment" in show.slices(without).markup
    assert "names no segment" in show.fairness(without).markup
    assert show.worst_slice(without) == {}


def test_fairness_shows_gap_and_groups():
    shown = show.fairness(taxi().metrics).markup
    for expected in ("Gap", "Ratio", "Equal opportunity", "Yellow Cab"):
        assert expected in shown


class TestComparison:
    def test_without_a_baseline(self):
        assert "no model was blessed before" in show.comparison(taxi().metrics).markup

    def test_a_baseline_that_could_not_be_measured(self):
        broken = taxi().metrics | {"baseline_problem": "it cannot be loaded"}
        assert "it cannot be loaded" in show.comparison(broken).markup

    def test_labels_that_only_one_of_them_knows_are_named(self):
        metrics = runs.other_labels().metrics
        assert metrics["comparison"]["left_out_labels"][0] in show.comparison(metrics).markup

    def test_changes_with_intervals(self):
        shown = show.comparison(intents().metrics).markup
        assert "Candidate minus baseline" in shown
        assert "to +" in shown


class TestConfusion:
    def test_the_worst_slice_is_declared_and_large_enough(self):
        metrics = intents().metrics
        worst = show.worst_slice(metrics)
        [row] = [row for row in metrics["candidate"]["slices"] if row["slice"] == worst]
        assert row["n"] >= metrics["min_rows"]
        assert not any(column.startswith("length(") for column in worst)
        assert row["metrics"]["accuracy"] < metrics["candidate"]["slices"][0]["metrics"]["accuracy"]

    def test_one_slice_differs_from_all_rows(self):
        data = intents()
        whole = show.confusion(data.metrics, data.confusion, {}).markup
        part = show.confusion(data.metrics, data.confusion, show.worst_slice(data.metrics)).markup
        assert "All test rows" in whole
        assert "All test rows" not in part
        assert "HassTurnOn" in part

    def test_an_unknown_slice_lists_those_there_are(self):
        data = taxi()
        with pytest.raises(KeyError, match="There is no slice.*Checker"):
            show.confusion(data.metrics, data.confusion, {"company": "none"})


def test_curves_are_drawn():
    assert show.curves(intents().metrics).markup.count("<svg") == 3
    two_classes = show.curves(taxi().metrics).markup
    assert two_classes.count("<svg") == 5
    assert "ROC" in two_classes


def test_names_are_escaped():
    data = runs.hostile()
    pieces = [
        show.rules(data.verdict),
        show.overall(data.metrics),
        show.slices(data.metrics),
        show.fairness(data.metrics),
        show.comparison(data.metrics),
        show.confusion(data.metrics, data.confusion, {}),
        show.curves(data.metrics),
    ]
    for shown in pieces:
        assert "<script" not in shown.markup
        assert "<img" not in shown.markup
