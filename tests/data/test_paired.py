"""Paired statistics against published values, hand-derived ones, and slow obvious versions."""

from fractions import Fraction
from itertools import product
from math import sqrt

import numpy as np
import pytest

from data.paired import difference_interval, mcnemar, paired
from data.rates import Z95, wilson

# Newcombe 1998 (Statistics in Medicine 17, 2635), table III, method 10; both, only A, only B, neither
NEWCOMBE = {
    (36, 12, 2, 0): (0.0569, 0.3404),
    (20, 12, 2, 16): (0.0562, 0.3292),
    (18, 12, 2, 18): (0.0562, 0.3290),
    (36, 14, 0, 0): (0.1528, 0.4167),
    (35, 14, 0, 1): (0.1461, 0.4175),
    (18, 14, 0, 18): (0.1441, 0.3963),
    (2, 97, 1, 0): (0.8721, 0.9854),
    (1, 97, 1, 1): (0.8736, 0.9850),
    (0, 29, 1, 0): (0.6666, 0.9882),
    (2, 98, 0, 0): (0.9178, 0.9945),
    (1, 98, 0, 1): (0.9171, 0.9916),
    (0, 30, 0, 0): (0.8395, 1.0),
    (54, 0, 0, 0): (-0.0664, 0.0664),
    (53, 0, 0, 1): (-0.0729, 0.0729),
    (30, 0, 0, 24): (-0.0358, 0.0358),
    (27, 0, 0, 27): (-0.0351, 0.0351),
}


@pytest.mark.parametrize(("counts", "bounds"), NEWCOMBE.items())
def test_published_intervals(counts: tuple[int, int, int, int], bounds: tuple[float, float]) -> None:
    """The paper prints four places and takes 1.96 for the normal quantile."""
    assert difference_interval(*counts) == pytest.approx(bounds, abs=1e-4)


def coin(n: int, k: int) -> Fraction:
    """The probability of k heads in n throws, by walking through all of them."""
    return Fraction(sum(sum(throws) == k for throws in product((0, 1), repeat=n)), 2**n)


@pytest.mark.parametrize("n", range(11))
def test_p_is_the_chance_of_what_is_no_likelier(n: int) -> None:
    """The slow version adds every outcome no likelier than the one seen; a fair coin makes both readings one."""
    chances = [coin(n, k) for k in range(n + 1)]
    for k in range(n + 1):
        slow = sum(chance for chance in chances if chance <= chances[k])
        assert mcnemar(k, n - k) == float(slow)


def test_hand_derived_p() -> None:
    assert mcnemar(0, 5) == 2 / 32
    assert mcnemar(7, 1) == 2 * (1 + 8) / 256
    assert mcnemar(6, 16) == 2 * (1 + 22 + 231 + 1540 + 7315 + 26334 + 74613) / 4194304
    assert mcnemar(0, 0) == mcnemar(4, 4) == mcnemar(3, 4) == 1.0


def test_p_of_many_pairs_is_exact() -> None:
    terms = [Fraction(1, 2**1100)]
    for k in range(1, 501):
        terms.append(terms[-1] * (1101 - k) / k)
    assert mcnemar(500, 600) == float(2 * sum(terms))


def test_zero_correlation_is_the_interval_of_independent_rates() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 873), method 10: what is left where phi is 0, as here: 10 * 10 = 20 * 5
    (l1, u1), (l2, u2) = wilson(30, 45), wilson(15, 45)
    low, high = difference_interval(10, 20, 5, 10)
    assert low == pytest.approx(1 / 3 - sqrt((2 / 3 - l1) ** 2 + (u2 - 1 / 3) ** 2), rel=1e-12)
    assert high == pytest.approx(1 / 3 + sqrt((u1 - 2 / 3) ** 2 + (1 / 3 - l2) ** 2), rel=1e-12)


def test_interval_by_hand() -> None:
    # three pairs, A always, B never: both Wilson half-widths are q = z^2 / (3 + z^2), phi is 0
    q = Z95**2 / (3 + Z95**2)
    assert difference_interval(0, 3, 0, 0) == pytest.approx((1 - q * sqrt(2), 1.0), rel=1e-12)


def test_bounds_hold_everywhere() -> None:
    """Within [-1, 1], around the difference, never of no width, and mirrored where A and B change places."""
    for both, only_a, only_b, neither in product(range(5), repeat=4):
        low, high = difference_interval(both, only_a, only_b, neither)
        n = both + only_a + only_b + neither
        assert -1 <= low <= (only_a - only_b) / max(n, 1) <= high <= 1 and high - low > 1e-3
        assert difference_interval(both, only_b, only_a, neither) == pytest.approx((-high, -low), abs=1e-12)


def test_pairs_that_agree_narrow_the_interval() -> None:
    together, apart = difference_interval(20, 5, 0, 15), difference_interval(13, 12, 7, 8)
    assert together[1] - together[0] < 0.6 * (apart[1] - apart[0])


def test_paired_counts() -> None:
    a, b = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    told = paired(a, b)
    assert [told[key] for key in ("n", "both", "only_a", "only_b", "neither")] == [5, 1, 2, 1, 1]
    assert (told["success_a"]["successes"], told["success_b"]["successes"]) == (3, 2)
    assert told["difference"] == pytest.approx(0.2) and told["p"] == 1.0
    assert told["interval"] == difference_interval(1, 2, 1, 1)
    nothing = paired(a[:0], b[:0])
    assert (nothing["n"], nothing["difference"], nothing["interval"], nothing["p"]) == (0, 0.0, (-1.0, 1.0), 1.0)


def test_no_pairs_and_no_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired(np.zeros(3, bool), np.zeros(2, bool))
    with pytest.raises(ValueError, match="0 or more"):
        mcnemar(-1, 2)
    with pytest.raises(ValueError, match="0 or more"):
        difference_interval(1, 2, -1, 0)
