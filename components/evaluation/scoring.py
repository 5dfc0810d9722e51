"""Models that are asked about serialized tf.Examples: loaded once a process, asked in whole batches, several at once on all cores."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils import shared

from components.errors import EnvironmentFailure
from components.evaluation.report import BASELINE

SIGNATURE = "serving_examples"
"""Answers with classes and scores; every model has it."""

DETAILED_SIGNATURE = "evaluation"
"""Also says which rows the model abstains from; models of other origin need not have it."""


class UnusableBaseline(EnvironmentFailure):
    """The baseline cannot be loaded or cannot answer, which is a reason to go on without it."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model said about n examples.

    Attributes:
      classes: Its classes.
      scores: Their probabilities, float [n, classes].
      abstained: Which rows it gave no answer to, bool [n].
      abstain_threshold: The top score below which it gives none; None if it always answers.
    """

    classes: tuple[str, ...]
    scores: np.ndarray
    abstained: np.ndarray
    abstain_threshold: float | None


class Scorer:
    """A loaded model, ready for several threads."""

    def __init__(self, name: str, path: str):
        """Loads a SavedModel.

        Args:
          name: `candidate` or `baseline`.
          path: Its folder.

        Raises:
          UnusableBaseline, EnvironmentFailure: It cannot be loaded, or lacks the signature.
        """
        self._described = f"The {name} model in {path}"
        self._failure = UnusableBaseline if name == BASELINE else EnvironmentFailure
        try:
            # The signature does not keep the model's variables and tables alive; the model does.
            self._model = tf.saved_model.load(path)
            signatures = self._model.signatures
            self._signature = signatures[DETAILED_SIGNATURE if DETAILED_SIGNATURE in signatures else SIGNATURE]
        except Exception as error:  # what a damaged model raises has no common class
            raise self._failure(
                f"{self._described} must be a SavedModel with the signature {SIGNATURE!r}; loading it ended in {type(error).__name__}"
            ) from error

    def score(self, serialized: Sequence[bytes]) -> Answer:
        """Asks about n examples.

        Raises:
          UnusableBaseline, EnvironmentFailure: The model cannot read them, or does not answer as it must.
        """
        try:
            outputs = self._signature(inputs=tf.constant(serialized))
        except Exception as error:  # as above
            # Without its cause, which may quote the rows and would be logged.
            raise self._failure(
                f"{self._described} cannot read the test examples ({type(error).__name__}): their columns or types are not those it "
                "was trained with"
            ) from None
        if not {"classes", "scores"} <= outputs.keys() or outputs["classes"].shape[1:] != outputs["scores"].shape[1:]:
            shapes = {name: str(values.shape) for name, values in sorted(outputs.items())}
            raise self._failure(
                f"{self._described} must answer {SIGNATURE!r} with `classes` and `scores`, both [rows, classes]; received {shapes}"
            )
        rows = len(serialized)
        threshold = float(outputs["abstain_threshold"][0]) if "abstain_threshold" in outputs else 0.0
        return Answer(
            tuple(name.decode() for name in outputs["classes"][0].numpy()),
            outputs["scores"].numpy(),
            outputs["abstained"].numpy() if "abstained" in outputs else np.zeros(rows, bool),
            threshold or None,
        )


class Model:
    """A model by name and path, which can travel to a Beam worker and is loaded once a process."""

    def __init__(self, name: str, path: str):
        self.name = name
        self.path = path
        self._handle = shared.Shared()

    def load(self) -> Scorer:
        """Returns the loaded model, the same one as long as anybody holds it; see Scorer for errors."""
        return self._handle.acquire(lambda: Scorer(self.name, self.path))


class ScoreBatches(beam.DoFn):
    """Asks all models about batches of examples, several batches at a time, and passes their answers on in order.

    Text operations of a model use one core each, so that a single batch at a time would leave the others idle.
    """

    def __init__(
        self,
        models: Sequence[Model],
        serialized: Callable[[Any], Sequence[bytes]],
        answered: Callable[[Any, Mapping[str, Answer]], Any],
    ):
        """Sets up the step.

        Args:
          models: Whom to ask.
          serialized: Takes the serialized examples out of an element.
          answered: Makes the element that is passed on of an element and the answers by model; runs in several threads.
        """
        self._models = tuple(models)
        self._serialized = serialized
        self._answered = answered

    def setup(self) -> None:
        """See the base class."""
        self._scorers = {model.name: model.load() for model in self._models}
        self._threads = os.cpu_count() or 1
        self._pool = concurrent.futures.ThreadPoolExecutor(self._threads)

    def start_bundle(self) -> None:
        """See the base class."""
        self._running: collections.deque[concurrent.futures.Future] = collections.deque()

    def process(self, element: Any) -> Iterator[Any]:
        """See the base class."""
        self._running.append(self._pool.submit(self._score, element))
        if len(self._running) > self._threads:
            yield self._running.popleft().result()

    def finish_bundle(self) -> Iterator[Any]:
        """See the base class."""
        while self._running:
            yield GlobalWindows.windowed_value(self._running.popleft().result())

    def teardown(self) -> None:
        """See the base class."""
        self._pool.shutdown(cancel_futures=True)

    def _score(self, element: Any) -> Any:
        serialized = self._serialized(element)
        return self._answered(element, {name: scorer.score(serialized) for name, scorer in self._scorers.items()})
