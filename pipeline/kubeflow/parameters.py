"""Runtime parameters: settings of the pipeline file that each run of one compiled pipeline may have otherwise.

A run with a parameter is the run of the pipeline file with that setting, down to the last byte of what ML Metadata sees, so that it
meets the cache entries such a file's runs left. The compiler therefore compiles the file twice, as it is and with a mark in the place
of each parameter's value. Wherever the value flows to, the mark flows too. A step puts the run's value there, in the same spelling.
Settings that decide about more than their own value leave other traces than the mark; they are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydantic
import pydantic_core
import yaml
from tfx.proto import example_gen_pb2
from tfx.proto.orchestration import pipeline_pb2
from tfx.utils import proto_utils

import components
import serving
from components.errors import UsageError
from components.ingestion import source_path
from components.ingestion.options import DatabaseSource, FileSource
from pipeline import config as config_module
from pipeline.config import PipelineConfig

# Holds the pipeline file and the parameters of a node until `substitute` takes it away. The launcher never sees it.
_PROPERTY = "parlance_runtime_parameters"
# On nodes of an image with other code than the package was compiled with, so that results of one are never taken for the other's.
_OTHER_CODE = "parlance_image_code"
# Found raw in text that pydantic wrote and escaped in text of Python's json, which tells in whose spelling the value goes there.
_MARK = "«parameter:{}»"
_MARKS = re.compile(r'"(?:«|\\u00ab)parameter:([a-z0-9_]+)(?:»|\\u00bb)"')
# Every step says that it works on a sample, whether it has to know or not.
_SHOWN_EVERYWHERE = "data.sample"
_ABSENT = ""  # what stands for null on the command line of a step


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A runtime parameter.

    Attributes:
      name: Its name in Kubeflow.
      setting: The setting of the pipeline file it stands for.
      default: What a run has that is not given a value: a bool, int, float or text. Lists and mappings are JSON text, null is empty text.
      choices: Values of the setting by what the run is given; None if the run is given the value itself.
    """

    name: str
    setting: str
    default: bool | int | float | str
    choices: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Bound:
    """A compiled pipeline that waits for the values of its parameters.

    Attributes:
      pipeline: TFX's intermediate representation, to be given to `substitute` node by node or as a whole.
      parameters: All parameters.
      used: Names of the parameters that each node needs, by node id.
    """

    pipeline: pipeline_pb2.Pipeline
    parameters: Mapping[str, Parameter]
    used: Mapping[str, tuple[str, ...]]


def declare(config: PipelineConfig) -> dict[str, Parameter]:
    """Returns the runtime parameters of a pipeline file: those it names, and unless it says otherwise what most schedules vary.

    Raises:
      UsageError: A parameter names a setting that does not exist, or has choices that do not fit it.
    """
    values = config.effective()
    settings: dict[str, Any] = {name: {"setting": setting} for name, setting in _usual(config).items()}
    settings.update({name: entry and entry.model_dump() for name, entry in config.kubeflow.parameters.items()})
    declared = {}
    for name, entry in sorted(settings.items()):
        if entry is None:
            continue
        place = f"kubeflow.parameters.{name}"
        setting, choices = entry["setting"], entry.get("choices")
        if setting.split(".")[0] in config_module.WHERE_IT_RUNS:
            raise UsageError(f"{place}: {setting} says how and where the pipeline runs, which is fixed when it is compiled")
        value = _get(values, setting, place)
        if choices is None:
            declared[name] = Parameter(name, setting, _spelled(value))
            continue
        for choice, chosen in choices.items():
            _with(values, {setting: chosen}, f"With {place}.choices.{choice} the pipeline file")
        declared[name] = Parameter(name, setting, entry["default"], choices)
    return declared


def _usual(config: PipelineConfig) -> dict[str, str]:
    source, settings = config.data.source, {"sample": "data.sample", "epochs": "model.epochs"}
    if isinstance(source, DatabaseSource):
        span = {"span": "data.source.incremental.span"} if source.incremental is not None else {}
        return {**span, **settings}
    if not isinstance(source, FileSource):
        sizes = [name for name in ("rows", "texts") if name in type(source).model_fields]
        return {**{name: f"data.source.{name}" for name in sizes}, **settings}
    span = {"span": "data.source.span"} if "{SPAN}" in source.path else {}
    return {"data_path": "data.source.path", **span, **settings}


