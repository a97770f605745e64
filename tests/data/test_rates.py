"""Wilson's interval against its definition and against published values."""

import pytest

from data.rates import Z95, rate, wilson


@pytest.mark.parametrize(("successes", "n"), [(1, 3), (10, 20), (86, 100), (999, 1000), (3, 64)])
def test_bounds_solve_the_score_equation(successes: int, n: int) -> None:
    share = successes / n
    for bound in wilson(successes, n):
        assert abs(share - bound) == pytest.approx(Z95 * (bound * (1 - bound) / n) ** 0.5, rel=1e-12)


def test_known_values() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3: 81/263, 15/148, 0/20, 1/29
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_ends() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 8)[0] == 0.0
    assert wilson(8, 8)[1] == 1.0
    assert rate(0, 0)["rate"] is None
    for wrong in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="successes of"):
            wilson(*wrong)
