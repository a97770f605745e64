"""How good a progress signal is: the paper's five measures (Table 3), and its agreement with true progress.

Every measure works along the last axis and keeps the axes before it, so that a thousand resamples are one call. Where a
measure is undefined it is NaN, never 0: too few values, no spread where spread divides, or a NaN among the inputs.

Shapes: K moments of an episode in order of time, n and m episodes, ... any axes before.
"""

import numpy as np

from data.errors import UserError


def progress_curve(distance: np.ndarray) -> np.ndarray:
    """Distances to the goal as progress: the farthest moment is 0, the nearest 1 (App. B).

    Args:
        distance: (..., K).

    Returns:
        (..., K) in [0, 1]; NaN where all distances of an episode are the same.
    """
    low, high = distance.min(axis=-1, keepdims=True), distance.max(axis=-1, keepdims=True)
    return _divide(high - distance, high - low)


def temporal_correlation(curve: np.ndarray) -> np.ndarray:
    """SC: Spearman's correlation of a curve (..., K) with time (Eq. 10): (...) in [-1, 1]; NaN for a flat one."""
    return rank_correlation(np.arange(curve.shape[-1], dtype=float), curve)


def monotonicity(curve: np.ndarray) -> np.ndarray:
    """Mono: the share of steps of a curve (..., K) that go up, strictly (Eq. 11): (...) in [0, 1]; NaN for K < 2."""
    if curve.shape[-1] < 2:
        return np.full(curve.shape[:-1], np.nan)
    share = (np.diff(curve, axis=-1) > 0).mean(axis=-1)
    return np.where(np.isnan(curve).any(axis=-1), np.nan, share)


def mmd(success: np.ndarray, failure: np.ndarray, bandwidth: float | None = None, biased: bool = True) -> np.ndarray:
    """MMD: squared maximum mean discrepancy of two samples, kernel exp(-(x-y)^2 / (2 s^2)) (Eq. 12).

    The paper names neither kernel nor bandwidth.

    Args:
        success, failure: (..., n) and (..., m), terminal progress of each.
        bandwidth: s; none: the median of all distances above 0 in the pooled sample (Gretton et al. 2012, sec. 8).
        biased: the mean over all pairs, each value with itself included, which is never below 0; else without those
            (n, m >= 2), which may be.

    Returns:
        (...); NaN where all values are the same and no bandwidth is given.
    """
    n, m = success.shape[-1], failure.shape[-1]
    if min(n, m) < (1 if biased else 2):
        return np.full(success.shape[:-1], np.nan)
    pooled = np.concatenate([success, failure], axis=-1)
    square = np.square(pooled[..., :, None] - pooled[..., None, :])
    width = _median_distance(square) if bandwidth is None else np.float64(bandwidth)
    kernel = np.exp(-_divide(square, 2 * np.square(width)[..., None, None]))
    own, other, cross = kernel[..., :n, :n], kernel[..., n:, n:], kernel[..., :n, n:]
    return _pair_mean(own, biased) + _pair_mean(other, biased) - 2 * cross.mean(axis=(-2, -1))


