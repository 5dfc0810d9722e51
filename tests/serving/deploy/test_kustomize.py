"""The stand-in for kustomize does what the real one does; and what both refuse."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest
import yaml

from tests.serving.deploy import kustomize

REAL = next(
    (command for command in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(command[0])),
    None,
)


@pytest.fixture
def tree(tmp_path) -> pathlib.Path:
    """A copy of the manifests to change."""
    return pathlib.Path(shutil.copytree(kustomize.DEPLOY, tmp_path / "deploy"))


@pytest.mark.skipif(REAL is None, reason="needs kustomize or kubectl")
class TestAgainstTheRealOne:
    @staticmethod
    def real(folder):
        shown = subprocess.run([*REAL, str(folder)], capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr
        assert not shown.stderr, "warnings, for instance of what is deprecated"
        return {kustomize.identity(object_): object_ for object_ in yaml.safe_load_all(shown.stdout)}

    @pytest.mark.parametrize("overlay", kustomize.OVERLAYS)
    def test_both_build_the_same_objects(self, overlay):
        ours = {kustomize.identity(object_): object_ for object_ in kustomize.build(kustomize.DEPLOY / overlay)}
        real = self.real(kustomize.DEPLOY / overlay)
        assert ours.keys() == real.keys()
        for name in ours:
            assert ours[name] == real[name], name

    def test_with_the_component(self, tree):
        add_batching(tree)
        ours = {kustomize.identity(object_): object_ for object_ in kustomize.build(tree / "overlays/production")}
        assert ours == self.real(tree / "overlays/production")


def add_batching(tree):
    """Lists the component in the overlay for production."""
    with open(tree / "overlays/production/kustomization.yaml", "a", encoding="utf-8") as file:
        file.write("components:\n  - ../../components/batching\n")


class TestRefusals:
    @pytest.mark.parametrize(
        ("overlay", "old", "new", "message"),
        [
            ("overlays/dev", "name: models}", "name: model}", "no such object"),
            ("overlays/dev", "path: /spec/accessModes", "path: /spec/accessMode", "finds nothing to do"),
            ("overlays/dev", "name: tensorflow-serving, count", "name: tensorflow, count", "expected one object"),
            ("overlays/dev", "namespace: parlance-dev", "namespace: a\nnamespace: b", "occurs twice"),
            ("overlays/production", "patches:", "vars:", "not known here"),
            ("base/server", "name: tensorflow/serving", "name: serving", "no container has the image"),
        ],
    )
    def test_names_that_lead_nowhere(self, tree, overlay, old, new, message):
        file = tree / overlay / "kustomization.yaml"
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(kustomize.BuildError, match=message):
            kustomize.build(tree / overlay)

    def test_a_file_that_is_missing(self, tree):
        (tree / "base/server/batching.config").unlink()
        with pytest.raises(FileNotFoundError, match=r"batching\.config"):
            kustomize.build(tree / "base")


def test_every_file_belongs_to_a_kustomization():
    """A manifest that no kustomization names is never applied."""
    named = {kustomize.DEPLOY / "README.md"}
    for kustomization in kustomize.DEPLOY.rglob("kustomization.yaml"):
        [settings] = kustomize.load(kustomization)
        names = [
            *settings.get("resources", []),
            *(file for map_ in settings.get("configMapGenerator", []) for file in map_["files"]),
        ]
        named |= {kustomization, *(kustomization.parent / name for name in names)}
    assert {path for path in kustomize.DEPLOY.rglob("*") if path.is_file()} <= {path.resolve() for path in named}
