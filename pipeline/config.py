"""The pipeline file: typed, closed YAML that says everything about one pipeline.

Reading a file is the cheap first step of every command, so nothing here imports TensorFlow or TFX.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pydantic
import yaml
from pydantic import Field, model_validator

from components.errors import UsageError
from components.evaluation.options import EACH, EvaluationOptions, Gate, length_column
from components.ingestion.options import DataOptions
from components.monitoring.options import MonitoringOptions
from components.options import Options
from components.privacy.options import PrivacyOptions
from components.release.options import ReleaseOptions
from components.training.options import ModelOptions
from components.validation.options import ValidationOptions
from pipeline.beam_options import BeamOptions
from pipeline.kubeflow.options import KubeflowOptions, ScheduleOptions

CONFIGS = pathlib.Path(__file__).parent / "configs"
DEFAULT = CONFIGS / "intents.yaml"
WHERE_IT_RUNS = ("beam", "kubeflow", "schedule", "monitoring")
"""Sections that do not decide what a run makes: how and where it is made, and what is watched afterwards."""


class PipelineConfig(Options):
    """One pipeline file.

    Attributes:
      name: Names the pipeline, its model and its folders.
      data: Where messages come from and what each column is.
      schema_path: The curated TFDV schema (`schema:` in the file); its features in the environment SERVING are the model's inputs.
      privacy: Which personal data is removed while rows are read.
      validation: Which anomalies stop a run.
      model: The network and its training.
      evaluation: What is measured, and the gates.
      release: Where blessed models go.
      monitoring: What `parlance monitor` takes for unusual.
      beam: Where nodes that use Beam do their work.
      kubeflow: How the pipeline becomes pods.
      schedule: When it runs by itself on Kubeflow; never, if not given.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    data: DataOptions
    schema_path: str = Field(alias="schema")
    privacy: PrivacyOptions = PrivacyOptions()
    validation: ValidationOptions = ValidationOptions()
    model: ModelOptions = ModelOptions()
    evaluation: EvaluationOptions
    release: ReleaseOptions = ReleaseOptions()
    monitoring: MonitoringOptions = MonitoringOptions()
    beam: BeamOptions = BeamOptions()
    kubeflow: KubeflowOptions = KubeflowOptions()
    schedule: ScheduleOptions | None = None

    @model_validator(mode="after")
    def _evaluation_names_what_there_is(self) -> PipelineConfig:
        problems = [problem for number, gate in enumerate(self.evaluation.gates) for problem in self._gate_problems(number, gate)]
        single = [" x ".join(columns) for columns in self._sliced() if len(columns) == 1]
        problems += [
            f"evaluation.fairness.segments: {name!r} is no segment of one column; {_nearest(name, single)}"
            for name in self.evaluation.fairness.segments or ()
            if name not in single
        ]
        weight = self.evaluation.weight
        if weight is not None and weight in (self.data.label, *self.data.text, *self.data.exclude):
            problems.append(f"evaluation.weight: {weight!r} must be a numeric column that is stored, not label, text or excluded")
        if problems:
            raise ValueError("\n  ".join(problems))
        return self

    @model_validator(mode="after")
    def _xla_reads_no_text(self) -> PipelineConfig:
        if self.model.xla and self.data.text:
            raise ValueError(
                f"model.xla: is for models that read no text; received true with data.text {list(self.data.text)!r}, set it to false"
            )
        return self

    def _gate_problems(self, number: int, gate: Gate) -> Iterable[str]:
        """Says which slices a gate names that no segment has."""
        place = f"evaluation.gates[{number}].slices"
        if isinstance(gate.slices, dict):
            if gate.slices.keys() not in [set(columns) for columns in self._sliced()]:
                name = " x ".join(gate.slices)
                yield f"{place}: {name!r} is no segment; {_nearest(name, [' x '.join(columns) for columns in self._sliced()])}"
        elif gate.slices == EACH:
            longest = 1 if gate.compares_groups else None
            if not any(longest is None or len(columns) <= longest for columns in self.data.segments):
                yield f"{place}: {EACH} checks nothing, because data.segments names no segment{' of one column' if longest else ''}"

    def _sliced(self) -> list[tuple[str, ...]]:
        """The columns of every segment, automatic ones included."""
        lengths = self.data.text if self.evaluation.length_slices else ()
        return [*self.data.segments, *((length_column(column),) for column in lengths)]

    def effective(self) -> dict[str, Any]:
        """Returns the whole configuration, defaults included, as plain values in the file's own words."""
        return self.model_dump(mode="json", by_alias=True)

    def sha256(self) -> str:
        """Returns the hash of what the effective configuration makes: equal files, however written, have equal hashes.

        Sections that say nothing of that (WHERE_IT_RUNS) do not count.
        """
        made = {section: values for section, values in self.effective().items() if section not in WHERE_IT_RUNS}
        return hashlib.sha256(yaml.safe_dump(made, sort_keys=True).encode()).hexdigest()


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; a pipeline file must not hide a setting that way."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"keys are text; received {key!r}", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a pipeline file.

    Args:
      path: The YAML file.
      overrides: `a.b=value` settings laid over the file, later ones win; values are read as YAML.

    Raises:
      UsageError: The file is missing, is not YAML, or does not fit; every problem is listed with the nearest valid key.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = ", ".join(sorted(f"pipeline/configs/{entry.name}" for entry in CONFIGS.glob("*.yaml")))
        raise UsageError(
            f"There is no pipeline file {path}. Name one, write one with `parlance init`, or use one of: {known}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The pipeline file {path} cannot be read: {error}") from error
    try:
        values = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not a pipeline file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a pipeline file: the top level must be a mapping, received {type(values).__name__}")
    for override in overrides:
        _set(values, override)
    return from_values(_resolve_secrets(values), str(path))


