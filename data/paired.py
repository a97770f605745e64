"""Success of two policies on the very same episodes: how far apart, how sure, and whether chance alone would do.

Legend: a pair is one episode run with A and with B; n pairs, of which `both` succeed, `only_a`, `only_b`, or `neither`.
The two kinds of pairs that differ are called discordant. Pairs are taken as independent of each other.
"""

from math import comb, sqrt
from typing import Any

import numpy as np

from data.rates import rate, wilson


def mcnemar(only_a: int, only_b: int) -> float:
    """The p-value of McNemar's exact test: two-sided, conditional on the discordant pairs.

    If A and B succeed equally often, A wins each discordant pair with probability 1/2; p is twice the smaller binomial
    tail, at most 1. McNemar 1947, doi 10.1007/BF02295996; the exact form as in Fagerland, Lydersen and Laake 2013,
    doi 10.1186/1471-2288-13-91, who show that it errs on the careful side.

    Args:
        only_a: pairs in which only A succeeds.
        only_b: pairs in which only B succeeds.

    Returns:
        p in [0, 1]; 1 where no pair is discordant.

    Raises:
        ValueError: a negative count.
    """
    _check(only_a, only_b)
    discordant = only_a + only_b
    tail = sum(comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**discordant)


def difference_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """The 95 % interval of success of A minus success of B, paired.

    Method 10 of Newcombe 1998 (Statistics in Medicine 17, 2635-2650): Wilson's intervals of the two rates, squared and
    added with their correlation phi, which is lessened for continuity where it is positive.

    Returns:
        Lower and upper bound, in [-1, 1]; (-1, 1) without pairs, as nothing is known.

    Raises:
        ValueError: a negative count.
    """
    _check(both, only_a, only_b, neither)
    n = both + only_a + only_b + neither
    if n == 0:
        return -1.0, 1.0
    a, b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n), wilson(both + only_b, n)
    phi = _correlation(both, only_a, only_b, neither)
    below = _added(a - low_a, high_b - b, phi)
    above = _added(high_a - a, b - low_b, phi)
    return max(a - b - below, -1.0), min(a - b + above, 1.0)


def paired(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Everything that is said of n pairs.

    Args:
        a: (n,) bool, success of A.
        b: (n,) bool, success of B in the same episodes.

    Returns:
        n, success_a and success_b (as `data.rates.rate`), both, only_a, only_b, neither (counts), difference (A minus
        B, in [-1, 1]; 0 where n is 0), interval (its 95 % bounds), p (of McNemar's exact test).

    Raises:
        ValueError: the lengths differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} and {b.shape} are no pairs")
    n, both, only_a, only_b = len(a), int((a & b).sum()), int((a & ~b).sum()), int((b & ~a).sum())
    neither = n - both - only_a - only_b
    return {
        "n": n,
        "success_a": rate(both + only_a, n),
        "success_b": rate(both + only_b, n),
        "both": both,
        "only_a": only_a,
        "only_b": only_b,
        "neither": neither,
        "difference": (only_a - only_b) / max(n, 1),
        "interval": difference_interval(both, only_a, only_b, neither),
        "p": mcnemar(only_a, only_b),
    }


def _correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """phi of the four counts, in [-1, 1], lessened for continuity; 0 where a policy always or never succeeds."""
    n = both + only_a + only_b + neither
    product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if product == 0:
        return 0.0
    excess: float = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    return excess / sqrt(product)


def _added(x: float, y: float, phi: float) -> float:
    """Two distances to a bound as one."""
    return sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0))


def _check(*counts: int) -> None:
    if min(counts) < 0:
        raise ValueError(f"counts must be 0 or more, not {counts}")
