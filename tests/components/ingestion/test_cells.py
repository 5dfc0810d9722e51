import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from components.ingestion import cells
from components.ingestion.quarantine import Sieve


class TestText:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (pa.array(["a", "", None, " "]), ["a", None, None, " "]),
            (pa.array([1, None, -5]), ["1", None, "-5"]),
            (pa.array([1.0, 2.5, None, float("nan")]), ["1", "2.5", None, None]),
        ],
    )
    def test_is_what_a_person_would_write(self, values, expected):
        assert cells.text(values).to_pylist() == expected


class TestNumber:
    def test_reads_numbers_from_text(self):
        values, invalid = cells.number(pa.array([" 1 ", "-2.5e1", "+3", "", None, "NaN", "n/a", "NULL"]))
        assert values.to_pylist() == [1.0, -25.0, 3.0, None, None, None, None, None]
        assert not invalid.any()

    def test_marks_what_is_no_number(self):
        values, invalid = cells.number(pa.array(["1", "1,000", "0x10", "one", "n/a"]))
        assert values.to_pylist() == [1.0, None, None, None, None]
        assert invalid.tolist() == [False, True, True, True, False]

    def test_a_column_of_words_alone_is_marked(self):
        assert cells.number(pa.array(["word"] * 1001))[1].all()


class TestWholeNumber:
    def test_reads_whole_numbers_however_written(self):
        values, invalid = cells.whole_number(pa.array(["180.0", "1e3", " 7", "-1", "", "nan"]))
        assert values.to_pylist() == [180, 1000, 7, -1, None, None]
        assert not invalid.any()

    def test_marks_fractions_words_and_what_int64_cannot_hold(self):
        values, invalid = cells.whole_number(pa.array(["1.5", "one", "1e30", "3"]))
        assert values.to_pylist() == [None, None, None, 3]
        assert invalid.tolist() == [True, True, True, False]

    def test_long_identifiers_keep_their_last_digits(self):
        values, _ = cells.whole_number(pa.array(["123456789012345678", "1.0", "one"]))
        assert values[0].as_py() == 123456789012345678

    def test_takes_floats(self):
        values, invalid = cells.whole_number(pa.array([2.0, 2.5, None, float("nan"), float("inf")]))
        assert values.to_pylist() == [2, None, None, None, None]
        assert invalid.tolist() == [False, True, False, False, True]


class TestSeconds:
    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("1970-01-02", 86400.0),
            ("1970-01-01T00:01", 60.0),
            ("1970-01-01 00:00:01.5", 1.5),
            ("1970-01-01T00:00:00.123456789Z", 0.123456),
            ("1970-01-01T02:00:00+02:00", 0.0),
            ("1382319000", 1382319000.0),
            (" 1.5 ", 1.5),
        ],
    )
    def test_reads_iso_times_and_epoch_seconds(self, cell, expected):
        values, invalid = cells.seconds(pa.array([cell]))
        assert values.tolist() == [pytest.approx(expected)]
        assert not invalid.any()

    def test_marks_the_rest_and_leaves_missing_ones_missing(self):
        values, invalid = cells.seconds(pa.array(["2024-02-31", "soon", "31.12.2024", "", None, "5"]))
        assert np.isnan(values).tolist() == [True] * 5 + [False]
        assert invalid.tolist() == [True, True, True, False, False, False]

    @pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
    def test_takes_numbers(self, kind):
        values, invalid = cells.seconds(pa.array([1, None], kind))
        assert values[0] == 1.0
        assert np.isnan(values[1])
        assert not invalid.any()


class TestSlices:
    """pyarrow 18's if_else corrupts slices of string columns; whatever is read in slices must come out whole."""

    @pytest.mark.parametrize("convert", [cells.text, lambda column: cells.keep(column, pc.not_equal(column, "b"))])
    def test_a_slice_converts_like_a_copy(self, convert):
        values = [None if n % 5 == 0 else "b" * (n % 7) for n in range(1000)]
        converted = convert(pa.array(values).slice(130, 500))
        converted.validate(full=True)
        assert converted.to_pylist() == convert(pa.array(values[130:630])).to_pylist()


class TestKeep:
    def test_what_is_kept_whole_is_not_copied(self):
        values = pa.array(["a", None, "b"])
        assert cells.keep(values, pc.not_equal(values, "")) is values

    def test_a_value_is_dropped_where_the_answer_is_not_known(self):
        assert cells.keep(pa.array(["a", "b", None]), pa.array([True, None, True])).to_pylist() == ["a", None, None]


class TestPlain:
    @pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string(), pa.large_binary()])
    def test_bad_bytes_are_found_in_a_slice_and_not_beside_it(self, kind):
        raw = pa.array([b"\xff", b"\0", b"fine", b"a\0b", None, b"\xff"], pa.binary()).cast(pa.large_binary())
        column = raw.view(pa.large_string()) if "large" in str(kind) else raw.cast(pa.binary()).view(pa.string())
        column = column if "string" in str(kind) else column.view(kind)
        whole, middle = Sieve(np.arange(6)), Sieve(np.arange(1))
        cells.plain(column, "text", whole)
        assert [(entry.reason, entry.positions.tolist()) for entry in whole.rejected()] == [
            ("text: invalid UTF-8", [0, 5]),
            ("text: NUL byte", [1, 3]),
        ]
        assert cells.plain(column[2:3], "text", middle).to_pylist() == ["fine"]
        assert not middle.rejected()
