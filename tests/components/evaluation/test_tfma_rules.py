import pytest

pytestmark = pytest.mark.tensorflow

rules = pytest.importorskip("components.evaluation.tfma_rules")

from tensorflow_model_analysis.evaluators import metrics_validator  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402
from tensorflow_model_analysis.slicer import slicer_lib  # noqa: E402
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as tfma_writer  # noqa: E402

from components.evaluation import tfma_evaluator, tfma_records  # noqa: E402
from tests.components.evaluation import scored  # noqa: E402

THREE = ["cancel", "order", "pay"]
OVERALL = ()
GERMAN = (("language", "de"),)


def evaluate(gates, classes=None, replicates=20, **more):
    options = {"gates": gates, "min_rows": 10, "bootstrap": {"replicates": replicates}}
    subject = scored.subject(options, classes or {"candidate": THREE})
    metrics, _, verdict = scored.results(subject, scored.rows(subject, **more))
    return subject, metrics, verdict


def written(subject, metrics, verdict):
    """The validation result after TFMA's writer has had its say about missing thresholds and slices."""
    config = tfma_evaluator.eval_config(subject, "", "label", None)
    combine = tfma_writer.CombineValidations(config)
    result = rules.validation(subject, metrics, verdict)
    return combine.extract_output(combine.merge_accumulators([combine.add_input(combine.create_accumulator(), result), None]))


def failures(result):
    return {
        (slicer_lib.deserialize_slice_key(of_slice.slice_key), failure.metric_key.name): failure
        for of_slice in result.metric_validations_per_slice
        for failure in of_slice.failures
    }


class TestValidation:
    @pytest.mark.parametrize(
        "gate",
        [
            {"metric": "accuracy", "min": 0.2},
            {"metric": "accuracy", "min": 0.99, "severity": "warning"},
            {"metric": "accuracy", "min": 0.99, "slices": "each", "min_rows": 1000},
            {"metric": "accuracy", "max_drop": 0.01},
            {"metric": "accuracy", "above_majority": 0.1},
            {"metric": "accuracy", "max_gap": 0.9},
            {"metric": "accuracy", "min": 0.99, "slices": {"language": "xx"}, "severity": "warning"},
        ],
        ids=str,
    )
    def test_is_ok_where_the_verdict_is(self, gate):
        measured = evaluate([gate])
        assert measured[2]["blessed"]
        result = written(*measured)
        assert result.validation_ok
        assert not result.missing_thresholds
        assert not result.missing_slices
        assert not result.metric_validations_per_slice

    @pytest.mark.parametrize(
        ("gate", "slice_key", "metric", "threshold"),
        [
            ({"metric": "accuracy", "min": 0.99}, OVERALL, "accuracy", "value_threshold { lower_bound { value: 0.99 } }"),
            ({"metric": "log_loss", "max": 0.001}, OVERALL, "log_loss", "value_threshold { upper_bound { value: 0.001 } }"),
            (
                {"metric": "recall", "class": "pay", "min": 0.99, "slices": {"language": "de"}, "judge_by": "value"},
                GERMAN,
                "recall(pay)",
                "value_threshold { lower_bound { value: 0.99 } }",
            ),
            (
                {"metric": "macro_f1", "min_ratio": 1.0, "judge_by": "value"},
                OVERALL,
                "macro_f1 ratio by language",
                "value_threshold { lower_bound { value: 1 } }",
            ),
            ({"metric": "accuracy", "min": 0.5, "slices": {"language": "xx"}}, OVERALL, "accuracy", ""),
        ],
        ids=str,
    )
    def test_names_slice_metric_and_limit_of_what_fails(self, gate, slice_key, metric, threshold):
        subject, metrics, verdict = evaluate([{"metric": "accuracy", "min": 0.1}, gate])
        result = written(subject, metrics, verdict)
        assert not result.validation_ok
        [((found_key, found_metric), failure)] = failures(result).items()
        assert (found_key, found_metric) == (slice_key, metric)
        [finding] = [finding for finding in verdict["findings"] if finding["outcome"] == "fail"]
        assert failure.message == finding["message"]
        assert failure.metric_value.double_value.value == (finding["value"] or 0)
        assert " ".join(str(failure.metric_threshold).split()) == threshold

    def test_a_drop_is_a_failed_change(self):
        measured = evaluate([{"metric": "accuracy", "max_drop": 0.05}], {"candidate": THREE, "baseline": THREE}, right=-3.0)
        [((_, name), failure)] = failures(written(*measured)).items()
        assert (name, failure.metric_key.is_diff, failure.metric_key.model_name) == ("accuracy", True, "candidate")
        assert failure.metric_value.double_value.value < -0.05
        assert failure.metric_threshold.change_threshold.absolute.value == -0.05
        assert failure.metric_threshold.change_threshold.direction == config_pb2.HIGHER_IS_BETTER

    def test_a_slice_that_a_rule_names_in_vain_is_missing(self):
        measured = evaluate([{"metric": "accuracy", "min": 0.1, "slices": {"language": "xx"}, "judge_by": "value"}])
        result = written(*measured)
        [missing] = result.missing_slices
        assert dict(missing.feature_values) == {"language": "xx"}

    def test_says_how_many_slices_each_specification_matched(self):
        measured = evaluate([{"metric": "accuracy", "min": 0.1, "slices": "each", "judge_by": "value"}])
        details = rules.validation(*measured).validation_details.slicing_details
        assert {tuple(detail.slicing_spec.feature_keys): detail.num_matching_slices for detail in details} == {
            (): 1,
            ("language",): 2,
            ("language", "app"): 4,
        }


