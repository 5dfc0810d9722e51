"""Statistics of stored examples, as TFX's StatisticsGen computes them, for whoever looks at data outside of a run."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorflow_metadata.proto.v0 import schema_pb2

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import statistics_pb2


def compute(
    split: str | os.PathLike[str], schema: schema_pb2.Schema, beam: Sequence[str], scratch: str | os.PathLike[str]
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the statistics of one split. Takes TensorFlow Data Validation and Beam.

    Args:
      split: The folder with its examples, as ingestion writes them.
      schema: The curated schema.
      beam: Beam's arguments.
      scratch: A folder for files of Beam's; whoever asks removes it.
    """
    import tensorflow_data_validation as tfdv
    from apache_beam.options.pipeline_options import PipelineOptions

    return tfdv.generate_statistics_from_tfrecord(
        str(pathlib.Path(split) / "*.gz"),
        output_path=str(pathlib.Path(scratch) / "statistics.tfrecord"),
        stats_options=tfdv.StatsOptions(schema=schema),
        pipeline_options=PipelineOptions(list(beam)),
    )
