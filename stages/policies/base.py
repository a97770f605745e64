"""The policy protocol: queries in, chunks of action tokens out, sampled and learned through one code path.

Shapes: B queries, C actions a chunk, A = 7 action dimensions, K = bins, P proprioception values. A token is the index
of a bin; the tokens of a query are its chunk read row by row, so token c*A + a is dimension a of action c. All tokens
of a query are predicted at once, from independent categorical distributions (OpenVLA-OFT's parallel decoding, arXiv
2502.19645).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from data.errors import UserError
from data.lineage import digest_files
from data.runs import is_run
from stages.learning.activations import blocks_of
from stages.learning.precision import full_precision
from stages.policies.adapted import adapters_digest, base_of
from stages.policies.registry import policy_class
from stages.policies.source import policy_folder

if TYPE_CHECKING:
    from stages.policies.adapters import Adapters

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
    adapters: "Adapters | None" = None
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


def load_policy(path: str | Path, device: str | torch.device = "cpu") -> Policy:
    """The policy saved in the folder `path`, or in the repository of that name on the Hub (`owner/name[@revision]`).

    Args:
        device: `auto` is where it acts fastest: a large policy on the GPU, if there is one.

    Raises:
        UserError: no such folder, no or a broken `config.json`, a model type that nobody brings or that cannot be
            imported (see `registry.load_foreign`), missing weights; adapters whose policy is missing or has changed.
    """
    folder = policy_folder(path)
    config = read_config(folder)
    found = _class_of(folder, config)
    device = torch.device(found.acting_device() if device == "auto" else device)
    base = base_of(folder, config)
    if base is None:
        return found.load(folder, device)
    from stages.policies.adapters import load_adapted

    return load_adapted(folder, base, device)


def save_policy(policy: Policy, folder: Path) -> None:
    """Write what `load_policy` reads into the existing `folder`: the whole policy, or its adapters alone."""
    if policy.adapters is None:
        policy.save(folder)
        return
    from stages.policies.adapters import save_adapters

    save_adapters(policy, folder)


def outline_policy(path: str | Path) -> Policy:
    """As `load_policy`, without memory for its weights (see `Policy.outline`)."""
    folder = policy_folder(path)
    config = read_config(folder)
    base = base_of(folder, config)
    if base is None:
        return _class_of(folder, config).outline(folder)
    from stages.policies.adapters import need_peft, take_adapters

    need_peft()
    policy = outline_policy(base.policy)
    take_adapters(policy, folder, base)
    return policy


def _class_of(folder: Path, config: Mapping[str, Any]) -> type[Policy]:
    kind = str(config.get("model_type", ""))
    return policy_class(kind, f"{folder}/config.json", Policy)  # type: ignore[type-abstract]


def read_config(folder: Path) -> dict:
    """The content of `config.json` of a policy folder.

    Raises:
        UserError: the folder or the file is missing, or it is not a JSON object.
    """
    file = folder / "config.json"
    if not folder.is_dir():
        raise UserError(
            f"no policy folder {folder}; `srpo sft STORE --out {folder}` makes one, owner/name is on the Hub"
        )
    if is_run(folder):
        raise UserError(f"{folder} is a run, no policy; give one of {folder}/policies")
    if not file.is_file():
        raise UserError(f"{folder} holds no config.json, so it is no policy; `srpo sft STORE --out DIR` makes one")
    return read_json(file)


def read_json(file: Path) -> dict:
    """A JSON object from a file that exists.

    Raises:
        UserError: it is not one.
    """
    try:
        found = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} must hold a JSON object, not a {type(found).__name__}")
    return found


def identity(folder: str | Path) -> dict[str, str]:
    """What a store records of the policy that filled it: id (its model type) and weights (their digest).

    Raises:
        UserError: the folder holds no policy.
    """
    folder = policy_folder(folder)
    return {"id": str(read_config(folder)["model_type"]), "weights": weights_digest(folder)}


def weights_digest(folder: str | Path) -> str:
    """What a policy is, as 16 hex digits: its configuration and weights, byte for byte; of adapters, see
    `stages.policies.adapted.adapters_digest`.

    Raises:
        UserError: the folder holds no policy.
    """
    folder = policy_folder(folder)
    base = base_of(folder, read_config(folder))
    if base is not None:
        return adapters_digest(base, folder)
    weights = sorted(folder.glob("*.safetensors"))
    weights = [file for file in weights if not file.name.startswith("trainer")]
    if not weights:
        raise UserError(f"{folder} holds no *.safetensors, so the policy has no weights; make it again with `srpo sft`")
    return digest_files([folder / "config.json", *weights])
