"""The progress reward of a batch: 1 for a success; for a failure, alpha times how near it came to the successes.

Shapes: N episodes, K centres, D dimensions (of paths m x d), F failures that are normalised together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.progress.distances import nearest
from stages.progress.inputs import check_inputs, check_remembered
from stages.progress.references import References, find_references
from stages.progress.settings import RewardSettings

NO_REFERENCE = -1
FLAT_RANGE = 1e-6
"""min-max: a range of distances below this (absolute, as in the reference code) counts as all equal"""
ROUNDING = 1e-12
"""z-score: a range of distances below this share of the largest counts as all equal"""

Source = Literal["batch", "remembered", "none"]


@dataclass(frozen=True)
class TaskSummary:
    """What happened to one task of the batch."""

    task: int | str
    successes: int
    failures: int
    source: Source
    """where the references came from"""
    references: int
    """successes that the centres stand for"""
    centres: int
    clustered: int
    """how many of the centres stand for a cluster; the others are lone successes, or the mean where nothing clusters"""
    unused: int
    """successes left out as noise"""
    fallback: bool
    """nothing clustered: one centre stands for all references"""
    all_fail: bool
    radius: float | None
    failure_reward: tuple[float, float, float] | None
    """min, mean and max over the failures"""


@dataclass(frozen=True)
class RewardResult:
    """Rewards of a batch and what they were measured against."""

    reward: np.ndarray
    """(N,) float64: 1 for a success, in (0, alpha) for a failure with references, else 0"""
    distance: np.ndarray
    """(N,) float64: to the nearest centre; NaN where there is none"""
    reference: np.ndarray
    """(N,) int64: that centre's row in `centres`; -1 where there is none"""
    is_reference: np.ndarray
    """(N,) bool: a success that counts towards a centre"""
    centres: np.ndarray
    """(K, D) float64; of paths (K, m, d)"""
    centre_task: np.ndarray
    """(K,): the task that each centre belongs to"""
    tasks: tuple[TaskSummary, ...]


def compute_rewards(
    embedding: np.ndarray | None,
    success: np.ndarray,
    task: np.ndarray,
    group: np.ndarray | None,
    settings: RewardSettings,
    remembered: Mapping[int, np.ndarray] | None = None,
) -> RewardResult:
    """Reward every episode of a batch; a task's successes are its failures' references.

    Args:
        embedding: (N, D), finite, no zero rows; of paths (N, m, d) where `settings.needs_paths`; None is enough where
            `settings.needs_embedding` is false.
        success: (N,) of 0 and 1. task: (N,) int or text. group: (N,) int, for scope=group.
        remembered: task -> (R, D) successes of earlier batches, for tasks without a success in this one.

    Raises:
        UserError: wrong shapes, a NaN, inf or zero embedding, a success that is neither 0 nor 1 (naming the row).
    """
    rows, success, task, group = check_inputs(embedding, success, task, group, settings)
    n = len(success)
    remembered = check_remembered(remembered or {}, rows.shape[1:]) if settings.needs_embedding else {}
    reward, distance = success.astype(float), np.full(n, np.nan)
    reference, is_reference = np.full(n, NO_REFERENCE), np.zeros(n, dtype=bool)
    centres: list[np.ndarray] = []
    centre_task: list[int | str] = []
    summaries = []
    for name in np.unique(task):
        members = np.flatnonzero(task == name)
        won, failed = members[success[members]], members[~success[members]]
        found, source = _references_of(rows, won, remembered.get(name.item()), settings)
        if found is not None:
            distance[members], nearest_centre = nearest(rows[members], found.centres, settings.distance)
            reference[members] = nearest_centre + len(centres)
            if source == "batch":
                is_reference[won] = found.member >= 0
            for together in _normalised_together(failed, group, settings):
                reward[together] = failure_rewards(distance[together], settings)
            centres.extend(found.centres)
            centre_task.extend([name.item()] * len(found.centres))
        summaries.append(_summary(name.item(), won, failed, found, source, reward))
    stacked = np.stack(centres) if centres else np.zeros((0, *rows.shape[1:]))
    owners = np.array(centre_task, dtype=task.dtype)
    return RewardResult(reward, distance, reference, is_reference, stacked, owners, tuple(summaries))


def failure_rewards(distance: np.ndarray, settings: RewardSettings) -> np.ndarray:
    """alpha * sigmoid(slope * (middle - x)), x the normalised distance: falls with the distance. (F,) -> (F,).

    The middle of z-scores is 0 (the paper's Eq. 5, with the sign that makes near mean high), of min-max 0.5.
    """
    if settings.normalise == "zscore":
        x, middle = zscore(distance, settings.ddof), 0.0
    else:
        x, middle = minmax(distance), 0.5
    return settings.alpha * np.exp(-np.logaddexp(0, settings.slope * (x - middle)))


def zscore(distance: np.ndarray, ddof: int = 0) -> np.ndarray:
    """(d - mean) / std; 0 where the distances are equal or too few for a standard deviation. (F,) -> (F,)."""
    if len(distance) <= ddof or np.ptp(distance) <= ROUNDING * np.abs(distance).max():
        return np.zeros_like(distance)
    return (distance - distance.mean()) / distance.std(ddof=ddof)


def minmax(distance: np.ndarray) -> np.ndarray:
    """(d - min) / (max - min); 0.5 where the range is below 1e-6. (F,) -> (F,)."""
    spread = np.ptp(distance)
    if spread < FLAT_RANGE:
        return np.full_like(distance, 0.5)
    return (distance - distance.min()) / spread


def _references_of(
    rows: np.ndarray, won: np.ndarray, remembered: np.ndarray | None, settings: RewardSettings
) -> tuple[References | None, Source]:
    if not settings.needs_embedding:
        return None, "none"
    if len(won):
        return find_references(rows[won], settings), "batch"
    if settings.all_fail == "remembered" and remembered is not None:
        return find_references(remembered, settings), "remembered"
    return None, "none"


def _normalised_together(failed: np.ndarray, group: np.ndarray | None, settings: RewardSettings) -> list[np.ndarray]:
    if len(failed) == 0:
        return []
    if settings.scope == "task" or group is None:
        return [failed]
    return [failed[group[failed] == g] for g in np.unique(group[failed])]


def _summary(
    task: int | str,
    won: np.ndarray,
    failed: np.ndarray,
    found: References | None,
    source: Source,
    reward: np.ndarray,
) -> TaskSummary:
    got = reward[failed]
    return TaskSummary(
        task=task,
        successes=len(won),
        failures=len(failed),
        source=source,
        references=int((found.member >= 0).sum()) if found else 0,
        centres=len(found.centres) if found else 0,
        clustered=found.clustered if found else 0,
        unused=int((found.member < 0).sum()) if found else 0,
        fallback=found.fallback if found else False,
        all_fail=len(won) == 0,
        radius=found.radius if found else None,
        failure_reward=(float(got.min()), float(got.mean()), float(got.max())) if len(failed) else None,
    )
