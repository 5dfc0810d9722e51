"""Releasing a rejected model: a root as runs leave it, with ML Metadata and files, but no model that anybody trained."""

import json
import pathlib

import pytest
import yaml

from components.errors import EnvironmentFailure, UsageError
from components.release import push
from pipeline import records
from tests.components.reporting.runs import rejected_model

pytestmark = pytest.mark.tensorflow  # importing TFX here, in a process that also runs TensorFlow tests, imports it whole

REASON = "the model in production answers nothing since the migration"
RUN = "tickets-20260101-000000-aaaa"
FAILED = {"severity": "error", "check": "accuracy >= 0.9", "subject": "language=de", "message": "too low"}
PASSED = {"severity": "info", "check": "accuracy >= 0.1", "subject": "", "message": "fine"}


class RejectedRun:
    """A root with one run whose model was trained, evaluated and rejected.

    Attributes:
      root: The root folder.
      ids: Ids of the model and of an older one, the baseline, in ML Metadata.
    """

    def __init__(self, path: pathlib.Path):
        from pipeline.local.root import Root

        self.root = Root(path)
        self.root.runs.mkdir(parents=True)
        self.folder = self.root.runs / RUN
        self.folder.mkdir()
        (self.folder / "config.yaml").write_text(yaml.safe_dump({"release": {"directory": "out", "warmup_requests": 2}}))
        self.ids: dict[str, int] = {}
        self._write_metadata()
        self.change()

    @property
    def model_dir(self) -> pathlib.Path:
        return self.root.path / "model" / "Format-Serving"

    def change(self, **values):
        """Writes the run's record, with some values changed."""
        record = {
            "run_id": RUN,
            "pipeline": "tickets",
            "state": "rejected",
            "nodes": [{"id": "Evaluator", "state": "complete", "execution_id": self.ids["evaluator"]}],
            "verdict": {"blessed": False, "findings": [FAILED, PASSED]},
            "pushed": None,
            "config_sha256": "c0ffee",
        }
        records.write(self.folder, {**record, **values})

    def _write_metadata(self):
        from ml_metadata.proto import metadata_store_pb2 as mlmd
        from tfx.components.evaluator import constants
        from tfx.orchestration import metadata
        from tfx.orchestration.portable.mlmd import context_lib, execution_lib
        from tfx.types import standard_artifacts

        def artifact(kind, name, files, **properties):
            made = kind()
            folder = self.root.path / name
            for file, content in files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(content)
            made.uri = str(folder)
            made.mlmd_artifact.state = mlmd.Artifact.LIVE
            for key, value in properties.items():
                setter = made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property
                setter(key, value)
            return made

        saved_model = {"Format-Serving/saved_model.pb": "model", "Format-Serving/variables/v": "weights"}
        schema = 'feature { name: "text" type: BYTES } feature { name: "queue" type: BYTES not_in_environment: "SERVING" }'
        measured = rejected_model()
        evaluated = {"metrics": measured.metrics, "confusion": measured.confusion, "verdict": measured.verdict}
        ingested = {"summary.json": json.dumps(measured.ingestion)}
        with metadata.Metadata(self.root.metadata_config()) as connection:
            contexts = [
                context_lib.register_context_if_not_exists(connection, kind, name)
                for kind, name in (("pipeline", "tickets"), ("pipeline_run", RUN))
            ]

            def put(name, inputs, outputs):
                kind = mlmd.ExecutionType(name=name)
                execution = execution_lib.prepare_execution(connection, kind, mlmd.Execution.COMPLETE)
                return execution_lib.put_execution(connection, execution, contexts, inputs, outputs).id

            examples = artifact(standard_artifacts.Examples, "examples", ingested, content_fingerprint="f00d")
            schema = artifact(standard_artifacts.Schema, "schema", {"schema.pbtxt": schema})
            put("gen", {}, {"examples": [examples], "schema": [schema]})
            models = {name: artifact(standard_artifacts.Model, name, saved_model) for name in ("baseline", "model")}
            for name, model in models.items():
                put("trainer", {"schema": [schema]}, {"model": [model]})
                self.ids[name] = model.id
            blessing = artifact(
                standard_artifacts.ModelBlessing,
                "blessing",
                {constants.NOT_BLESSED_FILE_NAME: ""},
                blessed=0,
                current_model_id=self.ids["model"],
                current_model=models["model"].uri,
                baseline_model_id=self.ids["baseline"],
            )
            files = {f"{name}.json": json.dumps(content) for name, content in evaluated.items()}
            evaluation = artifact(standard_artifacts.ModelEvaluation, "evaluation", files)
            self.ids["evaluator"] = put(
                "evaluator",
                {"model": [models["model"]], "examples": [examples]},
                {"evaluation": [evaluation], "blessing": [blessing]},
            )

    def baseline_of(self, candidate: str) -> int | None:
        """The model that the next run would measure a candidate against."""
        from tfx.orchestration import metadata
        from tfx.orchestration.portable.input_resolution import channel_resolver
        from tfx.proto.orchestration import pipeline_pb2

        from components.evaluation.baseline import LastBlessedModelStrategy

        def all_of(kind):
            channel = pipeline_pb2.InputSpec.Channel()
            query = channel.context_queries.add()
            query.type.name = "pipeline"
            query.name.field_value.string_value = "tickets"
            channel.artifact_query.type.name = kind
            return channel_resolver.resolve_single_channel(connection, channel)

        with metadata.Metadata(self.root.metadata_config()) as connection:
            models = all_of("Model")
            [chosen] = [model for model in models if model.id == self.ids[candidate]]
            resolved = LastBlessedModelStrategy().resolve_artifacts(
                connection.store,
                {
                    "candidate": [chosen],
                    "model": models,
                    "model_blessing": all_of("ModelBlessing"),
                    "infra_blessing": all_of("InfraBlessing"),
                },
            )
        return resolved["model"][0].id if resolved["model"] else None


