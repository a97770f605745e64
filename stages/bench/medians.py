"""Medians with how sure they are, without an assumption about the distribution."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def median(values: Sequence[float] | np.ndarray, scale: float = 1.0) -> dict[str, Any]:
    """The middle of several samples and its 95 % interval, both times `scale`.

    Returns:
        median, n, and interval: the two order statistics nearest to each other that cover the distribution's median
        with at least 95 % (David & Nagaraja, Order Statistics, 2003, section 7.1); None below six samples, where no
        two of them do.

    Raises:
        ValueError: no sample.
    """
    ordered = scale * np.sort(np.asarray(values, float))
    if not len(ordered):
        raise ValueError("a median of nothing")
    low = _rank(len(ordered))
    bounds = None if low is None else [float(ordered[low]), float(ordered[len(ordered) - 1 - low])]
    return {"median": float(np.median(ordered)), "n": len(ordered), "interval": bounds}


def _rank(n: int) -> int | None:
    """The largest k with 2 P(B <= k) <= 0.05 for B binomial(n, 1/2): samples k from both ends are the interval."""
    ways, tail = 1, 0  # n over k; the sum of those so far
    for k in range(n + 1):
        tail += ways
        if 40 * tail > 2**n:
            return k - 1 if k else None
        ways = ways * (n - k) // (k + 1)
    return None
