import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from components.errors import EnvironmentFailure, UsageError
from pipeline.kubeflow import exit_handler, metadata_url, step, step_argument, step_words, visuals
from tests.conftest import PROJECT, parlance
from tests.pipeline.kubeflow import misbehaving

pytestmark = pytest.mark.end_to_end  # not for what it uses, but because each test starts processes

SETTINGS = (
    "data.source.languages=[de, en]",
    "data.source.rows=300",
    "evaluation.gates=[{metric: accuracy, above_majority: 0.2}]",
)
WAIT_SECONDS = 60
States = metadata_store_pb2.Execution


class Pipeline:
    """A compiled pipeline whose steps are started as their containers would be."""

    def __init__(self, root):
        self.root = root
        self.url = f"sqlite:///{root}/metadata.db"
        package = root / "package.yaml"
        settings = [word for setting in (*SETTINGS, f"kubeflow.volume.mount={root}") for word in ("--set", setting)]
        shown = parlance("kubeflow", "compile", *settings, "-o", package)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        executors = next(yaml.safe_load_all(package.read_text()))["deploymentSpec"]["executors"]
        arguments = [executor["container"]["args"] for executor in executors.values()]
        self.packed = {words[words.index("--node") + 1]: words[words.index("--ir") + 1] for words in arguments if "--ir" in words}

    def executor_input(self, node, run_id):
        folder = self.root / "kfp" / run_id / node
        artifacts = {name: {"artifacts": [{"name": name, "uri": str(folder / name)}]} for name in visuals.outputs_of(node)}
        return {"outputs": {"artifacts": artifacts, "outputFile": str(folder / "executor_output.json")}}

    def told(self, node, run_id):
        """What the step told Kubeflow."""
        return json.loads((self.root / "kfp" / run_id / node / "executor_output.json").read_text())["artifacts"]

    def start(self, node, run_id, *more, packed=None, environment=None):
        command = [sys.executable, "-m", "pipeline.kubeflow.step", "--node", node, "--ir", packed or self.packed[node]]
        command += ["--run-id", run_id, "--metadata", self.url, "--executor-input", json.dumps(self.executor_input(node, run_id))]
        return subprocess.Popen(
            [*command, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **(environment or {})},
        )

    def run(self, node, run_id, *more, **options):
        process = self.start(node, run_id, *more, **options)
        out, err = process.communicate(timeout=WAIT_SECONDS)
        return process.returncode, out, err

    def with_executor(self, node, executor):
        """A node whose executor is another one."""
        pipeline = step_argument.unpack(self.packed[node])
        pipeline.nodes[0].pipeline_node.execution_options.caching_options.enable_cache = False
        deployment = pipeline_pb2.IntermediateDeploymentConfig()
        pipeline.deployment_config.Unpack(deployment)
        spec = executable_spec_pb2.PythonClassExecutableSpec()
        deployment.executor_specs[node].Unpack(spec)
        spec.class_path = f"{executor.__module__}.{executor.__name__}"
        deployment.executor_specs[node].Pack(spec)
        pipeline.deployment_config.Pack(deployment)
        return step_argument.pack(pipeline, node)

    def executions(self, run_id):
        store = metadata_store.MetadataStore(metadata_url.parse(self.url, {}))
        context = store.get_context_by_type_and_name("pipeline_run", run_id)
        return store.get_executions_by_context(context.id) if context else []


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline(tmp_path_factory.mktemp("steps"))


@pytest.fixture(scope="module")
def first(pipeline):
    """Two nodes of a first run."""
    return {node: pipeline.run(node, "first") for node in ("SchemaImport", "ExampleGen")}


@pytest.fixture
def in_this_process():
    """Undoes what a step does to its process."""
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("absl").level
    yield
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("absl").setLevel(level)


