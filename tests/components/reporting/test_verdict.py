from __future__ import annotations

import pytest

from components.reporting import verdict


def finding(severity, message="m", expected=">= 0.8"):
    return {
        "check": "accuracy >= 0.8",
        "severity": severity,
        "message": message,
        "subject": "",
        "expected": expected,
        "observed": "0.7",
    }


class TestDecisions:
    def test_failures_come_first(self):
        decisions = verdict.decisions([finding("info", expected=""), finding("info"), finding("warning"), finding("error")])
        assert [decision.outcome for decision in decisions.shown] == ["failed", "warning", "passed", "not applied"]
        assert decisions.totals == {"failed": 1, "warning": 1, "passed": 1, "not applied": 1}

    def test_counts_what_is_not_shown(self):
        n = verdict.SHOWN_DECISIONS["passed"] + 7
        assert verdict.decisions([finding("info")] * n).left_out == 7


class TestRules:
    """Findings of the evaluation gate: one rule on one slice."""

    @staticmethod
    def ruling(outcome, slice_=None, **fields):
        severity = {"fail": "error", "warn": "warning"}.get(outcome, "info")
        subject = ", ".join(f"{column}={value}" for column, value in (slice_ or {}).items())
        rule = {
            "rule": "accuracy >= 0.8",
            "slice": slice_ or {},
            "n": 500,
            "value": 0.9,
            "interval": [0.88, 0.92],
            "limit": ">= 0.8000",
        }
        return {**finding(severity), "subject": subject, **rule, "outcome": outcome, "reason": "", **fields}

    def test_every_outcome_has_its_word(self):
        found = [self.ruling(name) for name in ("not applied", "too small", "pass", "warn", "fail")]
        words = ["failed", "warning", "passed", "too small", "not applied"]
        assert [decision.outcome for decision in verdict.decisions(found).shown] == words

    def test_many_slices_that_passed_are_folded_and_rules_about_all_rows_or_groups_are_not(self):
        slices = [self.ruling("pass", {"language": str(number)}) for number in range(verdict.UNFOLDED)]
        found = [*slices, self.ruling("pass"), self.ruling("pass", {"language": "*"}), self.ruling("fail", {"language": "el"})]
        decisions = verdict.decisions(found)
        assert [decision.subject for decision in decisions.shown] == ["language=el", "", "language=*"]
        assert decisions.folded_totals == {"passed": verdict.UNFOLDED}
        assert decisions.left_out == 0

    def test_few_are_all_shown(self):
        assert verdict.decisions([self.ruling("pass", {"language": "de"})] * 3).folded == ()

    @pytest.mark.parametrize(
        ("limit", "value", "interval", "bad", "side"),
        [
            (">= 0.8000", 0.9, [0.88, 0.92], "left", "right"),
            ("<= 0.2500", 0.3, [0.26, 0.34], "right", "right"),
            (">= -0.0100", -0.02, [-0.03, -0.015], "left", "left"),
            ("> +0.0000", 0.02, None, "left", "right"),
            (">= 1e-05", 0.0, None, "left", "left"),
        ],
    )
    def test_the_value_is_drawn_on_its_side_of_the_limit(self, limit, value, interval, bad, side):
        [decision] = verdict.decisions([self.ruling("pass", limit=limit, value=value, interval=interval)]).shown
        assert decision.mark.bad == bad
        assert (decision.mark.at > 50) == (side == "right")
        assert 0 <= decision.mark.low <= decision.mark.low + decision.mark.length <= 100

    def test_an_interval_across_the_limit_reaches_across_the_middle(self):
        [decision] = verdict.decisions([self.ruling("warn", value=0.79, interval=[0.75, 0.83])]).shown
        assert decision.mark.low < 50 < decision.mark.low + decision.mark.length

    def test_a_difference_is_written_with_its_sign(self):
        assert [
            verdict.decisions([self.ruling("pass", limit=limit)]).shown[0].signed
            for limit in (">= -0.0100", "<= +0.0100", ">= 0.8")
        ] == [True, True, False]

    @pytest.mark.parametrize("changes", [{"limit": ""}, {"value": None}])
    def test_without_value_or_limit_nothing_is_drawn(self, changes):
        assert verdict.decisions([self.ruling("not applied", **changes)]).shown[0].mark is None


class TestHeadline:
    @pytest.mark.parametrize(
        ("record", "judged", "title"),
        [
            ({"state": "succeeded", "pushed": {"version": "1"}}, [finding("info")], "Blessed and pushed"),
            ({"state": "succeeded", "pushed": None}, [finding("info")], "Blessed, not pushed"),
            ({"state": "succeeded"}, None, "Finished"),
            ({"state": "rejected"}, [finding("error")], "Model rejected"),
            ({"state": "rejected"}, None, "Data rejected"),
            ({"state": "failed", "error": "e"}, None, "Failed"),
            ({"state": "failed", "nodes": [{"id": "Trainer", "state": "failed"}]}, None, "Failed in Trainer"),
            ({"state": "running"}, None, "Not finished"),
            (None, None, "No record of the run"),
        ],
    )
    def test_says_how_the_run_ended(self, record, judged, title):
        assert verdict.headline(record, None if judged is None else {"findings": judged}, (), ()).title == title

    def test_a_rejection_gives_the_first_failed_rule_and_how_many_failed(self):
        judged = {"findings": [finding("info"), finding("error", "accuracy is low."), finding("error", "auc is low")]}
        reason = verdict.headline({"state": "rejected"}, judged, (), ()).reason
        assert reason == "Accuracy is low (2 checks failed; this is the first). The model was not released."

    def test_the_rest_of_a_long_error_is_the_detail(self):
        headline = verdict.headline({"state": "failed", "error": "first\nsecond\n"}, None, (), ())
        assert (headline.reason, headline.detail) == ("first", "second")

    def test_an_error_too_long_for_a_sentence_is_given_whole(self):
        error = "x" * (verdict.REASON_LENGTH + 1)
        headline = verdict.headline({"state": "failed", "error": error}, None, (), ())
        assert headline.reason.endswith("…")
        assert headline.detail == error

    def test_warnings_of_a_blessed_model_are_told(self):
        notes = verdict.headline({"state": "succeeded"}, {"findings": [finding("warning")]}, [finding("warning")], ()).notes
        assert notes == ("2 warnings below.",)
