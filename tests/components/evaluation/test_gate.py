"""The gate as a specification: hand-made metrics in, findings and a verdict out."""

import pytest

from components.errors import UsageError
from components.evaluation import gate, segments
from components.evaluation.options import EvaluationOptions

LANGUAGE = {"columns": ["language"], "kind": "values", "declared": True, "slices": 3, "overflow": False}


def options(*gates, **others):
    return EvaluationOptions.model_validate({"gates": gates, **others})


def row(slice_=None, n=500, intervals=None, **metrics):
    return {"slice": slice_ or {}, "n": n, "metrics": metrics, "intervals": intervals or {}}


def change(slice_, candidate, baseline, interval=None, metric="accuracy"):
    """A slice of the comparison; of one that a model has no value for, the difference is none either."""
    difference = None if None in (candidate, baseline) else candidate - baseline
    return {
        "slice": slice_,
        "n": 500,
        "candidate": {metric: candidate},
        "baseline": {metric: baseline},
        "metrics": {metric: difference},
        "intervals": {metric: interval} if interval else {},
    }


def measured(*candidate, comparison=None, labels="all", majority=None, fairness=(), declared=(LANGUAGE,), **others):
    """The parts of metrics.json that a gate reads."""
    return {
        "positive_class": None,
        "segments": list(declared),
        "candidate": {"slices": list(candidate)},
        "baseline": {"slices": []} if comparison else None,
        "majority": {"slices": majority or []},
        "baseline_problem": None,
        "comparison": {"labels": labels, "left_out_labels": [], "slices": comparison} if comparison else None,
        "fairness": list(fairness),
        **others,
    }


def decide(rule, metrics, **section):
    return gate.decide(options(rule, **section), metrics)


def only(rule, metrics, **section):
    """The finding of a rule that covers one slice."""
    [finding] = decide(rule, metrics, **section)["findings"]
    return finding


def outcomes(rule, metrics, **section):
    return [(found["subject"], found["outcome"]) for found in decide(rule, metrics, **section)["findings"]]


class TestValues:
    @pytest.mark.parametrize(
        ("rule", "metric", "value", "majority", "outcome"),
        [
            ({"min": 0.8}, "accuracy", 0.8, None, "pass"),
            ({"min": 0.8}, "accuracy", 0.79, None, "fail"),
            ({"max": 0.5}, "log_loss", 0.5, None, "pass"),
            ({"max": 0.5}, "log_loss", 0.51, None, "fail"),
            # A limit is met by what a quotient makes of it: 0.8 - 0.6 counts as 0.2.
            ({"above_majority": 0.2}, "accuracy", 0.8, 0.6, "pass"),
            ({"above_majority": 0.2}, "accuracy", 0.79, 0.6, "fail"),
            ({"above_majority": 0}, "accuracy", 0.6, 0.6, "fail"),
            ({"above_majority": 0}, "accuracy", 0.61, 0.6, "pass"),
            ({"above_majority": 0.2}, "log_loss", 0.7, 0.9, "pass"),
            ({"above_majority": 0.2}, "log_loss", 0.8, 0.9, "fail"),
            ({"above_majority": 0}, "log_loss", 0.9, 0.9, "fail"),
        ],
    )
    def test_against_a_number_and_the_majority_class(self, rule, metric, value, majority, outcome):
        metrics = measured(row(**{metric: value}), majority=[row(**{metric: majority})])
        assert only({"metric": metric, **rule}, metrics)["outcome"] == outcome

    @pytest.mark.parametrize(
        ("metric", "max_drop", "candidate", "baseline", "outcome"),
        [
            ("accuracy", 0.01, 0.79, 0.8, "pass"),
            ("accuracy", 0.01, 0.78, 0.8, "fail"),
            ("accuracy", 0, 0.8, 0.8, "pass"),
            ("log_loss", 0.1, 1.1, 1.0, "pass"),
            ("log_loss", 0.1, 1.2, 1.0, "fail"),
            ("cost_per_1000", 5.0, 101.0, 100.0, "pass"),
        ],
    )
    def test_against_the_baseline(self, metric, max_drop, candidate, baseline, outcome):
        metrics = measured(row(**{metric: candidate}), comparison=[change({}, candidate, baseline, metric=metric)])
        assert only({"metric": metric, "max_drop": max_drop}, metrics, costs={})["outcome"] == outcome

    def test_of_one_class(self):
        metrics = measured(row(**{"recall(refund)": 0.5, "recall(order)": 0.9}))
        assert only({"metric": "recall", "class": "refund", "min": 0.8}, metrics)["outcome"] == "fail"
        assert only({"metric": "recall", "class": "order", "min": 0.8}, metrics)["outcome"] == "pass"

    def test_of_the_positive_class_where_there_are_two(self):
        metrics = measured(row(**{"recall(yes)": 0.5}), positive_class="yes")
        assert only({"metric": "recall", "min": 0.8}, metrics)["rule"] == "recall(yes) >= 0.8"


