"""Gaps and ratios between groups, computed by hand."""

import json

import numpy as np
import pytest

from components.evaluation.fairness import Group, assess


def groups(metric="accuracy", n=200, replicates=None, **values):
    return [
        Group(value, n, {metric: number}, {metric: np.asarray(replicates[value])} if replicates else {})
        for value, number in values.items()
    ]


def compare(found, metric="accuracy", criterion=None, min_rows=100):
    return assess("language", metric, criterion, found, min_rows, confidence=0.9)


class TestGapAndRatio:
    @pytest.mark.parametrize(
        ("metric", "values", "best", "worst", "gap", "ratio"),
        [
            ("accuracy", {"de": 0.8, "en": 0.9, "fr": 0.6}, "en", "fr", 0.3, 0.6 / 0.9),
            ("accuracy", {"de": 0.8, "en": 0.8}, "en", "de", 0.0, 1.0),
            ("accuracy", {"de": 0.0, "en": 0.5}, "en", "de", 0.5, 0.0),
            ("accuracy", {"de": 0.0, "en": 0.0}, "en", "de", 0.0, 1.0),
            # Where lower is better, the best group has the smallest value.
            ("log_loss", {"de": 0.5, "en": 0.2}, "en", "de", 0.3, 0.4),
            ("false_positive_rate(refund)", {"de": 0.1, "en": 0.0}, "en", "de", 0.1, 0.0),
        ],
    )
    def test_are_between_the_best_and_the_worst_group(self, metric, values, best, worst, gap, ratio):
        entry = compare(groups(metric, **values), metric)
        assert (entry["segment"], entry["metric"], entry["criterion"]) == ("language", metric, None)
        assert {entry["best"], entry["worst"]} == {best, worst}
        if gap:
            assert (entry["best"], entry["worst"]) == (best, worst)
        assert entry["gap"] == pytest.approx(gap)
        assert entry["ratio"] == pytest.approx(ratio)
        assert entry["note"] == ""

    def test_costs_below_zero_have_a_gap_and_no_ratio(self):
        entry = compare(groups("cost_per_1000", de=-10.0, en=20.0), "cost_per_1000")
        assert (entry["gap"], entry["ratio"], entry["ratio_interval"]) == (30.0, None, None)

    def test_groups_are_listed_worst_first_and_small_ones_last(self):
        found = [*groups(de=0.8, en=0.9, fr=0.6), *groups(n=99, th=0.1), *groups(el=float("nan"))]
        entry = compare(found)
        assert [group["value"] for group in entry["groups"]] == ["fr", "de", "en", "el", "th"]
        assert entry["groups"][-1] == {"value": "th", "n": 99, "metric": 0.1, "interval": None, "small": True}

    def test_small_groups_and_groups_without_a_value_take_no_part_and_the_latter_are_named(self):
        entry = compare([*groups(de=0.8, en=0.9), *groups(n=99, th=0.1), *groups(el=float("nan"), fr=float("nan"))])
        assert entry["gap"] == pytest.approx(0.1)
        assert entry["note"] == "no value in el, fr"

    @pytest.mark.parametrize(
        ("found", "why"),
        [
            ([], ""),
            (groups(de=0.8), ""),
            ([*groups(de=0.8), *groups(n=99, en=0.5)], "fewer than 100 rows in en"),
            (groups(de=0.8, en=float("nan")), "no value in en"),
        ],
    )
    def test_fewer_than_two_groups_have_neither_and_the_note_says_why(self, found, why):
        entry = compare(found)
        assert (entry["gap"], entry["ratio"], entry["best"], entry["worst"]) == (None, None, None, None)
        assert entry["note"].startswith("fewer than two groups can be compared")
        assert entry["note"].endswith(why)

    def test_is_plain_json(self):
        entry = compare([*groups(de=np.float64(0.8), en=np.float64("nan"), fr=np.float64(0.5))])
        assert json.loads(json.dumps(entry, allow_nan=False)) == entry


