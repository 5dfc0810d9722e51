import google_crc32c
import pytest

from serving import tfrecords

RECORDS = [b"", b"a", bytes(range(256)) * 10]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(b"".join(map(tfrecords.framed, RECORDS)))
    return path


def test_frames_are_the_formats():
    assert tfrecords.framed(b"a")[:8] == bytes([1, 0, 0, 0, 0, 0, 0, 0])
    checksum = google_crc32c.value(b"a")
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert tfrecords.framed(b"a")[-4:] == masked.to_bytes(4, "little")


def test_records_come_back(file):
    assert list(tfrecords.complete_records(file)) == RECORDS
    assert tfrecords.complete_bytes(file) == file.stat().st_size


@pytest.mark.parametrize("missing", [1, 4, 5, 2000, 2570])
def test_a_torn_record_at_the_end_is_ignored(file, missing):
    whole = file.read_bytes()
    file.write_bytes(whole[:-missing])
    assert list(tfrecords.complete_records(file)) == RECORDS[:-1]
    assert tfrecords.complete_bytes(file) == len(whole) - 2560 - 16


@pytest.mark.parametrize("place", [16 + 0, 16 + 9, 16 + 12, 16 + 14])
def test_reading_ends_at_damage(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert list(tfrecords.complete_records(file)) == RECORDS[:1]


@pytest.mark.tensorflow
def test_tensorflow_reads_and_writes_the_same(file, tmp_path):
    import tensorflow as tf

    assert [record.numpy() for record in tf.data.TFRecordDataset(str(file))] == RECORDS
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert (tmp_path / "theirs").read_bytes() == file.read_bytes()
