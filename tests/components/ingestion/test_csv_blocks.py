import random

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from components.errors import UsageError
from components.ingestion import csv_blocks


def blocks(path, size, longest_row=1 << 20):
    return list(csv_blocks.blocks(path, ",", size, longest_row))


def rows(content):
    """The rows Arrow makes of some content, whatever their number of fields, each as the fields it has."""
    bad = []
    table = pa_csv.read_csv(
        pa.BufferReader(content),
        pa_csv.ReadOptions(column_names=["a", "b"], use_threads=False, block_size=len(content) + 1),
        pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: bad.append(row.actual_columns) or "skip"),
        pa_csv.ConvertOptions(column_types={"a": pa.binary(), "b": pa.binary()}),
    )
    return table.to_pylist(), bad


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content)
        return path

    return written


class TestBlocks:
    @pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
    def test_end_where_rows_end(self, line_end, write):
        found = blocks(write(line_end.join([b"a,b", b'1,"x, y"', b"2,z"] * 40) + line_end), size=20)
        assert len(found) > 10
        assert all(block.strip(b"\r\n").startswith((b"a,", b"1,", b"2,")) for block in found)
        assert all(block.count(b'"') % 2 == 0 for block in found)

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 1000])
    def test_hold_all_of_the_file(self, size, write):
        content = b'a,b\r\n1,"x\n""y"""\n\n2,"z\r\n"\n3,w'
        found = blocks(write(content), size)
        assert b"".join(found) == content

    def test_a_line_end_in_quotes_ends_no_row(self, write):
        assert blocks(write(b'1,"a\nb\nc\n"\n2,d\n'), size=12) == [b'1,"a\nb\nc\n"\n', b"2,d\n"]

    def test_a_quote_within_a_field_is_a_character(self, write):
        content = b'1,5" disk\n2,6" disk\n3,x\n'
        assert blocks(write(content), size=11) == [b'1,5" disk\n', b'2,6" disk\n', b"3,x\n"]

    def test_a_byte_order_mark_is_left_out(self, write):
        assert blocks(write(b'\xef\xbb\xbf"a",b\n'), size=100) == [b'"a",b\n']

    @pytest.mark.parametrize("content", [b'1,a\n2,"b\n3,c\n', b'1,a\n2,"b""\n""\n3,c\n', b'1,5" disk\n2,"b\n'])
    def test_a_quote_that_is_never_closed_is_an_error(self, content, write):
        for size in (1, 4, 100):
            with pytest.raises(UsageError, match="the quote opened in line 2 is never closed"):
                blocks(write(content), size)

    def test_an_empty_file_has_none(self, write):
        assert blocks(write(b""), size=10) == []

    def test_a_row_beyond_the_limit_is_an_error(self, write):
        with pytest.raises(UsageError, match="the row that begins in line 2 is longer than 1 MiB"):
            blocks(write(b'a,b\n"' + b"x\n" * 700_000), size=1000, longest_row=1 << 20)


@pytest.mark.parametrize("alphabet", [b'a",\n', b'ab,,\n\n"', b'a"\r\n', b'aaaa",\n'], ids=repr)
def test_rows_are_those_of_arrow(alphabet, write):
    """Arrow's parser says what a row is; cutting the file into blocks must not change a single one."""
    generator = random.Random(0)
    compared = cut = 0
    for _ in range(400):
        content = bytes(generator.choices(alphabet, k=generator.randint(1, 60)))
        path = write(content)
        try:
            found = blocks(path, size=generator.randint(1, 20))
        except UsageError:  # a quote that is never closed, see above
            continue
        parts = [rows(block) for block in found]
        assert ([row for good, _ in parts for row in good], [row for _, bad in parts for row in bad]) == rows(content)
        compared, cut = compared + 1, cut + (len(found) > 1)
    assert compared > 100
    assert cut > 50
