"""Progress over time: how near an episode had come to the successes of its task at earlier ends.

The paper's App. B: the distance of the embedding so far to the nearest centre, flipped and scaled, farthest 0, nearest
1. Here over all prefixes of all rewarded episodes of the task, and for successes too to the nearest centre, so that
curves of a task can be compared.

Legend: n episodes of a task, K prefixes of each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.store import RolloutStore
from srpo_cli.report.rewarded import Rewarded, prefix_label
from stages.progress.distances import nearest

Curve = dict[str, Any]
"""kind, episode, reward, steps [K], progress [K]."""


def task_curves(store: RolloutStore, rewarded: Rewarded, task: int, shown: Mapping[str, int]) -> list[Curve]:
    """Curves of the episodes `shown` (kind -> episode) of a task; none where it has no centres or no prefixes."""
    label, centres = prefix_label(store, rewarded.attrs.get("embedding")), rewarded.centres_of(task)
    if label is None or not len(centres):
        return []
    group: Any = store.group[f"encode/{label}"]
    members = _same_inputs(store, rewarded, label, rewarded.members(task))
    if not len(members):
        return []
    how = rewarded.attrs["settings"]["distance"]
    distance = np.stack([nearest(group["prefix"][i].astype(np.float64), centres, how)[0] for i in members])
    curves = dict(zip(members.tolist(), progress(distance), strict=True))
    return [
        {
            "kind": kind,
            "episode": episode,
            "reward": float(rewarded.reward[episode]),
            "steps": group["prefix_step"][episode].tolist(),
            "progress": curves[episode].tolist(),
        }
        for kind, episode in shown.items()
        if episode in curves
    ]


def progress(distance: np.ndarray) -> np.ndarray:
    """Distances (n, K) flipped and scaled together: the farthest 0, the nearest 1; all 0.5 where they are equal."""
    low, high = distance.min(), distance.max()
    return (high - distance) / (high - low) if high > low else np.full_like(distance, 0.5)


def _same_inputs(store: RolloutStore, rewarded: Rewarded, label: str, members: np.ndarray) -> np.ndarray:
    """Of some episodes those whose prefixes were computed from the same states as the embedding."""
    group: Any = store.group
    read, made = (group[f"encode/{name}/inputs"][:] for name in (rewarded.attrs["embedding"], label))
    return members[(read[members] == made[members]) & (made[members] != 0)]
