"""Warm-up requests: what TF Serving replays when it loads a version, so that the first real request is not a slow one.

They are made up. Rows of the evaluation split would be closer to life, but they are what people wrote, and a model folder is
copied to places with other readers and another retention than the data. Texts are a few fixed, harmless sentences of several
lengths and scripts; categories and numbers come from the domains of the curated schema, and columns without one get a neutral
value. Columns that may be missing are missing in some requests, so that the model's branch for that is warm too.
"""

from __future__ import annotations

import tempfile

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.validation import schema_file

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
            request.inputs[feature.name].CopyFrom(tf.make_tensor_proto(_value(feature, domains, number)))
        built.append(request)
    return built


def requests_file(schema: schema_pb2.Schema, model_name: str, count: int) -> bytes:
    """Returns the requests as TF Serving reads them, a TFRecord file of PredictionLogs; empty if count is 0."""
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            for request in requests(schema, model_name, count):
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString())
        return file.read()


def _value(feature: schema_pb2.Feature, domains: dict[str, list[str]], number: int) -> np.ndarray:
    """The value of one column in request `number`, shape [1]."""
    missing = feature.presence.min_fraction < 1 and number % 4 == 3
    if feature.type == schema_pb2.FLOAT:
        value = np.nan if missing else _between(feature.float_domain, number)
        return np.array([value], np.float32)
    if feature.type == schema_pb2.INT:
        return np.array([_between(feature.int_domain, number)], np.int64)
    choices = domains.get(feature.domain) or list(feature.string_domain.value) or TEXTS
    return np.array(["" if missing else choices[number % len(choices)]], object)


def _between(domain: schema_pb2.FloatDomain | schema_pb2.IntDomain, number: int) -> float:
    """A limit of a numeric domain, lower and upper in turn; 0 where there is none."""
    limits = [getattr(domain, side) for side in ("min", "max") if domain.HasField(side)]
    return limits[number % len(limits)] if limits else 0
