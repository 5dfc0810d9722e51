"""A log of sampled requests with their answers, for looking at, training on, and warming models up with.

    log = RequestLog(RequestLogOptions(pathlib.Path("/var/log/parlance"), sampling_rate=0.1))
    log.start()
    if log.samples():
        log.record(request, response, seconds=0.003, origin="GRPC")
    log.close()

Files are TFRecords of `PredictionLog`: what TensorFlow Serving calls a logged request, what its warm-up files hold, and what tf.data
reads. Requests that failed are not logged, so every record can warm a model up. In `log_metadata`:

    model_spec         the model's name, the version that answered, the signature
    sampling_config    the share of requests that is logged
    saved_model_tags   the tags of the graph that answered
    timestamp_secs     when it was answered
    request_origin     "GRPC latency_us=2140": how it came, and the microseconds its answer took. PredictionLog has no field of its own
                       for that; `latency_seconds` reads it back.

Personal data is removed from strings before they reach the disk: from string tensors, from features of tf.Examples, also serialized
ones inside string tensors, of requests and answers. Numbers stay. A record whose strings cannot be redacted is not written. What the
model that answered removes from its input is removed by its own rules first, so that the log has its text as the model saw it; then
whatever else looks like personal data goes.

Requests never wait for this. They leave what is to be logged in a queue that has a limit; one thread takes it from there, and what
does not fit is dropped and counted. A full disk pauses the log, with one warning, and it tries again later.

In the directory, `requests-TIME-PROCESS.tfrecord` are finished files. One being written ends in `.partial`; a crash leaves it behind,
perhaps with a torn record at its end, and the next start of a log in this directory cuts that off and finishes the file.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import fcntl
import logging
import os
import pathlib
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from serving import redaction, tensors, tfrecords
from serving.messages import DataType, PredictionLog, SequenceExample
from serving.server.errors import StatusCode
from serving.server.flags import ServerOptions

logger = logging.getLogger(__name__)

_MIB = 1 << 20
_SUFFIX = ".tfrecord"
_PARTIAL = ".partial"
_LATENCY = re.compile(r"latency_us=(\d+)")
_KINDS = {
    "PredictRequest": "predict_log",
    "ClassificationRequest": "classify_log",
    "RegressionRequest": "regress_log",
    "MultiInferenceRequest": "multi_inference_log",
}


@dataclasses.dataclass(frozen=True, slots=True)
class RequestLogOptions:
    """Where and how much to log.

    Attributes:
        directory: Of the files; made if missing, readable by this user only.
        sampling_rate: Share of the requests to log, 0 to 1.
        max_bytes: All files of the directory together; the oldest finished ones are deleted to stay below.
        file_bytes: Size at which a file is finished; at most a quarter of `max_bytes` counts.
        file_seconds: Age at which it is.
        tags: The tags of the graphs that answer.
        record_bytes: Larger requests with their answers are not logged.
        queue_records: Records that may wait to be written.
        queue_bytes: Their size together.
        retry_seconds: Pause after the disk refused a write.
    """

    directory: pathlib.Path
    sampling_rate: float = 0.01
    max_bytes: int = 256 * _MIB
    file_bytes: int = 16 * _MIB
    file_seconds: float = 3600.0
    tags: tuple[str, ...] = ("serve",)
    record_bytes: int = 4 * _MIB
    queue_records: int = 1000
    queue_bytes: int = 32 * _MIB
    retry_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.sampling_rate <= 1:
            raise ValueError(f"the sampling rate is a share from 0 to 1, got {self.sampling_rate}")
        if self.max_bytes < _MIB or self.file_bytes < 1 or self.file_seconds <= 0:
            raise ValueError("the request log needs at least 1 MiB, and files of some size and age")


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """A request that waits to be written."""

    request: Any
    response: Any
    seconds: float
    origin: str
    answered: float
    size: int


# Removes from a text what a model of this name and version removes; None for none.
RedactAs = Callable[[str, int], Callable[[str], str] | None]
# Model name and what became of a record: OK (written), RESOURCE_EXHAUSTED (no room in the queue or on the disk, or too large) or
# INTERNAL (could not be redacted).
Observer = Callable[[str, StatusCode], None]


class RequestLog:
    """Writes sampled requests to files. Thread-safe."""

    def __init__(
        self,
        options: RequestLogOptions,
        redact: Callable[[str], str] = redaction.redact,
        observe: Observer | None = None,
        choose: Callable[[], float] = random.random,
    ):
        """A log that does not write yet.

        Args:
            options: Where and how much.
            redact: Removes personal data from a text.
            observe: Told what became of each sampled request, for metrics.
            choose: Numbers evenly spread over [0, 1), to sample by.
        """
        self._options = options
        self._redact = redact
        self._redact_as: RedactAs = lambda model, version: None
        self._observe = observe or (lambda model, status: None)
        self._choose = choose
        self._queue: collections.deque[_Entry] = collections.deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._files = _Files(options)
        self._thread = threading.Thread(target=self._work, name="request-log", daemon=True)

    def start(self) -> None:
        """Prepares the directory, finishes what a crash left there, and writes from now on.

        Raises:
            OSError: The directory cannot be made or read.
        """
        self._files.prepare()
        self._thread.start()

    def redact_as(self, redact_as: RedactAs) -> None:
        """Removes from now on what the model that answered removes from its input, by its own rules."""
        self._redact_as = redact_as

    def close(self, timeout: float = 5.0) -> None:
        """Writes what is queued, as far as that takes no longer than `timeout` seconds, and finishes the file."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def samples(self) -> bool:
        """Decides whether the request at hand is to be logged: at random."""
        return self._choose() < self._options.sampling_rate

    def record(self, request: Any, response: Any, *, seconds: float, origin: str) -> None:
        """Logs a request that was answered, soon. Never raises, never waits.

        Args:
            request: The request message; not to be changed any more.
            response: The response message, with the version that answered; not to be changed any more.
            seconds: From the request's arrival to its answer.
            origin: How it came: "GRPC" or "REST".
        """
        model = ""
        try:
            model = _answering(response).name
            size = request.ByteSize() + response.ByteSize()
            entry = _Entry(request, response, seconds, origin, time.time(), size)
            with self._changed:
                fits = (
                    not self._stopping
                    and size <= self._options.record_bytes
                    and len(self._queue) < self._options.queue_records
                    and self._queued_bytes + size <= self._options.queue_bytes
                )
                if fits:
                    self._queue.append(entry)
                    self._queued_bytes += size
                    if len(self._queue) == 1:
                        self._changed.notify()
            if not fits:
                self._observe(model, StatusCode.RESOURCE_EXHAUSTED)
        except Exception as error:
            # A log is no reason to fail a request.
            logger.error("Request log: unexpected %s", type(error).__name__)
            self._observe(model, StatusCode.INTERNAL)

    # On the thread that writes

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue and not self._stopping:
                    self._changed.wait(1.0)
                entries = list(self._queue)
                self._queue.clear()
                self._queued_bytes = 0
                last = self._stopping
            try:
                self._write(entries)
                self._files.tick(last)
            except Exception as error:
                # Not its text: it may quote a request.
                logger.error("Request log: unexpected %s", type(error).__name__)
            if last:
                return
            if entries:
                # Under load, many records a time: fewer wake-ups, which all cost requests a little.
                time.sleep(0.02)

    def _write(self, entries: list[_Entry]) -> None:
        for entry in entries:
            model = _answering(entry.response).name
            try:
                record = tfrecords.framed(self._logged(entry).SerializeToString())
            except Exception as error:
                logger.error("Request log: a request was not logged, as redacting it failed: %s", type(error).__name__)
                self._observe(model, StatusCode.INTERNAL)
                continue
            self._observe(model, StatusCode.OK if self._files.append(record) else StatusCode.RESOURCE_EXHAUSTED)

    def _logged(self, entry: _Entry) -> Any:
        """The PredictionLog of a request, redacted."""
        log = PredictionLog()
        content = getattr(log, _KINDS[entry.request.DESCRIPTOR.name])
        content.request.CopyFrom(entry.request)
        content.response.CopyFrom(entry.response)
        answered = _answering(entry.response)
        _redact(content, _both(self._redact_as(answered.name, answered.version.value), self._redact))
        metadata = log.log_metadata
        metadata.model_spec.CopyFrom(answered)
        metadata.sampling_config.sampling_rate = self._options.sampling_rate
        metadata.saved_model_tags.extend(self._options.tags)
        metadata.timestamp_secs = int(entry.answered)
        metadata.request_origin = f"{entry.origin} latency_us={max(round(entry.seconds * 1e6), 0)}"
        return log


