"""The policy protocol: queries in, chunks of action tokens out, sampled and learned through one code path.

Shapes: B queries, C actions a chunk, A = 7 action dimensions, K = bins, P proprioception values. A token is the index
of a bin; the tokens of a query are its chunk read row by row, so token c*A + a is dimension a of action c. All tokens
of a query are predicted at once, from independent categorical distributions (OpenVLA-OFT's parallel decoding, arXiv
2502.19645).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import UserError
from stages.policies.adapted import Adapters
from stages.policies.precision import full_precision

ACTION_DIM = 7
MASKED = -1e9
"""Logit of a token that a policy never produces: its probability is exactly 0, and p*log p stays finite."""


@dataclass(frozen=True)
class PolicySpec:
    """What a policy sees and says."""

    cameras: dict[str, int]
    """Camera name -> image side in pixels."""
    proprio: int
    """P, the number of proprioception values."""
    chunk: int
    """C, the actions of one query."""
    bins: int
    """K, the tokens of one action dimension."""

    @property
    def tokens(self) -> int:
        """Tokens of one query, C*A."""
        return self.chunk * ACTION_DIM


@dataclass
class Observation:
    """What B waiting simulators show: images {camera: (B, H, W, 3) u8, upright}, proprio (B, P) f32."""

    images: dict[str, np.ndarray]
    proprio: np.ndarray

    def __len__(self) -> int:
        return len(self.proprio)

    def rows(self, index: slice | np.ndarray) -> "Observation":
        """The chosen queries."""
        return Observation({name: image[index] for name, image in self.images.items()}, self.proprio[index])


class Policy(ABC):
    """A policy over action tokens; a subclass brings the network and the meaning of its tokens.

    `module(**inputs(...))` gives the logits; collection, update and imitation all go through it, so that recorded
    log-probs are those that learning recomputes.
    """

    spec: PolicySpec
    module: nn.Module
    """Trainable; `module(**inputs)` -> logits (B, C*A, K) f32."""
    adapters: Adapters | None = None
    """What learning changes instead of the weights, if the policy has some: see `stages.policies.adapters`."""
    rows_at_once: int = 1
    """Queries that `act` answers in one forward pass; above 1 a log-prob depends on its batch, within rounding."""

    @classmethod
    def acting_device(cls) -> str:
        """Where it answers queries fastest: a small network on the CPU, row by row."""
        return "cpu"

    @abstractmethod
    def inputs(self, observation: Observation, instructions: Sequence[str]) -> dict[str, Tensor]:
        """The keyword arguments of `module` for B queries, on the module's device."""

    @abstractmethod
    def encode_actions(self, actions: np.ndarray) -> np.ndarray:
        """The nearest tokens of actions: (..., C, A) in [-1, 1] -> (..., C*A) i16."""

    @abstractmethod
    def decode_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """The actions of tokens: (..., C*A) -> (..., C, A) f32 in [-1, 1]."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `config.json`, with the policy's `model_type`, and `model.safetensors` into the existing `folder`."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, device: torch.device) -> "Policy":
        """The policy that `save` wrote.

        Raises:
            UserError: missing or damaged files, weights that do not fit.
        """

    @classmethod
    def outline(cls, folder: Path) -> "Policy":
        """As `load`, with weights that have shapes and no memory (torch's meta device): to plan with."""
        policy = cls.load(folder, torch.device("cpu"))
        policy.module.to(torch.device("meta"))
        return policy

    def features(self, observation: Observation, instructions: Sequence[str]) -> Tensor:
        """What the network makes of B queries before its head, (B, F): a critic judges by it how well things stand.

        Raises:
            UserError: this policy does not tell.
        """
        raise UserError(f"{type(self).__name__} tells no features for a critic; use another algorithm than ppo")

    def adapted_layers(self) -> list[str]:
        """Names in `module` of the linear layers that adapters go on: all; each must be called, not read."""
        return [name for name, layer in self.module.named_modules() if isinstance(layer, nn.Linear)]

    def blocks(self) -> list[str]:
        """Names in `module` of the layers that it is a row of: all elements of module lists; each must be called, as
        `layer(x)`. Learning recomputes what is within them, and shares them out (FSDP)."""
        return blocks_of(self.module)

    def check_scene(self, suite: str, look: str) -> None:  # noqa: B027
        """Refuse rollouts in which it would act, but make no sense; nothing, unless a subclass knows.

        Raises:
            UserError: it was not made for this suite or look.
        """

    def first_look(self, observation: Observation, instructions: Sequence[str]) -> dict[str, float]:
        """Figures of the first queries of rollouts that tell whether it knows what it sees; none here.

        Raises:
            UserError: it does not.
        """
        return {}

    def act(
        self, observation: Observation, instructions: Sequence[str], temperature: float, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choose a chunk of actions for every query.

        `rows_at_once` rows are computed together; with 1 a row's result is the same bit for bit whatever else waits in
        the batch.

        Args:
            observation: B queries.
            instructions: B texts.
            temperature: the logits are divided by it; 0 takes the likeliest token, with its log-prob at temperature 1.
            noise: (B, C*A) f64, uniform in [0, 1).

        Returns:
            tokens (B, C*A) i16, logprob (B, C*A) f32 at `temperature`, actions (B, C, A) f32.
        """
        tokens = np.empty((len(observation), self.spec.tokens), np.int16)
        logprob = np.empty((len(observation), self.spec.tokens), np.float32)
        with torch.inference_mode(), full_precision():
            for first in range(0, len(observation), self.rows_at_once):
                rows = slice(first, first + self.rows_at_once)
                logits = self.module(**self.inputs(observation.rows(rows), instructions[rows]))
                log_p = log_probabilities(logits, temperature).cpu().numpy()
                tokens[rows] = choose(log_p, temperature, noise[rows])
                logprob[rows] = np.take_along_axis(log_p, tokens[rows].astype(np.int64)[..., None], -1)[..., 0]
        return tokens, logprob, self.decode_tokens(tokens)

    def logprob(
        self, observation: Observation, instructions: Sequence[str], tokens: np.ndarray, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Log-probs of given tokens (B, C*A) and the entropies of their distributions, with gradient.

        Returns:
            logprob (B, C*A), entropy (B, C*A), in nats, at `temperature`.
        """
        logits = self.module(**self.inputs(observation, instructions))
        chosen = torch.as_tensor(np.asarray(tokens, np.int64), device=logits.device)
        return token_logprob(logits, chosen, temperature)


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Log-softmax over the last axis of `logits / temperature` (temperature 0 counts as 1)."""
    return torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)


def token_logprob(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs of `tokens` (..., ) i64 under `logits` (..., K), and the entropy of each distribution, both (...,)."""
    log_p = log_probabilities(logits, temperature)
    chosen = log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return chosen, -(log_p.exp() * log_p).sum(-1)


def choose(log_p: np.ndarray, temperature: float, noise: np.ndarray) -> np.ndarray:
    """Tokens (..., ) i16 from log-probs (..., K): the inverse CDF at `noise` (...,), or the likeliest at temperature 0.

    The cumulative sum is in f64 and compared with its own end, so that a token of probability 0 is never chosen.
    """
    if temperature == 0:
        return log_p.argmax(-1).astype(np.int16)
    cdf = np.exp(log_p.astype(np.float64)).cumsum(-1)
    total = cdf[..., -1]
    threshold = np.minimum(noise * total, np.nextafter(total, 0))
    return (cdf <= threshold[..., None]).sum(-1).astype(np.int16)


def blocks_of(module: nn.Module) -> list[str]:
    """Names in `module` of the elements of all module lists."""
    lists = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.ModuleList)]
    return [f"{name}.{i}" for name, part in lists for i in range(len(part))]
