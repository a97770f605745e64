"""Learning curves against values worked out by hand."""

from math import isnan

import numpy as np
import pytest

from stages.bench.learning.curves import Row, compare, costs, curve, over_seeds, ratio, reached


def rows(*sampled: float) -> list[Row]:
    """A run with these sampled successes: 64 episodes and 10 s an iteration."""
    start = Row(0, 0, 0.0, None, 0.1, 20)
    return [start, *(Row(i, 64 * i, 10.0 * i, rate, None, None) for i, rate in enumerate(sampled, start=1))]


def line(iteration: int, stage: str, seconds: float, **more: float | None) -> dict:
    return {"iteration": iteration, "stage": stage, "seconds": seconds, **more}


def test_a_curve_counts_training_and_leaves_out_the_start_evaluations_and_what_is_unfinished() -> None:
    metrics = [line(0, "demo", 5), line(0, "sft", 50), line(0, "eval", 9, rate=0.2, n=10)]
    metrics += [line(1, "collect", 8, rate=0.25, n=64), line(1, "encode", 3), line(1, "reward", 1)]
    metrics += [line(1, "update", 2), line(1, "eval", 7, rate=0.4, n=10)]
    metrics += [line(2, "collect", 6, rate=0.5, n=64), line(2, "update", 4)]
    metrics += [line(3, "collect", 6, rate=0.9, n=64)]
    expected = [Row(0, 0, 0.0, None, 0.2, 10), Row(1, 64, 14.0, 0.25, 0.4, 10), Row(2, 128, 24.0, 0.5, None, None)]
    assert curve(metrics) == expected


def test_a_curve_counts_further_rounds_as_cost_and_not_as_success() -> None:
    metrics = [line(1, "collect", 8, rate=0.25, n=64), line(1, "refill", 3, rate=0.9, n=24), line(1, "update", 2)]
    assert curve(metrics) == [Row(1, 88, 13.0, 0.25, None, None)]


def test_an_iteration_without_a_whole_episode_has_no_success() -> None:
    metrics = [line(1, "collect", 8, rate=None, n=0), line(1, "update", 2), line(1, "eval", 1, rate=None, n=0)]
    assert curve(metrics) == [Row(1, 0, 10.0, None, None, 0)]


@pytest.mark.parametrize(
    ("sampled", "iteration"),
    [
        ((0.5, 0.5, 0.5), 3),
        ((0.9, 0.0, 0.0, 0.9, 0.7), 5),  # means of three: 0.3, 0.3, 0.533
        ((0.4, 0.4, 0.4, 0.4), None),
        ((0.9, 0.9), None),
    ],
)
def test_a_level_is_reached_on_the_average_of_three_iterations(
    sampled: tuple[float, ...], iteration: int | None
) -> None:
    found = reached(rows(*sampled), 0.5)
    assert (found.iteration if found else None) == iteration


def test_students_interval() -> None:
    # mean 2, s = 1, t(0.975, 2) = 4.302653: half = 4.302653 / sqrt(3)
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found.mean, found.high - 2) == (2.0, pytest.approx(2.484138, abs=1e-6))
    assert found.low + found.high == pytest.approx(4.0)
    assert isnan(over_seeds([0.3]).low)


def test_the_ratio_resamples_seeds_in_pairs() -> None:
    # Every seed halves: no resample of pairs gives anything else, one of unpaired seeds would.
    found = ratio([5, 50, 500], [10, 100, 1000])
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_of_the_ratio_is_that_of_all_resamples() -> None:
    ours, theirs = [2.0, 9.0, 4.0], [10.0, 11.0, 12.0]
    every = [
        sum(ours[i] for i in drawn) / sum(theirs[i] for i in drawn)
        for drawn in ((i, j, k) for i in range(3) for j in range(3) for k in range(3))
    ]
    found = ratio(ours, theirs, resamples=50_000)
    low, high = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_costs_say_which_run_never_got_there() -> None:
    found = costs({0: rows(0.6, 0.6, 0.6, 0.6), 1: rows(0.1, 0.1, 0.1, 0.1)}, 0.5)
    assert found[0] == {"iterations": 3, "episodes": 192, "seconds": 30.0, "censored": 0.0}
    assert found[1] == {"iterations": 4, "episodes": 256, "seconds": 40.0, "censored": 1.0}


def test_arms_are_compared_on_the_seeds_that_both_have() -> None:
    fast, slow = rows(0.6, 0.6, 0.6), rows(0.0, 0.0, 0.0, 0.6, 0.6, 0.6)
    found = compare({0: fast, 1: fast, 7: slow}, {0: slow, 1: slow, 3: fast}, 0.5)
    assert found["iterations"]["seeds"] == 2
    assert found["iterations"]["mean"] == pytest.approx(3 / 6)
    assert compare({0: fast}, {1: slow}, 0.5) == {}
