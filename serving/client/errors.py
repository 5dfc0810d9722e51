"""What can go wrong between a caller and a model server, by kind.

Every error has the status `code` and keeps the server's own words in `server_text`. A server may quote a request in them (an
unparseable tf.Example, a JSON value of the wrong type), so `str(error)`, which ends up in logs, has all that was sent taken out of
it; log `str(error)`, never `server_text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

REMOVED = "[...]"

# What TensorFlow and TensorFlow Serving are known to quote from a request, whatever encoding they put it into: what stands before the
# quotation, and what stands after it if anything does. Of several candidates the last one counts: a message may hold any text.
_QUOTATIONS = tuple(
    re.compile(f"({before})(?:.*({after})|.*)", re.DOTALL)
    for before, after in (
        (r"Could not parse example input, value: '", r"'(?=\n\t \[\[)|'\Z"),
        (r"could not correctly convert string: ", r"\n\t (?=\[\[)"),
        (
            r"JSON [Vv]alue: |JSON object: (?=\{)",
            r" (?:Type: |to type: |to \w+ without loss|not formatted correctly|found at incorrect level|keys must be equal to: )",
        ),
    )
)
_ESCAPED = re.compile(r"[\\\"']")
# Shorter values are taken out where they stand alone: "on" is part of too many words that say what went wrong.
_SHORT = 4


class ClientError(Exception):
    """Base of all errors of this package.

    Attributes:
        code: The name of the gRPC status code, such as "UNAVAILABLE".
        server_text: The server's words as they came; None if the client itself refused. May quote the request: not for logs.
    """

    code = "UNKNOWN"

    def __init__(self, message: str, *, code: str | None = None, server_text: str | None = None):
        super().__init__(message)
        if code is not None:
            self.code = code
        self.server_text = server_text


class NotFoundError(ClientError, LookupError):
    """The server does not have what was asked for."""

    code = "NOT_FOUND"


class ModelNotFoundError(NotFoundError):
    """The server has no loaded version of a model of this name."""


class VersionNotFoundError(NotFoundError):
    """The server has the model, perhaps, but not this version of it."""


class LabelNotFoundError(NotFoundError):
    """No version of the model has this label."""


class SignatureNotFoundError(NotFoundError):
    """The model has no signature of this name."""


class InvalidInputError(ClientError, ValueError):
    """The request does not fit the model: names, types, shapes, or a tf.Example that it cannot parse."""

    code = "INVALID_ARGUMENT"


class FailedPreconditionError(ClientError):
    """The server is not in a state to do this, e.g. to label a version that is not available."""

    code = "FAILED_PRECONDITION"


class OverloadedError(ClientError):
    """The server has more requests than it can take: its queue is full, or the request spent its time waiting in it."""

    code = "RESOURCE_EXHAUSTED"


class MessageTooLargeError(ClientError):
    """The request or the response is larger than server or client accept."""

    code = "RESOURCE_EXHAUSTED"


class DeadlineExceededError(ClientError, TimeoutError):
    """There was no answer in time, retries included."""

    code = "DEADLINE_EXCEEDED"


class UnavailableError(ClientError):
    """No server could be reached, or it went away and retries did not help."""

    code = "UNAVAILABLE"


class AccessDeniedError(ClientError):
    """The server does not let this caller in."""

    code = "PERMISSION_DENIED"


class UnsupportedError(ClientError):
    """The server does not offer this call."""

    code = "UNIMPLEMENTED"


class CallCancelledError(ClientError):
    """The call was cancelled by the server or an interceptor."""

    code = "CANCELLED"


class LoadFailedError(ClientError):
    """The server could not load the version that was waited for; it does not try again by itself."""

    code = "FAILED_PRECONDITION"


class ServerError(ClientError):
    """The server, or something on the way to it, failed in a way no other error describes."""


class MissingOutputError(ClientError, LookupError):
    """A prediction does not have the outputs that a property of it needs."""

    code = "FAILED_PRECONDITION"


_BY_CODE: dict[str, type[ClientError]] = {
    "NOT_FOUND": NotFoundError,
    "INVALID_ARGUMENT": InvalidInputError,
    "OUT_OF_RANGE": InvalidInputError,
    "FAILED_PRECONDITION": FailedPreconditionError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "UNAVAILABLE": UnavailableError,
    "PERMISSION_DENIED": AccessDeniedError,
    "UNAUTHENTICATED": AccessDeniedError,
    "UNIMPLEMENTED": UnsupportedError,
    "CANCELLED": CallCancelledError,
}
# Texts that say more than their codes do: a label that is unknown is INVALID_ARGUMENT, an unknown signature any of two codes.
_BY_TEXT: tuple[tuple[re.Pattern[str], type[ClientError]], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"Servable not found for request: Specific\(|Could not find version \S+ of model ", VersionNotFoundError),
        (r"Servable not found for request: |Could not find any versions of model ", ModelNotFoundError),
        (r"Unrecognized servable version label: ", LabelNotFoundError),
        (r"Serving signature key \".*\" not found", SignatureNotFoundError),
        (r"No signature was found with the name: ", SignatureNotFoundError),
        (r"Requested signature not found in model graph: ", SignatureNotFoundError),
        (r"Serving signature name: \".*\" not found in signature def", SignatureNotFoundError),
        (r"The batch scheduling queue to which this task was submitted is full", OverloadedError),
        (r".* message larger than max", MessageTooLargeError),
    )
)


def of_status(code: str, text: str, sent: Callable[[], Iterable[bytes]] = tuple, prefix: str = "") -> ClientError:
    """The error for a status that a server, or the transport, answered with.

    Args:
        code: The name of the status code.
        text: The text that came with it.
        sent: Gives the strings of the request, which must not appear in the error's message.
        prefix: What the message says before the text.
    """
    kind = next((kind for pattern, kind in _BY_TEXT if pattern.match(text)), None)
    shown = without_quotations(text, sent())
    return (kind or _BY_CODE.get(code, ServerError))(f"{prefix}{shown}" if shown else code, code=code, server_text=text)


def without_quotations(text: str, sent: Iterable[bytes]) -> str:
    """A server's text without what it quotes from the request.

    Args:
        text: The server's text.
        sent: The strings of the request.
    """
    for quotation in _QUOTATIONS:
        text = quotation.sub(rf"\1{REMOVED}\2", text)
    for value in sorted(set(sent), key=len, reverse=True):
        for form in _forms(value):
            if len(form) >= _SHORT:
                text = text.replace(form, REMOVED)
            elif form.strip():
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", REMOVED, text)
    return text


def _forms(value: bytes) -> Iterable[str]:
    """The ways in which a text may show a string: as it is, escaped as C does, as JSON does. Longest first."""
    read = value.decode("utf-8", "replace")
    if read.isascii() and read.isprintable() and not _ESCAPED.search(read):
        return (read,)
    c_octal = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"\\\"'" else f"\\{byte:03o}" for byte in value)
    c_hex = "".join(chr(byte) if 32 <= byte < 127 and byte not in b"\\\"'" else f"\\x{byte:02x}" for byte in value)
    in_json = (json.dumps(read, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    return sorted({read, repr(value)[2:-1], c_octal, c_hex, *in_json}, key=len, reverse=True)
