"""TensorFlow Lite models, run by the interpreter of the installed TensorFlow wheel and without TensorFlow's Python package.

    runtime = LiteRuntime(TensorFlowRuntime.load_library(), interpreters=2)
    model = runtime.load(Path("/models/intents/3"), LoadOptions())      # its model.tflite; a SavedModel if there is none

As on the stock server, `--prefer_tflite_model` asks for it. Signatures are those that the file names; a file that names none has one,
the default one, whose aliases are the names of its tensors. What the stock server reads from a file's metadata instead, SignatureDefs
that TensorFlow Lite itself does not know, is not read here.

An interpreter runs one request at a time, so a model has several.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import pathlib
import queue
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serving import tensors
from serving.messages import DataType, SignatureDef
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.runtime import LoadedModel, LoadOptions, Runtime
from serving.tensors import Tensor

MODEL_FILE = "model.tflite"
_DEFAULT_SIGNATURE = "serving_default"
_PREDICT_METHOD = "tensorflow/serving/predict"
_MODULE = "tensorflow.lite.python._pywrap_tensorflow_interpreter_wrapper"
# The interpreter's own ops; it has a second set that is only good for its tests.
_BUILT_IN_OPS = 1
_MAIN_GRAPH = 0


class LiteRuntime:
    """Loads model.tflite where a version has one, and leaves other versions to another runtime."""

    def __init__(self, other: Runtime, interpreters: int):
        """A runtime for both kinds of models.

        Args:
            other: What loads SavedModels.
            interpreters: How many requests a TensorFlow Lite model runs at a time.
        """
        self.version = other.version
        self._other = other
        self._interpreters = interpreters

    def load(self, path: pathlib.Path, options: LoadOptions) -> LoadedModel:
        """See `Runtime.load`."""
        file = path / MODEL_FILE
        return LiteModel(file, self._interpreters) if file.is_file() else self._other.load(path, options)


class LiteModel:
    """A model in interpreters; see `LoadedModel`. Names of tensors are what the file calls them, made unique by their number."""

    def __init__(self, file: pathlib.Path, interpreters: int):
        self.tags: Sequence[str] = ("serve",)
        self.tensorflow_version = ""
        self._file = file
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        first = self._interpreter()
        self._indices: dict[str, int] = {}
        self.signatures: Mapping[str, Any] = self._signatures(first)
        self._free.put(first)
        for _ in range(interpreters - 1):
            self._free.put(self._interpreter())

    def run(self, feeds: Mapping[str, Any], fetches: Sequence[str], timeout_ms: int = 0) -> list[Tensor]:
        """See `LoadedModel.run`. A run cannot be interrupted: `timeout_ms` is ignored."""
        arrays = {self._index(name): _array(name, value) for name, value in feeds.items()}
        wanted = [self._index(name) for name in fetches]
        with self._borrowed() as interpreter:
            self._feed(interpreter, arrays)
            interpreter.Invoke()
            return [Tensor.of(interpreter.GetTensor(index, _MAIN_GRAPH)) for index in wanted]

    def close(self) -> None:
        """See `LoadedModel.close`."""
        while not self._free.empty():
            self._free.get()

    def _feed(self, interpreter: Any, arrays: Mapping[int, np.ndarray[Any, np.dtype[Any]]]) -> None:
        for number, (index, array) in enumerate(arrays.items()):
            expected, given = (_type_name(kind) for kind in (interpreter.TensorType(index, _MAIN_GRAPH), array.dtype))
            if expected != given:
                raise ServingError(StatusCode.INVALID_ARGUMENT, f"Expects arg[{number}] to be {expected} but {given} is provided")
            interpreter.ResizeInputTensor(index, np.array(array.shape, np.int32), False, _MAIN_GRAPH)
        interpreter.AllocateTensors(_MAIN_GRAPH)
        for index, array in arrays.items():
            interpreter.SetTensor(index, array, _MAIN_GRAPH)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Any]:
        """An interpreter that nobody else uses meanwhile. One that failed is replaced, as its tensors may be half allocated."""
        interpreter = self._free.get()
        try:
            yield interpreter
        except (RuntimeError, ValueError) as error:
            interpreter = self._interpreter()
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"{error}") from error
        finally:
            self._free.put(interpreter)

    def _interpreter(self) -> Any:
        try:
            made = _wrapper().CreateWrapperFromFile(str(self._file), _BUILT_IN_OPS, [], [], False, False, 1, False)
            made.AllocateTensors(_MAIN_GRAPH)
        except (RuntimeError, ValueError) as error:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"Cannot load {self._file}: {error}") from error
        return made

    def _signatures(self, interpreter: Any) -> dict[str, Any]:
        named = interpreter.GetSignatureDefs() or {}
        if not named:
            sides = {"inputs": interpreter.InputIndices(), "outputs": interpreter.OutputIndices()}
            named = {
                _DEFAULT_SIGNATURE: {
                    side: {interpreter.TensorName(int(index), _MAIN_GRAPH): int(index) for index in indices}
                    for side, indices in sides.items()
                }
            }
        return {name: self._signature(interpreter, sides) for name, sides in named.items()}

    def _signature(self, interpreter: Any, sides: Mapping[str, Mapping[str, int]]) -> Any:
        definition = SignatureDef(method_name=_PREDICT_METHOD)
        for side, described in (("inputs", definition.inputs), ("outputs", definition.outputs)):
            for alias, index in sides[side].items():
                name = f"{interpreter.TensorName(index, _MAIN_GRAPH)}#{index}"
                self._indices[name] = index
                described[alias].name = name
                described[alias].dtype = DataType.Value(f"DT_{_type_name(interpreter.TensorType(index, _MAIN_GRAPH)).upper()}")
                for size in interpreter.TensorSizeSignature(index, _MAIN_GRAPH):
                    described[alias].tensor_shape.dim.add().size = int(size)
        return definition

    def _index(self, name: str) -> int:
        try:
            return self._indices[name]
        except KeyError as error:
            raise ServingError(StatusCode.NOT_FOUND, f"The model has no tensor {name}") from error


@functools.cache
def _wrapper() -> Any:
    """The wheel's module that wraps the interpreter, under the name that an import of TensorFlow later finds it by: it loads once.

    Raises:
        ServingError: UNAVAILABLE; it is not installed.
    """
    if _MODULE in sys.modules:
        return sys.modules[_MODULE]
    package = importlib.util.find_spec("tensorflow")
    folders = list(package.submodule_search_locations or ()) if package is not None else []
    files = [
        file for folder in folders for file in pathlib.Path(folder, "lite", "python").glob(f"{_MODULE.rpartition('.')[2]}.*so")
    ]
    if not files:
        raise ServingError(StatusCode.UNAVAILABLE, "the installed TensorFlow has no interpreter of TensorFlow Lite models")
    loader = importlib.machinery.ExtensionFileLoader(_MODULE, str(files[0]))
    specification = importlib.util.spec_from_loader(_MODULE, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    sys.modules[_MODULE] = module
    return module


def _array(name: str, value: Any) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        return value.array if isinstance(value, Tensor) else tensors.from_proto(value).array
    except tensors.MalformedTensorProtoError as error:
        raise MalformedTensorError(name) from error


def _type_name(kind: Any) -> str:
    """TensorFlow's name of a numpy type."""
    name = np.dtype(kind).name
    return {"float16": "half", "float32": "float", "float64": "double", "object": "string"}.get(
        "object" if name.startswith(("bytes", "str")) else name, name
    )
