"""What a reward label of a store holds, as arrays.

Legend: N episodes, K centres, D length of an embedding, P prefixes of an episode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import UserError, unknown
from data.store import RolloutStore

BESIDE = ("prefixes", "moments")
"""settings of `encode` that say what is computed beside the embedding, and change nothing in it"""


@dataclass(frozen=True)
class Rewarded:
    """The episodes of a store under one reward label; NaN, -1 and false stand where an episode has no reward."""

    path: str
    label: str
    attrs: Mapping[str, Any]
    """settings, the embedding's label, a summary of each task"""
    instructions: Mapping[int, str]
    task: np.ndarray
    init_state: np.ndarray
    done: np.ndarray
    success: np.ndarray
    """(N,) bool, of the episodes that have a reward"""
    reward: np.ndarray
    distance: np.ndarray
    reference: np.ndarray
    is_reference: np.ndarray
    centres: np.ndarray
    """(K, D) float64; of a distance of paths (K, m, d)"""
    centre_task: np.ndarray
    embedding: np.ndarray | None
    """(N, D) float32; None where the reward read none"""

    def members(self, task: int) -> np.ndarray:
        """The episodes of a task that have a reward."""
        return np.flatnonzero((self.task == task) & np.isfinite(self.reward))

    @property
    def of_paths(self) -> bool:
        """Whether distances are between paths, so that centres are the references' own."""
        return self.centres.ndim == 3

    def centres_of(self, task: int) -> np.ndarray:
        """(k, D) the centres of a task; of paths (k, m, d)."""
        found: np.ndarray = self.centres[self.centre_task == task]
        return found


def read_reward(store: RolloutStore, label: str) -> Rewarded:
    """All that was written under a reward label, and the embedding that it was made from.

    Raises:
        UserError: the store has no reward, or not this one.
    """
    labels = store.labels("reward")
    if not labels:
        raise UserError(f"{store.path} has no reward yet; run `srpo encode {store.path}` and `srpo reward` on it")
    if label not in labels:
        raise unknown(f"reward of {store.path}", label, labels)
    group: Any = store.group[f"reward/{label}"]
    attrs, reward = dict(group.attrs), np.asarray(group["reward"][:], np.float64)
    done = np.isin(np.arange(len(store)), store.done())
    return Rewarded(
        path=store.path,
        label=label,
        attrs=attrs,
        instructions={task["index"]: task["instruction"] for task in store.attrs["tasks"]},
        task=store.plan.task,
        init_state=store.plan.init_state,
        done=done,
        success=store.success() & np.isfinite(reward),
        reward=reward,
        distance=group["distance"][:],
        reference=group["reference"][:],
        is_reference=group["is_reference"][:],
        centres=np.asarray(group["centres"][:] if "centres" in group else np.zeros((0, 0)), np.float64),
        centre_task=group["centre_task"][:] if "centre_task" in group else np.zeros(0, np.int64),
        embedding=_embedding(store, attrs.get("embedding")),
    )


def prefix_label(store: RolloutStore, embedding: str | None) -> str | None:
    """The embedding label that holds prefixes comparable with `embedding`: itself, or one made as it was."""
    wanted = _made_with(store, embedding) if embedding else None
    labels = [embedding, *store.labels("encode")] if wanted else []
    for label in labels:
        if f"encode/{label}/prefix" in store.group and _made_with(store, str(label)) == wanted:
            return label
    return None


def _made_with(store: RolloutStore, label: str) -> tuple[dict[str, Any], str] | None:
    attrs = store.label_attrs("encode", label)
    if attrs is None:
        return None
    return {key: value for key, value in attrs["settings"].items() if key not in BESIDE}, attrs["weights"]


def _embedding(store: RolloutStore, label: str | None) -> np.ndarray | None:
    if label is None or store.label_attrs("encode", label) is None:
        return None
    group: Any = store.group
    found: np.ndarray = group[f"encode/{label}/embedding"][:]
    return found
