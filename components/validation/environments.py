"""Statistics held against the schema in one of its environments: TRAINING data has a label, SERVING data has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from components.ingestion.options import PredictionLogSource, Source
from components.validation.schema_file import SERVING, TRAINING

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import statistics_pb2

PROPERTY = "data_environment"
"""The custom property of examples that names the environment of their data; without it, that is TRAINING."""


def of_source(source: Source) -> str:
    """Returns the environment of a source's data: SERVING for what a model server logged, TRAINING for all other."""
    return SERVING if isinstance(source, PredictionLogSource) else TRAINING


def validate(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema, environment: str
) -> anomalies_pb2.Anomalies:
    """Returns how data differs from the schema in an environment.

    A column that is not in the environment may be there or not, whatever its values are. Takes TensorFlow Data Validation.

    Args:
      statistics: Statistics of one data set.
      schema: The curated schema. All its columns are in an environment that none of its `default_environment` and none of the column's
        own names excludes.
      environment: TRAINING or SERVING.
    """
    import tensorflow_data_validation as tfdv

    if environment not in schema.default_environment:
        # A schema without environments is valid in all of them, which TFDV takes for an error.
        whole = schema_pb2.Schema()
        whole.CopyFrom(schema)
        whole.default_environment.append(environment)
        schema = whole
    anomalies = tfdv.validate_statistics(statistics, schema, environment=environment)
    for feature in schema.feature:
        found = anomalies.anomaly_info.get(feature.name)
        # TFDV takes a column of another environment for one that the schema does not know.
        if found is not None and {reason.type for reason in found.reason} == {anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN}:
            del anomalies.anomaly_info[feature.name]
    return anomalies