def from_flags(options: ServerOptions, observe: Observer | None = None) -> RequestLog | None:
    """The log that the command line asks for, None if it asks for none.

    Args:
        options: The command line; its numbers are in range.
        observe: Told what became of each sampled request.
    """
    if not options.request_log_dir:
        return None
    settings = RequestLogOptions(
        directory=pathlib.Path(options.request_log_dir),
        sampling_rate=options.request_log_sampling_rate,
        max_bytes=options.request_log_max_mib * _MIB,
        file_seconds=options.request_log_file_seconds,
        tags=options.tags,
    )
    return RequestLog(settings, observe=observe)


def latency_seconds(log: Any) -> float | None:
    """How long the answer took to the request of a PredictionLog (ours or tensorflow_serving's); None if it does not say."""
    found = _LATENCY.search(log.log_metadata.request_origin)
    return None if found is None else int(found[1]) / 1e6


def finished_files(directory: pathlib.Path) -> list[pathlib.Path]:
    """The files of a request log that are complete, oldest first."""
    return sorted(directory.glob(f"requests-*{_SUFFIX}"))


class _Files:
    """The files of a log. Used by one thread, after `prepare`."""

    def __init__(self, options: RequestLogOptions):
        self._options = options
        self._file_bytes = min(options.file_bytes, options.max_bytes // 4)
        self._path: pathlib.Path | None = None
        self._descriptor = -1
        self._size = 0
        self._opened = 0.0
        self._resume = 0.0
        self._warned = False
        # Of the finished files: looked at once, as another look for each record would be slow.
        self._finished: dict[pathlib.Path, int] = {}

    def prepare(self) -> None:
        directory = self._options.directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(directory.glob(f"requests-*{_SUFFIX}{_PARTIAL}")):
            _finish_left_behind(path)
        self._look()

    def append(self, record: bytes) -> bool:
        """Writes a record; whether it is in the file."""
        if time.monotonic() < self._resume:
            return False
        try:
            if self._descriptor >= 0 and self._size and self._size + len(record) > self._file_bytes:
                self._finish()
            self._make_room(len(record))
            if self._descriptor < 0:
                self._open()
            self._put(record)
        except OSError as error:
            self._pause(error)
            return False
        if self._warned:
            logger.warning("Request log: writing again to %s", self._options.directory)
            self._warned = False
        return True

    def tick(self, last: bool) -> None:
        """Finishes the file if it is old enough, or if this is the end."""
        if self._descriptor >= 0 and (last or time.monotonic() - self._opened >= self._options.file_seconds):
            try:
                self._finish()
            except OSError as error:
                self._pause(error)

    def _put(self, record: bytes) -> None:
        left = memoryview(record)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # A part of a record would spoil what follows it.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(record)

    def _open(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        name = f"requests-{now:%Y%m%dT%H%M%S.%f}Z-{os.getpid()}{_SUFFIX}{_PARTIAL}"
        path = self._options.directory / name
        # Again if someone deleted it meanwhile.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Held as long as this process lives: tells a start of another that this file is not left behind.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path, self._size, self._opened = path, 0, time.monotonic()

    def _finish(self) -> None:
        descriptor, path, size = self._descriptor, self._path, self._size
        self._descriptor, self._path, self._size = -1, None, 0
        if path is None:
            return
        try:
            os.fsync(descriptor)
            if size:
                finished = path.with_name(path.name.removesuffix(_PARTIAL))
                path.rename(finished)
            else:
                path.unlink()
        finally:
            os.close(descriptor)
        self._look()
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Deletes the oldest finished files until so many bytes fit."""
        total = sum(self._finished.values()) + self._size + size
        while total > self._options.max_bytes and self._finished:
            oldest = min(self._finished, key=lambda path: path.name)
            total -= self._finished.pop(oldest)
            oldest.unlink(missing_ok=True)

    def _look(self) -> None:
        self._finished = {}
        for path in finished_files(self._options.directory):
            with contextlib.suppress(FileNotFoundError):
                self._finished[path] = path.stat().st_size

    def _pause(self, error: OSError) -> None:
        self._resume = time.monotonic() + self._options.retry_seconds
        if not self._warned:
            logger.warning(
                "Request log: %s; requests are not logged, next try in %g s", error.strerror, self._options.retry_seconds
            )
            self._warned = True


def _finish_left_behind(path: pathlib.Path) -> None:
    """Finishes a file that a process did not get to finish; not one of a process that lives."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        size = tfrecords.complete_bytes(path)
        if size:
            file.truncate(size)
            path.rename(path.with_name(path.name.removesuffix(_PARTIAL)))
        else:
            path.unlink()


def _answering(response: Any) -> Any:
    """The ModelSpec of what answered."""
    return response.model_spec if "model_spec" in response.DESCRIPTOR.fields_by_name else response.results[0].model_spec


def _both(first: Callable[[str], str] | None, second: Callable[[str], str]) -> Callable[[str], str]:
    return second if first is None else lambda text: second(first(text))


def _redact(content: Any, redact: Callable[[str], str]) -> None:
    """Removes personal data from a PredictLog, ClassifyLog, RegressLog or MultiInferenceLog."""
    # Nobody here knows what they hold.
    content.DiscardUnknownFields()
    request, response = content.request, content.response
    if content.DESCRIPTOR.name == "PredictLog":
        request.ClearField("client_id")
        request.ClearField("request_options")
        _redact_tensors(request.inputs, redact)
        _redact_tensors(response.outputs, redact)
        return
    kind = request.input.WhichOneof("kind")
    if kind is not None:
        examples = getattr(request.input, kind)
        for example in examples.examples:
            _redact_features(example.features.feature, redact)
        if kind == "example_list_with_context":
            _redact_features(examples.context.features.feature, redact)
    results = response.results if content.DESCRIPTOR.name == "MultiInferenceLog" else [response]
    for result in results:
        found = result.classification_result if hasattr(result, "classification_result") else result.result
        for classified in getattr(found, "classifications", ()):
            for entry in classified.classes:
                entry.label = redact(entry.label)


def _redact_tensors(protos: Mapping[str, Any], redact: Callable[[str], str]) -> None:
    for proto in protos.values():
        if proto.dtype != DataType.DT_STRING:
            continue
        if proto.tensor_content:
            proto.CopyFrom(tensors.to_proto(tensors.from_proto(proto)))
        proto.string_val[:] = [_redacted(value, redact) for value in proto.string_val]


def _redact_features(features: Mapping[str, Any], redact: Callable[[str], str]) -> None:
    for feature in features.values():
        if feature.WhichOneof("kind") == "bytes_list":
            feature.bytes_list.value[:] = [_redacted(value, redact) for value in feature.bytes_list.value]


def _redacted(value: bytes, redact: Callable[[str], str]) -> bytes:
    """A string without personal data: a text, or a serialized tf.Example or tf.SequenceExample."""
    if value[:1] in (b"\x0a", b"\x12"):
        # A SequenceExample's context is what an Example has in its place.
        example = SequenceExample()
        with contextlib.suppress(DecodeError):
            example.ParseFromString(value)
            example.DiscardUnknownFields()
            if example.context.feature or example.feature_lists.feature_list:
                _redact_features(example.context.feature, redact)
                for features in example.feature_lists.feature_list.values():
                    for feature in features.feature:
                        if feature.WhichOneof("kind") == "bytes_list":
                            feature.bytes_list.value[:] = [_redacted(entry, redact) for entry in feature.bytes_list.value]
                return bytes(example.SerializeToString())
    return redact(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
