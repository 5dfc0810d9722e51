import shutil

import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.transform.columns import NUMBERS
from components.transform.saved_graph import SavedGraph
from tests.components import raw_rows

pytestmark = pytest.mark.tensorflow

SCHEMA = """
feature { name: "text" type: BYTES }
feature { name: "price" type: FLOAT }
feature { name: "label" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""
RAW = {"text": tf.io.VarLenFeature(tf.string), "price": tf.io.VarLenFeature(tf.float32)}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    rows = [{"text": f"order {number % 4}", "price": float(number), "label": "ab"[number % 2]} for number in range(40)]
    config = {"schema": SCHEMA, "text": ["text"], "label": "label", "encoder": {"name": "tokens"}}
    return tft.TFTransformOutput(str(raw_rows.analyse(rows, config, tmp_path_factory.mktemp("graph"))))


def parsed(*rows):
    return tf.io.parse_example([raw_rows.serialized(row) for row in rows], RAW)


def values_of(features):
    return {
        name: tensor.to_list() if hasattr(tensor, "to_list") else tensor.numpy().tolist() for name, tensor in features.items()
    }


def test_it_makes_what_tensorflow_transforms_own_layer_makes(output):
    raw = parsed({"text": "order 3", "price": 12.0}, {"text": "something else"})
    found = values_of(SavedGraph(output)(raw))
    assert found == values_of(output.transform_features_layer()(raw))
    assert NUMBERS in found
    assert "label" not in found


class Holder(tf.Module):
    def __init__(self, graph):
        super().__init__()
        self._graph = graph

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def serve(self, serialized):
        features = self._graph(tf.io.parse_example(serialized, RAW))
        return {name: tensor.to_tensor() if hasattr(tensor, "to_tensor") else tensor for name, tensor in features.items()}


def test_what_holds_it_is_saved_with_its_vocabularies(output, tmp_path):
    own = tmp_path / "graph"
    shutil.copytree(output.transform_savedmodel_dir, own / tft.TFTransformOutput.TRANSFORM_FN_DIR)
    shutil.copytree(f"{output.transform_savedmodel_dir}/../transformed_metadata", own / "transformed_metadata")
    holder = Holder(SavedGraph(tft.TFTransformOutput(str(own))))
    asked = tf.constant([raw_rows.serialized({"text": "order 3", "price": 12.0})])
    before = values_of(holder.serve(asked))
    tf.saved_model.save(holder, str(tmp_path / "saved"))
    shutil.rmtree(own)
    assert values_of(tf.saved_model.load(str(tmp_path / "saved")).serve(asked)) == before