def from_values(values: Mapping[str, Any], origin: str) -> PipelineConfig:
    """Returns the pipeline file that plain values describe.

    Args:
      values: What YAML holds, in the file's own words.
      origin: Where they are from, as the subject of a sentence.

    Raises:
      UsageError: They do not fit; every problem is listed with the nearest valid key.
    """
    try:
        return PipelineConfig.model_validate(values)
    except pydantic.ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise UsageError(f"{origin} does not describe a pipeline:\n{problems}") from error


def _set(values: dict[str, Any], override: str) -> None:
    """Lays one `a.b=value` over the values; `a.0.b` reaches into lists."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"--set takes KEY=VALUE with a dotted key, e.g. --set model.epochs=5; received {override!r}")
    try:
        value = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: the value is not YAML: {error}") from error
    *parents, last = key.strip().split(".")
    place: Any = values
    for depth, part in enumerate(parents):
        if isinstance(place, list):
            place = place[_list_index(place, part, key)]
            continue
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict | list):
            # A choice that stands alone (`encoder: ngrams`) grows into its mapping; anything else is a mistake.
            if part != "encoder":
                raise UsageError(f"--set {key}: {'.'.join(parents[: depth + 1])} is a single value, it has no {last!r} inside")
            inner = place[part] = {"name": inner}
        place = inner
    if isinstance(place, list):
        place[_list_index(place, last, key)] = value
    else:
        place[last] = value


def _list_index(place: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise UsageError(f"--set {key}: {part!r} must be an index below {len(place)}, the list's length")
    return int(part)


_SECRET = re.compile(r"^env:([A-Za-z_][A-Za-z0-9_]*)$")


def _resolve_secrets(values: Any) -> Any:
    """Checks that every `env:NAME` names a variable that is set. The reference stays: a secret is read where it is used."""
    if isinstance(values, Mapping):
        return {key: _resolve_secrets(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_resolve_secrets(value) for value in values]
    if isinstance(values, str) and (match := _SECRET.match(values)) and match[1] not in os.environ:
        raise UsageError(f"The pipeline file refers to env:{match[1]}, but the environment variable {match[1]} is not set")
    return values


def _nearest(name: str, valid: Sequence[str]) -> str:
    """The nearest valid name, or all of them."""
    near = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {near[0]!r}?" if near else f"segments: {', '.join(valid) or 'none; name columns in data.segments'}"


def _explain(problem: Any) -> str:
    """One line for one pydantic error: where, what, and for an unknown key the nearest valid one."""
    steps = list(problem["loc"])
    place = ".".join(str(step) for step in steps)
    if problem["type"] == "extra_forbidden":
        valid = _keys_at(steps[:-1])
        near = difflib.get_close_matches(str(steps[-1]), valid, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{place}: unknown key; {hint}valid keys: {', '.join(valid)}"
    if problem["type"] == "missing":
        return f"{place}: required, but missing"
    if not steps:  # what several sections say together, which names its own places
        return problem["msg"].removeprefix("Value error, ")
    received = problem.get("input")
    shown = (
        f"; received {received!r}" if isinstance(received, str | int | float | bool) and "received" not in problem["msg"] else ""
    )
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}{shown}"


def _keys_at(steps: Iterable[Any]) -> list[str]:
    """The valid keys of the mapping at a path of pydantic locations (which interleave union tags with keys)."""
    schema = PipelineConfig.model_json_schema()
    definitions = schema["$defs"]

    def alternatives(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if "$ref" in node:
            return alternatives(definitions[node["$ref"].rsplit("/", 1)[1]])
        branches = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]
        return [leaf for branch in branches for leaf in alternatives(branch)] if branches else [node]

    nodes = alternatives(schema)
    for step in steps:
        if isinstance(step, int):
            deeper = [leaf for node in nodes if "items" in node for leaf in alternatives(node["items"])]
        else:
            deeper = [
                leaf for node in nodes if step in node.get("properties", {}) for leaf in alternatives(node["properties"][step])
            ]
            if not deeper:  # a union tag, e.g. the source's type: keep the alternative that carries it
                deeper = [node for node in nodes if step in _tags(node)]
        nodes = deeper or nodes
    return sorted({key for node in nodes for key in node.get("properties", {})})


def _tags(node: Mapping[str, Any]) -> set[str]:
    tags: set[str] = set()
    for value in node.get("properties", {}).values():
        tags.update([value["const"]] if "const" in value else value.get("enum", ()))
    return tags