class TestAStep:
    def test_runs_its_node_and_ends_well(self, pipeline, first):
        for code, _, err in first.values():
            assert code == 0, err
        assert {execution.last_known_state for execution in pipeline.executions("first")} == {States.COMPLETE}
        [examples] = pipeline.root.glob("pipelines/intents/ExampleGen/examples/*")
        assert (examples / "summary.json").exists()

    def test_says_in_the_log_what_a_local_run_shows(self, first):
        _, out, _ = first["ExampleGen"]
        assert out.startswith("  ✓ ExampleGen ")
        assert "train " in out
        assert len(out.splitlines()) == 1

    def test_tells_kubeflow(self, pipeline, first):
        told = pipeline.told("ExampleGen", "first")
        assert set(told) == {"metrics", "summary"}
        [numbers] = told["metrics"]["artifacts"]
        assert numbers["metadata"]["train"] + numbers["metadata"]["eval"] + numbers["metadata"]["test"] == 300
        [note] = told["summary"]["artifacts"]
        assert note["metadata"]["tfx_outputs"]["examples"][0].startswith(f"{pipeline.root}/pipelines/intents/ExampleGen/")
        assert pathlib.Path(note["uri"]).read_text().startswith("## ExampleGen: complete")

    def test_leaves_time_and_memory_in_metadata(self, pipeline, first):
        for execution in pipeline.executions("first"):
            assert execution.custom_properties[step_words.SECONDS].double_value > 0
            assert execution.custom_properties[step_words.PEAK_MIB].int_value > 30
            assert step_words.ERROR not in execution.custom_properties

    def test_started_again_after_success_does_nothing(self, pipeline, first):
        before = {execution.id for execution in pipeline.executions("first")}
        [examples] = pipeline.root.glob("pipelines/intents/ExampleGen/examples/*")
        written = (examples / "summary.json").stat().st_mtime_ns
        code, out, err = pipeline.run("ExampleGen", "first")
        assert code == 0
        assert out == first["ExampleGen"][1]  # with the seconds of the attempt that did the work
        assert "is done already" in err
        assert {execution.id for execution in pipeline.executions("first")} == before
        assert (examples / "summary.json").stat().st_mtime_ns == written

    def test_of_another_run_takes_what_is_up_to_date(self, pipeline, first):
        codes = [pipeline.run(node, "second")[0] for node in ("SchemaImport", "ExampleGen")]
        assert codes == [0, 0]
        assert {execution.last_known_state for execution in pipeline.executions("second")} == {States.CACHED}
        assert pipeline.told("ExampleGen", "second")["metrics"]["artifacts"][0]["metadata"]["cached"] == 1

    def test_whose_inputs_are_missing_fails(self, pipeline):
        code, out, _ = pipeline.run("ExampleGen", "alone")
        assert code == 3
        assert "failed: The inputs of ExampleGen could not be resolved" in out
        [execution] = pipeline.executions("alone")
        assert execution.last_known_state == States.FAILED
        assert set(pipeline.told("ExampleGen", "alone")) == {"metrics", "summary"}


class TestInterrupted:
    def wait_for_part(self, pipeline, process, before):
        while process.poll() is None:
            found = set(pipeline.root.glob("pipelines/intents/SchemaImport/schema/*/part-1")) - before
            if found:
                return found.pop()
            time.sleep(0.01)
        raise AssertionError(process.communicate()[1])

    def begin(self, pipeline, run_id, packed):
        before = set(pipeline.root.glob("pipelines/intents/SchemaImport/schema/*/part-1"))
        process = pipeline.start("SchemaImport", run_id, packed=packed)
        return process, self.wait_for_part(pipeline, process, before)

    @pytest.mark.parametrize(
        ("number", "code", "state"), [(signal.SIGTERM, step.TERMINATED, States.FAILED), (signal.SIGKILL, -9, States.RUNNING)]
    )
    def test_and_started_again_takes_up_its_execution(self, pipeline, number, code, state):
        run_id = f"run-{number.name}"
        packed = pipeline.with_executor("SchemaImport", misbehaving.Slow)
        process, part = self.begin(pipeline, run_id, packed)
        process.send_signal(number)
        out, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == code
        [execution] = pipeline.executions(run_id)
        assert execution.last_known_state == state
        if number == signal.SIGTERM:
            assert not part.exists()
            assert "The step was told to end (SIGTERM)" in out
            assert "SIGTERM" in execution.custom_properties[step_words.ERROR].string_value

        again, out, err = pipeline.run("SchemaImport", run_id, packed=packed, environment={misbehaving.HURRY: "1"})
        assert again == 0, err
        [finished] = pipeline.executions(run_id)
        assert finished.id == execution.id
        assert finished.last_known_state == States.COMPLETE
        assert step_words.ERROR not in finished.custom_properties
        assert {file.name for file in part.parent.iterdir()} == {"part-2", "schema.pbtxt"}


