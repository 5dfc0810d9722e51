"""Imports go one way: schemas <- components <- pipeline; serving stands alone; TFX stays at the edges; nothing imports tests."""

import ast
import pathlib

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
ALLOWED = {
    "schemas": {"schemas"},
    "components": {"schemas", "components", "serving"},
    "pipeline": {"schemas", "components", "pipeline", "serving"},
    "serving": {"schemas", "serving"},
    "benchmarks": {"schemas", "components", "pipeline", "serving", "benchmarks"},
}
OURS = {*ALLOWED, "tests"}
HEAVY = {"tensorflow", "apache_beam", "tensorflow_model_analysis", "tensorflow_transform", "tensorflow_data_validation", "keras"}


def _modules(package):
    return sorted((PROJECT / package).rglob("*.py"))


def _imported(path, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_is_below_them(package):
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in _modules(package)
        for name in _imported(path)
        if name.split(".")[0] in OURS - ALLOWED[package]
    ]
    assert not wrong


def test_only_component_modules_import_tfx():
    edges = {"component.py", "baseline.py", "executor_path.py"}
    wrong = [
        str(path.relative_to(PROJECT))
        for path in _modules("components")
        if path.name not in edges and any(name.split(".")[0] == "tfx" for name in _imported(path))
    ]
    assert not wrong


@pytest.mark.parametrize("module", ["component.py", "options.py", "gate.py"])
def test_what_describes_a_pipeline_imports_nothing_heavy(module):
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in _modules("components")
        if path.name == module
        for name in _imported(path, top_level_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert not wrong
