"""What is known of stock TFX's split and vocabulary before it runs."""

import hashlib

import pytest

from benchmarks import stock_tfx


def test_labels_are_placed_by_frequency_then_backwards_by_name():
    assert stock_tfx.label_places({"a": 3, "b": 5, "c": 3, "d": 0}) == {"b": 0, "c": 1, "a": 2, "d": 3}


@pytest.mark.tensorflow
@pytest.mark.parametrize("group", ["turn on", "größer", "x" * 300])
def test_a_groups_split_is_that_of_tfxs_example_gen(group):
    import tensorflow as tf
    from tfx.components.example_gen import base_example_gen_executor
    from tfx.proto import example_gen_pb2

    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[group.encode()]))
    example = tf.train.Example(features=tf.train.Features(feature={"template": feature}))
    config = example_gen_pb2.SplitConfig(partition_feature_name="template")
    key = base_example_gen_executor._GeneratePartitionKey(example, config)
    assert stock_tfx.trains_on(group) == (int(hashlib.sha256(key).hexdigest(), 16) % 10 < 8)