class TestIntervals:
    """A rule judged by intervals fails only if the whole interval is on the wrong side."""

    @pytest.mark.parametrize(
        ("rule", "value", "interval", "outcome"),
        [
            ({"min": 0.8}, 0.85, [0.82, 0.88], "pass"),
            ({"min": 0.8}, 0.81, [0.75, 0.85], "pass"),
            ({"min": 0.8}, 0.78, [0.74, 0.82], "warn"),
            ({"min": 0.8}, 0.78, [0.74, 0.8], "warn"),
            ({"min": 0.8}, 0.75, [0.71, 0.79], "fail"),
            ({"min": 0.8}, 0.75, None, "fail"),
            ({"max": 0.2}, 0.22, [0.18, 0.26], "warn"),
            ({"max": 0.2}, 0.3, [0.21, 0.4], "fail"),
            ({"above_majority": 0.1}, 0.55, [0.5, 0.61], "warn"),
            ({"above_majority": 0.1}, 0.55, [0.5, 0.59], "fail"),
            ({"min": 0.8, "judge_by": "value"}, 0.78, [0.74, 0.82], "fail"),
            ({"min": 0.8, "severity": "warning"}, 0.75, [0.71, 0.79], "warn"),
        ],
    )
    def test_of_a_slice(self, rule, value, interval, outcome):
        german = {"language": "de"}
        metrics = measured(
            row(accuracy=0.9),
            row(german, intervals={"accuracy": interval} if interval else {}, accuracy=value),
            majority=[row(accuracy=0.5), row(german, accuracy=0.5)],
        )
        assert only({"metric": "accuracy", "slices": german, **rule}, metrics)["outcome"] == outcome

    def test_all_rows_are_judged_by_value_unless_the_rule_says_otherwise(self):
        metrics = measured(row(accuracy=0.78, intervals={"accuracy": [0.74, 0.82]}))
        assert only({"metric": "accuracy", "min": 0.8}, metrics)["outcome"] == "fail"
        assert only({"metric": "accuracy", "min": 0.8, "judge_by": "interval"}, metrics)["outcome"] == "warn"

    @pytest.mark.parametrize(
        ("metric", "difference", "interval", "outcome"),
        [
            ("accuracy", -0.01, [-0.03, 0.01], "pass"),
            ("accuracy", -0.04, [-0.07, -0.01], "warn"),
            ("accuracy", -0.04, [-0.05, -0.03], "fail"),
            ("log_loss", 0.04, [0.01, 0.07], "warn"),
            ("log_loss", 0.04, [0.03, 0.05], "fail"),
        ],
    )
    def test_of_a_change_are_those_of_the_paired_difference(self, metric, difference, interval, outcome):
        german = {"language": "de"}
        metrics = measured(
            row(**{metric: 0.5}),
            # The candidate's own interval is far wider; what counts is that of the difference.
            row(german, intervals={metric: [0.0, 1.0]}, **{metric: 0.5}),
            comparison=[change(german, 0.5, 0.5 - difference, interval, metric)],
        )
        found = only({"metric": metric, "max_drop": 0.02, "slices": german}, metrics)
        assert (found["outcome"], found["interval"]) == (outcome, interval)

    def test_the_reason_says_how_sure_it_is(self):
        german = {"language": "de"}
        rule = {"metric": "accuracy", "min": 0.8, "slices": german}
        unsure = measured(row(german, intervals={"accuracy": [0.74, 0.82]}, accuracy=0.78))
        sure = measured(row(german, intervals={"accuracy": [0.7, 0.79]}, accuracy=0.75))
        assert only(rule, unsure)["reason"] == "below the limit, but part of the interval is not"
        assert only(rule, sure)["reason"] == "the whole interval is below the limit"


