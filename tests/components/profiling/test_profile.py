import numpy as np
import pyarrow as pa
import pytest

from components.profiling import profile as profiling
from components.profiling.profile import Kind, Profiler


def _profile(*batches, rejected=0):
    profiler = Profiler()
    for batch in batches:
        profiler.add(pa.RecordBatch.from_pydict(batch), rejected)
    return profiler.finish()


def _column(values):
    return _profile({"c": values}).columns["c"]


class TestKind:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (["1", "-2.5", " .5 ", "1e6", "3."], Kind.NUMBER),
            ([1, 2, 3], Kind.NUMBER),
            ([0.5, None], Kind.NUMBER),
            (["1", "n/a", "NaN", "2"], Kind.NUMBER),
            (["00123", "123"], Kind.STRING),
            (["1,5", "2,5"], Kind.STRING),
            (["n/a", "none"], Kind.STRING),
            (["2024-01-31", "2024-01-31T10:00:00Z", "2024-01-31 10:00:00.123+02:00"], Kind.TIME),
            (['{"a": 1}', "[1, 2]"], Kind.NESTED),
            (["", None], Kind.EMPTY),
            (["hello", "1"], Kind.STRING),
        ],
    )
    def test_is_that_of_nearly_all_cells(self, values, kind):
        assert _column(values).kind is kind

    def test_tolerates_a_few_misfits_and_counts_them(self):
        column = _column([*map(str, range(199)), "oops"])

        assert (column.kind, column.misfits) == (Kind.NUMBER, 1)

    def test_is_decided_by_the_whole_table_not_by_its_beginning(self):
        column = _profile({"c": ["1"] * 50}, {"c": ["a"] * 50}).columns["c"]

        assert column.kind is Kind.STRING


class TestMissing:
    @pytest.mark.parametrize(("values", "missing"), [(["a", "", None], 2), ([1.0, float("nan")], 1), (["1", "n/a", "2"], 1)])
    def test_counts_what_ingestion_would_not_store(self, values, missing):
        assert _column(values).missing == missing

    def test_counts_rows_of_batches_without_the_column(self):
        profile = _profile({"a": ["x", "y"]}, {"b": ["z"]})

        assert profile.rows == 3
        assert (profile.columns["a"].missing, profile.columns["b"].missing) == (1, 2)

    def test_reports_rows_the_reader_set_aside(self):
        assert _profile({"a": ["x"]}, rejected=4).rejected == 4


class TestNumbers:
    @pytest.mark.parametrize(
        ("values", "whole", "dotted"),
        [
            (["1", "2"], True, False),
            (["1.0", "2.0"], True, True),
            (["1.5"], False, True),
            ([1, 2], True, False),
            ([1.0], True, True),
        ],
    )
    def test_tell_whole_ones_from_how_they_are_written(self, values, whole, dotted):
        column = _column(values)

        assert (column.whole, column.dotted) == (whole, dotted)

    def test_have_a_range(self):
        column = _column(["3", "-1.5", "n/a"])

        assert (column.least, column.greatest) == (-1.5, 3.0)


class TestWords:
    @pytest.mark.parametrize(
        ("values", "least", "most"),
        [
            (["turn on the lights", "hello"], 2.5, 2.5),
            (["O O O", "O"], 2, 2),
            (["今天天气怎么样", "打开客厅的灯"], 3, 4),
            (["สวัสดีครับวันนี้"], 5, 9),
            (["a-b-c"], 1, 1),
        ],
    )
    def test_counts_words_also_where_no_space_is_written(self, values, least, most):
        assert least <= _column(values).words <= most


class TestCounts:
    def test_are_over_all_batches_most_frequent_first(self):
        column = _profile({"c": ["b", "a"]}, {"c": ["b"]}).columns["c"]

        assert list(column.counts.items()) == [("b", 2), ("a", 1)]
        assert column.distinct_share == pytest.approx(2 / 3)

    def test_are_given_up_beyond_a_bound(self, monkeypatch):
        monkeypatch.setattr(profiling, "MAX_COUNTED_VALUES", 10)

        column = _column([str(value) for value in range(11)])

        assert column.counts is None
        assert column.distinct == 11


class TestSample:
    def test_is_everything_while_that_is_little(self):
        assert _profile({"c": ["a", "b"]}, {"c": ["c"]}).sample["c"].to_pylist() == ["a", "b", "c"]

    def test_keeps_blocks_of_neighbours_from_the_whole_table(self, monkeypatch):
        monkeypatch.setattr(profiling, "_SAMPLE_ROWS", 500)
        monkeypatch.setattr(profiling, "_BLOCK_ROWS", 100)

        numbers = _profile(*({"c": np.arange(start, start + 1000)} for start in range(0, 10_000, 1000))).sample["c"].to_numpy()

        assert 200 < len(numbers) <= 500
        assert numbers.max() > 5000
        assert (np.diff(numbers) == 1).mean() > 0.9

    def test_has_text_where_a_column_changes_its_type(self):
        sample = _profile({"c": [1, 2]}, {"c": ["many"]}, {"d": [0.5]}).sample

        assert sample["c"].to_pylist() == ["1", "2", "many", None]
        assert sample["d"].to_pylist() == [None, None, None, 0.5]
