"""Builds pipeline/kubeflow/deploy with the stand-in for kustomize, and does here the two things that it does not know."""

from __future__ import annotations

import base64
import pathlib
import shutil

import yaml

from tests.serving.deploy import kustomize

DEPLOY = pathlib.Path(__file__).resolve().parents[3] / "pipeline" / "kubeflow" / "deploy"
OVERLAYS = ["base", "overlays/database", "overlays/training"]


def tree(folder: pathlib.Path) -> pathlib.Path:
    """A copy of the manifests, with the file that their user makes from the example."""
    copied = pathlib.Path(shutil.copytree(DEPLOY, folder / "deploy"))
    shutil.copy(copied / "base" / "metadata.env.example", copied / "base" / "metadata.env")
    return copied


def build(deploy: pathlib.Path, overlay: str) -> list[kustomize.Object]:
    """The objects of an overlay of a copy, which is changed."""
    file = deploy / "base" / "kustomization.yaml"
    settings = yaml.safe_load(file.read_text())
    generators, images = settings.pop("secretGenerator", []), settings.pop("images", [])
    file.write_text(yaml.safe_dump(settings))
    images += _own_images(deploy / overlay / "kustomization.yaml") if overlay != "base" else []
    objects = kustomize.build(deploy / overlay)
    for generator in generators:
        assert generator.keys() == {"name", "envs", "options"}
        assert generator["options"].keys() == {"disableNameSuffixHash", "labels"}
        lines = [line for env in generator["envs"] for line in (deploy / "base" / env).read_text().splitlines()]
        data = {key: base64.b64encode(value.encode()).decode() for key, _, value in (line.partition("=") for line in lines)}
        metadata = {"name": generator["name"], "namespace": settings["namespace"], "labels": generator["options"]["labels"]}
        objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data, "type": "Opaque"})
    for image in images:
        for container in [container for pod in pods(objects).values() for container in pod["spec"]["containers"]]:
            if container["image"] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    for object_ in objects:  # of the account that a role is bound to, kustomize knows the namespace
        for subject in object_.get("subjects", []):
            subject["namespace"] = object_["metadata"]["namespace"]
    return objects


def _own_images(file: pathlib.Path) -> list[dict[str, str]]:
    """Takes the images out of an overlay's file."""
    settings = yaml.safe_load(file.read_text())
    images = settings.pop("images", [])
    file.write_text(yaml.safe_dump(settings))
    return images


def pods(objects: list[kustomize.Object]) -> dict[str, kustomize.Object]:
    """The templates of pods by the name of what makes them."""
    return {
        object_["metadata"]["name"]: object_["spec"]["template"]
        for object_ in objects
        if object_["kind"] in ("Job", "StatefulSet", "Deployment")
    }
