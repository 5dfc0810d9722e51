"""The pipeline definition."""

import pytest

from components.errors import UsageError
from components.validation import schema_file
from pipeline import config

pytestmark = pytest.mark.tensorflow  # importing TFX here, in a process that also runs TensorFlow tests, imports it whole

SCHEMA = """
feature { name: "text" type: BYTES }
feature { name: "queue" type: BYTES not_in_environment: "SERVING" }
feature { name: "language" type: BYTES not_in_environment: "SERVING" }
feature { name: "rows" type: FLOAT not_in_environment: "SERVING" }
"""


def tickets(evaluation=None, **data):
    values = {"source": {"type": "csv", "path": "t.csv"}, "text": "text", "label": "queue", "segments": ["language"], **data}
    return config.PipelineConfig.model_validate(
        {
            "name": "tickets",
            "data": values,
            "schema": "schema.pbtxt",
            "evaluation": {"gates": [{"metric": "accuracy", "min": 0.5}], **(evaluation or {})},
        }
    )


class TestRoles:
    def test_a_file_that_fits_passes(self):
        from pipeline import dag

        dag.check_roles(tickets(evaluation={"weight": "rows"}), schema_file.parse(SCHEMA))

    @pytest.mark.parametrize(
        ("data", "schema", "message"),
        [
            (
                {"label": "topic"},
                SCHEMA,
                "data.label names 'topic', which the schema does not list; it lists: language, queue, rows, text",
            ),
            ({"segments": ["region"]}, SCHEMA, "data.segments names 'region'"),
            ({"text": "body"}, SCHEMA, "data.text names 'body'"),
            ({"text": "language"}, SCHEMA, "text column 'language' must be in the environment SERVING"),
            ({"exclude": ["language"]}, SCHEMA, "'language' is in data.exclude"),
            ({"evaluation": {"weight": "count"}}, SCHEMA, "evaluation.weight names 'count', which the schema does not list"),
            ({"evaluation": {"weight": "language"}}, SCHEMA, "evaluation.weight names 'language', which must be INT or FLOAT"),
            (
                {},
                SCHEMA.replace('"queue" type: BYTES not_in_environment: "SERVING"', '"queue" type: BYTES'),
                "read its own answer",
            ),
            ({"text": []}, SCHEMA.replace("type: BYTES }", 'type: BYTES not_in_environment: "SERVING" }', 1), "no input"),
        ],
    )
    def test_one_that_does_not_says_why(self, data, schema, message):
        from pipeline import dag

        with pytest.raises(UsageError, match=message):
            dag.check_roles(tickets(**data), schema_file.parse(schema))


@pytest.mark.parametrize("path", sorted(config.CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_pipelines_compile_and_name_executors_that_exist(path, tmp_path):
    from tfx.orchestration import metadata
    from tfx.orchestration.local import runner_utils
    from tfx.utils import import_utils

    from pipeline import dag
    from pipeline.local import launch

    compiled = dag.compile_pipeline(
        config.load(path), tmp_path, metadata.sqlite_metadata_connection_config(str(tmp_path / "m.db"))
    )
    deployment = runner_utils.extract_local_deployment_config(compiled)
    for node_id in launch.node_ids(compiled):
        if node_id in ("BaselineStatistics", "LatestBlessedModel"):
            continue  # a resolver has no executor
        spec = runner_utils.extract_executor_spec(deployment, node_id)
        path = getattr(spec, "class_path", "") or spec.python_executor_spec.class_path
        assert import_utils.import_class_by_path(path)


@pytest.mark.parametrize("path", sorted(config.CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_transform_does_not_wait_for_the_gate_and_whatever_learns_does(path, tmp_path):
    from ml_metadata.proto import metadata_store_pb2

    from pipeline import dag
    from pipeline.local import launch, plan

    compiled = dag.compile_pipeline(config.load(path), tmp_path, metadata_store_pb2.ConnectionConfig())
    ids = launch.node_ids(compiled)
    whole = plan.of(compiled, ids)
    assert set(whole.upstream["Transform"]) == {"SchemaImport", "ExampleGen"}
    for node_id in ("Trainer", "LatestBlessedModel", "Evaluator", "InfraValidator", "Pusher"):
        assert whole.held_up(node_id, ["DataGate"]) == ["DataGate"]
    # Of several errors the first in this order is the run's.
    assert ids.index("DataGate") < ids.index("Transform")


def test_nodes_on_spark_take_turns(tmp_path):
    from ml_metadata.proto import metadata_store_pb2

    from pipeline import dag
    from pipeline.local import launch, plan

    spark = {"runner": "spark", "args": ["--job_endpoint=127.0.0.1:8099", "--environment_type=EXTERNAL"]}
    settings = config.load(config.CONFIGS / "intents.yaml", [f"beam={spark}"])
    compiled = dag.compile_pipeline(settings, tmp_path, metadata_store_pb2.ConnectionConfig())
    assert "StatisticsGen" in plan.of(compiled, launch.node_ids(compiled)).upstream["Transform"]


@pytest.mark.parametrize(
    "source",
    [
        {"type": "sql", "url": "sqlite:///tickets.db", "table": "tickets", "incremental": {"column": "id"}},
        {"type": "mongodb", "url": "mongodb://host/", "database": "support", "collection": "tickets"},
        {"type": "bigquery", "query": "SELECT * FROM support.tickets"},
    ],
    ids=lambda source: source["type"],
)
def test_databases_are_asked_when_the_pipeline_runs_not_when_it_compiles(source, tmp_path):
    from tfx.orchestration import metadata
    from tfx.orchestration.local import runner_utils
    from tfx.utils import import_utils

    from components.ingestion.component import DatabaseDriver
    from pipeline import dag

    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    values = {**tickets(source=source).effective(), "schema": str(tmp_path / "schema.pbtxt")}
    compiled = dag.compile_pipeline(
        config.from_values(values, "t"), tmp_path, metadata.sqlite_metadata_connection_config(str(tmp_path / "m.db"))
    )
    deployment = runner_utils.extract_local_deployment_config(compiled)
    spec = runner_utils.extract_custom_driver_spec(deployment, "ExampleGen")
    assert import_utils.import_class_by_path(spec.class_path) is DatabaseDriver


def test_changed_code_changes_the_fingerprint(tmp_path, monkeypatch):
    import components
    from pipeline import dag

    stage = tmp_path / "transform"
    stage.mkdir()
    (stage / "text.py").write_text("a = 1")
    monkeypatch.setattr(components, "__file__", str(tmp_path / "__init__.py"))
    before = dag.code_fingerprint("transform")
    (stage / "text.py").write_text("a = 2")
    assert dag.code_fingerprint("transform") != before


def test_another_package_and_its_lists_change_it_too(tmp_path, monkeypatch):
    import types

    from pipeline import dag

    package = types.ModuleType("serving")
    package.__path__ = [str(tmp_path)]
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "ops.txt").write_text("AddV2")
    before = dag.code_fingerprint(packages=(package,))
    (tmp_path / "notes.md").write_text("none of the code")
    assert dag.code_fingerprint(packages=(package,)) == before
    (tmp_path / "known" / "ops.txt").write_text("AddV3")
    assert dag.code_fingerprint(packages=(package,)) != before
