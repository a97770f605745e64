"""Progress over time: how near an episode had come to the successes of its task at earlier ends.

The paper's App. B: the distance of the embedding so far to the nearest centre, flipped and scaled, farthest 0, nearest
1. Here over all prefixes of all rewarded episodes of the task, and for successes too to the nearest centre, so that
curves of a task can be compared. With a distance of paths, the path so far takes the place of the embedding so far.

Legend: n episodes of a task, K prefixes of each; m moments a path.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.store import RolloutStore
from srpo_cli.report.rewarded import Rewarded, prefix_label
from stages.progress.distances import nearest
from stages.progress.paths import compare, dtw

NOBODY = np.zeros(0, np.int64)
Measured = tuple[np.ndarray, np.ndarray, np.ndarray]
"""episodes (n,), control steps of their prefixes (n, K), distances of these (n, K)"""
Curve = dict[str, Any]
"""kind, episode, reward, steps [K], progress [K]."""


def task_curves(store: RolloutStore, rewarded: Rewarded, task: int, shown: Mapping[str, int]) -> list[Curve]:
    """Curves of the episodes `shown` (kind -> episode) of a task; none where it has no centres or no prefixes."""
    if not len(rewarded.centres_of(task)):
        return []
    members, steps, distance = (_of_paths if rewarded.of_paths else _of_prefixes)(store, rewarded, task)
    curves = dict(zip(members.tolist(), progress(distance), strict=True)) if len(members) else {}
    places = {episode: place for place, episode in enumerate(members.tolist())}
    return [
        {
            "kind": kind,
            "episode": episode,
            "reward": float(rewarded.reward[episode]),
            "steps": steps[places[episode]].tolist(),
            "progress": curves[episode].tolist(),
        }
        for kind, episode in shown.items()
        if episode in curves
    ]


def progress(distance: np.ndarray) -> np.ndarray:
    """Distances (n, K) flipped and scaled together: the farthest 0, the nearest 1; all 0.5 where they are equal."""
    low, high = distance.min(), distance.max()
    return (high - distance) / (high - low) if high > low else np.full_like(distance, 0.5)


def _of_prefixes(store: RolloutStore, rewarded: Rewarded, task: int) -> Measured:
    label, centres = prefix_label(store, rewarded.attrs.get("embedding")), rewarded.centres_of(task)
    members = _same_inputs(store, rewarded, label, rewarded.members(task)) if label else NOBODY
    if not len(members):
        return NOBODY, NOBODY, NOBODY
    group: Any = store.group[f"encode/{label}"]
    how = rewarded.attrs["settings"]["distance"]
    distance = [nearest(group["prefix"][i].astype(np.float64), centres, how)[0] for i in members]
    return members, np.stack([group["prefix_step"][i] for i in members]), np.stack(distance)


def _of_paths(store: RolloutStore, rewarded: Rewarded, task: int) -> Measured:
    members, centres = rewarded.members(task), rewarded.centres_of(task)
    group: Any = store.group[f"encode/{rewarded.attrs['embedding']}"]
    compared = compare(np.stack([group["moments"][i] for i in members]), centres)
    ends, every = np.arange(1, centres.shape[1]), np.ones(len(centres), bool)
    distance = [dtw(compared.prefixes(place, every, ends)) for place in range(len(members))]
    share = ends / ends[-1]
    return members, np.rint(np.outer(store.steps()[members], share)).astype(int), np.stack(distance)


def _same_inputs(store: RolloutStore, rewarded: Rewarded, label: str, members: np.ndarray) -> np.ndarray:
    """Of some episodes those whose prefixes were computed from the same states as the embedding."""
    group: Any = store.group
    read, made = (group[f"encode/{name}/inputs"][:] for name in (rewarded.attrs["embedding"], label))
    return members[(read[members] == made[members]) & (made[members] != 0)]
