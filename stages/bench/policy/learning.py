"""An update of one group, as `stages.learning.trainer` accumulates it: the clipped surrogate over its micro-batches.

Shapes: E episodes a group, Q queries an episode, n action tokens a query.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stages.bench.medians import median
from stages.bench.policy.acting import logits_of, sample
from stages.bench.policy.subjects import Inputs, Subject, part_of
from stages.bench.policy.timing import timings
from stages.learning.activations import Activations, activations_of
from stages.learning.objectives import clipped_surrogate, probability_ratio
from stages.policies.base import blocks_of, token_logprob

EPISODES = 8
QUERIES = 15
WARM, TIMED = 1, 2
LR = 1e-4
GRAD_NORM = 1.0


def learn(
    subject: Subject, trained: Mapping[str, nn.Parameter], images: int, micro: int, checkpointing: bool
) -> dict[str, Any]:
    """Optimizer steps on E x Q queries of so many images, `micro` a forward pass.

    Args:
        trained: what changes.
        checkpointing: activations are computed again instead of kept.

    Returns:
        queries (E Q), seconds (a `medians.median`, without the first step), queries_s, and of every step: loss,
        grad_norm (before it is cut to 1) and max_ratio (the largest |ratio - 1|).
    """
    step = _Step(subject, trained, images, micro)
    steps: list[dict[str, float]] = []
    how: Activations = "recompute" if checkpointing else "keep"
    try:
        with tf32(), activations_of(subject.module, blocks_of(subject.module), how):
            seconds = median(timings(lambda: steps.append(step()), subject.device, WARM, TIMED))
    finally:
        step.optimizer.zero_grad()
    queries = EPISODES * QUERIES
    found = {"queries": queries, "seconds": seconds, "queries_s": queries / seconds["median"]}
    return found | {key: [one[key] for one in steps] for key in steps[0]}


@contextmanager
def tf32() -> Iterator[None]:
    """Products of f32 matrices, the adapters', in TF32; old and new log-probs alike, so that ratios start at 1."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Step:
    """Called: one optimizer step, its health returned."""

    def __init__(self, subject: Subject, trained: Mapping[str, nn.Parameter], images: int, micro: int) -> None:
        self._subject, self._micro, self._trained = subject, micro, list(trained.values())
        device = subject.device
        self.optimizer = torch.optim.AdamW(
            self._trained, LR, betas=(0.9, 0.99), weight_decay=0.0, fused=device.type == "cuda"
        )
        self._inputs: Inputs = subject.queries(EPISODES * QUERIES, images)
        reward = torch.randn(EPISODES, generator=torch.Generator().manual_seed(0))
        advantage = (reward - reward.mean()) / reward.std()
        self._advantage = advantage.repeat_interleave(QUERIES)[:, None].to(device)
        with torch.no_grad(), tf32():
            logits = logits_of(subject, self._inputs, micro)
            self._tokens = sample(logits)
            self._old, _ = token_logprob(logits, self._tokens, 1.0)

    def __call__(self) -> dict[str, float]:
        self.optimizer.zero_grad()
        parts = [self._part(i) for i in range(0, len(self._old), self._micro)]
        norm = torch.nn.utils.clip_grad_norm_(self._trained, GRAD_NORM)
        self.optimizer.step()
        loss, off = (torch.stack(values) for values in zip(*parts, strict=True))
        return {"loss": float(loss.sum()), "grad_norm": float(norm), "max_ratio": float(off.max())}

    def _part(self, start: int) -> tuple[Tensor, Tensor]:
        """One micro-batch's share of the gradient, added; its share of the loss and its largest |ratio - 1|."""
        rows = slice(start, start + self._micro)
        logits = self._subject.module(**part_of(self._inputs, rows))
        new, _ = token_logprob(logits, self._tokens[rows], 1.0)
        loss = clipped_surrogate(new, self._old[rows], self._advantage[rows]).sum() / self._old.numel()
        loss.backward()
        return loss.detach(), (probability_ratio(new.detach(), self._old[rows]) - 1).abs().max()
