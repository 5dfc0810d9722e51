"""What `kustomize build` does, for the part of it that serving/deploy uses; anything else in a kustomization file is refused.

test_kustomize.py holds it against the real one wherever there is one, so that all other tests can do without.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[3] / "serving" / "deploy"
OVERLAYS = ["base", "overlays/dev", "overlays/production", "overlays/istio", "overlays/monitoring"]
KEYS = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "configMapGenerator",
    "patches",
    "namespace",
    "nameSuffix",
    "replicas",
    "images",
}

Object = dict[str, Any]


class BuildError(Exception):
    """A kustomization cannot be built."""


def load(path: pathlib.Path) -> list[Any]:
    """The documents of a YAML file; a key that occurs twice is an error."""

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if len(keys) != len(set(keys)):
                raise BuildError(f"{path}: a key occurs twice among {keys}")
            return super().construct_mapping(node, deep)

    return list(yaml.load_all(path.read_text(encoding="utf-8"), Strict))


def build(folder: pathlib.Path) -> list[Object]:
    """The objects of a kustomization, as they would be applied."""
    objects = _accumulate(folder)
    for generated in [object_ for object_ in objects if object_.pop("$hashed", False)]:
        _rename(generated, f"{generated['metadata']['name']}-{_hash(generated)}", objects)
    for object_ in objects:
        object_.pop("$original", None)
    return objects


def identity(object_: Object) -> tuple[str, str]:
    """Kind and name."""
    return object_["kind"], object_["metadata"]["name"]


def _accumulate(folder: pathlib.Path) -> list[Object]:
    [settings] = load(folder / "kustomization.yaml")
    if unknown := settings.keys() - KEYS:
        raise BuildError(f"{folder}: {sorted(unknown)} is not known here")
    objects: list[Object] = []
    for name in settings.get("resources", []):
        path = folder / name
        for object_ in _accumulate(path) if path.is_dir() else load(path):
            object_.setdefault("$original", object_["metadata"]["name"])
            objects.append(object_)
    if len({identity(object_) for object_ in objects}) != len(objects):
        raise BuildError(f"{folder}: two objects of one kind and name")
    for component in settings.get("components", []):
        [part] = load(folder / component / "kustomization.yaml")
        if part["kind"] != "Component" or part.keys() - {"apiVersion", "kind", "patches"}:
            raise BuildError(f"{folder / component} is no component of patches")
        objects = _patched(objects, part["patches"], folder / component)
    for generator in settings.get("configMapGenerator", []):
        _generate(objects, generator, folder)
    objects = _patched(objects, settings.get("patches", []), folder)
    for object_ in objects:
        if "namespace" in settings:
            if object_["kind"] == "Namespace":
                object_["metadata"]["name"] = settings["namespace"]
            else:
                object_["metadata"]["namespace"] = settings["namespace"]
    if suffix := settings.get("nameSuffix"):
        for object_ in objects:
            _rename(object_, object_["metadata"]["name"] + suffix, objects)
    for replicas in settings.get("replicas", []):
        named = [object_ for object_ in objects if (object_["kind"], object_["$original"]) == ("Deployment", replicas["name"])]
        _only(named)["spec"]["replicas"] = replicas["count"]
    for image in settings.get("images", []):
        containers = [container for container in _containers(objects) if container["image"].partition(":")[0] == image["name"]]
        if not containers:
            raise BuildError(f"{folder}: no container has the image {image['name']}")
        for container in containers:
            container["image"] = f"{image['name']}:{image['newTag']}"
    return objects


def _generate(objects: list[Object], generator: Object, folder: pathlib.Path) -> None:
    if generator.keys() - {"name", "files", "options", "behavior"}:
        raise BuildError(f"{folder}: {sorted(generator)} is more than is known here")
    options = generator.get("options", {})
    data = {name: (folder / name).read_text(encoding="utf-8") for name in generator["files"]}
    if generator.get("behavior") == "replace":
        _only([object_ for object_ in objects if identity(object_) == ("ConfigMap", generator["name"])])["data"] = data
        return
    metadata = {"name": generator["name"], **({"labels": options["labels"]} if "labels" in options else {})}
    hashed = not options.get("disableNameSuffixHash", False)
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": data,
            "$hashed": hashed,
            "$original": generator["name"],
        }
    )


def _patched(objects: list[Object], patches: Iterable[Object], folder: pathlib.Path) -> list[Object]:
    for patch in patches:
        content = yaml.safe_load(patch["patch"])
        if isinstance(content, dict):
            if content.pop("$patch", None) != "delete" or content.keys() != {"apiVersion", "kind", "metadata"}:
                raise BuildError(f"{folder}: patches are lists of operations, or delete an object")
            deleted = _only([object_ for object_ in objects if identity(object_) == identity(content)])
            objects = [object_ for object_ in objects if object_ is not deleted]
            continue
        target = patch["target"]
        matching = [
            object_
            for object_ in objects
            if object_["kind"] == target["kind"] and target.get("name") in (None, identity(object_)[1])
        ]
        if not matching:
            raise BuildError(f"{folder}: a patch is for {target}, and there is no such object")
        for object_ in matching:
            for operation in content:
                _operate(object_, copy.deepcopy(operation))
    return objects


def _operate(object_: Object, operation: Object) -> None:
    """RFC 6902, `add` and `replace`."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = object_
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    if isinstance(place, list):
        if operation["op"] != "add" or last != "-":
            raise BuildError(f"{operation} on a list")
        place.append(operation["value"])
    elif operation["op"] == "add" or (operation["op"] == "replace" and last in place):
        place[last] = operation["value"]
    else:
        raise BuildError(f"{operation} finds nothing to do in {identity(object_)}")


def _rename(object_: Object, name: str, objects: list[Object]) -> None:
    old, object_["metadata"]["name"] = object_["metadata"]["name"], name
    for other in objects:
        for kind, place, key in references(other):
            if (kind, place[key]) == (object_["kind"], old):
                place[key] = name


def references(object_: Object) -> Iterator[tuple[str, Object, str]]:
    """Every place where an object names another one: the other's kind, and the mapping and key that hold its name."""
    if object_["kind"] == "Deployment":
        pod = object_["spec"]["template"]["spec"]
        yield "ServiceAccount", pod, "serviceAccountName"
        for volume in pod["volumes"]:
            if "configMap" in volume:
                yield "ConfigMap", volume["configMap"], "name"
            if "persistentVolumeClaim" in volume:
                yield "PersistentVolumeClaim", volume["persistentVolumeClaim"], "claimName"
    elif object_["kind"] == "HorizontalPodAutoscaler":
        yield object_["spec"]["scaleTargetRef"]["kind"], object_["spec"]["scaleTargetRef"], "name"


def _containers(objects: Iterable[Object]) -> Iterator[Object]:
    for object_ in objects:
        if object_["kind"] == "Deployment":
            yield from object_["spec"]["template"]["spec"]["containers"]


def _only(found: list[Object]) -> Object:
    if len(found) != 1:
        raise BuildError(f"expected one object, found {[identity(object_) for object_ in found]}")
    return found[0]


def _hash(config_map: Object) -> str:
    """The suffix kustomize gives a generated ConfigMap: ten digits of a SHA-256, in letters that spell no word."""
    content = json.dumps({"data": config_map["data"], "kind": "ConfigMap", "name": ""}, separators=(",", ":"), sort_keys=True)
    for character in "<>&":
        content = content.replace(character, f"\\u{ord(character):04x}")
    digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    return digest.translate(str.maketrans("013ae", "ghkmt"))
