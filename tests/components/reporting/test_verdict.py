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
