"""Writes the model config file: which models and versions a server loads, and which versions its labels point to.

    intents = ModelSettings("intents", "/models/intents", VersionPolicy(0, frozenset({7, 8})), {"stable": 7, "canary": 8})
    file.write_text(model_config([intents]))

The embedded server and TensorFlow Serving read the same file, at the start and again whenever it changes. A new file replaces the
old one as a whole, so it always lists every model. The same models give the same bytes, so that two files can be compared.

A label can only be given to a version that is loaded, and servers look at labels before they load anything. To load a version and
to label it therefore takes two files, one after the other; `phases` plans them:

    for models in phases(served, wanted):
        ...write model_config(models), then wait until every version in it is AVAILABLE
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from google.protobuf import text_format

from serving.messages import POOL, ModelServerConfig
from serving.server.config import ModelSettings, VersionPolicy, model_settings
from serving.server.errors import ServingError, StatusCode


def model_config(models: Sequence[ModelSettings]) -> str:
    """Returns the file for all models that are to be served, as text; models, versions and labels in ascending order.

    A model with labels names its versions. Under a policy like `latest` the next push would unload the version that a label
    points to, and cut off every client of that label.

    Args:
        models: All of them, in any order. A request without version or label is answered by the highest version that is loaded,
            so once there is a canary, clients ask for the label `stable`.

    Raises:
        ServingError: INVALID_ARGUMENT; a name is missing or occurs twice, a path is not absolute, or a label points to a version
            that is not among those to load.
    """
    config = ModelServerConfig()
    listed = config.model_config_list.config
    for model in sorted(models, key=lambda model: model.name):
        _check(model)
        written = listed.add(name=model.name, base_path=model.base_path, model_platform=model.platform)
        policy = written.model_version_policy
        if model.policy.specific is not None:
            policy.specific.versions.extend(sorted(model.policy.specific))
        elif model.policy.latest:
            policy.latest.num_versions = model.policy.latest
        else:
            policy.all.SetInParent()
        written.version_labels.update(model.labels)
    model_settings(config)
    text: str = text_format.MessageToString(config, as_utf8=True, descriptor_pool=POOL)
    return text


def phases(served: Sequence[ModelSettings], wanted: Sequence[ModelSettings]) -> list[list[ModelSettings]]:
    """Plans the files that lead from the models served now to the wanted ones without cutting off any client.

    The first file loads what is wanted, keeps every label where it is, and keeps what the labels point to. The second one moves
    the labels and lets go of the rest: a server moves labels before it unloads. Between the two, every version of the first must
    be AVAILABLE on every server. Where no label moves to a version that may not be loaded yet, one file does.

    Args:
        served: The models of the file that all servers have taken up; none before the first file.
        wanted: The models of the file at the end.

    Returns:
        The models of each file in turn; none if the wanted ones are served already.

    Raises:
        ServingError: See `model_config`.
    """
    before = {model.name: model for model in served}
    loading = [_loading(before.get(model.name), model) for model in wanted]
    if loading != list(wanted):
        staying = {model.name for model in wanted}
        loading += [model for model in served if model.name not in staying]
    written = model_config(served)
    files: list[list[ModelSettings]] = []
    for models in (loading, list(wanted)):
        text = model_config(models)
        if text != written:
            files.append(models)
            written = text
    return files


def _loading(served: ModelSettings | None, wanted: ModelSettings) -> ModelSettings:
    """The wanted model in the first file: its versions and those served now by name, and the labels of now."""
    labels = dict(served.labels) if served else {}
    loaded = (served.policy.specific or frozenset()) if served else frozenset()
    if wanted.policy.specific is None or all(
        labels.get(label) == version or version in loaded for label, version in wanted.labels.items()
    ):
        return wanted
    return dataclasses.replace(wanted, policy=VersionPolicy(0, wanted.policy.specific | loaded), labels=labels)


def _check(model: ModelSettings) -> None:
    """Refuses what a server would take but nobody can mean."""
    if not model.name:
        raise ServingError(StatusCode.INVALID_ARGUMENT, f"Expected a name for the model in {model.base_path}")
    versions = model.policy.specific
    if versions is not None and not versions:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT,
            f"Expected versions to load of model {model.name}, got none; a server would wait for one forever",
        )
    for label, version in sorted(model.labels.items()):
        if not label or versions is None or version not in versions:
            names = "the latest or all" if versions is None else ", ".join(map(str, sorted(versions)))
            raise ServingError(
                StatusCode.INVALID_ARGUMENT,
                f"Expected label {label!r} of model {model.name} to point to a version that is loaded by its number; "
                f"got version {version}, and the versions to load are {names}",
            )
