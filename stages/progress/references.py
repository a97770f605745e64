"""From a task's successes to the centres that its failures are measured against.

Standardise, cluster (DBSCAN, the paper's Eq. 3), one centre a cluster; where nothing clusters, one centre of all.
The paper gives no radius. A fixed one in standardised space depends on the number of dimensions: n points of D
dimensions have a root mean square distance of sqrt(2nD/(n-1)), 53 and more at D = 1408, so that a radius of 0.5 finds
identical twins and nothing else. `gap_radius` reads it from the gaps in the data instead.

Shapes: n successes, K centres, D dimensions.
"""

from dataclasses import dataclass

import numpy as np

from stages.progress.distances import pairwise
from stages.progress.settings import RewardSettings

NOISE = -1
TWINS = 1e-6
"""distances below this share of the widest are rounding, not structure"""


@dataclass(frozen=True)
class References:
    """The centres of one task's successes."""

    centres: np.ndarray
    """(K, D) float64, K >= 1; the successes' paths (K, m, d) where each stands for itself"""
    member: np.ndarray
    """(n,) int: the centre that each success belongs to, -1 if it was left out as noise"""
    clustered: int
    """how many of the K centres stand for a cluster that DBSCAN found"""
    fallback: bool
    """nothing clustered, so that one centre stands for all"""
    radius: float | None
    """DBSCAN's radius in standardised space; None: the data has no gap, or every success stands for itself"""


def find_references(successes: np.ndarray, settings: RewardSettings) -> References:
    """Centres of the successes.

    Args:
        successes: (n, D), n >= 1, finite; of paths (n, m, d) with centre=each.
    """
    n = len(successes)
    if settings.centre == "each":
        return References(successes, np.arange(n), clustered=0, fallback=False, radius=None)
    distance = pairwise(standardise(successes))
    radius = settings.eps if settings.radius == "fixed" else gap_radius(distance, settings)
    member = np.full(n, NOISE) if radius is None else dbscan(distance, radius, settings.min_samples)
    clustered = int(member.max()) + 1
    if clustered == 0:
        member = np.zeros(n, dtype=int)
    elif settings.noise == "keep":
        lone = member == NOISE
        member[lone] = clustered + np.arange(lone.sum())
    centres = [_centre(successes, distance, np.flatnonzero(member == k), settings) for k in range(member.max() + 1)]
    return References(np.stack(centres), member, clustered, clustered == 0, radius)


def standardise(rows: np.ndarray) -> np.ndarray:
    """Zero mean and unit population standard deviation in each dimension; constant dimensions become 0. (n, D).

    A dimension counts as constant when its variance is within rounding of 0.
    """
    n, precision = len(rows), np.finfo(float).eps
    mean, variance = rows.mean(axis=0), rows.var(axis=0)
    constant = variance <= n * precision * variance + np.square(n * mean * precision)
    return (rows - mean) / np.where(constant, 1.0, np.sqrt(variance))


def gap_radius(distance: np.ndarray, settings: RewardSettings) -> float | None:
    """A radius from the data: the middle of the widest gap among the distances at which clusters merge.

    The edges h_1 <= ... <= h_(n-1) of the minimum spanning tree are those distances (single linkage). Of the cuts
    between h_i and h_(i+1) that leave more than half of the successes in clusters, the one with the largest ratio
    h_(i+1)/h_i counts, if that ratio is at least `settings.gap`. A single cloud has no such gap, whatever its
    dimension; a few near-identical successes among many are no reason to leave out the many. Without a gap, `eps` it
    is, which finds close pairs in a few dimensions; unless it would find identical successes only.

    Args:
        distance: (n, n) between standardised successes.

    Returns:
        (h_i + h_(i+1)) / 2, or eps, or None where there is nothing to cluster.
    """
    ends, heights = _spanning_tree(distance)
    floor = TWINS * distance.max()
    best, radius = settings.gap, None
    for i in range(len(heights) - 1):
        ratio = heights[i + 1] / max(heights[i], floor) if floor > 0 else 0.0
        if ratio >= best and _in_clusters(ends[: i + 1], len(distance), settings.min_samples) > len(distance) / 2:
            best, radius = ratio, float(heights[i] + heights[i + 1]) / 2
    if radius is None and ((heights > floor) & (heights <= settings.eps)).any():
        return settings.eps
    return radius


def dbscan(distance: np.ndarray, radius: float, min_samples: int) -> np.ndarray:
    """DBSCAN on a distance table: labels (n,), -1 for noise; clusters in the order of their first core point.

    As scikit-learn's, whose import alone takes longer than rewarding a batch of hundreds of episodes.
    """
    near = distance <= radius
    core = near.sum(axis=1) >= min_samples
    labels = np.full(len(distance), NOISE)
    for seed in np.flatnonzero(core):
        if labels[seed] != NOISE:
            continue
        cluster = labels.max() + 1
        queue = [seed]
        while queue:
            point = queue.pop()
            if labels[point] == NOISE:
                labels[point] = cluster
                if core[point]:
                    queue.extend(np.flatnonzero(near[point] & (labels == NOISE)))
    return labels


def _centre(rows: np.ndarray, distance: np.ndarray, members: np.ndarray, settings: RewardSettings) -> np.ndarray:
    if settings.centre == "mean":
        return rows[members].mean(axis=0)
    return rows[members[distance[np.ix_(members, members)].sum(axis=1).argmin()]]


def _spanning_tree(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prim's minimum spanning tree: edges (n-1, 2) and their lengths (n-1,), shortest first."""
    n = len(distance)
    reach, source = distance[0].copy(), np.zeros(n, dtype=int)
    outside = np.ones(n, dtype=bool)
    outside[0] = False
    edges, lengths = np.zeros((n - 1, 2), dtype=int), np.zeros(n - 1)
    for i in range(n - 1):
        point = int(np.where(outside, reach, np.inf).argmin())
        edges[i], lengths[i] = (source[point], point), reach[point]
        outside[point] = False
        closer = distance[point] < reach
        reach[closer], source[closer] = distance[point][closer], point
    order = np.argsort(lengths, kind="stable")
    return edges[order], lengths[order]


def _in_clusters(edges: np.ndarray, n: int, min_samples: int) -> int:
    """How many of n points are in components of at least `min_samples` (and two) points when `edges` join them."""
    component = np.arange(n)
    for a, b in edges:
        component[component == component[b]] = component[a]
    sizes = np.bincount(component, minlength=n)
    return int(sizes[sizes >= max(min_samples, 2)].sum())
