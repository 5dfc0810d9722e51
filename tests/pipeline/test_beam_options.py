"""Where Beam works."""

import pydantic
import pytest

from pipeline.beam_options import NODES, BeamOptions

POOL = ["--flink_master=flink:8081", "--environment_type=EXTERNAL", "--environment_config=localhost:50000"]


class TestArguments:
    def test_by_default_a_node_works_in_its_own_process_and_downloads_nothing(self):
        arguments = BeamOptions().arguments("Transform")
        assert arguments[0] == "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
        assert "--direct_running_mode=in_memory" in arguments
        assert "--sdk_container_image=none" in arguments

    def test_the_files_arguments_come_last_because_beam_takes_the_last(self):
        arguments = BeamOptions(args=["--direct_num_workers=4"]).arguments("Transform")
        assert arguments.index("--direct_num_workers=4") > arguments.index("--direct_num_workers=1")

    def test_a_cluster_for_all_nodes(self):
        options = BeamOptions(runner="flink", args=POOL)
        for node_id in NODES:
            assert options.arguments(node_id)[0] == "--runner=FlinkRunner"
            assert options.arguments(node_id)[-3:] == POOL

    def test_one_node_elsewhere(self):
        options = BeamOptions(nodes={"Transform": {"runner": "flink", "args": POOL}})
        assert options.arguments("Transform")[0] == "--runner=FlinkRunner"
        assert options.arguments("Evaluator") == BeamOptions().arguments()

    def test_a_node_with_another_runner_does_not_inherit_arguments(self):
        options = BeamOptions(runner="flink", args=POOL, nodes={"Evaluator": {"runner": "direct"}})
        assert options.arguments("Evaluator") == BeamOptions().arguments()
        assert not [arg for arg in options.arguments("Evaluator") if "flink" in arg]

    def test_an_image_of_the_file_is_the_only_one(self):
        arguments = BeamOptions(runner="spark", args=["--sdk_container_image=parlance:1"]).arguments("Transform")
        assert [arg for arg in arguments if arg.startswith("--sdk_container_image")] == ["--sdk_container_image=parlance:1"]

    @pytest.mark.tensorflow
    def test_beam_understands_every_argument(self):
        from apache_beam.options import pipeline_options

        options = pipeline_options.PipelineOptions(BeamOptions().arguments("Transform"))
        assert options.view_as(pipeline_options.DirectOptions).direct_running_mode == "in_memory"
        assert options.view_as(pipeline_options.StandardOptions).runner.endswith("FnApiRunner")


class TestMistakes:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"runner": "flink"}, "beam: workers of the runner flink need Parlance's code"),
            ({"nodes": {"Transform": {"runner": "spark"}}}, "nodes.Transform: workers of the runner spark"),
            (
                {"runner": "dataflow", "args": ["--project=p"]},
                "needs the arguments --region=, --temp_location=, --sdk_container_image=",
            ),
            ({"args": ["parallelism=2"]}, "written --name=value; received 'parallelism=2'"),
            ({"args": ["--runner=FlinkRunner"]}, "the runner is named by `runner:`"),
            ({"nodes": {"Trainer": {"runner": "direct"}}}, "'StatisticsGen', 'Transform' or 'Evaluator'"),
            ({"runner": "prism"}, "'direct', 'flink', 'spark' or 'dataflow'"),
        ],
    )
    def test_say_what_to_do(self, values, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            BeamOptions.model_validate(values)
