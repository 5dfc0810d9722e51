"""Imports what executors need, and nothing that their libraries merely offer.

TensorFlow, Keras, Beam, TFDV, TFMA and TFX import scikit-learn, IPython, cloud clients, Kubernetes and more, if they are installed, for
features that no node uses; that is nearly half of what their imports cost. Here such a package is absent while a library that can do
without it is being imported. Afterwards it is back: an executor that imports it gets it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence

from pipeline.local import lean_imports

_TFDV, _TFMA = "tensorflow_data_validation", "tensorflow_model_analysis"

# What a library imports inside `try`.
_DOES_WITHOUT = {
    # `tf.keras` loads Keras when it is first looked into.
    "tensorflow": ("keras", "sklearn", "IPython", "pandas", "googleapiclient", "tensorboard", "matplotlib"),
    "keras": ("sklearn", "IPython", "pandas", "matplotlib"),
    "apache_beam": ("pymongo", "IPython", "ipywidgets", "pandas", "matplotlib", "tensorflow_hub"),
    _TFDV: ("sklearn", "IPython", "matplotlib"),
    # IPython is for views, but without it TFMA's package ends its own import half-way, and says so on standard error only.
    _TFMA: ("sklearn", "matplotlib", "twython"),
}
# Clients of Google's services. Beam's file system for gs:// and its runner on Dataflow need them.
_CLOUD = ("google.cloud", "google.api_core", "google.pubsub_v1", "apitools")
_CLOUD_MARKS = (b"gs://", b"DataflowRunner")

# What executors' modules import, and what executors import when they run, by the import path of their class.
_NEEDS = {
    "components.ingestion.component.ExampleGenExecutor": ("components.ingestion.ingest", "components.ingestion.manifest"),
    "components.validation.component.StatisticsGenExecutor": (_TFDV, "components.validation.arrow_statistics"),
    "tfx.components.statistics_gen.executor.Executor": (_TFDV,),
    "components.validation.component.ExampleValidatorExecutor": (_TFDV,),
    "components.validation.component.DataGateExecutor": ("components.validation.data_gate",),
    "components.transform.component.TransformExecutor": ("components.transform.analysis", "components.transform.preprocessing"),
    "tfx.components.trainer.executor.GenericExecutor": ("keras", "components.training.trainer"),
    "components.evaluation.component.EvaluatorExecutor": ("keras", _TFMA, "components.evaluation.analyse"),
}


def asks_for_cloud(*messages: bytes) -> bool:
    """Says whether an executor's spec or invocation, serialized, names Google's storage or runner."""
    return any(mark in message for mark in _CLOUD_MARKS for message in messages)


def stages(executors: Sequence[str] = (), cloud: bool = False) -> Iterator[str]:
    """Imports step by step what executors need; yields the name of each thing when it is there.

    Args:
      executors: Import paths of the executors' classes; what all of them need is imported first.
      cloud: Whether Google's clients are wanted.
    """
    _face_of_tfx_components()
    _import("tensorflow")
    yield "tensorflow"
    _import("apache_beam", () if cloud else _CLOUD)
    yield "apache_beam"
    lean_imports.import_telemetry()
    _import_tfx_types()
    _import("tfx.orchestration.portable.beam_executor_operator")
    _import("tfx.orchestration.portable.python_executor_operator")
    yield "tfx"
    for path in executors:
        import_executor(path)
        yield path


def import_executor(path: str) -> None:
    """Imports an executor by the import path of its class, and what it imports when it runs."""
    for name in (*_NEEDS.get(path, ()), path.rpartition(".")[0]):
        _import(name)


def _import(name: str, more_absent: Sequence[str] = ()) -> None:
    marked = [other for other in (*_DOES_WITHOUT.get(name, ()), *more_absent) if other not in sys.modules]
    sys.modules.update(dict.fromkeys(marked))  # type: ignore[arg-type]  # None is Python's own mark for "not to be had"
    try:
        importlib.import_module(name)
    finally:
        for other in marked:
            # Some libraries put a stand-in there.
            if sys.modules.get(other, ...) is None:
                del sys.modules[other]


def _face_of_tfx_components() -> None:
    """Its __init__ would import every standard component, with Kubernetes and Docker; submodules load without it."""
    tfx = importlib.import_module("tfx")
    if "tfx.components" not in sys.modules:
        face = types.ModuleType("tfx.components")
        face.__path__ = [f"{folder}/components" for folder in tfx.__path__]
        sys.modules["tfx.components"] = face
        tfx.components = face  # type: ignore[attr-defined]


def _import_tfx_types() -> None:
    """Imports TFX's types without TFMA, of which they want no more than the protos of TFX's own Evaluator."""
    types_name = "tfx.types.standard_component_specs"
    if _TFMA in sys.modules or types_name in sys.modules:
        _import(types_name)
        return
    spec = importlib.util.find_spec(_TFMA)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"The package {_TFMA} is not installed; run `make setup`")
    face, hollow = types.ModuleType(_TFMA), types.ModuleType(f"{_TFMA}.sdk")
    face.__path__, hollow.__path__ = list(spec.submodule_search_locations), []
    sys.modules |= {module.__name__: module for module in (face, hollow)}
    try:
        _import(types_name)
    finally:
        # Whoever imports TFMA from here on gets the real one.
        for name in [name for name in sys.modules if name == _TFMA or name.startswith(f"{_TFMA}.")]:
            del sys.modules[name]
