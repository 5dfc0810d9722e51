"""Pools and batches: what is held at once, and which rows are in them."""

import numpy as np
import pytest
import tensorflow as tf

from components.training import examples
from components.transform.columns import Columns
from components.validation import schema_file

pytestmark = pytest.mark.tensorflow

SCHEMA = """
feature { name: "text" type: BYTES }
feature { name: "intent" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""
COLUMNS = Columns.of(schema_file.parse(SCHEMA), ["text"], "intent")


def as_they_are(features):
    return {"text": features["text"].values, "label": tf.zeros([tf.size(features["text"].values)], tf.int64)}


@pytest.fixture
def write(tmp_path, as_example):
    """Writes texts as files of examples, and returns what reads their pools."""

    def write(*files):
        for number, texts in enumerate(files):
            with tf.io.TFRecordWriter(str(tmp_path / f"part-{number:02}.gz"), "GZIP") as writer:
                for text in texts:
                    writer.write(as_example({"text": text, "intent": "a"}))
        return lambda **options: examples.transformed_pools([str(tmp_path / "*.gz")], COLUMNS, as_they_are, 0, **options)

    return write


def rows(pools):
    return [text for pool in pools for text in pool["text"].numpy().tolist()]


class TestPools:
    def test_of_short_texts_have_all_rows_there_may_be(self, write):
        read = write([str(number) for number in range(5000)])
        assert [len(pool["label"]) for pool in read()] == [4096, 904]

    def test_of_long_texts_have_few(self, write):
        read = write([f"{number} " + 4000 * "x" for number in range(1100)])
        assert [len(pool["label"]) for pool in read()] == [256, 256, 256, 256, 76]

    def test_of_huge_texts_are_still_worth_shuffling(self, write):
        read = write([f"{number} " + 100_000 * "x" for number in range(130)])
        assert [len(pool["label"]) for pool in read()] == [64, 64, 2]

    def test_have_all_rows_of_many_files_once_in_an_order_of_the_seed(self, write):
        texts = [[f"{file}-{number}" for number in range(30)] for file in range(20)]
        read = write(*texts)
        first, second = rows(read()), rows(read())
        assert first == second != sorted(first)
        assert sorted(first) == sorted(text.encode() for file in texts for text in file)

    def test_come_in_another_order_by_order_seed(self, write):
        read = write([f"{number} " + 4000 * "x" for number in range(4096)])
        tf.random.set_seed(0)
        kept, mixed = ([pool["text"].numpy().tolist() for pool in read(order_seed=seed)] for seed in (None, 1))
        assert kept != mixed
        assert sorted(kept) == sorted(mixed)


class TestBatches:
    def test_have_each_row_once_mixed_among_pools(self):
        pools = tf.data.Dataset.from_tensor_slices(np.arange(300)).batch(100).map(lambda row: {"row": row, "label": row % 3})
        tf.random.set_seed(0)
        batches = list(examples.batches(pools, ["row"], 3, 32, seed=0))
        drawn = np.concatenate([features["row"] for features, _ in batches])
        assert sorted(drawn) == list(range(300))
        assert (np.diff(drawn[:32]) != 1).any()
        assert [int(features["row"][0]) // 100 for features, _ in batches[:3]] == [0, 1, 2]
        for features, labels in batches:
            np.testing.assert_array_equal(np.argmax(labels, axis=1), features["row"] % 3)

    def test_keep_the_order_without_a_seed(self):
        pools = tf.data.Dataset.from_tensors({"row": np.arange(5), "label": np.array([0, 1, -1, 0, 1])})
        [(features, labels), (rest, _)] = examples.batches(pools, ["row"], 2, 3, None)
        assert [*features["row"].numpy(), *rest["row"].numpy()] == list(range(5))
        assert labels.numpy().tolist() == [[1, 0], [0, 1], [0, 0]]