class TestIntervals:
    samples = {"de": np.linspace(0.7, 0.8, 101), "en": np.linspace(0.95, 0.85, 101)}

    def test_are_percentiles_of_the_paired_difference(self):
        entry = compare(groups(replicates=self.samples, de=0.75, en=0.9))
        # The differences run from 0.25 down to 0.05; the middle 90 % of them from 0.24 to 0.06.
        assert entry["gap_interval"] == pytest.approx([0.06, 0.24])
        low, high = 0.705 / 0.945, 0.795 / 0.855
        assert entry["ratio_interval"] == pytest.approx([low, high])
        assert entry["groups"][0]["interval"] == pytest.approx([0.705, 0.795])

    def test_may_contain_zero_because_best_and_worst_stay_who_they_are(self):
        crossing = {"de": np.linspace(0.7, 0.9, 101), "en": np.linspace(0.9, 0.7, 101)}
        low, high = compare(groups(replicates=crossing, de=0.79, en=0.81))["gap_interval"]
        assert low < 0 < high

    def test_samples_without_a_value_are_left_out(self):
        with_gap = {**self.samples, "de": np.where(np.arange(101) < 50, np.nan, 0.75)}
        assert compare(groups(replicates=with_gap, de=0.75, en=0.9))["groups"][0]["interval"] == [0.75, 0.75]

    def test_are_none_without_samples(self):
        entry = compare(groups(de=0.75, en=0.9))
        assert (entry["gap_interval"], entry["ratio_interval"], entry["groups"][0]["interval"]) == (None, None, None)


def confusions(**counts):
    """Groups by (hits, misses, false alarms, correct rejections) of the class `refund`."""
    found = []
    for value, (hits, misses, alarms, rejections) in counts.items():
        n = hits + misses + alarms + rejections
        rates = {
            "recall(refund)": hits / (hits + misses),
            "false_positive_rate(refund)": alarms / (alarms + rejections),
            "positive_rate(refund)": (hits + alarms) / n,
        }
        found.append(Group(value, n, rates, {name: np.full(10, rate) for name, rate in rates.items()}))
    return found


class TestCriteria:
    # recall 0.9 and 0.6; false positive rate 0.2 and 0.1; share predicted 0.55 and 0.225
    found = confusions(de=(90, 10, 20, 80), en=(60, 40, 30, 270))

    def test_demographic_parity_is_the_gap_of_the_share_predicted(self):
        entry = compare(self.found, "demographic_parity(refund)", "demographic_parity")
        assert (entry["metric"], entry["criterion"]) == ("positive_rate(refund)", "demographic_parity")
        assert (entry["best"], entry["worst"]) == ("de", "en")
        assert entry["gap"] == pytest.approx(0.55 - 0.225)
        assert entry["ratio"] == pytest.approx(0.225 / 0.55)

    def test_equal_opportunity_is_the_gap_of_recall(self):
        entry = compare(self.found, "equal_opportunity(refund)", "equal_opportunity")
        assert (entry["metric"], entry["best"], entry["worst"]) == ("recall(refund)", "de", "en")
        assert entry["gap"] == pytest.approx(0.3)

    def test_equalised_odds_is_the_larger_gap_and_the_smaller_ratio(self):
        entry = compare(self.found, "equalised_odds(refund)", "equalised_odds")
        assert (entry["metric"], entry["lower_is_better"]) == ("recall(refund)", False)
        assert entry["gap"] == pytest.approx(0.3)
        # Recall has a ratio of 0.67, the false positive rate one of 0.5.
        assert entry["ratio"] == pytest.approx(0.5)
        assert entry["ratio_interval"] == pytest.approx([0.5, 0.5])
        assert entry["note"] == "the ratio is that of false_positive_rate(refund)"

    def test_equalised_odds_may_be_about_false_positives(self):
        entry = compare(confusions(de=(90, 10, 50, 50), en=(80, 20, 10, 90)), "equalised_odds(refund)", "equalised_odds")
        assert (entry["metric"], entry["best"], entry["worst"]) == ("false_positive_rate(refund)", "en", "de")
        assert entry["gap"] == pytest.approx(0.4)

    def test_equalised_odds_says_when_one_of_its_metrics_cannot_be_compared(self):
        found = [Group(group.value, group.n, {**group.estimates, "recall(refund)": float("nan")}, {}) for group in self.found]
        entry = compare(found, "equalised_odds(refund)", "equalised_odds")
        assert (entry["metric"], entry["gap"]) == ("false_positive_rate(refund)", pytest.approx(0.1))
        assert "recall(refund) cannot be compared" in entry["note"]

    def test_the_four_fifths_rule_is_a_ratio_of_selection_rates(self):
        # The example of the guidelines: 48 of 80 against 12 of 40 selected.
        found = [Group("a", 80, {"positive_rate(hire)": 48 / 80}, {}), Group("b", 40, {"positive_rate(hire)": 12 / 40}, {})]
        entry = compare(found, "demographic_parity(hire)", "demographic_parity", min_rows=10)
        assert entry["ratio"] == pytest.approx(0.5)
