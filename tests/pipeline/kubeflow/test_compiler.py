"""The compiled package."""

import os
import subprocess
import sys

import pytest
import yaml

from components.errors import UsageError
from tests.conftest import PROJECT

pytestmark = pytest.mark.tensorflow

DIGEST = "parlance@sha256:" + "1" * 64
COMPILE = """
import sys
from pipeline.local import lean_imports
lean_imports.install()
from pipeline import config
from pipeline.kubeflow import compiler
sys.stdout.write(compiler.compile_package(config.load(config.DEFAULT, ["kubeflow.webhook={name: a, key: b}"])))
heavy = [name for name in ("tensorflow", "apache_beam", "keras") if getattr(sys.modules.get(name), "__version__", None)]
assert not heavy, heavy
"""


def compile_package(config, **options):
    from pipeline.kubeflow import compiler

    spec, platform = yaml.safe_load_all(compiler.compile_package(config, **options))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def plain(tickets):
    return compile_package(tickets(f"kubeflow.image={DIGEST}"))


@pytest.fixture(scope="module")
def placed(tickets):
    return compile_package(
        tickets(
            "kubeflow.defaults={memory: 2Gi}",
            "kubeflow.nodes.Trainer={cpu: 2, memory: 8Gi, gpu: {count: 2}, node_selector: {pool: gpu}, "
            "tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], image: other:1, retries: 4, timeout_seconds: 600, "
            "secrets: [{name: tracker, key: token, env: TRACKER_TOKEN}], volumes: [{claim: cache, mount: /cache}]}",
            "kubeflow.webhook={name: chat, key: url}",
            "kubeflow.ui=https://kfp.example.org",
            "kubeflow.labels={team: support}",
            "kubeflow.annotations={sidecar.istio.io/inject: 'false'}",
            "kubeflow.pull_policy=Never",
            "kubeflow.pull_secrets=[registry]",
        )
    )


def arguments(spec, name):
    words = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["args"]
    return dict(zip(words[::2], words[1::2], strict=True))


class TestTasks:
    def test_each_node_is_one_task_with_its_outputs(self, plain):
        from pipeline.kubeflow import compiler, options, visuals

        spec, _ = plain
        names = compiler.task_names(options.NODES)
        assert set(spec["root"]["dag"]["tasks"]) == set(names.values())
        for node_id, name in names.items():
            outputs = spec["components"][f"comp-{name}"]["outputDefinitions"]["artifacts"]
            titles = {output: about["artifactType"]["schemaTitle"] for output, about in outputs.items()}
            assert titles == dict(visuals.outputs_of(node_id))

    def test_tasks_wait_for_what_tfx_waits_for(self, plain):
        tasks = plain[0]["root"]["dag"]["tasks"]
        assert tasks["transform"]["dependentTasks"] == ["example-gen", "schema-import"]
        assert "data-gate" in tasks["trainer"]["dependentTasks"]
        assert "latest-blessed-model" in tasks["evaluator"]["dependentTasks"]
        assert "dependentTasks" not in tasks["schema-import"]

    def test_a_container_is_told_its_node(self, plain):
        from pipeline.kubeflow import step_argument

        spec, _ = plain
        container = spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]
        assert container["image"] == DIGEST
        assert container["command"] == ["python", "-m", "pipeline.kubeflow.step"]
        words = container["args"]
        assert words[:3] == ["--node", "Trainer", "--ir"]
        assert words[4:] == [
            "--run-id", "{{$.inputs.parameters['run_id']}}",
            "--metadata", "mysql://parlance@parlance-mysql:3306/parlance",
            "--executor-input", "{{$}}",
            "--parameter", "epochs={{$.inputs.parameters['epochs']}}",
            "--parameter", "sample={{$.inputs.parameters['sample']}}",
        ]  # fmt: skip
        [node] = step_argument.unpack(words[3]).nodes
        assert node.pipeline_node.node_info.id == "Trainer"

    def test_the_run_id_is_an_input_of_every_task_and_kubeflows_cache_is_off(self, plain):
        for task in plain[0]["root"]["dag"]["tasks"].values():
            assert task["inputs"]["parameters"]["run_id"]["runtimeValue"]["constant"] == "{{$.pipeline_job_uuid}}"
            assert not task["cachingOptions"].get("enableCache")

    def test_parameters_have_defaults(self, plain):
        inputs = plain[0]["root"]["inputDefinitions"]["parameters"]
        assert inputs["data_path"]["defaultValue"] == "/parlance/data/tickets.csv"
        assert (inputs["sample"]["parameterType"], inputs["sample"]["defaultValue"]) == ("NUMBER_DOUBLE", 1.0)
        assert (inputs["epochs"]["parameterType"], inputs["epochs"]["defaultValue"]) == ("NUMBER_INTEGER", 10)

    def test_retries(self, plain, placed):
        tasks = plain[0]["root"]["dag"]["tasks"]
        assert tasks["trainer"]["retryPolicy"]["maxRetryCount"] == 2
        assert "retryPolicy" not in tasks["data-gate"]
        assert placed[0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]["trainer"]["retryPolicy"]["maxRetryCount"] == 4

    def test_metadata_may_be_elsewhere_for_a_test(self, tickets):
        spec, _ = compile_package(tickets(), metadata="sqlite:///tmp/m.db")
        assert arguments(spec, "pusher")["--metadata"] == "sqlite:///tmp/m.db"

    def test_a_run_without_cache(self, tickets):
        from pipeline.kubeflow import step_argument

        spec, _ = compile_package(tickets(), cache=False)
        [node] = step_argument.unpack(arguments(spec, "trainer")["--ir"]).nodes
        assert not node.pipeline_node.execution_options.caching_options.enable_cache

    def test_beam_works_where_the_file_says(self, tickets):
        from tfx.orchestration.local import runner_utils

        from pipeline.kubeflow import step_argument

        spec, _ = compile_package(tickets("beam={nodes: {Evaluator: {runner: flink, args: [--environment_type=EXTERNAL]}}}"))
        runners = {}
        for name, node_id in (("evaluator", "Evaluator"), ("transform", "Transform")):
            cut = step_argument.unpack(arguments(spec, name)["--ir"])
            beam = runner_utils.extract_local_deployment_config(cut).executor_specs[node_id].beam_executable_spec
            runners[node_id] = beam.beam_pipeline_args_placeholders[0].value.string_value
            assert "--direct_running_mode=in_memory" in [part.value.string_value for part in beam.beam_pipeline_args_placeholders]
        assert runners["Evaluator"] == "--runner=FlinkRunner"
        assert runners["Transform"].endswith("FnApiRunner")


