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


def write(rows: Iterable[Mapping[str, Any]], file: pathlib.Path) -> str:
    """Writes rows as a file of examples; returns its path."""
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for row in rows:
            writer.write(serialized(row))
    return str(file)


def analyse(rows: Iterable[Mapping[str, Any]], config: Mapping[str, Any], folder: pathlib.Path) -> pathlib.Path:
    """Makes a preprocessing graph.

    Args:
      rows: The train split.
      config: The `custom_config` of `preprocessing_fn`.
      folder: Where to work.

    Returns:
      The folder of the graph.
    """
    from components.transform.analysis import analyse
    from components.transform.preprocessing import preprocessing_fn
    from components.validation import schema_file

    file = write(rows, folder / "examples.gz")
    function = functools.partial(preprocessing_fn, custom_config=config)
    analyse(function, schema_file.parse(config["schema"]), [file], str(folder / "transform"))
    return folder / "transform"
