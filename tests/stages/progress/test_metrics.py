"""The measures against scipy, scikit-learn and plain loops, and values worked by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import rankdata, spearmanr
from sklearn.metrics.pairwise import rbf_kernel

from data.errors import UserError
from stages.progress.metrics import (
    average_ranks,
    jensen_shannon,
    mmd,
    monotonicity,
    pair_accuracy,
    progress_curve,
    rank_correlation,
    standardised_difference,
    temporal_correlation,
)

CURVE = np.array([0, 0.2, 0.1, 0.6, 1])
SUCCESS, FAILURE = np.array([0.9, 1, 0.95]), np.array([0.2, 0.4, 0.3, 0.5])


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.3, 1, rng.integers(2, 12)), rng.uniform(0, 0.8, rng.integers(2, 12)).round(1)


def test_values_worked_by_hand() -> None:
    assert temporal_correlation(CURVE) == pytest.approx(0.9)
    assert monotonicity(CURVE) == 0.75
    assert standardised_difference(SUCCESS, FAILURE) == pytest.approx(5.720776, abs=1e-6)
    np.testing.assert_allclose(progress_curve(np.array([4.0, 2, 3, 0])), [0, 0.5, 0.25, 1])


def test_equal_values_are_no_increase() -> None:
    assert monotonicity(np.array([0, 0, 1.0])) == 0.5
    assert monotonicity(np.array([1.0, 1, 1])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_ranks_and_their_correlation_are_scipy_s(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 8, (2, 15)).astype(float)
    np.testing.assert_array_equal(average_ranks(a), rankdata(a))
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert temporal_correlation(a) == pytest.approx(spearmanr(np.arange(15), a).statistic, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_mmd_is_the_sum_over_pairs(seed: int) -> None:
    x, y = samples(seed)
    pooled = np.concatenate([x, y])
    distances = [abs(a - b) for a, b in itertools.combinations(pooled, 2) if a != b]
    for given in (None, 0.3):
        gamma = 1 / (2 * (np.median(distances) if given is None else given) ** 2)
        xx, yy, xy = (rbf_kernel(a[:, None], b[:, None], gamma) for a, b in ((x, x), (y, y), (x, y)))
        biased = xx.mean() + yy.mean() - 2 * xy.mean()
        off = [k[~np.eye(len(k), dtype=bool)].mean() for k in (xx, yy)]
        assert mmd(x, y, given) == pytest.approx(biased, abs=1e-12)
        assert mmd(x, y, given, biased=False) == pytest.approx(sum(off) - 2 * xy.mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_jensen_shannon_is_scipy_s(seed: int) -> None:
    x, y = samples(seed)
    p, q = (np.histogram(s, 10, (0, 1))[0] for s in (x, y))
    assert jensen_shannon(x, y) == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-12)


def test_jensen_shannon_ends() -> None:
    assert jensen_shannon(np.ones(3), np.zeros(4)) == pytest.approx(math.log(2))
    assert jensen_shannon(SUCCESS, SUCCESS) == 0
    assert jensen_shannon(np.array([0.0, 1]), np.array([0.0, 0])) == pytest.approx(
        (math.log(0.5 / 0.75) / 2 + math.log(2) / 2 + math.log(1 / 0.75)) / 2
    )


def test_pair_accuracy_by_hand_and_by_pairs() -> None:
    progress = np.array([0.0, 1.0, 1.2, 3.0])
    assert pair_accuracy(np.array([1.0, 2, 0, 3]), progress) == 0.8  # all but (0, 2); 1 and 2 are too near
    assert pair_accuracy(np.array([1.0, 1, 1, 1]), progress) == 0.5
    assert pair_accuracy(-progress, progress) == 0
    rng = np.random.default_rng(3)
    reward, progress = rng.integers(0, 5, 20) / 4, rng.uniform(0, 5, 20)
    scores = [
        1.0 if ri > rj else 0.5 if ri == rj else 0.0
        for (ri, pi), (rj, pj) in itertools.permutations(zip(reward, progress, strict=True), 2)
        if pi > pj + 0.7
    ]
    assert pair_accuracy(reward, progress, margin=0.7) == pytest.approx(np.mean(scores))


def test_batches_are_their_rows() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (2, 7, 9)) / 5
    for measure in (mmd, jensen_shannon, standardised_difference, rank_correlation, pair_accuracy):
        np.testing.assert_allclose(measure(x, y), [measure(a, b) for a, b in zip(x, y, strict=True)], rtol=1e-12)
    for of_one in (temporal_correlation, monotonicity):
        np.testing.assert_allclose(of_one(x), [of_one(a) for a in x], rtol=1e-12)
    np.testing.assert_allclose(progress_curve(x), [progress_curve(a) for a in x])


@pytest.mark.parametrize(
    "value",
    [
        temporal_correlation(np.ones(5)),
        temporal_correlation(np.ones(1)),
        monotonicity(np.ones(1)),
        progress_curve(np.full(4, 2.0)),
        rank_correlation(np.ones(4), np.arange(4.0)),
        rank_correlation(np.ones(0), np.ones(0)),
        pair_accuracy(np.arange(4.0), np.ones(4)),
        pair_accuracy(np.ones(0), np.ones(0)),
        mmd(np.ones(3), np.ones(4)),
        mmd(np.ones(1), FAILURE, biased=False),
        mmd(np.ones(0), FAILURE),
        jensen_shannon(np.ones(0), FAILURE),
        standardised_difference(np.ones(3), np.zeros(3)),
        standardised_difference(np.full(10, 0.1), np.full(7, 0.7)),
        standardised_difference(np.ones(1), FAILURE),
    ],
)
def test_what_is_undefined_is_nan(value: np.ndarray) -> None:
    assert np.isnan(value).all()


def test_nan_in_nan_out() -> None:
    bad = np.array([0.2, np.nan, 0.3, 0.9])
    good = np.arange(4) / 4
    for measure in (mmd, jensen_shannon, standardised_difference, rank_correlation, pair_accuracy):
        assert np.isnan(measure(good, bad)), measure
        if measure is not pair_accuracy:
            assert np.isnan(measure(bad, good)), measure
    assert np.isnan(pair_accuracy(bad, np.arange(4.0)))
    for of_one in (monotonicity, temporal_correlation):
        assert np.isnan(of_one(bad)), of_one


def test_values_outside_the_limits_are_refused() -> None:
    with pytest.raises(UserError, match=r"progress 1\.5 is outside 0 to 1"):
        jensen_shannon(np.array([1.5]), FAILURE)
    assert jensen_shannon(np.array([1.5]), FAILURE, limits=(0, 2)) == pytest.approx(math.log(2))
