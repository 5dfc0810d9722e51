"""The `evaluation:` section."""

import pydantic
import pytest

from components.evaluation.options import EvaluationOptions, lower_is_better, metric_id, parse_metric_id, resolved

ACCURACY = {"metric": "accuracy", "min": 0.5}


def options(*gates, **others):
    return EvaluationOptions.model_validate({"gates": gates or [ACCURACY], **others})


def gate(**rule):
    return options(rule).gates[0]


class TestDefaults:
    @pytest.mark.parametrize(
        ("rule", "slices", "judge_by"),
        [
            ({"metric": "accuracy", "min": 0.8}, "overall", "value"),
            ({"metric": "accuracy", "max_drop": 0.1, "slices": "each"}, "each", "interval"),
            ({"metric": "accuracy", "max_drop": 0.1, "slices": {"language": "de"}}, {"language": "de"}, "interval"),
            ({"metric": "accuracy", "max_drop": 0.1, "slices": "each", "judge_by": "value"}, "each", "value"),
            ({"metric": "accuracy", "min": 0.8, "judge_by": "interval"}, "overall", "interval"),
            ({"metric": "accuracy", "max_gap": 0.1}, "each", "interval"),
            ({"metric": "accuracy", "min_ratio": 0.8, "slices": {"language": "*"}}, {"language": "*"}, "interval"),
        ],
    )
    def test_where_and_how_a_rule_is_judged_follows_its_limit(self, rule, slices, judge_by):
        assert (gate(**rule).slices, gate(**rule).judge_by) == (slices, judge_by)

    def test_slices_are_too_small_below_the_sections_limit_unless_the_rule_has_its_own(self):
        section = options(ACCURACY, {**ACCURACY, "min_rows": 10}, min_rows=50)
        assert [section.min_rows_of(rule) for rule in section.gates] == [50, 10]

    def test_accuracy_is_compared_between_the_groups_of_every_segment(self):
        assert [(segment, entry.metric_id) for segment, entry in options().fairness_pairs(["language", "channel"])] == [
            ("language", "accuracy"),
            ("channel", "accuracy"),
        ]


