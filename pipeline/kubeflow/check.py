"""Lint of a compiled package: what Kubeflow, Argo or a step would only say at upload, at the start of a run or in its middle.

Each rule is one small function from a package to findings. Nothing is started and no executor is imported.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from components.errors import UsageError
from components.findings import Finding, Severity
from pipeline.kubeflow import step_argument
from pipeline.kubeflow.options import METADATA_PASSWORD, check_storage, is_below

SCHEMA_VERSION = "2.1.0"

_STEP_MODULE = "pipeline.kubeflow.step"
_RUN_ID = "{{$.pipeline_job_uuid}}"
_PIPELINE_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,126}[a-z0-9])?$")
_ARGO_NAME = re.compile(r"^[a-zA-Z0-9][-a-zA-Z0-9]{0,62}$")
_PARAMETER_NAME = re.compile(r"^[a-zA-Z0-9_][-a-zA-Z0-9_]*$")
# What Kubeflow's launcher replaces is written {{$...}}; anything else in braces is Argo's, and $(...) is Kubernetes'.
_FOREIGN_BRACES = re.compile(r"\{\{(?!\$)|\$\([A-Za-z_]")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@\"']+:[^/\s@\"']+@")
_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|api_?key|private_?key", re.IGNORECASE)
_LONGEST_ARGUMENT = 128 * 1024  # Linux' MAX_ARG_STRLEN
# Argo keeps a workflow with everything Kubeflow adds to it in one object, of which Kubernetes stores 1.5 MiB.
_LARGEST_PACKAGE = 512 * 1024


@dataclasses.dataclass(frozen=True)
class Step:
    """One executor of a package that starts a node.

    Attributes:
      label: Its name in the package.
      node_id: The node it is told to launch.
      pipeline: The node itself; None if it cannot be unpacked.
      arguments: All options of its command line, by name.
    """

    label: str
    node_id: str
    pipeline: pipeline_pb2.Pipeline | None
    arguments: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Package:
    """A compiled package.

    Attributes:
      spec: The pipeline specification.
      platform: Kubernetes settings by executor.
      size: Bytes of the file.
    """

    spec: Mapping[str, Any]
    platform: Mapping[str, Mapping[str, Any]]
    size: int

    @property
    def executors(self) -> Mapping[str, Mapping[str, Any]]:
        """All executors by label."""
        return self.spec.get("deploymentSpec", {}).get("executors", {})

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yields label and container of the executors that are containers."""
        for label, executor in self.executors.items():
            if "container" in executor:
                yield label, executor["container"]

    def dags(self) -> Iterator[Mapping[str, Mapping[str, Any]]]:
        """Yields the tasks, by name, of each graph of tasks."""
        for component in (self.spec.get("root", {}), *self.spec.get("components", {}).values()):
            if "dag" in component:
                yield component["dag"].get("tasks", {})

    def executor_of(self, task: Mapping[str, Any]) -> str | None:
        """Returns the label of a task's executor; None for a graph of tasks."""
        component = self.spec.get("components", {}).get(task.get("componentRef", {}).get("name"), {})
        return component.get("executorLabel")

    @functools.cached_property
    def steps(self) -> Mapping[str, Step]:
        """The steps that launch nodes, by executor."""
        found = {}
        for label, container in self.containers():
            if _STEP_MODULE in container.get("command", ()):
                words = [str(word) for word in container.get("args", ())]
                options = dict(zip(words[::2], words[1::2], strict=False))
                found[label] = Step(label, options.get("--node", ""), _unpacked(options.get("--ir", "")), options)
        return found


def _unpacked(argument: str) -> pipeline_pb2.Pipeline | None:
    try:
        return step_argument.unpack(argument)
    except UsageError:
        return None


