"""Imitation: cross-entropy on the action tokens of demonstrations.

Shapes: M moments (every control step of every demonstration), C actions a chunk, n = C*7 tokens, E demonstrations,
t control steps of one.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from data.errors import UserError
from data.watching import Tick
from stages.learning.activations import ActivationSettings, activations_of
from stages.policies.base import ACTION_DIM, Observation, Policy


@dataclass(frozen=True)
class Demonstrations:
    """M moments, each with what was seen and what was done from there on."""

    observation: Observation
    """images {camera: (M, H, W, 3) u8}, proprio (M, P) f32"""
    instructions: list[str]
    """M texts"""
    actions: np.ndarray
    """(M, C, 7) f32: the next C actions, the last one repeated beyond the end"""
    mask: np.ndarray
    """(M, C) bool: the action is to be imitated"""

    def __len__(self) -> int:
        return len(self.actions)


def chunks(actions: np.ndarray, chunk: int, departs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The next `chunk` actions from every moment of an episode, and which of them to imitate.

    Args:
        actions: (t, 7).
        departs: (t,) bool, control steps at which something else begins to happen than `actions` mean: what they mean
            from there on answers to that, and nobody can foresee it in an earlier moment.

    Returns:
        (t, C, 7), and (t, C) bool: before the end and before the next departure, unless the moment is the departure.
    """
    index = np.arange(len(actions))[:, None] + np.arange(chunk)
    within = np.minimum(index, len(actions) - 1)
    number = np.cumsum(departs)
    return actions[within], (index < len(actions)) & (number[within] == number[:, None])


@dataclass(frozen=True)
class ImitationSettings(ActivationSettings):
    """The optimizer and the augmentation."""

    steps: int = 1000
    """optimizer steps"""
    batch: int = 64
    """moments a step"""
    lr: float = 1e-3
    """AdamW's learning rate at the start of the cosine; for a new policy, far too high for a pretrained one"""
    weight_decay: float = 1e-2
    """AdamW's weight decay"""
    shift: int = 2
    """pictures move by up to this many pixels"""
    smoothing: float = 0.0
    """weight of the bins beside the target; keeps a policy from few demonstrations from being sure of itself"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 is faster only where the processor has instructions for it"""
    seed: int = 0
    """decides the first weights and the order of the moments"""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise UserError(f"sft settings steps and batch must be 1 or more, not {self.steps} and {self.batch}")
        if self.lr <= 0 or self.weight_decay < 0 or self.shift < 0 or self.seed < 0:
            raise UserError("sft setting lr must be above 0; weight_decay, shift and seed not below")
        if not 0 <= self.smoothing < 1:
            raise UserError(f"sft setting smoothing must be in [0, 1), not {self.smoothing}")


def imitate(
    policy: Policy, demonstrations: Demonstrations, settings: ImitationSettings, progress: Tick | None = None
) -> dict[str, float]:
    """Train in place what of `policy.module` is to be trained: AdamW, the learning rate falling to 0 along a cosine.

    Args:
        progress: called as `progress(done, total, note)` after every step.

    Returns:
        loss (nats a token, mean of the last tenth of the steps), accuracy (likewise), samples_per_second.

    Raises:
        FloatingPointError: a loss that is not finite.
    """
    start, module = time.monotonic(), policy.module
    device = next(module.parameters()).device
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, settings.lr, weight_decay=settings.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    tokens = policy.encode_actions(demonstrations.actions)
    rng = np.random.default_rng(settings.seed)
    tail: list[tuple[float, float]] = []
    for step, rows in enumerate(minibatches(len(demonstrations), settings.batch, settings.steps, rng)):
        seen = shifted(demonstrations.observation.rows(rows), settings.shift, rng)
        inputs = policy.inputs(seen, [demonstrations.instructions[i] for i in rows])
        target = torch.from_numpy(tokens[rows].astype(np.int64)).to(device)
        mask = torch.from_numpy(np.repeat(demonstrations.mask[rows], ACTION_DIM, axis=1)).to(device)
        kept = activations_of(module, policy.blocks(), settings.activations)
        with kept, torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits = module(**inputs)
        losses = token_losses(logits, target, settings.smoothing)
        loss = losses[mask].mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step + 1} of {settings.steps}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= settings.steps * 9 // 10:
            tail.append((loss.item(), (logits.argmax(-1) == target)[mask].float().mean().item()))
        if progress:
            progress(step + 1, settings.steps, f"loss {loss.item():.3f}")
    loss_mean, accuracy = np.mean(tail, axis=0)
    rate = settings.steps * settings.batch / (time.monotonic() - start)
    return {"loss": float(loss_mean), "accuracy": float(accuracy), "samples_per_second": rate}


def token_losses(logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of each token: logits (B, n, K), target (B, n) i64 -> (B, n).

    `smoothing` of the target's weight goes to its two neighbours in equal parts, because bins next to each other mean
    nearly the same (at the border the outer part stays). The gripper, the last of every 7 tokens, is not smoothed.
    """
    log_p = torch.log_softmax(logits.float(), -1)
    exact = log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    if not smoothing:
        return -exact
    beside = torch.stack([(target - 1).clamp_min(0), (target + 1).clamp_max(logits.shape[-1] - 1)], -1)
    near = log_p.gather(-1, beside).mean(-1)
    smooth = torch.full((target.shape[-1],), smoothing, device=logits.device)
    smooth[ACTION_DIM - 1 :: ACTION_DIM] = 0
    return -torch.where(smooth > 0, (1 - smooth) * exact + smooth * near, exact)


def minibatches(size: int, batch: int, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`steps` index arrays (min(batch, size),) that go through permutations of range(size), one after another."""
    batch = min(batch, size)
    queue = np.empty(0, np.int64)
    for _ in range(steps):
        while len(queue) < batch:
            queue = np.concatenate([queue, rng.permutation(size)])
        yield queue[:batch]
        queue = queue[batch:]


def shifted(observation: Observation, most: int, rng: np.random.Generator) -> Observation:
    """Each picture moved by up to `most` pixels either way, its border repeated."""
    images = {}
    for name, image in observation.images.items():
        moved = np.empty_like(image)
        offsets = rng.integers(-most, most + 1, (len(image), 2))
        y, x = np.arange(image.shape[1]), np.arange(image.shape[2])
        for i, (dy, dx) in enumerate(offsets):
            rows, columns = np.clip(y + dy, 0, len(y) - 1), np.clip(x + dx, 0, len(x) - 1)
            moved[i] = image[i][rows][:, columns]
        images[name] = moved
    return Observation(images, observation.proprio)
