"""Where a task's embeddings lie: on the plane of their first two principal components, and to whom they are nearest.

Legend: n episodes, k centres, D length of an embedding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from srpo_cli.report.rewarded import Rewarded
from stages.progress.distances import DISTANCES


@dataclass(frozen=True)
class Plane:
    """The plane through the mean of some rows along which they vary most."""

    mean: np.ndarray
    """(D,)"""
    axes: np.ndarray
    """(2, D) orthonormal; the entry of the largest magnitude of each is positive"""
    share: np.ndarray
    """(2,) of the variance that lies along each axis; 0 where the rows do not vary"""

    def points(self, rows: np.ndarray) -> np.ndarray:
        """Rows (n, D) -> (n, 2)."""
        found: np.ndarray = (rows - self.mean) @ self.axes.T
        return found


def principal_plane(rows: np.ndarray) -> Plane:
    """The first two principal components of rows (n, D), n >= 2, D >= 2, from the SVD of the centred rows."""
    mean = rows.mean(axis=0)
    _, lengths, axes = np.linalg.svd(rows - mean, full_matrices=False)
    axes = axes[:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    variance = np.square(lengths)
    share = variance[:2] / variance.sum() if variance.any() else np.zeros(2)
    return Plane(mean, axes * np.where(largest < 0, -1, 1), share)


def task_map(rewarded: Rewarded, task: int) -> dict[str, Any] | None:
    """The episodes and the centres of a task on their plane; None where fewer than two can be placed.

    Returns:
        share [2]; episodes [n], points [n][2]; centres [k][2], none of paths.
    """
    if rewarded.embedding is None or rewarded.embedding.shape[1] < 2:
        return None
    members = rewarded.members(task)
    rows = rewarded.embedding[members].astype(np.float64)
    whole = np.isfinite(rows).all(axis=1)
    if whole.sum() < 2:
        return None
    plane, centres = principal_plane(rows[whole]), rewarded.centres_of(task)
    return {
        "share": plane.share.tolist(),
        "episodes": members[whole].tolist(),
        "points": plane.points(rows[whole]).tolist(),
        "centres": plane.points(centres).tolist() if len(centres) and not rewarded.of_paths else [],
    }


def nearest_rows(rows: np.ndarray, others: np.ndarray, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Which of some others (m, D), m >= 1, is nearest to each row (n, D), and how far: (n,) int, (n,).

    Ranked by |b|^2 - 2 a.b, in one matrix product; unit vectors stand for cosine, which they rank alike.
    """
    a, b = rows.astype(np.float64), others.astype(np.float64)
    unit_a, unit_b = (_unit(part) if distance == "cosine" else part for part in (a, b))
    index = (np.square(unit_b).sum(axis=1) - 2 * unit_a @ unit_b.T).argmin(axis=1)
    far = [DISTANCES[distance](a[i : i + 1], b[j])[0] for i, j in enumerate(index)]
    return index, np.array(far, np.float64)


def _unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found
