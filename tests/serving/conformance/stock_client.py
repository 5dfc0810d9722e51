"""Calls a server as the guides of TensorFlow Serving do: grpcio and the stubs of tensorflow-serving-api, nothing of ours.

    python stock_client.py HOST:PORT

The stubs need TensorFlow's messages only. An empty package in TensorFlow's place lets them be imported in a third of a second; its own
__init__ would take ten.
"""

import importlib.util
import json
import sys
import types

package = types.ModuleType("tensorflow")
package.__path__ = importlib.util.find_spec("tensorflow").submodule_search_locations
sys.modules["tensorflow"] = package

# ruff: noqa: E402  # the empty package comes first
import grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def main(target):
    """Prints what the calls are answered as one JSON object."""
    channel = grpc.insecure_channel(target)
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)

    words = predict_pb2.PredictRequest()
    words.model_spec.name = "text"
    words.inputs["text"].dtype = types_pb2.DT_STRING
    words.inputs["text"].tensor_shape.dim.add().size = 2
    words.inputs["text"].string_val.extend([b"kitchen", b"K\xc3\xbcche"])
    answered = prediction.Predict(words, 10.0)

    labels = classification_pb2.ClassificationRequest()
    labels.model_spec.name, labels.model_spec.signature_name = "examples", "classify_labels"
    labels.input.example_list.examples.add().features.feature["x"].float_list.value.append(0.25)
    classified = prediction.Classify(labels, 10.0).result.classifications[0].classes

    status = models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=words.model_spec), 10.0)
    about = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=words.model_spec, metadata_field=["signature_def"])
    signatures = get_model_metadata_pb2.SignatureDefMap()
    prediction.GetModelMetadata(about, 10.0).metadata["signature_def"].Unpack(signatures)

    words.model_spec.name = "absent"
    try:
        refused = str(prediction.Predict(words, 10.0))
    except grpc.RpcError as error:
        refused = f"{error.code().name}: {error.details()}"
    sys.stdout.write(
        json.dumps(
            {
                "twice": [text.decode() for text in answered.outputs["twice"].string_val],
                "bytes": list(answered.outputs["bytes"].int_val),
                "version": answered.model_spec.version.value,
                "classes": {entry.label: entry.score for entry in classified},
                "states": {entry.version: entry.state for entry in status.model_version_status},
                "inputs": list(signatures.signature_def["serving_default"].inputs),
                "refused": refused,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
