"""Trajectories as paths of moments: distances of one task's episodes to its successes that leave the tempo out.

One vector a clip mixes how far an episode got with how fast it went: a failure is as long as the horizon, a success
ends early. A path keeps the order of its moments and no clock.

Distances are Euclidean and in units of the task's scale, the median length of its references' paths: they change
neither with an offset of the embedding nor with its unit, and tasks can be compared. Each is the least over the
references, so that a reference compared with itself has 0.

Shapes: N episodes of one task, R references (its successes), m and M moments a path, d length of a moment's vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from data.errors import UserError

ROUNDING = 1e-13
"""Share of the vectors' squared lengths below which a squared distance is what rounding left."""


@dataclass(frozen=True)
class Compared:
    """Episodes beside references, moment by moment, in units of the task's scale."""

    apart: np.ndarray
    """(N, R, M, m): distances of each reference's moments (M) to each episode's (m)"""
    steps: np.ndarray
    """(R, M-1): lengths of the references' steps"""

    def prefixes(self, episode: int, references: np.ndarray, ends: np.ndarray) -> "Compared":
        """One episode as if it had stayed at each of some moments `ends` (K,), beside the references of a mask (R,)."""
        cut = np.minimum(np.arange(self.apart.shape[3]), ends[:, None])
        table = self.apart[episode, references][:, :, cut]
        return Compared(np.moveaxis(table, 2, 0), self.steps[references])


def compare(moments: np.ndarray, references: np.ndarray) -> Compared:
    """Lay episodes (N, m, d) beside references (R, M, d).

    Raises:
        UserError: see `check_paths`; or references most of which never move.
    """
    check_paths(moments, references)
    wanted = references.astype(np.float64)
    middle = wanted.mean(axis=(0, 1))  # distances stay, rounding shrinks
    wanted -= middle
    steps = np.linalg.norm(np.diff(wanted, axis=1), axis=-1)
    scale = np.median(steps.sum(axis=1))
    if scale == 0:
        raise UserError("most references never move: their moments are all the same; encode more moments")
    apart = [_apart(wanted, path.astype(np.float64) - middle) for path in moments]
    table = np.reshape(apart, (len(moments), *wanted.shape[:2], moments.shape[1]))
    return Compared(table / scale, steps / scale)


def dtw(compared: Compared) -> np.ndarray:
    """Dynamic time warping to the nearest reference: the least of `dtw_table`. (N,) float64."""
    return dtw_table(compared).min(axis=1)


def dtw_table(compared: Compared) -> np.ndarray:
    """Dynamic time warping: the mean distance of a reference's moments to those that the episode passes meanwhile.

    Every moment of the reference is matched to one of the episode's, the first to the first, never back in time;
    moments of the episode may be passed over (Sakoe & Chiba 1978, Table I, asymmetric form, P = 0). What the reference
    does after the episode stopped is measured against where the episode came nearest to it.

    Returns:
        (N, R) float64 >= 0; 1/2 for an episode that stays where a straight, even reference begins.
    """
    table: np.ndarray = _follow(compared.apart).min(axis=-1) / compared.apart.shape[2]
    return table


def remaining(compared: Compared, where: Literal["last", "furthest"] = "last") -> np.ndarray:
    """What an episode has still to go: to the nearest moment of a reference's path, and from there along the path.

        |moment - reference k| + length of the reference's path after k,  k its nearest moment; least over references

    Least over k as well it would always be the straight line to the reference's end, by the triangle inequality.
    Moments at rest add nothing to a path's length; noise between them does, at every moment.

    Args:
        compared: episodes and references.
        where: from the episode's last moment, or from whichever of its moments had least to go.

    Returns:
        (N,) float64 >= 0; about 1 for an episode that never left the start.
    """
    apart = compared.apart
    left = _left(compared.steps)[None, :, :, None]
    after = np.take_along_axis(left, apart.argmin(axis=2, keepdims=True), axis=2)
    to_go = (apart.min(axis=2) + after[:, :, 0]).min(axis=1)
    return to_go[:, -1] if where == "last" else to_go.min(axis=1)


def open_end(compared: Compared) -> np.ndarray:
    """The share of a reference's path that an episode does not get to, by open-end time warping (Tormene et al. 2009).

    Every moment of the episode is matched to one of the reference's, the first to the first, never back in time; the
    reference may end anywhere, and what is left of its length counts. Of the references it is the one matched best.

    Returns:
        (N,) float64 in [0, 1].
    """
    cost = _follow(compared.apart.swapaxes(-1, -2))
    best = cost.min(axis=-1).argmin(axis=1)
    end = cost[np.arange(len(cost)), best].argmin(axis=-1)
    left = _left(compared.steps)
    return np.divide(left[best, end], left[best, 0], out=np.zeros(len(cost)), where=left[best, 0] > 0)


PATH_DISTANCES: dict[str, Callable[[Compared], np.ndarray]] = {
    "dtw": dtw,
    "remaining": remaining,
    "furthest": partial(remaining, where="furthest"),
    "open end": open_end,
}
"""Name -> a distance of N episodes to their references: (N,)."""


def check_paths(moments: np.ndarray, references: np.ndarray) -> None:
    """Refuse paths that cannot be compared.

    Raises:
        UserError: not (N, m, d) and (R, M, d) with M >= 2, R >= 1; or a row that is NaN or infinite (named).
    """
    if moments.ndim != 3 or references.ndim != 3 or moments.shape[2] != references.shape[2]:
        raise UserError(f"paths must be (N, m, d) and (R, M, d), not {moments.shape} and {references.shape}")
    if not len(references):
        raise UserError("no success to compare paths with; leave tasks without one out")
    if not moments.shape[1] or references.shape[1] < 2:
        raise UserError(f"paths have {moments.shape[1]} moments, references {references.shape[1]}; encode 2 or more")
    for what, paths in (("moments", moments), ("references", references)):
        bad = np.flatnonzero(~np.isfinite(paths).all(axis=(1, 2)))
        if len(bad):
            raise UserError(f"{what} are NaN or infinite in row {bad[0]}; encode that episode again")


def _left(steps: np.ndarray) -> np.ndarray:
    """Length of a path after each of its moments, from its steps (R, M-1): (R, M)."""
    return np.pad(steps[:, ::-1].cumsum(axis=1)[:, ::-1], ((0, 0), (0, 1)))


def _apart(wanted: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Distances of (R, M, d) to the moments of one path (m, d): (R, M, m); what is within rounding of 0 is 0."""
    norms = np.square(wanted).sum(axis=-1)[..., None] + np.square(path).sum(axis=-1)
    square = norms - 2 * wanted @ path.T
    return np.sqrt(np.where(square > ROUNDING * norms, square, 0))


def _follow(apart: np.ndarray) -> np.ndarray:
    """Least sum of distances over a column for each row, the first for the first, never going left.

    Args:
        apart: (..., a, b).

    Returns:
        (..., b): the sum where the last row has that column.
    """
    total = np.full_like(apart[..., 0, :], np.inf)
    total[..., 0] = apart[..., 0, 0]
    for row in range(1, apart.shape[-2]):
        total = np.minimum.accumulate(total, axis=-1) + apart[..., row, :]
    return total
