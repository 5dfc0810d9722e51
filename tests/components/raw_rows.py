"""Rows of made-up tables, mappings of column names to values: as tf.Examples, and what the Transform node makes of them."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


def serialized(row: Mapping[str, Any]) -> bytes:
    """Returns a row as tf.Example."""
    import tensorflow as tf

    features = tf.train.Features()
    for name, value in row.items():
        if isinstance(value, str):
            features.feature[name].bytes_list.value.append(value.encode())
        elif isinstance(value, int):
            features.feature[name].int64_list.value.append(value)
        else:
            features.feature[name].float_list.value.append(value)
    return tf.train.Example(features=features).SerializeToString()


def analyse(rows: Iterable[Mapping[str, Any]], config: Mapping[str, Any], folder: pathlib.Path) -> pathlib.Path:
    """Makes a preprocessing graph.

    Args:
      rows: The train split.
      config: The `custom_config` of `preprocessing_fn`.
      folder: Where to work.

    Returns:
      The folder of the graph.
    """
    from tensorflow_transform import beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from components.transform.preprocessing import preprocessing_fn
    from components.validation import schema_file

    spec = schema_utils.schema_as_feature_spec(schema_file.parse(config["schema"])).feature_spec
    instances = [{name: [row[name]] if name in row else [] for name in spec} for row in rows]
    with tft_beam.Context(temp_dir=str(folder / "scratch")):
        function = (instances, dataset_metadata.DatasetMetadata.from_feature_spec(spec)) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=config)
        )
        _ = function | tft_beam.WriteTransformFn(str(folder / "transform"))
    return folder / "transform"
