"""Prints, as JSON, the fields of the installed TensorFlow and TensorFlow Serving messages; imports their protos, not TensorFlow.

Run in a process of its own: the bare packages put in place here would stay.
"""

import importlib
import importlib.util
import json
import sys
import types

from serving import messages

MODULES = (
    "tensorflow.core.example.example_pb2",
    "tensorflow.core.protobuf.config_pb2",
    "tensorflow.core.protobuf.named_tensor_pb2",
    "tensorflow.core.protobuf.saved_model_pb2",
    "tensorflow_serving.apis.classification_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.inference_pb2",
    "tensorflow_serving.apis.model_management_pb2",
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
    "tensorflow_serving.apis.regression_pb2",
    "tensorflow_serving.config.file_system_storage_path_source_pb2",
)


def described(message):
    """The fields of a message by name, and those of its nested messages."""
    fields = {
        field.name: [
            field.number,
            field.type,
            field.is_repeated,
            (field.message_type or field.enum_type).full_name if field.message_type or field.enum_type else "",
            field.containing_oneof.name if field.containing_oneof else "",
        ]
        for field in message.fields
    }
    yield message.full_name, fields
    for enum in message.enum_types:
        yield enum.full_name, {value.name: value.number for value in enum.values}
    for nested in message.nested_types:
        yield from described(nested)


def all_described(pool, names):
    """The same for messages and enumerations of a pool, by full name; names the pool does not know are left out."""
    found = {}
    for name in names:
        try:
            found.update(described(pool.FindMessageTypeByName(name)))
        except KeyError:
            try:
                found[name] = {value.name: value.number for value in pool.FindEnumTypeByName(name).values}
            except KeyError:
                continue
    return found


def main():
    """Prints {"ours": ..., "upstream": ..., "read_by_upstream": the names in a request of ours as upstream's class reads them}."""
    for package in ("tensorflow", "tensorflow_serving"):
        bare = types.ModuleType(package)
        bare.__path__ = importlib.util.find_spec(package).submodule_search_locations
        sys.modules[package] = bare
    for module in MODULES:
        importlib.import_module(module)
    from google.protobuf import descriptor_pool
    from tensorflow_serving.apis import predict_pb2

    names = [
        value.DESCRIPTOR.full_name
        for value in vars(messages).values()
        if hasattr(getattr(value, "DESCRIPTOR", None), "full_name")
    ]
    request = messages.PredictRequest(model_spec=messages.ModelSpec(name="beside"))
    request.inputs["x"].float_val.append(1.5)
    read = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    found = {
        "ours": all_described(messages.POOL, names),
        "upstream": all_described(descriptor_pool.Default(), names),
        "read_by_upstream": [read.model_spec.name, list(read.inputs["x"].float_val)],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
