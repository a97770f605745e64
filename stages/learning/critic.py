"""A critic that is fitted anew in every update, on the batch itself: how likely an episode is to end well, seen from
each of its queries.

What it says of an episode comes from the other episodes alone (cross-fitting), so that it is a baseline that knows
nothing of the outcome it is compared with, and no state has to be kept between updates.

Shapes: M queries, F features.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from stages.learning.advantages import AdvantageSettings, scaled, step_advantages
from stages.learning.batch import Batch
from stages.policies.base import Policy

FOLDS, WIDTH, EPOCHS, MINIBATCH, LR, WEIGHT_DECAY = 4, 256, 8, 64, 1e-3, 1e-2
"""On 160 episodes of ten tasks it foresees 53 % of the outcome's variance; in 4 epochs 48 %, linear 34 %."""
STEPS = 200
"""of the optimizer at least, where 8 epochs are fewer"""
QUERIES = 32
"""of one forward pass of the policy"""


def critic_advantages(
    batch: Batch, outcome: np.ndarray, policy: Policy, settings: AdvantageSettings, seed: int
) -> tuple[Batch, dict[str, float]]:
    """The batch with an advantage of its own for every query, by a critic and `step_advantages`.

    Args:
        outcome: (M,) in [0, 1], the reward of the query's episode. seed: >= 0.

    Returns:
        The batch, and {critic_explained: see `explained_variance`}.

    Raises:
        UserError: see `policy_features`.
    """
    value = crossfit_values(policy_features(policy, batch), outcome, batch.episode, seed % 2**63)
    advantage = scaled(step_advantages(value, outcome, batch.episode, settings.gae_lambda), settings)
    told = {"critic_explained": explained_variance(value, outcome)}
    return replace(batch, advantage=advantage.astype(np.float32)), told


def policy_features(policy: Policy, batch: Batch) -> Tensor:
    """What the policy makes of every query, without gradient: (M, F) f32.

    Raises:
        UserError: the policy does not tell.
    """
    parts = []
    with torch.no_grad():
        for start in range(0, len(batch), QUERIES):
            rows = slice(start, start + QUERIES)
            parts.append(policy.features(batch.observation.rows(rows), batch.instructions[rows]).float())
    return torch.cat(parts)


def crossfit_values(features: Tensor, outcome: np.ndarray, episode: np.ndarray, seed: int) -> np.ndarray:
    """The expected outcome at every query, by critics that have not seen its episode: (M,) f64 in (0, 1).

    Args:
        features: (M, F) f32. outcome: (M,) in [0, 1], of the query's episode. episode: (M,) int.
        seed: >= 0, decides the folds, the first weights and the minibatches.
    """
    names = np.unique(episode)
    fold = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    fold_of = torch.from_numpy(fold[np.searchsorted(names, episode)])
    target = torch.from_numpy(np.asarray(outcome, np.float32)).to(features.device)
    value = torch.zeros(len(features))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for k in np.unique(fold):
            held_out = fold_of == int(k)
            value[held_out] = _fit(features[~held_out], target[~held_out])(features[held_out]).cpu()
    return value.double().numpy()


def explained_variance(value: np.ndarray, outcome: np.ndarray) -> float:
    """Share of the outcome's variance over queries that the critic foresees: 1 - MSE / variance; 0 knows the mean."""
    return float(1 - np.mean((value - outcome) ** 2) / max(float(np.var(outcome)), 1e-12))


def _fit(features: Tensor, target: Tensor) -> "_Critic":
    critic = _Critic(features)
    optimizer = torch.optim.AdamW(critic.parameters(), LR, weight_decay=WEIGHT_DECAY)
    scaled = critic.scale(features)
    for _ in range(max(EPOCHS, -(-STEPS * MINIBATCH // len(features)))):
        for rows in torch.randperm(len(features)).split(MINIBATCH):
            loss = F.binary_cross_entropy_with_logits(critic.body(scaled[rows])[:, 0], target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return critic


class _Critic(nn.Module):
    """A perceptron over standardised features."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self._mean, self._std = features.mean(0), features.std(0, correction=0) + 1e-2
        self.body = nn.Sequential(nn.Linear(features.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
        self.body.to(features.device)

    def scale(self, features: Tensor) -> Tensor:
        return (features - self._mean) / self._std

    def forward(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            return self.body(self.scale(features))[:, 0].sigmoid()