class TestFindings:
    def test_name_rule_slice_rows_value_interval_limit_and_reason(self):
        metrics = measured(row({"language": "de"}, n=1200, intervals={"accuracy": [0.7, 0.72]}, accuracy=0.7123))
        assert only({"metric": "accuracy", "min": 0.8, "slices": "each"}, metrics) == {
            "check": "accuracy >= 0.8",
            "severity": "error",
            "message": "accuracy on language=de is 0.7123 [0.7000, 0.7200], must be at least 0.8000 (1,200 rows)",
            "subject": "language=de",
            "expected": ">= 0.8000",
            "observed": "0.7123",
            "rule": "accuracy >= 0.8",
            "slice": {"language": "de"},
            "n": 1200,
            "value": 0.7123,
            "interval": [0.7, 0.72],
            "limit": ">= 0.8000",
            "outcome": "fail",
            "reason": "the whole interval is below the limit",
        }

    def test_of_a_change_hold_the_difference_and_name_both_values(self):
        found = only({"metric": "accuracy", "max_drop": 0.02}, measured(row(accuracy=0.7), comparison=[change({}, 0.7, 0.75)]))
        assert (found["rule"], found["limit"]) == ("accuracy >= baseline - 0.02", ">= -0.0200")
        assert found["value"] == pytest.approx(-0.05)
        assert found["reason"] == "below the limit; 0.7000, the baseline 0.7500"
        assert found["message"].startswith("the change of accuracy on all test rows is -0.0500, must be at least -0.0200")

    def test_severity_warning_turns_a_failure_into_a_warning(self):
        verdict = decide({"metric": "accuracy", "min": 0.9, "severity": "warning"}, measured(row(accuracy=0.1)))
        assert verdict["blessed"]
        [found] = verdict["findings"]
        assert (found["outcome"], found["severity"]) == ("warn", "warning")
        assert found["reason"].endswith("the rule only warns")

    def test_every_gate_is_reported_and_one_failure_is_enough(self):
        rules = options({"metric": "accuracy", "min": 0.5}, {"metric": "accuracy", "max": 0.9})
        verdict = gate.decide(rules, measured(row(accuracy=0.1)))
        assert [(found["outcome"], found["severity"]) for found in verdict["findings"]] == [("fail", "error"), ("pass", "info")]
        assert not verdict["blessed"]


