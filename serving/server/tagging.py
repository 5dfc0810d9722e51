"""The trained tagger run by the server's own runtime: what ingestion and the server do with it is the same, to the library.

    tagger = tagging.load(pathlib.Path("serving/tagger/1732176000"))
    tagger.find("my name is Ann Smith")
    RequestRedactor.load(version, detectors=tagging.carried(version))       # in a program that has TensorFlow's wheel installed

Needs TensorFlow's libraries and not its Python package.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from serving.messages import DataType
from serving.redaction import tagger
from serving.redaction.rules import FILE
from serving.server.errors import ServingError
from serving.server.runtime import LoadedModel, LoadOptions, Runtime, TensorFlowRuntime
from serving.tensors import Tensor

_SIGNATURE = "serving_default"
_LABELS, _SCORES = "top_labels", "top_scores"


class TaggerModel:
    """A classification model of words; see `serving.redaction.tagger.Model`. Thread-safe."""

    def __init__(self, model: LoadedModel):
        """Wraps a loaded model.

        Raises:
            ValueError: It is no tagger: it wants other columns, or does not answer every label's score.
        """
        signature = model.signatures.get(_SIGNATURE)
        inputs = set(signature.inputs) if signature is not None else set()
        if signature is None or inputs != {tagger.WINDOW, tagger.CASING} or not {_LABELS, _SCORES} <= set(signature.outputs):
            raise ValueError(
                f"this is no tagger: the signature {_SIGNATURE} of one takes {tagger.WINDOW} and {tagger.CASING} and "
                f"answers {_LABELS} and {_SCORES}; this one takes {', '.join(sorted(inputs)) or 'nothing'}. "
                "Train a tagger: parlance run pipeline/configs/tagger.yaml"
            )
        self._model = model
        self._window, self._casing = (signature.inputs[name].name for name in (tagger.WINDOW, tagger.CASING))
        self._fetches = [signature.outputs[name].name for name in (_LABELS, _SCORES)]

    def __call__(self, windows: Sequence[tagger.Window]) -> list[dict[str, float]]:
        """Runs the model."""
        feeds = {
            self._window: Tensor.of(_strings([window.words for window in windows]), DataType.DT_STRING),
            self._casing: Tensor.of(_strings([window.casing for window in windows]), DataType.DT_STRING),
        }
        labels, scores = self._model.run(feeds, self._fetches)
        return [
            dict(zip(map(bytes.decode, row), values, strict=True))
            for row, values in zip(labels.array.tolist(), scores.array.tolist(), strict=True)
        ]

    def close(self) -> None:
        """See `LoadedModel`."""
        self._model.close()


def load(folder: pathlib.Path, runtime: Runtime | None = None) -> tagger.Tagger:
    """Loads a tagger.

    Args:
        folder: Its SavedModel.
        runtime: What runs it; TensorFlow's libraries, if not given.

    Raises:
        ValueError: The folder holds none, or TensorFlow's libraries are not here.
    """
    try:
        loaded = (runtime or TensorFlowRuntime.load_library()).load(folder, LoadOptions())
    except ServingError as error:
        raise ValueError(f"the tagger in {folder} cannot be loaded: {error}") from error
    try:
        return tagger.Tagger(TaggerModel(loaded))
    except ValueError:
        loaded.close()
        raise


def carried(version: pathlib.Path, runtime: Runtime | None = None) -> Sequence[tagger.Tagger]:
    """Loads the tagger that a model version carries beside its rules; none if it carries none."""
    folder = (version / FILE).parent / tagger.NAME
    return [load(folder, runtime)] if folder.is_dir() else []


def _strings(values: Sequence[str]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = [value.encode("utf-8", "surrogatepass") for value in values]
    return array
