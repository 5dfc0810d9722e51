"""Runs requests in batches, as TensorFlow Serving's batching session does.

    scheduler = BatchScheduler(BatchingOptions(max_batch_size=64, batch_timeout_micros=2000))
    model = BatchingModel(runtime.load(path, options), scheduler)
    model.run(feeds, fetches)       # waits for its batch

Rows of requests are put together along their first dimension, run once, and taken apart again. A batch runs when it is full or its
oldest request has waited long enough, and a thread is free. Only runs of a whole signature are batched, others pass through.

Requests share the fate of their batch, as upstream: shapes that differ without padding fail all of it. Types that differ do not, as
such requests are queued apart.

This is for semantics rather than speed: it pays off for models that take milliseconds for a row.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving import tensors
from serving.messages import BatchingParameters
from serving.server import config
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.runtime import LoadedModel
from serving.tensors import MalformedTensorProtoError, Tensor

PER_MODEL_FILE = "batching_params.pbtxt"
_DEFAULT_POOL = "model_server_batch_threads"
_MAX_PADDED_RANK = 6


class BatchMetrics(Protocol):
    """What is reported; `metrics.Metrics` is one."""

    def observe_batched_input(self, size: int) -> None:
        """A request of so many rows came in."""

    def observe_batch(self, size: int, padding: int, queued_seconds: Sequence[float], thread_pool: str) -> None:
        """A batch of so many rows, padding included, ran; its requests had waited for so long."""


@dataclasses.dataclass(frozen=True, slots=True)
class BatchingOptions:
    """BatchingParameters with their defaults.

    Attributes:
        max_batch_size: Most rows of a batch; where large requests are split, most rows of a request.
        batch_timeout_micros: How long a batch that is not full waits for more requests.
        max_enqueued_batches: Most batches that wait, per signature; more requests are refused.
        num_batch_threads: How many batches run at a time.
        thread_pool_name: Name in metrics.
        allowed_batch_sizes: Sizes that batches are padded to, ascending; none for any size.
        pad_variable_length_inputs: Pad requests of different shapes to the same one, instead of failing them.
        enable_large_batch_splitting: Split requests that do not fit into a batch.
        max_execution_batch_size: Most rows of a batch where large requests are split.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    thread_pool_name: str = _DEFAULT_POOL
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    @classmethod
    def of(cls, parameters: Any) -> BatchingOptions:
        """The options that a BatchingParameters message means.

        Raises:
            ServingError: INVALID_ARGUMENT; a size is not positive, or the allowed sizes do not end with the largest one.
        """
        given: dict[str, Any] = {
            field.name: getattr(parameters, field.name).value
            for field in parameters.DESCRIPTOR.fields
            if field.message_type is not None and parameters.HasField(field.name)
        }
        options = cls(
            allowed_batch_sizes=tuple(parameters.allowed_batch_sizes),
            pad_variable_length_inputs=parameters.pad_variable_length_inputs,
            **given,
        )
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads", "execution_size"):
            if getattr(options, name) < 1:
                raise _invalid(f"{name} must be positive; was {getattr(options, name)}")
        if options.batch_timeout_micros < 0:
            raise _invalid(f"batch_timeout_micros must be non-negative; was {options.batch_timeout_micros}")
        sizes, largest = options.allowed_batch_sizes, options.execution_size
        if any(size >= following for size, following in zip(sizes, sizes[1:], strict=False)):
            raise _invalid("allowed_batch_sizes entries must be monotonically increasing")
        if sizes and sizes[-1] != largest:
            rule = "be equal to max_execution_batch_size" if options.enable_large_batch_splitting else "match max_batch_size"
            raise _invalid(f"Last entry in allowed_batch_sizes must {rule}; last entry was {sizes[-1]}; expected {largest}")
        return options

    @property
    def execution_size(self) -> int:
        """Most rows of a batch."""
        if not self.enable_large_batch_splitting or self.max_execution_batch_size is None:
            return self.max_batch_size
        return self.max_execution_batch_size

    def padded_size(self, rows: int) -> int:
        """How many rows a batch of so many rows runs with."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


class _Task:
    """A request, or a part of one, that waits for its batch.

    Attributes:
        inputs: Values by tensor name.
        rows: Their first dimension.
        queued: When it came, `time.monotonic()`.
        timeout: Seconds it may wait; None for any.
        outputs: What came out, in the order of the queue's fetches, once done.
        error: Why nothing did, once done.
    """

    __slots__ = ("_done", "error", "inputs", "outputs", "queued", "rows", "timeout")

    def __init__(self, inputs: dict[str, Tensor], rows: int, timeout: float | None):
        self.inputs = inputs
        self.rows = rows
        self.queued = time.monotonic()
        self.timeout = timeout
        self.outputs: list[Tensor] = []
        self.error: ServingError | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def finish(self) -> None:
        self._done.release()

    def wait(self) -> None:
        self._done.acquire()

    def split(self, sizes: Sequence[int]) -> list[_Task]:
        """Parts with so many rows each."""
        parts, start = [], 0
        for size in sizes:
            inputs = {name: Tensor(value.dtype, value.array[start : start + size]) for name, value in self.inputs.items()}
            parts.append(_Task(inputs, size, self.timeout))
            start += size
        return parts


class _Queue:
    """The batches of one signature that wait; the last one is open for more requests. Guarded by the scheduler's lock."""

    def __init__(self, options: BatchingOptions, process: Callable[[list[_Task]], None]):
        self.process = process
        self._options = options
        self._batches: collections.deque[list[_Task]] = collections.deque([[]])
        self._open_rows = 0

    def add(self, task: _Task) -> list[_Task]:
        """Queues a task, in parts if need be.

        Raises:
            ServingError: INVALID_ARGUMENT or UNAVAILABLE; it is too large, or the queue is full.
        """
        options = self._options
        size = options.execution_size
        if task.rows > options.max_batch_size:
            raise _invalid(f"Task size {task.rows} is larger than maximum input batch size {options.max_batch_size}")
        left = size - self._open_rows
        new_batches = options.max_enqueued_batches - len(self._batches)
        if not options.enable_large_batch_splitting:
            sizes = [task.rows]
            full = task.rows > left and new_batches < 1
        else:
            first = min(left, task.rows)
            rest = task.rows - first
            sizes = ([first] if first or not rest else []) + [min(size, rest - start) for start in range(0, rest, size)]
            full = rest > new_batches * size
        if full:
            raise ServingError(
                StatusCode.UNAVAILABLE,
                f"The batch scheduling queue to which this task was submitted is full; currently {len(self._batches)} batches "
                f"enqueued and max_enqueued_batches is {options.max_enqueued_batches}",
            )
        parts = [task] if len(sizes) == 1 else task.split(sizes)
        for part in parts:
            if self._open_rows + part.rows > size:
                self._batches.append([])
                self._open_rows = 0
            self._batches[-1].append(part)
            self._open_rows += part.rows
        return parts

    def take(self, now: float) -> list[_Task] | None:
        """The next batch to run; None where none is due."""
        if len(self._batches) == 1:
            due = self.due()
            if due is None or due > now:
                return None
            self._batches.append([])
            self._open_rows = 0
        return self._batches.popleft()

    def due(self) -> float | None:
        """When a batch is to run; None while there is none."""
        if len(self._batches) > 1 or self._open_rows >= self._options.execution_size:
            return 0.0
        opened = self._batches[0]
        return opened[0].queued + self._options.batch_timeout_micros / 1e6 if opened else None