class TestSlices:
    channel = {**LANGUAGE, "columns": ["language", "channel"]}
    length = {**LANGUAGE, "columns": ["length(text)"], "kind": "length", "declared": False}
    metrics = measured(
        row(n=50, accuracy=0.9),
        row({"language": "de"}, 400, accuracy=0.95),
        row({"language": "fr"}, 99, accuracy=0.5),
        row({"language": "th"}, 100, accuracy=0.6),
        row({"language": "de", "channel": "app"}, 200, accuracy=0.65),
        row({"language": "th", "channel": "app"}, 200, accuracy=0.75),
        row({"length(text)": "0 to 10"}, 300, accuracy=0.1),
        declared=(LANGUAGE, channel, length),
    )

    @pytest.mark.parametrize(
        ("slices", "expected"),
        [
            ("overall", [("", "pass")]),
            (
                "each",
                [
                    ("language=de", "pass"),
                    ("language=fr", "too small"),
                    ("language=th", "fail"),
                    ("language=de, channel=app", "fail"),
                    ("language=th, channel=app", "pass"),
                ],
            ),
            ({"language": "*"}, [("language=de", "pass"), ("language=fr", "too small"), ("language=th", "fail")]),
            ({"language": "de"}, [("language=de", "pass")]),
            # The order of columns does not matter.
            ({"channel": "app", "language": "*"}, [("language=de, channel=app", "fail"), ("language=th, channel=app", "pass")]),
            ({"channel": "app", "language": "th"}, [("language=th, channel=app", "pass")]),
            ({"length(text)": "*"}, [("length(text)=0 to 10", "fail")]),
        ],
    )
    def test_a_rule_covers_what_it_names(self, slices, expected):
        assert outcomes({"metric": "accuracy", "min": 0.7, "slices": slices}, self.metrics) == expected

    def test_all_rows_are_gated_whatever_their_number(self):
        assert not decide({"metric": "accuracy", "min": 0.95}, self.metrics)["blessed"]

    @pytest.mark.parametrize(("rule", "section"), [({"min_rows": 90}, {}), ({}, {"min_rows": 90})])
    def test_what_is_too_small_is_a_setting_of_the_rule_or_the_section(self, rule, section):
        assert outcomes({"metric": "accuracy", "min": 0.7, "slices": {"language": "fr"}, **rule}, self.metrics, **section) == [
            ("language=fr", "fail")
        ]

    def test_a_small_slice_is_shown_and_not_gated(self):
        found = only({"metric": "accuracy", "min": 0.7, "slices": {"language": "fr"}}, self.metrics)
        assert (found["outcome"], found["severity"], found["limit"]) == ("too small", "info", "")
        assert found["reason"] == "fewer than 100 rows"

    @pytest.mark.parametrize("slices", [{"language": "xx"}, {"region": "*"}, "each"])
    def test_a_rule_that_matches_nothing_fails(self, slices):
        metrics = measured(row(accuracy=0.9), declared=())
        found = only({"metric": "accuracy", "min": 0.1, "slices": slices}, metrics)
        assert found["outcome"] == "fail"
        assert "checks nothing" in found["message"]

    def test_a_segment_with_too_many_values_is_a_warning_for_each_and_a_failure_by_name(self):
        user = {**LANGUAGE, "columns": ["user"], "slices": 0, "overflow": True}
        metrics = measured(row(accuracy=0.9), row({"language": "de"}, accuracy=0.9), declared=(LANGUAGE, user))
        rule = {"metric": "accuracy", "min": 0.1}
        assert outcomes({**rule, "slices": "each"}, metrics) == [("language=de", "pass"), ("user", "warn")]
        assert outcomes({**rule, "slices": {"user": "*"}}, metrics) == [("user", "fail")]
        assert outcomes({**rule, "slices": "each"}, measured(row(accuracy=0.9), declared=(user,))) == [("", "fail")]

    def test_a_thousand_are_decided_one_by_one(self):
        many = [row({"language": f"l{number}"}, accuracy=0.9) for number in range(1000)]
        changes = [change(entry["slice"], 0.9, 0.9) for entry in many]
        metrics = measured(row(accuracy=0.9), *many, comparison=changes)
        verdict = decide({"metric": "accuracy", "max_drop": 0.1, "slices": "each"}, metrics)
        assert len(verdict["findings"]) == 1000
        assert verdict["blessed"]

    def test_are_named_column_by_column(self):
        assert gate.slice_name({"language": "de", "channel": "app"}) == "language=de, channel=app"