class TestMetricsSpec:
    def thresholds(self, *gates, classes=None):
        subject, _, _ = evaluate(gates, classes)
        return rules.metrics_spec(subject)

    def test_one_threshold_stands_for_all_rules(self):
        spec = self.thresholds({"metric": "accuracy", "max_gap": 0.1})
        assert spec.thresholds["failed_rules"].value_threshold.upper_bound.value == 0
        assert not spec.per_slice_thresholds

    def test_values_and_changes_have_thresholds_of_their_own(self):
        spec = self.thresholds(
            {"metric": "accuracy", "min": 0.5},
            {"metric": "accuracy", "max_drop": 0.01},
            {"metric": "log_loss", "max_drop": 0.1, "slices": {"language": "*", "app": "web"}, "judge_by": "value"},
            classes={"candidate": THREE, "baseline": THREE},
        )
        value, change = spec.per_slice_thresholds["accuracy"].thresholds
        assert value.threshold.value_threshold.lower_bound.value == 0.5
        assert [slicer_lib.SingleSliceSpec(spec=one).is_overall() for one in value.slicing_specs] == [True]
        assert change.threshold.change_threshold.absolute.value == -0.01
        assert change.threshold.change_threshold.direction == config_pb2.HIGHER_IS_BETTER
        [loss] = spec.per_slice_thresholds["log_loss"].thresholds
        assert loss.threshold.change_threshold.direction == config_pb2.LOWER_IS_BETTER
        assert (list(loss.slicing_specs[0].feature_keys), dict(loss.slicing_specs[0].feature_values)) == (
            ["language"],
            {"app": "web"},
        )
        assert list(spec.model_names) == ["candidate"]

    @pytest.mark.parametrize(
        "gate",
        [
            {"metric": "accuracy", "min": 0.5, "judge_by": "interval"},
            {"metric": "accuracy", "min": 0.5, "severity": "warning"},
            {"metric": "accuracy", "max_drop": 0.5},
        ],
        ids=str,
    )
    def test_rules_that_say_another_thing_than_a_threshold_have_none(self, gate):
        """The last has nothing to be compared with."""
        assert not self.thresholds(gate).per_slice_thresholds

    @pytest.mark.parametrize("minimum", [0.1, 0.99])
    def test_tfma_own_validation_of_the_stored_metrics_agrees(self, minimum):
        subject, metrics, verdict = evaluate([{"metric": "accuracy", "min": minimum}], replicates=0)
        config = tfma_evaluator.eval_config(subject, "", "label", None)
        found = [metrics_validator.validate_metrics(record, config) for record in tfma_records.slice_metrics(metrics, verdict)]
        assert all(result.validation_ok for result in found) == verdict["blessed"]