class TestPlaces:
    def test_resources_of_one_node(self, placed):
        spec, platform = placed
        container = spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]
        assert container["image"] == "other:1"
        resources = container["resources"]
        assert (resources["resourceCpuLimit"], resources["resourceMemoryRequest"]) == ("2", "8Gi")
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        assert resources["accelerator"]["resourceCount"] == "2"
        trainer = platform["exec-trainer"]
        assert trainer["nodeSelector"]["labels"] == {"pool": "gpu"}
        assert trainer["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
        assert trainer["activeDeadlineSeconds"] == "600"
        assert [mount["mountPath"] for mount in trainer["pvcMount"]] == ["/parlance", "/cache"]

    def test_the_others_have_the_defaults(self, placed):
        spec, platform = placed
        container = spec["deploymentSpec"]["executors"]["exec-transform"]["container"]
        assert container["resources"]["resourceMemoryLimit"] == "2Gi"
        assert "accelerator" not in container["resources"]
        assert "tolerations" not in platform["exec-transform"]

    def test_secrets_go_by_reference_to_those_who_need_them(self, placed):
        def variables(executor):
            return {entry["envVar"]: secret["secretName"] for secret in executor["secretAsEnv"] for entry in secret["keyToEnv"]}

        _, platform = placed
        assert variables(platform["exec-trainer"]) == {
            "PARLANCE_METADATA_PASSWORD": "parlance-metadata",
            "TRACKER_TOKEN": "tracker",
        }
        assert variables(platform["exec-transform"]) == {"PARLANCE_METADATA_PASSWORD": "parlance-metadata"}
        assert variables(platform["exec-exit-handler"])["PARLANCE_WEBHOOK_URL"] == "chat"

    def test_every_pod_has_the_labels_and_how_to_get_its_image(self, placed):
        for executor in placed[1].values():
            assert executor["podMetadata"] == {"labels": {"team": "support"}, "annotations": {"sidecar.istio.io/inject": "false"}}
            assert executor["imagePullPolicy"] == "Never"
            assert [secret["secretName"] for secret in executor["imagePullSecret"]] == ["registry"]

    def test_the_exit_handler_hears_how_the_run_ended(self, placed, plain):
        tasks = placed[0]["root"]["dag"]["tasks"]
        assert tasks["exit-handler"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
        assert tasks["exit-handler"]["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"] == "exit-handler-1"
        container = placed[0]["deploymentSpec"]["executors"]["exec-exit-handler"]["container"]
        assert container["env"] == [{"name": "PARLANCE_KFP_UI", "value": "https://kfp.example.org"}]
        assert arguments(placed[0], "exit-handler")["--status"] == "{{$.inputs.parameters['status']}}"
        assert "exit-handler" not in plain[0]["root"]["dag"]["tasks"]


class TestRefused:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                ["kubeflow.pipeline_root=gs://bucket"],
                "renaming a finished folder, which gs:// cannot do.*received 'serving' below gs://bucket",
            ),
            (["release.directory=gs://bucket/models"], "renaming a finished folder"),
            (["release.directory=s3://bucket/models"], "release.directory cannot be on s3://"),
            (["release.directory=/models"], "on a volume that the step of Pusher mounts; received '/models'; mounts: /parlance"),
            (["data.source.path=gs://bucket/a.csv"], "Ingestion reads rows through the file system"),
            (
                [
                    "kubeflow.pipeline_root=gs://bucket",
                    "release.directory=/parlance/models",
                    "beam={runner: flink, args: [--flink_master=flink:8081, --sdk_container_image=parlance]}",
                ],
                "The Evaluator reads its model and rows through the file system.*flink",
            ),
            (["schedule={interval: 1d, parameters: {epoch: 3}}"], "no runtime parameter 'epoch'; parameters: data_path, epochs"),
            (["schedule={interval: 1d, parameters: {epochs: none}}"], "model.epochs"),
            (["data.source={type: prediction_log, path: /parlance/log}"], "no model is trained on it"),
        ],
    )
    def test_what_cannot_run_on_kubeflow(self, tickets, settings, message):
        with pytest.raises(UsageError, match=message):
            compile_package(tickets(*settings))

    def test_a_bucket_with_models_on_a_volume(self, tickets):
        compile_package(tickets("kubeflow.pipeline_root=gs://bucket/parlance", "release.directory=/parlance/models"))

    def test_two_nodes_with_one_name(self):
        from pipeline.kubeflow import compiler

        assert compiler.task_names(["LatestBlessedModel", "Trainer_2"]) == {
            "LatestBlessedModel": "latest-blessed-model",
            "Trainer_2": "trainer-2",
        }
        for pair in (["DataGate", "data_gate"], ["Trainer", "ExitHandler"]):
            with pytest.raises(UsageError, match=f"{pair[1]}' would both be the task"):
                compiler.task_names(pair)


