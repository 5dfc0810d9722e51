"""What calls return: predictions, and how versions of a model do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client.errors import MissingOutputError

Array = np.ndarray[Any, np.dtype[Any]]

# Pairs of outputs that name classes and rate them: the best one, the best few in order, and all in any order (also what Classify
# answers). The first two are what Parlance's models return for raw columns.
_BEST = ("label", "score")
_RANKED = ("top_labels", "top_scores")
_ALL = ("classes", "scores")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A model's answer to one request of one or more rows.

        prediction = client.predict("intents", {"text": ["turn on the light", "stop"]})
        prediction.labels                   # ["HassTurnOn", "HassNevermind"]
        prediction["top_scores"]            # numpy, float32 [2, k]

    Attributes:
        model: The model's name.
        version: The version that answered. None if the server does not say: REST does not.
        signature: The signature that was run.
        outputs: By name. Strings are object arrays of bytes; see `text`. Classify gives `classes` and `scores`, Regress `outputs`.
            Arrays may be read-only.
    """

    model: str
    version: int | None
    signature: str
    outputs: Mapping[str, Array]

    def __getitem__(self, output: str) -> Array:
        try:
            return self.outputs[output]
        except KeyError:
            raise MissingOutputError(
                f"the prediction has no output {output!r}; it has: {', '.join(sorted(self.outputs)) or 'none'}"
            ) from None

    def __repr__(self) -> str:
        # Outputs may repeat what was sent.
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(self.outputs.items()))
        return f"Prediction({self.model!r}, version={self.version}, signature={self.signature!r}, outputs: {shapes})"

    def text(self, output: str) -> Array:
        """An output of strings as an object array of str. Bytes that are not UTF-8 become U+FFFD.

        Raises:
            MissingOutputError: There is no such output, or its elements are not strings.
        """
        array = self[output]
        if array.dtype != object:
            raise MissingOutputError(f"output {output!r} holds {array.dtype}, not strings")
        decoded = np.empty(array.size, dtype=object)
        decoded[:] = [value.decode("utf-8", "replace") for value in array.ravel().tolist()]
        return decoded.reshape(array.shape)

    @property
    def labels(self) -> list[str]:
        """The best label of each row.

        Raises:
            MissingOutputError: The outputs name no labels.
        """
        if _BEST[0] in self.outputs:
            return list(self.text(_BEST[0]).reshape(-1))
        return [row[0][0] for row in self.top(1)]

    @property
    def scores(self) -> Array:
        """The score of the best label of each row, float [B].

        Raises:
            MissingOutputError: The outputs have no scores.
        """
        if _BEST[1] in self.outputs:
            return self.outputs[_BEST[1]].reshape(-1)
        _, scores = self._rated()
        best: Array = np.max(scores, axis=1)
        return best

    @property
    def abstained(self) -> Array:
        """Whether the model abstained from an answer, bool [B]; all False for models that never do."""
        if "abstained" in self.outputs:
            return self.outputs["abstained"].reshape(-1)
        return np.zeros(self.rows, bool)

    @property
    def values(self) -> Array:
        """The number of each row of a regression, float [B].

        Raises:
            MissingOutputError: This is not the answer of a regression.
        """
        return self["outputs"].reshape(-1)

    @property
    def rows(self) -> int:
        """The number of rows, taken from the first dimension of the outputs; 1 if they have none."""
        return next((array.shape[0] for array in self.outputs.values() if array.ndim), 1)

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """The best labels of each row with their scores, best first.

        Args:
            k: How many; fewer come back if the model returned fewer.

        Raises:
            MissingOutputError: The outputs have no labels and scores.
        """
        labels, scores = self._rated()
        # Sorting is stable, so that labels of the same score keep the model's order.
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [
            [(labels[row, column], float(scores[row, column])) for column in columns]
            for row, columns in enumerate(order.tolist())
        ]

    def _rated(self) -> tuple[Array, Array]:
        """Labels [B, C] as str and their scores [B, C]."""
        for labels, scores in (_RANKED, _ALL, _BEST):
            if labels in self.outputs and scores in self.outputs:
                rows = self.rows
                return self.text(labels).reshape(rows, -1), self.outputs[scores].reshape(rows, -1)
        raise MissingOutputError(f"the prediction has no labels; its outputs are: {', '.join(sorted(self.outputs)) or 'none'}")


@dataclasses.dataclass(frozen=True, slots=True)
class VersionStatus:
    """How one version of a model does.

    Attributes:
        version: Its number.
        state: START, LOADING, AVAILABLE, UNLOADING or END (UNKNOWN if the server says so).
        error_code: The name of the status code it ended with, "OK" if there was no error.
        error_text: Why loading failed.
    """

    version: int
    state: str
    error_code: str = "OK"
    error_text: str = ""

    @property
    def available(self) -> bool:
        """Whether it answers requests."""
        return self.state == "AVAILABLE"

    @property
    def failed(self) -> bool:
        """Whether it ended because it could not be loaded."""
        return self.state == "END" and self.error_code != "OK"