class TestNotANumber:
    @pytest.mark.parametrize("rule", [{"min": 0.1}, {"max": 0.5}, {"above_majority": 0.1}, {"max_drop": 0.1}])
    def test_fails_with_a_reason(self, rule):
        metrics = measured(
            row(log_loss=None), majority=[row(log_loss=None)], comparison=[change({}, None, 0.5, metric="log_loss")]
        )
        found = only({"metric": "log_loss", **rule}, metrics)
        assert found["outcome"] == "fail"
        assert "is not a number" in found["message"]

    def test_a_class_absent_from_a_slice_is_not_applied_there(self):
        metrics = measured(row(**{"recall(refund)": 0.9}), row({"language": "de"}, **{"recall(refund)": None}))
        rule = {"metric": "recall", "class": "refund", "min": 0.8}
        assert outcomes({**rule, "slices": "each"}, metrics) == [("language=de", "not applied")]

    def test_a_metric_that_was_not_measured_in_a_slice_fails(self):
        metrics = measured(row(accuracy=0.9), row({"language": "de"}))
        assert outcomes({"metric": "accuracy", "min": 0.8, "slices": "each"}, metrics) == [("language=de", "fail")]

    def test_a_class_absent_from_all_test_rows_fails(self):
        metrics = measured(row(**{"recall(refund)": None}))
        assert outcomes({"metric": "recall", "class": "refund", "min": 0.8}, metrics) == [("", "fail")]


class TestBaseline:
    rule = {"metric": "accuracy", "max_drop": 0.01}

    def test_a_first_run_passes_and_says_so(self):
        verdict = decide(self.rule, measured(row(accuracy=0.7)))
        assert verdict["blessed"]
        assert verdict["findings"][0]["outcome"] == "not applied"
        assert "no baseline to compare with" in verdict["findings"][0]["message"]
        assert verdict["baseline"]["present"] is False
        assert "first run" in verdict["baseline"]["note"]

    def test_an_unusable_one_is_a_warning_with_the_reason(self):
        verdict = decide(self.rule, measured(row(accuracy=0.7), baseline_problem="its columns differ"))
        assert verdict["blessed"]
        assert verdict["findings"][-1]["outcome"] == "warn"
        assert "its columns differ" in verdict["baseline"]["note"]

    def test_one_without_the_metric_passes_and_says_so(self):
        found = only(self.rule, measured(row(accuracy=0.7), comparison=[change({}, 0.7, None)]))
        assert (found["outcome"], found["reason"]) == ("not applied", "the baseline has no accuracy there")

    def test_one_with_other_labels_is_compared_over_the_common_ones_and_the_finding_says_so(self):
        metrics = measured(row(accuracy=0.7), comparison=[change({}, 0.6, 0.7)], labels="common")
        metrics["comparison"]["left_out_labels"] = ["refund"]
        verdict = decide(self.rule, metrics)
        assert verdict["findings"][0]["reason"] == "below the limit; 0.6000, the baseline 0.7000, over the labels both have"
        assert verdict["baseline"]["note"].endswith("over the labels both have; left out: refund")


def groups(metric="accuracy", criterion=None, segment="language", gap=0.2, gap_interval=None, ratio=0.78, **others):
    """An entry of `fairness`: fr is worst, en is best, th is small."""
    return {
        "segment": segment,
        "metric": metric,
        "criterion": criterion,
        "lower_is_better": False,
        "groups": [
            {"value": "fr", "n": 300, "metric": 0.7, "interval": None, "small": False},
            {"value": "en", "n": 900, "metric": 0.9, "interval": None, "small": False},
            {"value": "th", "n": 9, "metric": 0.1, "interval": None, "small": True},
        ],
        "best": "en",
        "worst": "fr",
        "gap": gap,
        "gap_interval": gap_interval,
        "ratio": ratio,
        "ratio_interval": [0.7, 0.85],
        "note": "",
        **others,
    }


