"""The reward of one task once more, written as loops over single numbers from the published description alone."""

import functools
import itertools
import math

import numpy as np


def reward(rows: np.ndarray, success: np.ndarray, preset: str) -> list[float]:
    """Reward of each episode of one task; rows (N, D), success (N,)."""
    points = [[float(x) for x in row] for row in rows]
    won = [points[i] for i in range(len(points)) if success[i]]
    failed = [i for i in range(len(points)) if not success[i]]
    result = [1.0 if s else 0.0 for s in success]
    if preset == "binary" or not won or not failed:
        return result
    centres = clusters(won, preset)
    measure = one_minus_cosine if preset == "cosine" else euclidean
    distances = [min(measure(points[i], centre) for centre in centres) for i in failed]
    for i, score in zip(failed, scores(distances, preset), strict=True):
        result[i] = score
    return result


def scores(distances: list[float], preset: str) -> list[float]:
    if preset == "siirl":
        low, high = min(distances), max(distances)
        flat = high - low < 1e-6
        scaled = [0.5 if flat else (d - low) / (high - low) for d in distances]
        return [0.6 * sigmoid(10 * (0.5 - x)) for x in scaled]
    mean = sum(distances) / len(distances)
    std = math.sqrt(sum((d - mean) ** 2 for d in distances) / len(distances))
    return [0.8 * sigmoid(-(d - mean) / std if std > 1e-9 else 0.0) for d in distances]


def clusters(won: list[list[float]], preset: str) -> list[list[float]]:
    """Means of the groups that DBSCAN with min_samples 2 finds: with 2, these are the connected points."""
    scaled = standardised(won)
    n = len(won)
    radius = 0.5 if preset == "siirl" else gap(scaled)
    groups: list[set[int]] = []
    for i in range(n):
        touching = [g for g in groups if any(euclidean(scaled[i], scaled[j]) <= radius for j in g)]
        groups = [g for g in groups if g not in touching] + [{i}.union(*touching)]
    groups = [g for g in groups if len(g) > 1] or [set(range(n))]
    return [[sum(won[i][k] for i in g) / len(g) for k in range(len(won[0]))] for g in groups]


def gap(points: list[list[float]]) -> float:
    """The middle of the widest gap between merges that leaves most points in clusters, else 0.5 (or nothing)."""
    n = len(points)
    pairs = sorted((euclidean(points[i], points[j]), i, j) for i in range(n) for j in range(i))
    groups = [{i} for i in range(n)]
    merges = []
    for distance, i, j in pairs:
        mine, other = (next(g for g in groups if k in g) for k in (i, j))
        if mine is not other:
            groups = [g for g in groups if g is not mine and g is not other] + [mine | other]
            merges.append((distance, sum(len(g) for g in groups if len(g) > 1)))
    tiny = 1e-6 * pairs[-1][0] if pairs else 0.0
    options = [
        (after / max(before, tiny), (before + after) / 2)
        for (before, clustered), (after, _) in itertools.pairwise(merges)
        if clustered > n / 2 and after >= 3 * max(before, tiny) > 0
    ]
    if options:
        return max(options)[1]
    return 0.5 if any(tiny < distance <= 0.5 for distance, _ in merges) else -1.0


def standardised(points: list[list[float]]) -> list[list[float]]:
    n = len(points)
    result = [list(point) for point in points]
    for k in range(len(points[0])):
        column = [point[k] for point in points]
        mean = sum(column) / n
        std = math.sqrt(sum((x - mean) ** 2 for x in column) / n)
        for i in range(n):
            result[i][k] = (column[i] - mean) / (std if std > 1e-12 else 1.0)
    return result


def euclidean(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def one_minus_cosine(a: list[float], b: list[float]) -> float:
    zero = [0.0] * len(a)
    return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / (euclidean(a, zero) * euclidean(b, zero))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def path_reward(paths: np.ndarray, success: np.ndarray) -> np.ndarray:
    """Preset `path` of one task (N, m, d): time warping by recursion, the paper's sigmoid of the z-score."""
    references = [path for path, won in zip(paths, success, strict=True) if won]
    scale = np.median([sum(math.dist(a, b) for a, b in itertools.pairwise(path)) for path in references])
    distance = np.array([min(_warped(path, reference) for reference in references) for path in paths]) / scale
    failed = distance[~success]
    z = (failed - failed.mean()) / failed.std()
    reward = success.astype(float)
    reward[~success] = [0.8 / (1 + math.exp(value)) for value in z]
    return reward


def _warped(path: np.ndarray, reference: np.ndarray) -> float:
    """Mean over the reference's moments of the distance to the moment of the path that each is matched to."""

    @functools.cache
    def least(i: int, j: int) -> float:
        """Sum over reference moments 0..i when moment i is matched to moment j of the path."""
        here = math.dist(reference[i], path[j])
        if i == 0:
            return here if j == 0 else math.inf
        return here + min(least(i - 1, k) for k in range(j + 1))

    last = len(reference) - 1
    return min(least(last, j) for j in range(len(path))) / len(reference)
