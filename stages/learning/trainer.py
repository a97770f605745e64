"""The policy-gradient step under Accelerate: epochs of minibatches over one batch, and its optimizer's memory on disk.

Every process takes its share of each minibatch; a minibatch's loss is one mean over all executed tokens in it, whatever
the number of processes and the size of the micro-batches it is computed in.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from data.errors import UserError
from stages.learning.batch import Batch
from stages.learning.objectives import approximate_kl, clipped_surrogate, is_clipped, masked_sum, probability_ratio
from stages.learning.precision import full_precision
from stages.policies.base import ACTION_DIM, Policy, token_logprob

STATE_FILE = "trainer.safetensors"
Tick = Callable[..., None]


@dataclass(frozen=True)
class TrainerSettings:
    """The optimizer and the objective."""

    epochs: int = 2
    """passes over the batch"""
    minibatch: int = 128
    """queries an optimizer step, over all processes"""
    microbatch: int = 32
    """queries a forward pass; changes memory and speed, not the result"""
    lr: float = 3e-4
    """AdamW's learning rate"""
    lr_half: int | None = None
    """optimizer steps, of all updates together, after which it is half of that, then a third, ...; none: constant"""
    beta1: float = 0.9
    """AdamW's memory of the gradient"""
    beta2: float = 0.99
    """AdamW's memory of its square"""
    weight_decay: float = 0.0
    """AdamW's weight decay"""
    grad_norm: float = 1.0
    """the gradient is scaled down to this norm"""
    clip_low: float = 0.2
    """the ratio counts down to 1 - clip_low"""
    clip_high: float = 0.28
    """the ratio counts up to 1 + clip_high"""
    dual_clip: float | None = None
    """bounds the loss of a negative advantage at this ratio; none: unbounded"""
    max_logprob_gap: float = 1e-3
    """refuse to learn when a recomputed log-prob is further than this from the recorded one"""

    def __post_init__(self) -> None:
        if min(self.epochs, self.minibatch, self.microbatch) < 1:
            raise UserError("update settings epochs, minibatch and microbatch must be 1 or more")
        if self.lr <= 0 or self.grad_norm <= 0 or self.max_logprob_gap <= 0 or self.weight_decay < 0:
            raise UserError("update settings lr, grad_norm and max_logprob_gap must be above 0, weight_decay not below")
        if self.lr_half is not None and self.lr_half < 1:
            raise UserError(f"update setting lr_half must be 1 or more, or none, not {self.lr_half}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise UserError("update settings beta1 and beta2 must be in [0, 1)")
        if not 0 < self.clip_low < 1 or self.clip_high <= 0:
            raise UserError("update setting clip_low must be in (0, 1) and clip_high above 0")
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise UserError(f"update setting dual_clip must be above 1, or none, not {self.dual_clip}")


class Trainer:
    """Trains `policy.module` in place; its optimizer goes on where `state` (a policy folder) left off."""

    def __init__(self, policy: Policy, settings: TrainerSettings, state: Path | None = None) -> None:
        """
        Raises:
            UserError: the trainer state in `state` belongs to another network.
        """
        self.policy, self.settings = policy, settings
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.names = [name for name, parameter in policy.module.named_parameters() if parameter.requires_grad]
        parameters = [parameter for parameter in policy.module.parameters() if parameter.requires_grad]
        betas = (settings.beta1, settings.beta2)
        optimizer = torch.optim.AdamW(parameters, settings.lr, betas, weight_decay=settings.weight_decay, fused=True)
        if state is not None and (state / STATE_FILE).is_file():
            restore_optimizer(optimizer, self.names, state / STATE_FILE)
        self.module, self.optimizer = self.accelerator.prepare(policy.module, optimizer)

    @full_precision()
    def fit(self, batch: Batch, temperature: float, seed: int, progress: Tick | None = None) -> dict[str, float]:
        """Run all epochs over `batch`; nothing is changed if the first minibatch is refused.

        Args:
            temperature: that of the rollouts. seed: >= 0, decides the minibatches.

        Returns:
            The health set: token means over all minibatches, `samples_per_second` in queries.

        Raises:
            UserError: recorded log-probs that this policy does not reproduce, or a loss that is not finite.
        """
        start = time.monotonic()
        rng = np.random.default_rng(seed)
        totals: dict[str, float] = {}
        norms: list[float] = []
        first_deviation = 0.0
        size = self.settings.minibatch
        count = -(-len(batch) // size)
        for epoch in range(self.settings.epochs):
            order = rng.permutation(len(batch))
            for k in range(count):
                name = f"minibatch {k + 1} of {count} in epoch {epoch + 1}"
                sums = self._gradient(batch, order[k * size : (k + 1) * size], temperature, name)
                if not norms:
                    first_deviation = self._check(sums)
                norms.append(self._step(name))
                totals = {key: totals.get(key, 0.0) + value for key, value in sums.items()}
                if progress:
                    progress(epoch * count + k + 1, self.settings.epochs * count, f"KL {_mean(totals, 'kl'):.4f}")
        return _health(totals, norms, first_deviation, batch) | {
            "samples_per_second": self.settings.epochs * len(batch) / (time.monotonic() - start)
        }

    def save(self, folder: Path) -> None:
        """Write the policy and the optimizer's state into the existing `folder`."""
        self.policy.save(folder)
        save_optimizer(self.optimizer, self.names, folder / STATE_FILE)

    def _gradient(self, batch: Batch, rows: np.ndarray, temperature: float, name: str) -> dict[str, float]:
        """Accumulate one minibatch's gradient; returns sums over its executed tokens, all processes together."""
        tokens = float(batch.mask[rows].sum())
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        share = rows[rank::world]
        micros = np.array_split(share, max(1, -(-len(share) // self.settings.microbatch)))
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        for i, micro in enumerate(micros):
            sync = i + 1 == len(micros)
            with nullcontext() if sync else self.accelerator.no_sync(self.module):
                part = self._forward(batch, micro if len(micro) else rows[:1], temperature, bool(len(micro)))
                self.accelerator.backward(part["loss"] * world / tokens)
            for key, value in part.items():
                value = value.detach().double()
                merge = torch.maximum if key.startswith("max_") else torch.add
                sums[key] = merge(sums[key], value) if key in sums else value
        gathered = {key: self.accelerator.gather(value.reshape(1)) for key, value in sums.items()}
        result = {k: float(v.max() if k.startswith("max_") else v.sum()) for k, v in gathered.items()}
        if not np.isfinite(result["loss"]):
            raise UserError(f"the loss is {result['loss']} at {name}; nothing was saved: lower --set lr or grad_norm")
        return result | {"tokens": tokens, "queries": float(len(rows))}

    def _forward(self, batch: Batch, rows: np.ndarray, temperature: float, counts: bool) -> dict[str, Tensor]:
        """Sums over the executed tokens of `rows`; all zero (but with a gradient) unless `counts`."""
        s, device = self.settings, self.accelerator.device
        inputs = self.policy.inputs(batch.observation.rows(rows), [batch.instructions[i] for i in rows])
        tokens = torch.from_numpy(batch.tokens[rows].astype(np.int64)).to(device)
        old = torch.from_numpy(batch.logprob[rows]).to(device)
        mask = torch.from_numpy(batch.mask[rows] & counts).to(device)
        advantage = torch.from_numpy(batch.advantage[rows]).to(device)[:, None]
        new, entropy = token_logprob(self.module(**inputs), tokens, temperature)
        loss = clipped_surrogate(new, old, advantage, s.clip_low, s.clip_high, s.dual_clip)
        with torch.no_grad():
            clipped = is_clipped(new, old, advantage, s.clip_low, s.clip_high)
            gap = torch.where(mask, new - old, 0).abs()
            ratio = torch.where(mask, probability_ratio(new, old) - 1, 0).abs()
            gripper = masked_sum(entropy[:, ACTION_DIM - 1 :: ACTION_DIM], mask[:, ACTION_DIM - 1 :: ACTION_DIM])
        return {
            "loss": masked_sum(loss, mask),
            "kl": masked_sum(approximate_kl(new, old), mask),
            "clipped": masked_sum(clipped.float(), mask),
            "entropy": masked_sum(entropy, mask),
            "gripper_entropy": gripper * ACTION_DIM,
            "max_gap": gap.max(),
            "max_ratio": ratio.max(),
        }

    def _check(self, sums: dict[str, float]) -> float:
        """The largest deviation of a ratio from 1 before the first step."""
        if sums["max_gap"] > self.settings.max_logprob_gap:
            raise UserError(
                f"recomputed log-probs differ from the recorded ones by up to {sums['max_gap']:.2g}; the rollouts were "
                "collected with another policy or another srpo: collect again with this policy"
            )
        return sums["max_ratio"]

    def _step(self, name: str) -> float:
        """Clip the gradient and step; returns its norm before clipping."""
        norm = float(self.accelerator.clip_grad_norm_(self.module.parameters(), self.settings.grad_norm))
        if not np.isfinite(norm):
            raise UserError(f"the gradient is {norm} at {name}; nothing was saved: lower --set lr or grad_norm")
        if self.settings.lr_half:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.settings, self._taken())
        self.optimizer.step()
        return norm

    def _taken(self) -> int:
        """Optimizer steps so far, those of earlier updates included."""
        state: dict[str, Any] = next(iter(self.optimizer.state.values()), {})
        return int(state.get("step", 0))


def learning_rate(settings: TrainerSettings, taken: int) -> float:
    """After `taken` optimizer steps: lr / (1 + taken / lr_half), so that the noise of single updates averages out.

    Steps that shrink as 1/t are those of stochastic approximation (Robbins and Monro 1951).
    """
    return settings.lr / (1 + taken / settings.lr_half) if settings.lr_half else settings.lr


def _health(totals: dict[str, float], norms: list[float], first: float, batch: Batch) -> dict[str, float]:
    return {
        "loss": _mean(totals, "loss"),
        "approx_kl": _mean(totals, "kl"),
        "clip_fraction": _mean(totals, "clipped"),
        "entropy": _mean(totals, "entropy"),
        "gripper_entropy": _mean(totals, "gripper_entropy"),
        "advantage_mean": float(batch.advantage.mean()),
        "advantage_std": float(batch.advantage.std()),
        "grad_norm": float(np.mean(norms)),
        "first_ratio_deviation": first,
        "optimizer_steps": float(len(norms)),
    }


def _mean(totals: dict[str, float], key: str) -> float:
    return totals[key] / totals["tokens"]


def save_optimizer(optimizer: Any, names: list[str], file: Path) -> None:
    """AdamW's state as safetensors: `exp_avg.NAME`, `exp_avg_sq.NAME`, `step.NAME` for every trained parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    tensors = {}
    for name, parameter in zip(names, parameters, strict=True):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = value.detach().cpu().contiguous()
    save_file(tensors, file, metadata={"format": "pt"})


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], file: Path) -> None:
    """Put what `save_optimizer` wrote into a new optimizer of the same parameters.

    Raises:
        UserError: the file belongs to another network.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with safe_open(file, framework="pt") as saved:
        keys = set(saved.keys())
        for name, parameter in zip(names, parameters, strict=True):
            state = {key: f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
            if not keys:
                continue
            if not keys.issuperset(state.values()) or saved.get_slice(state["exp_avg"]).get_shape() != list(
                parameter.shape
            ):
                raise UserError(f"{file} belongs to another network (at {name}); remove it to start the optimizer anew")
            loaded = {key: saved.get_tensor(full) for key, full in state.items()}
            optimizer.state[parameter] = {
                key: value if key == "step" else torch.empty_like(parameter).copy_(value)
                for key, value in loaded.items()
            }
