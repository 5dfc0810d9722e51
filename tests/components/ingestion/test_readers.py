import datetime
import decimal
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import UsageError
from components.ingestion import readers
from components.ingestion.options import FileSource

KINDS = ("csv", "jsonl", "parquet")


def read(path, columns=None, kind=None):
    """All rows as dictionaries, their positions, and the rejected positions by reason."""
    chunks = list(readers.read_batches(FileSource(type=kind or path.suffix[1:], path=str(path)), columns=columns))
    rows = [row for chunk in chunks for row in chunk.rows.to_pylist()]
    positions = [int(position) for chunk in chunks for position in chunk.positions]
    rejected = {}
    for chunk in chunks:
        for entry in chunk.rejected:
            rejected.setdefault(entry.reason, []).extend(map(int, entry.positions))
    return rows, positions, rejected


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(readers, "_BLOCK_BYTES", 256)


class TestAnyFormat:
    @pytest.mark.parametrize("kind", KINDS)
    def test_reads_rows_in_order(self, kind, write_rows):
        rows, positions, rejected = read(write_rows(kind, text=["hi", "नमस्ते", "再见"], label=["a", "b", "a"]))
        assert rows == [{"text": "hi", "label": "a"}, {"text": "नमस्ते", "label": "b"}, {"text": "再见", "label": "a"}]
        assert positions == [1, 2, 3]
        assert not rejected

    @pytest.mark.parametrize("kind", KINDS)
    def test_reads_only_the_columns_asked_for(self, kind, write_rows):
        path = write_rows(kind, a=["1"], b=["2"], c=["3"])
        [chunk] = readers.read_batches(FileSource(type=kind, path=str(path)), columns=["c", "absent"])
        assert chunk.rows.to_pylist() == [{"c": "3"}]
        assert chunk.columns == ("a", "b", "c")

    @pytest.mark.parametrize("kind", KINDS)
    def test_counts_rows_when_no_column_is_there(self, kind, write_rows):
        path = write_rows(kind, a=["1", "2"])
        [chunk] = readers.read_batches(FileSource(type=kind, path=str(path)), columns=["absent"])
        assert len(chunk.positions) == 2

    @pytest.mark.parametrize("kind", KINDS)
    def test_long_blocks_are_cut_and_what_was_set_aside_is_told_once(self, kind, write_rows, monkeypatch):
        path = write_rows(kind, text=["bad\0" if number == 5 else f"fine {number}" for number in range(100)])
        whole = read(path)
        monkeypatch.setattr(readers, "_ROWS_PER_BATCH", 30)
        chunks = list(readers.read_batches(FileSource(type=kind, path=str(path))))
        assert all(chunk.rows.num_rows == len(chunk.positions) <= 30 for chunk in chunks)
        assert len(chunks) == 4
        assert read(path) == whole

    @pytest.mark.parametrize("kind", KINDS)
    def test_nul_bytes_set_the_row_aside(self, kind, write_rows):
        rows, positions, rejected = read(write_rows(kind, text=["fine", "bad\0", "fine"]))
        assert positions == [1, 3]
        assert rejected == {"text: NUL byte": [2]}

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_row_of_five_megabytes_is_read(self, kind, write_rows):
        rows, _, rejected = read(write_rows(kind, text=["short", "x" * 5_000_000, "short"]))
        assert [len(row["text"]) for row in rows] == [5, 5_000_000, 5]
        assert not rejected

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_a_repeated_column_name_is_an_error(self, kind, tmp_path):
        path = tmp_path / f"t.{kind}"
        if kind == "csv":
            path.write_text("text,label,text\na,b,c\n")
        else:
            pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "label", "text"]), path)
        with pytest.raises(UsageError, match="must be unique; .* repeats 'text'"):
            read(path)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_file_of_another_kind_is_an_error(self, kind, tmp_path):
        path = tmp_path / f"t.{kind}"
        path.write_bytes(gzip.compress(b"text,label\n" * 100))
        with pytest.raises(UsageError, match="gzip data; decompress|cannot be read as parquet"):
            read(path)


class TestFindFiles:
    def test_a_missing_file_is_an_error(self, tmp_path):
        with pytest.raises(UsageError, match="no file at .*absent.csv"):
            readers.find_files("csv", [str(tmp_path / "absent.csv")])

    def test_a_wrong_extension_is_an_error_that_lists_the_right_ones(self, tmp_path):
        (tmp_path / "table.xlsx").write_text("x")
        with pytest.raises(UsageError, match=r"files end in \.csv, \.tsv, \.txt; .* holds table\.xlsx"):
            readers.find_files("csv", [str(tmp_path / "table.xlsx")])

    def test_an_empty_folder_is_an_error(self, tmp_path):
        with pytest.raises(UsageError, match="no file at"):
            readers.find_files("csv", [str(tmp_path)])

    @pytest.mark.parametrize("pattern", ["", "*", "*.csv", "**/*.csv"])
    def test_folders_and_globs_list_fitting_files_in_order(self, pattern, tmp_path):
        for name in ("b.csv", "a.CSV" if pattern in ("", "*") else "a.csv", "notes.md"):
            (tmp_path / name).write_text("x\n1\n")
        found = readers.find_files("csv", [str(tmp_path / pattern)])
        assert [path.name.lower() for path in found] == ["a.csv", "b.csv"]

    def test_a_name_that_looks_like_a_glob_is_a_file_first(self, tmp_path):
        (tmp_path / "data[1].csv").write_text("x\n1\n")
        assert len(readers.find_files("csv", [str(tmp_path / "data[1].csv")])) == 1


