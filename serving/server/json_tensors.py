"""The JSON of TensorFlow Serving's REST interface: requests into tensors, tensors into answers. No I/O, no models.

    document = PredictDocument.parse(b'{"instances": [[1, 2.5], [3, 4]]}')
    feeds = document.tensors({"x": TensorInfo(dtype=DataType.DT_FLOAT)})            # {"x": Tensor of shape (2, 2)}
    predictions({"y": Tensor.of(np.float32([1.5, 2.0]))}, rows=True)                # b'{\n    "predictions": [1.5, 2.0\n    ]\n}'

Rules, error texts and even the layout of answers are upstream's (its json_tensor.cc), whose JSON differs from the standard's: NaN,
Infinity and -Infinity stand as bare words both ways, {"b64": "..."} is bytes, numbers with a point are never integers. What differs
from upstream: text that is not UTF-8 is refused, names of one object that occur twice count once (the last), an error quotes at
most `MAX_QUOTED` characters of the request, and nesting and the number of lists are limited.

Requests of millions of numbers are handled a list at a time, never an element at a time in Python; only where that finds something
wrong does a second, slow look find out what upstream would say about it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from serving.messages import ClassificationRequest, DataType, Example, RegressionRequest
from serving.server.errors import ServingError, StatusCode
from serving.tensors import Tensor, numpy_dtype

# An error that quotes the request quotes this many characters of it.
MAX_QUOTED = 1024
# TensorFlow's tensors have no more dimensions.
MAX_RANK = 254
# Every list and object takes 56 bytes or more where `[],` takes three: a small request could fill the memory.
MAX_CONTAINERS = 4_000_000

_BASE64 = "b64"
_BYTES_SUFFIX = "_bytes"
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
# What JSON integers of each type may be; narrower ones wrap as C++ casts them.
_INTEGERS = {
    DataType.DT_INT32: np.int32,
    DataType.DT_INT16: np.int32,
    DataType.DT_INT8: np.int32,
    DataType.DT_UINT8: np.int32,
    DataType.DT_INT64: np.int64,
    DataType.DT_UINT32: np.uint32,
    DataType.DT_UINT64: np.uint64,
}
# Beyond this, not every integer is a number of the type.
_EXACT_INTEGERS = {DataType.DT_FLOAT: 2**24 - 1, DataType.DT_DOUBLE: 2**53 - 1}
_WRITTEN = {*_INTEGERS, *_EXACT_INTEGERS, DataType.DT_HALF, DataType.DT_STRING, DataType.DT_BOOL}
# Below this number of floats numpy's overhead exceeds what it saves.
_FEW = 24

_quoted = json.encoder.encode_basestring


@dataclasses.dataclass(frozen=True, slots=True)
class PredictDocument:
    """A predict request that is JSON but has not met a signature yet.

    Attributes:
        signature: The name of the signature it asks for, "" for the default one.
        rows: It is in row format ("instances") and so is its answer; else columnar ("inputs").
    """

    signature: str
    _members: Mapping[str, Any] = dataclasses.field(repr=False)
    _body: bytes = dataclasses.field(repr=False)

    @classmethod
    def parse(cls, body: bytes) -> PredictDocument:
        """Reads a request.

        Raises:
            ServingError: INVALID_ARGUMENT; it is no JSON object, or its signature_name is no string.
        """
        members = _parse(body)
        return cls(_signature_name(members), members, body)

    @property
    def rows(self) -> bool:
        return "instances" in self._members

    def tensors(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors it carries.

        Args:
            inputs: The signature's inputs: `TensorInfo` messages by alias.

        Raises:
            ServingError: INVALID_ARGUMENT where it does not fit the inputs, UNIMPLEMENTED for an input of a type JSON cannot carry.
        """
        if not inputs:
            raise _invalid(f"Failed to get input map for signature: {self.signature or 'DEFAULT'}")
        members = self._members
        reader = _Reader(self._body)
        if "instances" in members:
            instances = members["instances"]
            if "inputs" in members:
                raise _misformatted(
                    members, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
                )
            if type(instances) is not list:
                raise _misformatted(members, "Excepting 'instances' to be an list/array")
            if not instances:
                raise _misformatted(members, "No values in 'instances' array")
            return reader.rows(instances, inputs)
        if "inputs" in members:
            return reader.columns(members["inputs"], inputs)
        raise _invalid("Missing 'inputs' or 'instances' key")


