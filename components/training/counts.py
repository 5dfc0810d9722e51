"""What one reading of the train split tells: how many rows each label has, and each identifier of each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.training import network
from components.training.encoders import IdentifierStatistics
from components.transform.columns import LABEL, category_feature, text_feature

Total = Callable[[np.ndarray], np.ndarray]


class SplitCounts:
    """Counts rows pool by pool."""

    def __init__(self, classes: int, texts: Sequence[int] = (), categories: Sequence[int] = ()):
        """Starts from zero.

        Args:
          classes: How many labels there are.
          texts: How many identifiers each text column can have.
          categories: How many each categorical column can have.
        """
        self._of_class = np.zeros(classes, np.int64)
        self._of_text = [np.zeros(identifiers, np.int64) for identifiers in texts]
        self._of_category = [np.zeros(identifiers, np.int64) for identifiers in categories]

    def add(self, pool: Mapping[str, Any]) -> None:
        """Counts the rows of a pool, all of which have a label that training has seen."""
        _add(self._of_class, pool[LABEL].numpy())
        for position, counted in enumerate(self._of_text):
            _add(counted, _once_a_row(pool[text_feature(position)], len(counted)))
        for position, counted in enumerate(self._of_category):
            _add(counted, pool[category_feature(position)].numpy())

    def rows_of_class(self, total: Total) -> np.ndarray:
        """Returns the rows of each label, int64 [classes].

        Args:
          total: Adds what other machines have counted.
        """
        return total(self._of_class)

    def input_sizes(self, numbers: int, total: Total) -> network.InputSizes:
        """Returns what the network needs to know.

        Args:
          numbers: How many numeric columns there are.
          total: Adds what other machines have counted.
        """
        rows = int(self.rows_of_class(total).sum())
        texts, categories = (
            [IdentifierStatistics(rows, total(counted)) for counted in columns] for columns in (self._of_text, self._of_category)
        )
        return network.InputSizes(texts, categories, numbers)


def _once_a_row(identifiers: tf.RaggedTensor, most: int) -> np.ndarray:
    """Returns the identifiers of all rows, each as often as there are rows that have it."""
    pairs = identifiers.value_rowids().numpy() * most + identifiers.flat_values.numpy()
    return np.unique(pairs) % most


def _add(counted: np.ndarray, identifiers: np.ndarray) -> None:
    counted += np.bincount(identifiers, minlength=len(counted))
