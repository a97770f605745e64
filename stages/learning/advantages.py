"""Group advantages: how much better an episode was than the others from the same initial state. Pure numpy.

Shapes: N episodes. A group shares task and initial state (GRPO's samples of one prompt).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.errors import UserError

EQUAL = 1e-9
"""a group whose rewards differ by no more than this has nothing to tell its episodes apart"""


@dataclass(frozen=True)
class AdvantageSettings:
    """How rewards become advantages. The defaults are the paper's (arXiv 2511.15605, Eq. 6 and 9)."""

    estimator: Literal["population", "sample"] = "population"
    """population: (r-mean)/sqrt(var+eps), the paper; sample: (r-mean)/(std+eps) with n-1, siiRL and SimpleVLA-RL"""
    eps: float = 1e-6
    """keeps the division finite; inside the root for population, outside for sample, as in their sources"""
    scale: Literal["group", "batch"] = "group"
    """divided by: the standard deviation of the group (the paper), or one for all groups of the batch, so that small
    differences of reward stay small"""
    negative_scale: float = 1.0
    """factor on negative advantages; below 1 learns less from what went worse and keeps the token distributions from
    flattening"""
    gae_lambda: float = 0.9
    """with a critic: how far a query answers for what comes after it, from 0 to 1"""

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise UserError(f"update setting eps must be 0 or more, not {self.eps}")
        if self.negative_scale < 0:
            raise UserError(f"update setting negative_scale must be 0 or more, not {self.negative_scale}")
        if not 0 <= self.gae_lambda <= 1:
            raise UserError(f"update setting gae_lambda must be in [0, 1], not {self.gae_lambda}")


Rule = Callable[[np.ndarray, np.ndarray, np.ndarray, AdvantageSettings], tuple[np.ndarray, np.ndarray]]
"""reward (N,), success (N,) bool, group (N,), settings -> advantage (N,) f64, kept (N,) bool"""


def group_advantages(
    reward: np.ndarray, group: np.ndarray, settings: AdvantageSettings | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages within groups, and which episodes have one.

    With scale=batch, rewards less their group's mean are divided by the root mean square of these over all groups that
    are kept (a group's mean with the batch's deviation: Lite PPO, arXiv 2508.08221; estimator does not matter then).
    Groups without variance (all equal, or a single episode) are dropped here, after the reward: a group that only
    failed is kept as soon as its failures got different progress rewards.

    Args:
        reward: (N,) finite. group: (N,) int.

    Returns:
        advantage (N,) float64, 0 in dropped groups; kept (N,) bool.

    Raises:
        ValueError: shapes differ, or a reward is not finite.
    """
    settings = settings or AdvantageSettings()
    reward, group = np.asarray(reward, dtype=np.float64), np.asarray(group)
    if reward.ndim != 1 or group.shape != reward.shape:
        raise ValueError(f"reward and group must both be (N,), not {reward.shape} and {group.shape}")
    if not np.isfinite(reward).all():
        raise ValueError(f"reward of episode {np.flatnonzero(~np.isfinite(reward))[0]} is not finite")
    advantage, kept = np.zeros_like(reward), np.zeros(len(reward), dtype=bool)
    for name in np.unique(group):
        members = group == name
        if np.ptp(reward[members]) > EQUAL:
            advantage[members], kept[members] = reward[members] - reward[members].mean(), True
            if settings.scale == "group":
                advantage[members] /= _deviation(reward[members], settings)
    if settings.scale == "batch" and kept.any():
        advantage /= np.sqrt(np.mean(advantage[kept] ** 2) + settings.eps)
    return np.where(advantage < 0, settings.negative_scale * advantage, advantage), kept


def relative_to_group(
    reward: np.ndarray, success: np.ndarray, group: np.ndarray, settings: AdvantageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """A rule: `group_advantages`."""
    return group_advantages(reward, group, settings)


def successes_only(
    reward: np.ndarray, success: np.ndarray, group: np.ndarray, settings: AdvantageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """A rule: every success is kept and counts 1, whatever its reward and its group."""
    return success.astype(np.float64), success.astype(bool)


def every_episode(
    reward: np.ndarray, success: np.ndarray, group: np.ndarray, settings: AdvantageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """A rule: every episode is kept, whatever its group; its queries get advantages of their own."""
    return np.asarray(reward, np.float64), np.ones(len(reward), bool)


def step_advantages(value: np.ndarray, outcome: np.ndarray, episode: np.ndarray, gae_lambda: float) -> np.ndarray:
    """How much better each query's chunk went than a critic expected: generalised advantage estimation (arXiv
    1506.02438, Eq. 16) without discount, the outcome being the only reward, at the end.

    delta_t = V(s_t+1) - V(s_t), and outcome - V(s_t) at the last query; A_t = delta_t + gae_lambda A_t+1.

    Args:
        value: (M,) the critic's expectation of the outcome. outcome: (M,) of the query's episode.
        episode: (M,) int, queries of an episode next to each other, in order.
        gae_lambda: in [0, 1]; 1 gives outcome - V(s_t), 0 the critic's own change of mind.

    Returns:
        (M,) f64.
    """
    value, outcome = np.asarray(value, np.float64), np.asarray(outcome, np.float64)
    goes_on = np.append(episode[1:] == episode[:-1], False)
    after = np.where(goes_on, np.append(value[1:], 0.0), outcome)
    advantage = after - value
    for t in np.flatnonzero(goes_on)[::-1]:
        advantage[t] += gae_lambda * advantage[t + 1]
    return advantage


def scaled(advantage: np.ndarray, settings: AdvantageSettings) -> np.ndarray:
    """(M,) over their root mean square, then the factor on negative ones."""
    unit = advantage / np.sqrt(np.mean(advantage**2) + settings.eps)
    return np.where(unit < 0, settings.negative_scale * unit, unit)


def _deviation(reward: np.ndarray, settings: AdvantageSettings) -> float:
    if settings.estimator == "population":
        return float(np.sqrt(reward.var() + settings.eps))
    return float(reward.std(ddof=1) + settings.eps)
