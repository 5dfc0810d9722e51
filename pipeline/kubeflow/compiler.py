"""Compiles a pipeline file into a package that Kubeflow Pipelines runs as it is.

The package has one task a node. Each task starts one container, which is told its node (see step_argument) and launches it through
TFX's portable launcher. Kubeflow orders and places the tasks. What is up to date, which baseline a model is measured against and where
artifacts go is decided by the launcher and ML Metadata, as in the local runner.
"""

from __future__ import annotations

import inspect
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kfp import compiler as kfp_compiler
from kfp import dsl, kubernetes
from ml_metadata.proto import metadata_store_pb2
from tfx.proto.orchestration import pipeline_pb2

from components.errors import UsageError
from pipeline import dag, logged_data
from pipeline.config import PipelineConfig
from pipeline.kubeflow import exit_handler, parameters, step_argument, visuals
from pipeline.kubeflow.options import (
    METADATA_PASSWORD,
    REMOTE_SCHEME,
    WEBHOOK_URL,
    KubeflowOptions,
    NodeOptions,
    VolumeOptions,
    check_storage,
    is_below,
)

STEP_COMMAND = ["python", "-m", "pipeline.kubeflow.step"]
EXIT_COMMAND = ["python", "-m", "pipeline.kubeflow.exit_handler"]
EXIT_TASK = "exit-handler"
RUN_ID = "run_id"

# A retry right away meets the same full disk or lost connection; doubled each time by Kubeflow.
_FIRST_RETRY_AFTER = "30s"
_DRAWN_TYPES = {
    visuals.METRICS: dsl.Metrics,
    visuals.MARKDOWN: dsl.Markdown,
    visuals.HTML: dsl.HTML,
    visuals.CLASSIFICATION_METRICS: dsl.ClassificationMetrics,
}
# Announcing a run takes no more than this.
_EXIT_OPTIONS = NodeOptions(retries=0, timeout_seconds=300)


def compile_package(config: PipelineConfig, *, metadata: str | None = None, cache: bool = True) -> str:
    """Returns the package of a pipeline file as YAML: a pipeline specification and, after `---`, its Kubernetes settings.

    Equal pipeline files give equal text, in every process.

    Args:
      config: The pipeline file.
      metadata: URL of ML Metadata instead of the pipeline file's, e.g. `sqlite:///tmp/metadata.db` for a test without pods.
      cache: Whether nodes may reuse the results of earlier runs.

    Raises:
      UsageError: The pipeline file cannot run on Kubeflow as it stands.
    """
    options = config.kubeflow
    logged_data.refuse_training(config)
    _check_places(config)
    bound = parameters.bind(
        lambda variant: dag.compile_pipeline(variant, options.root, metadata_store_pb2.ConnectionConfig(), cache), config
    )
    if config.schedule is not None:
        parameters.overridden(config, config.schedule.parameters)
    nodes = _nodes(bound.pipeline)
    names = task_names(nodes)
    url = metadata or options.metadata.url
    steps = {node_id: _step(node_id, names[node_id], bound, options.of(node_id).image or options.image, url) for node_id in nodes}

    def add_tasks(given: Mapping[str, Any]) -> None:
        tasks: dict[str, dsl.PipelineTask] = {}
        for node_id, node in nodes.items():
            values = {name: given[name] for name in bound.used[node_id]}
            task = steps[node_id](run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, **values)
            task.after(*(tasks[upstream] for upstream in node.upstream_nodes if upstream in tasks))
            _place(task, options.of(node_id), options.volumes_of(node_id), options)
            tasks[node_id] = task

    def pipeline(*values: Any) -> None:
        given = dict(zip(bound.parameters, values, strict=True))
        if options.webhook is None:
            add_tasks(given)
            return
        announce = _exit_step(config.name, options.image, url)(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        _place(announce, _EXIT_OPTIONS, options.volumes_of(""), options)
        if options.ui is not None:
            announce.set_env_variable(exit_handler.UI_URL, options.ui)
        kubernetes.use_secret_as_env(announce, options.webhook.name, {options.webhook.key: WEBHOOK_URL})
        with dsl.ExitHandler(announce):
            add_tasks(given)

    inputs = {
        name: inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=type(parameter.default), default=parameter.default
        )
        for name, parameter in bound.parameters.items()
    }
    described = dsl.pipeline(name=config.name.replace("_", "-").strip("-"), description=_description(config))
    return _text(described(_with_signature(pipeline, "pipeline", inputs.values())))


