"""Models run by TensorFlow's own C++ session, through its C API and without its Python package.

    runtime = TensorFlowRuntime.load_library()
    model = runtime.load(Path("/models/intents/3"), LoadOptions())
    model.signatures["serving_default"].inputs["text"].name     # "serving_default_text:0"
    [scores] = model.run({"serving_default_text:0": Tensor.of(["turn on the light"])}, ["StatefulPartitionedCall:0"])
    model.close()

This is the session that tensorflow_model_server runs models on by default, so results, status codes and error texts are the same.
The library comes from the installed TensorFlow wheel and loads in under a second; importing the Python package would take ten. The
C API keeps no global state that matters here and is thread-safe: one model may run on many threads at once, and neither loading nor
running holds Python's lock.

Everything above this module knows the two protocols `Runtime` and `LoadedModel` only, which a test replaces by a fake.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import importlib.machinery
import math
import os
import pathlib
import struct
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving import tensors
from serving.messages import ConfigProto, DataType, MetaGraphDef, RunOptions, wire
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.tensors import Tensor


@dataclasses.dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded and run.

    Attributes:
        tags: The tags of the graph to load from the SavedModel.
        intra_op_threads: Threads that share the work of one op, 0 for as many as CPUs. The first model loaded decides for the
            process: TensorFlow keeps one pool.
        inter_op_threads: Threads that run ops side by side, 0 for as many as CPUs; one pool of the process as well.
        run_on_calling_thread: Run every op of a request on the thread that calls `run`. Small models answer two to three times
            faster, as no work changes threads, and many callers still use all CPUs; a wide graph called seldom gains from False.
            A run on the calling thread cannot be interrupted: its `timeout_ms` is ignored.
        use_gpu: Let the session take GPUs.
    """

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    run_on_calling_thread: bool = True
    use_gpu: bool = False


class LoadedModel(Protocol):
    """One version of a model, ready to run. Thread-safe.

    Attributes:
        signatures: The SavedModel's signatures (`SignatureDef` messages) by name.
        tags: The tags of the graph that was loaded.
        tensorflow_version: The release that wrote the model, "" if it does not say.
    """

    signatures: Mapping[str, Any]
    tags: Sequence[str]
    tensorflow_version: str

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int = 0) -> list[Tensor]:
        """Runs the graph once.

        Args:
            feeds: Values by tensor name ("x:0", or "x" for its first output): `Tensor`s or `TensorProto` messages, whichever is at
                hand. Their order is the order of the arguments in the runtime's error texts.
            fetches: Names of the tensors wanted.
            timeout_ms: Milliseconds after which the run ends with DEADLINE_EXCEEDED; 0 for no limit.

        Returns:
            The tensors in the order of `fetches`.

        Raises:
            MalformedTensorError: A TensorProto cannot be decoded; names the feed.
            ServingError: With the runtime's code and text.
        """
        ...

    def close(self) -> None:
        """Gives the model's memory back, once runs in progress have ended; later ones fail. Closing twice does nothing."""
        ...


class Runtime(Protocol):
    """Something that loads SavedModels.

    Attributes:
        version: The version of the runtime, for example "2.21.0".
    """

    version: str

    def load(self, path: pathlib.Path, options: LoadOptions) -> LoadedModel:
        """Loads the SavedModel in a directory, its variables and assets, and runs its initialisation.

        Raises:
            ServingError: With the runtime's code and text; NOT_FOUND where there is no SavedModel.
        """
        ...


