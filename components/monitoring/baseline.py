"""What a period is expected to show, from the periods before it: a robust level, what repeats every week or day, and how far
periods usually stray.

Counts, shares and typical values are brought to scales on which chance has a known variance, so that one fit serves them all:

    rows    x = 2 sqrt(k + 3/8), variance 1                                   (Anscombe, "The transformation of Poisson, binomial
    share   x = asin sqrt((k + 3/8) / (n + 3/4)), variance 1 / (4n + 2)        and negative-binomial data", Biometrika 35, 1948)
    level   x = mean of sign(v) log(1 + |v|), variance s^2 / n

Real periods stray further than chance alone (rain, holidays, one busy customer). Their dispersion is a factor on those variances,
estimated from the same history (Huber's proposal 2: squared residuals clipped at two standard deviations), and never less than one.
The level is a Huber mean; effects of weekday and hour are Huber means of what is left, shrunk towards none by as much as they could
be chance (James and Stein). So a few odd periods neither move the baseline nor widen it much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from components.monitoring.series import LEVEL, ROWS, Series, value_of_level

_CLIP = 2.0
# The mean of min(z^2, _CLIP^2) for a standard normal z.
_CLIPPED_SQUARE = 0.92054
_MAD_TO_DEVIATION = 1.4826
_ROUNDS = 4
_LARGEST_LEVEL = 700.0  # beyond, a float has no value for it
# Fewer expected rows with (or without) a value than these make a share too coarse for the scale above; its history is pooled instead.
SPARSE = 5.0


@dataclasses.dataclass(frozen=True, eq=False)
class Scaled:
    """Series on scales with known variance.

    Attributes:
      x: float64 [periods, series].
      variance: float64 [periods, series], what chance alone makes of x.
    """

    x: np.ndarray
    variance: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Forecast:
    """What one period is expected to show, each float64 [series].

    Attributes:
      x: On the scale with known variance.
      variance: Of the difference between what is seen there and x: chance, usual straying and doubt about the baseline.
      extra: The part of it that is not chance.
      freedom: Degrees of freedom of the dispersion.
    """

    x: np.ndarray
    variance: np.ndarray
    extra: np.ndarray
    freedom: np.ndarray


def scaled(series: Sequence[Series]) -> Scaled:
    """Brings series of any measure to scales with known variance. Periods without rows get a finite value; nobody judges them."""
    columns = [_scaled(one) for one in series]
    return Scaled(np.stack([x for x, _ in columns], 1), np.stack([variance for _, variance in columns], 1))


def _scaled(one: Series) -> tuple[np.ndarray, np.ndarray]:
    k, n = one.counts, one.totals
    if one.measure == ROWS:
        return 2 * np.sqrt(k + 3 / 8), np.ones(len(k))
    if one.measure == LEVEL:
        many = np.maximum(n, 1)
        assert one.squares is not None
        # Of all rows so far: a period's own are few, and later ones are not known yet.
        spread = np.maximum(one.squares - k**2 / many, 0).cumsum() / np.maximum((many - 1).cumsum(), 1)
        return k / many, np.maximum(spread, 1e-12) / many
    return np.arcsin(np.sqrt((k + 3 / 8) / (n + 3 / 4))), 1 / (4 * n + 2)


def values(measures: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Brings values on the scales of series back to rows, shares or typical values.

    Args:
      measures: Text [series], `Series.measure` of each.
      x: float64 [..., series].
    """
    # The mean of a Poisson count whose root has this mean.
    rows = np.maximum(np.maximum(x, 0) ** 2 / 4 - 1 / 8, 0)
    shares = np.sin(np.clip(x, 0, np.pi / 2)) ** 2
    return np.where(measures == ROWS, rows, np.where(measures == LEVEL, value_of_level(np.minimum(x, _LARGEST_LEVEL)), shares))


