"""Errors that a caller of the server sees: a status code and a text, in gRPC's terms.

    raise ServingError(StatusCode.NOT_FOUND, "Servable not found for request: Latest(intents)")

Texts are TensorFlow Serving's and the runtime's own, word for word: clients match on them. A text from the runtime may quote the
request (an unparseable tf.Example, say), so it goes to the caller and never into a log.
"""

from __future__ import annotations

import enum


class StatusCode(enum.IntEnum):
    """The status codes of gRPC, absl and `tensorflow.error.Code`; `grpc.StatusCode[code.name]` is gRPC's object for one."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ServingError(Exception):
    """A request, a load or a configuration is refused.

    Attributes:
        code: The status code, never OK.
        message: The text for the caller.
    """

    def __init__(self, code: StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class MalformedTensorError(ServingError):
    """A fed TensorProto cannot be decoded.

    Attributes:
        tensor: The name it was fed under, for a message in the caller's terms (`tensor parsing error: ALIAS`).
    """

    def __init__(self, tensor: str):
        super().__init__(StatusCode.INVALID_ARGUMENT, f"tensor parsing error: {tensor}")
        self.tensor = tensor
