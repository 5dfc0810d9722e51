"""Which models to serve: TensorFlow Serving's ModelServerConfig, read, checked and turned into plain records.

    config = read_text_proto(Path("models.config"), ModelServerConfig)
    models = model_settings(config)                     # [ModelSettings(name="intents", base_path="/models/intents", ...)]
    labels = assign_labels(models, is_available, current={}, allow_unavailable=False)

What upstream refuses is refused here with the same code and text, so that a file that works here works in production. Two things
are refused earlier than upstream does, before any model is touched: a `logging_config` (the stock server loads all models and then
fails to start; requests are logged by a flag of this server instead) and a custom config (the stock server aborts).
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import text_format

from serving.messages import POOL, ModelConfig, ModelConfigList, ModelServerConfig, ModelType
from serving.server.errors import ServingError, StatusCode

PLATFORM = "tensorflow"
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://")

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions found below a base path are wanted.

    Attributes:
        latest: So many of the highest ones; 0 for all.
        specific: Only these, whatever `latest` says; None for any.
    """

    latest: int = 1
    specific: frozenset[int] | None = None

    def wanted(self, found: Sequence[int]) -> list[int]:
        """The wanted ones of the versions found, highest first."""
        descending = sorted(found, reverse=True)
        if self.specific is not None:
            return [version for version in descending if version in self.specific]
        return descending[: self.latest or None]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSettings:
    """One model to serve.

    Attributes:
        name: Its name in requests.
        base_path: The directory that holds its version directories: absolute, or a URI.
        policy: Which versions to serve.
        labels: Version numbers by label.
        platform: What runs it; always "tensorflow".
    """

    name: str
    base_path: str
    policy: VersionPolicy = dataclasses.field(default_factory=VersionPolicy)
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    platform: str = PLATFORM


def single_model(name: str, base_path: str) -> Any:
    """The ModelServerConfig that `--model_name` and `--model_base_path` stand for."""
    model = ModelConfig(name=name, base_path=base_path, model_platform=PLATFORM)
    return ModelServerConfig(model_config_list=ModelConfigList(config=[model]))


def read_text_proto(path: pathlib.Path, message_type: Any, *, secret: bool = False) -> Any:
    """Reads a configuration file in protobuf's text format.

    Args:
        path: The file.
        message_type: The class of the message it holds.
        secret: The file holds keys: the log says where it is wrong, not what is there.

    Raises:
        ServingError: NOT_FOUND or another code for a file that cannot be read; INVALID_ARGUMENT, `Invalid protobuf file: 'FILE'`, for
            one that cannot be parsed. The place and reason go to the log, as upstream writes them to stderr.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ServingError(StatusCode.NOT_FOUND, f"{path}; {error.strerror}") from error
    except PermissionError as error:
        raise ServingError(StatusCode.PERMISSION_DENIED, f"{path}; {error.strerror}") from error
    except OSError as error:
        raise ServingError(StatusCode.UNKNOWN, f"{path}; {error.strerror}") from error
    message = message_type()
    try:
        return text_format.Parse(content.decode("utf-8"), message, descriptor_pool=POOL)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        reason = str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = f"byte {error.start} is not UTF-8"
        elif secret:
            reason = f"{error.GetLine()}:{error.GetColumn()}"
        logger.error("Error parsing text-format %s: %s", message_type.DESCRIPTOR.full_name, reason)
        raise ServingError(StatusCode.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'") from (None if secret else error)


def model_settings(config: Any, previous: Any | None = None) -> list[ModelSettings]:
    """Checks a ModelServerConfig and returns its models in order.

    Args:
        config: The message, from a file, from flags or from a reload request. An empty one at the start means no models yet.
        previous: The config that holds now, if any: it is replaced as a whole, and a model in both keeps its platform.

    Raises:
        ServingError: With upstream's codes and texts.
    """
    kind = config.WhichOneof("config")
    if previous is not None and previous.WhichOneof("config") is not None and kind != "model_config_list":
        raise ServingError(
            StatusCode.FAILED_PRECONDITION,
            "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another.",
        )
    if kind == "custom_model_config":
        raise ServingError(StatusCode.INVALID_ARGUMENT, "ModelServer does not yet support custom model config.")
    models = config.model_config_list.config
    _check_names_and_paths(models)
    if previous is not None:
        _check_platforms_stay(previous.model_config_list.config, models)
    settings = [_settings(model) for model in models]
    if any(model.HasField("logging_config") for model in models):
        raise ServingError(StatusCode.INVALID_ARGUMENT, "No request-logger-creator provided.")
    return settings


def assign_labels(
    models: Sequence[ModelSettings],
    is_available: Callable[[str, int], bool],
    current: Mapping[str, Mapping[str, int]],
    allow_unavailable: bool,
) -> dict[str, dict[str, int]]:
    """The labels of all models, once each points to a version that can answer.

    Args:
        models: The models of the new configuration.
        is_available: Whether a model (by name) serves a version now.
        current: The labels that hold now: versions by label by model.
        allow_unavailable: Whether a label may point to a version that does not serve yet; never so for one that points to another
            version now, as callers that use it would be cut off.

    Raises:
        ServingError: FAILED_PRECONDITION; a label points to a version that does not serve.
    """
    assigned: dict[str, dict[str, int]] = {}
    for model in models:
        for label, version in sorted(model.labels.items()):
            moves = current.get(model.name, {}).get(label, version) != version
            if not is_available(model.name, version) and (moves or not allow_unavailable):
                raise ServingError(
                    StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference",
                )
            assigned.setdefault(model.name, {})[label] = version
    return assigned


def _check_names_and_paths(models: Sequence[Any]) -> None:
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise _invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        if not (model.base_path.startswith("/") or _URI.match(model.base_path)):
            raise _invalid(f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}")


def _check_platforms_stay(before: Sequence[Any], after: Sequence[Any]) -> None:
    platforms = {model.name: _platform(model) for model in before}
    for model in after:
        platform = _platform(model)
        if platforms.get(model.name, platform) != platform:
            raise _invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was {platforms[model.name]} "
                f"and new platform requested is {platform}"
            )


def _platform(model: Any) -> str:
    if model.model_type != ModelType.MODEL_TYPE_UNSPECIFIED:
        if model.model_platform:
            raise _invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if model.model_type == ModelType.TENSORFLOW:
            return PLATFORM
        raise _invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    if not model.model_platform:
        raise _invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return str(model.model_platform)


def _settings(model: Any) -> ModelSettings:
    platform = _platform(model)
    if platform != PLATFORM:
        raise _invalid(f"Model {model.name} requests unsupported platform {platform}")
    choice = model.model_version_policy.WhichOneof("policy_choice")
    if choice == "specific":
        policy = VersionPolicy(0, frozenset(model.model_version_policy.specific.versions))
    elif choice == "all":
        policy = VersionPolicy(0)
    else:
        policy = VersionPolicy(max(model.model_version_policy.latest.num_versions, 1))
    return ModelSettings(model.name, model.base_path, policy, dict(model.version_labels), platform)


def _invalid(message: str) -> ServingError:
    return ServingError(StatusCode.INVALID_ARGUMENT, message)
