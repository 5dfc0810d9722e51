"""`parlance predict`: asks a running model server, ours or TensorFlow Serving, about one message, a file, or standard input.

    answered = predict.run(options, sys.stdout, sys.stderr)

Importing this module imports nothing heavy; the client is imported when a command runs. Nothing that is predicted is ever shown in
an error: lines are named by their numbers.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from components.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from serving.client import ModelMetadata, Prediction, Signature

DEFAULT_MODEL = "intents"
GRPC_PORT, REST_PORT = 8500, 8501
# A person waits longer than a service would.
DEFAULT_TIMEOUT = 10.0

STDIN = "-"
BATCH_ROWS = 64
# Enough that the server always has the next batch while this one is on its way, few enough to leave it to others too.
BATCHES_IN_FLIGHT = 4
TOP = 3

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_REPORTED_LINES = 20
_LONGEST_FIELD = 2**30


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row to predict.

    Attributes:
      line: The number of its (last) line in the file, from 1.
      columns: Values by input.
    """

    line: int
    columns: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be predicted.

    Attributes:
      line: Its number, from 1.
      reason: Why not, without its content.
    """

    line: int
    reason: str


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command."""
    command.add_argument("text", nargs="?", metavar="TEXT", help="one message; - reads messages from standard input, one a line")
    command.add_argument("--file", metavar="FILE", help="predict every row: lines of text, .csv or .jsonl; - is standard input")
    command.add_argument(
        "--format",
        choices=("text", "csv", "jsonl"),
        help="what FILE or standard input holds (default: by FILE's ending, else text)",
    )
    command.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="name of the model (default: %(default)s)")
    who = command.add_mutually_exclusive_group()
    who.add_argument("--version", type=int, metavar="N", help="the version that shall answer (default: the highest loaded one)")
    who.add_argument("--label", metavar="LABEL", help="the label of the version that shall answer, e.g. canary")
    command.add_argument("--signature", metavar="NAME", help="the signature to run (default: serving_default)")
    command.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a column the model needs beside the text; nothing means absent",
    )
    command.add_argument("--host", default="127.0.0.1", help="where the server is (default: %(default)s)")
    command.add_argument("--port", type=_port, metavar="N", help=f"its port (default: {GRPC_PORT}, with --rest {REST_PORT})")
    command.add_argument("--rest", action="store_true", help="ask over REST instead of gRPC")
    command.add_argument("--ca", metavar="FILE", help="connect with TLS and trust the certificates in this PEM file")
    command.add_argument(
        "--timeout", type=_seconds, default=DEFAULT_TIMEOUT, metavar="S", help="seconds a request may take (default: %(default)g)"
    )


def run(options: argparse.Namespace, out: TextIO, err: TextIO, stdin: BinaryIO | None = None) -> int:
    """Predicts what the command line says.

    Args:
      options: The parsed arguments, with `output` "text" or "json".
      out: For predictions: with "json" one object, for files one a line.
      err: For lines that could not be predicted.
      stdin: What is read for `-`; by default standard input.

    Returns:
      0, or 2 if some lines could not be predicted.

    Raises:
      UsageError: The command, the file or the model asked for cannot be used.
      EnvironmentFailure: No server answered.
    """
    source = STDIN if options.text == STDIN else options.file
    if options.file is not None and options.text is not None:
        raise UsageError("Give a message or --file, not both")
    if source is None and options.text is None and not options.column:
        raise UsageError("Nothing to predict. Give a message, --file FILE, or --column NAME=VALUE for each input of the model")
    given = _given_columns(options.column)
    # Opened before anything else: a wrong file name needs no server to be reported.
    opened = _open(source, stdin) if source is not None else None
    with _client(options) as client:
        asked = _Asked(client, options)
        signature = asked.signature()
        constants = {name: _from_text(name, text, signature) for name, text in given.items()}
        if source is None or opened is None:
            columns = dict(constants)
            if options.text is not None:
                columns[_text_column(signature, given)] = options.text
            _show_one(asked.predict(columns, 1), options.output, out)
            return 0
        with opened as stream:
            rows = _READERS[options.format or _FORMATS.get(pathlib.Path(source).suffix.lower(), "text")](stream, signature, given)
            # A person at a terminal waits for the answer to each line.
            size, in_flight = (1, 0) if stream.isatty() else (BATCH_ROWS, BATCHES_IN_FLIGHT)
            return _predict_all(asked, _batches(rows, size), in_flight, constants, options.output, out, err)


