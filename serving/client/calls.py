"""Calls to a model server, whatever carries them: plain values that an operation asks a transport to perform.

A transport turns `Predict` into a PredictRequest over gRPC or a JSON document over HTTP, and the answer into a `Prediction`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serving.client.errors import InvalidInputError
from serving.tensors import Tensor

if TYPE_CHECKING:
    from serving.client.signatures import Signature


@dataclasses.dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which version of a model answers: one number, the one that has a label now, or the highest loaded one.

    Attributes:
        model: The model's name.
        version: A version number.
        label: A version label.
    """

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise InvalidInputError("a version or a label chooses who answers, not both")


@dataclasses.dataclass(slots=True, kw_only=True)
class Call:
    """One remote procedure call.

    Attributes:
        choice: Which model.
        timeout: Seconds until the caller gives up, retries included.
        wait_for_ready: Wait for a server that cannot be reached instead of failing.
    """

    choice: ModelChoice
    timeout: float
    wait_for_ready: bool = False

    # The name of the remote procedure, as in its service.
    method = ""

    def sent(self) -> Iterator[bytes]:
        """The strings that are sent, which must not appear in an error's message."""
        yield from ()

    @property
    def signature_name(self) -> str:
        """The signature that is asked for; empty for the default or where there is none."""
        return ""


@dataclasses.dataclass(slots=True, kw_only=True)
class Predict(Call):
    """Runs a signature on tensors.

    Attributes:
        inputs: By name.
        signature: The signature's name; empty for the server's default.
        outputs: Which outputs to return; empty for all.
        known: What is known of the signature, for transports whose answers do not carry types.
    """

    inputs: Mapping[str, Tensor]
    signature: str = ""
    outputs: tuple[str, ...] = ()
    known: Signature | None = None

    method = "Predict"

    def sent(self) -> Iterator[bytes]:
        for tensor in self.inputs.values():
            if tensor.array.dtype == object:
                yield from _strings(tensor.array.ravel().tolist())

    @property
    def signature_name(self) -> str:
        return self.signature


@dataclasses.dataclass(slots=True, kw_only=True)
class _OfExamples(Call):
    """Runs a signature on tf.Examples.

    Attributes:
        examples: Serialized.
        signature: The signature's name; empty for the server's default.
    """

    examples: Sequence[bytes]
    signature: str = ""

    def sent(self) -> Iterator[bytes]:
        return _strings(self.examples)

    @property
    def signature_name(self) -> str:
        return self.signature


@dataclasses.dataclass(slots=True, kw_only=True)
class Classify(_OfExamples):
    """Runs a signature on tf.Examples and gets labels with scores."""

    method = "Classify"


@dataclasses.dataclass(slots=True, kw_only=True)
class Regress(_OfExamples):
    """Runs a signature on tf.Examples and gets one number for each."""

    method = "Regress"


@dataclasses.dataclass(slots=True, kw_only=True)
class MultiInference(Call):
    """Runs several signatures of one model on the same tf.Examples.

    Attributes:
        examples: Serialized.
        tasks: Pairs of a method, "classify" or "regress", and the name of a signature.
    """

    examples: Sequence[bytes]
    tasks: tuple[tuple[str, str], ...]

    method = "MultiInference"

    def sent(self) -> Iterator[bytes]:
        return _strings(self.examples)


@dataclasses.dataclass(slots=True, kw_only=True)
class Metadata(Call):
    """Asks what a model takes and gives."""

    method = "GetModelMetadata"


@dataclasses.dataclass(slots=True, kw_only=True)
class Status(Call):
    """Asks how the versions of a model do."""

    method = "GetModelStatus"


@dataclasses.dataclass(slots=True, kw_only=True)
class Reload(Call):
    """Gives a server another configuration. `choice` names no model.

    Attributes:
        config: A ModelServerConfig.
        metric_names: Counters whose increase to report.
    """

    config: Any
    metric_names: tuple[str, ...] = ()

    method = "HandleReloadConfigRequest"


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Waits between two calls.

    Attributes:
        seconds: How long.
    """

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class CallRecord:
    """What an observer learns about a finished call; nothing of what was sent.

    Attributes:
        method: The remote procedure, e.g. "Predict".
        model: The model's name.
        version: The version that answered, or the one asked for if there was no answer or it did not say.
        label: The label asked for.
        signature: The signature asked for.
        code: The name of the status code, "OK" for success.
        seconds: How long it took, retries included.
    """

    method: str
    model: str
    version: int | None
    label: str | None
    signature: str
    code: str
    seconds: float


def record(call: Call, answer: Any, code: str, seconds: float) -> CallRecord:
    """The record of a call that has ended."""
    version = getattr(answer, "version", None) or call.choice.version
    return CallRecord(call.method, call.choice.model, version, call.choice.label, call.signature_name, code, seconds)


def _strings(values: Iterable[bytes]) -> Iterator[bytes]:
    """Strings, and those inside of the ones that are tf.Examples."""
    from google.protobuf.message import DecodeError

    from serving.messages import Example

    for value in values:
        yield value
        try:
            features = Example.FromString(value).features.feature
        except DecodeError:
            continue
        for feature in features.values():
            yield from feature.bytes_list.value
