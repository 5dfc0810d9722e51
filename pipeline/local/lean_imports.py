"""Makes TFX's orchestration layer importable without its executors' weight.

Importing TFX's launcher pulls in TensorFlow, Beam, TFMA and every standard component: ten seconds and a gigabyte, before the first
node has been looked at, and for a cached run for nothing. The orchestration layer itself needs none of it (it also ships alone, as
ml-pipelines-sdk). `install` therefore gives the heavy packages an empty face in this process: their protos and constants import as
usual, their `__init__` never runs. It must be called before the first import of tfx, in a process that launches nodes and never
executes them; executors run in a worker process with the real packages.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

# Each package keeps its path, so that submodules without heavy imports (protos, constants, drivers) still load.
_EMPTY_FACES = (
    "tensorflow",
    "tensorflow_model_analysis",
    "tfx.components",
    "tfx.components.evaluator",
    "tfx.components.example_gen",
)
# tfx treats these as optional and says so with `except ImportError`.
_ABSENT = ("apache_beam", "tensorflow.tools.docs")
# Imported for names that only executors use; the file system plugin would register itself in front of the local one.
_HOLLOW = ("tensorflow_model_analysis.sdk", "tfx.dsl.io.plugins.tensorflow_gfile")


def install() -> None:
    """Puts the empty faces in place.

    Raises:
      RuntimeError: TFX or TensorFlow was imported already, so it is too late to keep their weight out.
    """
    if "tensorflow" in sys.modules and not hasattr(sys.modules["tensorflow"], "__parlance_empty_face__"):
        raise RuntimeError("lean_imports.install() must be called before anything imports tensorflow or tfx")
    if hasattr(sys.modules.get("tensorflow"), "__parlance_empty_face__"):
        return
    for name in _ABSENT:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own mark for "not to be had"
    for name in _EMPTY_FACES:
        add_face(name)
    for name in _HOLLOW:
        _add(name, [])
    importlib.import_module("pipeline.local.local_files")
    import_telemetry()
    _import_without("tfx.orchestration.portable.docker_executor_operator", "docker", "errors")


def add_face(name: str) -> None:
    """Gives a package an empty face: its modules can be imported, its `__init__` never runs.

    Raises:
      ModuleNotFoundError: It is not installed.
    """
    if name == "tfx.components":
        importlib.import_module("tfx")
    if name not in sys.modules:
        _add(name, _search_path(name))


def import_telemetry() -> None:
    """Imports TFX's telemetry without Google's HTTP client, of which it wants a base class for requests to Google's services."""
    _import_without("tfx.utils.telemetry_utils", "googleapiclient", "http", HttpRequest=object)


def _import_without(name: str, package: str, submodule: str, **names: object) -> None:
    """Imports a module with a stand-in for a package that it mentions and no node uses; whoever imports that later gets the real one."""
    if package in sys.modules:
        return
    face, hollow = types.ModuleType(package), types.ModuleType(f"{package}.{submodule}")
    vars(hollow).update(names)
    setattr(face, submodule, hollow)
    sys.modules |= {module.__name__: module for module in (face, hollow)}
    try:
        importlib.import_module(name)
    finally:
        del sys.modules[face.__name__], sys.modules[hollow.__name__]


def _search_path(name: str) -> list[str]:
    parent, _, leaf = name.rpartition(".")
    if parent:
        return [f"{folder}/{leaf}" for folder in sys.modules[parent].__path__]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"The package {name} is not installed; run `make setup`")
    return list(spec.submodule_search_locations)


def _add(name: str, search_path: list[str]) -> None:
    module = types.ModuleType(name)
    module.__path__ = search_path
    module.__parlance_empty_face__ = True  # type: ignore[attr-defined]
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], leaf, module)
