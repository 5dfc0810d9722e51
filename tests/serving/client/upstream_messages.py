"""Compares the client's messages with those of tensorflow_serving: `python upstream_messages.py`, in a process of its own.

TensorFlow takes seconds to import and the comparison needs it in the same process as our messages, which is what it is about, too.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, predict_pb2, regression_pb2

from serving import messages
from serving.client import ExampleBuilder, calls, grpc_codec
from serving.client.calls import ModelChoice
from serving.tensors import Tensor


def exact(message):
    return message.SerializeToString(deterministic=True)


def compare_requests():
    """What the client sends is what tf.make_tensor_proto and the official messages would make of it."""
    columns = {"text": ["schalte das Licht an", "größer"], "fare": np.float32([1.5, 2.5]), "n": np.int64([1, 2])}
    call = calls.Predict(
        choice=ModelChoice("intents", version=3),
        inputs={name: Tensor.of(values) for name, values in columns.items()},
        signature="serving_default",
        outputs=("label",),
        timeout=1,
    )
    ours = grpc_codec.PROCEDURES[calls.Predict].request(call)
    theirs = predict_pb2.PredictRequest(output_filter=["label"])
    theirs.model_spec.name = "intents"
    theirs.model_spec.version.value = 3
    theirs.model_spec.signature_name = "serving_default"
    for name, values in columns.items():
        theirs.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    assert exact(ours) == exact(theirs)
    back = predict_pb2.PredictRequest.FromString(exact(ours))
    for name, values in columns.items():
        read = tf.make_ndarray(back.inputs[name]).tolist()
        assert read == [value.encode() if isinstance(value, str) else value for value in np.asarray(values).tolist()]


def compare_examples():
    """tf.Examples of the builder are TensorFlow's, and both kinds are taken."""
    built = ExampleBuilder({"text": str, "fare": float, "n": int}).build({"text": "größer", "fare": 3, "n": 4})
    features = tf.train.Features(
        feature={
            "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=["größer".encode()])),
            "fare": tf.train.Feature(float_list=tf.train.FloatList(value=[3.0])),
            "n": tf.train.Feature(int64_list=tf.train.Int64List(value=[4])),
        }
    )
    example = tf.train.Example(features=features)
    assert exact(built) == exact(example)
    parsed = tf.io.parse_single_example(exact(built), {"fare": tf.io.FixedLenFeature([], tf.float32)})
    assert parsed["fare"].numpy() == 3.0
    for kind, upstream in (
        (calls.Classify, classification_pb2.ClassificationRequest),
        (calls.Regress, regression_pb2.RegressionRequest),
    ):
        call = kind(choice=ModelChoice("intents", label="stable"), examples=[exact(example)], signature="s", timeout=1)
        theirs = upstream()
        theirs.model_spec.name = "intents"
        theirs.model_spec.version_label = "stable"
        theirs.model_spec.signature_name = "s"
        theirs.input.example_list.examples.add().CopyFrom(example)
        assert exact(grpc_codec.PROCEDURES[kind].request(call)) == exact(theirs)


def compare_responses():
    """Responses made of the official messages are read alike, whichever way their tensors are encoded."""
    outputs = {
        "label": tf.make_tensor_proto([b"on", b"off"]),
        "scores": tf.make_tensor_proto(np.float32([[0.25, 0.75], [0.5, 0.5]])),
        "abstained": tf.make_tensor_proto([True, False]),
        "half": tf.make_tensor_proto(np.float16([1.5, 2.5])),
        "brain": tf.make_tensor_proto(tf.constant([1.5, 2.5], tf.bfloat16).numpy()),
        "typed": tensor_pb2.TensorProto(
            dtype=tf.float32.as_datatype_enum, tensor_shape=tf.TensorShape([3]).as_proto(), float_val=[1.0, 2.0]
        ),
    }
    theirs = predict_pb2.PredictResponse(outputs=outputs)
    theirs.model_spec.name = "intents"
    theirs.model_spec.version.value = 3
    theirs.model_spec.signature_name = "serving_default"
    response = messages.PredictResponse.FromString(exact(theirs))
    assert exact(response) == exact(theirs)
    call = calls.Predict(choice=ModelChoice("intents"), inputs={}, timeout=1)
    prediction = grpc_codec.answer(grpc_codec.PROCEDURES[calls.Predict], call, response)
    assert (prediction.version, prediction.labels) == (3, ["on", "off"])
    for name, proto in outputs.items():
        expected = tf.make_ndarray(proto)
        assert prediction[name].tolist() == expected.astype(np.float32 if name == "brain" else expected.dtype).tolist(), name

    signatures = get_model_metadata_pb2.SignatureDefMap()
    with tf.Graph().as_default():
        tensor = tf.compat.v1.saved_model.build_tensor_info(tf.compat.v1.placeholder(tf.string, [None], name="text"))
    signatures.signature_def["serving_default"].inputs["text"].CopyFrom(tensor)
    described = get_model_metadata_pb2.GetModelMetadataResponse()
    described.model_spec.version.value = 3
    described.metadata["signature_def"].Pack(signatures)
    metadata = grpc_codec.answer(
        grpc_codec.PROCEDURES[calls.Metadata],
        calls.Metadata(choice=ModelChoice("intents"), timeout=1),
        messages.GetModelMetadataResponse.FromString(exact(described)),
    )
    assert metadata.version == 3
    assert str(metadata.signature(None).inputs["text"]) == "string [?]"


if __name__ == "__main__":
    compare_requests()
    compare_examples()
    compare_responses()