def classification_request(body: bytes) -> Any:
    """Reads a classify request as a `ClassificationRequest` whose model_spec holds no more than the signature's name.

    Raises:
        ServingError: INVALID_ARGUMENT; it is malformed.
    """
    return _examples_request(body, ClassificationRequest())


def regression_request(body: bytes) -> Any:
    """Reads a regress request as a `RegressionRequest` whose model_spec holds no more than the signature's name.

    Raises:
        ServingError: INVALID_ARGUMENT; it is malformed.
    """
    return _examples_request(body, RegressionRequest())


def predictions(outputs: Mapping[str, Tensor], *, rows: bool) -> bytes:
    """The answer to a predict request.

    Args:
        outputs: Tensors by alias. Strings of an alias that ends in "_bytes" become base64.
        rows: In row format: {"predictions": one entry for each row}; else {"outputs": ...}. A single output stands without its name.

    Raises:
        ServingError: INVALID_ARGUMENT; there is no output, one has a type that JSON cannot carry, or outputs have no common rows.
    """
    if not outputs:
        raise _invalid("Cannot convert empty tensor map to JSON")
    text = _in_rows(outputs) if rows else _in_columns(outputs)
    return text.encode("utf-8", "surrogateescape")


def classifications(result: Any) -> bytes:
    """The answer to a classify request, from a `ClassificationResult`: for each example a list of [label, score].

    Raises:
        ServingError: INVALID_ARGUMENT; the result is empty.
    """
    if not result.classifications:
        raise _invalid("Cannot convert empty ClassificationResults to JSON")
    rows = [
        [f"[{_quoted(entry.label)}, {_decimal(entry.score, single=True)}]" for entry in row.classes]
        for row in result.classifications
    ]
    return _results(", ".join(f"[{', '.join(row)}]" for row in rows), "\n    ")


def regressions(result: Any) -> bytes:
    """The answer to a regress request, from a `RegressionResult`: a number for each example.

    Raises:
        ServingError: INVALID_ARGUMENT; the result is empty.
    """
    if not result.regressions:
        raise _invalid("Cannot convert empty RegressionResults to JSON")
    return _results(", ".join(_decimal(entry.value, single=True) for entry in result.regressions), "")


def error(message: str) -> bytes:
    """The body of an answer that is an error."""
    return f'{{\n    "error": {_quoted(message)}\n}}'.encode("utf-8", "replace")


def statuses(response: Any) -> bytes:
    """A `GetModelStatusResponse` as JSON."""
    return (json.dumps(_message(response), indent=1, ensure_ascii=False) + "\n").encode()


def metadata(model_spec: Any, signatures: Any) -> bytes:
    """The answer to a metadata request: a `ModelSpec` and a `SignatureDefMap`, fields with default values included."""
    spec, definitions = (json.dumps(_message(part), indent=1, ensure_ascii=False) for part in (model_spec, signatures))
    return f'{{\n"model_spec":{spec}\n,\n"metadata": {{"signature_def": {definitions}\n}}\n}}\n'.encode()


# Reading


_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Extra data": "The document root must not be followed by other values.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_WHITESPACE = str.maketrans("", "", " \t\n\r\f\v")


