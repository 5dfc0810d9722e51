"""A runtime without TensorFlow: a SavedModel is a file `factor`, its one signature gives y = factor * x."""

from __future__ import annotations

import threading

from serving import tensors
from serving.messages import DataType, SignatureDef, TensorProto
from serving.server.errors import ServingError, StatusCode
from serving.tensors import Tensor


def signature(inputs, outputs, method="tensorflow/serving/predict"):
    """A SignatureDef of tensor names by alias."""
    definition = SignatureDef(method_name=method)
    for alias, name in inputs.items():
        definition.inputs[alias].name = name
    for alias, name in outputs.items():
        definition.outputs[alias].name = name
    return definition


class FakeModel:
    """A loaded model that computes with a function of arrays by tensor name.

    Attributes:
        runs: The feeds of every run.
        closed: Whether it was closed.
    """

    tags = ("serve",)
    tensorflow_version = "2.21.0"

    def __init__(self, compute, signatures):
        self.signatures = signatures
        self.runs = []
        self.timeouts = []
        self.closed = False
        self._compute = compute

    def run(self, feeds, fetches, timeout_ms=0):
        assert not self.closed
        arrays = {
            name: (tensors.from_proto(value) if isinstance(value, TensorProto) else value).array for name, value in feeds.items()
        }
        self.runs.append(arrays)
        self.timeouts.append(timeout_ms)
        outputs = self._compute(arrays)
        return [Tensor.of(outputs[name]) for name in fetches]

    def close(self):
        self.closed = True


class FakeRuntime:
    """Loads version directories that hold a file `factor`.

    Attributes:
        loads: The paths of all loads, in order.
        models: Loaded models by path.
        gate: Loads wait while this is not set.
    """

    version = "fake"

    def __init__(self):
        self.loads = []
        self.models = {}
        self.gate = threading.Event()
        self.gate.set()

    def load(self, path, options):
        self.loads.append(str(path))
        self.gate.wait(10.0)
        file = path / "factor"
        if not file.exists():
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find SavedModel at {path}")
        factor = float(file.read_text())
        signatures = {"serving_default": signature({"x": "x:0"}, {"y": "y:0"})}
        model = FakeModel(lambda feeds: {"y:0": (feeds["x:0"] * factor).astype("f4")}, signatures)
        self.models[str(path)] = model
        return model


def x(*values):
    """A TensorProto of floats."""
    return tensors.to_proto(Tensor.of(list(values), DataType.DT_FLOAT))
