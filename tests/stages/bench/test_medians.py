"""Intervals of a median against the sum over all ways in which a fair coin may fall."""

from math import comb

import numpy as np
import pytest

from stages.bench.measure import evenly_chosen
from stages.bench.medians import median


def coverage(n: int, low: int) -> float:
    """How often the median lies between the order statistics `low` and n - 1 - low, counted from 0."""
    return 1 - 2 * sum(comb(n, k) for k in range(low + 1)) / 2**n


@pytest.mark.parametrize("n", [*range(6, 40), 500])
def test_narrowest_interval_that_covers(n: int) -> None:
    values = np.random.default_rng(n).permutation(n)
    found = median(values)
    low, high = found["interval"]
    assert found["n"] == n and found["median"] == np.median(values)
    assert low + high == n - 1
    assert coverage(n, int(low)) >= 0.95 > coverage(n, int(low) + 1)


def test_too_few_samples_have_no_interval() -> None:
    assert median([3.0, 1.0, 2.0, 5.0, 4.0]) == {"median": 3.0, "n": 5, "interval": None}
    with pytest.raises(ValueError, match="nothing"):
        median([])


def test_scaled() -> None:
    assert median([0.001, 0.002, 0.004], 1e3)["median"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, [5]), (2, [2, 7]), (3, [1, 5, 8]), (10, list(range(10))), (99, list(range(10)))]
)
def test_spread(count: int, chosen: list[int]) -> None:
    assert evenly_chosen(range(10), count) == chosen