def overridden(config: PipelineConfig, values: Mapping[str, str]) -> PipelineConfig:
    """Returns the pipeline file that a run with these values of parameters is the run of.

    Args:
      config: The pipeline file that is compiled.
      values: Text by parameter name, as on a command line; parameters that are not named have their defaults.

    Raises:
      UsageError: There is no such parameter, or the pipeline file would not be valid with a value.
    """
    return _overridden(config.effective(), declare(config), values)


def _overridden(effective: Mapping[str, Any], declared: Mapping[str, Parameter], values: Mapping[str, str]) -> PipelineConfig:
    if unknown := sorted(values.keys() - declared.keys()):
        raise UsageError(f"There is no runtime parameter {unknown[0]!r}; parameters: {', '.join(declared) or 'none'}")
    settings = {}
    for name, parameter in declared.items():
        text = values.get(name)
        if parameter.choices is not None:
            choice = text if text is not None else str(parameter.default)
            if choice not in parameter.choices:
                raise UsageError(f"The runtime parameter {name} is one of: {', '.join(parameter.choices)}; received {choice!r}")
            settings[parameter.setting] = parameter.choices[choice]
        elif text is not None:
            settings[parameter.setting] = _read(text, _get(effective, parameter.setting, name), name)
    return place(
        _with(
            effective,
            settings,
            f"With the runtime parameters {', '.join(sorted(values)) or 'at their defaults'} the pipeline file",
        )
    )


def place(config: PipelineConfig) -> PipelineConfig:
    """Returns the pipeline file with the place of its data inside a step's container.

    A relative path, which locally starts at the working directory, starts at the volume's mount.

    Raises:
      UsageError: The data cannot be reached from a step.
    """
    source = config.data.source
    if not isinstance(source, FileSource) or source.path.startswith(source_path.PACKAGE) or os.path.isabs(source.path):
        return config
    if "://" in source.path:
        raise UsageError(
            f"data.source.path must be a path inside the step's container; received {source.path!r}. Ingestion reads rows through the "
            "file system: mount the bucket as a volume (kubeflow.nodes.ExampleGen.volumes) and name the path below its mount"
        )
    if config.kubeflow.volume is None:
        raise UsageError(
            f"data.source.path is relative and there is no volume it could be relative to; received {source.path!r}. "
            "Give kubeflow.volume, or an absolute path"
        )
    path = os.path.join(config.kubeflow.volume.mount, source.path)
    placed = source.model_copy(update={"path": path})
    return config.model_copy(update={"data": config.data.model_copy(update={"source": placed})})


def bind(compile_pipeline: Callable[[PipelineConfig], pipeline_pb2.Pipeline], config: PipelineConfig) -> Bound:
    """Compiles a pipeline file so that its runtime parameters can still be given.

    Args:
      compile_pipeline: Compiles a pipeline file.
      config: The pipeline file.

    Raises:
      UsageError: A parameter stands for a setting whose value has consequences beyond itself.
    """
    config = place(config)
    declared = declare(config)
    plain = compile_pipeline(config)
    bound = _bind(compile_pipeline, config, declared, plain)
    if bound is None:
        culprits = [name for name in declared if _bind(compile_pipeline, config, {name: declared[name]}, plain) is None]
        lines = [
            f"  kubeflow.parameters.{name}: {declared[name].setting} decides about more than its own value, so it cannot change from run "
            "to run; change it with --set and compile again"
            for name in culprits or declared
        ]
        raise UsageError("These settings cannot be runtime parameters:\n" + "\n".join(lines))
    return bound


