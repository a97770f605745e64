"""Losses of single tokens and what is watched beside them. Pure torch: tensors in, tensors out.

Shapes: B queries, n action tokens a query, K bins. Log-probs are natural; `mask` is true for tokens whose action was
executed. Losses are to be minimised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data.errors import UserError
from stages.learning.averaging import Average

MAX_LOG_RATIO = 20.0
"""log-ratios are cut here, so that exp stays finite in f32"""


@dataclass(frozen=True)
class ObjectiveSettings:
    """The loss of a token and how a minibatch's are averaged."""

    average: Average = "token"
    """the loss is the mean over executed tokens, over queries' means, or over episodes' means"""
    clip_low: float = 0.2
    """the ratio counts down to 1 - clip_low"""
    clip_high: float = 0.28
    """the ratio counts up to 1 + clip_high"""
    dual_clip: float | None = None
    """bounds the loss of a negative advantage at this ratio; none: unbounded"""
    awr_temperature: float = 1.0
    """a token's weight is exp(advantage / awr_temperature)"""
    awr_clip: float = 20.0
    """and at most this"""
    kl_coef: float = 0.0
    """times the KL divergence from a reference policy is added to the loss; 0: no reference"""
    kl_estimator: Literal["k1", "k2", "k3", "exact"] = "k3"
    """of that divergence, from sampled tokens or exact over all bins"""
    entropy_coef: float = 0.0
    """times the entropy is taken off the loss"""

    def __post_init__(self) -> None:
        if not 0 < self.clip_low < 1 or self.clip_high <= 0:
            raise UserError("update setting clip_low must be in (0, 1) and clip_high above 0")
        if self.dual_clip is not None and self.dual_clip <= 1:
            raise UserError(f"update setting dual_clip must be above 1, or none, not {self.dual_clip}")
        if self.awr_temperature <= 0 or self.awr_clip <= 0:
            raise UserError("update settings awr_temperature and awr_clip must be above 0")
        if self.kl_coef < 0 or self.entropy_coef < 0:
            raise UserError("update settings kl_coef and entropy_coef must be 0 or more")


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


def is_clipped(
    logprob: Tensor, old_logprob: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.28
) -> Tensor:
    """Whether the clip stops a token's gradient: ratio above with A > 0, or below with A < 0; (B, n) bool."""
    ratio = probability_ratio(logprob, old_logprob)
    return ((advantage > 0) & (ratio > 1 + clip_high)) | ((advantage < 0) & (ratio < 1 - clip_low))


def regression_weight(advantage: Tensor, temperature: float = 1.0, most: float = 20.0) -> Tensor:
    """min(exp(A / temperature), most): what advantage-weighted regression multiplies -logprob with, same shape.

    Peng et al., arXiv 1910.00177, Algorithm 1, with its clip on the weight.
    """
    return (advantage / temperature).exp().clamp_max(most)


def probability_ratio(logprob: Tensor, old_logprob: Tensor) -> Tensor:
    """exp(logprob - old_logprob), the exponent cut at +-20: (B, n)."""
    return (logprob - old_logprob).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def k1(logprob: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) from each token that the policy sampled: log-ratio, (B, n).

    k1, k2 and k3 are those of J. Schulman, "Approximating KL divergence" (2020). k1 is unbiased, of either sign; as a
    loss its gradient is zero on average while the policy is the one that sampled.
    """
    return logprob - reference


def k2(logprob: Tensor, reference: Tensor) -> Tensor:
    """Half the squared log-ratio: biased, never negative, and as a loss with the divergence's own gradient; (B, n)."""
    return (logprob - reference) ** 2 / 2


def k3(logprob: Tensor, reference: Tensor) -> Tensor:
    """r - 1 - log r with r = reference / policy: unbiased and never negative, (B, n). GRPO's (arXiv 2402.03300, Eq. 4).

    KL(old || new) of a policy that moves is `k3(old, new)`.
    """
    ratio = probability_ratio(reference, logprob)
    return ratio - 1 - ratio.log()


def exact_kl(log_p: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) of whole distributions, both (B, n, K), normalised: (B, n)."""
    return (log_p.exp() * (log_p - reference)).sum(-1)


KL_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3, "exact": exact_kl}


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum of `values` (B, n) where `mask` is true; what is masked may be NaN."""
    return torch.where(mask, values, 0).sum()
