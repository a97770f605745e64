"""How fast a network answers, and whether it answers the same whatever else is in the batch.

A rollout records log-probs of whichever queries wait, an update computes them with others: where the ratio of the two
is not 1 before anything was learned, the surrogate starts off wrong.

Shapes: B queries, n action tokens a query, K bins.
"""

from typing import Any

import torch
from torch import Tensor

from stages.bench.medians import median
from stages.bench.policy.subjects import Inputs, Subject, part_of
from stages.bench.policy.timing import timings
from stages.learning.objectives import probability_ratio
from stages.policies.base import token_logprob

WARM = 3


@torch.inference_mode()
def act(subject: Subject, batch: int, images: int, repeats: int) -> dict[str, Any]:
    """The network alone, B queries at a time.

    Returns:
        ms_query (a `medians.median`), tokens_s (action tokens a second), finite (whether all logits are).
    """
    inputs = subject.queries(batch, images)
    seconds = median(timings(lambda: subject.module(**inputs), subject.device, min(WARM, repeats), repeats))
    finite = bool(subject.module(**inputs).isfinite().all())
    times = {key: _scaled(seconds[key], 1e3 / batch) for key in ("median", "interval")}
    return {
        "ms_query": seconds | times,
        "tokens_s": batch * subject.tokens / seconds["median"],
        "finite": finite,
    }


@torch.inference_mode()
def ratio(subject: Subject, images: int, batch: int, other: int) -> dict[str, Any]:
    """|ratio - 1| of sampled tokens: the log-probs of B queries at once against those of `other` at a time.

    Returns:
        max, p99 and mean over all tokens; max_logprob_gap.
    """
    inputs = subject.queries(batch, images)
    logits = logits_of(subject, inputs, batch)
    tokens = sample(logits)
    old, _ = token_logprob(logits, tokens, 1.0)
    new, _ = token_logprob(logits_of(subject, inputs, other), tokens, 1.0)
    off = (probability_ratio(new, old) - 1).abs().flatten()
    return {
        "max": float(off.max()),
        "p99": float(off.quantile(0.99)),
        "mean": float(off.mean()),
        "max_logprob_gap": float((new - old).abs().max()),
    }


def logits_of(subject: Subject, inputs: Inputs, size: int) -> Tensor:
    """(B, n, K), computed `size` queries at a time."""
    total = len(next(iter(inputs.values())))
    return torch.cat([subject.module(**part_of(inputs, slice(i, i + size))) for i in range(0, total, size)])


def sample(logits: Tensor, seed: int = 0) -> Tensor:
    """Tokens (B, n) i64 at temperature 1."""
    rng = torch.Generator(logits.device).manual_seed(seed)
    return torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=rng).view(logits.shape[:2])


def _scaled(value: Any, by: float) -> Any:
    return [by * x for x in value] if isinstance(value, list) else value if value is None else by * value