class TestProblems:
    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            ({"metric": "acuracy", "min": 0.5}, "no metric 'acuracy'; did you mean 'accuracy'"),
            ({"metric": "accuracy"}, "exactly one of min, max, above_majority, max_drop, max_gap, min_ratio; received none"),
            ({"metric": "accuracy", "min": 0.5, "max_gap": 0.1}, "exactly one of .*; received min, max_gap"),
            ({"metric": "accuracy", "min": 0.5, "class": "refund"}, "accuracy is about all classes and takes no `class`"),
            ({"metric": "accuracy", "min": 88}, "accuracy is a share, so min is between 0 and 1; received min: 88"),
            ({"metric": "accuracy", "max_gap": 15}, "accuracy is a share, so max_gap is between 0 and 1"),
            ({"metric": "accuracy", "min": float("nan")}, "finite"),
            ({"metric": "accuracy", "max_drop": -0.1}, "greater than or equal to 0"),
            ({"metric": "accuracy", "min_ratio": 0}, "greater than 0"),
            ({"metric": "accuracy", "min_ratio": 1.1}, "less than or equal to 1"),
            (
                {"metric": "equal_opportunity", "min": 0.5},
                "equal_opportunity compares groups, so its limit is max_gap or min_ratio",
            ),
            ({"metric": "positive_rate", "max_drop": 0.1}, "no direction of positive_rate is better"),
            ({"metric": "accuracy", "max_gap": 0.1, "slices": "overall"}, "compares the groups of a segment"),
            ({"metric": "accuracy", "max_gap": 0.1, "slices": {"language": "de"}}, "compares the groups of a segment"),
            ({"metric": "accuracy", "max_gap": 0.1, "slices": {"a": "*", "b": "*"}}, "a segment of one column"),
            ({"metric": "accuracy", "max_gap": 0.1, "min_rows": 10}, "from evaluation.min_rows on"),
            ({"metric": "accuracy", "min": 0.5, "slices": "every"}, "slices is overall, each, or a mapping .*received 'every'"),
            ({"metric": "accuracy", "min": 0.5, "slices": {}}, "slices is overall, each, or a mapping"),
            ({"metric": "accuracy", "min": 0.5, "slices": {"language": ["de"]}}, "slices is overall, each, or a mapping"),
            ({"metric": "cost_per_1000", "max": 500}, "cost_per_1000 needs evaluation.costs"),
            ({"metric": "accuracy", "min": 0.5, "limit": 1}, "Extra inputs"),
        ],
    )
    def test_a_rule_that_cannot_hold_is_refused(self, rule, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            options(rule)

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"gates": []}, "at least one gate"),
            ({"bootstrap": {"replicates": -1}}, "greater than or equal to 0"),
            ({"bootstrap": {"confidence": 1}}, "less than 1"),
            ({"fairness": {"metrics": ["fairness"]}}, "no metric 'fairness'"),
            ({"fairness": {"metrics": ["cost_per_1000"]}}, "needs evaluation.costs"),
            ({"costs": {"pairs": [{"actual": "a", "predicted": "b", "cost": 1}] * 2}}, "more than one for a -> b"),
        ],
    )
    def test_so_is_a_section(self, section, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            EvaluationOptions.model_validate({"gates": [ACCURACY], **section})


class TestWords:
    @pytest.mark.parametrize(("value", "text"), [(True, "true"), (3, "3"), ("refund", "refund")])
    def test_classes_and_slice_values_are_text_whatever_yaml_makes_of_them(self, value, text):
        rule = gate(metric="recall", min=0.5, slices={"hour": value}, **{"class": value})
        assert (rule.class_, rule.slices) == (text, {"hour": text})

    @pytest.mark.parametrize("by_alias", [True, False])
    def test_everything_survives_json(self, by_alias):
        section = options(
            {"metric": "recall", "class": "refund", "min": 0.8, "slices": {"language": "*"}},
            {"metric": "equalised_odds", "class": "refund", "max_gap": 0.1},
            {"metric": "cost_per_1000", "max": 500},
            fairness={"metrics": ["accuracy", {"metric": "recall", "class": "refund"}], "segments": ["language"]},
            costs={"pairs": [{"actual": "a", "predicted": "b", "cost": 5}]},
            bootstrap={"replicates": 0},
            weight="rows",
        )
        assert EvaluationOptions.model_validate_json(section.model_dump_json(by_alias=by_alias)) == section


class TestMetricIds:
    @pytest.mark.parametrize("parts", [("accuracy", None), ("recall", "refund"), ("recall", "refund (partial)"), ("recall", "")])
    def test_name_metric_and_class(self, parts):
        assert parse_metric_id(metric_id(*parts)) == parts

    @pytest.mark.parametrize(
        ("name", "lower"),
        [("accuracy", False), ("log_loss", True), ("false_positive_rate(refund)", True), ("recall(log_loss)", False)],
    )
    def test_know_their_direction(self, name, lower):
        assert lower_is_better(name) is lower

    def test_cover_gates_and_fairness_once_with_criteria_as_what_they_look_at(self):
        section = options(
            {"metric": "macro_f1", "min": 0.5},
            {"metric": "equalised_odds", "class": "refund", "max_gap": 0.1},
            {"metric": "recall", "class": "refund", "min": 0.5},
            fairness={"metrics": [{"metric": "demographic_parity", "class": "refund"}, "macro_f1"]},
        )
        measured = ("macro_f1", "recall(refund)", "false_positive_rate(refund)", "positive_rate(refund)")
        assert section.metric_ids() == measured
        assert section.resampled == ("accuracy", *measured)


class TestFairnessPairs:
    def test_a_gate_adds_what_it_compares_where_it_does(self):
        section = options(
            {"metric": "accuracy", "max_gap": 0.1, "slices": {"length(text)": "*"}},
            {"metric": "recall", "class": "refund", "min_ratio": 0.8},
            fairness={"segments": ["language"]},
        )
        assert [(segment, entry.metric_id) for segment, entry in section.fairness_pairs(["language", "channel"])] == [
            ("language", "accuracy"),
            ("length(text)", "accuracy"),
            ("language", "recall(refund)"),
            ("channel", "recall(refund)"),
        ]


class TestResolved:
    section = options(
        {"metric": "recall", "min": 0.5},
        {"metric": "recall", "class": "no", "min": 0.5},
        {"metric": "auc", "min": 0.5},
        fairness={"metrics": ["equal_opportunity"]},
    )

    def test_of_two_classes_the_positive_one_is_meant(self):
        filled = resolved(self.section, "yes")
        assert [rule.metric_id for rule in filled.gates] == ["recall(yes)", "recall(no)", "auc"]
        assert filled.fairness.metrics[0].measured == ("recall(yes)",)

    def test_of_more_none_is(self):
        assert resolved(self.section, None) == self.section