class TestFairness:
    @pytest.mark.parametrize(
        ("rule", "gap_interval", "outcome"),
        [
            ({"max_gap": 0.2}, [0.15, 0.25], "pass"),
            ({"max_gap": 0.19}, [0.15, 0.25], "warn"),
            ({"max_gap": 0.1}, [0.15, 0.25], "fail"),
            ({"max_gap": 0.19}, None, "fail"),
            ({"max_gap": 0.19, "judge_by": "value"}, [0.15, 0.25], "fail"),
            ({"min_ratio": 0.78}, None, "pass"),
            ({"min_ratio": 0.8}, None, "warn"),
            ({"min_ratio": 0.9}, None, "fail"),
            ({"min_ratio": 0.9, "severity": "warning"}, None, "warn"),
        ],
    )
    def test_gap_and_ratio_are_held_against_limits(self, rule, gap_interval, outcome):
        metrics = measured(row(accuracy=0.9), fairness=[groups(gap_interval=gap_interval)])
        assert only({"metric": "accuracy", **rule}, metrics)["outcome"] == outcome

    def test_a_finding_names_the_worst_and_the_best_group_with_their_sizes(self):
        found = only({"metric": "accuracy", "max_gap": 0.1}, measured(row(), fairness=[groups(gap_interval=[0.15, 0.25])]))
        assert (found["rule"], found["subject"], found["slice"]) == ("accuracy gap <= 0.1", "language", {"language": "*"})
        assert (found["n"], found["value"], found["interval"], found["limit"]) == (1200, 0.2, [0.15, 0.25], "<= 0.1000")
        assert found["reason"] == ("the whole interval is above the limit; worst fr 0.7000 (300 rows), best en 0.9000 (900 rows)")

    def test_a_rule_reads_its_own_metric_criterion_and_segments(self):
        wrong = [
            groups("recall(refund)"),
            groups("recall(refund)", "equal_opportunity", segment="channel"),
            groups("recall(order)", "equal_opportunity"),
            groups("false_positive_rate(refund)", "equalised_odds"),
        ]
        right = groups("recall(refund)", "equal_opportunity", gap=0.05)
        metrics = measured(row(), fairness=[*wrong, right])
        rule = {"metric": "equal_opportunity", "class": "refund", "max_gap": 0.1}
        assert outcomes({**rule, "slices": {"language": "*"}}, metrics) == [("language", "pass")]

    def test_equalised_odds_names_the_metric_it_is_about(self):
        metrics = measured(row(), fairness=[groups("false_positive_rate(refund)", "equalised_odds")])
        found = only({"metric": "equalised_odds", "class": "refund", "max_gap": 0.1}, metrics)
        assert found["rule"] == "equalised_odds(refund) gap <= 0.1"
        assert "false_positive_rate(refund): worst fr" in found["reason"]

    def test_each_covers_declared_segments_of_one_column(self):
        channel = {**LANGUAGE, "columns": ["channel"]}
        cross = {**LANGUAGE, "columns": ["language", "channel"]}
        length = {**LANGUAGE, "columns": ["length(text)"], "declared": False}
        entries = [groups(segment=name) for name in ("language", "channel", "length(text)")]
        metrics = measured(row(), fairness=entries, declared=(LANGUAGE, channel, cross, length))
        assert outcomes({"metric": "accuracy", "max_gap": 0.3}, metrics) == [("language", "pass"), ("channel", "pass")]
        by_name = {"metric": "accuracy", "max_gap": 0.3, "slices": {"length(text)": "*"}}
        assert outcomes(by_name, metrics) == [("length(text)", "pass")]

    def test_fewer_than_two_groups_of_size_are_too_small(self):
        entry = groups(gap=None, ratio=None, best=None, worst=None, note="fewer than two groups can be compared")
        found = only({"metric": "accuracy", "max_gap": 0.1}, measured(row(), fairness=[entry]))
        assert (found["outcome"], found["severity"]) == ("too small", "info")
        assert found["reason"] == "fewer than two groups can be compared"

    def test_a_segment_that_was_not_measured_fails(self):
        assert outcomes({"metric": "accuracy", "max_gap": 0.1, "slices": {"language": "*"}}, measured(row())) == [
            ("language", "fail")
        ]

    def test_a_model_that_is_worse_for_one_language_passes_overall_and_fails_for_fairness(self):
        rules = options({"metric": "accuracy", "min": 0.85}, {"metric": "accuracy", "max_gap": 0.1})
        verdict = gate.decide(rules, measured(row(accuracy=0.88), fairness=[groups(gap_interval=[0.15, 0.25])]))
        assert [found["outcome"] for found in verdict["findings"]] == ["pass", "fail"]
        assert not verdict["blessed"]