def task_names(node_ids: Iterable[str]) -> dict[str, str]:
    """Returns the name of each node's task: the node's id in lower case with hyphens, as Argo and Kubernetes take it.

    Raises:
      UsageError: Two nodes would have the same name, or the exit handler's.
    """
    names: dict[str, str] = {}
    taken = {EXIT_TASK: EXIT_TASK}
    for node_id in node_ids:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node_id)
        name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        if not name or name in taken:
            raise UsageError(
                f"The nodes {taken.get(name, '')!r} and {node_id!r} would both be the task {name!r}, because tasks have lower case "
                "letters, digits and hyphens only. Rename one"
            )
        names[node_id] = name
        taken[name] = node_id
    return names


def _nodes(pipeline: pipeline_pb2.Pipeline) -> dict[str, pipeline_pb2.PipelineNode]:
    for node in pipeline.nodes:
        if node.WhichOneof("node") != "pipeline_node":
            raise UsageError(
                f"A pipeline inside the pipeline cannot run on Kubeflow; received {node.sub_pipeline.pipeline_info.id!r}"
            )
    return {node.pipeline_node.node_info.id: node.pipeline_node for node in pipeline.nodes}


def _check_places(config: PipelineConfig) -> None:
    """Checks that every step sees what it reads and writes."""
    options, release = config.kubeflow, config.release.directory
    try:
        if release.startswith("/") or "://" in release:
            check_storage("release.directory", release)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.root.startswith(REMOTE_SCHEME) and (runner := config.beam.runner_of("Evaluator")) != "direct":
        raise UsageError(
            f"The Evaluator reads its model and rows through the file system, which the workers of {runner} do not have below "
            f"{options.root}. Put kubeflow.pipeline_root on a volume that they mount, or set beam.nodes.Evaluator.runner to direct"
        )
    mounts = [volume.mount for volume in options.volumes_of("Pusher")]
    if release.startswith("/") and not any(is_below(release, mount) for mount in mounts):
        raise UsageError(
            f"release.directory must be on a volume that the step of Pusher mounts; received {release!r}; "
            f"mounts: {', '.join(mounts) or 'none'}"
        )
    if release.startswith(REMOTE_SCHEME) or (options.root.startswith(REMOTE_SCHEME) and not release.startswith("/")):
        raise UsageError(
            "A model is released by renaming a finished folder, which gs:// cannot do. Give release.directory as an absolute path on a "
            f"volume that the step of Pusher mounts (kubeflow.volume or kubeflow.nodes.Pusher.volumes); received {release!r}"
            + (f" below {options.root}" if not release.startswith(REMOTE_SCHEME) else "")
        )


def _step(node_id: str, name: str, bound: parameters.Bound, image: str, url: str) -> Callable[..., dsl.PipelineTask]:
    """The component of a node: what is started, with what, and what it shows in Kubeflow's pages."""
    packed = step_argument.pack(bound.pipeline, node_id)
    inputs = {RUN_ID: str, **{used: type(bound.parameters[used].default) for used in bound.used[node_id]}}
    outputs = {output: dsl.Output[_DRAWN_TYPES[title]] for output, title in visuals.outputs_of(node_id).items()}

    def step(**values: Any) -> dsl.ContainerSpec:
        given = [word for used in bound.used[node_id] for word in ("--parameter", f"{used}={values[used]}")]
        return dsl.ContainerSpec(
            image=image,
            command=STEP_COMMAND,
            args=[
                "--node", node_id, "--ir", packed, "--run-id", values[RUN_ID], "--metadata", url, "--executor-input", "{{$}}", *given,
            ],
        )  # fmt: skip

    return _component(step, name, {**inputs, **outputs})


