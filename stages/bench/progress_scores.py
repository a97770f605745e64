"""The measures of one progress signal, each with a bootstrap interval over episodes.

Legend: N episodes, K prefixes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from stages.progress import metrics
from stages.progress.bootstrap import Interval, Statistic, interval, over_tasks, resample
from stages.progress.signals import Signal, terminal_progress

Scores = dict[str, Interval]
MEASURES = {
    "sc": "Spearman correlation of a success's progress with time (Eq. 10)",
    "mono": "share of a success's steps that go up (Eq. 11)",
    "mmd": "squared maximum mean discrepancy of where successes and failures end (Eq. 12)",
    "js": "Jensen-Shannon divergence of the same, at most 0.693 (Eq. 13)",
    "smd": "difference of their means in pooled standard deviations (Eq. 14)",
    "rank": "Spearman correlation of a failure's reward with its true progress",
    "pairs": "how often the failure that got further has the higher reward",
}
"""Name of a measure -> what it is."""


def score(signal: Signal, success: np.ndarray, task: np.ndarray, truth: np.ndarray, resamples: int) -> Scores:
    """Every measure, as the mean over tasks.

    Args:
        signal: distances of N episodes and their K prefixes.
        success, task, truth: (N,) each; truth is the furthest true progress.
        resamples: of the bootstrap, within task and outcome.
    """
    strata = 2 * np.unique(task, return_inverse=True)[1] + success
    rows = resample(strata, resamples)
    curve, ends = metrics.progress_curve(signal.curve), terminal_progress(signal, task)
    of_success = {"sc": metrics.temporal_correlation(curve), "mono": metrics.monotonicity(curve)}
    found: dict[str, Statistic] = {
        name: over_tasks(partial(_mean_of, values), task, success) for name, values in of_success.items()
    }
    pairs: dict[str, Callable[..., np.ndarray]] = {
        "mmd": metrics.mmd,
        "js": metrics.jensen_shannon,
        "smd": metrics.standardised_difference,
    }
    for name, measure in pairs.items():
        found[name] = over_tasks(partial(_of_ends, measure, ends), task, success)
    of_failures: dict[str, Callable[..., np.ndarray]] = {
        "rank": metrics.rank_correlation,
        "pairs": metrics.pair_accuracy,
    }
    for name, measure in of_failures.items():
        found[name] = over_tasks(partial(_of_failures, measure, -signal.end, truth), task, success)
    return {name: interval(statistic, rows) for name, statistic in found.items()}


def _mean_of(values: np.ndarray, won: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """The mean over a task's successes that have a value."""
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(values[won])
        return np.where(known, values[won], 0.0).sum(-1) / known.sum(-1)


def _of_ends(measure: Callable[..., np.ndarray], ends: np.ndarray, won: np.ndarray, failed: np.ndarray) -> np.ndarray:
    return measure(ends[won], ends[failed])


def _of_failures(
    measure: Callable[..., np.ndarray], reward: np.ndarray, truth: np.ndarray, won: np.ndarray, failed: np.ndarray
) -> np.ndarray:
    return measure(reward[failed], truth[failed])