def read(text: str) -> Package:
    """Reads a package.

    Raises:
      UsageError: It is no YAML, or no pipeline specification.
    """
    try:
        documents = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document is not None]
    except yaml.YAMLError as error:
        raise UsageError(f"This is not a compiled package: {error}") from error
    specs = [document for document in documents if isinstance(document, dict) and "pipelineInfo" in document]
    if len(specs) != 1:
        raise UsageError(
            "This is not a compiled package: it must hold one pipeline specification (with pipelineInfo at the top level); "
            f"received {len(specs)} in {len(documents)} documents. Write one with `parlance kubeflow compile`"
        )
    platforms = [document["platforms"] for document in documents if isinstance(document, dict) and "platforms" in document]
    kubernetes = platforms[0].get("kubernetes", {}) if platforms else {}
    return Package(specs[0], kubernetes.get("deploymentSpec", {}).get("executors", {}), len(text.encode()))


def check(text: str) -> list[Finding]:
    """Returns what is wrong with a package, errors first; nothing, if it is clean.

    Args:
      text: The package's YAML.

    Raises:
      UsageError: It is no package at all.
    """
    package = read(text)
    findings = [finding for rule in RULES for finding in rule(package)]
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)


def _error(rule: str, subject: str, message: str) -> Finding:
    return Finding(rule, Severity.ERROR, message, subject)


def _warning(rule: str, subject: str, message: str) -> Finding:
    return Finding(rule, Severity.WARNING, message, subject)


def schema_version(package: Package) -> Iterable[Finding]:
    """Open-source Kubeflow takes one version."""
    version = package.spec.get("schemaVersion")
    if version != SCHEMA_VERSION:
        yield _error(
            "schema version",
            "schemaVersion",
            f"Kubeflow Pipelines takes schema version {SCHEMA_VERSION} only; received {version}",
        )


def names(package: Package) -> Iterable[Finding]:
    """Names become names of Argo templates, which have no underscores."""
    name = str(package.spec["pipelineInfo"].get("name", ""))
    if not _PIPELINE_NAME.match(name):
        yield _error(
            "names", name, f"the pipeline's name is lower case letters, digits and hyphens, at most 128; received {name!r}"
        )
    parts = [("task", task) for tasks in package.dags() for task in tasks]
    parts += [("component", component) for component in package.spec.get("components", {})]
    parts += [("executor", label) for label in package.executors]
    for what, part in parts:
        if not _ARGO_NAME.match(part):
            yield _error(
                "names", part, f"names of a {what} are letters, digits and hyphens, at most 63, for Argo; received {part!r}"
            )
    for component in (package.spec.get("root", {}), *package.spec.get("components", {}).values()):
        for parameter in component.get("inputDefinitions", {}).get("parameters", {}):
            if not _PARAMETER_NAME.match(parameter):
                yield _error("names", parameter, f"parameters are letters, digits, _ and -; received {parameter!r}")


def executor_kinds(package: Package) -> Iterable[Finding]:
    """TFX's own runner for Kubeflow writes resolvers, which only Vertex executes."""
    for label, executor in package.executors.items():
        for kind in executor:
            if kind not in ("container", "importer"):
                yield _error(
                    "executor kinds", label, f"Kubeflow's open-source backend executes containers and importers, not a {kind}"
                )


def braces(package: Package) -> Iterable[Finding]:
    """Argo and Kubernetes replace things in arguments on their own."""
    for label, container in package.containers():
        texts = [
            *container.get("command", ()),
            *container.get("args", ()),
            *(entry.get("value") for entry in container.get("env", ())),
        ]
        for text in texts:
            if found := _FOREIGN_BRACES.search(str(text)):
                yield _error(
                    "braces",
                    label,
                    f"an argument holds {found[0]!r}, which Argo or Kubernetes would replace; pack or escape the value",
                )


def steps_hold_their_node(package: Package) -> Iterable[Finding]:
    """A step launches the one node it holds."""
    for step in package.steps.values():
        held = [node.pipeline_node.node_info.id for node in step.pipeline.nodes] if step.pipeline else None
        if held is None:
            yield _error("node", step.label, "the argument --ir cannot be unpacked; compile the pipeline again")
        elif held != [step.node_id]:
            yield _error("node", step.label, f"--node is {step.node_id!r}, but --ir holds {', '.join(held) or 'nothing'}")


