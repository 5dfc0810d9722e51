import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.errors import UsageError
from components.evaluation import segments
from components.evaluation.segments import MISSING, Segment, SegmentColumn

INF, NAN = float("inf"), float("nan")
AMOUNT = SegmentColumn("amount", "amount", "buckets", (10.0, 20.0))
LENGTH = SegmentColumn("length(text)", "text", "length", (11.0, 21.0))
LANGUAGE = SegmentColumn("language", "language")


def values_of(column, values, type_=None):
    return segments.slice_values(column, pa.array(values, type_)).to_pylist()


class TestBucketEdges:
    @pytest.mark.parametrize(
        ("quantiles", "edges"),
        [
            ([0, 25, 50, 75, 100], (25, 50, 75)),
            ([0.123, 1.234, 123.4, 5678.9, 9999], (1.2, 120, 5700)),
            ([-100, -50.4, -10, 3, 7], (-50, -10, 3)),
            ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], (2.5, 5, 7.5)),
        ],
        ids=["even", "over magnitudes", "negative", "from ten to four buckets"],
    )
    def test_cut_at_quarters_in_two_digits(self, quantiles, edges):
        assert segments.bucket_edges(quantiles) == edges

    def test_have_more_digits_where_values_are_close(self):
        assert segments.bucket_edges([2010, 2012.4, 2015, 2018, 2020]) == (2012, 2015, 2018)
        assert segments.bucket_edges([0.50001, 0.50002, 0.50003, 0.50004, 0.50005]) == (0.50002, 0.50003, 0.50004)

    def test_a_constant_column_has_none(self):
        assert segments.bucket_edges([5, 5, 5, 5, 5]) == ()

    def test_a_frequent_value_makes_fewer_buckets(self):
        assert segments.bucket_edges([0, 0, 0, 40, 90]) == (40,)
        assert segments.bucket_edges([0, 50, 50, 50, 90]) == (50,)
        assert segments.bucket_edges([0, 0, 0, 0, 90]) == ()

    def test_infinite_values_and_nan_are_left_out(self):
        assert segments.bucket_edges([-INF, 0, 25, 50, 75, 100, INF, NAN]) == (25, 50, 75)
        assert segments.bucket_edges([INF, INF]) == ()
        assert segments.bucket_edges([NAN]) == ()

    def test_huge_values(self):
        assert segments.bucket_edges([0, 1e300, 2e300, 3e300, 4e300]) == (1e300, 2e300, 3e300)
        assert segments.bucket_edges([0, 2**60, 2**61, 2**62, 2**63]) == (1.2e18, 2.3e18, 4.6e18)


class TestBuckets:
    def test_are_from_their_lower_limit_on_and_below_the_upper(self):
        received = values_of(AMOUNT, [-5, 9.99, 10, 19, 20, 1e9])
        assert received == ["below 10", "below 10", "10 to 20", "10 to 20", "20 or more", "20 or more"]

    def test_numbers_may_be_integers_or_text(self):
        assert values_of(AMOUNT, [9, 10, 25], pa.int64()) == ["below 10", "10 to 20", "20 or more"]
        assert values_of(AMOUNT, ["9", "1e1", "2.5e1"]) == ["below 10", "10 to 20", "20 or more"]
        assert values_of(AMOUNT, [b"9", b"10"], pa.binary()) == ["below 10", "10 to 20"]

    def test_missing_ones_are_missing(self):
        assert values_of(AMOUNT, [None, 15, NAN]) == [MISSING, "10 to 20", MISSING]
        assert values_of(AMOUNT, [None, 15], pa.int64()) == [MISSING, "10 to 20"]
        assert values_of(AMOUNT, ["", None, "15"]) == [MISSING, MISSING, "10 to 20"]

    @pytest.mark.parametrize("type_", [pa.null(), pa.string(), pa.float32(), pa.int64()], ids=str)
    def test_a_column_without_any_value_is_missing_everywhere(self, type_):
        assert values_of(AMOUNT, [None, None], type_) == [MISSING, MISSING]

    def test_infinities_are_numbers(self):
        assert values_of(AMOUNT, [-INF, INF]) == ["below 10", "20 or more"]

    def test_integers_too_large_for_a_float_are_rounded(self):
        assert values_of(AMOUNT, [2**62 + 1, -(2**62) - 1]) == ["20 or more", "below 10"]

    def test_text_that_is_no_number_is_an_error_without_the_text(self):
        with pytest.raises(UsageError, match="Column 'amount' held numbers") as caught:
            values_of(AMOUNT, ["12", "my secret"])
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_names_show_limits_as_people_write_them(self):
        column = SegmentColumn("x", "x", "buckets", (-1.5, 0.02, 2012.0, 1_200_000.0, 1e300))
        assert segments.bucket_names(column) == [
            "below -1.5", "-1.5 to 0.02", "0.02 to 2012", "2012 to 1200000", "1200000 to 1e+300", "1e+300 or more",
        ]  # fmt: skip