def _exit_step(pipeline_name: str, image: str, url: str) -> Callable[..., dsl.PipelineTask]:
    """The component that announces the end of a run."""

    def announce(**values: Any) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=EXIT_COMMAND,
            args=[
                "--pipeline", pipeline_name, "--run-id", values[RUN_ID], "--metadata", url, "--status", values["status"],
                "--executor-input", "{{$}}",
            ],
        )  # fmt: skip

    return _component(announce, EXIT_TASK, {RUN_ID: str, "status": dsl.PipelineTaskFinalStatus})


def _component(
    function: Callable[..., dsl.ContainerSpec], name: str, annotations: Mapping[str, Any]
) -> Callable[..., dsl.PipelineTask]:
    described = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=annotation) for key, annotation in annotations.items()
    ]
    # The SDK calls the function with placeholders by position, in the order of its signature.
    return dsl.container_component(
        _with_signature(
            lambda *values: function(**dict(zip(annotations, values, strict=True))), name.replace("-", "_"), described
        )
    )


def _with_signature(function: Callable[..., Any], name: str, described: Iterable[inspect.Parameter]) -> Callable[..., Any]:
    """Makes a function look like one written with these parameters, which is how the SDK learns about inputs and outputs."""
    described = list(described)
    function.__name__ = name
    function.__signature__ = inspect.Signature(described)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in described}
    return function


def _place(task: dsl.PipelineTask, node: NodeOptions, volumes: Iterable[VolumeOptions], options: KubeflowOptions) -> None:
    """Gives a task its resources, its place in the cluster, its volumes and its secrets."""
    # What is up to date is decided by ML Metadata. Kubeflow's own cache does not look at data.
    task.set_caching_options(False)
    if node.retries:
        task.set_retry(node.retries, backoff_duration=_FIRST_RETRY_AFTER)
    if node.cpu is not None:
        task.set_cpu_request(node.cpu).set_cpu_limit(node.cpu)
    if node.memory is not None:
        task.set_memory_request(node.memory).set_memory_limit(node.memory)
    if node.gpu is not None:
        task.set_accelerator_type(node.gpu.type).set_accelerator_limit(node.gpu.count)
    for key, value in sorted(node.node_selector.items()):
        kubernetes.add_node_selector(task, key, value)
    for toleration in node.tolerations:
        kubernetes.add_toleration(
            task, toleration.key, toleration.operator, toleration.value, toleration.effect, toleration.seconds
        )
    if node.timeout_seconds is not None:
        kubernetes.set_timeout(task, node.timeout_seconds)
    for volume in volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.mount)
    password = options.metadata.secret
    kubernetes.use_secret_as_env(task, password.name, {password.key: METADATA_PASSWORD})
    for secret in node.secrets:
        kubernetes.use_secret_as_env(task, secret.name, {secret.key: secret.env})
    if options.pull_policy is not None:
        kubernetes.set_image_pull_policy(task, options.pull_policy)
    if options.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(options.pull_secrets))
    for key, value in sorted(options.labels.items()):
        kubernetes.add_pod_label(task, key, value)
    for key, value in sorted(options.annotations.items()):
        kubernetes.add_pod_annotation(task, key, value)


def _description(config: PipelineConfig) -> str:
    return f"Parlance pipeline {config.name}, configuration {config.sha256()[:12]}"


def _text(pipeline: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "package.yaml"
        kfp_compiler.Compiler().compile(pipeline, str(path))
        return path.read_text(encoding="utf-8")
