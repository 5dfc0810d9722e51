from __future__ import annotations

from components.reporting import fairness


def group(value, metric, n=200, interval=None, small=False):
    return {"value": value, "n": n, "metric": metric, "interval": interval, "small": small}


def entry(groups, gap=0.2, metric="accuracy", **changes):
    judged = [one for one in groups if not one["small"]]
    return {
        "segment": "language",
        "metric": metric,
        "criterion": None,
        "lower_is_better": False,
        "groups": groups,
        "worst": judged[0]["value"] if judged else None,
        "best": judged[-1]["value"] if judged else None,
        "gap": gap,
        "gap_interval": None,
        "ratio": 0.8,
        "ratio_interval": None,
        "note": "",
    } | changes


class TestComparisons:
    def test_the_widest_gap_comes_first_and_one_without_a_gap_last(self):
        groups = [group("a", 0.7), group("b", 0.9)]
        entries = [entry(groups, gap=None, note="why"), entry(groups, gap=0.1), entry(groups, gap=0.3)]
        assert [found.gap for found in fairness.comparisons(entries)[0]] == [0.3, 0.1, None]

    def test_names_the_metric_the_class_and_the_criterion(self):
        groups = [group("a", 0.7), group("b", 0.9)]
        [found], _ = fairness.comparisons([entry(groups, metric="recall(refund)", criterion="equal_opportunity")])
        assert (found.title, found.criterion) == ("Recall of refund by language", "Equal opportunity")

    def test_a_share_of_predictions_has_no_worse_end(self):
        groups = [group("a", 0.1), group("b", 0.3)]
        [found], _ = fairness.comparisons([entry(groups, metric="positive_rate(yes)", criterion="demographic_parity")])
        assert found.ends == ("Lowest", "Highest")

    def test_the_worst_and_best_group_come_with_their_size(self):
        [found], _ = fairness.comparisons([entry([group("a", 0.7, n=123), group("b", 0.9), group("c", 0.1, n=3, small=True)])])
        assert (found.worst.value, found.worst.n, found.best.value) == ("a", 123, "b")

    def test_a_small_groups_whisker_does_not_stretch_the_axis(self):
        groups = [group("a", 0.9), group("b", 0.95), group("c", 0.92, n=3, interval=[0.1, 1.0], small=True)]
        [found], _ = fairness.comparisons([entry(groups)])
        assert found.axis.low >= 0.85

    def test_costs_have_no_axis(self):
        [found], _ = fairness.comparisons([entry([group("a", 90.0), group("b", 20.0)], metric="cost_per_1000")])
        assert found.axis is None


class TestManyGroups:
    def test_both_ends_are_shown_and_the_middle_is_counted(self):
        groups = [group(str(number), number / 100) for number in range(40)]
        [found], _ = fairness.comparisons([entry(groups)])
        shown = [one.value for one in found.groups]
        assert shown[0] == "0"
        assert shown[-1] == "39"
        assert len(shown) + found.left_out == 40

    def test_one_without_a_value_is_not_taken_for_the_best(self):
        groups = [group(str(number), number / 100) for number in range(40)] + [group("nothing", None)]
        [found], _ = fairness.comparisons([entry(groups)])
        assert found.groups[-1].value == "39"

    def test_small_ones_are_spared_first(self):
        groups = [group(str(number), 0.5) for number in range(fairness.GROUPS)] + [group("small", 0.5, n=2, small=True)]
        [found], _ = fairness.comparisons([entry(groups)])
        assert "small" not in [one.value for one in found.groups]
        assert found.left_out == 1
