"""Distances between embeddings, or between paths. Shapes: N rows, K centres, D dimensions; m moments of d numbers."""

from collections.abc import Callable

import numpy as np

from data.errors import UserError
from stages.progress.paths import compare, dtw_table


def l2(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """||h - c|| of (N, D) rows to one (D,) centre: (N,)."""
    return np.sqrt(l2_squared(rows, centre))


def l2_squared(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """||h - c||^2 of (N, D) rows to one (D,) centre: (N,)."""
    return np.square(rows - centre).sum(axis=1)


def cosine(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """1 - cos(h, c), in [0, 2], of (N, D) rows to one (D,) centre: (N,).

    Raises:
        UserError: the centre has no direction (successes that cancel out).
    """
    norm = np.linalg.norm(centre)
    if norm == 0:
        raise UserError("a centre of the successes is the zero vector, which has no cosine; use distance=l2")
    return np.clip(1 - np.einsum("nd,d->n", rows, centre) / (np.linalg.norm(rows, axis=1) * norm), 0, 2)


DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "l2": l2,
    "l2_squared": l2_squared,
    "cosine": cosine,
}


def nearest(rows: np.ndarray, centres: np.ndarray, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each row to its nearest centre, and which one that is (the paper's Eq. 4).

    Args:
        rows: (N, D). centres: (K, D), K >= 1. distance: a name of `DISTANCES`; or both (.., m, d) for `dtw`.

    Returns:
        distance (N,) and index (N,) into `centres`, the first of equals.
    """
    if distance == "dtw":
        table = dtw_table(compare(rows, centres))
    else:
        table = np.stack([DISTANCES[distance](rows, centre) for centre in centres], axis=1)
    index = table.argmin(axis=1)
    return table[np.arange(len(rows)), index], index


def pairwise(rows: np.ndarray) -> np.ndarray:
    """Euclidean distances between all rows: (N, D) -> (N, N), symmetric, zero diagonal.

    From the inner products, hence accurate to about 1e-7 of the rows' norm; summed without BLAS, so that the number of
    threads cannot change a bit.
    """
    squares = np.square(rows).sum(axis=1)
    table = squares[:, None] + squares[None, :] - 2 * np.einsum("id,jd->ij", rows, rows)
    np.fill_diagonal(table, 0)
    return np.sqrt(np.maximum(table, 0))
