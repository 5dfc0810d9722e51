"""What clients do, written once for all transports.

An operation is a generator: it yields the calls it needs, is sent their answers (or is thrown their errors), and returns a result. A
client drives it with its own transport, blocking, on an event loop, or over HTTP:

    call = operation.send(None)
    answer = ...                    # performed by the transport
    call = operation.send(answer)   # the next call, until StopIteration carries the result
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from serving.client import calls
from serving.client.calls import Call, ModelChoice, Pause
from serving.client.errors import (
    AccessDeniedError,
    ClientError,
    DeadlineExceededError,
    InvalidInputError,
    LoadFailedError,
    NotFoundError,
    SignatureNotFoundError,
    UnavailableError,
    UnsupportedError,
)
from serving.client.examples import ExampleBuilder, serialized
from serving.client.prediction import Prediction, VersionStatus
from serving.client.signatures import EXAMPLES_SIGNATURE, MetadataCache, ModelMetadata
from serving.messages import POOL, DataType, ModelServerConfig
from serving.tensors import Tensor

if TYPE_CHECKING:
    from serving.redaction.requests import RequestRedactor

DEFAULT_TIMEOUT = 1.0

Result = TypeVar("Result")
Operation = Generator[Call | Pause, Any, Result]

# While a model is waited for: how often it is asked after, and how long one question may take.
_FIRST_PAUSE, _LONGEST_PAUSE, _PAUSE_GROWTH = 0.05, 1.0, 1.5
_STATUS_TIMEOUT = 5.0


class Budget:
    """The time an operation may take, over all its calls."""

    def __init__(self, timeout: float, wait_for_ready: bool):
        """Starts the clock.

        Raises:
            InvalidInputError: The timeout is not a positive number of seconds.
        """
        if not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
            raise InvalidInputError(f"a timeout is a positive number of seconds, got {timeout!r}")
        self.timeout = timeout
        self.wait_for_ready = wait_for_ready
        self._end = time.monotonic() + timeout

    @property
    def left(self) -> float:
        """Seconds left; not positive if none are."""
        return self._end - time.monotonic()

    def call_timeout(self) -> float:
        """Seconds the next call may take.

        Raises:
            DeadlineExceededError: None are left.
        """
        left = self.left
        if left <= 0:
            raise DeadlineExceededError(f"no answer within {self.timeout:g} s")
        return left


class Operations:
    """The operations of one client.

    Attributes:
        cache: What is known about the models.
    """

    def __init__(
        self,
        *,
        timeout: float,
        wait_for_ready: bool,
        check_inputs: bool,
        cache: MetadataCache,
        redact: RequestRedactor | None = None,
    ):
        """Sets defaults.

        Args:
            timeout: Seconds an operation may take.
            wait_for_ready: Whether calls wait for a server that cannot be reached.
            check_inputs: Whether to fetch a model's metadata and to check and convert inputs with it.
            cache: Where that is kept.
            redact: Removes personal data from requests before they are sent; None if nothing does here.
        """
        Budget(timeout, wait_for_ready)
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._check_inputs = check_inputs
        self._redact = redact
        self.cache = cache
        # Models whose server does not give metadata away.
        self._silent: set[str] = set()

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Operation[Prediction]:
        """Runs a signature on raw columns; see `Client.predict`."""
        budget = self._budget(timeout, wait_for_ready)
        choice = ModelChoice(model, version, label)
        if not isinstance(inputs, Mapping):
            raise InvalidInputError(f"inputs are a dictionary of columns by name, got {type(inputs).__name__}")
        if self._redact is not None:
            inputs = self._redact.columns(inputs)
        wanted = tuple(outputs or ())

        def attempt(metadata: ModelMetadata | None) -> Operation[Prediction]:
            return self._predict(choice, metadata, inputs, signature, wanted, budget)

        try:
            return (yield from self._informed(choice, budget, attempt))
        except InvalidInputError as error:
            _note_rows(error, inputs)
            raise

    def predict_examples(
        self,
        model: str,
        rows: Any,
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        outputs: Iterable[str] | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Operation[Prediction]:
        """Runs a signature on serialized tf.Examples; see `Client.predict_examples`."""
        budget = self._budget(timeout, wait_for_ready)
        choice = ModelChoice(model, version, label)
        name_of_signature = signature or EXAMPLES_SIGNATURE
        column = Tensor.of(self._serialized(rows, builder), DataType.DT_STRING)
        wanted = tuple(outputs or ())

        def attempt(metadata: ModelMetadata | None) -> Operation[Prediction]:
            name = "inputs"
            if metadata is not None:
                found = metadata.signature(name_of_signature)
                if len(found.inputs) != 1:
                    raise InvalidInputError(
                        f"signature {found.name!r} takes more than tf.Examples, namely: {found.describe_inputs()}; use predict"
                    )
                [name] = found.inputs
            return self._predict(choice, metadata, {name: column}, name_of_signature, wanted, budget)

        return (yield from self._informed(choice, budget, attempt))

    def classify(
        self,
        model: str,
        rows: Any,
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Operation[Prediction]:
        """Runs Classify on tf.Examples; see `Client.classify`."""
        return (yield from self._on_examples(
            calls.Classify, ModelMetadata.classifier, ModelChoice(model, version, label), rows, builder, signature,
            self._budget(timeout, wait_for_ready),
        ))  # fmt: skip

    def regress(
        self,
        model: str,
        rows: Any,
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Operation[Prediction]:
        """Runs Regress on tf.Examples; see `Client.regress`."""
        return (yield from self._on_examples(
            calls.Regress, ModelMetadata.regressor, ModelChoice(model, version, label), rows, builder, signature,
            self._budget(timeout, wait_for_ready),
        ))  # fmt: skip

    def multi_inference(
        self,
        model: str,
        rows: Any,
        tasks: Sequence[tuple[str, str]],
        *,
        builder: ExampleBuilder | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Operation[list[Prediction]]:
        """Runs several signatures on the same tf.Examples; see `Client.multi_inference`."""
        budget = self._budget(timeout, wait_for_ready)
        choice = ModelChoice(model, version, label)
        if not tasks or any(method not in ("classify", "regress") for method, _ in tasks):
            raise InvalidInputError(
                "tasks are one or more pairs of a method, 'classify' or 'regress', and the name of a signature"
            )
        examples = self._serialized(rows, builder)
        predictions: list[Prediction] = yield calls.MultiInference(
            choice=choice,
            examples=examples,
            tasks=tuple(tasks),
            timeout=budget.call_timeout(),
            wait_for_ready=budget.wait_for_ready,
        )
        for prediction in predictions:
            self.cache.answered(choice, prediction.version)
        return predictions

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> Operation[ModelMetadata]:
        """Asks what a model takes and gives; see `Client.metadata`."""
        budget = self._budget(timeout, wait_for_ready)
        choice = ModelChoice(model, version, label)
        return (yield from self._fetch(choice, choice, budget))

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None, wait_for_ready: bool | None = None
    ) -> Operation[list[VersionStatus]]:
        """Asks how versions do; see `Client.status`."""
        budget = self._budget(timeout, wait_for_ready)
        statuses: list[VersionStatus] = yield calls.Status(
            choice=ModelChoice(model, version), timeout=budget.call_timeout(), wait_for_ready=budget.wait_for_ready
        )
        return statuses

    def wait_until_available(self, model: str, *, version: int | None = None, timeout: float = 60.0) -> Operation[VersionStatus]:
        """Waits until a version answers requests; see `Client.wait_until_available`."""
        budget = self._budget(timeout, True)
        choice = ModelChoice(model, version)
        pause, last = _FIRST_PAUSE, "no server could be reached"
        while budget.left > 0:
            try:
                statuses: list[VersionStatus] = yield calls.Status(
                    choice=choice, timeout=min(budget.left, _STATUS_TIMEOUT), wait_for_ready=True
                )
            except (NotFoundError, UnavailableError, DeadlineExceededError) as error:
                last = str(error)
            else:
                available = [status for status in statuses if status.available]
                if available:
                    return max(available, key=lambda status: status.version)
                if version is not None and statuses and statuses[-1].failed:
                    [failed] = statuses[-1:]
                    raise LoadFailedError(
                        f"version {version} of model {model} could not be loaded: {failed.error_code}: {failed.error_text}",
                        server_text=failed.error_text,
                    )
                last = ", ".join(f"version {status.version} is {status.state}" for status in statuses) or "it has no versions"
            yield Pause(max(min(pause, budget.left), 0.0))
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE)
        what = f"model {model}" if version is None else f"version {version} of model {model}"
        raise DeadlineExceededError(f"{what} was not available within {timeout:g} s; last seen: {last}")

    def reload_config(
        self, config: Any, *, metric_names: Iterable[str] = (), timeout: float = 60.0, wait_for_ready: bool | None = None
    ) -> Operation[dict[str, int]]:
        """Gives the server another configuration; see `Client.reload_config`."""
        budget = self._budget(timeout, wait_for_ready)
        if isinstance(config, str):
            config = _parsed_config(config)
        increases: dict[str, int] = yield calls.Reload(
            choice=ModelChoice(""),
            config=config,
            metric_names=tuple(metric_names),
            timeout=budget.call_timeout(),
            wait_for_ready=budget.wait_for_ready,
        )
        return increases

    def _budget(self, timeout: float | None, wait_for_ready: bool | None) -> Budget:
        return Budget(
            self._timeout if timeout is None else timeout, self._wait_for_ready if wait_for_ready is None else wait_for_ready
        )

    def _predict(
        self,
        choice: ModelChoice,
        metadata: ModelMetadata | None,
        columns: Mapping[str, Any],
        signature: str | None,
        outputs: tuple[str, ...],
        budget: Budget,
    ) -> Operation[Prediction]:
        known = None
        if metadata is None:
            tensors = {name: _unchecked(name, values) for name, values in columns.items()}
        else:
            known = metadata.signature(signature)
            tensors = known.tensors(columns)
            known.check_outputs(outputs)
        prediction: Prediction = yield calls.Predict(
            choice=choice,
            inputs=tensors,
            signature=signature or "",
            outputs=outputs,
            known=known,
            timeout=budget.call_timeout(),
            wait_for_ready=budget.wait_for_ready,
        )
        self.cache.answered(choice, prediction.version)
        return prediction

    def _on_examples(
        self,
        kind: type[calls.Classify] | type[calls.Regress],
        fitting: Callable[[ModelMetadata], str | None],
        choice: ModelChoice,
        rows: Any,
        builder: ExampleBuilder | None,
        signature: str | None,
        budget: Budget,
    ) -> Operation[Prediction]:
        examples = self._serialized(rows, builder)

        def call(name: str | None) -> Operation[Prediction]:
            prediction: Prediction = yield kind(
                choice=choice,
                examples=examples,
                signature=name or "",
                timeout=budget.call_timeout(),
                wait_for_ready=budget.wait_for_ready,
            )
            self.cache.answered(choice, prediction.version)
            return prediction

        if signature is not None:
            return (yield from call(signature))
        return (yield from self._informed(choice, budget, lambda metadata: call(fitting(metadata) if metadata else None)))

    def _serialized(self, rows: Any, builder: ExampleBuilder | None) -> Sequence[bytes]:
        examples = serialized(rows, builder)
        return examples if self._redact is None else self._redact.examples(examples)

    def _informed(
        self, choice: ModelChoice, budget: Budget, attempt: Callable[[ModelMetadata | None], Operation[Result]]
    ) -> Operation[Result]:
        """Makes an attempt with what is known of the model, and a second one if that failed because it was out of date."""
        metadata = yield from self._metadata_of(choice, budget)
        try:
            return (yield from attempt(metadata))
        except (InvalidInputError, SignatureNotFoundError):
            renewed = yield from self._renewed(choice, metadata, budget)
            if renewed is None:
                raise
        return (yield from attempt(renewed))

    def _metadata_of(self, choice: ModelChoice, budget: Budget) -> Operation[ModelMetadata | None]:
        """What is known of the model, fetched if it has to be; None if inputs go unchecked."""
        if not self._check_inputs or choice.model in self._silent:
            return None
        metadata, to_fetch = self.cache.lookup(choice)
        if to_fetch is None:
            return metadata
        try:
            return (yield from self._fetch(to_fetch, choice, budget))
        except (UnsupportedError, AccessDeniedError):
            self._silent.add(choice.model)
            return None
        except ClientError:
            if metadata is None:
                raise
            # The version that answered last may be gone again; what was known before is a fair guess.
            return metadata

    def _renewed(self, choice: ModelChoice, metadata: ModelMetadata | None, budget: Budget) -> Operation[ModelMetadata | None]:
        """Metadata of the version that answers now, if that is another than the one known so far."""
        if metadata is None or choice.version is not None:
            return None
        try:
            renewed = yield from self._fetch(choice, choice, budget)
        except ClientError:
            return None
        return None if renewed.version == metadata.version and renewed.signatures == metadata.signatures else renewed

    def _fetch(self, asked: ModelChoice, choice: ModelChoice, budget: Budget) -> Operation[ModelMetadata]:
        metadata: ModelMetadata = yield calls.Metadata(
            choice=asked, timeout=budget.call_timeout(), wait_for_ready=budget.wait_for_ready
        )
        self.cache.learned(choice, metadata)
        return metadata


def _unchecked(name: str, values: Any) -> Tensor:
    """A tensor of the type that its values have by themselves."""
    if isinstance(values, Tensor):
        return values
    try:
        return Tensor.of(values)
    except (TypeError, ValueError) as refused:
        if isinstance(refused, UnicodeEncodeError):
            raise InvalidInputError(f"input {name!r} has text that UTF-8 cannot carry: half of a surrogate pair") from None
        raise InvalidInputError(f"input {name!r} cannot be made a tensor: {refused}") from None


def _note_rows(error: ClientError, columns: Mapping[str, Any]) -> None:
    """Adds to a server's complaint what often is its reason: columns of different lengths."""
    sizes = {name: len(values) for name, values in columns.items() if isinstance(values, list | tuple)}
    if len(set(sizes.values())) > 1:
        error.add_note("columns have different numbers of rows: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))


def _parsed_config(text: str) -> Any:
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, ModelServerConfig(), descriptor_pool=POOL)
    except text_format.ParseError as error:
        raise InvalidInputError(f"not a ModelServerConfig in text form: {error}") from error