class _Asked:
    """The model that is asked, with the client's errors as those of the command."""

    def __init__(self, client: Any, options: argparse.Namespace):
        self._client = client
        self._options = options

    def signature(self) -> Signature | None:
        """The signature to run; None if the server does not tell."""
        from serving.client import UnsupportedError

        try:
            metadata: ModelMetadata = self._translated(
                lambda: self._client.metadata(self._options.model, version=self._options.version, label=self._options.label)
            )
        except UnsupportedError:
            return None
        signature: Signature = self._translated(lambda: metadata.signature(self._options.signature))
        return signature

    def predict(self, columns: Mapping[str, Any], rows: int) -> Prediction:
        """Predicts `rows` rows; a scalar stands for all of them."""
        # Spelled out, because a server that tells nothing about its models has them sent as they are.
        full = {name: values if isinstance(values, list) else [values] * rows for name, values in columns.items()}
        prediction: Prediction = self._translated(
            lambda: self._client.predict(
                self._options.model,
                full,
                version=self._options.version,
                label=self._options.label,
                signature=self._options.signature,
            )
        )
        return prediction

    def _translated(self, call: Callable[[], Any]) -> Any:
        from serving import client

        try:
            return call()
        except client.ModelNotFoundError as error:
            raise UsageError(f"The server has no model {self._options.model!r} ({error}). --model names another") from error
        except client.InvalidInputError as error:
            raise _RefusedError(str(error)) from error
        except client.NotFoundError as error:
            raise UsageError(str(error)) from error
        except client.UnsupportedError:
            raise
        except client.UnavailableError as error:
            hint = "`parlance serve` starts one; --host and --port say where it is"
            raise EnvironmentFailure(f"No server answers ({error}). {hint}") from error
        except client.ClientError as error:
            raise EnvironmentFailure(f"The server did not answer: {error.code}: {error}") from error


class _RefusedError(UsageError):
    """The model does not take these rows; without any of them."""


def _client(options: argparse.Namespace) -> Any:
    from serving import client

    tls = client.Tls(ca=options.ca) if options.ca else None
    host = f"[{options.host}]" if ":" in options.host and not options.host.startswith("[") else options.host
    try:
        if options.rest:
            scheme = "https" if tls else "http"
            return client.RestClient(f"{scheme}://{host}:{options.port or REST_PORT}", tls=tls, timeout=options.timeout)
        return client.Client(f"{host}:{options.port or GRPC_PORT}", tls=tls, timeout=options.timeout)
    except (ValueError, OSError) as error:
        raise UsageError(f"--host, --port or --ca cannot be used: {error}") from error


def _given_columns(arguments: Iterable[str]) -> dict[str, str]:
    given = {}
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator or not name:
            raise UsageError("--column takes NAME=VALUE, e.g. --column fare=12.5")
        if name in given:
            raise UsageError(f"--column {name} is there twice")
        given[name] = value
    return given


def _text_column(signature: Signature | None, given: Iterable[str]) -> str:
    """The input that a message goes to: the only one of strings that is not given otherwise, or the one called `text`."""
    if signature is None:
        return "text"
    strings = [name for name, spec in signature.inputs.items() if spec.type_name == "string" and name not in set(given)]
    if len(strings) == 1:
        return strings[0]
    if "text" in strings:
        return "text"
    raise UsageError(
        f"It is not clear which input the message is. The model takes: {signature.describe_inputs()}. "
        "Give all but the message with --column NAME=VALUE"
    )


def _from_text(name: str, text: str, signature: Signature | None) -> Any:
    """A value of a column as the model takes it.

    Raises:
      UsageError: The text is no such value; the message does not show it.
    """
    kind = signature.inputs[name].type_name if signature is not None and name in signature.inputs else "string"
    if kind == "string":
        return text
    if not text:
        return None
    try:
        if kind == "bool":
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        if kind in ("float", "double", "half", "bfloat16"):
            return float(text)
        return int(text)
    except (ValueError, KeyError):
        raise UsageError(f"column {name!r} takes {kind}") from None


