import pytest

from components.transform import component
from pipeline.beam_options import BeamOptions

FLINK = {"runner": "flink", "args": ["--environment_type=LOOPBACK"]}


@pytest.mark.parametrize(
    ("options", "here"),
    [
        ({}, True),
        ({"args": ["--direct_num_workers=2"]}, True),
        (FLINK, False),
        (FLINK | {"nodes": {"Transform": {"runner": "direct"}}}, True),
        ({"nodes": {"Transform": FLINK}}, False),
    ],
)
def test_the_runner_of_the_node_says_where_it_works(options, here):
    assert component._works_here(BeamOptions.model_validate(options).arguments("Transform")) is here


def test_without_arguments_of_beam_it_works_here():
    assert component._works_here(None)
    assert component._works_here(["--runner=DirectRunner"])


@pytest.mark.tensorflow
def test_on_a_cluster_tfx_works_with_the_same_arguments(monkeypatch):
    executor = pytest.importorskip("tfx.components.transform.executor")
    arguments = BeamOptions.model_validate(FLINK).arguments("Transform")
    context = executor.base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=arguments)
    asked = []
    monkeypatch.setattr(executor.Executor, "Do", lambda self, *given: asked.append((self._beam_pipeline_args, given)))
    given = ({"examples": []}, {"transform_graph": []}, {"custom_config": "{}"})
    component.TransformExecutor(context).Do(*given)
    # TFX adds labels of its own.
    assert [(taken[: len(arguments)], what) for taken, what in asked] == [(arguments, given)]