class TestCheckApplicable:
    labels = ("order", "other", "refund", "return")
    values = {"language": {"de": 10, "en": 20}, "channel": {"app": 5}}

    @pytest.mark.parametrize(
        "rule",
        [
            {"metric": "recall", "class": "refund", "min": 0.6, "slices": {"language": "de"}},
            {"metric": "auc", "min": 0.6},
            {"metric": "auc", "class": "refund", "min": 0.6, "slices": "each"},
            {"metric": "top_k_accuracy", "min": 0.6},
            {"metric": "equalised_odds", "class": "refund", "max_gap": 0.1},
            {"metric": "accuracy", "min": 0.6, "slices": {"language": "de", "channel": "app"}},
            {"metric": "accuracy", "min": 0.6, "slices": {"language": "*"}},
            {"metric": "accuracy", "min": 0.6, "slices": {"language": segments.MISSING}},
            # Buckets are not known yet.
            {"metric": "accuracy", "min": 0.6, "slices": {"age": "below 18"}},
        ],
    )
    def test_accepts_what_exists(self, rule):
        gate.check_applicable(options(rule), self.labels, self.values)

    @pytest.mark.parametrize("metric", ["recall", "auc", "positive_rate"])
    def test_two_classes_need_not_be_named(self, metric):
        gate.check_applicable(options({"metric": metric, "min": 0.6, "slices": "each"}), ("no", "yes"), self.values)

    @pytest.mark.parametrize(
        ("rule", "message"),
        [
            (
                {"metric": "recall", "class": "refunds", "min": 0.6},
                r"gates\[0\]: there is no class 'refunds'; did you mean 'refund'",
            ),
            (
                {"metric": "recall", "min": 0.6},
                "recall is about one class, and the label has 4; add `class`, one of: order, other",
            ),
            ({"metric": "equal_opportunity", "max_gap": 0.1}, "equal_opportunity is about one class"),
            ({"metric": "auc", "min": 0.6, "slices": "each"}, "auc over all classes exists for all rows together only"),
            ({"metric": "auc", "max_gap": 0.1}, "auc over all classes exists for all rows together only"),
            ({"metric": "top_k_accuracy", "min": 0.6}, "top_k=4 is 1 for every model, because the label has 4 classes"),
            ({"metric": "accuracy", "min": 0.6, "slices": {"language": "fr"}}, "no test row has language=fr; one of: de, en"),
            (
                {"metric": "accuracy", "min": 0.6, "slices": {"channel": "apps", "language": "*"}},
                "channel=apps; did you mean 'app'",
            ),
        ],
    )
    def test_refuses_rules_that_can_say_nothing(self, rule, message):
        with pytest.raises(UsageError, match=message):
            gate.check_applicable(options(rule, top_k=4), self.labels, self.values)

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"fairness": {"metrics": ["accuracy", "recall"]}}, r"fairness.metrics\[1\]: recall is about one class"),
            ({"fairness": {"metrics": ["pr_auc"]}}, r"fairness.metrics\[0\]: pr_auc over all classes"),
            (
                {"costs": {"pairs": [{"actual": "order", "predicted": "retrun", "cost": 1}]}},
                r"costs.pairs\[0\]: .*did you mean 'return'",
            ),
        ],
    )
    def test_so_with_fairness_and_costs(self, section, message):
        with pytest.raises(UsageError, match=message):
            gate.check_applicable(options({"metric": "accuracy", "min": 0.5}, **section), self.labels)

    def test_all_problems_are_listed_at_once(self):
        section = options({"metric": "recall", "min": 0.6}, {"metric": "f1", "class": "x", "min": 0.6})
        with pytest.raises(UsageError) as raised:
            gate.check_applicable(section, self.labels)
        assert "gates[0]" in str(raised.value)
        assert "gates[1]" in str(raised.value)
