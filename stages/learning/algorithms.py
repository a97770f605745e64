"""The algorithms of an update. Each says which episodes it learns from and how much (a rule), whether every query gets
an advantage of its own (credit), and by which loss of a token; adding one is one entry of `ALGORITHMS`.

Shapes: B queries, n action tokens a query; M queries of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.learning.advantages import AdvantageSettings, Rule, every_episode, relative_to_group, successes_only
from stages.learning.batch import Batch
from stages.learning.critic import critic_advantages
from stages.learning.curve import curve_advantages
from stages.learning.objectives import ObjectiveSettings, clipped_surrogate, is_clipped, regression_weight
from stages.policies.base import Policy

TokenLoss = Callable[[Tensor, Tensor, Tensor, ObjectiveSettings], tuple[Tensor, Tensor]]
"""logprob (B, n), old_logprob (B, n), advantage (B, 1), settings -> loss (B, n), whether a clip acts (B, n) bool"""
Credit = Callable[[Batch, np.ndarray, Policy, AdvantageSettings, int], tuple[Batch, dict[str, float]]]
"""batch, outcome (M,), policy, settings, seed -> the batch with other advantages, health figures"""


@dataclass(frozen=True)
class Algorithm:
    """What tells one algorithm from another."""

    rule: Rule
    loss: TokenLoss
    settings: frozenset[str]
    """the settings that not every algorithm uses"""
    credit: Credit | None = None
    needs_curve: bool = False
    """whether the reward must have progress curves"""


def surrogate(logprob: Tensor, old: Tensor, advantage: Tensor, s: ObjectiveSettings) -> tuple[Tensor, Tensor]:
    """A token loss: `clipped_surrogate`."""
    loss = clipped_surrogate(logprob, old, advantage, s.clip_low, s.clip_high, s.dual_clip)
    return loss, is_clipped(logprob, old, advantage, s.clip_low, s.clip_high)


def weighted_regression(logprob: Tensor, old: Tensor, advantage: Tensor, s: ObjectiveSettings) -> tuple[Tensor, Tensor]:
    """A token loss: -w logprob with w of `regression_weight`."""
    weight = regression_weight(advantage, s.awr_temperature, s.awr_clip)
    return -weight * logprob, (weight >= s.awr_clip).expand_as(logprob)


def imitation(logprob: Tensor, old: Tensor, advantage: Tensor, s: ObjectiveSettings) -> tuple[Tensor, Tensor]:
    """A token loss: -logprob."""
    return -logprob, torch.zeros_like(logprob, dtype=torch.bool)


CLIP = {"clip_low", "clip_high", "dual_clip"}
GROUP = {"estimator", "eps", "scale", "negative_scale"}
CRITIC = {"eps", "negative_scale", "gae_lambda"}
AWR = {"awr_temperature", "awr_clip"}

ALGORITHMS = {
    "grpo": Algorithm(relative_to_group, surrogate, frozenset(CLIP | GROUP)),
    "ppo": Algorithm(relative_to_group, surrogate, frozenset(CLIP | CRITIC), critic_advantages),
    "awr": Algorithm(relative_to_group, weighted_regression, frozenset(GROUP | AWR)),
    "awr-step": Algorithm(every_episode, weighted_regression, frozenset(AWR), curve_advantages, needs_curve=True),
    "bc": Algorithm(successes_only, imitation, frozenset()),
}
"""grpo: clipped, group-relative policy gradient. ppo: the same with a critic. awr: advantage-weighted regression.
awr-step: the same with an advantage a query, from how the progress curve rises (the paper's real-robot variant). bc:
behaviour cloning of the successes."""


def unused_settings(name: str) -> set[str]:
    """The settings that some algorithm uses and this one does not."""
    return set().union(*(algorithm.settings for algorithm in ALGORITHMS.values())) - ALGORITHMS[name].settings
