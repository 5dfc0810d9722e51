import gzip
import struct

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
from tfx_bsl.coders import example_coder

from components.ingestion import encode

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
    content, found, place = gzip.decompress(path.read_bytes()), [], 0
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


def decoded(paths):
    batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch([record for path in paths for record in records(path)])
    return [{name: value[0] for name, value in sorted(row.items()) if value} for row in batch.to_pylist()]


class _BrokenAfter:
    """A batch that fails once a shard is full."""

    def __init__(self, rows):
        self.num_rows = rows.num_rows
        self.slice = lambda start, length: rows.slice(start, length) if start == 0 else None


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

    def test_shards_have_a_bounded_number_of_rows(self, tmp_path):
        batch = pa.RecordBatch.from_pydict({"n": pa.array(range(10), pa.int64())})
        with encode.ExampleWriter(tmp_path, rows_per_shard=4) as writer:
            writer.write(batch)
            writer.write(batch)
        shards = sorted(tmp_path.iterdir())
        assert [path.name for path in shards] == [f"data_tfrecord-{index:05d}-of-00005.gz" for index in range(5)]
        assert [row["n"] for row in decoded(shards)] == [*range(10), *range(10)]

    def test_nothing_has_a_final_name_before_the_end(self, tmp_path):
        with encode.ExampleWriter(tmp_path) as writer:
            writer.write(ROWS)
            assert not list(tmp_path.glob("[!.]*"))

    def test_an_error_leaves_nothing(self, tmp_path):
        with pytest.raises(AttributeError), encode.ExampleWriter(tmp_path, rows_per_shard=2) as writer:
            writer.write(_BrokenAfter(ROWS))
        assert not list(tmp_path.iterdir())

    def test_no_rows_make_no_file(self, tmp_path):
        with encode.ExampleWriter(tmp_path / "Split-eval") as writer:
            writer.write(ROWS.slice(0, 0))
        assert not list((tmp_path / "Split-eval").iterdir())

    def test_takes_filtered_and_sliced_batches(self, tmp_path):
        with encode.ExampleWriter(tmp_path) as writer:
            writer.write(ROWS.filter(pa.array([False, True, True])).slice(1))
        assert [row["count"] for row in decoded(tmp_path.iterdir())] == [-3]


class TestFrame:
    def test_many_lengths_and_none(self, tmp_path):
        content = [bytes([length % 256]) * length for length in np.random.default_rng(0).integers(0, 3000, 200)]
        (tmp_path / "t.gz").write_bytes(gzip.compress(encode.frame(content)))
        assert records(tmp_path / "t.gz") == content
        assert encode.frame([]) == b""


@pytest.mark.tensorflow
def test_tensorflow_reads_the_shards(tmp_path):
    import tensorflow as tf

    with encode.ExampleWriter(tmp_path) as writer:
        writer.write(ROWS)
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