def _bind(
    compile_pipeline: Callable[[PipelineConfig], pipeline_pb2.Pipeline],
    config: PipelineConfig,
    declared: Mapping[str, Parameter],
    plain: pipeline_pb2.Pipeline,
) -> Bound | None:
    """Compiles with marks; None if putting the defaults there does not give what compiling without marks gives."""
    default = _overridden(config.effective(), declared, {})
    if default != config:  # the default of a parameter with choices is not what the file says
        plain = compile_pipeline(default)
    marked_config = default
    for name, parameter in declared.items():
        marked_config = _replaced(marked_config, parameter.setting.split("."), _MARK.format(name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydantic sees that marks are not of the settings' types
            marked = compile_pipeline(marked_config)
            marked_hash = marked_config.sha256()
    except Exception:  # whatever it was that somebody did with a value that was none
        return None
    used = {}
    for node in marked.nodes:
        node_id = node.pipeline_node.node_info.id
        texts = _texts(node.pipeline_node)
        names = {name for text in texts.values() for name in _MARKS.findall(text)}
        # The first node tells the user of a wrong value at once, not an hour later. The hash stands for the whole file.
        if not node.pipeline_node.upstream_nodes or marked_hash in texts.values():
            names = set(declared)
        names |= {name for name, parameter in declared.items() if parameter.setting == _SHOWN_EVERYWHERE}
        used[node_id] = tuple(name for name in declared if name in names)
        content = {
            # A step has no use for the schedule, and a package that did not hold it need not change with it.
            "config": {**default.effective(), "schedule": None},
            "hash": marked_hash,
            "code": code_fingerprint(),
            "parameters": {name: dataclasses.asdict(declared[name]) for name in used[node_id]},
        }
        node.pipeline_node.parameters.parameters[_PROPERTY].field_value.string_value = json.dumps(content)
    again = pipeline_pb2.Pipeline()
    again.CopyFrom(marked)
    substitute(again, {name: str(parameter.default) for name, parameter in declared.items()})
    for one, other in zip(again.nodes, plain.nodes, strict=True):
        if one.SerializeToString(deterministic=True) != other.SerializeToString(deterministic=True):
            return None
    reached = {name for node in marked.nodes for text in _texts(node.pipeline_node).values() for name in _MARKS.findall(text)}
    return Bound(marked, declared, used) if reached == set(declared) else None


def known(pipeline: pipeline_pb2.Pipeline) -> frozenset[str]:
    """Returns the names of the parameters that nodes of a pipeline take; none of one that is not from `bind`."""
    texts = [_texts(node.pipeline_node, own=True).get(_PROPERTY) for node in pipeline.nodes]
    return frozenset(name for text in texts if text is not None for name in json.loads(text)["parameters"])


def substitute(pipeline: pipeline_pb2.Pipeline, values: Mapping[str, str]) -> PipelineConfig:
    """Puts the values of runtime parameters into a pipeline, or into one node of it, before it is launched.

    Args:
      pipeline: From `bind`, or unpacked from a step's argument; changed in place.
      values: Text by parameter name; a parameter that is not named has its default.

    Returns:
      The pipeline file as this run has it. On a node that does not need all parameters, the others have their defaults.

    Raises:
      UsageError: There is no such parameter, its value is not valid, or the pipeline is not from `bind`.
    """
    run: PipelineConfig | None = None
    known: set[str] = set()
    contents = [_take(node.pipeline_node) for node in pipeline.nodes]
    for content in contents:
        known |= content["parameters"].keys()
    if not contents:
        raise UsageError("There is no node to substitute runtime parameters in")
    if unknown := sorted(values.keys() - known):
        raise UsageError(f"There is no runtime parameter {unknown[0]!r} here; parameters: {', '.join(sorted(known)) or 'none'}")
    for node, content in zip(pipeline.nodes, contents, strict=True):
        declared = {name: Parameter(**entry) for name, entry in content["parameters"].items()}
        run = _overridden(content["config"], declared, {name: text for name, text in values.items() if name in declared})
        _fill(node.pipeline_node, run, declared, content["hash"])
        if content["code"] != code_fingerprint() and node.pipeline_node.parameters.parameters:
            node.pipeline_node.parameters.parameters[_OTHER_CODE].field_value.string_value = code_fingerprint()
    assert run is not None
    return run


@functools.cache
def code_fingerprint() -> str:
    """Returns a hash of all code that executors run, as it is installed here."""
    digest = hashlib.sha256()
    for package in (components, serving):
        for folder in package.__path__:
            for file in sorted(pathlib.Path(folder).rglob("*.py")):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _take(node: pipeline_pb2.PipelineNode) -> dict[str, Any]:
    if _PROPERTY not in node.parameters.parameters:
        raise UsageError(f"The node {node.node_info.id} was not compiled for Kubeflow; compile the pipeline again")
    content = json.loads(node.parameters.parameters[_PROPERTY].field_value.string_value)
    del node.parameters.parameters[_PROPERTY]
    if not node.parameters.parameters:
        node.ClearField("parameters")  # as the compiler leaves a node that has none
    return content


def _fill(node: pipeline_pb2.PipelineNode, run: PipelineConfig, declared: Mapping[str, Parameter], marked_hash: str) -> None:
    """Replaces every mark in a node's parameters, and what the compiler derived from the pipeline file."""

    def spelled(found: re.Match[str]) -> str:
        value = _inside(run, declared[found[1]].setting.split("."))
        if "\\u00ab" in found[0]:
            return json.dumps(pydantic_core.to_jsonable_python(value, by_alias=False), sort_keys=True)
        return pydantic_core.to_json(value, by_alias=False).decode()

    for key, text in _texts(node).items():
        new = run.sha256() if text == marked_hash else _MARKS.sub(spelled, text)
        node.parameters.parameters[key].field_value.string_value = new
    if isinstance(run.data.source, FileSource) and "input_config" in node.parameters.parameters:
        base, pattern = source_path.split(source_path.resolve(run.data.source.path))
        config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern=pattern)])
        node.parameters.parameters["input_base"].field_value.string_value = base
        node.parameters.parameters["input_config"].field_value.string_value = proto_utils.proto_to_json(config)


