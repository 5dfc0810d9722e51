"""A compiled pipeline, as those see it who run it: a name, a version made of its bytes, runtime parameters with types."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from components.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
      text: The YAML that `parlance kubeflow compile` wrote.
      name: The pipeline's name in it.
      parameters: Type by name of its runtime parameters, in KFP's words: STRING, NUMBER_INTEGER ...
      required: Those of them without a default.
    """

    text: str
    name: str
    parameters: Mapping[str, str]
    required: tuple[str, ...]

    @staticmethod
    def parse(text: str, origin: str) -> Package:
        """Reads a compiled pipeline.

        Args:
          text: The YAML.
          origin: Where it is from, for messages.

        Raises:
          UsageError: It is not one.
        """
        try:
            documents = [document for document in yaml.safe_load_all(text) if document is not None]
            specification = documents[0]
            name = specification["pipelineInfo"]["name"]
            declared = specification["root"].get("inputDefinitions", {}).get("parameters", {})
            types = {key: value["parameterType"] for key, value in declared.items()}
        except (yaml.YAMLError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{origin} is not a compiled pipeline ({type(error).__name__}). `parlance kubeflow compile FILE -o OUT.yaml` writes one"
            ) from error
        required = [key for key, value in declared.items() if "defaultValue" not in value and not value.get("isOptional")]
        return Package(text, name, types, tuple(sorted(required)))

    @property
    def sha256(self) -> str:
        """Hash of the package's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def version(self) -> str:
        """Name of the pipeline version that holds these bytes."""
        return f"{self.name}-{self.sha256[:12]}"

    def values(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Returns runtime parameters as the API takes them, from what a person wrote.

        Raises:
          UsageError: There is no such parameter, one has no value, or a value is not of its type.
        """
        if unknown := sorted(given.keys() - self.parameters.keys()):
            raise UsageError(
                f"The pipeline {self.name} has no runtime parameter {unknown[0]!r}; "
                f"parameters: {', '.join(sorted(self.parameters)) or 'none'}"
            )
        if missing := [name for name in self.required if name not in given]:
            raise UsageError(f"The pipeline {self.name} needs a value for {', '.join(missing)}: --parameter {missing[0]}=VALUE")
        return {name: _typed(name, text, self.parameters[name]) for name, text in given.items()}

    def equals(self, specification: Any) -> bool:
        """Says whether the API's copy of a pipeline version is this package."""
        documents = [document for document in yaml.safe_load_all(self.text) if document is not None]
        if isinstance(specification, Mapping) and "pipeline_spec" in specification:
            return documents == [specification["pipeline_spec"], specification.get("platform_spec")]
        return documents == [specification]


def _typed(name: str, text: str, kind: str) -> Any:
    """One runtime parameter's value."""
    try:
        if kind == "NUMBER_INTEGER":
            return int(text)
        if kind == "NUMBER_DOUBLE":
            return float(text)
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[text.lower()]
        if kind in ("LIST", "STRUCT"):
            return json.loads(text)
    except (KeyError, ValueError) as error:
        expected = {"BOOLEAN": "true or false", "LIST": "a JSON list", "STRUCT": "a JSON object"}.get(kind, "a number")
        raise UsageError(f"The runtime parameter {name} is {expected}; received {text!r}") from error
    return text