class TestLength:
    def test_counts_characters_and_not_bytes(self):
        assert values_of(LENGTH, ["ż" * 10, "日" * 11, "🙂" * 20, "x" * 21]) == ["0 to 10", "11 to 20", "11 to 20", "21 or more"]

    def test_an_empty_text_has_length_0_and_an_absent_one_none(self):
        assert values_of(LENGTH, ["", None]) == ["0 to 10", MISSING]
        assert values_of(LENGTH, [None], pa.null()) == [MISSING]


class TestValues:
    def test_are_taken_as_they_are(self):
        assert values_of(LANGUAGE, ["de", "DE", " de"]) == ["de", "DE", " de"]

    def test_empty_and_absent_ones_are_missing(self):
        assert values_of(LANGUAGE, ["", None, "de"]) == [MISSING, MISSING, "de"]
        assert values_of(LANGUAGE, [None, None], pa.null()) == [MISSING, MISSING]
        assert values_of(LANGUAGE, [], pa.string()) == []

    def test_numbers_become_text(self):
        assert values_of(LANGUAGE, [1, 2**62 + 1, None]) == ["1", str(2**62 + 1), MISSING]
        assert values_of(LANGUAGE, [0.5, NAN, None, 3.0]) == ["0.5", MISSING, MISSING, "3"]

    def test_bytes_and_dictionaries_are_text(self):
        assert values_of(LANGUAGE, [b"de", None], pa.binary()) == ["de", MISSING]
        assert segments.slice_values(LANGUAGE, pa.array(["de", None]).dictionary_encode()).to_pylist() == ["de", MISSING]

    def test_never_hold_nulls(self):
        for column, values in ((LANGUAGE, ["a", None]), (AMOUNT, [1.0, None]), (LENGTH, ["a", None])):
            encoded = segments.slice_values(column, pa.array(values))
            assert (encoded.null_count, encoded.indices.null_count) == (0, 0)


class TestOrder:
    def test_buckets_rise_and_missing_ones_come_last(self):
        shuffled = [MISSING, "20 or more", "below 10", "10 to 20"]
        ordered = sorted(shuffled, key=lambda value: segments.sort_key(Segment((AMOUNT,)), (value,)))
        assert ordered == ["below 10", "10 to 20", "20 or more", MISSING]

    def test_values_go_by_name(self):
        shuffled = ["fr", MISSING, "de", "~"]
        assert sorted(shuffled, key=lambda value: segments.sort_key(Segment((LANGUAGE,)), (value,))) == ["de", "fr", "~", MISSING]

    def test_crosses_go_by_their_first_column_first(self):
        cross = Segment((LANGUAGE, AMOUNT))
        shuffled = [("fr", "below 10"), ("de", MISSING), ("de", "20 or more"), ("de", "below 10")]
        assert sorted(shuffled, key=lambda values: segments.sort_key(cross, values)) == [
            ("de", "below 10"), ("de", "20 or more"), ("de", MISSING), ("fr", "below 10"),
        ]  # fmt: skip


class TestPlan:
    def test_declared_segments_come_first_then_lengths_of_texts(self):
        planned = segments.plan([["language"], ["language", "channel"]], ["text"], {}, with_length=True)
        assert [(segment.names, segment.kind, segment.declared) for segment in planned] == [
            (("language",), "values", True),
            (("language", "channel"), "cross", True),
            (("length(text)",), "length", False),
        ]
        assert segments.bucket_names(planned[2].columns[0])[:2] == ["0 to 10", "11 to 20"]

    def test_lengths_can_be_left_out(self):
        assert segments.plan([], ["text"], {}, with_length=False) == ()

    def test_numbers_are_cut_into_buckets_in_crosses_too(self):
        planned = segments.plan([["amount"], ["amount", "language"]], [], {"amount": range(0, 101, 10)}, with_length=False)
        assert planned[0].columns == (SegmentColumn("amount", "amount", "buckets", (25, 50, 75)),)
        assert planned[1].columns[0] == planned[0].columns[0]
        assert planned[1].columns[1].kind == "values"

    @pytest.mark.parametrize("quantiles", [[0] * 8 + [1] * 3, [1, 1, 2, 3, 4], [7] * 11, [INF] * 11])
    def test_few_distinct_numbers_are_values(self, quantiles):
        assert segments.plan([["amount"]], [], {"amount": quantiles}, with_length=False)[0].kind == "values"


class TestTrainingQuantiles:
    def test_are_those_of_the_wanted_numeric_columns(self):
        statistics = statistics_pb2.DatasetFeatureStatisticsList()
        dataset = statistics.datasets.add()
        for name in ("amount", "other"):
            feature = dataset.features.add()
            feature.path.step.append(name)
            for type_ in (statistics_pb2.Histogram.STANDARD, statistics_pb2.Histogram.QUANTILES):
                histogram = feature.num_stats.histograms.add(type=type_)
                for low, high in ((1, 3), (3, 8)):
                    histogram.buckets.add(low_value=low + type_, high_value=high + type_)
        dataset.features.add().path.step.append("language")
        assert segments.training_quantiles(statistics, ["amount", "language"]) == {"amount": [2, 4, 9]}

    def test_no_statistics_have_none(self):
        assert segments.training_quantiles(statistics_pb2.DatasetFeatureStatisticsList(), ["amount"]) == {}