def classes(package: Package) -> Iterable[Finding]:
    """Executors, drivers and resolver strategies are named by import path, which nobody else looks at before the run."""
    for step in package.steps.values():
        for path in _class_paths(step):
            if problem := _import_problem(path):
                yield _error("classes", step.label, f"the node {step.node_id} needs {path}, but {problem}")


def _class_paths(step: Step) -> Iterator[str]:
    if step.pipeline is None or len(step.pipeline.nodes) != 1:
        return
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    step.pipeline.deployment_config.Unpack(deployment)
    for spec in (*deployment.executor_specs.values(), *deployment.custom_driver_specs.values()):
        python, beam = executable_spec_pb2.PythonClassExecutableSpec(), executable_spec_pb2.BeamExecutableSpec()
        if spec.Unpack(python):
            yield python.class_path
        elif spec.Unpack(beam):
            yield beam.python_executor_spec.class_path
    for graph in step.pipeline.nodes[0].pipeline_node.inputs.input_graphs.values():
        # TFX's own operations are known by plain names.
        yield from (node.op_node.op_type for node in graph.nodes.values() if "." in node.op_node.op_type)


@functools.cache
def _import_problem(path: str) -> str | None:
    """Says why a class cannot be imported, from the source alone: importing an executor would take seconds and a gigabyte."""
    module, _, name = path.rpartition(".")
    file = _source(module)
    if file is None:
        return f"there is no module {module!r}"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return None if name in defined | imported else f"the module {module} has no class {name!r}"


def _source(module: str) -> pathlib.Path | None:
    """The file of a module. Asking importlib for it would import the packages around it."""
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package) if package else None
    for folder in (spec and spec.submodule_search_locations) or ():
        place = pathlib.Path(folder).joinpath(*rest)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def images(package: Package) -> Iterable[Finding]:
    """A tag can be moved; then a retry runs other code than the first attempt."""
    for label, container in package.containers():
        image = str(container.get("image", ""))
        if not _DIGEST.search(image):
            yield _warning(
                "images",
                label,
                f"the image is not pinned by digest, so it may change between runs; received {image}; write NAME@sha256:...",
            )


def inlined_secrets(package: Package) -> Iterable[Finding]:
    """Whoever may see a pipeline in Kubeflow sees everything in its package."""
    fix = "keep it in a Kubernetes secret and name that under kubeflow.nodes.NODE.secrets"
    for label, container in package.containers():
        for entry in container.get("env", ()):
            if _SECRET_NAME.search(str(entry.get("name"))) and entry.get("value"):
                yield _error("secrets", label, f"the variable {entry['name']} has its value in the package; {fix}")
        if any(_PASSWORD_IN_URL.search(str(word)) for word in (*container.get("command", ()), *container.get("args", ()))):
            yield _error("secrets", label, f"an argument holds a URL with a password; {fix}")
    for step in package.steps.values():
        for node in step.pipeline.nodes if step.pipeline else ():
            for key, value in node.pipeline_node.parameters.parameters.items():
                if _PASSWORD_IN_URL.search(value.field_value.string_value):
                    yield _error(
                        "secrets", step.label, f"the parameter {key} of {step.node_id} holds a URL with a password; {fix}"
                    )


def caching(package: Package) -> Iterable[Finding]:
    """Kubeflow's cache looks at arguments, not at data; ML Metadata decides what is up to date."""
    for tasks in package.dags():
        for name, task in tasks.items():
            if task.get("cachingOptions", {}).get("enableCache"):
                yield _error(
                    "caching", name, "Kubeflow's cache must be off for every task: it would skip steps whose data has changed"
                )


def run_ids(package: Package) -> Iterable[Finding]:
    """The run id must be an input of its own: Kubeflow resolves it nowhere else, and it keeps Kubeflow's cache from matching."""
    for tasks in package.dags():
        for name, task in tasks.items():
            given = task.get("inputs", {}).get("parameters", {}).get("run_id", {}).get("runtimeValue", {}).get("constant")
            if package.executor_of(task) in package.steps and given != _RUN_ID:
                yield _error("run id", name, f"the input run_id must be {_RUN_ID}; received {given!r}")