class _Buffer(ctypes.Structure):
    """TF_Buffer, as the C API fills it."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


class _Bytes(ctypes.Structure):
    """TF_Buffer that points to an object of bytes and keeps it alive."""

    _fields_ = (("data", ctypes.c_char_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


class _Output(ctypes.Structure):
    """TF_Output: one output of one operation."""

    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


_pointer, _int, _int64, _size, _text = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_size_t, ctypes.c_char_p
# Calls that compute, read files or free much memory: Python's lock is released around them.
_LONG_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_LoadSessionFromSavedModel": (
        _pointer,
        (_pointer, _pointer, _text, _pointer, _int, _pointer, _pointer, _pointer),
    ),
    "TF_SessionRun": (
        None,
        (_pointer, _pointer, _pointer, _pointer, _int, _pointer, _pointer, _int, _pointer, _int, _pointer, _pointer),
    ),
    "TF_CloseSession": (None, (_pointer, _pointer)),
    "TF_DeleteSession": (None, (_pointer, _pointer)),
    "TF_DeleteGraph": (None, (_pointer,)),
    "TF_TensorFromProto_long": (None, (_pointer, _pointer, _pointer)),
}
# Calls of some hundred nanoseconds: they keep Python's lock, as giving it away and waiting for it again costs far more.
_SHORT_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "TF_Version": (_text, ()),
    "TF_NewStatus": (_pointer, ()),
    "TF_DeleteStatus": (None, (_pointer,)),
    "TF_GetCode": (_int, (_pointer,)),
    "TF_Message": (_text, (_pointer,)),
    "TF_NewSessionOptions": (_pointer, ()),
    "TF_DeleteSessionOptions": (None, (_pointer,)),
    "TF_SetConfig": (None, (_pointer, _text, _size, _pointer)),
    "TF_NewGraph": (_pointer, ()),
    "TF_GraphOperationByName": (_pointer, (_pointer, _text)),
    "TF_OperationNumOutputs": (_int, (_pointer,)),
    "TF_NewBuffer": (_pointer, ()),
    "TF_DeleteBuffer": (None, (_pointer,)),
    "TF_AllocateTensor": (_pointer, (_int, _pointer, _int, _size)),
    "TF_DeleteTensor": (None, (_pointer,)),
    "TF_TensorFromProto": (None, (_pointer, _pointer, _pointer)),
    "TF_OperationOutputType": (_int, (_Output,)),
    "TF_NumDims": (_int, (_pointer,)),
    "TF_Dim": (_int64, (_pointer, _int)),
    "TF_TensorData": (_pointer, (_pointer,)),
}
# The enumeration's wrapper looks a name up for a microsecond, each time.
_STRING, _BOOL = DataType.DT_STRING, DataType.DT_BOOL
# The bytes of a string element; see tensorflow/tsl/platform/ctstring_internal.h of the wheel. The lowest two bits tell its form and
# the bits above them its size: SMALL has the characters in place, LARGE is (size, capacity, pointer), OFFSET is (size, distance
# from the element itself), VIEW is (size, pointer, owner).
_STRING_BYTES = 24
_SMALL, _LARGE, _OFFSET = 0, 1, 2
_THREE_WORDS, _TWO_HALF_WORDS = struct.Struct("<3Q"), struct.Struct("<2I")
# Tensors above this are parsed and copied without holding Python's lock.
_MUCH_BYTES = 1 << 16
# A graph's reference to a variable has its type plus this.
_REFERENCE = 100
_KNOWN_CODES = frozenset(StatusCode)
# A caller may ask for any subset of a signature's outputs.
_MAX_PLANS = 256


class TensorFlowRuntime:
    """The runtime of the installed TensorFlow wheel; `load_library` makes the process's one."""

    def __init__(self, folder: pathlib.Path):
        """Loads the libraries in a folder.

        Raises:
            OSError: They cannot be loaded.
        """
        # Read once, when the library first logs. It would write the content of requests that fail; all errors come back as statuses.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _quiet_start():
            for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
                # Global, because the second looks for the symbols of the first.
                library = ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        holding = ctypes.PyDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        self._c = types.SimpleNamespace()
        for calls, source in ((_LONG_CALLS, library), (_SHORT_CALLS, holding)):
            for call, (result, arguments) in calls.items():
                function = getattr(source, call.removesuffix("_long"))
                function.restype, function.argtypes = result, arguments
                setattr(self._c, call, function)
        self._c.memmove = ctypes.PYFUNCTYPE(_pointer, _pointer, _text, _size)(("memmove", ctypes.PyDLL(None)))
        self.version: str = self._c.TF_Version().decode()

    @classmethod
    @functools.cache
    def load_library(cls) -> TensorFlowRuntime:
        """Finds and loads the installed TensorFlow's libraries, without importing it: under a second.

        Raises:
            ServingError: UNAVAILABLE; it is not installed or cannot be loaded here.
        """
        # On the path, as a process that must not import it may have put something in its place.
        spec = importlib.machinery.PathFinder.find_spec("tensorflow")
        if spec is None or not spec.submodule_search_locations:
            raise ServingError(StatusCode.UNAVAILABLE, "the package tensorflow is not installed; its libraries run the models")
        folder = pathlib.Path(next(iter(spec.submodule_search_locations)))
        try:
            return cls(folder)
        except OSError as error:
            raise ServingError(StatusCode.UNAVAILABLE, f"cannot load TensorFlow's libraries from {folder}: {error}") from error

    def load(self, path: pathlib.Path, options: LoadOptions) -> SessionModel:
        """See `Runtime.load`."""
        config = ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads,
            inter_op_parallelism_threads=options.inter_op_threads,
            device_count={} if options.use_gpu else {"GPU": 0},
            allow_soft_placement=True,
        ).SerializeToString()
        c, call = self._c, _Call(self._c)
        settings, graph, buffer = c.TF_NewSessionOptions(), c.TF_NewGraph(), c.TF_NewBuffer()
        try:
            c.TF_SetConfig(settings, config, len(config), call.status)
            call.check()
            tags = (_text * len(options.tags))(*(tag.encode() for tag in options.tags))
            session = c.TF_LoadSessionFromSavedModel(
                settings, None, os.fsencode(path), tags, len(tags), graph, buffer, call.status
            )
            call.check()
            return SessionModel(c, session, graph, _description(_Buffer.from_address(buffer)), options)
        except BaseException:
            c.TF_DeleteGraph(graph)
            raise
        finally:
            c.TF_DeleteBuffer(buffer)
            c.TF_DeleteSessionOptions(settings)


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Drops what the libraries tell about the machine while they are loaded, before they heed any log level; errors pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                said.seek(0)
                for line in said:
                    if not line.startswith((b"I0000", b"W0000", b"WARNING: All log messages before absl::InitializeLog()")):
                        os.write(2, line)
    finally:
        os.close(kept)


