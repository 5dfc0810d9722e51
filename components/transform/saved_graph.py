"""The preprocessing graph as it was saved, to be applied to raw columns and to become part of another SavedModel.

TensorFlow Transform's own layer does the same as a layer of Keras 2, which nothing else here uses and whose import takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved import saved_transform_io_v2


class SavedGraph(tf.Module):
    """Maps raw columns to features."""

    def __init__(self, output: tft.TFTransformOutput):
        """Loads the graph.

        Args:
          output: Where it was saved.
        """
        super().__init__()
        loader = saved_transform_io_v2.SavedModelLoader(output.transform_savedmodel_dir)
        self._apply = loader.apply_transform_model
        # A module is saved with the tables and files of what its attributes hold, but not with those of a method's object.
        self._held = vars(loader)

    def __call__(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the features that depend on nothing but the columns given; tensors by name, see `preprocessing_fn`."""
        return self._apply(raw)
