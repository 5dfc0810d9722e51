import pytest

from components.errors import UsageError
from components.evaluation import gate
from components.evaluation.options import EvaluationOptions


def options(*gates, **others):
    return EvaluationOptions(gates=gates, **others)


def model(overall, **by_language):
    """A model's slices; values are (metric values, rows)."""
    rows = [({}, overall), *(({"language": language}, entry) for language, entry in by_language.items())]
    return {"slices": [{"slice": slice_, "n": n, "metrics": metrics} for slice_, (metrics, n) in rows]}


def measured(candidate, baseline=None, majority=None, baseline_problem=None):
    return {
        "candidate": candidate,
        "baseline": baseline,
        "majority": majority or candidate,
        "baseline_problem": baseline_problem,
    }


def one(metric, value, n=500):
    return model(({metric: value}, n))


def decide_one(rule, value, reference=None, metric="accuracy"):
    verdict = gate.decide(
        options({"metric": metric, **rule}),
        measured(one(metric, value), baseline=one(metric, reference), majority=one(metric, reference)),
    )
    return verdict["blessed"]


class TestLimits:
    @pytest.mark.parametrize(
        ("rule", "metric", "value", "reference", "passes"),
        [
            ({"min": 0.8}, "accuracy", 0.8, None, True),
            ({"min": 0.8}, "accuracy", 0.79, None, False),
            ({"max": 0.5}, "log_loss", 0.5, None, True),
            ({"max": 0.5}, "log_loss", 0.51, None, False),
            ({"above_majority": 0.2}, "accuracy", 0.8, 0.6, True),
            ({"above_majority": 0.2}, "accuracy", 0.79, 0.6, False),
            ({"above_majority": 0}, "accuracy", 0.6, 0.6, False),
            ({"above_majority": 0.2}, "log_loss", 0.7, 0.9, True),
            ({"above_majority": 0.2}, "log_loss", 0.8, 0.9, False),
            ({"max_drop": 0.01}, "accuracy", 0.79, 0.8, True),
            ({"max_drop": 0.01}, "accuracy", 0.78, 0.8, False),
            ({"max_drop": 0}, "accuracy", 0.8, 0.8, True),
            ({"max_drop": 0.1}, "log_loss", 1.1, 1.0, True),
            ({"max_drop": 0.1}, "log_loss", 1.2, 1.0, False),
        ],
    )
    def test_decide(self, rule, metric, value, reference, passes):
        assert decide_one(rule, value, reference, metric) is passes

    def test_a_finding_names_rule_slice_value_limit_and_rows(self):
        verdict = gate.decide(options({"metric": "accuracy", "min": 0.8}), measured(one("accuracy", 0.7123)))
        assert verdict["findings"] == [
            {
                "check": "accuracy >= 0.8",
                "severity": "error",
                "message": "accuracy on all test rows is 0.7123, must be at least 0.8 (500 rows)",
                "subject": "",
                "expected": ">= 0.8",
                "observed": "0.7123",
            }
        ]

    def test_a_comparison_names_what_it_compares_with(self):
        verdict = gate.decide(
            options({"metric": "macro_f1", "max_drop": 0.02}), measured(one("macro_f1", 0.7), baseline=one("macro_f1", 0.75))
        )
        assert verdict["findings"][0]["check"] == "macro_f1 >= baseline - 0.02"
        assert verdict["findings"][0]["message"] == (
            "macro_f1 on all test rows is 0.7000, must be at least 0.7300; the baseline has 0.7500 (500 rows)"
        )

    def test_a_warning_gate_does_not_block(self):
        verdict = gate.decide(options({"metric": "accuracy", "min": 0.9, "severity": "warning"}), measured(one("accuracy", 0.1)))
        assert verdict["blessed"]
        assert verdict["findings"][0]["severity"] == "warning"

    def test_every_gate_is_reported(self):
        rules = options({"metric": "accuracy", "min": 0.5}, {"metric": "accuracy", "max_drop": 0.1})
        verdict = gate.decide(rules, measured(one("accuracy", 0.1), baseline=one("accuracy", 0.1)))
        assert [finding["severity"] for finding in verdict["findings"]] == ["error", "info"]
        assert not verdict["blessed"]


