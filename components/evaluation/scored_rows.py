"""A batch of rows and what the models said about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """A batch of n rows and what the models said about them.

    Attributes:
      unit: What the bootstrap draws, uint64 [n] (see resampling.units).
      actual: True labels, string [n].
      scores: Probabilities by model, float [n, classes].
      abstained: By model, where it refused to answer, bool [n]; a model may be missing here if it never does.
      slices: By segment column, the slice value of each row, string [n] or dictionary of strings; no nulls.
      weight: Weight of each row, float [n]; None if all weigh 1.
    """

    unit: np.ndarray
    actual: pa.Array
    scores: Mapping[str, np.ndarray]
    abstained: Mapping[str, np.ndarray]
    slices: Mapping[str, pa.Array]
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.unit)

    def bytes(self) -> int:
        """Returns the size of the scores."""
        return sum(scores.nbytes for scores in self.scores.values())

    @classmethod
    def concatenate(cls, batches: Sequence[ScoredRows]) -> ScoredRows:
        """Joins batches of the same models and columns."""
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        never = {model for model in first.scores if not any(model in batch.abstained for batch in batches)}
        return cls(
            np.concatenate([batch.unit for batch in batches]),
            _one_array([batch.actual for batch in batches]),
            {model: np.concatenate([batch.scores[model] for batch in batches]) for model in first.scores},
            {
                model: np.concatenate([batch.abstained.get(model, np.zeros(len(batch), bool)) for batch in batches])
                for model in first.scores.keys() - never
            },
            {name: _one_array([batch.slices[name] for batch in batches]) for name in first.slices},
            None if first.weight is None else np.concatenate([batch.weight for batch in batches]),
        )

    def parts(self, rows: int) -> Iterator[ScoredRows]:
        """Yields consecutive parts of about equal size: at least `rows` rows, if there are so many, and less than twice that."""
        size = -(-len(self) // max(1, len(self) // rows))
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield ScoredRows(
                self.unit[part],
                self.actual.slice(start, size),
                {model: scores[part] for model, scores in self.scores.items()},
                {model: abstained[part] for model, abstained in self.abstained.items()},
                {name: values.slice(start, size) for name, values in self.slices.items()},
                None if self.weight is None else self.weight[part],
            )


def _one_array(arrays: Sequence[pa.Array]) -> pa.Array:
    joined = pa.chunked_array(arrays).unify_dictionaries().combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)