def _parse(body: bytes) -> dict[str, Any]:
    """The members of the object that a request must be."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _unparsable("Invalid encoding in string.", problem.start) from problem
    if not text.strip(" \t\r\n"):
        raise _unparsable("The document is empty.", len(body)) if text else _invalid("JSON Parse error: The document is empty")
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise _invalid(f"JSON Parse error: More than {MAX_CONTAINERS} lists and objects")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as problem:
        raise _unparsable(_upstream_text(problem, text), len(text[: problem.pos].encode())) from None
    except RecursionError:
        raise _invalid("JSON Parse error: Nested too deeply") from None
    except ValueError:
        # Python refuses to read integers of thousands of digits.
        raise _invalid("JSON Parse error: Number too big to be stored in double.") from None
    if type(document) is not dict:
        raise _misformatted(document, "Is not object")
    return document


def _upstream_text(problem: json.JSONDecodeError, text: str) -> str:
    if problem.msg == "Expecting ',' delimiter":
        depth = []
        for bracket in _BRACKETS.findall(text, 0, problem.pos):
            if bracket in "[{":
                depth.append(bracket)
            elif bracket in "]}" and depth:
                depth.pop()
        if depth and depth[-1] == "{":
            return "Missing a comma or } after an object member."
        return "Missing a comma or ] after an array element."
    return _PARSE_ERRORS.get(problem.msg, "Invalid escape character in string.")


def _signature_name(members: Mapping[str, Any]) -> str:
    name = members.get("signature_name", "")
    if type(name) is not str:
        raise _invalid(f"JSON Value: {_shown(members)} not formatted correctly. 'signature_name' key must be a string value.")
    _utf8(name)
    return name


class _Reader:
    """Turns parsed JSON into tensors.

    Args:
        body: The request, to tell an Infinity that was written from a number too large.
    """

    def __init__(self, body: bytes):
        self._body = body

    def rows(self, instances: list[Any], inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of a list of rows."""
        first = instances[0]
        if type(first) is not dict and len(inputs) > 1:
            raise _invalid(
                "instances is a plain list, but expecting list of objects as multiple "
                "input tensors required as per tensorinfo_map"
            )
        if _is_named(first):
            names = inputs.keys()
            if all(type(row) is dict and row.keys() == names for row in instances):
                columns = {name: [row[name] for row in instances] for name in inputs}
                found = {name: self._dense(column, inputs[name].dtype) for name, column in columns.items()}
                if all(tensor is not None for tensor in found.values()):
                    return found  # type: ignore[return-value]
            self._refuse_rows(instances, inputs)
        name = min(inputs)
        tensor = self._dense(instances, inputs[name].dtype)
        if tensor is None:
            self._refuse_rows(instances, inputs)
        return {name: tensor}

    def columns(self, value: Any, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of an object of columns, or of a single column without its name."""
        if not _is_named(value):
            if len(inputs) > 1:
                raise _invalid(
                    "inputs is a plain value/list, but expecting an object as multiple "
                    "input tensors required as per tensorinfo_map"
                )
            name = next(iter(inputs))
            return {name: self._tensor(value, inputs[name].dtype)}
        found = {}
        for name, info in inputs.items():
            if name not in value:
                raise _invalid(f"Missing named input: {name} in 'inputs' object.")
            found[name] = self._tensor(value[name], info.dtype)
        return found

    def _tensor(self, value: Any, dtype: int) -> Tensor:
        tensor = self._dense(value, dtype)
        if tensor is None:
            self._check(value, dtype)
            raise _invalid("JSON value is not a tensor")
        return tensor

    def _dense(self, value: Any, dtype: int) -> Tensor | None:
        """A value as a tensor, None if it is none of this type (`_check` tells why)."""
        shape: list[int] = []
        level = [value]
        while list in (kinds := set(map(type, level))):
            sizes = set(map(len, level)) if len(kinds) == 1 else set()
            if len(sizes) != 1 or len(shape) == MAX_RANK:
                return None
            shape.append(sizes.pop())
            level = list(chain.from_iterable(level))
        array = self._array(level, kinds, dtype)
        return None if array is None else Tensor(dtype, array.reshape(shape))

    def _array(self, leaves: list[Any], kinds: set[type], dtype: int) -> np.ndarray[Any, np.dtype[Any]] | None:
        """Values as a flat array, None if one is not of this type."""
        if dtype in _EXACT_INTEGERS:
            return self._decimals(leaves, kinds, dtype)
        if dtype == DataType.DT_STRING:
            if not kinds <= {str, dict}:
                return None
            strings = np.empty(len(leaves), object)
            try:
                strings[:] = [leaf.encode() if type(leaf) is str else _bytes_of(leaf) for leaf in leaves]
            except (UnicodeEncodeError, ServingError):
                return None
            return strings
        if dtype == DataType.DT_BOOL:
            return np.array(leaves, np.bool_) if kinds <= {bool} else None
        if dtype not in _INTEGERS or not kinds <= {int}:
            return None
        try:
            # numpy refuses a number outside the type's limits.
            return np.array(leaves, _INTEGERS[dtype]).astype(numpy_dtype(dtype), copy=False)
        except OverflowError:
            return None

    def _decimals(self, leaves: list[Any], kinds: set[type], dtype: int) -> np.ndarray[Any, np.dtype[Any]] | None:
        if not kinds <= {int, float}:
            return None
        try:
            numbers = np.array(leaves, np.float64)
        except OverflowError:
            raise _invalid("JSON Parse error: Number too big to be stored in double.") from None
        sizes = np.abs(numbers)
        if int in kinds:
            inexact = np.flatnonzero(sizes > _EXACT_INTEGERS[dtype]).tolist()
            if any(_is_inexact(leaves[place]) for place in inexact):
                return None
        if np.isinf(sizes).any() and b"Infinity" not in self._body:
            raise _invalid("JSON Parse error: Number too big to be stored in double.")
        if dtype == DataType.DT_DOUBLE:
            return numbers
        if (np.isfinite(sizes) & (sizes > _LARGEST_FLOAT)).any():
            return None
        return numbers.astype(np.float32)

    # From here on in upstream's order, one value after the other: only where something is wrong.

    def _refuse_rows(self, instances: list[Any], inputs: Mapping[str, Any]) -> NoReturn:
        by_name = _is_named(instances[0])
        seen: dict[str, tuple[int, tuple[int, ...]]] = {}
        for number, row in enumerate(instances):
            if not by_name:
                if _is_named(row):
                    raise _invalid(f"Expecting value/list but got object at item {number} of input list")
                self._check_row(row, min(inputs), inputs, seen, f"{number}")
                continue
            if not _is_named(row):
                raise _invalid(f"Expecting object but got list at item {number} of input list")
            for name, value in row.items():
                self._check_row(value, name, inputs, seen, f"{number} key: {name}")
            if row.keys() != inputs.keys():
                raise _invalid(
                    f"Failed to process element: {number} of 'instances' list. JSON object: {_shown(row)} "
                    f"keys must be equal to: {','.join(sorted(inputs))}"
                )
        raise _invalid("JSON value is not a tensor")

    def _check_row(
        self, value: Any, name: str, inputs: Mapping[str, Any], seen: dict[str, tuple[int, tuple[int, ...]]], place: str
    ) -> None:
        try:
            if name not in inputs:
                raise _invalid(f"JSON object: does not have named input: {name}")
            shape, size = self._check(value, inputs[name].dtype)
            first_size, first_shape = seen.setdefault(name, (size, shape))
            if size != first_size:
                raise _invalid(f"Expecting tensor size: {first_size} but got: {size}")
            if shape != first_shape:
                raise _invalid(f"Expecting shape {_shape(first_shape)} but got: {_shape(shape)}")
        except ServingError as problem:
            raise _invalid(f"Failed to process element: {place} of 'instances' list. Error: {problem}") from None

    def _check(self, value: Any, dtype: int) -> tuple[tuple[int, ...], int]:
        """The shape and the number of elements of a value.

        Raises:
            ServingError: It is no tensor of this type; says why.
        """
        tensor = self._dense(value, dtype)
        if tensor is not None:
            return tensor.shape, tensor.array.size
        shape: list[int] = []
        first = value
        while type(first) is list:
            shape.append(len(first))
            if len(shape) > MAX_RANK:
                raise _invalid(f"Encountered list at unexpected level: {MAX_RANK} expected < {MAX_RANK}")
            if not first:
                break
            first = first[0]
        self._check_level(value, 0, shape, dtype)
        raise _invalid("JSON value is not a tensor")

    def _check_level(self, value: Any, level: int, shape: list[int], dtype: int) -> None:
        rank = len(shape)
        if type(value) is not list:
            if level != rank:
                raise _invalid(
                    f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {rank}"
                )
            self._check_leaf(value, dtype)
            return
        if level >= rank:
            raise _invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
        if len(value) != shape[level]:
            raise _invalid(f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}")
        for entry in value:
            if type(entry) is list:
                # What is in order is passed by quickly.
                tensor = self._dense(entry, dtype)
                if tensor is not None and list(tensor.shape) == shape[level + 1 :]:
                    continue
            self._check_level(entry, level + 1, shape, dtype)

    def _check_leaf(self, value: Any, dtype: int) -> None:
        kind = type(value)
        if kind is dict:
            if dtype == DataType.DT_STRING:
                _bytes_of(value)
                return
            raise _wrong_type(value, dtype)
        if self._array([value], {kind}, dtype) is not None:
            return
        if dtype in _EXACT_INTEGERS and kind in (int, float):
            target = "float" if dtype == DataType.DT_FLOAT else "double"
            raise _invalid(f"Cannot convert JSON value: {_shown(value)} to {target} without loss of precision.")
        if kind is str:
            _utf8(value)
        if dtype not in _WRITTEN or dtype == DataType.DT_HALF:
            raise ServingError(
                StatusCode.UNIMPLEMENTED, f"Conversion of JSON Value: {_shown(value)} to type: {_type_name(dtype)}"
            )
        raise _wrong_type(value, dtype)


def _is_named(value: Any) -> bool:
    """Whether a value is an object of names, not one of bytes."""
    return type(value) is dict and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and type(value.get(_BASE64)) is str


def _bytes_of(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise _invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    encoded = value[_BASE64].translate(_WHITESPACE).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("Unable to base64 decode") from None


def _is_inexact(value: Any) -> bool:
    """Whether a number too large to be exact is an integer to upstream: one of 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**64


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _invalid("JSON Parse error: The surrogate pair in string is invalid.") from None


def _examples_request(body: bytes, request: Any) -> Any:
    members = _parse(body)
    name = _signature_name(members)
    if name:
        request.model_spec.signature_name = name
    with_context = "context" in members
    if with_context:
        _fill_example(members["context"], request.input.example_list_with_context.context)
    if "examples" not in members:
        raise _misformatted(members, "When method is classify, key 'examples' is expected and was not found")
    examples = members["examples"]
    if type(examples) is not list:
        raise _misformatted(members, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _misformatted(members, "'examples' value is an empty array")
    listed = request.input.example_list_with_context if with_context else request.input.example_list
    for example in examples:
        _fill_example(example, listed.examples.add())
    return request


def _fill_example(value: Any, example: Any) -> None:
    example.CopyFrom(Example())
    if type(value) is not dict:
        raise _invalid(f"Example must be JSON object but got JSON {_json_type(value)}")
    features = example.features.feature
    for name, content in value.items():
        _utf8(name)
        feature = features[name]
        if type(content) is not list:
            content = [content]
        kinds = set(map(type, content))
        if kinds <= {float} and content and max(map(abs, content)) <= _LARGEST_FLOAT:
            feature.float_list.value.extend(content)
            continue
        for entry in content:
            _add_value(entry, name, feature)


def _add_value(value: Any, name: str, feature: Any) -> None:
    """Adds a value to a `Feature`, the first one deciding for its type."""
    kind = type(value)
    stored: Any
    if kind is bool:
        field, stored = "int64_list", int(value)
    elif kind is str:
        field, stored = "bytes_list", _utf8(value)
    elif _is_base64(value):
        field, stored = "bytes_list", _bytes_of(value)
    elif kind is float or (kind is int and not -(2**63) <= value < 2**64):
        field = "float_list"
        try:
            stored = float(value)
        except OverflowError:
            raise _invalid("JSON Parse error: Number too big to be stored in double.") from None
    elif kind is int:
        field, stored = "int64_list", value
    else:
        raise _invalid(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")
    current = feature.WhichOneof("kind")
    if current not in (None, field):
        expected = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}[current]
        raise _invalid(f"Unexpected element type in feature: {name} expecting type: {expected}")
    if field == "float_list" and _LARGEST_FLOAT < abs(stored) < float("inf"):
        raise _invalid(f"Cannot convert JSON value: {_shown(value)} to float without loss of precision.")
    if field == "int64_list" and stored >= 2**63:
        raise _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    getattr(feature, field).value.append(stored)


# Writing


def _in_rows(outputs: Mapping[str, Tensor]) -> str:
    size = -1
    for name, tensor in sorted(outputs.items()):
        if not tensor.shape:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if size not in (-1, tensor.shape[0]):
            raise _invalid(f"Tensor name: {name} has inconsistent batch size: {tensor.shape[0]} expecting: {size}")
        size = tensor.shape[0]
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        rows = _entries(name, tensor, 1, 2, one_line=True)
        return f'{{\n    "predictions": [{", ".join(rows)}\n    ]\n}}' if rows else '{\n    "predictions": []\n}'
    keys = sorted(outputs)
    columns = [_entries(name, outputs[name], 1, 3, one_line=True) for name in keys]
    template = "{\n" + ",\n".join(f"            {_quoted(key)}: ".replace("%", "%%") + "%s" for key in keys) + "\n        }"
    objects = [template % row for row in zip(*columns, strict=True)]
    if not objects:
        return '{\n    "predictions": []\n}'
    return '{\n    "predictions": [\n        ' + ",\n        ".join(objects) + "\n    ]\n}"


def _in_columns(outputs: Mapping[str, Tensor]) -> str:
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return f'{{\n    "outputs": {_entries(name, tensor, 0, 1, one_line=False)[0]}\n}}'
    members = [
        f"        {_quoted(name)}: {_entries(name, tensor, 0, 2, one_line=False)[0]}" for name, tensor in sorted(outputs.items())
    ]
    return '{\n    "outputs": {\n' + ",\n".join(members) + "\n    }\n}"


def _entries(name: str, tensor: Tensor, axis: int, level: int, *, one_line: bool) -> list[str]:
    """The JSON of a tensor's entries.

    Args:
        name: Its alias.
        tensor: The tensor.
        axis: Number of leading dimensions that the list has; entries are what follows them.
        level: How deep in the document an entry is, in steps of indentation.
        one_line: Lists stay on one line.
    """
    inner = tensor.shape[axis:]
    depth = level + len(inner)
    as_bytes = tensor.dtype == DataType.DT_STRING and name.endswith(_BYTES_SUFFIX)
    parts = _base64_leaves(tensor, depth) if as_bytes else _leaves(tensor)
    count = 1
    counts = []
    for size in tensor.shape:
        counts.append(count)
        count *= size
    for position in range(len(tensor.shape) - 1, axis - 1, -1):
        size = tensor.shape[position]
        depth -= 1
        if size == 0:
            parts = ["[]"] * counts[position]
            continue
        if one_line:
            before, between, after = "[", ", ", "]"
        else:
            line, end = "\n" + "    " * (depth + 1), "\n" + "    " * depth
            before, between, after = f"[{line}", f",{line}", f"{end}]"
        parts = [f"{before}{between.join(parts[start : start + size])}{after}" for start in range(0, len(parts), size)]
    return parts


def _leaves(tensor: Tensor) -> list[str]:
    dtype = tensor.dtype
    if dtype not in _WRITTEN:
        raise _invalid(f"Failed to write JSON value for tensor type: {_type_name(dtype)}")
    flat = tensor.array.ravel()
    if dtype == DataType.DT_STRING:
        return [_quoted(value.decode("utf-8", "surrogateescape")) for value in flat.tolist()]
    if dtype == DataType.DT_BOOL:
        return ["true" if value else "false" for value in flat.tolist()]
    if dtype == DataType.DT_HALF:
        flat = flat.astype(np.float32)
    if flat.dtype.kind == "f":
        return decimals(flat)
    return list(map(str, flat.tolist()))


def _base64_leaves(tensor: Tensor, depth: int) -> list[str]:
    line, end = "\n" + "    " * (depth + 1), "\n" + "    " * depth
    return [f'{{{line}"{_BASE64}": "{base64.b64encode(value).decode("ascii")}"{end}}}' for value in tensor.array.ravel().tolist()]


def decimals(values: np.ndarray[Any, np.dtype[Any]]) -> list[str]:
    """Numbers as TensorFlow Serving prints them.

    Six digits (C's %g) where these are the number exactly, else as many as tell it from all others (%.9g, %.17g); ".0" after what
    would look like an integer; NaN, Infinity, -Infinity.

    Args:
        values: One-dimensional, float32 or float64.
    """
    single = values.dtype == np.float32
    numbers = values.tolist()
    if len(numbers) <= _FEW:
        return [_decimal(number, single=single) for number in numbers]
    precise = "%.9g" if single else "%.17g"
    with np.errstate(all="ignore"):
        exact = values.astype(np.float64)
        sizes = np.abs(exact)
        finite = np.isfinite(sizes)
        whole = finite & (exact == np.rint(exact))
        # Six digits as a whole number and the power of ten to multiply or divide it by. Both are exact, and so the result is the
        # number that the six digits read as, as long as the power is no larger than 1e22.
        shift = np.floor(np.log10(sizes)) - 5
        power = 10.0 ** np.abs(shift)
        six = np.where(shift > 0, np.rint(exact / power) * power, np.rint(exact * power) / power)
        certain = power <= 1e22
        enough = finite & certain & (six.astype(values.dtype) == values)
    small = whole & (sizes < 1e6)
    formats = np.where(enough, "%g", precise).astype(object)
    formats[small] = "%.0f.0"
    formats[whole & ~small & ~enough & (sizes < (1e9 if single else 1e17))] = precise + ".0"
    for place in np.flatnonzero(finite & ~certain & ~small).tolist():
        if _is_number(f"{numbers[place]:g}", numbers[place], single=single):
            formats[place] = "%g"
    for place in np.flatnonzero(~finite).tolist():
        formats[place] = "%s"
        numbers[place] = _decimal(numbers[place], single=single)
    return (" ".join(formats.tolist()) % tuple(numbers)).split(" ")


def _decimal(number: float, *, single: bool) -> str:
    """One number as `decimals` prints it."""
    text = f"{number:g}"
    if number - number != 0:  # NaN or infinite
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    if not _is_number(text, number, single=single):
        text = f"{number:.9g}" if single else f"{number:.17g}"
    return text if "." in text or "e" in text else text + ".0"


def _is_number(text: str, number: float, *, single: bool) -> bool:
    """Whether a text reads as exactly this number."""
    read = float(text)
    if not single or read == number:
        return read == number
    return bool(struct.unpack("f", struct.pack("f", read))[0] == number)


def _results(entries: str, end: str) -> bytes:
    return f'{{\n    "results": [{entries}{end}]\n}}'.encode("utf-8", "surrogateescape")


def _message(message: Any) -> dict[str, Any]:
    """A message as upstream prints it: with default values, fields of a `oneof` last."""
    shown: dict[str, Any] = {}
    fields = message.DESCRIPTOR.fields
    for field in [*(f for f in fields if f.containing_oneof is None), *(f for f in fields if f.containing_oneof is not None)]:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            kind = field.message_type.fields_by_name["value"]
            shown[field.name] = {str(key): _field(kind, value[key]) for key in sorted(value)}
        elif field.is_repeated:
            shown[field.name] = [_field(field, entry) for entry in value]
        else:
            shown[field.name] = _field(field, value)
    return shown


def _field(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name.startswith("google.protobuf.") and "value" in field.message_type.fields_by_name:
            return _field(field.message_type.fields_by_name["value"], value.value)
        return _message(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and not np.isfinite(value):
        return _decimal(value, single=True)
    return value


# Errors


def _shown(value: Any) -> str:
    """JSON as an error quotes it."""
    if type(value) is float:
        in_range = abs(value) <= _LARGEST_FLOAT
        return _decimal(float(np.float32(value)) if in_range else value, single=in_range)
    pieces: list[str] = []
    length = 0
    try:
        for piece in _chunks(value):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_QUOTED:
                return "".join(pieces)[:MAX_QUOTED] + "...TRUNCATED"
    except RecursionError:
        pieces.append("...TRUNCATED")
    return "".join(pieces)


def _chunks(value: Any) -> Iterator[str]:
    encode: Callable[[Any], Iterator[str]] = json.JSONEncoder(indent=4, ensure_ascii=False).iterencode
    return encode(value)


_JSON_TYPES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


def _json_type(value: Any) -> str:
    return str(value) if type(value) is bool else _JSON_TYPES[type(value)]


def _type_name(dtype: int) -> str:
    return str(DataType.Name(dtype)).removeprefix("DT_").lower()


def _shape(sizes: Sequence[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)


def _unparsable(text: str, offset: int) -> ServingError:
    return _invalid(f"JSON Parse error: {text} at offset: {offset}")


def _misformatted(document: Any, message: str) -> ServingError:
    return _invalid(f"JSON Value: {_shown(document)} {message}")


def _wrong_type(value: Any, dtype: int) -> ServingError:
    return _invalid(f"JSON Value: {_shown(value)} Type: {_json_type(value)} is not of expected type: {_type_name(dtype)}")
