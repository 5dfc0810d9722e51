"""Warm-up requests: what TF Serving replays when it loads a version, so that the first real request is not a slow one.

They are made up. Rows of the evaluation split would be closer to life, but they are what people wrote, and a model folder is
copied to places with other readers and another retention than the data. Texts are a few fixed, harmless sentences of several
lengths and scripts; categories and numbers come from the domains of the curated schema, and columns without one get a neutral
value. Columns that may be missing are missing in some requests, so that the model's branch for that is warm too.

Requests and their file are put together from protos here, because importing TensorFlow for it would take longer than all the rest of
a push.
"""

from __future__ import annotations

import math

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.validation import schema_file
from serving import tfrecords

SIGNATURE = "serving_default"

TEXTS = (
    "hello",
    "please turn on the light in the kitchen",
    "¿Cuál es el estado de mi pedido?",
    "今天天气怎么样",
    "Wie kann ich mein Passwort zurücksetzen?",
    "สวัสดี",
    "مرحبا كيف حالك",
    "I would like to know how long the delivery takes, whether I can still change the address, and what it costs to return it.",
)
"""Written for this purpose; nobody's message."""


def requests(schema: schema_pb2.Schema, model_name: str, count: int) -> list[predict_pb2.PredictRequest]:
    """Returns requests of one row each for the signature `serving_default`: every model input by name, shape [1].

    Args:
      schema: The curated schema; features in the environment SERVING are the model's inputs.
      model_name: The servable's name.
      count: How many.
    """
    inputs = schema_file.model_inputs(schema)
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    built = []
    for number in range(count):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model_name
        request.model_spec.signature_name = SIGNATURE
        for feature in inputs:
            request.inputs[feature.name].CopyFrom(_tensor(feature, domains, number))
        built.append(request)
    return built


def requests_file(schema: schema_pb2.Schema, model_name: str, count: int) -> bytes:
    """Returns the requests as TF Serving reads them, a TFRecord file of PredictionLogs; empty if count is 0."""
    logs = [
        prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
        for request in requests(schema, model_name, count)
    ]
    return b"".join(tfrecords.framed(log.SerializeToString()) for log in logs)


def _tensor(feature: schema_pb2.Feature, domains: dict[str, list[str]], number: int) -> tensor_pb2.TensorProto:
    """The value of one column in request `number`, shape [1]."""
    tensor = tensor_pb2.TensorProto()
    tensor.tensor_shape.dim.add(size=1)
    missing = feature.presence.min_fraction < 1 and number % 4 == 3
    if feature.type == schema_pb2.FLOAT:
        tensor.dtype = types_pb2.DT_FLOAT
        tensor.float_val.append(math.nan if missing else _between(feature.float_domain, number))
    elif feature.type == schema_pb2.INT:
        tensor.dtype = types_pb2.DT_INT64
        tensor.int64_val.append(int(_between(feature.int_domain, number)))
    else:
        choices = domains.get(feature.domain) or list(feature.string_domain.value) or TEXTS
        tensor.dtype = types_pb2.DT_STRING
        tensor.string_val.append(b"" if missing else choices[number % len(choices)].encode())
    return tensor


def _between(domain: schema_pb2.FloatDomain | schema_pb2.IntDomain, number: int) -> float:
    """A limit of a numeric domain, lower and upper in turn; 0 where there is none."""
    limits = [getattr(domain, side) for side in ("min", "max") if domain.HasField(side)]
    return limits[number % len(limits)] if limits else 0
