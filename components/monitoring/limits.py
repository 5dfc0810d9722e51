"""How likely chance makes a period stray as far as it did: tails that know how many rows there are.

The scale on which baselines are fitted is close to normal where counts are not small. Tails of small counts are not, so they are those
of the counts themselves: a negative binomial for rows, and for shares a binomial of as many rows as would stray as much (its design
effect). Where the baseline knows little, a t distribution with its degrees of freedom has longer tails still. The larger probability
of the two counts, so a period must be unlikely by both.
"""

from __future__ import annotations

import numpy as np
from scipy import special

_SMALLEST = 1e-300
_HALVINGS = 16


def of_rows(rows: np.ndarray, expected: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Returns two-sided probabilities of counts under negative binomials.

    With mean mu and variance mu (1 + extra), P(K <= k) is the regularised incomplete beta function I_p(r, k + 1), where
    r = mu / extra and p = r / (r + mu); without extra it is Poisson's.

    Args:
      rows: float64 [series], counted.
      expected: float64 [series], mu.
      extra: float64 [series], the variance beyond Poisson's in units of mu.
    """
    mu = np.maximum(expected, 1e-9)
    # A negative binomial of so little dispersion is a Poisson distribution, with which the function is at its limits.
    overdispersed = extra > 1e-6
    r = mu / np.where(overdispersed, extra, 1.0)
    p = r / (r + mu)
    at_most = np.where(overdispersed, special.betainc(r, rows + 1, p), special.pdtr(rows, mu))
    before = np.maximum(rows - 1, 0)
    at_least = np.where(overdispersed, special.betaincc(r, before + 1, p), special.pdtrc(before, mu))
    at_least = np.where(rows > 0, at_least, 1.0)
    return _two_sided(at_most, at_least)


def of_shares(rows: np.ndarray, totals: np.ndarray, expected: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Returns two-sided probabilities of shares under binomials of an effective number of rows.

    n rows that stray by `extra` more than chance say as much as n / D independent ones, D = 1 + 4 n extra. With k' = k / D and
    n' = n / D, P(K >= k) is I_q(k', n' - k' + 1), and P(K <= k) is I_(1-q)(n' - k', k' + 1).

    Args:
      rows: float64 [series], rows with the value.
      totals: float64 [series], all rows.
      expected: float64 [series], q, the expected share.
      extra: float64 [series], the variance beyond chance on the arcsine scale, where chance makes 1 / 4n.
    """
    effect = 1 + 4 * totals * extra
    n, k = totals / effect, rows / effect
    q = np.clip(expected, 1e-12, 1 - 1e-12)
    at_least = np.where(k > 0, special.betainc(np.maximum(k, 1e-9), n - k + 1, q), 1.0)
    at_most = np.where(n - k > 0, special.betainc(np.maximum(n - k, 1e-9), k + 1, 1 - q), 1.0)
    return _two_sided(at_most, at_least)


def of_few(expected: np.ndarray, totals: np.ndarray, extra: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the band that `of_rows` and `of_shares` leave to few rows: where they become less likely than a probability.

    Args:
      expected: float64 [series], rows or shares, few of either kind: of all rows nearly all are few of the other kind.
      totals: float64 [series], all rows of shares; NaN for rows.
      extra: float64 [series], as `of_rows` and `of_shares` take it.
      probability: float64 [series], of what is beyond the band, on both sides.

    Returns:
      Its lower and its upper ends, rows or shares. Of few rows, none at all is never too few.
    """
    is_share = np.isfinite(totals)
    n = np.where(is_share, totals, 1.0)
    mirrored = is_share & (expected > 0.5)
    few = np.where(mirrored, 1 - expected, expected)
    mean = few * n
    # Sixty standard deviations and as many rows more, or all rows: beyond any limit.
    spread = np.where(is_share, 1 + 4 * n * extra, 1 + extra)
    high = mean + 60 * (np.sqrt(mean * spread) + spread)
    high = np.where(is_share, np.minimum(high, n), high)
    low = mean
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        shares = of_shares(np.where(is_share, middle, 0.0), n, np.where(is_share, few, 0.5), extra)
        likely = np.where(is_share, shares, of_rows(middle, mean, extra)) > probability
        low, high = np.where(likely, middle, low), np.where(likely, high, middle)
    high = high / n
    return np.where(mirrored, 1 - high, 0.0), np.where(mirrored, 1.0, high)


def of_deviations(deviations: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Returns two-sided probabilities of standardised deviations under t distributions."""
    return np.maximum(2 * special.stdtr(freedom, -np.abs(deviations)), _SMALLEST)


def deviation_of(probability: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Returns the standardised deviation that has a two-sided probability under t distributions."""
    return -special.stdtrit(freedom, probability / 2)


def weights(families: np.ndarray) -> np.ndarray:
    """Returns weights that give every family of series the same chance to report, however many series it has.

    Without them, the number of rows would have to stray further the more labels there are.

    Args:
      families: [series], what family each is of.

    Returns:
      float64 [series], of mean one.
    """
    _, family, sizes = np.unique(families, return_inverse=True, return_counts=True)
    return len(families) / (len(sizes) * sizes[family])


def rejected(probabilities: np.ndarray, rate: float, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """Says which of many series stray too far for chance, so that of those named only a share is chance.

    Benjamini and Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57 (1995): the i smallest of m probabilities are
    named for the largest i with p_(i) <= rate i / m; here of probabilities divided by weights of mean one (Genovese, Roeder and
    Wasserman, "False discovery control with p-value weighting", Biometrika 93, 2006). Shares of one column fall as another rises; under
    such dependence the procedure errs on the safe side in practice.

    Args:
      probabilities: float64 [series].
      rate: The share of those named that may be chance.
      weights: float64 [series], of mean one.

    Returns:
      bool [series].
    """
    weighted = probabilities / weights
    order = np.argsort(weighted, kind="stable")
    below = np.flatnonzero(weighted[order] <= rate * np.arange(1, len(order) + 1) / max(len(order), 1))
    result = np.zeros(len(weighted), bool)
    if len(below):
        result[order[: below[-1] + 1]] = True
    return result


def cusum_limit(rate: np.ndarray, allowance: float) -> np.ndarray:
    """Returns the height at which a CUSUM alarms, so that chance does so once in 1 / rate periods.

    A two-sided CUSUM of normal values with allowance k and limit h runs (exp(2 k b) - 2 k b - 1) / 4 k^2 periods on average before a
    false alarm, b = h + 1.166 (Siegmund, "Sequential Analysis", 1985).

    Args:
      rate: float64 [series], false alarms per period.
      allowance: k, in standard deviations.
    """
    wanted = 1 / np.asarray(rate, np.float64)
    b = np.ones_like(wanted)
    for _ in range(50):
        b = np.log(4 * allowance**2 * wanted + 2 * allowance * b + 1) / (2 * allowance)
    return b - 1.166


def _two_sided(at_most: np.ndarray, at_least: np.ndarray) -> np.ndarray:
    return np.clip(2 * np.minimum(at_most, at_least), _SMALLEST, 1.0)
