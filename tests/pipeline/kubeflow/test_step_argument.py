"""A node as one argument."""

import re

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.errors import UsageError

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def compiled(tickets):
    from pipeline import dag

    connection = metadata_store_pb2.ConnectionConfig()
    connection.mysql.host, connection.mysql.password = "db", "hunter2"
    return dag.compile_pipeline(tickets(), "/parlance", connection)


def test_it_holds_what_the_launcher_needs_of_this_node_and_nothing_of_others(compiled):
    from tfx.orchestration.local import runner_utils

    from pipeline.kubeflow import step_argument

    [expected] = [node for node in compiled.nodes if node.pipeline_node.node_info.id == "ExampleGen"]
    cut = step_argument.unpack(step_argument.pack(compiled, "ExampleGen"))
    [node] = cut.nodes
    assert list(node.pipeline_node.upstream_nodes) == list(expected.pipeline_node.upstream_nodes) == ["SchemaImport"]
    assert list(node.pipeline_node.downstream_nodes) == list(expected.pipeline_node.downstream_nodes)
    assert node.pipeline_node.contexts == expected.pipeline_node.contexts
    assert cut.pipeline_info.id == "tickets"
    assert cut.runtime_spec.pipeline_root.field_value.string_value == "/parlance/pipelines/tickets"
    whole, deployment = (runner_utils.extract_local_deployment_config(one) for one in (compiled, cut))
    assert list(deployment.executor_specs) == list(deployment.custom_driver_specs) == ["ExampleGen"]
    assert deployment.executor_specs["ExampleGen"] == whole.executor_specs["ExampleGen"]


def test_the_run_id_is_still_open(compiled):
    from tfx.dsl.compiler import constants
    from tfx.orchestration.portable import runtime_parameter_utils

    from pipeline.kubeflow import step_argument

    cut = step_argument.unpack(step_argument.pack(compiled, "Trainer"))
    runtime_parameter_utils.substitute_runtime_parameter(cut, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: "run-1"})
    assert cut.runtime_spec.pipeline_run_id.field_value.string_value == "run-1"


def test_how_to_reach_metadata_does_not_travel(compiled):
    from pipeline.kubeflow import step_argument

    assert b"hunter2" in compiled.SerializeToString()
    assert b"hunter2" not in step_argument.unpack(step_argument.pack(compiled, "Trainer")).SerializeToString()


def test_nothing_in_it_is_replaced_by_kubeflow_argo_or_kubernetes(compiled):
    from pipeline.kubeflow import step_argument

    for node in compiled.nodes:
        assert re.fullmatch("[A-Za-z0-9_=-]+", step_argument.pack(compiled, node.pipeline_node.node_info.id))


def test_a_resolver_has_no_executor_and_packs_all_the_same(compiled):
    from pipeline.kubeflow import step_argument

    [node] = step_argument.unpack(step_argument.pack(compiled, "LatestBlessedModel")).nodes
    assert node.pipeline_node.inputs.input_graphs


def test_an_unknown_node_lists_the_nodes(compiled):
    from pipeline.kubeflow import step_argument

    with pytest.raises(UsageError, match="no node 'Tuner'; nodes: SchemaImport, ExampleGen"):
        step_argument.pack(compiled, "Tuner")


@pytest.mark.parametrize("argument", ["", "abc", "!!!!", "eNo="])
def test_other_arguments_are_refused(argument):
    from pipeline.kubeflow import step_argument

    with pytest.raises(UsageError, match=rf"not a node that .* packed .*; received {len(argument)} characters"):
        step_argument.unpack(argument)