class TestBaseline:
    rule = {"metric": "accuracy", "max_drop": 0.01}

    def test_a_first_run_passes_and_says_so(self):
        verdict = gate.decide(options(self.rule), measured(one("accuracy", 0.7)))
        assert verdict["blessed"]
        assert "no baseline to compare with" in verdict["findings"][0]["message"]
        assert verdict["baseline"]["present"] is False
        assert "first run" in verdict["baseline"]["note"]

    def test_an_unusable_baseline_is_a_warning_with_the_reason(self):
        verdict = gate.decide(options(self.rule), measured(one("accuracy", 0.7), baseline_problem="its columns differ"))
        assert verdict["blessed"]
        assert verdict["findings"][-1]["severity"] == "warning"
        assert "its columns differ" in verdict["baseline"]["note"]

    def test_a_baseline_without_the_metric_passes_and_says_so(self):
        verdict = gate.decide(options(self.rule), measured(one("accuracy", 0.7), baseline=one("accuracy", None)))
        assert "the baseline has no accuracy there" in verdict["findings"][0]["message"]
        assert verdict["baseline"]["present"] is True


class TestSlices:
    metrics = measured(
        model(({"accuracy": 0.9}, 50), de=({"accuracy": 0.95}, 400), fr=({"accuracy": 0.5}, 99), th=({"accuracy": 0.6}, 100))
    )

    def test_overall_is_gated_whatever_its_size(self):
        assert not gate.decide(options({"metric": "accuracy", "min": 0.95}), self.metrics)["blessed"]

    def test_each_covers_the_slices_and_not_overall(self):
        findings = gate.decide(options({"metric": "accuracy", "min": 0.7, "slices": "each"}), self.metrics)["findings"]
        assert [(finding["subject"], finding["severity"]) for finding in findings] == [
            ("language=de", "info"),
            ("language=fr", "info"),
            ("language=th", "error"),
        ]
        assert "too small: min_rows is 100 (99 rows)" in findings[1]["message"]

    def test_each_without_slices_warns_that_it_checks_nothing(self):
        verdict = gate.decide(options({"metric": "accuracy", "min": 0.7, "slices": "each"}), measured(one("accuracy", 0.9)))
        assert verdict["findings"][0]["severity"] == "warning"
        assert "data.segments" in verdict["findings"][0]["message"]

    def test_crosses_are_named_column_by_column(self):
        assert gate.slice_name({"language": "de", "channel": "app"}) == "language=de, channel=app"


class TestNotANumber:
    @pytest.mark.parametrize("rule", [{"min": 0.1}, {"max": 5.0}, {"above_majority": 0.1}, {"max_drop": 0.1}])
    def test_fails_with_a_reason(self, rule):
        verdict = gate.decide(options({"metric": "log_loss", **rule}), measured(one("log_loss", None)))
        assert not verdict["blessed"]
        assert "is not a number" in verdict["findings"][0]["message"]


class TestCheckApplicable:
    def test_accepts_what_exists(self):
        gate.check_applicable(options({"metric": "auc", "min": 0.6}), 2)
        gate.check_applicable(options({"metric": "top_k_accuracy", "min": 0.6}, top_k=3), 4)

    def test_auc_needs_two_classes(self):
        with pytest.raises(UsageError, match=r"gates\[1\]: auc exists for two classes only, and the label has 41; use accuracy"):
            gate.check_applicable(options({"metric": "accuracy", "min": 0.6}, {"metric": "auc", "min": 0.6}), 41)

    def test_top_k_must_be_smaller_than_the_number_of_classes(self):
        with pytest.raises(UsageError, match="is 1 for every model"):
            gate.check_applicable(options({"metric": "top_k_accuracy", "min": 0.6}, top_k=3), 3)