class TestFailures:
    def test_a_gates_no_is_exit_code_1_with_its_findings_for_the_exit_handler(self, pipeline):
        code, out, _ = pipeline.run("SchemaImport", "no", packed=pipeline.with_executor("SchemaImport", misbehaving.Refusing))
        assert code == 1
        assert out.splitlines()[1] == "rejected: 9 of 10 rows were set aside"
        [node] = exit_handler.read_nodes(pipeline.url, "no", {})
        assert node.state == "failed"
        assert node.findings[0]["check"] == "quarantine"
        told = exit_handler.message("intents", "no", {"state": "FAILED"}, [node], lambda *_: None)
        assert told["state"] == "rejected"

    def test_what_nobody_foresaw_is_said_without_personal_data(self, pipeline):
        packed = pipeline.with_executor("SchemaImport", misbehaving.Talkative)
        code, out, _ = pipeline.run("SchemaImport", "talk", packed=packed)
        assert code == 3
        assert "failed: ValueError: cannot parse 'write to [email]'" in out
        [execution] = pipeline.executions("talk")
        assert "ann@" not in str(execution)
        assert "ann@" not in (pipeline.root / "kfp" / "talk" / "SchemaImport" / "summary").read_text()

    @pytest.mark.usefixtures("in_this_process")
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            (["--ir", "nonsense"], "Compile the pipeline again"),
            (["--node", "Trainer"], "--ir must hold the node Trainer; it holds: SchemaImport"),
            (["--parameter", "rows"], "--parameter takes NAME=VALUE"),
            (["--executor-input", "[]"], "--executor-input must be a JSON object"),
        ],
    )
    def test_a_wrong_command_is_exit_code_2(self, pipeline, changed, words, capsys):
        command = ["--node", "SchemaImport", "--ir", pipeline.packed["SchemaImport"], "--run-id", "r", "--metadata", pipeline.url]
        assert step.main([*command, *changed]) == 2
        assert words in capsys.readouterr().out

    @pytest.mark.usefixtures("in_this_process")
    def test_metadata_that_cannot_be_reached_is_the_environments_failure(self, pipeline):
        class Away:
            def __enter__(self):
                raise RuntimeError("Cannot connect to MySQL server")

            def __exit__(self, *_):
                pass

        options = ["--node", "SchemaImport", "--ir", pipeline.packed["SchemaImport"], "--run-id", "r"]
        parsed = step._parser().parse_args([*options, "--metadata", "mysql://parlance@db/runs"])
        with pytest.raises(EnvironmentFailure, match="ML Metadata at mysql://parlance@db/runs cannot be used: Cannot connect"):
            step._Step(parsed, step._Termination())._executions(Away())

    def test_values_of_parameters_may_hold_anything(self):
        assert step._parameters(["a=b=c", "empty="]) == {"a": "b=c", "empty": ""}
        with pytest.raises(UsageError):
            step._parameters(["=x"])


def test_a_step_of_a_lean_node_imports_no_tensorflow(pipeline):
    """The log of Python's own imports names every module; the worker's is in it too."""
    code, _, err = pipeline.run("SchemaImport", "light", environment={"PYTHONVERBOSE": "1"})
    assert code == 0
    imported = {line.split("'")[1] for line in err.splitlines() if line.startswith("import '")}
    assert "tfx.orchestration.portable.launcher" in imported
    assert not imported & {"tensorflow.python", "apache_beam.pipeline", "tensorflow_model_analysis.api", "kfp"}