def _open(source: str, stdin: BinaryIO | None) -> contextlib.AbstractContextManager[BinaryIO]:
    if source == STDIN:
        return contextlib.nullcontext(stdin or sys.stdin.buffer)
    try:
        return open(source, "rb")
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error


def _text_rows(stream: BinaryIO, signature: Signature | None, given: Iterable[str]) -> Iterator[Row | BadLine]:
    column = _text_column(signature, given)
    for number, line in _lines(stream):
        yield Row(number, {column: line}) if isinstance(line, str) else BadLine(number, line.reason)


def _jsonl_rows(stream: BinaryIO, signature: Signature | None, given: Iterable[str]) -> Iterator[Row | BadLine]:
    given = set(given)
    for number, line in _lines(stream):
        if not isinstance(line, str):
            yield line
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield BadLine(number, "not JSON")
            continue
        if isinstance(value, str):
            yield Row(number, {_text_column(signature, given): value})
        elif not isinstance(value, dict):
            yield BadLine(number, f"a JSON object or string is needed, got {type(value).__name__}")
        else:
            yield _row(number, value, signature, given)


def _row(number: int, value: Mapping[str, Any], signature: Signature | None, given: set[str]) -> Row | BadLine:
    """The columns of a row that the model takes; others, such as a label, are left out."""
    if signature is None:
        return Row(number, {name: entry for name, entry in value.items() if name not in given})
    needed = [name for name in signature.inputs if name not in given]
    if missing := [name for name in needed if name not in value and name not in signature.optional]:
        return BadLine(number, f"no column {', '.join(map(repr, missing))}")
    return Row(number, {name: value[name] for name in needed if name in value})


def _csv_rows(stream: BinaryIO, signature: Signature | None, given: Iterable[str]) -> Iterator[Row | BadLine]:
    given = set(given)
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    header = next(reader, None)
    if header is None:
        return
    needed = [name for name in signature.inputs if name not in given] if signature is not None else header
    if missing := [name for name in needed if name not in header and (signature is None or name not in signature.optional)]:
        raise UsageError(f"The file's first line has no column {', '.join(map(repr, missing))}. It must name the model's inputs")
    while True:
        try:
            fields = next(reader, None)
        except csv.Error:
            yield BadLine(reader.line_num, "not CSV")
            continue
        if fields is None:
            return
        if not fields:
            continue
        number = reader.line_num
        if len(fields) != len(header):
            yield BadLine(number, f"{len(fields)} fields, the first line has {len(header)}")
            continue
        if any(not field.isascii() and _has_surrogate(field) for field in fields):
            yield BadLine(number, "not UTF-8")
            continue
        cells = dict(zip(header, fields, strict=True))
        try:
            yield Row(number, {name: _from_text(name, cells[name], signature) for name in needed if name in cells})
        except UsageError as error:
            yield BadLine(number, str(error))