def _texts(node: pipeline_pb2.PipelineNode, own: bool = False) -> dict[str, str]:
    """A node's parameters that are text, without our own unless asked for."""
    return {
        key: value.field_value.string_value
        for key, value in node.parameters.parameters.items()
        if value.field_value.WhichOneof("value") == "string_value" and (own or key != _PROPERTY)
    }


def _spelled(value: Any) -> bool | int | float | str:
    """A setting's value as a parameter of Kubeflow."""
    if value is None:
        return _ABSENT
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, ensure_ascii=False)


def _read(text: str, default: Any, name: str) -> Any:
    """The other way around. Pydantic makes numbers out of text where the setting is one."""
    if default is None:
        return None if text == _ABSENT else text
    if isinstance(default, list | dict):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"The runtime parameter {name} is JSON or YAML, like its default; {error}") from error
    return text


def _with(effective: Mapping[str, Any], settings: Mapping[str, Any], origin: str) -> PipelineConfig:
    """The pipeline file with other values of some settings."""
    values = json.loads(json.dumps(effective))
    for setting, value in settings.items():
        *parents, last = setting.split(".")
        inner = _get(values, ".".join(parents), setting)
        inner[int(last) if isinstance(inner, list) else last] = value
    return config_module.from_values(values, origin)


def _get(values: Any, setting: str, place: str) -> Any:
    """The value of a setting in an effective configuration."""
    steps = setting.split(".")
    for number, step in enumerate(steps):
        if isinstance(values, list) and step.isdigit() and int(step) < len(values):
            values = values[int(step)]
        elif isinstance(values, dict) and step in values:
            values = values[step]
        else:
            valid = ", ".join(values) if isinstance(values, dict) else "none"
            raise UsageError(f"{place}: there is no setting {'.'.join(steps[: number + 1])}; valid keys there: {valid}")
    return values


def _replaced(options: Any, steps: Sequence[str], value: Any) -> Any:
    """A copy of validated options with an unvalidated value somewhere inside."""
    if not steps:
        return value
    first, rest = steps[0], steps[1:]
    if isinstance(options, tuple | list):
        return type(options)(_replaced(entry, rest, value) if str(at) == first else entry for at, entry in enumerate(options))
    if isinstance(options, dict):
        return {**options, first: _replaced(options[first], rest, value)}
    name = _attribute(options, first)
    return options.model_copy(update={name: _replaced(getattr(options, name), rest, value)})


def _inside(options: Any, steps: Sequence[str]) -> Any:
    """The value of a setting in validated options."""
    for step in steps:
        if isinstance(options, tuple | list):
            options = options[int(step)]
        elif isinstance(options, dict):
            options = options[step]
        else:
            options = getattr(options, _attribute(options, step))
    return options


def _attribute(options: pydantic.BaseModel, key: str) -> str:
    """What a key of the file is called in Python, where `class` is taken."""
    return next(name for name, field in type(options).model_fields.items() if key in (name, field.alias))
