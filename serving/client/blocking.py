"""The calls of clients that wait for answers, over gRPC or HTTP."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from serving.client import calls
from serving.client.calls import Call, CallRecord
from serving.client.errors import ClientError
from serving.client.examples import ExampleBuilder
from serving.client.operations import Operation, Operations, Result
from serving.client.prediction import Prediction, VersionStatus
from serving.client.signatures import ModelMetadata


class BlockingClient(abc.ABC):
    """What `Client` and `RestClient` have in common. Thread-safe; a context manager."""

    _operations: Operations
    _on_call: Callable[[CallRecord], None] | None

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the connection; later calls fail."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

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
    ) -> Prediction:
        """Runs a model on raw columns.

            client.predict("intents", {"text": ["turn on the light", "stop"]}).labels
            client.predict("taxi", {"fare": 12, "company": None, ...}, label="canary").abstained

        Args:
            model: The model's name.
            inputs: By input: a list, a numpy array, or a scalar, which stands for that value in every row. str is sent as UTF-8.
                Types are converted to the model's where no value changes. None means absent to models of Parlance's.
            version: The version that shall answer; by default the highest loaded one.
            label: The label of the version that shall answer, e.g. "stable"; not together with `version`.
            signature: The signature to run; by default `serving_default`.
            outputs: The outputs to return; by default all.
            timeout: Seconds this may take, retries included; by default the client's.
            wait_for_ready: Whether to wait for a server that cannot be reached, instead of failing; by default the client's.

        Raises:
            ClientError: One of its kinds, see `serving.client.errors`; InvalidInputError lists what the model takes.
        """
        return self._drive(
            self._operations.predict(
                model,
                inputs,
                version=version,
                label=label,
                signature=signature,
                outputs=outputs,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

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
    ) -> Prediction:
        """Runs a signature whose only input is a column of serialized tf.Examples.

        Args:
            model: The model's name.
            rows: tf.Examples (of ours or TensorFlow's), their bytes, or dictionaries for `builder`.
            builder: Makes tf.Examples of dictionaries.
            version: See `predict`.
            label: See `predict`.
            signature: By default `serving_examples`.
            outputs: See `predict`.
            timeout: See `predict`.
            wait_for_ready: See `predict`.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(
            self._operations.predict_examples(
                model,
                rows,
                builder=builder,
                version=version,
                label=label,
                signature=signature,
                outputs=outputs,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

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
    ) -> Prediction:
        """Classifies tf.Examples by a signature with `classes` and `scores`; the prediction has these two outputs, both [B, C].

        Args:
            model: The model's name.
            rows: See `predict_examples`.
            builder: See `predict_examples`.
            version: See `predict`.
            label: See `predict`.
            signature: By default `serving_default`, or the model's only signature that classifies.
            timeout: See `predict`.
            wait_for_ready: See `predict`.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(
            self._operations.classify(
                model,
                rows,
                builder=builder,
                version=version,
                label=label,
                signature=signature,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

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
    ) -> Prediction:
        """Gets a number for each tf.Example by a signature with `outputs`; see `Prediction.values`.

        Args:
            model: The model's name.
            rows: See `predict_examples`.
            builder: See `predict_examples`.
            version: See `predict`.
            label: See `predict`.
            signature: By default `serving_default`, or the model's only signature that regresses.
            timeout: See `predict`.
            wait_for_ready: See `predict`.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(
            self._operations.regress(
                model,
                rows,
                builder=builder,
                version=version,
                label=label,
                signature=signature,
                timeout=timeout,
                wait_for_ready=wait_for_ready,
            )
        )

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
    ) -> ModelMetadata:
        """Asks the server what a model takes and gives. Calls that need this fetch it themselves, once for each version.

        Args:
            model: The model's name.
            version: See `predict`.
            label: See `predict`.
            timeout: See `predict`.
            wait_for_ready: See `predict`.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(
            self._operations.metadata(model, version=version, label=label, timeout=timeout, wait_for_ready=wait_for_ready)
        )

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None, wait_for_ready: bool | None = None
    ) -> list[VersionStatus]:
        """Asks how the versions of a model do, also those that have ended. Sorted by version.

        Args:
            model: The model's name.
            version: Of which version; by default of all.
            timeout: See `predict`.
            wait_for_ready: See `predict`.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(self._operations.status(model, version=version, timeout=timeout, wait_for_ready=wait_for_ready))

    def wait_until_available(self, model: str, *, version: int | None = None, timeout: float = 60.0) -> VersionStatus:
        """Waits until a model answers, also for the server to come up and for the model to be configured.

        Args:
            model: The model's name.
            version: The version that shall answer; by default any.
            timeout: Seconds to wait at most.

        Returns:
            The status of the version; of the highest one that answers if any may.

        Raises:
            LoadFailedError: The server could not load this version.
            DeadlineExceededError: It was not available in time; the text tells what was seen last.
            ClientError: Another of its kinds, e.g. if the server asks for credentials.
        """
        return self._drive(self._operations.wait_until_available(model, version=version, timeout=timeout))

    def _drive(self, operation: Operation[Result]) -> Result:
        """Performs an operation's calls until it has its result."""
        try:
            step = next(operation)
            while True:
                if isinstance(step, calls.Pause):
                    time.sleep(step.seconds)
                    step = operation.send(None)
                    continue
                try:
                    answer = self._observed(step)
                except ClientError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(answer)
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]

    def _observed(self, call: Call) -> Any:
        observer = self._on_call
        if observer is None:
            return self._perform(call)
        started = time.perf_counter()
        answer, code = None, "OK"
        try:
            answer = self._perform(call)
            return answer
        except ClientError as error:
            code = error.code
            raise
        finally:
            observer(calls.record(call, answer, code, time.perf_counter() - started))

    @abc.abstractmethod
    def _perform(self, call: Call) -> Any:
        """Makes one call.

        Raises:
            ClientError: It failed.
        """


class ServerAdministration(BlockingClient):
    """Calls that only gRPC offers."""

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
    ) -> list[Prediction]:
        """Runs several signatures of one model on the same tf.Examples, in one pass.

        Args:
            model: The model's name.
            rows: See `predict_examples`.
            tasks: Pairs of "classify" or "regress" and the name of a signature.
            builder: See `predict_examples`.
            version: See `predict`.
            label: See `predict`.
            timeout: See `predict`.
            wait_for_ready: See `predict`.

        Returns:
            One prediction for each task, as `classify` and `regress` return them.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(
            self._operations.multi_inference(
                model, rows, tasks, builder=builder, version=version, label=label, timeout=timeout, wait_for_ready=wait_for_ready
            )
        )

    def reload_config(
        self, config: Any, *, metric_names: Iterable[str] = (), timeout: float = 60.0, wait_for_ready: bool | None = None
    ) -> dict[str, int]:
        """Replaces the server's model configuration as a whole; models that are not in it are unloaded. Never retried.

        Args:
            config: A ModelServerConfig, or its text form.
            metric_names: Counters of the server whose increase to report.
            timeout: Seconds this may take; the server answers when new models are available.
            wait_for_ready: See `predict`.

        Returns:
            By how much each counter grew.

        Raises:
            ClientError: One of its kinds.
        """
        return self._drive(
            self._operations.reload_config(config, metric_names=metric_names, timeout=timeout, wait_for_ready=wait_for_ready)
        )
