"""A sample of the test rows with the scores the candidate got for them: what a smoke test replays before a release.

    sample = ScoredSample.of(serialized, labels, scores, order, classes)       # a batch
    sample = sample.merge(other)                                               # the same sample whatever the order of batches
    sample.write(folder); ScoredSample.read(folder)

It holds whole tf.Examples, so it stays with the data, among the pipeline's artifacts, and is never part of a released model.

The file is a TFRecord file: first the classes and their number of rows as JSON, then for each row its tf.Example and its scores (float32,
little endian), one record each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from components.errors import EnvironmentFailure
from serving import tfrecords

FILE = "scored_sample.tfrecord"

ROWS = 256
"""Rows of a sample at most; whoever reads it takes as many of the first as it wants."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredSample:
    """n rows of a split: one of each class first, as far as there is room, then rows from anywhere in it.

    Attributes:
      classes: The candidate's classes.
      examples: Serialized tf.Examples [n].
      scores: What the candidate said about them, float32 [n, classes].
      labels: True labels [n]; empty for a sample that was read from a file.
      order: Random but fixed numbers of the rows, uint64 [n]; the smaller, the sooner a row is taken. Empty as above.
    """

    classes: tuple[str, ...]
    examples: tuple[bytes, ...]
    scores: np.ndarray
    labels: tuple[str | None, ...] = ()
    order: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint64))

    def __len__(self) -> int:
        return len(self.examples)

    @classmethod
    def of(
        cls,
        examples: Sequence[bytes],
        labels: Sequence[str | None],
        scores: np.ndarray,
        order: np.ndarray,
        classes: Sequence[str],
        rows: int = ROWS,
    ) -> ScoredSample:
        """Returns the sample of a batch.

        Args:
          examples: Serialized tf.Examples [n].
          labels: Their true labels [n].
          scores: What the candidate said about them, float [n, classes].
          order: Numbers of the rows, uint64 [n], no two the same in the split; see `resampling.units`.
          classes: The candidate's classes.
          rows: How many to keep at most.
        """
        chosen = _chosen(labels, order, rows)
        return cls(
            tuple(classes),
            tuple(examples[row] for row in chosen),
            np.asarray(scores[chosen], np.float32),
            tuple(labels[row] for row in chosen),
            order[chosen],
        )

    def merge(self, other: ScoredSample, rows: int = ROWS) -> ScoredSample:
        """Returns the sample of the rows of both."""
        return self.of(
            [*self.examples, *other.examples],
            [*self.labels, *other.labels],
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.order, other.order]),
            self.classes,
            rows,
        )

    def head(self, rows: int) -> ScoredSample:
        """Returns the first rows."""
        return ScoredSample(self.classes, self.examples[:rows], self.scores[:rows], self.labels[:rows], self.order[:rows])

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes the sample into a folder."""
        with open(pathlib.Path(folder) / FILE, "wb") as file:
            header = {"classes": self.classes, "rows": len(self)}
            file.write(tfrecords.framed(json.dumps(header, ensure_ascii=False).encode()))
            for example, scores in zip(self.examples, self.scores, strict=True):
                file.write(tfrecords.framed(example))
                file.write(tfrecords.framed(scores.astype("<f4").tobytes()))

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> ScoredSample:
        """Reads what `write` wrote.

        Raises:
          EnvironmentFailure: The file is missing or damaged.
        """
        path = pathlib.Path(folder) / FILE
        try:
            header, *records = tfrecords.complete_records(path)
            about = json.loads(header)
            classes = tuple(about["classes"])
            examples, scores = records[::2], [np.frombuffer(record, "<f4") for record in records[1::2]]
            if len(examples) != about["rows"] or [len(row) for row in scores] != [len(classes)] * about["rows"]:
                raise ValueError("rows are missing")
        except (OSError, ValueError, KeyError) as error:
            raise EnvironmentFailure(
                f"The evaluation must have left a sample of scored rows in {path}; reading it ended in {type(error).__name__}. "
                "`parlance run --no-cache --from Evaluator` makes it anew"
            ) from error
        return cls(classes, tuple(examples), np.array(scores, np.float32).reshape(len(examples), len(classes)))


def _chosen(labels: Sequence[str | None], order: np.ndarray, rows: int) -> list[int]:
    """Positions of the rows to keep: the first row of each label, then others, each in their order.

    Taking the first of a label, and the first of all, commutes with taking them of parts, so that the parts of a split can be reduced
    alone and together to the same sample.
    """
    ranked = np.argsort(order).tolist()
    firsts: dict[str | None, int] = {}
    for row in ranked:
        firsts.setdefault(labels[row], row)
    representatives = list(firsts.values())[:rows]
    taken = set(representatives)
    others = (row for row in ranked if row not in taken)
    return [*representatives, *(row for row, _ in zip(others, range(rows - len(representatives)), strict=False))]
