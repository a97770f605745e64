"""A progress signal as `srpo bench progress` judges it: how far every episode, and every earlier end of it, is from the
successes of its task.

Two protocols. `own`: the paper's (App. B), where a success is compared with the end of its own video, which it must
reach. `held_out`: a success is compared with the other successes of its task only (clusters are those of all, its own
centre is the mean of the others); what a failure is compared with is the same in both.

Legend: N episodes, K prefixes (the last one ends with the episode), D length of an embedding, m moments of d numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.progress.distances import DISTANCES, nearest
from stages.progress.paths import Compared, compare
from stages.progress.references import References, find_references
from stages.progress.settings import RewardSettings

Measure = Callable[[Compared], np.ndarray]
"""A distance of paths, as `paths.PATH_DISTANCES`."""


@dataclass(frozen=True)
class Signal:
    """Distances to the successes; NaN where there is nothing to compare with."""

    end: np.ndarray
    """(N,) of the whole episode"""
    curve: np.ndarray
    """(N, K) of its prefixes"""


def embedding_signal(
    embedding: np.ndarray,
    prefix: np.ndarray,
    success: np.ndarray,
    task: np.ndarray,
    settings: RewardSettings,
    held_out: bool,
) -> Signal:
    """The signal of embeddings (N, D) and prefixes (N, K, D), measured as `settings` reward: centres and distance."""
    n, k = prefix.shape[:2]
    end, curve = np.full(n, np.nan), np.full((n, k), np.nan)

    def fill(i: Any, centres: np.ndarray) -> None:
        rows = np.concatenate([embedding[i : i + 1], prefix[i]])
        distance, _ = nearest(rows, centres, settings.distance)
        end[i], curve[i] = distance[0], distance[1:]

    for number in np.unique(task):
        won = np.flatnonzero((task == number) & success)
        failed = np.flatnonzero((task == number) & ~success)
        if not len(won):
            continue
        found = find_references(embedding[won], settings)
        for i in failed:
            fill(i, found.centres)
        for place, i in enumerate(won):
            if not held_out:
                end[i], curve[i] = 0.0, DISTANCES[settings.distance](prefix[i], embedding[i])
            elif len(others := _without(found, embedding[won], place)):
                fill(i, others)
    return Signal(end, curve)


def _without(found: References, rows: np.ndarray, place: int) -> np.ndarray:
    """The centres (K or K-1, D) without one success: its cluster's is the mean of the others in it."""
    own = found.member[place]
    if own < 0:
        return found.centres
    others = np.flatnonzero((found.member == own) & (np.arange(len(rows)) != place))
    rest = np.delete(found.centres, own, axis=0)
    return np.concatenate([rest, rows[others].mean(axis=0)[None]]) if len(others) else rest


def path_signals(
    moments: np.ndarray, success: np.ndarray, task: np.ndarray, prefixes: int, measures: Mapping[str, Measure]
) -> dict[str, Signal]:
    """The signals of paths (N, m, d) against the paths of other successes of the task (always held out), by measure.

    A prefix is the path so far, its last moment repeated to the same length m.
    """
    n, m = moments.shape[:2]
    ends = np.rint(np.linspace(0, m - 1, prefixes + 1)).astype(int)[1:]
    curves = {name: np.full((n, prefixes), np.nan) for name in measures}
    for number in np.unique(task):
        rows = np.flatnonzero(task == number)
        won = np.flatnonzero(success[rows])
        if not len(won):
            continue
        paths = _compact(moments[rows])
        compared = compare(paths, paths[won])
        for place, i in enumerate(rows):
            if (won != place).any():
                cut = compared.prefixes(place, won != place, ends)
                for name, measure in measures.items():
                    curves[name][i] = measure(cut)
    return {name: Signal(curve[:, -1], curve) for name, curve in curves.items()}


def _compact(paths: np.ndarray) -> np.ndarray:
    """Paths (n, m, d) in as few dimensions as hold all their distances: (n, m, at most n*m)."""
    flat = paths.reshape(-1, paths.shape[2]).astype(np.float64)
    if len(flat) >= flat.shape[1]:
        return paths
    triangle: Any = np.linalg.qr((flat - flat.mean(axis=0)).T, mode="r")
    return np.asarray(triangle).T.reshape(*paths.shape[:2], -1)


def terminal_progress(signal: Signal, task: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]: the ends' distances flipped and scaled by the range of all the task's curves and ends."""
    progress = np.full(len(task), np.nan)
    for number in np.unique(task):
        rows = np.flatnonzero(task == number)
        values = np.concatenate([signal.end[rows], signal.curve[rows].ravel()])
        if np.isfinite(values).any() and np.nanmax(values) > np.nanmin(values):
            low, high = np.nanmin(values), np.nanmax(values)
            progress[rows] = (high - signal.end[rows]) / (high - low)
    return progress