@pytest.mark.usefixtures("no_cluster")
class TestValuesOfARun:
    @pytest.fixture
    def submit(self, tickets, tmp_path, kfp, capsys):
        from pipeline import cli
        from pipeline.kubeflow import compiler

        package = tmp_path / "tickets.kfp.yaml"
        package.write_text(compiler.compile_package(tickets(f"kubeflow.image={DIGEST}")))

        def submit(*values):
            words = [word for value in values for word in ("--parameter", value)]
            code = cli.main(["kubeflow", "submit", str(package), *words, "--endpoint", kfp.endpoint])
            return code, capsys.readouterr().err

        return submit

    def test_that_no_pipeline_file_could_have_are_refused_before_the_cluster_is_asked(self, submit, kfp):
        code, problem = submit("sample=7", "epochs=3")
        assert code == 2
        assert "data.sample: Input should be less than or equal to 1" in problem
        assert not kfp.requests

    def test_that_one_could_have_are_handed_on(self, submit, kfp):
        assert submit("sample=0.25", "epochs=3")[0] == 0
        [run] = kfp.runs.values()
        assert run.runtime_config.parameters == {"sample": 0.25, "epochs": 3}


def test_the_default_job_compiles_to_the_same_bytes_everywhere_without_tensorflow():
    """Two processes with different hash seeds; the file is small and loads in Kubeflow's own library."""
    from kfp import components

    started = [
        subprocess.Popen(
            [sys.executable, "-c", COMPILE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    texts = []
    for process in started:
        text, problems = process.communicate()
        assert process.returncode == 0, problems
        texts.append(text)
    assert texts[0] == texts[1]
    assert len(texts[0].encode()) < 100_000
    loaded = components.load_component_from_text(texts[0])
    assert loaded.pipeline_spec.pipeline_info.name == "intents"
    assert loaded.platform_spec.platforms["kubernetes"]
