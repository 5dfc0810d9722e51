from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.reporting import split_comparison
from components.reporting.statistics import MIN_VALUE_COUNT

SECRET = "call me on 555"


def strings(name, counts, missing=0):
    rows = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    top = "".join(f'top_values {{ value: "{value}" frequency: {n} }}' for value, n in ranked)
    buckets = "".join(f'buckets {{ label: "{value}" sample_count: {n} }}' for value, n in ranked)
    return f"""features {{ path {{ step: "{name}" }} type: STRING string_stats {{
      common_stats {{ num_non_missing: {rows} num_missing: {missing} }} unique: {len(counts)}
      {top} rank_histogram {{ {buckets} }} }} }}"""


def numbers(name, edges, counts=None):
    """A numeric column by its quantile edges; the standard histogram is one bucket."""
    counts = counts or [1] * (len(edges) - 1)
    quantiles = "".join(
        f"buckets {{ low_value: {low} high_value: {high} sample_count: {n} }}"
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
    )
    return f"""features {{ path {{ step: "{name}" }} type: FLOAT num_stats {{
      common_stats {{ num_non_missing: {sum(counts)} }}
      histograms {{ type: STANDARD buckets {{ low_value: {edges[0]} high_value: {edges[-1]} sample_count: {sum(counts)} }} }}
      histograms {{ type: QUANTILES {quantiles} }} }} }}"""


def dataset(*features):
    text = f"datasets {{ num_examples: 100 {' '.join(features)} }}"
    return text_format.Parse(text, statistics_pb2.DatasetFeatureStatisticsList())


class TestWithoutMessages:
    def test_no_value_of_a_text_column_remains(self):
        original = dataset(strings("text", {SECRET: 90}), strings("channel", {"app": 90}))
        shareable = split_comparison.without_messages(original, ["text"])
        assert SECRET.encode() not in shareable.SerializeToString()
        assert b"app" in shareable.SerializeToString()
        assert SECRET.encode() in original.SerializeToString()

    def test_no_value_of_few_rows_remains(self):
        shareable = split_comparison.without_messages(
            dataset(strings("channel", {"app": MIN_VALUE_COUNT, "ann@example.org": MIN_VALUE_COUNT - 1})), []
        )
        assert b"ann@example.org" not in shareable.SerializeToString()
        [column] = split_comparison.values({"train": shareable})
        assert column.shares == {"app": {"train": pytest.approx(5 / 9)}}

    def test_the_counts_stay(self):
        shareable = split_comparison.without_messages(dataset(strings("text", {SECRET: 90}, missing=10)), ["text"])
        [feature] = shareable.datasets[0].features
        assert feature.string_stats.common_stats.num_missing == 10
        assert feature.string_stats.unique == 1


class TestValues:
    def test_shares_by_split_most_frequent_in_the_first_one_first(self):
        by_split = {
            "train": dataset(strings("channel", {"web": 25, "app": 75})),
            "test": dataset(strings("channel", {"web": 50, "fax": 50})),
        }
        [column] = split_comparison.values(by_split)
        assert list(column.shares) == ["app", "web", "fax"]
        assert column.shares["web"] == {"train": 0.25, "test": 0.5}
        assert column.shares["fax"] == {"test": 0.5}
        assert not column.identifier

    def test_only_and_skip(self):
        by_split = {"train": dataset(strings("a", {"x": 9}), strings("b", {"x": 9}), strings("c", {"x": 9}))}
        assert [column.name for column in split_comparison.values(by_split, columns=["a", "b"], skip=["b"])] == ["a"]

    def test_a_column_without_frequent_values_is_an_identifier(self):
        [column] = split_comparison.values({"train": dataset(strings("ticket", {f"id {n}": 5 for n in range(1000)}))})
        assert column.identifier


class TestNumbers:
    def test_quantiles_and_histogram(self):
        [column] = split_comparison.numbers({"train": dataset(numbers("fare", [0, 1, 2, 10]), strings("a", {"x": 9}))})
        assert column.quantiles == {"train": (0, 1, 2, 10)}
        assert column.histograms == {"train": ((0, 10, 1),)}

    def test_a_column_without_values_is_left_out(self):
        empty = 'features { path { step: "fare" } type: FLOAT num_stats { common_stats { num_missing: 10 } } }'
        assert split_comparison.numbers({"train": dataset(empty)}) == []

    def test_a_split_without_values_is_left_out(self):
        empty = 'features { path { step: "fare" } type: FLOAT num_stats { common_stats { num_missing: 10 } } }'
        [column] = split_comparison.numbers({"train": dataset(numbers("fare", [0, 1])), "test": dataset(empty)})
        assert list(column.quantiles) == ["train"]


