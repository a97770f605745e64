"""The checks between anyone's arrays and the reward: what is wrong, in which row.

Shapes: N episodes, D dimensions; of paths, m moments of d numbers.
"""

from collections.abc import Mapping

import numpy as np

from data.errors import UserError
from stages.progress.settings import RewardSettings

LARGEST = 1e100
"""numbers from here on count as infinite: their squares overflow"""
Checked = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]


def check_inputs(
    embedding: np.ndarray | None,
    success: np.ndarray,
    task: np.ndarray,
    group: np.ndarray | None,
    settings: RewardSettings,
) -> Checked:
    """The arrays as the reward needs them: (N, D) or (N, m, d) float64, (N,) bool, (N,) and (N,).

    Without need of embeddings, (N, 0) stands for them.

    Raises:
        UserError: wrong shapes or kinds, or a bad row (named).
    """
    success = _check_success(np.asarray(success))
    n = len(success)
    task = _check_labels(np.asarray(task), "task", n)
    if group is not None:
        group = _check_labels(np.asarray(group), "group", n)
    elif settings.scope == "group" and settings.needs_embedding:
        raise UserError("scope=group normalises within groups: give group (N,), or use scope=task")
    if not settings.needs_embedding:
        return np.zeros((n, 0)), success, task, group
    if embedding is None:
        raise UserError("no embedding to measure distances with; give embedding (N, D), or use --preset binary")
    rows = check_embedding(np.asarray(embedding), n, settings.needs_paths)
    if settings.distance == "cosine":
        _refuse_rows(np.all(rows == 0, axis=1), "embedding is all zeros, which has no cosine")
    return rows, success, task, group


def check_embedding(embedding: np.ndarray, n: int, paths: bool = False, what: str = "embedding") -> np.ndarray:
    """(n, D) embeddings, or (n, m, d) paths, as float64.

    Raises:
        UserError: another shape or kind, or a row that is NaN or infinite (named).
    """
    if paths and (embedding.ndim != 3 or embedding.shape[1] < 2 or embedding.shape[2] == 0):
        raise UserError(f"{what} must be (N, m, d) for distance=dtw, with m >= 2 and d >= 1, not {embedding.shape}")
    if not paths and (embedding.ndim != 2 or embedding.shape[1] == 0):
        raise UserError(f"{what} must be (N, D) with D >= 1, not {embedding.shape}")
    if len(embedding) != n:
        raise UserError(f"{what} has {len(embedding)} rows, success has {n}; give both one row an episode")
    if embedding.dtype.kind not in "fiu":
        raise UserError(f"{what} must hold real numbers, not {embedding.dtype}")
    rows = embedding.astype(np.float64)
    _refuse_rows(~np.all(np.abs(rows.reshape(n, -1)) < LARGEST, axis=1), f"{what} is NaN or infinite")
    return rows


def check_remembered(remembered: Mapping[int, np.ndarray], shape: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Remembered successes a task, (R, D) or (R, m, d) float64; tasks without any are left out.

    Args:
        shape: of a row of the batch.

    Raises:
        UserError: another shape than the batch's, or a bad row.
    """
    checked = {}
    for task, rows in remembered.items():
        if len(rows) == 0:
            continue
        what = f"remembered embedding of task {task}"
        checked[task] = check_embedding(np.asarray(rows), len(rows), len(shape) == 2, what)
        if rows.shape[1:] != shape:
            raise UserError(
                f"remembered embeddings of task {task} have {_times(rows.shape[1:])} dimensions, the batch's have"
                f" {_times(shape)}; encode both with the same world model"
            )
    return checked


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_success(success: np.ndarray) -> np.ndarray:
    if success.ndim != 1:
        raise UserError(f"success must be (N,), not {success.shape}")
    if len(success) == 0:
        raise UserError("success is empty: there is no episode to reward")
    if success.dtype.kind not in "biuf":
        raise UserError(f"success must hold 0 and 1, not {success.dtype}")
    _refuse_rows(~np.isin(success, (0, 1)), "success is neither 0 nor 1")
    return success.astype(bool)


def _check_labels(labels: np.ndarray, name: str, n: int) -> np.ndarray:
    if labels.shape != (n,):
        raise UserError(f"{name} must be ({n},), one an episode, not {labels.shape}")
    if labels.dtype.kind == "f" and not np.equal(labels, np.round(labels)).all():
        raise UserError(f"{name} must be whole numbers or text, row {_first(labels != np.round(labels))} is not")
    if labels.dtype.kind not in "biufUS":
        raise UserError(f"{name} must be whole numbers or text, not {labels.dtype}")
    return labels.astype(np.int64) if labels.dtype.kind in "biuf" else labels


def _refuse_rows(bad: np.ndarray, what: str) -> None:
    if bad.any():
        others = f" (and {bad.sum() - 1} more)" if bad.sum() > 1 else ""
        raise UserError(f"row {_first(bad)}{others}: {what}; correct or leave out the episode")


def _first(bad: np.ndarray) -> int:
    return int(np.flatnonzero(bad)[0])