class TestCsv:
    def test_cells_are_text_whatever_they_look_like(self, tmp_path, small_blocks):
        path = tmp_path / "t.csv"
        path.write_text("value,other\n" + "1,x\n" * 200 + "one,x\n" + "2024-01-01,x\n")
        rows, _, rejected = read(path)
        assert [row["value"] for row in rows[-3:]] == ["1", "one", "2024-01-01"]
        assert not rejected

    def test_empty_cells_are_null_quoted_or_not(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text('a,b\n,1\n"",2\n')
        assert [row["a"] for row in read(path)[0]] == [None, None]

    def test_rows_with_a_wrong_number_of_fields_are_set_aside_by_position(self, tmp_path, small_blocks):
        path = tmp_path / "t.csv"
        good = [f"{number},x" for number in range(1, 301)]
        for bad in (7, 8, 150, 300):
            good[bad - 1] = "only one" if bad % 2 else "three,fields,here"
        path.write_text("n,x\n" + "\n".join(good) + "\n")
        rows, positions, rejected = read(path)
        assert [int(row["n"]) for row in rows] == positions
        assert rejected == {"wrong number of fields": [7, 8, 150, 300]}

    def test_a_file_of_bad_rows_reports_them(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("a,b\n1\n2\n")
        assert read(path) == ([], [], {"wrong number of fields": [1, 2]})

    def test_invalid_utf8_sets_aside_its_row_alone(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_bytes(b"text,label\n" + b"caf\xc3\xa9,a\n" * 50 + b"caf\xe9,a\n" + b"tea,b\n" * 50)
        rows, _, rejected = read(path)
        assert len(rows) == 100
        assert rejected == {"text: invalid UTF-8": [51]}

    def test_a_column_nobody_asked_for_sets_nothing_aside(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_bytes(b"text,label\ncaf\xe9,a\n")
        assert read(path, columns=["label"])[0] == [{"label": "a"}]

    def test_quotes_hold_newlines_and_delimiters(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text('text,label\n"one,\ntwo ""three""",a\n')
        assert read(path)[0] == [{"text": 'one,\ntwo "three"', "label": "a"}]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_the_delimiter_is_read_from_the_header(self, delimiter, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text(f"text{delimiter}label\nhi{delimiter}a\n")
        assert read(path)[0] == [{"text": "hi", "label": "a"}]

    def test_a_byte_order_mark_is_no_part_of_a_name(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_bytes(b"\xef\xbb\xbftext,label\r\nhi,a\r\n")
        assert read(path)[0] == [{"text": "hi", "label": "a"}]

    def test_utf16_is_an_error_with_the_way_out(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("text,label\nhi,a\n", encoding="utf-16")
        with pytest.raises(UsageError, match="UTF-16 text; convert it: iconv"):
            read(path)

    @pytest.mark.parametrize("content", ["", "\n\n"])
    def test_an_empty_file_is_an_error(self, content, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text(content)
        with pytest.raises(UsageError, match="is empty; a CSV file starts with"):
            read(path)

    def test_blank_lines_before_the_header_are_passed_over(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("\n\ntext,label\nhi,a\n")
        assert read(path)[:2] == ([{"text": "hi", "label": "a"}], [1])

    def test_a_row_longer_than_a_block_is_read(self, tmp_path, small_blocks):
        path = tmp_path / "t.csv"
        path.write_text(f"text,label\nhi,a\n{'x' * 10_000},a\nho,a\n")
        assert [len(row["text"]) for row in read(path)[0]] == [2, 10_000, 2]

    def test_a_row_that_never_ends_is_an_error_that_names_its_line(self, tmp_path, small_blocks, monkeypatch):
        monkeypatch.setattr(readers, "_LONGEST_ROW_BYTES", 1 << 20)
        path = tmp_path / "t.csv"
        path.write_text('text,label\nhi,a\n"hello,a\n' + "hi,a\n" * 300_000)
        with pytest.raises(UsageError, match=r"the row that begins in line 3 is longer than 1 MiB\. Close every quote"):
            read(path)

    def test_a_quote_that_would_swallow_the_rest_of_the_file_is_an_error(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text('text,label\nhi,a\n"she said ""hello"" and left,a\nbye,b\n')
        with pytest.raises(UsageError, match="the quote opened in line 3 is never closed"):
            read(path)

    def test_a_header_alone_is_no_rows(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("text,label\n")
        assert read(path)[0] == []


class TestJsonLines:
    def test_a_column_that_changes_type_mid_file_is_read(self, tmp_path, small_blocks):
        path = tmp_path / "t.jsonl"
        values = [1] * 50 + ["one"] + [2.5, True, None, {"a": 1}, [1]] + [1] * 50
        path.write_text("".join(json.dumps({"value": value}) + "\n" for value in values))
        rows, positions, rejected = read(path)
        assert [row["value"] for row in rows][50:56] == ["one", "2.5", "true", None, '{"a": 1}', "[1]"]
        assert positions == list(range(1, 107))
        assert not rejected

    def test_text_that_looks_like_a_date_stays_as_it_is(self, tmp_path):
        path = tmp_path / "t.jsonl"
        path.write_text('{"text": "2024-01-01T10:00:00"}\n{"text": null}\n')
        assert [row["text"] for row in read(path)[0]] == ["2024-01-01T10:00:00", None]

    def test_lines_that_are_no_objects_are_set_aside(self, tmp_path):
        path = tmp_path / "t.jsonl"
        path.write_bytes(b'{"a": "x"}\n{"a": \n\n[1]\n{"a": "\xe9"}\n{"a": "\\ud800"}\n{"a": "y"}')
        rows, positions, rejected = read(path)
        assert [row["a"] for row in rows] == ["x", "y"]
        assert positions == [1, 7]
        assert rejected == {"not a JSON object": [2, 4], "invalid UTF-8": [5, 6]}

    def test_blank_lines_count_as_lines(self, tmp_path):
        path = tmp_path / "t.jsonl"
        path.write_text('{"a": 1}\n\n{"a": 2}\n')
        assert read(path)[1] == [1, 3]

    def test_numbers_beyond_int64_keep_their_digits(self, tmp_path):
        path = tmp_path / "t.jsonl"
        path.write_text('{"a": 1}\n{"a": 99999999999999999999}\n\n')
        assert read(path)[0][1]["a"] == "99999999999999999999"

    def test_a_json_array_is_an_error_with_the_way_out(self, tmp_path):
        path = tmp_path / "t.jsonl"
        path.write_text('[{"a": 1}]')
        with pytest.raises(UsageError, match="one object per line"):
            read(path)


class TestParquet:
    def test_long_rows_are_read_fewer_at_a_time(self, write_rows, monkeypatch):
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 10_000)
        path = write_rows("parquet", text=[f"{number:04d}" * 25 for number in range(1000)], short=["a"] * 1000)
        rows = [
            chunk.rows.num_rows for chunk in readers.read_batches(FileSource(type="parquet", path=str(path)), columns=["text"])
        ]
        assert sum(rows) == 1000
        assert max(rows) <= 100
        [_] = readers.read_batches(FileSource(type="parquet", path=str(path)), columns=["short"])

    def test_every_type_becomes_text_or_a_number(self, tmp_path):
        table = pa.table(
            {
                "large": pa.array(["x"], pa.large_string()),
                "dictionary": pa.array(["x"]).dictionary_encode(),
                "bool": pa.array([True]),
                "int8": pa.array([1], pa.int8()),
                "float16": pa.array([np.float16(1.5)], pa.float16()),
                "decimal": pa.array([decimal.Decimal("2.5")]),
                "date": pa.array([datetime.date(2024, 1, 31)]),
                "time": pa.array([datetime.datetime(2024, 1, 31, 12)], pa.timestamp("s")),
                "zoned": pa.array([datetime.datetime(2024, 1, 31, 11)], pa.timestamp("s", "Europe/Berlin")),
                "list": pa.array([[1, 2]]),
                "struct": pa.array([{"a": "é"}]),
                "binary": pa.array([b"x"]),
                "null": pa.nulls(1),
            }
        )
        pq.write_table(table, tmp_path / "t.parquet")
        [row] = read(tmp_path / "t.parquet")[0]
        assert row == {
            "large": "x",
            "dictionary": "x",
            "bool": "true",
            "int8": 1,
            "float16": 1.5,
            "decimal": 2.5,
            "date": "2024-01-31",
            "time": "2024-01-31 12:00:00.000",
            "zoned": "2024-01-31 11:00:00.000",
            "list": "[1, 2]",
            "struct": '{"a": "é"}',
            "binary": "x",
            "null": None,
        }

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 100 + b"PAR1"])
    def test_a_damaged_file_is_an_error(self, content, tmp_path):
        path = tmp_path / "t.parquet"
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read as parquet|is empty"):
            read(path)

    def test_damage_behind_the_footer_is_an_error(self, tmp_path, write_rows):
        path = write_rows("parquet", text=[f"message {number}" for number in range(5000)])
        content = bytearray(path.read_bytes())
        content[4:2000] = b"\xff" * 1996
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be read as parquet"):
            read(path)
