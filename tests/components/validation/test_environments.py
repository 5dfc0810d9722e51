"""Data held against the schema in an environment, by the function and by the node."""

import pandas as pd
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.ingestion.options import FileSource, PredictionLogSource
from components.validation import environments, schema_file
from components.validation.schema_file import SERVING, TRAINING

pytestmark = pytest.mark.tensorflow

FEATURES = """
feature { name: "channel" type: BYTES presence { min_fraction: 1 min_count: 1 } string_domain { value: "web" value: "app" } }
feature { name: "intent" type: BYTES presence { min_fraction: 1 min_count: 1 } not_in_environment: "SERVING" }
"""
SCHEMAS = {
    "with environments": FEATURES + 'default_environment: "TRAINING" default_environment: "SERVING"',
    "without": FEATURES,
}
LABELLED = pd.DataFrame({"channel": ["web", "app"] * 20, "intent": ["on", "off"] * 20})
UNLABELLED = LABELLED[["channel"]]


def statistics(rows):
    import tensorflow_data_validation as tfdv

    return tfdv.generate_statistics_from_dataframe(rows)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize(
    ("rows", "environment", "columns"),
    [
        (LABELLED, TRAINING, []),
        (UNLABELLED, TRAINING, ["intent"]),
        (UNLABELLED, SERVING, []),
        (LABELLED, SERVING, []),
        (LABELLED.replace("web", "fax"), SERVING, ["channel"]),
    ],
)
def test_what_an_environment_expects(schema, rows, environment, columns):
    anomalies = environments.validate(statistics(rows), schema_file.parse(schema), environment)
    assert sorted(anomalies.anomaly_info) == columns


def test_the_schema_is_left_as_it_is():
    schema = schema_file.parse(FEATURES)
    environments.validate(statistics(UNLABELLED), schema, SERVING)
    assert schema == schema_file.parse(FEATURES)


def test_what_a_server_logged_is_serving_data():
    assert environments.of_source(PredictionLogSource(type="prediction_log", path="log")) == SERVING
    assert environments.of_source(FileSource(type="csv", path="table.csv")) == TRAINING


@pytest.mark.parametrize(("environment", "columns"), [(TRAINING, ["intent"]), (SERVING, [])])
def test_the_node_writes_the_anomalies_of_its_environment(tmp_path, environment, columns):
    from tfx.types import artifact_utils, standard_artifacts

    from components.validation.component import ExampleValidatorExecutor

    def artifact(kind, name):
        made = kind()
        made.uri = str(tmp_path / name)
        return made

    stored, schema = artifact(standard_artifacts.ExampleStatistics, "statistics"), artifact(standard_artifacts.Schema, "schema")
    stored.split_names = artifact_utils.encode_split_names(["train"])
    (tmp_path / "statistics" / "Split-train").mkdir(parents=True)
    (tmp_path / "statistics" / "Split-train" / "FeatureStats.pb").write_bytes(statistics(UNLABELLED).SerializeToString())
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / schema_file.FILE_NAME).write_text(FEATURES)
    anomalies = artifact(standard_artifacts.ExampleAnomalies, "anomalies")
    ExampleValidatorExecutor().Do(
        {"statistics": [stored], "schema": [schema]},
        {"anomalies": [anomalies]},
        {"exclude_splits": "[]", "environment": environment},
    )
    written = (tmp_path / "anomalies" / "Split-train" / "SchemaDiff.pb").read_bytes()
    assert sorted(anomalies_pb2.Anomalies.FromString(written).anomaly_info) == columns
    assert anomalies.get_json_value_custom_property("blessed") == {"train": int(not columns)}
    assert artifact_utils.decode_split_names(anomalies.split_names) == ["train"]
