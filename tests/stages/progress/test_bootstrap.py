"""Bootstrap intervals: against scipy's and a plain loop, the strata."""

import time

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from data.errors import UserError
from stages.progress.bootstrap import interval, over_tasks, resample
from stages.progress.metrics import mmd, pair_accuracy, rank_correlation, standardised_difference

TASK = np.repeat([3, 7, 9], [5, 8, 2])


def test_every_draw_is_of_its_own_stratum() -> None:
    rows = resample(TASK, 200, seed=1)
    assert rows.shape == (200, 15)
    np.testing.assert_array_equal(TASK[rows], np.tile(TASK, (200, 1)))
    for stratum in (3, 7, 9):
        assert set(rows[:, stratum == TASK].ravel()) == set(np.flatnonzero(stratum == TASK))


def test_draws_come_from_the_seed_and_the_stratum() -> None:
    rows = resample(TASK, 50, seed=1)
    np.testing.assert_array_equal(rows, resample(TASK, 50, seed=1))
    assert (rows != resample(TASK, 50, seed=2)).any()
    np.testing.assert_array_equal(rows[:, :13], resample(TASK[:13], 50, seed=1))
    mixed = np.random.default_rng(0).permutation(15)
    np.testing.assert_array_equal(TASK[mixed][resample(TASK[mixed], 20)], np.tile(TASK[mixed], (20, 1)))


def test_the_interval_of_a_mean_is_scipy_s_and_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = interval(lambda r: values[r].mean(axis=1), resample(np.zeros(400), 4000))
    assert found.estimate == pytest.approx(values.mean())
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    np.testing.assert_allclose([found.low, found.high], theirs, atol=0.01)
    half = norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(400)
    np.testing.assert_allclose([found.low, found.high], values.mean() + np.array([-half, half]), atol=0.01)


def test_quantiles_of_a_plain_loop() -> None:
    values, rows = np.random.default_rng(1).normal(size=15), resample(TASK, 201)
    medians = sorted(float(np.median([values[i] for i in row])) for row in rows)
    found = interval(lambda r: np.median(values[r], axis=1), rows)
    assert (found.low, found.high) == (medians[5], medians[195])


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(1.0, 1.0, 60)
        found = interval(lambda r, v=values: v[r].mean(axis=1), resample(np.zeros(60), 400, seed))
        hits += found.low <= 1.0 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


def test_resampling_within_tasks_leaves_out_what_lies_between_them() -> None:
    values = np.where(TASK == 7, 100.0, 0.0)
    found = interval(lambda r: values[r].mean(axis=1), resample(TASK))
    assert found.low == found.high == found.estimate
    pooled = interval(lambda r: values[r].mean(axis=1), resample(np.zeros(15)))
    assert pooled.high - pooled.low > 20


def test_mean_over_tasks_is_the_mean_of_each_task_alone() -> None:
    rng = np.random.default_rng(3)
    reward, progress = rng.normal(size=(2, 15))
    rows = resample(TASK, 40)
    found = over_tasks(lambda r: pair_accuracy(reward[r], progress[r], 0.3), TASK)(rows)
    for i, row in enumerate(rows):
        each = [pair_accuracy(reward[row[t == TASK]], progress[row[t == TASK]], 0.3) for t in (3, 7, 9)]
        assert found[i] == pytest.approx(np.nanmean(each))


def test_two_samples_of_each_task() -> None:
    success = np.arange(15) % 2 == 0
    success[13:] = True  # task 9 has no failure
    values = np.random.default_rng(4).normal(size=15) + success
    statistic = over_tasks(lambda won, lost: standardised_difference(values[won], values[lost]), TASK, success)
    found = interval(statistic, resample(2 * TASK + success))
    each = [standardised_difference(values[(t == TASK) & success], values[(t == TASK) & ~success]) for t in (3, 7)]
    assert found.estimate == pytest.approx(np.mean(each))
    assert found.low < found.estimate < found.high


def test_undefined_resamples_are_left_out_unless_they_are_many() -> None:
    """Of three values a ninth of the resamples have one alone, of four a sixty-fourth: no correlation."""
    for values, known in ((np.array([1.0, 2.0, 2.5]), False), (np.array([1.0, 2.0, 2.5, 3.0]), True)):
        rows = resample(np.zeros(len(values)), 500)
        same = (rows == rows[:, :1]).all(axis=1).mean()
        assert same > 0 and (same <= 0.1) == known
        found = interval(lambda r, v=values: rank_correlation(v[r], v[r]), rows)
        assert found.estimate == 1 and [found.low == 1, np.isnan(found.high)] == [known, not known]
    never = interval(lambda r: np.full(len(r), np.nan), rows)
    assert np.isnan([never.estimate, never.low, never.high]).all()


def test_dozens_of_cells_take_seconds() -> None:
    task, rng = np.repeat(np.arange(10), 20), np.random.default_rng(5)
    reward, progress = rng.normal(size=(2, 200))
    success = rng.random(200) < 0.5
    rows = resample(2 * task + success)
    start = time.process_time()
    interval(over_tasks(lambda r: rank_correlation(reward[r], progress[r]), task), rows)
    interval(over_tasks(lambda r: pair_accuracy(reward[r], progress[r]), task), rows)
    interval(over_tasks(lambda won, lost: mmd(reward[won], reward[lost]), task, success), rows)
    assert time.process_time() - start < 3


def test_nothing_to_resample() -> None:
    with pytest.raises(UserError, match="nothing to resample"):
        resample(np.zeros(0))
    with pytest.raises(UserError, match="nothing to resample"):
        resample(TASK, 0)