class BatchScheduler:
    """Threads that run batches of any number of models."""

    def __init__(self, options: BatchingOptions, metrics: BatchMetrics | None = None):
        """A scheduler whose threads run until `stop`."""
        self.options = options
        self.metrics = metrics
        self._changed = threading.Condition()
        self._queues: list[_Queue] = []
        self._next = 0
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(options.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def add_queue(self, process: Callable[[list[_Task]], None]) -> _Queue:
        """A queue whose batches a function processes."""
        queue = _Queue(self.options, process)
        with self._changed:
            self._queues.append(queue)
        return queue

    def remove_queue(self, queue: _Queue) -> None:
        """Forgets a queue that has nothing waiting."""
        with self._changed:
            self._queues.remove(queue)

    def run(self, queue: _Queue, task: _Task) -> list[_Task]:
        """Queues a task and waits until it is done; returns it, or its parts.

        Raises:
            ServingError: It cannot be queued.
        """
        with self._changed:
            parts = queue.add(task)
            self._changed.notify()
        for part in parts:
            part.wait()
        return parts

    def stop(self) -> None:
        """Ends the threads; what waits is still run."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                found = self._take()
                while found is None:
                    if self._stopped:
                        return
                    self._changed.wait(self._seconds_to_next())
                    found = self._take()
                if self._seconds_to_next() is not None:
                    self._changed.notify()
            queue, batch = found
            queue.process(batch)

    def _take(self) -> tuple[_Queue, list[_Task]] | None:
        """The next batch that is due, of each queue in turn; under the lock."""
        now = float("inf") if self._stopped else time.monotonic()
        for offset in range(len(self._queues)):
            index = (self._next + offset) % len(self._queues)
            batch = self._queues[index].take(now)
            if batch is not None:
                self._next = index + 1
                return self._queues[index], batch
        return None

    def _seconds_to_next(self) -> float | None:
        due = [when for queue in self._queues if (when := queue.due()) is not None]
        return max(min(due) - time.monotonic(), 0.0) if due else None


class BatchingModel:
    """A loaded model whose runs are batched; see `runtime.LoadedModel`."""

    def __init__(self, model: LoadedModel, scheduler: BatchScheduler, *, own_scheduler: bool = False):
        """Wraps a model.

        Args:
            model: The model, closed with this one.
            scheduler: What runs the batches.
            own_scheduler: Stop the scheduler when the model is closed.
        """
        self.signatures = model.signatures
        self.tags = model.tags
        self.tensorflow_version = model.tensorflow_version
        self._model = model
        self._scheduler = scheduler
        self._own_scheduler = own_scheduler
        self._declared = {
            (
                frozenset(info.name for info in signature.inputs.values()),
                frozenset(info.name for info in signature.outputs.values()),
            )
            for signature in model.signatures.values()
        }
        self._lock = threading.Lock()
        self._queues: dict[Any, _Queue] = {}

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int = 0) -> list[Tensor]:
        """See `runtime.LoadedModel.run`; waits for a batch."""
        names = frozenset(feeds), frozenset(fetches)
        if names not in self._declared:
            return self._model.run(feeds, fetches, timeout_ms)
        inputs = {name: _tensor(name, value) for name, value in feeds.items()}
        rows = _rows(inputs)
        metrics = self._scheduler.metrics
        if metrics is not None:
            metrics.observe_batched_input(rows)
        outputs = sorted(names[1])
        queue = self._queue(tuple(sorted((name, value.dtype) for name, value in inputs.items())), outputs)
        parts = self._scheduler.run(queue, _Task(inputs, rows, timeout_ms / 1000 if timeout_ms else None))
        for part in parts:
            if part.error is not None:
                raise ServingError(part.error.code, part.error.message)
        merged = (
            parts[0].outputs
            if len(parts) == 1
            else [_concatenated(same) for same in zip(*[p.outputs for p in parts], strict=True)]
        )
        by_name = dict(zip(outputs, merged, strict=True))
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """See `runtime.LoadedModel.close`."""
        with self._lock:
            queues, self._queues = self._queues, {}
        for queue in queues.values():
            self._scheduler.remove_queue(queue)
        if self._own_scheduler:
            self._scheduler.stop()
        self._model.close()

    def _queue(self, inputs: tuple[tuple[str, int], ...], outputs: list[str]) -> _Queue:
        key = inputs, tuple(outputs)
        queue = self._queues.get(key)
        if queue is None:
            with self._lock:
                queue = self._queues.get(key)
                if queue is None:
                    queue = self._queues[key] = self._scheduler.add_queue(lambda batch: self._process(batch, outputs))
        return queue

    def _process(self, batch: list[_Task], outputs: Sequence[str]) -> None:
        """Runs a batch and tells its tasks."""
        error: ServingError | None = None
        try:
            self._run_batch(batch, outputs)
        except ServingError as raised:
            error = raised
        except Exception as raised:
            error = ServingError(StatusCode.INTERNAL, f"Unexpected {type(raised).__name__} while running a batch.")
        for task in batch:
            task.error = error
            task.finish()

    def _run_batch(self, batch: list[_Task], outputs: Sequence[str]) -> None:
        options, now = self._scheduler.options, time.monotonic()
        left = [None if task.timeout is None else task.queued + task.timeout - now for task in batch]
        if all(seconds is not None and seconds <= 0 for seconds in left):
            raise ServingError(StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        timeouts = [seconds for seconds in left if seconds is not None]
        timeout_ms = int(max(timeouts) * 1000) + 1 if len(timeouts) == len(left) else 0
        rows = sum(task.rows for task in batch)
        size = options.padded_size(rows)
        if self._scheduler.metrics is not None:
            queued = [now - task.queued for task in batch]
            self._scheduler.metrics.observe_batch(size, size - rows, queued, options.thread_pool_name)
        feeds = {
            name: _merged(name, [task.inputs[name] for task in batch], size - rows, options.pad_variable_length_inputs)
            for name in batch[0].inputs
        }
        found = self._model.run(feeds, outputs, timeout_ms)
        for tensor in found:
            if not tensor.shape:
                raise ServingError(StatusCode.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if tensor.shape[0] != size:
                raise ServingError(
                    StatusCode.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
                )
        start = 0
        for task in batch:
            task.outputs = [Tensor(tensor.dtype, tensor.array[start : start + task.rows]) for tensor in found]
            start += task.rows


def per_model_options(path: pathlib.Path) -> BatchingOptions | None:
    """The batching options in a version's directory; None where it has none.

    Raises:
        ServingError: They cannot be read.
    """
    file = path / PER_MODEL_FILE
    return BatchingOptions.of(config.read_text_proto(file, BatchingParameters)) if file.exists() else None


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        return tensors.from_proto(value)
    except MalformedTensorProtoError as error:
        raise MalformedTensorError(name) from error


def _rows(inputs: Mapping[str, Tensor]) -> int:
    """The first dimension of all inputs."""
    if not inputs:
        raise _invalid("Batching session Run() must have at least one input tensor")
    if not all(value.shape for value in inputs.values()):
        raise _invalid("Batching session Run() input tensors must have at least one dimension")
    rows = {value.shape[0] for value in inputs.values()}
    if len(rows) > 1:
        raise _invalid("Batching session Run() input tensors must have equal 0th-dimension size")
    return rows.pop()


def _merged(name: str, values: Sequence[Tensor], padding: int, pad_shapes: bool) -> Tensor:
    """One tensor of all rows, with some more at the end that repeat the first row of the last value."""
    arrays = [value.array for value in values]
    if len({array.shape[1:] for array in arrays}) > 1:
        if not pad_shapes or len({array.ndim for array in arrays}) > 1:
            raise ServingError(
                StatusCode.FAILED_PRECONDITION,
                f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off."
                "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name"
                "have equal dimensions starting with the first dim.",
            )
        arrays = _padded(arrays)
    if padding and len(arrays[-1]):
        arrays = [*arrays, np.repeat(arrays[-1][:1], padding, axis=0)]
    return Tensor(values[0].dtype, arrays[0] if len(arrays) == 1 else np.concatenate(arrays))


def _padded(arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """Arrays of the same rank with all dimensions but the first as large as the largest; filled with an array's own first element."""
    if arrays[0].ndim > _MAX_PADDED_RANK:
        raise _invalid("Only tensors with rank from 1 to 6 can be padded.")
    largest = np.max([array.shape[1:] for array in arrays], axis=0)
    padded = []
    for array in arrays:
        if not array.size:
            raise _invalid("Got empty tensor in batch of non-empty tensors.")
        filled = np.full((len(array), *largest), array.flat[0], array.dtype)
        filled[tuple(slice(size) for size in array.shape)] = array
        padded.append(filled)
    return padded


def _concatenated(values: Sequence[Tensor]) -> Tensor:
    return Tensor(values[0].dtype, np.concatenate([value.array for value in values]))


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
