"""How far two columns are apart: by hand-computed numbers."""

import math

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.validation import distances


def cells(before, after):
    return distances.Cells(tuple(map(str, range(len(before)))), np.array(before, float), np.array(after, float))


def categorical(rows, unlisted=0, unique=None):
    buckets = "".join(f'buckets {{ label: "{value}" sample_count: {count} }}' for value, count in rows.items())
    return text_format.Parse(
        f"""type: STRING string_stats {{ common_stats {{ num_non_missing: {sum(rows.values()) + unlisted} }}
        unique: {unique or len(rows)} rank_histogram {{ {buckets} }} }}""",
        statistics_pb2.FeatureNameStatistics(),
    )


def numeric(edges, counts=None, kind="FLOAT"):
    counts = counts or [100] * (len(edges) - 1)
    buckets = "".join(
        f"buckets {{ low_value: {low} high_value: {high} sample_count: {count} }}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )
    return text_format.Parse(
        f"""type: {kind} num_stats {{ common_stats {{ num_non_missing: {sum(counts)} }}
        histograms {{ type: QUANTILES {buckets} }} }}""",
        statistics_pb2.FeatureNameStatistics(),
    )


DECILES = [0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


class TestMeasures:
    def test_equal_shares_of_different_sizes_are_no_distance(self):
        same = cells([50, 50], [500, 500])
        assert distances.jensen_shannon(same) == 0
        assert distances.l_infinity(same) == 0
        assert distances.psi(same) == pytest.approx(0, abs=1e-9)
        assert distances.g_test(same) == pytest.approx(1)

    def test_nothing_in_common_is_one_bit(self):
        assert distances.jensen_shannon(cells([10, 0], [0, 30])) == pytest.approx(1)
        assert distances.l_infinity(cells([10, 0], [0, 30])) == 1

    def test_jensen_shannon_by_hand(self):
        # p = (1/2, 1/2), q = (1/4, 3/4), m = (3/8, 5/8)
        p_side = 0.5 * math.log2(0.5 / 0.375) + 0.5 * math.log2(0.5 / 0.625)
        q_side = 0.25 * math.log2(0.25 / 0.375) + 0.75 * math.log2(0.75 / 0.625)
        assert distances.jensen_shannon(cells([50, 50], [25, 75])) == pytest.approx((p_side + q_side) / 2)

    def test_psi_by_hand(self):
        # (0.75 - 0.5) ln 1.5 + (0.25 - 0.5) ln 0.5; half a row is nothing among a million
        expected = 0.25 * math.log(1.5) + 0.25 * math.log(2)
        assert distances.psi(cells([500_000, 500_000], [250_000, 750_000])) == pytest.approx(expected, abs=1e-5)

    def test_psi_of_a_vanished_value_is_finite(self):
        assert 0.3 < distances.psi(cells([900, 100], [1000, 0])) < 1

    def test_g_by_hand(self):
        # O = ((50, 50), (30, 70)), E = 40 and 60: G = 2 (50 ln 5/4 + 50 ln 5/6 + 30 ln 3/4 + 70 ln 7/6); one degree of freedom
        statistic = 2 * (50 * math.log(50 / 40) + 50 * math.log(50 / 60) + 30 * math.log(30 / 40) + 70 * math.log(70 / 60))
        assert statistic == pytest.approx(8.4, abs=0.05)
        assert distances.g_test(cells([50, 50], [30, 70])) == pytest.approx(math.erfc(math.sqrt(statistic / 2)))

    def test_the_same_difference_means_more_with_more_rows(self):
        few, many = cells([52, 48], [48, 52]), cells([52_000, 48_000], [48_000, 52_000])
        assert distances.g_test(few) > 0.5
        assert distances.g_test(many) < 1e-50
        assert distances.l_infinity(few) == pytest.approx(distances.l_infinity(many))

    def test_cells_of_few_rows_are_tested_together(self):
        # 40 values with one row each, different ones each time: a table full of expected counts of 1/2.
        scattered = cells([100] + [1] * 40 + [0] * 40, [100] + [0] * 40 + [1] * 40)
        assert distances.g_test(scattered) == pytest.approx(1)

    def test_adjusted_probabilities_by_hand(self):
        # m = 4: 0.01 * 4/1, 0.02 * 4/2, 0.03 * 4/3 and 0.5 * 4/4, none above the one after it
        assert distances.adjust([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.04, 0.04])
        assert distances.adjust([]) == []

    def test_the_false_alarm_rate_is_the_level(self):
        generator = np.random.default_rng(7)
        shares = generator.dirichlet(np.full(12, 3.0))
        alarms = [distances.g_test(cells(*(generator.multinomial(n, shares) for n in (3000, 2000)))) < 0.05 for _ in range(1000)]
        assert 0.03 < np.mean(alarms) < 0.07


class TestCategories:
    def test_values_are_cells(self):
        counted = distances.of_features(categorical({"a": 60, "b": 40}), categorical({"b": 50, "c": 50}), (100, 100))
        table = {name: (b, a) for name, b, a in zip(counted.names, counted.before, counted.after, strict=True)}
        assert table == {"a": (60, 0), "b": (40, 50), "c": (0, 50)}

    def test_missing_ones_are_a_cell(self):
        counted = distances.of_features(categorical({"a": 100}), categorical({"a": 60}), (100, 100))
        assert counted.names == ("a", distances.MISSING)
        assert counted.after.tolist() == [60, 40]

    def test_rare_ones_share_a_cell_and_new_ones_another(self):
        old = categorical({"a": 998, "b": 2})
        new = categorical({"a": 900, **{f"n{number}": 4 for number in range(25)}})
        counted = distances.of_features(old, new, (1000, 1000))
        assert dict(zip(counted.names, counted.after, strict=True)) == {"a": 900, distances.RARE: 0, distances.NEW: 100}
        assert distances.NEW not in distances.of_features(old, new, (1000, 1000), identifier=True).names

    def test_identifiers_that_are_all_new_are_no_drift(self):
        old = categorical({f"a{number}": 1 for number in range(500)}, unlisted=4500, unique=5000)
        new = categorical({f"b{number}": 1 for number in range(500)}, unlisted=4500, unique=5000)
        assert distances.psi(distances.of_features(old, new, (5000, 5000))) == 0

    def test_frequent_conversations_of_another_day_are_no_drift(self):
        old, new = (categorical({f"{day}{number}": 20 for number in range(50)}) for day in ("monday", "tuesday"))
        assert distances.psi(distances.of_features(old, new, (1000, 1000), identifier=True)) == 0
        assert distances.psi(distances.of_features(old, new, (1000, 1000))) > 1

    def test_a_flood_from_one_customer_is(self):
        old = categorical({f"a{number}": 1 for number in range(500)}, unlisted=4500, unique=5000)
        new = categorical({"a7": 2000}, unlisted=3000, unique=5000)
        flooded = distances.of_features(old, new, (5000, 5000), identifier=True)
        assert distances.psi(flooded) > 0.25
        assert {found.cell for found in distances.contributions(flooded)} == {"a7", distances.RARE}

    def test_values_of_few_rows_are_not_named(self):
        counted = distances.of_features(categorical({"a": 4, "Ms Jones": 1}), categorical({"a": 1, "Ms Jones": 4}), (5, 5))
        assert {found.cell for found in distances.contributions(counted)} == {distances.RARE}


class TestDistribution:
    def test_is_both_shares_of_every_cell_in_order(self):
        counted = distances.of_features(categorical({"a": 60, "b": 40}), categorical({"b": 50, "c": 50}), (100, 100))
        assert distances.distribution(counted) == [
            distances.Contribution("a", 0.6, 0.0),
            distances.Contribution("b", 0.4, 0.5),
            distances.Contribution("c", 0.0, 0.5),
        ]

    def test_of_very_many_cells_the_smallest_are_one(self):
        rows = {f"v{number}": 100 - number for number in range(60)}
        counted = distances.of_features(*[categorical(rows)] * 2, (sum(rows.values()),) * 2)
        shown = distances.distribution(counted, limit=10)
        assert [cell.cell for cell in shown] == [*(f"v{number}" for number in range(8)), distances.OTHER]
        assert sum(cell.before for cell in shown) == pytest.approx(1)

    def test_values_of_few_rows_are_not_named(self):
        counted = distances.of_features(categorical({"a": 9, "Ms Jones": 1, "Mr Smith": 2}), categorical({"a": 12}), (12, 12))
        assert [(cell.cell, cell.before) for cell in distances.distribution(counted)] == [("a", 0.75), (distances.RARE, 0.25)]


class TestNumbers:
    def test_equal_deciles_are_no_distance(self):
        assert distances.l_infinity(distances.of_features(numeric(DECILES), numeric(DECILES), (1000, 1000))) == 0

    def test_a_moved_distribution(self):
        # Two to the right: 20 % of the values are above the old maximum, and none is in the old lower fifth.
        counted = distances.of_features(numeric(DECILES), numeric([edge + 2 for edge in DECILES]), (1000, 1000))
        after = dict(zip(counted.names, counted.after / 1000, strict=True))
        assert after["0 to 1"] == after["1 to 2"] == 0
        assert after["4 to 5"] == pytest.approx(0.1)
        assert after["above 10"] == pytest.approx(0.2)

    def test_another_unit(self):
        counted = distances.of_features(numeric(DECILES), numeric([100 * edge for edge in DECILES]), (1000, 1000))
        assert distances.contributions(counted)[0].cell == "above 10"
        assert distances.l_infinity(counted) == pytest.approx(0.9)

    def test_one_far_outlier_is_not_a_drift(self):
        counted = distances.of_features(numeric(DECILES), numeric([*DECILES[:-1], 1e6]), (1000, 1000))
        assert distances.l_infinity(counted) == pytest.approx(0)

    def test_whole_numbers_between_deciles_are_not_spread(self):
        # 0 and 1 became 0 and 2 in a few rows; the old edge 1 lies in a bucket in which all may sit on 2, or none.
        old = numeric([0, 0, 1, 2, 3], [250] * 4, "INT")
        counted = distances.of_features(old, numeric([0, 0, 0, 2, 3], [250] * 4, "INT"), (1000, 1000))
        assert distances.l_infinity(counted) <= 0.25

    def test_samples_of_one_population_are_close(self):
        generator = np.random.default_rng(3)
        samples = [np.quantile(generator.lognormal(2, 1, 4000), np.linspace(0, 1, 11)) for _ in range(2)]
        counted = distances.of_features(*(numeric(list(map(float, edges)), [400] * 10) for edges in samples), (4000, 4000))
        assert distances.psi(counted) < 0.02

    def test_an_emptied_column(self):
        empty = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.FLOAT)
        empty.num_stats.common_stats.num_missing = 1000
        counted = distances.of_features(numeric(DECILES), empty, (1000, 1000))
        assert distances.contributions(counted)[0] == distances.Contribution(distances.PRESENT, 1.0, 0.0)
        assert counted.names[-1] == distances.MISSING


def test_a_number_and_a_category_cannot_be_compared():
    assert distances.of_features(numeric(DECILES), categorical({"a": 5}), (1000, 5)) is None
    assert distances.of_features(categorical({"a": 5}), categorical({"a": 5}), (5, 0)) is None