def order(package: Package) -> Iterable[Finding]:
    """A step finds its inputs in ML Metadata, so nothing but the order of tasks makes it wait for them."""
    for tasks in package.dags():
        steps = {name: package.steps.get(package.executor_of(task) or "") for name, task in tasks.items()}
        task_of = {step.node_id: name for name, step in steps.items() if step is not None}
        for name, step in steps.items():
            if step is None or step.pipeline is None:
                continue
            awaited = set(tasks[name].get("dependentTasks", ()))
            for node in step.pipeline.nodes:
                for upstream in node.pipeline_node.upstream_nodes:
                    if upstream not in task_of:
                        yield _error("order", name, f"the node {step.node_id} needs {upstream}, which no task launches")
                    elif task_of[upstream] not in awaited:
                        yield _error("order", name, f"the task must depend on {task_of[upstream]}, whose outputs it reads")


def sizes(package: Package) -> Iterable[Finding]:
    """What is too large is refused late and with words about something else."""
    for label, container in package.containers():
        for word in container.get("args", ()):
            if len(str(word).encode()) >= _LONGEST_ARGUMENT:
                yield _error(
                    "sizes", label, f"an argument is {len(str(word).encode())} bytes long; Linux takes {_LONGEST_ARGUMENT}"
                )
    if package.size > _LARGEST_PACKAGE:
        yield _warning(
            "sizes",
            "package",
            f"the package has {package.size} bytes; above {_LARGEST_PACKAGE} the workflow may not fit into Kubernetes",
        )


def metadata(package: Package) -> Iterable[Finding]:
    """Pods share ML Metadata, so it is a server, and one on which it works."""
    for step in package.steps.values():
        url = step.arguments.get("--metadata", "")
        scheme = url.partition("://")[0]
        if scheme.startswith("postgres"):
            yield _error(
                "metadata",
                step.label,
                "ML Metadata mixes up cached outputs on PostgreSQL; use MySQL or MariaDB (kubeflow.metadata)",
            )
        elif scheme == "sqlite":
            yield _warning(
                "metadata", step.label, "ML Metadata in a SQLite file works for tests on one machine, not between pods"
            )
        elif scheme != "mysql":
            yield _error("metadata", step.label, f"--metadata is mysql://USER@HOST:PORT/DATABASE; received {url!r}")
        elif METADATA_PASSWORD not in _secret_variables(package.platform.get(step.label, {})):
            yield _error("metadata", step.label, f"no secret sets {METADATA_PASSWORD}, the password of ML Metadata's database")


def _secret_variables(platform: Mapping[str, Any]) -> set[str]:
    return {entry["envVar"] for secret in platform.get("secretAsEnv", ()) for entry in secret.get("keyToEnv", ())}


def storage(package: Package) -> Iterable[Finding]:
    """Every step reads what another one wrote, so all of them see the folder of artifacts."""
    for step in package.steps.values():
        if step.pipeline is None:
            continue
        root = step.pipeline.runtime_spec.pipeline_root.field_value.string_value
        try:
            check_storage("the folder of artifacts", root)
        except ValueError as error:
            yield _error("storage", step.label, str(error))
            continue
        mounts = [mount["mountPath"] for mount in package.platform.get(step.label, {}).get("pvcMount", ())]
        if root.startswith("/") and not any(is_below(root, mount) for mount in mounts):
            yield _error(
                "storage",
                step.label,
                f"artifacts are in {root}, where no volume is mounted; mounts: {', '.join(mounts) or 'none'}",
            )


def platform_settings(package: Package) -> Iterable[Finding]:
    """Kubernetes settings are matched by name; those of an executor that is not there are silently ignored."""
    for label in package.platform:
        if label not in package.executors:
            yield _error("platform", label, f"there are Kubernetes settings for {label!r}, but no such executor")


RULES: tuple[Callable[[Package], Iterable[Finding]], ...] = (
    schema_version, names, executor_kinds, braces, steps_hold_their_node, classes, images, inlined_secrets, caching, run_ids, order,
    sizes, metadata, storage, platform_settings,
)  # fmt: skip
"""All rules, in the order of their findings."""