def distance(before, after, measured=None):
    found = split_comparison.distances(dataset(before), dataset(after), measured or anomalies_pb2.Anomalies())
    return found[0] if found else None


class TestDistances:
    def test_categories_differ_most_in_one_value(self):
        found = distance(strings("channel", {"app": 75, "web": 25}), strings("channel", {"app": 40, "web": 30, "fax": 30}))
        assert (found.where, found.before, found.after) == ("app", 0.75, 0.4)
        assert found.largest == pytest.approx(0.35)

    def test_numbers_differ_most_up_to_one_value(self):
        # Half of the rows up to 1 before; after, a tenth up to 1 (the edges say so) and half up to 5.
        found = distance(numbers("fare", [0, 1, 10], [50, 50]), numbers("fare", [0, 1, 5, 10], [10, 40, 50]))
        assert (found.where, found.before, found.after) == ("up to 1", 0.5, pytest.approx(0.1))

    def test_repeated_quantiles_are_a_step(self):
        # Six tenths of the rows are exactly 0, in both splits.
        same = numbers("tip", [0, 0, 0, 4], [30, 30, 40])
        assert distance(same, same).largest == 0

    def test_between_two_deciles_rows_are_spread_evenly(self):
        found = distance(numbers("fare", [0, 1, 9, 10], [10, 80, 10]), numbers("fare", [0, 1, 5, 10], [10, 80, 10]))
        assert (found.where, found.before, found.after) == ("up to 5", pytest.approx(0.5), pytest.approx(0.9))

    def test_one_far_outlier_makes_no_difference(self):
        usual = numbers("seconds", [0, 1, 2, 3, 4])
        assert distance(usual, numbers("seconds", [0, 1, 2, 3, 1_000_000])).largest == 0
        assert distance(usual, numbers("seconds", [-1_000_000, 1, 2, 3, 4])).largest == 0

    def test_splits_without_anything_in_common(self):
        assert distance(numbers("when", [0, 1]), numbers("when", [2, 3])).largest == 1

    def test_a_rare_value_is_not_named(self):
        names = {f"ticket {n}": 1 for n in range(10)}
        found = distance(strings("ticket", names), strings("ticket", {f"other {n}": 1 for n in range(10)}))
        assert found.where == ""
        assert found.largest == pytest.approx(0.1)

    def test_columns_of_one_split_only_and_skipped_ones_are_left_out(self):
        assert distance(strings("a", {"x": 9}), strings("b", {"x": 9})) is None
        same = dataset(strings("a", {"x": 9}))
        assert split_comparison.distances(same, same, anomalies_pb2.Anomalies(), skip=["a"]) == []

    def test_the_farthest_comes_first_with_tfdvs_divergence(self):
        measured = text_format.Parse(
            'drift_skew_info { path { step: "b" } drift_measurements { type: JENSEN_SHANNON_DIVERGENCE value: 0.25 } }',
            anomalies_pb2.Anomalies(),
        )
        before = dataset(strings("a", {"x": 50, "y": 50}), strings("b", {"x": 50, "y": 50}))
        after = dataset(strings("a", {"x": 51, "y": 49}), strings("b", {"x": 90, "y": 10}))
        found = split_comparison.distances(before, after, measured)
        assert [(row.column, row.divergence) for row in found] == [("b", 0.25), ("a", None)]


def test_comparators_measure_every_column_and_leave_the_schema_alone():
    schema = text_format.Parse(
        'feature { name: "a" type: BYTES drift_comparator { infinity_norm { threshold: 0.1 } } } feature { name: "b" type: FLOAT }',
        schema_pb2.Schema(),
    )
    measuring = split_comparison.with_comparators(schema)
    assert all(feature.drift_comparator.jensen_shannon_divergence.HasField("threshold") for feature in measuring.feature)
    assert not measuring.feature[0].drift_comparator.HasField("infinity_norm")
    assert schema.feature[0].drift_comparator.infinity_norm.threshold == pytest.approx(0.1)
