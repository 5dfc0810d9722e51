"""Imports what executors need, and nothing that their libraries merely offer.

TensorFlow, Keras, Beam, TFDV, TFMA and TFX import scikit-learn, IPython, cloud clients, Kubernetes and more, if they are installed, for
features that no node uses; that is more than half of what their imports cost. Here such a package is absent while a library that can do
without it is being imported. Afterwards it is back: an executor that imports it gets it.

Of TFX's components and of TFMA only the modules that executors name are there: their packages have an empty face, see `lean_imports`.
TFMA's would import IPython, pandas, NLTK and what not. Keras 2, which TFMA and TensorFlow Transform want beside Keras for layers and
metrics made with it, is never there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.local import lean_imports

_TFDV, _TFMA = "tensorflow_data_validation", "tensorflow_model_analysis"

# What a library imports inside `try`.
_DOES_WITHOUT = {
    # `tf.keras` loads Keras when it is first looked into.
    "tensorflow": ("keras", "sklearn", "IPython", "pandas", "googleapiclient", "tensorboard", "matplotlib"),
    "keras": ("sklearn", "IPython", "pandas", "matplotlib"),
    "apache_beam": ("pymongo", "IPython", "ipywidgets", "pandas", "matplotlib", "tensorflow_hub"),
    _TFDV: ("sklearn", "IPython", "matplotlib"),
}
# Packages whose modules are imported one by one.
_FACES = (
    "tfx.components",
    _TFMA,
    *(f"{_TFMA}.{name}" for name in ("evaluators", "extractors", "metrics", "post_export_metrics", "utils", "validators")),
)
# The modules that import it for all others of their libraries.
_KERAS_2 = (f"{_TFMA}.utils.keras_lib", "tensorflow_transform.keras_lib")
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
    "components.evaluation.component.EvaluatorExecutor": ("components.evaluation.analyse",),
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
    for name in _FACES:
        lean_imports.add_face(name)
    _import("tensorflow")
    yield "tensorflow"
    _import("apache_beam", () if cloud else _CLOUD)
    yield "apache_beam"
    lean_imports.import_telemetry()
    for name in _KERAS_2:
        _stand_in_for_keras_2(name)
    _postpone("scipy.stats")
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


class _Nothing:
    """What a name of a library that is not there stands for: what is asked of it, or made with it, is nothing too; also a base class."""

    def __getattr__(self, name: str) -> _Nothing:
        return self

    def __call__(self, *arguments: Any, **named: Any) -> _Nothing:
        return self

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return ()


def _stand_in_for_keras_2(name: str) -> None:
    """Gives a library what it takes for `tf_keras`: classes in annotations, and the base of classes that no node uses."""
    stand_in = types.ModuleType(name)
    vars(stand_in)["tf_keras"] = _Nothing()
    sys.modules[name] = stand_in


def _postpone(name: str) -> None:
    """Lets a module be imported when something of it is first asked for; TFMA wants it for intervals that are no intervals of ours."""
    if name in sys.modules or (spec := importlib.util.find_spec(name)) is None or spec.loader is None:
        return
    loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    parent, _, leaf = name.rpartition(".")
    setattr(sys.modules[parent], leaf, module)
