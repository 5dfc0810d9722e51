"""The SavedModel: raw columns or serialized tf.Examples in, label strings and scores out, loadable by plain TensorFlow.

The preprocessing graph and the label strings travel inside.
"""

from __future__ import annotations

import functools
import keyword
import os
import re
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.core.protobuf import saved_model_pb2

from components.training.abstention import Abstention
from components.training.examples import raw_spec
from components.transform.columns import Columns
from components.transform.saved_graph import SavedGraph

SERVING_DEFAULT = "serving_default"
SERVING_EXAMPLES = "serving_examples"
EVALUATION = "evaluation"

# A request cannot leave an integer out of a column of a batch; this value says that it is absent, as NaN does for floats.
ABSENT_INTEGER = tf.int64.min


class Servable(tf.Module):
    """The exported model.

    Attributes:
      columns: What a request carries.
      classes: Label strings, in the order of the logits.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: tft.TFTransformOutput,
        columns: Columns,
        classes: Sequence[bytes],
        top_k: int,
        abstention: Abstention,
    ):
        """Joins the trained network and the preprocessing graph.

        Args:
          model: Maps transformed features to logits.
          transform: The preprocessing graph.
          columns: The model's columns.
          classes: Label strings, in the order of the logits.
          top_k: How many labels `serving_default` returns; at most all.
          abstention: When it abstains. It returns labels and scores all the same; what to do with them is the client's choice.
        """
        super().__init__()
        self.columns, self.classes = columns, tuple(classes)
        # Tracked as weights only: tracked as a model, Keras would add an endpoint of its own, for which ragged inputs are too much.
        self._weights = [variable.value for variable in model.variables]
        self._logits = functools.partial(model, training=False)
        self._inputs = tuple(model.input)
        self._preprocess = SavedGraph(transform)
        self._top_k = min(top_k, len(classes))
        self._abstention = abstention

    def serve_columns(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Answers raw columns.

        Args:
          raw: One tensor [B] per input, by column name. An empty string, NaN and `ABSENT_INTEGER` mean absent.

        Returns:
          `label` [B] string, `score` [B] float32, `top_labels` [B, k] string and `top_scores` [B, k] float32, best first;
          `abstained` [B] bool.
        """
        probabilities = self._probabilities({name: _sparse(values) for name, values in raw.items()})
        scores, indices = tf.math.top_k(probabilities, self._top_k)
        labels = tf.gather(tf.constant(self.classes), indices)
        return {
            "label": labels[:, 0],
            "score": scores[:, 0],
            "top_labels": labels,
            "top_scores": scores,
            "abstained": self._abstained(scores[:, 0], indices[:, 0]),
        }

    def serve_examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers serialized tf.Examples as TensorFlow Serving's Classify wants it, which takes these two outputs and no others.

        Args:
          inputs: Serialized examples, shape [B].

        Returns:
          `classes` [B, C] string and `scores` [B, C] float32, in vocabulary order.
        """
        scores = self._probabilities(tf.io.parse_example(inputs, raw_spec(self.columns, with_label=False)))
        return {"classes": tf.tile(tf.constant([self.classes]), [tf.shape(scores)[0], 1]), "scores": scores}

    def evaluate_examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers serialized tf.Examples with everything an evaluation asks for.

        Args:
          inputs: Serialized examples, shape [B].

        Returns:
          What `serve_examples` returns; `abstained` [B] bool; `abstain_threshold` [B] float32, the same in every row, 0 without a
          threshold.
        """
        answer = self.serve_examples(inputs)
        best, index = tf.math.top_k(answer["scores"], 1)
        threshold = tf.constant(self._abstention.threshold or 0.0, tf.float32)
        return {
            **answer,
            "abstained": self._abstained(best[:, 0], index[:, 0]),
            "abstain_threshold": tf.fill([tf.shape(best)[0]], threshold),
        }

    def save(self, directory: str) -> None:
        """Writes the SavedModel with its three signatures."""
        columns = {_placeholder(position, name): name for position, name in enumerate(self.columns.inputs)}
        types = {name: kind.dtype for name, kind in raw_spec(self.columns, with_label=False).items()}
        by_columns = tf.function(
            lambda **raw: self.serve_columns({columns[placeholder]: values for placeholder, values in raw.items()}),
            autograph=False,
        ).get_concrete_function(
            **{placeholder: tf.TensorSpec([None], types[name], placeholder) for placeholder, name in columns.items()}
        )
        serialized = tf.TensorSpec([None], tf.string, "inputs")
        signatures = {
            SERVING_DEFAULT: by_columns,
            SERVING_EXAMPLES: tf.function(self.serve_examples, autograph=False).get_concrete_function(serialized),
            EVALUATION: tf.function(self.evaluate_examples, autograph=False).get_concrete_function(serialized),
        }
        tf.saved_model.save(self, directory, signatures=signatures)
        renamed = {placeholder: name for placeholder, name in columns.items() if placeholder != name}
        if renamed:
            _rename_inputs(os.path.join(directory, tf.saved_model.SAVED_MODEL_FILENAME_PB), renamed)

    def _probabilities(self, raw: Mapping[str, tf.SparseTensor]) -> tf.Tensor:
        features = self._preprocess(raw)
        return tf.nn.softmax(self._logits({name: features[name] for name in self._inputs}))

    def _abstained(self, scores: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        """Says of top scores [B] and the indices of their labels [B] which are no answer, bool [B]."""
        abstained = tf.zeros_like(scores, tf.bool)
        if self._abstention.threshold is not None:
            # Written so that a score that is not a number is no answer either.
            abstained = tf.logical_not(scores >= self._abstention.threshold)
        if self._abstention.out_of_scope is not None:
            abstained |= tf.equal(indices, self._abstention.out_of_scope)
        return abstained


def _placeholder(position: int, column: str) -> str:
    """Returns the column's name where TensorFlow takes it for a parameter, a made-up one elsewhere."""
    usable = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", column) and not keyword.iskeyword(column)
    return column if usable else f"parlance_column_{position}"


def _sparse(values: tf.Tensor) -> tf.SparseTensor:
    """Returns a column [B] as tf.Examples would bring it, absent values left out, shape [B, 1]."""
    if values.dtype == tf.string:
        present = tf.not_equal(values, "")
    elif values.dtype == tf.int64:
        present = tf.not_equal(values, ABSENT_INTEGER)
    else:
        present = tf.math.is_finite(values)
    rows = tf.where(present)
    indices = tf.pad(rows, [[0, 0], [0, 1]])
    return tf.SparseTensor(indices, tf.gather(values, rows[:, 0]), tf.stack([tf.size(values, tf.int64), 1]))


def _rename_inputs(path: str, names: Mapping[str, str]) -> None:
    """Gives the inputs of `serving_default` names that `tf.saved_model.save` refuses, such as names with spaces.

    Args:
      path: The file saved_model.pb.
      names: New names by old ones.
    """
    with open(path, "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    graph = saved.meta_graphs[0]
    inputs = graph.signature_def[SERVING_DEFAULT].inputs
    for old, new in names.items():
        inputs[new].CopyFrom(inputs[old])
        del inputs[old]
    for node in graph.object_graph_def.nodes:
        if node.HasField("bare_concrete_function"):
            arguments = node.bare_concrete_function.argument_keywords
            arguments[:] = [names.get(argument, argument) for argument in arguments]
    with open(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