@pytest.fixture
def rejected(tmp_path):
    return RejectedRun(tmp_path / "root")


def override(rejected, run="latest", reason=REASON):
    from pipeline.override import override

    return override(rejected.root, run, reason)


class TestRelease:
    def test_pushes_the_model_and_says_in_the_manifest_who_when_why_and_against_what(self, rejected):
        record = override(rejected)
        version = pathlib.Path(record["pushed"]["path"])
        assert version.parent == rejected.root.path / "out" / "tickets"
        assert push.verify(version) == []
        assert (version / push.WARMUP).is_file()
        manifest = json.loads((version / push.MANIFEST).read_text())
        assert manifest["override"] == record["override"]
        assert manifest["override"]["reason"] == REASON
        assert manifest["override"]["failed"] == ["accuracy >= 0.9 (language=de)"]
        assert manifest["override"]["by"]
        assert manifest["override"]["at"].endswith("+00:00")
        assert (manifest["pipeline"], manifest["run"], manifest["config_sha256"]) == ("tickets", RUN, "c0ffee")
        assert (manifest["data_fingerprint"], manifest["metrics"]) == (
            "f00d",
            rejected_model().metrics["candidate"]["slices"][0]["metrics"],
        )

    def test_is_in_the_record_and_leaves_the_verdict_alone(self, rejected):
        record = override(rejected)
        assert records.Records(rejected.root.path).one(RUN) == record
        assert record["state"] == "rejected"
        assert not record["verdict"]["blessed"]

    def test_makes_the_model_the_next_baseline(self, rejected):
        assert rejected.baseline_of("baseline") is None
        override(rejected)
        assert rejected.baseline_of("baseline") == rejected.ids["model"]

    def test_an_unchanged_rerun_is_still_measured_against_what_the_model_was(self, rejected):
        override(rejected)
        assert rejected.baseline_of("model") == rejected.ids["baseline"]

    def test_is_an_execution_with_its_reason_in_metadata(self, rejected):
        from tfx.orchestration import metadata

        override(rejected)
        with metadata.Metadata(rejected.root.metadata_config()) as connection:
            [execution] = connection.store.get_executions_by_type("parlance.Override")
            contexts = {context.name for context in connection.store.get_contexts_by_execution(execution.id)}
        assert execution.custom_properties["override_reason"].string_value == REASON
        assert contexts == {"tickets", RUN, "tickets.Override"}


class TestFailedSmokeTest:
    @pytest.fixture
    def failed(self, rejected):
        """A run whose gate said yes, and whose smoke test no."""
        finding = {"severity": "error", "check": "smoke test: memory of the server", "subject": "", "message": "too much"}
        rejected.change(
            verdict={"blessed": False, "findings": [PASSED, finding]}, smoke_test={"state": "failed", "summary": "failed: memory"}
        )
        return rejected

    def test_is_overridden_with_both_on_record(self, failed):
        statement = override(failed)["override"]
        assert statement["failed"] == ["smoke test: memory of the server"]
        assert (statement["smoke_test"], statement["reason"]) == ("failed", REASON)

    def test_a_model_that_was_never_tried_is_not_taken_for_one_that_was(self, rejected):
        assert override(rejected)["override"]["smoke_test"] == "skipped"


class TestRefusals:
    @pytest.mark.parametrize("reason", ["", "  \n"])
    def test_without_a_reason(self, rejected, reason):
        with pytest.raises(UsageError, match="--override needs --reason"):
            override(rejected, reason=reason)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"verdict": {"blessed": True, "findings": []}, "state": "succeeded"},
                "was blessed, so there is nothing to override",
            ),
            ({"verdict": None, "nodes": [], "state": "failed", "error": "no disk"}, "run .* measured none: no disk"),
            ({"verdict": None, "nodes": [], "state": "running"}, "measured none: it is running, without an evaluation"),
            # The data gate's verdict is one about data.
            ({"nodes": [{"id": "Evaluator", "state": "skipped", "execution_id": None}]}, "measured none"),
        ],
    )
    def test_of_runs_without_a_rejected_model(self, rejected, change, message):
        rejected.change(**change)
        with pytest.raises(UsageError, match=message):
            override(rejected)

    def test_of_a_second_time(self, rejected):
        version = override(rejected)["pushed"]["version"]
        with pytest.raises(UsageError, match=f"released by override already, as version {version}"):
            override(rejected)
        assert [path.name for path in (rejected.root.path / "out" / "tickets").iterdir() if path.name.isdecimal()] == [version]

    def test_of_a_run_that_does_not_exist(self, rejected):
        with pytest.raises(UsageError, match=f"No run is called 'nothing'.*{RUN}"):
            override(rejected, run="nothing")

    @pytest.mark.parametrize(
        ("gone", "what"), [("model/Format-Serving/saved_model.pb", "model"), ("evaluation/metrics.json", "evaluation")]
    )
    def test_of_a_model_that_is_gone(self, rejected, gone, what):
        (rejected.root.path / gone).unlink()
        with pytest.raises(UsageError, match=f"The {what} of run {RUN} is no longer in .*; run again"):
            override(rejected)
        assert "override" not in records.Records(rejected.root.path).one(RUN)

    def test_of_an_evaluation_that_metadata_does_not_know(self, rejected):
        rejected.change(nodes=[{"id": "Evaluator", "state": "complete", "execution_id": 4711}])
        with pytest.raises(UsageError, match="does not know the evaluation"):
            override(rejected)

    def test_while_a_run_holds_the_root(self, rejected):
        with rejected.root.locked(), pytest.raises(EnvironmentFailure, match="Another run"):
            override(rejected)
