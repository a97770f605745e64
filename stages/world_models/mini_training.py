"""The training of `mini`: clips at random from episodes, the schedules, and a watch on collapse.

Legend: E episodes, M moments of each, B clips a step, F frames a clip, S pixels a side, D width.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.watching import Tick
from stages.world_models.base import frame_indices
from stages.world_models.mini import Jepa, MiniShape, normalise, target_features
from stages.world_models.mini_masks import block_masks

COLLAPSED_SPREAD = 1e-2
"""of the pooled features, whose tokens have variance 1: below it, all clips look alike"""
COLLAPSED_RANK = 1.5
PROBES = 128
"""clips that the spread is measured on"""


class CollapseError(Exception):
    """The encoder came to give the same features whatever it sees."""


@dataclass(frozen=True)
class TrainingSettings:
    """The optimizer, the masks and the augmentation."""

    steps: int = 1600
    """optimizer steps"""
    batch: int = 32
    """clips a step"""
    lr: float = 1e-3
    """AdamW's learning rate at its highest"""
    warmup: float = 0.1
    """share of the steps in which it rises; after them it falls along a cosine"""
    weight_decay: float = 0.04
    """AdamW's weight decay, of matrices only"""
    ema: float = 0.99
    """momentum of the average encoder at the first step; it rises to 1"""
    masked: float = 0.8
    """share of the picture that is hidden from the encoder and predicted"""
    blocks: int = 4
    """into how many blocks the hidden part falls, about"""
    shift: int = 4
    """clips move by up to this many pixels"""
    brightness: float = 0.1
    """clips get brighter or darker by up to this share"""
    seed: int = 0
    """decides the first weights, the clips and what is hidden of them"""


def train(
    frames: np.ndarray, shape: MiniShape, settings: TrainingSettings, tick: Tick
) -> tuple[Jepa, dict[str, float]]:
    """Train on the moments of episodes.

    Args:
        frames: (E, M, S, S, 3) uint8, M >= F.
        tick: called as `tick(done, total, note)` after every step.

    Returns:
        The model, and loss_first, loss (means of the first and last tenth of the steps), spread, effective_rank,
        steps_per_second.

    Raises:
        FloatingPointError: a loss that is not finite.
        CollapseError: the features no longer tell clips apart.
    """
    start = time.monotonic()
    rng = np.random.default_rng(settings.seed)
    jepa = Jepa(shape, settings.seed)
    learnt = [p for p in jepa.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(_groups(learnt, settings.weight_decay), settings.lr, betas=(0.9, 0.99), fused=True)
    losses = []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        clips = draw_clips(frames, settings.batch, shape.frames, rng)
        pixels = normalise(augment(clips, settings, rng))
        masks = block_masks(settings.batch, shape.grid, shape.depth, settings.masked, settings.blocks, rng)
        context, hidden = (torch.from_numpy(mask) for mask in masks)
        loss = jepa(pixels, context, hidden)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step + 1} of {settings.steps}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        jepa.follow(momentum(step, settings))
        tick(step + 1, settings.steps, f"loss {losses[-1]:.3f}")
    spread, rank = diversity(jepa, frames, shape.frames)
    if spread < COLLAPSED_SPREAD or rank < COLLAPSED_RANK:
        raise CollapseError(f"the features of different clips are alike (spread {spread:.2g}, rank {rank:.1f})")
    tenth = max(settings.steps // 10, 1)
    first, last = float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))
    speed = settings.steps / (time.monotonic() - start)
    figures = {"loss_first": first, "loss": last, "spread": spread, "effective_rank": rank, "steps_per_second": speed}
    return jepa, figures


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear from 0 over the first `warmup` share of the steps, then down a cosine to 0."""
    warm = settings.warmup * settings.steps
    if step < warm:
        return settings.lr * (step + 1) / warm
    return settings.lr * (1 + math.cos(math.pi * (step - warm) / (settings.steps - warm))) / 2


def momentum(step: int, settings: TrainingSettings) -> float:
    """Of the average encoder: linear from `ema` at the first step to 1 at the end (arXiv 2404.08471, appendix)."""
    return settings.ema + (1 - settings.ema) * step / settings.steps


def draw_clips(frames: np.ndarray, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Clips of random episodes, starts and tempo: (count, F, S, S, 3) uint8.

    A clip is F frames spread over a random stretch of its episode, from F moments to all M.
    """
    episodes, moments = frames.shape[:2]
    clips = []
    for episode in rng.integers(episodes, size=count):
        stretch = int(rng.integers(length, moments + 1))
        first = int(rng.integers(moments - stretch + 1))
        clips.append(frames[episode, first + frame_indices(stretch, length)])
    return np.stack(clips)


def augment(clips: np.ndarray, settings: TrainingSettings, rng: np.random.Generator) -> Tensor:
    """Each clip moved by up to `shift` pixels, its border repeated, and made brighter or darker: float32 in [0, 1]."""
    size = clips.shape[2]
    moved = np.empty_like(clips)
    for i, (down, right) in enumerate(rng.integers(-settings.shift, settings.shift + 1, (len(clips), 2))):
        rows, columns = (np.clip(np.arange(size) + by, 0, size - 1) for by in (down, right))
        moved[i] = clips[i][:, rows][:, :, columns]
    gain = rng.uniform(1 - settings.brightness, 1 + settings.brightness, (len(clips), 1, 1, 1, 1))
    return (torch.from_numpy(moved).float() / 255 * torch.from_numpy(gain.astype(np.float32))).clamp(0, 1)


@torch.no_grad()
def diversity(jepa: Jepa, frames: np.ndarray, length: int) -> tuple[float, float]:
    """How different the averaged encoder's features of whole episodes are.

    Returns:
        The standard deviation over clips of the pooled features, root mean square over dimensions; and the effective
        rank of the pooled features, exp of the entropy of their normalised singular values (Roy and Vetterli 2007).
    """
    rows = np.unique(np.linspace(0, len(frames) - 1, PROBES).astype(int))
    clips = frames[rows][:, frame_indices(frames.shape[1], length)]
    pooled = torch.cat([target_features(jepa.target, _plain(clip[None])).mean(1) for clip in clips])
    centred = (pooled - pooled.mean(0)).double()
    spread = float(centred.square().mean().sqrt())
    return spread, effective_rank(centred)


def effective_rank(rows: Tensor) -> float:
    """exp of the entropy of the singular values of (n, D), made to sum to 1; 0 where all are 0."""
    values = torch.linalg.svdvals(rows)
    total = values.sum()
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


def _plain(clips: np.ndarray) -> Tensor:
    return normalise(torch.from_numpy(clips).float() / 255)


def _groups(parameters: list[torch.nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Biases, norms and the mask token, which all are vectors, do not decay."""
    vectors = [max(p.shape) == p.numel() for p in parameters]
    return [
        {"params": [p for p, vector in zip(parameters, vectors, strict=True) if vector == kind], "weight_decay": amount}
        for kind, amount in ((False, decay), (True, 0.0))
    ]