_READERS = {"text": _text_rows, "jsonl": _jsonl_rows, "csv": _csv_rows}


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str | BadLine]]:
    """Lines that are not empty, with their numbers."""
    for number, line in enumerate(stream, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.rstrip(b"\r\n")
        if not line.strip():
            continue
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError:
            yield number, BadLine(number, "not UTF-8")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _predict_all(
    asked: _Asked,
    batches: Iterable[list[Row | BadLine]],
    in_flight: int,
    constants: Mapping[str, Any],
    output: str,
    out: TextIO,
    err: TextIO,
) -> int:
    """Predicts batches, some ahead of the one that is shown, and shows rows in their order."""
    bad = _BadLines(err)
    pool = concurrent.futures.ThreadPoolExecutor(BATCHES_IN_FLIGHT, thread_name_prefix="predict")
    waiting: collections.deque[tuple[list[Row | BadLine], concurrent.futures.Future[list[Any]]]] = collections.deque()

    def show_next() -> None:
        batch, future = waiting.popleft()
        answers = iter(future.result())
        for row in batch:
            answer = row if isinstance(row, BadLine) else next(answers)
            if isinstance(answer, BadLine):
                bad.add(answer)
            else:
                prediction, place = answer
                _show_row(row.line, prediction, place, output, out)

    try:
        for batch in batches:
            good = [row for row in batch if isinstance(row, Row)]
            waiting.append((batch, pool.submit(_predict_batch, asked, good, constants)))
            if len(waiting) > in_flight:
                show_next()
        while waiting:
            show_next()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    bad.finish()
    return UsageError.exit_code if bad.count else 0


def _batches(rows: Iterable[Row | BadLine], size: int) -> Iterator[list[Row | BadLine]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _predict_batch(asked: _Asked, rows: list[Row], constants: Mapping[str, Any]) -> list[Any]:
    """A pair of a prediction and the row's place in it, or a `BadLine`, for each row."""
    if not rows:
        return []
    if len({frozenset(row.columns) for row in rows}) == 1:
        columns = {name: [row.columns[name] for row in rows] for name in rows[0].columns}
        try:
            prediction = asked.predict({**constants, **columns}, len(rows))
            return [(prediction, place) for place in range(len(rows))]
        except _RefusedError as error:
            if len(rows) == 1:
                return [BadLine(rows[0].line, str(error))]
    # One row spoils its batch; the others are as good as before.
    return [answer for row in rows for answer in _predict_batch(asked, [row], constants)]


class _BadLines:
    """Reports lines that could not be predicted, the first few of them one by one."""

    def __init__(self, err: TextIO):
        self._err = err
        self.count = 0

    def add(self, bad: BadLine) -> None:
        self.count += 1
        if self.count <= _REPORTED_LINES:
            self._err.write(f"line {bad.line}: {bad.reason}\n")

    def finish(self) -> None:
        if self.count > _REPORTED_LINES:
            self._err.write(f"and {self.count - _REPORTED_LINES} more lines\n")
        if self.count:
            self._err.write(f"parlance: {self.count} line{'s' if self.count > 1 else ''} could not be predicted\n")


def _show_one(prediction: Prediction, output: str, out: TextIO) -> None:
    answer = _answer(prediction, 0)
    if output == "json":
        out.write(json.dumps(_named(prediction) | answer, ensure_ascii=False, indent=1) + "\n")
        return
    if "label" in answer:
        width = max(len(label) for label, _ in answer["top"])
        for label, score in answer["top"]:
            out.write(f"{label:<{width}}  {score:.4f}\n")
        if answer["abstained"]:
            out.write("The model abstains: none of these is an answer it stands by.\n")
    else:
        for name, value in answer["outputs"].items():
            out.write(f"{name}  {_compact(value)}\n")
    version = "" if prediction.version is None else f" version {prediction.version}"
    out.write(f"model {prediction.model}{version}\n")


def _show_row(line: int, prediction: Prediction, place: int, output: str, out: TextIO) -> None:
    answer = _answer(prediction, place)
    if output == "json":
        out.write(json.dumps({"line": line, **_named(prediction), **answer}, ensure_ascii=False) + "\n")
    elif "label" in answer:
        out.write(f"{line}\t{answer['label']}\t{answer['score']:.4f}{'	abstained' if answer['abstained'] else ''}\n")
    else:
        out.write("\t".join([str(line), *(f"{name}={_compact(value)}" for name, value in answer["outputs"].items())]) + "\n")
    out.flush()


def _named(prediction: Prediction) -> dict[str, Any]:
    return {"model": prediction.model, "version": prediction.version}


def _answer(prediction: Prediction, place: int) -> dict[str, Any]:
    """One row of a prediction: labels where it has some, else its outputs."""
    from serving.client import MissingOutputError

    try:
        top = prediction.top(TOP)[place]
    except MissingOutputError:
        outputs = prediction.outputs.items()
        return {"outputs": {name: _plain(values[place] if values.ndim else values) for name, values in sorted(outputs)}}
    return {
        "label": top[0][0],
        "score": _plain(top[0][1]),
        "abstained": bool(prediction.abstained[place]),
        "top": [[label, _plain(score)] for label, score in top],
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite are null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError("a port is 1 to 65535")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError("a positive number of seconds is needed")
    return seconds