class _Call:
    """What one call of the C API at a time needs. A thread keeps its own, as making one takes longer than using it.

    Attributes:
        status: A TF_Status.
        buffer, buffer_address: A TF_Buffer to point to the bytes of an argument.
    """

    def __init__(self, c: Any):
        self._c = c
        self.status = c.TF_NewStatus()
        self.buffer = _Bytes()
        self.buffer_address = ctypes.addressof(self.buffer)

    def __del__(self) -> None:
        self._c.TF_DeleteStatus(self.status)

    def check(self) -> None:
        """Raises the error that the last call reported, if any."""
        number = self._c.TF_GetCode(self.status)
        if number:
            code = StatusCode(number) if number in _KNOWN_CODES else StatusCode.UNKNOWN
            raise ServingError(code, self._c.TF_Message(self.status).decode("utf-8", "replace"))


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """What the names of one combination of feeds and fetches stand for.

    Attributes:
        inputs, outputs: Arrays of TF_Output.
        input_values, output_values: Types of arrays of TF_Tensor for one run.
        kinds: The `DataType` and the numpy type of every output.
    """

    inputs: Any
    outputs: Any
    input_values: Any
    output_values: Any
    kinds: tuple[tuple[int, np.dtype[Any]], ...]


class SessionModel:
    """A SavedModel in a C++ session; see `LoadedModel`."""

    def __init__(self, c: Any, session: int, graph: int, meta_graph: Any, options: LoadOptions):
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)
        self.tags: Sequence[str] = tuple(meta_graph.meta_info_def.tags)
        self.tensorflow_version: str = meta_graph.meta_info_def.tensorflow_version
        self._c = c
        self._session = session
        self._graph = graph
        self._on_calling_thread = options.run_on_calling_thread
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], _Plan] = {}
        self._calls = threading.local()
        self._closing = threading.Lock()
        self._closed = False
        # An entry for each run in progress: append and pop of a list are atomic and take less time than a lock.
        self._running: list[None] = []

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int = 0) -> list[Tensor]:
        """See `LoadedModel.run`."""
        # First announce the run, then look whether the model is closed; `close` does it the other way round and misses none.
        self._running.append(None)
        try:
            if self._closed:
                raise ServingError(StatusCode.UNAVAILABLE, "The model has been unloaded.")
            try:
                call: _Call = self._calls.call
            except AttributeError:
                call = self._calls.call = _Call(self._c)
            return self._run(call, feeds, fetches, timeout_ms)
        finally:
            self._running.pop()

    def close(self) -> None:
        """See `LoadedModel.close`."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            while self._running:
                time.sleep(0.001)
            call = _Call(self._c)
            self._c.TF_CloseSession(self._session, call.status)
            self._c.TF_DeleteSession(self._session, call.status)
            self._c.TF_DeleteGraph(self._graph)
            self._plans.clear()
            # The C library keeps freed memory for itself: a tenth of what a server with a small model takes.
            _give_freed_memory_back()

    def _run(self, call: _Call, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int) -> list[Tensor]:
        c = self._c
        plan = self._plan(tuple(feeds), tuple(fetches))
        inputs, outputs = plan.input_values(), plan.output_values()
        try:
            for index, (name, value) in enumerate(feeds.items()):
                inputs[index] = self._tensor_of(call, name, value)
            options = _run_options(0 if self._on_calling_thread else timeout_ms, self._on_calling_thread)
            c.TF_SessionRun(
                self._session,
                options.address,
                plan.inputs,
                inputs,
                len(inputs),
                plan.outputs,
                outputs,
                len(outputs),
                None,
                0,
                None,
                call.status,
            )
            call.check()
            return [self._read(pointer, *kind) for pointer, kind in zip(outputs, plan.kinds, strict=True)]
        finally:
            for pointers in (inputs, outputs):
                for pointer in pointers:
                    if pointer:
                        c.TF_DeleteTensor(pointer)

    def _plan(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Plan:
        plan = self._plans.get((feeds, fetches))
        if plan is None:
            inputs = self._outputs(feeds, "FeedInputs: unable to find feed output {}")
            outputs = self._outputs(fetches, "FetchOutputs node {}: not found")
            kinds = tuple(self._kind(output) for output in outputs)
            plan = _Plan(inputs, outputs, _pointer * len(feeds), _pointer * len(fetches), kinds)
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[feeds, fetches] = plan
        return plan

    def _outputs(self, names: tuple[str, ...], not_found: str) -> Any:
        outputs = (_Output * len(names))()
        for output, name in zip(outputs, names, strict=True):
            operation, _, index = name.partition(":")
            output.operation = self._c.TF_GraphOperationByName(self._graph, operation.encode())
            output.index = int(index) if index.isdecimal() else 0
            if not output.operation or output.index >= self._c.TF_OperationNumOutputs(output.operation):
                raise ServingError(StatusCode.NOT_FOUND, not_found.format(name))
        return outputs

    def _kind(self, output: _Output) -> tuple[int, np.dtype[Any]]:
        dtype = self._c.TF_OperationOutputType(output) % _REFERENCE
        try:
            return dtype, tensors.numpy_dtype(dtype)
        except TypeError as error:
            raise ServingError(StatusCode.UNIMPLEMENTED, f"{error}") from error

    def _tensor_of(self, call: _Call, name: str, value: Any) -> int:
        """A TF_Tensor of a fed value; the caller deletes it."""
        if isinstance(value, Tensor):
            if value.dtype != _STRING:
                return self._tensor_of_numbers(value)
            value = tensors.to_proto(value)
        try:
            content = value.SerializeToString()
            elements = math.prod(tensors.declared_shape(value))
            tensors.check_expansion(value, elements, len(content))
        except tensors.MalformedTensorProtoError as error:
            raise MalformedTensorError(name) from error
        c = self._c
        call.buffer.data = content
        call.buffer.length = len(content)
        pointer: int = c.TF_AllocateTensor(_BOOL, None, 0, 1)
        parse = c.TF_TensorFromProto if max(len(content), elements) < _MUCH_BYTES else c.TF_TensorFromProto_long
        parse(call.buffer_address, pointer, call.status)
        if c.TF_GetCode(call.status):
            c.TF_DeleteTensor(pointer)
            raise MalformedTensorError(name)
        return pointer

    def _tensor_of_numbers(self, value: Tensor) -> int:
        c, array = self._c, value.array
        size = array.nbytes
        pointer: int = c.TF_AllocateTensor(value.dtype, _dimensions(array.shape), array.ndim, size)
        if size < _MUCH_BYTES:
            c.memmove(c.TF_TensorData(pointer), array.tobytes(), size)
        else:
            array = np.ascontiguousarray(array)
            ctypes.memmove(c.TF_TensorData(pointer), array.ctypes.data, size)
        return pointer

    def _read(self, pointer: int, dtype: int, storage: np.dtype[Any]) -> Tensor:
        c = self._c
        shape = tuple([c.TF_Dim(pointer, index) for index in range(c.TF_NumDims(pointer))])
        elements = math.prod(shape)
        if dtype == _STRING:
            return Tensor.of_elements(dtype, shape, _read_strings(c.TF_TensorData(pointer), elements))
        size = elements * storage.itemsize
        if size <= _MUCH_BYTES:
            return Tensor.of_elements(dtype, shape, ctypes.string_at(c.TF_TensorData(pointer), size) if size else b"")
        array = np.empty(shape, storage)
        ctypes.memmove(array.ctypes.data, c.TF_TensorData(pointer), size)
        return Tensor(dtype, array)


@functools.lru_cache(maxsize=1024)
def _dimensions(shape: tuple[int, ...]) -> Any:
    return (_int64 * len(shape))(*shape)


def _description(buffer: _Buffer) -> Any:
    """The tags, version and signatures of a serialized MetaGraphDef.

    Not its graph, which may hold a model's weights: parsing them would take memory and keep Python's lock for long.
    """
    content = memoryview((ctypes.c_ubyte * buffer.length).from_address(buffer.data)).cast("B")
    wanted = [
        wire.field(number, payload)
        for number in (MetaGraphDef.META_INFO_DEF_FIELD_NUMBER, MetaGraphDef.SIGNATURE_DEF_FIELD_NUMBER)
        for payload in wire.length_delimited(content, number)
    ]
    return MetaGraphDef.FromString(b"".join(wanted))


class _RunOptions:
    """Serialized run options where the C API can read them."""

    def __init__(self, timeout_ms: int, on_calling_thread: bool):
        options = RunOptions(timeout_in_ms=timeout_ms, inter_op_thread_pool=-1 if on_calling_thread else 0)
        content = options.SerializeToString()
        self._buffer = _Bytes(content, len(content), None)
        self.address = ctypes.addressof(self._buffer)


@functools.lru_cache(maxsize=4096)
def _run_options(timeout_ms: int, on_calling_thread: bool) -> _RunOptions:
    return _RunOptions(timeout_ms, on_calling_thread)


def _read_strings(address: int, count: int) -> list[bytes]:
    """The elements of a string tensor as bytes, copied."""
    strings: list[bytes] = []
    if not count:
        return strings
    headers = ctypes.string_at(address, count * _STRING_BYTES)
    for start in range(0, len(headers), _STRING_BYTES):
        first = headers[start]
        form = first & 3
        if form == _SMALL:
            strings.append(headers[start + 1 : start + 1 + (first >> 2)])
        elif form == _OFFSET:
            size, distance = _TWO_HALF_WORDS.unpack_from(headers, start)
            strings.append(ctypes.string_at(address + start + distance, size >> 2))
        else:
            size, second, third = _THREE_WORDS.unpack_from(headers, start)
            place = third if form == _LARGE else second
            strings.append(ctypes.string_at(place, size >> 2))
    return strings


def _give_freed_memory_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim is not None:
        trim(0)
