from __future__ import annotations

import pytest

from components.reporting import curves


def model(**parts):
    return {"slices": [{"slice": {}, "metrics": {"calibration_error": 0.05}}], **parts}


def bins(*filled):
    """Twenty bins of which some have (low, rows, right) rows."""
    found = {low: (n, right) for low, n, right in filled}
    rows = []
    for step in range(20):
        low = step / 20
        n, right = found.get(low, (0, 0))
        mean = low + 0.025 if n else None
        accuracy = right / n if n else None
        rows.append({"low": low, "high": low + 0.05, "n": n, "correct": right, "accuracy": accuracy, "confidence": mean})
    return rows


def titled(metrics, title):
    return next(plot for plot in curves.plots(metrics) if plot.title == title)


def metrics(candidate, baseline=None, threshold=None):
    return {"candidate": candidate, "baseline": baseline, "abstain_threshold": threshold}


class TestCalibration:
    def test_has_a_dot_for_each_bin_with_rows_larger_for_more_rows(self):
        plot = titled(metrics(model(calibration=bins((0.5, 10, 5), (0.95, 90, 81)))), "Calibration")
        small, large = plot.dots
        assert small.radius < large.radius
        assert "0.050" in plot.summary
        assert plot.rows == (("0.525", "0.500", "10"), ("0.975", "0.900", "90"))

    def test_a_surer_than_right_bin_is_below_the_line(self):
        [dot] = titled(metrics(model(calibration=bins((0.95, 10, 2)))), "Calibration").dots
        ideal_y = curves.BOTTOM - (curves.BOTTOM - curves.TOP) * 0.975
        assert dot.y > ideal_y

    def test_the_baseline_has_its_own_line(self):
        one = model(calibration=bins((0.5, 10, 5)))
        assert [line.kind for line in titled(metrics(one, one), "Calibration").lines] == ["ideal", "baseline", "this"]

    def test_is_left_out_without_rows(self):
        assert curves.plots(metrics(model(calibration=bins()))) == []


class TestScores:
    def test_right_answers_stand_above_wrong_ones_each_on_its_own_scale(self):
        plot = titled(metrics(model(calibration=bins((0.5, 4, 2), (0.95, 98, 98)))), "Scores of right and wrong answers")
        right = [bar for bar in plot.bars if bar.kind == "right"]
        [wrong] = [bar for bar in plot.bars if bar.kind == "wrong"]
        assert wrong.y >= max(bar.y + bar.height for bar in right) - 0.2
        # Both wrong answers are in one bin: all of them, drawn as high as almost all of the right ones.
        assert wrong.height == pytest.approx(max(bar.height for bar in right), rel=0.05)

    def test_says_so_if_nothing_is_wrong(self):
        plot = titled(metrics(model(calibration=bins((0.95, 9, 9)))), "Scores of right and wrong answers")
        assert "none is wrong" in plot.summary


class TestCoverage:
    POINTS = (
        {"threshold": 0.0, "coverage": 1.0, "accuracy": 0.8},
        {"threshold": 0.5, "coverage": 0.6, "accuracy": 0.9},
        {"threshold": 1.0, "coverage": 0.0, "accuracy": None},
    )

    def test_marks_the_abstain_threshold(self):
        plot = titled(metrics(model(coverage=self.POINTS), threshold=0.52), "Coverage and accuracy")
        [mark] = plot.marks
        assert mark.x == pytest.approx(curves.LEFT + 0.6 * (curves.RIGHT - curves.LEFT), abs=0.1)
        assert "answers 60.0% of the messages, 90.0% of them right" in plot.summary

    def test_without_one_every_message_is_answered(self):
        plot = titled(metrics(model(coverage=self.POINTS)), "Coverage and accuracy")
        assert plot.marks == ()
        assert "every message is answered" in plot.summary

    def test_long_curves_have_short_tables_with_both_ends(self):
        points = [{"threshold": step / 100, "coverage": 1 - step / 100, "accuracy": 0.9} for step in range(101)]
        rows = titled(metrics(model(coverage=points)), "Coverage and accuracy").rows
        assert len(rows) == curves.TABLE_ROWS
        assert {rows[0][1], rows[-1][1]} == {"0%", "100.0%"}


class TestTwoClasses:
    CURVE = (
        {"threshold": 0.0, "tp": 40.0, "fp": 60.0, "tn": 0.0, "fn": 0.0},
        {"threshold": 0.5, "tp": 30.0, "fp": 10.0, "tn": 50.0, "fn": 10.0},
        {"threshold": 1.0, "tp": 0.0, "fp": 0.0, "tn": 60.0, "fn": 40.0},
    )

    def test_roc_and_precision_recall_mark_the_middle_threshold(self):
        roc, precision_recall = curves.plots(metrics(model(threshold_curve=self.CURVE)))
        assert roc.marks[0].text == "threshold 0.500: false-positive rate 0.167, true-positive rate 0.750"
        assert precision_recall.marks[0].text == "threshold 0.500: recall 0.750, precision 0.750"

    def test_precision_without_predictions_is_no_point(self):
        precision_recall = curves.plots(metrics(model(threshold_curve=self.CURVE)))[1]
        assert len(precision_recall.rows) == 2
