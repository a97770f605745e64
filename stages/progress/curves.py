"""Progress curves: what an episode would have been worth had it ended earlier. Pure.

Shapes: N episodes, K prefixes of each, D dimensions of an embedding, C centres; Q queries of an episode.
"""

from dataclasses import replace

import numpy as np

from data.errors import UserError
from stages.progress.distances import nearest
from stages.progress.rewards import failure_rewards
from stages.progress.settings import RewardSettings


def progress_curves(
    prefix: np.ndarray, task: np.ndarray, centres: np.ndarray, centre_task: np.ndarray, settings: RewardSettings
) -> np.ndarray:
    """The progress at every prefix: (N, K) f64 in (0, 1), higher where it is nearer to the task's successes.

    As a failure's reward (`failure_rewards`, alpha 1), the distances normalised over all prefixes of all the task's
    episodes, successes included, which are compared with the centres that they are part of. A task without centres
    tells nothing: 0 throughout.

    Args:
        prefix: (N, K, D). task: (N,). centres: (C, D), centre_task: (C,), as `RewardResult` has them.

    Raises:
        UserError: a distance that is not finite.
    """
    curves = np.zeros(prefix.shape[:2])
    for name in np.unique(centre_task):
        members = np.flatnonzero(task == name)
        if not len(members):
            continue
        rows = prefix[members].reshape(-1, prefix.shape[2]).astype(np.float64)
        distance, _ = nearest(rows, centres[centre_task == name], settings.distance)
        if not np.isfinite(distance).all():
            raise UserError(f"prefixes of task {name} have no finite distance to its successes; encode them again")
        curves[members] = failure_rewards(distance, replace(settings, alpha=1.0)).reshape(len(members), -1)
    return curves


def rises(curve: np.ndarray, step: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How much a curve rises from each of some control steps to the next: (Q,) f64.

    D_t = R_t - R_(t-1) of arXiv 2511.15605, appendix G, over chunks instead of single steps.

    Args:
        curve: (K,) progress, step: (K,) the control steps at which it is known, rising; between them it is linear,
            before the first and after the last it is level. ends: (Q+1,) control steps.
    """
    return np.diff(np.interp(ends, step, curve))
