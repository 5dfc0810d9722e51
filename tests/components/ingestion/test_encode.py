import gzip
import struct

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
from tfx_bsl.coders import example_coder

from components.ingestion import encode
from serving.messages import Example

ROWS = pa.RecordBatch.from_pydict(
    {
        "text": pa.array(["hi", None, "नमस्ते"]),
        "count": pa.array([1, None, -3], pa.int64()),
        "share": pa.array([0.5, None, -1.0], pa.float32()),
        "label": pa.array(["a", "b", "a"]),
    }
)


def records(path):
    """Reads a TFRecord file, checking every checksum by the format's definition."""
    return _records(gzip.decompress(path.read_bytes()))


def _records(content):
    found, place = [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        record = content[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", content, place + 8)[0] == _masked(content[place : place + 8])
        assert struct.unpack_from("<I", content, place + 12 + length)[0] == _masked(record)
        found.append(record)
        place += length + 16
    return found


def _masked(part):
    checksum = google_crc32c.value(part)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _as_lists(rows):
    """One value a row and null for a missing one, as tfx_bsl wants them."""
    columns = [
        pa.array([None if value is None else [value] for value in column.to_pylist()], pa.list_(kind))
        for column in rows.columns
        for kind in [pa.binary() if pa.types.is_string(column.type) else column.type]
    ]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def decoded(paths):
    batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch([record for path in paths for record in records(path)])
    return [{name: value[0] for name, value in sorted(row.items()) if value} for row in batch.to_pylist()]


class TestExampleWriter:
    def test_what_is_written_is_read_again(self, tmp_path):
        with encode.ExampleWriter(tmp_path) as writer:
            writer.write(ROWS)
            writer.write(ROWS.slice(2))
        [shard] = tmp_path.iterdir()
        last = {"count": -3, "label": b"a", "share": -1.0, "text": "नमस्ते".encode()}
        assert decoded([shard]) == [{"count": 1, "label": b"a", "share": 0.5, "text": b"hi"}, {"label": b"b"}, last, last]
        assert example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(records(shard)).column("text").null_count == 1
        assert (shard.name, writer.rows, writer.bytes) == ("data_tfrecord-00000-of-00001.gz", 4, shard.stat().st_size)

    def test_shards_have_a_bounded_number_of_rows(self, tmp_path, monkeypatch):
        monkeypatch.setattr(encode, "_ROWS_PER_BLOCK", 2)
        batch = pa.RecordBatch.from_pydict({"n": pa.array(range(9), pa.int64())})
        with encode.ExampleWriter(tmp_path, rows_per_shard=4) as writer:
            writer.write(batch)
            writer.write(batch)
        shards = sorted(tmp_path.iterdir())
        assert [path.name for path in shards] == [f"data_tfrecord-{index:05d}-of-00005.gz" for index in range(5)]
        assert [len(records(path)) for path in shards] == [4, 4, 3, 4, 3]
        assert [row["n"] for row in decoded(shards)] == [*range(9), *range(9)]

    def test_a_shard_ends_where_it_is_told_to(self, tmp_path):
        with encode.ExampleWriter(tmp_path) as writer:
            writer.end_shard()
            writer.write(ROWS)
            writer.write(ROWS)
            writer.end_shard()
            writer.end_shard()
            writer.write(ROWS.slice(2))
        assert [len(records(path)) for path in sorted(tmp_path.iterdir())] == [6, 1]

    def test_replaces_what_an_attempt_that_was_killed_has_left(self, tmp_path):
        for leftover in ("data_tfrecord-00000-of-00009.gz", ".data_tfrecord-00000.partial"):
            (tmp_path / leftover).write_bytes(b"half a record")
        with encode.ExampleWriter(tmp_path) as writer:
            writer.write(ROWS)
        assert [path.name for path in tmp_path.iterdir()] == ["data_tfrecord-00000-of-00001.gz"]
        assert len(decoded(tmp_path.iterdir())) == ROWS.num_rows

    def test_nothing_has_a_final_name_before_the_end(self, tmp_path):
        with encode.ExampleWriter(tmp_path) as writer:
            writer.write(ROWS)
            assert not list(tmp_path.glob("[!.]*"))

    def test_an_error_leaves_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(encode, "_ROWS_PER_BLOCK", 2)
        wrong = pa.RecordBatch.from_pydict({"text": pa.array([[1]])})

        def write():
            with encode.ExampleWriter(tmp_path, rows_per_shard=2) as writer:
                writer.write(ROWS)
                writer.write(wrong)

        with pytest.raises(ValueError, match="sequence"):
            write()
        assert not list(tmp_path.iterdir())

    def test_no_rows_make_no_file(self, tmp_path):
        with encode.ExampleWriter(tmp_path / "Split-eval") as writer:
            writer.write(ROWS.slice(0, 0))
        assert not list((tmp_path / "Split-eval").iterdir())

    def test_takes_filtered_and_sliced_batches(self, tmp_path):
        with encode.ExampleWriter(tmp_path) as writer:
            writer.write(ROWS.filter(pa.array([False, True, True])).slice(1))
        assert [row["count"] for row in decoded(tmp_path.iterdir())] == [-3]


def contents(rows):
    """The records of rows, and their blocks."""
    blocks = list(encode.blocks(rows))
    return _records(b"".join(gzip.decompress(block.content) for block in blocks)), blocks


def any_rows(seed, longest, count=400):
    """Texts of all lengths, whole numbers of all sizes and both signs, some missing, in columns with long and odd names."""
    draw = np.random.default_rng(seed)
    numbers = (draw.integers(-(2**63), 2**63 - 1, count) >> draw.integers(0, 63, count)).tolist()
    texts = ["é" * int(length) for length in draw.integers(0, longest, count)]
    shares = draw.normal(size=count).astype(np.float32)

    def some(values, kind):
        return pa.array(values, kind, mask=draw.random(count) < 0.2)

    return pa.RecordBatch.from_pydict(
        {
            "text": some(texts, pa.string()),
            "größe " * 30: some(numbers, pa.int64()),
            "share": some(shares, pa.float32()),
            "label": pa.array(["a"] * count),
            **{f"no {kind}": pa.nulls(count, kind) for kind in (pa.string(), pa.int64(), pa.float32())},
        }
    ).slice(7)


class TestBlocks:
    @pytest.mark.parametrize(("seed", "longest"), [(0, 3), (1, 200), (2, 20_000)])
    def test_examples_are_those_of_tfx_bsl(self, seed, longest):
        rows = any_rows(seed, longest)
        ours, _ = contents(rows)
        theirs = example_coder.RecordBatchToExamplesEncoder().encode(_as_lists(rows))
        assert [Example.FromString(record) for record in ours] == [Example.FromString(record) for record in theirs]
        assert list(map(len, ours)) == list(map(len, theirs))

    def test_the_ends_of_whole_numbers(self):
        numbers = [0, 1, -1, 127, 128, 2**14 - 1, 2**14, 2**63 - 1, -(2**63)]
        ours, _ = contents(pa.RecordBatch.from_pydict({"n": pa.array(numbers, pa.int64())}))
        assert [Example.FromString(record).features.feature["n"].int64_list.value[0] for record in ours] == numbers

    def test_long_lengths_are_sorted_and_not_counted(self, monkeypatch):
        rows = any_rows(0, 200)
        counted, _ = contents(rows)
        monkeypatch.setattr(encode, "_LONGEST_COUNTED", 5)
        assert contents(rows)[0] == counted

    def test_blocks_are_bounded_by_rows_and_bytes_and_hold_one_row_at_least(self, monkeypatch):
        rows = any_rows(0, 20_000)
        whole, _ = contents(rows)
        monkeypatch.setattr(encode, "_ROWS_PER_BLOCK", 50)
        monkeypatch.setattr(encode, "_BYTES_PER_BLOCK", 30_000)
        parts, blocks = contents(rows)
        assert parts == whole
        assert sum(block.rows for block in blocks) == rows.num_rows
        assert all(block.rows <= 50 for block in blocks)
        assert all(block.rows == 1 or len(gzip.decompress(block.content)) < 31_000 + 16 * block.rows for block in blocks)
        assert any(block.rows == 1 for block in blocks)

    def test_rows_without_columns_and_no_rows(self):
        assert contents(ROWS.slice(0, 0)) == ([], [])


@pytest.mark.tensorflow
def test_tensorflow_reads_the_shards(tmp_path):
    import tensorflow as tf

    with encode.ExampleWriter(tmp_path) as writer:
        for row in range(ROWS.num_rows):  # each a gzip member of its own
            writer.write(ROWS.slice(row, 1))
    dataset = tf.data.TFRecordDataset([str(path) for path in tmp_path.iterdir()], compression_type="GZIP")
    features = {
        "text": tf.io.FixedLenFeature([], tf.string, default_value=b"missing"),
        "count": tf.io.VarLenFeature(tf.int64),
        "share": tf.io.VarLenFeature(tf.float32),
        "label": tf.io.FixedLenFeature([], tf.string),
    }
    parsed = tf.io.parse_example(list(dataset.as_numpy_iterator()), features)
    assert parsed["label"].numpy().tolist() == [b"a", b"b", b"a"]
    assert parsed["text"].numpy().tolist() == [b"hi", b"missing", "नमस्ते".encode()]
    assert parsed["count"].indices.numpy().tolist() == parsed["share"].indices.numpy().tolist() == [[0, 0], [2, 0]]
