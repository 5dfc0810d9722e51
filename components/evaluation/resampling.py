"""Poisson bootstrap weights that depend on nothing but the row and the seed.

The bootstrap draws n of n rows with replacement; how often a row is drawn is close to Poisson(1), independently of the others, which
lets every row be weighted alone, in one pass, in any order and on any worker (Chamandy, Muralidharan, Najmi and Naidu, 2012,
"Estimating Uncertainty for Massive Data Streams"). The weights here are a hash of the row's identity, so that the same rows get the
same weights for both models and in all slices: differences between them are paired.
"""

from __future__ import annotations

import math

import numpy as np

from components.ingestion.row_hash import mix

_LEVELS = 1 << 16
_PER_WORD = 4
# So many rows at once stay in the processor's cache, which makes drawing several times faster.
_CHUNK_ROWS = 512


def units(start: int, count: int, salt: int) -> np.ndarray:
    """Returns identities of `count` rows that follow each other in one file: uint64 [count].

    Args:
      start: Position of the first row in its file.
      count: How many rows.
      salt: Tells files apart.
    """
    positions = np.arange(start, start + count, dtype=np.uint64)
    return mix(positions + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64))


def poisson_weights(unit: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Returns how often each row is drawn in each replicate: float32 [n, 1 + replicates]. Column 0 is the sample itself, all ones.

    Weights are Poisson(1) to within 2**-16 in each probability, with a mean of exactly 1.

    Args:
      unit: What is drawn, uint64 [n]; rows with equal values are drawn together.
      replicates: How many bootstrap samples.
      seed: Another seed, other samples.
    """
    words = -(-replicates // _PER_WORD)
    keys = mix(np.arange(1, words + 1, dtype=np.uint64) + np.uint64(seed * 0xD1B54A32D192ED03 % 2**64))
    mixed = mix(unit)
    weights = np.ones((len(unit), 1 + replicates), np.float32)
    for start in range(0, len(unit), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        drawn = mix(mixed[rows, np.newaxis] ^ keys).view(np.uint16)[:, :replicates]
        weights[rows, 1:] = _POISSON[drawn]
    return weights


def _quantized_poisson() -> np.ndarray:
    """Poisson(1) as a table from 16 random bits to a count."""
    counts = np.array([round(_LEVELS * math.exp(-1) / math.factorial(k)) for k in range(9)])
    # Rounding moves the mean; how many zeros and ones there are puts it back to exactly 1.
    counts[1] = _LEVELS - (np.arange(2, 9) * counts[2:]).sum()
    counts[0] = _LEVELS - counts[1:].sum()
    return np.repeat(np.arange(9), counts).astype(np.float32)


_POISSON = _quantized_poisson()
