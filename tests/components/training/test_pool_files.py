"""Transformed rows kept in files: the same rows, as often as they are read, and none where there is no space."""

import errno
import logging

import numpy as np
import pytest
import tensorflow as tf

from components.training import pool_files

pytestmark = pytest.mark.tensorflow

POOLS = 5


class Source:
    """A split of five pools that counts how often it is transformed."""

    def __init__(self, pools=POOLS):
        self.pools = pools
        self.readings = 0

    def __call__(self, seed):
        self.readings += 1
        numbers = tf.data.Dataset.range(self.pools)
        return numbers.map(
            lambda number: {
                "text_0": tf.RaggedTensor.from_row_lengths(tf.range(6, dtype=tf.int64) + 2**24 - number, [4, 0, 2]),
                "numbers": tf.cast([[number], [0], [1]], tf.float32) / 3,
                "label": tf.stack([number, 0, -1]),
            }
        )


def kept(folder, source, **options):
    seen = []
    read = pool_files.keep(source, str(folder / "train"), lambda pool: seen.append(int(pool["label"][0])), **options)
    assert seen == list(range(source.pools))
    return read


def order(read, seed):
    return [int(pool["label"][0]) for pool in read(seed)]


class TestKeep:
    def test_reads_what_was_there_without_transforming_it_again(self, tmp_path):
        source = Source()
        read = kept(tmp_path, source)
        for pool, expected in zip(read(None), source(None), strict=True):
            assert {name: values.dtype for name, values in pool.items()} == {
                name: values.dtype for name, values in expected.items()
            }
            assert pool["text_0"].to_list() == expected["text_0"].to_list()
            np.testing.assert_array_equal(pool["numbers"], expected["numbers"])
            np.testing.assert_array_equal(pool["label"], expected["label"])
        assert order(read, None) == list(range(POOLS))
        assert source.readings == 2

    def test_keeps_what_is_known_of_shapes(self, tmp_path):
        source = Source()
        assert kept(tmp_path, source)(0).element_spec == source(None).element_spec

    def test_has_another_order_in_every_epoch_and_the_same_by_seed(self, tmp_path):
        read = kept(tmp_path, Source())
        tf.random.set_seed(0)
        epochs = read(3)
        first, second = [[int(pool["label"][0]) for pool in epochs] for _ in range(2)]
        assert sorted(first) == sorted(second) == list(range(POOLS))
        assert first != second
        tf.random.set_seed(0)
        assert order(read, 3) == first

    def test_an_empty_split_has_no_pools(self, tmp_path):
        assert list(kept(tmp_path, Source(0))(1)) == []


class TestWithoutSpace:
    def test_rows_are_transformed_anew_and_nothing_is_left_on_the_disk(self, tmp_path, caplog):
        source = Source()
        with caplog.at_level(logging.INFO, "components.training.pool_files"):
            read = kept(tmp_path, source, most_bytes=400)
        assert [message for message in caplog.messages if "do not fit" in message]
        assert not list(tmp_path.iterdir())
        assert order(read, None) == order(read, None) == list(range(POOLS))
        assert source.readings == 3

    def test_a_disk_that_others_fill_meanwhile_is_no_failure(self, tmp_path, monkeypatch):
        source = Source()
        monkeypatch.setattr(pool_files, "open", refuse(errno.ENOSPC), raising=False)
        read = kept(tmp_path, source)
        assert not list(tmp_path.iterdir())
        assert order(read, None) == list(range(POOLS))

    def test_other_errors_are(self, tmp_path, monkeypatch):
        monkeypatch.setattr(pool_files, "open", refuse(errno.EACCES), raising=False)
        with pytest.raises(PermissionError):
            pool_files.keep(Source(), str(tmp_path / "train"), lambda pool: None)


def refuse(number):
    def fail(path, *arguments, **options):
        raise OSError(number, "refused", str(path))

    return fail
