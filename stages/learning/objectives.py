"""The clipped policy gradient and what is watched beside it. Pure torch: tensors in, tensors out.

Shapes: B queries, n action tokens a query. Log-probs are natural; `mask` is true for tokens whose action was executed.
The loss is to be minimised.
"""

import torch
from torch import Tensor

MAX_LOG_RATIO = 20.0
"""log-ratios are cut here, so that exp stays finite in f32"""


def clipped_surrogate(
    logprob: Tensor,
    old_logprob: Tensor,
    advantage: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
    dual_clip: float | None = None,
) -> Tensor:
    """Loss of each token: PPO's clipped surrogate (arXiv 1707.06347, Eq. 7), with its own bound on either side.

    -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with r = exp(logprob - old_logprob). The wider upper bound is
    DAPO's clip-higher (arXiv 2503.14476); `dual_clip` c > 1 bounds the loss of a negative advantage by -c A (arXiv
    1912.09729, Eq. 5).

    Args:
        logprob, old_logprob: (B, n). advantage: broadcasts to (B, n).

    Returns:
        (B, n).
    """
    ratio = probability_ratio(logprob, old_logprob)
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = -torch.minimum(ratio * advantage, clipped * advantage)
    if dual_clip is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -dual_clip * advantage), loss)


def probability_ratio(logprob: Tensor, old_logprob: Tensor) -> Tensor:
    """exp(logprob - old_logprob), the exponent cut at +-20: (B, n)."""
    return (logprob - old_logprob).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def approximate_kl(logprob: Tensor, old_logprob: Tensor) -> Tensor:
    """Unbiased, non-negative estimate of KL(old || new) from each sampled token: r - 1 - log r, (B, n).

    The estimator k3 of J. Schulman, "Approximating KL divergence" (2020).
    """
    ratio = probability_ratio(logprob, old_logprob)
    return ratio - 1 - ratio.log()


def is_clipped(
    logprob: Tensor, old_logprob: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.28
) -> Tensor:
    """Whether the clip stops a token's gradient: ratio above with A > 0, or below with A < 0; (B, n) bool."""
    ratio = probability_ratio(logprob, old_logprob)
    return ((advantage > 0) & (ratio > 1 + clip_high)) | ((advantage < 0) & (ratio < 1 - clip_low))


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of `values` (B, n) where `mask` is true; what is masked may be NaN."""
    return torch.where(mask, values, 0).sum()
