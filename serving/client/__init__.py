"""Clients of model servers that speak TensorFlow Serving's interfaces: TensorFlow's own, and Parlance's embedded one.

    from serving.client import Client

    with Client("127.0.0.1:8500") as client:
        prediction = client.predict("intents", {"text": ["turn on the kitchen light"]})
        prediction.labels, prediction.scores, prediction.version

No TensorFlow is imported. `Client` waits for answers and may be shared by threads, `AsyncClient` is its twin for asyncio, and
`RestClient` speaks HTTP and JSON with the standard library. Each call has a deadline (1 s unless told otherwise) that includes
retries, and fails with an error of one family, `ClientError`.
"""

from typing import TYPE_CHECKING, Any

from serving.client.calls import CallRecord
from serving.client.connection import RetryPolicy, Tls
from serving.client.errors import (
    AccessDeniedError,
    CallCancelledError,
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidInputError,
    LabelNotFoundError,
    LoadFailedError,
    MessageTooLargeError,
    MissingOutputError,
    ModelNotFoundError,
    NotFoundError,
    OverloadedError,
    ServerError,
    SignatureNotFoundError,
    UnavailableError,
    UnsupportedError,
    VersionNotFoundError,
)
from serving.client.examples import ExampleBuilder
from serving.client.grpc_clients import AsyncClient, Client
from serving.client.prediction import Prediction, VersionStatus
from serving.client.routing import label_for
from serving.client.signatures import ModelMetadata, Signature, TensorSpec

if TYPE_CHECKING:
    from serving.client.rest_client import RestClient

__all__ = [
    "AccessDeniedError",
    "AsyncClient",
    "CallCancelledError",
    "CallRecord",
    "Client",
    "ClientError",
    "DeadlineExceededError",
    "ExampleBuilder",
    "FailedPreconditionError",
    "InvalidInputError",
    "LabelNotFoundError",
    "LoadFailedError",
    "MessageTooLargeError",
    "MissingOutputError",
    "ModelMetadata",
    "ModelNotFoundError",
    "NotFoundError",
    "OverloadedError",
    "Prediction",
    "RestClient",
    "RetryPolicy",
    "ServerError",
    "Signature",
    "SignatureNotFoundError",
    "TensorSpec",
    "Tls",
    "UnavailableError",
    "UnsupportedError",
    "VersionNotFoundError",
    "VersionStatus",
    "label_for",
]


def __getattr__(name: str) -> Any:
    # HTTP takes 50 ms to import, which those who call over gRPC need not wait for.
    if name == "RestClient":
        from serving.client.rest_client import RestClient

        return RestClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
