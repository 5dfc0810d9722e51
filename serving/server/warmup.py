"""Runs a model's warm-up requests before it serves, so that the first real request is not a slow one.

They are PredictionLog records of the TFRecord file assets.extra/tf_serving_warmup_requests in the version's directory. One that fails
fails the load: a model that cannot answer its own examples is broken.

Requests may have been real ones once. What the runtime says about a failing one may quote it, so only its number and code are told.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import struct
import time
from collections.abc import Callable, Iterator

from google.protobuf.message import DecodeError

from serving.messages import PredictionLog
from serving.server.errors import ServingError, StatusCode
from serving.server.servable import RunFailedError, Servable

REQUESTS_FILE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000
_CHECKSUM_BYTES = 4
_LENGTH = struct.Struct("<Q")

# Directory, status as text, seconds, records.
WarmUpObserver = Callable[[str, str, float, int], None]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class WarmUpOptions:
    """How models are warmed up.

    Attributes:
        iterations: How often each request runs.
    """

    iterations: int = 1


def warm_up(servable: Servable, path: pathlib.Path, options: WarmUpOptions, observe: WarmUpObserver | None = None) -> int:
    """Runs the warm-up requests of a version.

    Args:
        servable: The version.
        path: Its directory.
        options: How.
        observe: Told how it went, if there were requests.

    Returns:
        How many requests there were; 0 without a file.

    Raises:
        ServingError: A request failed, or the file is no TFRecord file of requests.
    """
    file = path / REQUESTS_FILE
    if not file.is_file():
        return 0
    started, count, status = time.monotonic(), 0, "OK"
    try:
        for number, record in enumerate(_records(file), 1):
            if number > MAX_RECORDS:
                raise ServingError(
                    StatusCode.INVALID_ARGUMENT, f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
                )
            try:
                request = PredictionLog.FromString(record)
            except DecodeError as error:
                raise ServingError(StatusCode.INVALID_ARGUMENT, f"Failed to parse warmup record {number} from {file}") from error
            for _ in range(max(options.iterations, 1)):
                _run(servable, request, number, file)
            count = number
    except ServingError as error:
        status = str(error)
        raise
    finally:
        if observe is not None:
            observe(str(path), status, time.monotonic() - started, count)
    logger.info("Finished reading warmup data for model at %s. Number of warmup records read: %d.", file, count)
    return count


def _run(servable: Servable, log: PredictionLog, number: int, file: pathlib.Path) -> None:
    kind = log.WhichOneof("log_type")
    try:
        if kind == "predict_log":
            servable.predict(log.predict_log.request)
        elif kind == "classify_log":
            servable.classify(log.classify_log.request)
        elif kind == "regress_log":
            servable.regress(log.regress_log.request)
        elif kind == "multi_inference_log":
            servable.multi_inference(log.multi_inference_log.request)
        elif kind is not None:
            raise ServingError(StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    except RunFailedError as error:
        raise ServingError(error.code, f"The model failed warm-up request {number} ({kind}) of {file}.") from error


def _records(file: pathlib.Path) -> Iterator[bytes]:
    """The records of a TFRecord file. Checksums are not verified: protobuf refuses what is not a record.

    Raises:
        ServingError: DATA_LOSS; the file ends within a record.
    """
    with file.open("rb") as opened:
        while header := opened.read(_LENGTH.size + _CHECKSUM_BYTES):
            length = _LENGTH.unpack_from(header)[0] if len(header) == _LENGTH.size + _CHECKSUM_BYTES else None
            left = file.stat().st_size - opened.tell()
            if length is None or length > left - _CHECKSUM_BYTES:
                raise ServingError(
                    StatusCode.DATA_LOSS, f"truncated record in {file}. Please verify your warmup data is in TFRecord format."
                )
            record = opened.read(length)
            opened.read(_CHECKSUM_BYTES)
            yield record