def jensen_shannon(
    success: np.ndarray, failure: np.ndarray, bins: int = 10, limits: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """JS: Jensen-Shannon divergence of two samples, from histograms, natural logarithm (Eq. 13).

    The paper does not name its estimate of the density. As in numpy's histogram, the last bin holds its upper end.

    Args:
        success, failure: (..., n) and (..., m), terminal progress of each.
        bins: of equal width, over `limits`.

    Returns:
        (...) in [0, ln 2]; NaN where a sample is empty.

    Raises:
        UserError: a value outside the limits.
    """
    if not (success.shape[-1] and failure.shape[-1]):
        return np.full(success.shape[:-1], np.nan)
    p, q = (_histogram(sample, bins, limits) for sample in (success, failure))
    middle = (p + q) / 2
    return (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2


def standardised_difference(success: np.ndarray, failure: np.ndarray) -> np.ndarray:
    """SMD: difference of the means in units of the pooled standard deviation, weighted by n-1 and m-1 (Eq. 14).

    Args:
        success, failure: (..., n) and (..., m), terminal progress of each; n, m >= 2.

    Returns:
        (...); NaN where neither sample has any spread.
    """
    n, m = success.shape[-1], failure.shape[-1]
    if min(n, m) < 2:
        return np.full(success.shape[:-1], np.nan)
    squares = _spread(success) + _spread(failure)
    return _divide(success.mean(axis=-1) - failure.mean(axis=-1), np.sqrt(squares / (n + m - 2)))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation, ties at their average rank, as of a reward with true progress.

    Args:
        one, other: (..., n), axes before the last broadcast.

    Returns:
        (...) in [-1, 1]; NaN where one of them is constant.
    """
    a, b = (_centred(average_ranks(values)) for values in (one, other))
    return _divide((a * b).sum(axis=-1), np.sqrt(np.square(a).sum(axis=-1) * np.square(b).sum(axis=-1)))


def pair_accuracy(reward: np.ndarray, progress: np.ndarray, margin: float = 0.5) -> np.ndarray:
    """How often, of two episodes, the one that truly got further has the higher reward; equal rewards count half.

    Args:
        reward, progress: (..., n).
        margin: pairs count whose true progress differs by more than this.

    Returns:
        (...) in [0, 1], 0.5 by chance; NaN where no pair counts.
    """
    further = progress[..., :, None] - progress[..., None, :] > margin
    higher = np.sign(reward[..., :, None] - reward[..., None, :])
    credit = np.where(further, (higher + 1) / 2, 0.0).sum(axis=(-2, -1))
    unknown = (np.isnan(reward) | np.isnan(progress)).any(axis=-1)
    return np.where(unknown, np.nan, _divide(credit, further.sum(axis=(-2, -1))))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 along the last axis, equal values at the mean of theirs; all NaN where a value is NaN."""
    n = values.shape[-1]
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    place = np.broadcast_to(np.arange(n), ordered.shape)
    differs = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*ordered.shape[:-1], 1), bool)
    begins, ends = np.concatenate([edge, differs], axis=-1), np.concatenate([differs, edge], axis=-1)
    first = np.maximum.accumulate(np.where(begins[..., :n], place, 0), axis=-1)
    last = np.minimum.accumulate(np.where(ends[..., :n], place, n)[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=-1)
    return np.where(np.isnan(values).any(axis=-1, keepdims=True), np.nan, ranks)


def _spread(values: np.ndarray) -> np.ndarray:
    """Sum of squares about the mean, (..., n) -> (...); exactly 0 for equal values."""
    constant = (values == values[..., :1]).all(axis=-1)
    return np.where(constant, 0.0, np.square(_centred(values)).sum(axis=-1))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=-1, keepdims=True) if values.shape[-1] else values


def _divide(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """over / under, NaN where `under` is not above 0."""
    over, under = np.broadcast_arrays(over, under)
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)


def _median_distance(square: np.ndarray) -> np.ndarray:
    """Median of the distances above 0, from a table (..., N, N) of their squares: (...), 0 where there is none."""
    rows, columns = np.triu_indices(square.shape[-1], 1)
    pairs = np.sqrt(square[..., rows, columns])
    if not pairs.shape[-1]:
        return np.zeros(square.shape[:-2])
    ordered = np.sort(np.where(pairs == 0, np.inf, pairs), axis=-1)
    count = (pairs != 0).sum(axis=-1)[..., None]
    middle = [np.take_along_axis(ordered, np.maximum(at, 0), axis=-1) for at in ((count - 1) // 2, count // 2)]
    return np.where(count > 0, sum(middle) / 2, 0.0)[..., 0]


def _pair_mean(kernel: np.ndarray, biased: bool) -> np.ndarray:
    """Mean of a kernel (..., n, n), with or without its diagonal of ones."""
    n = kernel.shape[-1]
    total = kernel.sum(axis=(-2, -1))
    return total / n**2 if biased else (total - n) / (n * (n - 1))


def _histogram(sample: np.ndarray, bins: int, limits: tuple[float, float]) -> np.ndarray:
    """Shares of a sample (..., n) in each bin: (..., bins); NaN where a value is NaN."""
    low, high = limits
    outside = (sample < low) | (sample > high)
    if outside.any():
        raise UserError(f"progress {sample[outside].flat[0]:g} is outside {low:g} to {high:g}; give the limits it has")
    edges = np.linspace(low, high, bins + 1)
    at = np.clip(np.searchsorted(edges, sample, side="right") - 1, 0, bins - 1)
    shares = (at[..., None] == np.arange(bins)).mean(axis=-2)
    return np.where(np.isnan(sample).any(axis=-1, keepdims=True), np.nan, shares)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || q) along the last axis; a bin that p does not fill counts 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p != 0)
    return (p * np.log(ratio)).sum(axis=-1)
