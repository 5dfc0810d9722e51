"""Lint of a package: each rule has a test that trips it."""

import copy
import re

import pytest
import yaml

from components.errors import UsageError

pytestmark = pytest.mark.tensorflow

TRAINER = ("deploymentSpec", "executors", "exec-trainer", "container")
BASELINE = ("deploymentSpec", "executors", "exec-latest-blessed-model", "container")
TASKS = ("root", "dag", "tasks")


@pytest.fixture(scope="module")
def text(tickets):
    from pipeline.kubeflow import compiler

    return compiler.compile_package(tickets("kubeflow.image=parlance@sha256:" + "2" * 64))


@pytest.fixture
def spoil(text):
    """Checks the package after a change: `spoil(change)`, where `change` gets specification and Kubernetes settings."""
    documents = [copy.deepcopy(document) for document in yaml.safe_load_all(text)]

    def spoil(change):
        from pipeline.kubeflow import check

        change(documents[0], documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
        return check.check(yaml.safe_dump_all(documents))

    return spoil


def at(values, path):
    for step in path:
        values = values[step]
    return values


def set_argument(spec, name, value, of=TRAINER):
    words = at(spec, of)["args"]
    words[words.index(name) + 1] = value


def with_node(spec, change, of=TRAINER):
    """Changes the packed node of the trainer, or of another executor."""
    from pipeline.kubeflow import step_argument

    words = at(spec, of)["args"]
    pipeline = step_argument.unpack(words[words.index("--ir") + 1])
    change(pipeline)
    set_argument(spec, "--ir", step_argument.pack(pipeline, pipeline.nodes[0].pipeline_node.node_info.id), of)


def name_class(pipeline, path):
    from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    pipeline.deployment_config.Unpack(deployment)
    deployment.executor_specs["Trainer"].Pack(executable_spec_pb2.PythonClassExecutableSpec(class_path=path))
    pipeline.deployment_config.Pack(deployment)


def name_strategy(pipeline, path):
    for graph in pipeline.nodes[0].pipeline_node.inputs.input_graphs.values():
        for node in graph.nodes.values():
            if node.op_node.op_type:
                node.op_node.op_type = path


def set_parameter(pipeline, text):
    pipeline.nodes[0].pipeline_node.parameters.parameters["source"].field_value.string_value = text


def set_root(pipeline, root):
    pipeline.runtime_spec.pipeline_root.field_value.string_value = root


CHANGES = {
    "schema version": (lambda spec, _: spec.update(schemaVersion="2.0.0"), "schema version 2.1.0 only; received 2.0.0"),
    "pipeline name": (lambda spec, _: spec["pipelineInfo"].update(name="my_tickets"), "received 'my_tickets'"),
    "task name": (
        lambda spec, _: at(spec, TASKS).update(latest_blessed=at(spec, TASKS)["latest-blessed-model"]),
        "names of a task .* received 'latest_blessed'",
    ),
    "parameter name": (
        lambda spec, _: spec["root"]["inputDefinitions"]["parameters"].update({"a.b": {"parameterType": "STRING"}}),
        "received 'a.b'",
    ),
    "resolver": (
        lambda spec, _: spec["deploymentSpec"]["executors"].update({"exec-baseline": {"resolver": {}}}),
        "executes containers and importers, not a resolver",
    ),
    "Argo's braces": (lambda spec, _: at(spec, TRAINER)["args"].append("{{workflow.name}}"), "an argument holds '{{'"),
    "Kubernetes' braces": (lambda spec, _: at(spec, TRAINER)["args"].append("$(HOME)"), r"an argument holds '\$\(H'"),
    "garbled node": (lambda spec, _: set_argument(spec, "--ir", "eNo="), "--ir cannot be unpacked"),
    "other node": (lambda spec, _: set_argument(spec, "--node", "Transform"), "--node is 'Transform', but --ir holds Trainer"),
    "missing module": (
        lambda spec, _: with_node(spec, lambda node: name_class(node, "components.training.gone.Executor")),
        "needs components.training.gone.Executor, but there is no module 'components.training.gone'",
    ),
    "missing class": (
        lambda spec, _: with_node(spec, lambda node: name_class(node, "components.training.component.Gone")),
        "has no class 'Gone'",
    ),
    "missing strategy": (
        lambda spec, _: with_node(spec, lambda node: name_strategy(node, "components.evaluation.baseline.Gone"), BASELINE),
        "LatestBlessedModel needs components.evaluation.baseline.Gone, but the module",
    ),
    "moving image": (lambda spec, _: at(spec, TRAINER).update(image="parlance:latest"), "not pinned by digest.*parlance:latest"),
    "secret in a variable": (
        lambda spec, _: at(spec, TRAINER).update(env=[{"name": "DB_PASSWORD", "value": "hunter2"}]),
        "the variable DB_PASSWORD has its value in the package",
    ),
    "secret in an argument": (
        lambda spec, _: set_argument(spec, "--metadata", "mysql://me:hunter2@db:3306/m"),
        "an argument holds a URL with a password",
    ),
    "secret in a node": (
        lambda spec, _: with_node(spec, lambda node: set_parameter(node, '{"url": "mongodb://me:hunter2@db/x"}')),
        "the parameter source of Trainer holds a URL with a password",
    ),
    "Kubeflow's cache": (
        lambda spec, _: at(spec, TASKS)["trainer"].update(cachingOptions={"enableCache": True}),
        "Kubeflow's cache must be off",
    ),
    "run id": (
        lambda spec, _: at(spec, TASKS)["trainer"]["inputs"]["parameters"].update(run_id={"runtimeValue": {"constant": "run-1"}}),
        "the input run_id must be .* received 'run-1'",
    ),
    "order": (
        lambda spec, _: at(spec, TASKS)["trainer"]["dependentTasks"].remove("transform"),
        "the task must depend on transform, whose outputs it reads",
    ),
    "missing upstream": (lambda spec, _: at(spec, TASKS).pop("transform"), "Trainer needs Transform, which no task launches"),
    "long argument": (lambda spec, _: at(spec, TRAINER)["args"].append("a" * 131072), "an argument is 131072 bytes long"),
    "large package": (lambda spec, _: spec.update(note=["a" * 1000] * 600), "the workflow may not fit into Kubernetes"),
    "PostgreSQL": (lambda spec, _: set_argument(spec, "--metadata", "postgresql://me@db/m"), "cached outputs on PostgreSQL"),
    "SQLite": (lambda spec, _: set_argument(spec, "--metadata", "sqlite:///m.db"), "not between pods"),
    "unknown metadata": (lambda spec, _: set_argument(spec, "--metadata", "db:3306"), "received 'db:3306'"),
    "no password": (lambda spec, platform: platform["exec-trainer"].pop("secretAsEnv"), "no secret sets PARLANCE_METADATA_PASSWORD"),
    "no volume": (
        lambda spec, platform: platform["exec-trainer"].pop("pvcMount"),
        "artifacts are in /parlance/pipelines/tickets, where no volume is mounted; mounts: none",
    ),
    "S3": (lambda spec, _: with_node(spec, lambda node: set_root(node, "s3://bucket")), "cannot be on s3://"),
    "settings of nobody": (
        lambda spec, platform: platform.update({"exec-tuner": {}}),
        "Kubernetes settings for 'exec-tuner', but no such executor",
    ),
}  # fmt: skip
WARNINGS = {"moving image", "large package", "SQLite"}


@pytest.mark.parametrize("name", CHANGES)
def test_each_rule_says_what_is_wrong(spoil, name):
    change, message = CHANGES[name]
    findings = spoil(change)
    assert findings, "the change went unnoticed"
    assert {finding.severity.value for finding in findings} == {"warning" if name in WARNINGS else "error"}
    assert re.search(message, "\n".join(finding.message for finding in findings))


def test_a_fresh_package_is_clean(text):
    from pipeline.kubeflow import check

    assert check.check(text) == []


def test_with_an_exit_handler_and_everything_else_it_is_clean_too(tickets):
    from pipeline.kubeflow import check, compiler

    config = tickets("kubeflow.webhook={name: a, key: b}", "kubeflow.image=parlance@sha256:" + "2" * 64)
    assert check.check(compiler.compile_package(config)) == []


@pytest.mark.parametrize("content", ["", "a: [", "pipelineSpec: {}", "- 1"])
def test_what_is_no_package(content):
    from pipeline.kubeflow import check

    with pytest.raises(UsageError, match="not a compiled package"):
        check.check(content)
