"""Percentile bootstrap intervals of a statistic over episodes, drawn anew within each stratum (Efron 1979).

A statistic takes rows, indices (R, N) of R resamples of N episodes, and gives (R,) numbers. Position i of every
resample is of the same stratum as episode i, so that a task's block has one shape and its measure is one call:

    rows = resample(task, seed=0)
    interval(over_tasks(lambda r: rank_correlation(reward[r], progress[r]), task), rows)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data.errors import UserError

Statistic = Callable[[np.ndarray], np.ndarray]
DEFINED = 0.9
BLOCK = 100
"""Resamples in one call of a statistic: tables of pairs of 100 resamples of 200 episodes take 32 MB."""


@dataclass(frozen=True)
class Interval:
    """A statistic of the episodes as they are, and where its resamples lie."""

    estimate: float
    low: float
    high: float


def resample(strata: np.ndarray, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Draw episodes with replacement, each for one of its own stratum: (resamples, N) int64.

    A stratum's draws depend on the seed and on its place among the sorted strata; others' sizes do not change them.

    Args:
        strata: (N,) labels: the task, or task and outcome where a statistic compares two samples.

    Raises:
        UserError: no episode, or no resample asked for.
    """
    if strata.ndim != 1 or not len(strata) or resamples < 1:
        raise UserError(f"nothing to resample: {resamples} resamples of strata of shape {strata.shape}")
    rows = np.empty((resamples, len(strata)), np.int64)
    for place, stratum in enumerate(np.unique(strata)):
        members = np.flatnonzero(strata == stratum)
        drawn = np.random.default_rng([seed, place]).integers(len(members), size=(resamples, len(members)))
        rows[:, members] = members[drawn]
    return rows


def interval(statistic: Statistic, rows: np.ndarray) -> Interval:
    """The 95 % percentile interval of a statistic.

    Args:
        statistic: see the module.
        rows: (R, N) of `resample`.

    Returns:
        Limits over the resamples in which the statistic is not NaN; NaN where these are fewer than `DEFINED` of all.
    """
    estimate = float(statistic(np.arange(rows.shape[1])[None])[0])
    values = np.concatenate([statistic(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)])
    known = values[~np.isnan(values)]
    enough = len(known) >= DEFINED * len(values)
    low, high = np.quantile(known, [0.025, 0.975]) if enough else (np.nan, np.nan)
    return Interval(estimate, float(low), float(high))


def over_tasks(measure: Callable[..., np.ndarray], task: np.ndarray, outcome: np.ndarray | None = None) -> Statistic:
    """The mean over tasks of a measure of each, as the paper's tables give it.

    A task whose measure is NaN is left out of the mean; the mean is NaN where all are.

    Args:
        measure: of a task's rows (R, n); with outcomes, of its rows that are true and of those that are false.
        task: (N,), as the resamples' strata or coarser.
        outcome: (N,) bool; then resample within `task` and `outcome` both.
    """
    blocks = []
    for index in np.unique(task):
        own = task == index
        blocks.append([own] if outcome is None else [own & outcome, own & ~outcome])

    def statistic(rows: np.ndarray) -> np.ndarray:
        return _mean_of_known(np.stack([measure(*(rows[:, part] for part in block)) for block in blocks]))

    return statistic


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where all are."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