def forecast(
    x: np.ndarray,
    variance: np.ndarray,
    used: np.ndarray,
    seasons: Sequence[np.ndarray],
    now: Sequence[int],
    variance_now: np.ndarray,
) -> Forecast:
    """Says what the period after some others is expected to show.

    Args:
      x: float64 [history, series], what was seen.
      variance: float64 [history, series], what chance makes of it.
      used: bool [history, series], what of it counts; at least two periods of each series.
      seasons: Of each cycle, int64 [history], the place of each period in it.
      now: Of each cycle, the place of the period in question.
      variance_now: float64 [series], what chance makes of the period in question.
    """
    n = used.sum(0)
    level = _median(x, used)
    dispersion = np.maximum((_MAD_TO_DEVIATION * _median(np.abs(x - level) / np.sqrt(variance), used)) ** 2, 1.0)
    cycles = [_Cycle(places, here, x.shape[1]) for places, here in zip(seasons, now, strict=True)]
    parameters = np.ones(x.shape[1])
    for _ in range(_ROUNDS):
        left = x - level - sum((cycle.effects for cycle in cycles), np.zeros_like(x))
        weights = _weights(left, variance, dispersion, used)
        level = level + (weights * left).sum(0) / weights.sum(0)
        for cycle in cycles:
            others = sum((other.effects for other in cycles if other is not cycle), np.zeros_like(x))
            cycle.fit(x - level - others, weights, dispersion)
        left = x - level - sum((cycle.effects for cycle in cycles), np.zeros_like(x))
        parameters = 1 + sum((cycle.parameters for cycle in cycles), np.zeros(x.shape[1]))
        squares = np.where(used, left**2 / variance, 0.0)
        for _ in range(_ROUNDS):
            clipped = np.minimum(squares, _CLIP**2 * dispersion).sum(0) / _CLIPPED_SQUARE
            dispersion = np.maximum(clipped / np.maximum(n - parameters, 1), 1.0)
    usual = (np.where(used, variance, 0.0).sum(0)) / n
    straying = (dispersion - 1) * usual
    doubt = (usual + straying) * parameters / n
    expected = level + sum((cycle.effect_now for cycle in cycles), np.zeros(x.shape[1]))
    extra = straying + doubt
    return Forecast(expected, variance_now + extra, extra, np.maximum(n - parameters, 1.0))


class _Cycle:
    """The effects of the places in one cycle."""

    def __init__(self, places: np.ndarray, now: int, series: int):
        self._classes = np.unique(np.append(places, now))
        self._member = places[:, None] == self._classes[None, :]
        self._now = int(np.searchsorted(self._classes, now))
        self.effects = np.zeros((len(places), series))
        self.effect_now = np.zeros(series)
        self.parameters = np.zeros(series)

    def fit(self, left: np.ndarray, weights: np.ndarray, dispersion: np.ndarray) -> None:
        member = self._member.astype(np.float64).T  # [classes, history]
        mass = member @ weights
        seen = member @ (weights > 0) >= 2
        with np.errstate(invalid="ignore", divide="ignore"):
            effects = np.where(seen, (member @ (weights * left)) / mass, 0.0)
            chance = np.where(seen, dispersion / mass, 0.0)
        total = (effects**2).sum(0)
        shrink = np.clip(1 - chance.sum(0) / np.where(total > 0, total, 1.0), 0.0, 1.0)
        effects = effects * shrink
        self.effects = member.T @ effects
        self.effect_now = effects[self._now]
        self.parameters = shrink * np.maximum(seen.sum(0) - 1, 0)


def _weights(left: np.ndarray, variance: np.ndarray, dispersion: np.ndarray, used: np.ndarray) -> np.ndarray:
    deviations = np.abs(left) / np.sqrt(variance * dispersion)
    return np.where(used, np.minimum(1.0, _CLIP / np.maximum(deviations, 1e-9)) / variance, 0.0)


def _median(x: np.ndarray, used: np.ndarray) -> np.ndarray:
    return np.nanmedian(np.where(used, x, np.nan), axis=0)
