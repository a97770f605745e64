"""A rewarded store small enough to be worked out by hand.

Task 2: successes 0, 1 (a cluster) and 2 (far off), failures 3, 4, 5 at distances 5, 2 and 10 from the cluster's mean.
Task 9: failures 6 and 7, no success. Episode 8 (task 2) has not been run. Labels: encode/pixels with two prefixes of
each episode, reward/paper and reward/binary.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.store import Episode, Layout, Plan, RolloutStore
from stages.progress.settings import PRESETS
from stages.reward import reward_store

TASK = np.array([2, 2, 2, 2, 2, 2, 9, 9, 2])
STEPS = np.array([5, 3, 6, 8, 8, 8, 8, 8, 8])
SUCCESSES = (0, 1, 2)
CENTRE = np.array([0.05, 0.05, 1])
NOWHERE = (np.nan, np.nan, np.nan)
ROWS = np.array(
    [
        (0, 0, 1),
        (0.1, 0.1, 1),
        (8, 6, 1),
        (3.05, 4.05, 1),
        (-1.15, -1.55, 1),
        (6.05, 8.05, 1),
        (1, 0, 0),
        (0, 1, 0),
        NOWHERE,
    ]
)
EARLIER = np.array([7, 9, 6, 13, 4, 21, 1, 1, np.nan])
"""distance of the first prefix of each episode to the centre of task 2"""
NASTY = 'pick up <b>the "juice"</b> & place it'
ENCODER: dict[str, Any] = {
    "settings": {
        "world_model": "pixels",
        "frames": 5,
        "size": 64,
        "dim": 3,
        "camera": "agentview",
        "prefixes": 2,
        "moments": 0,
    },
    "weights": "abc",
    "dim": 3,
}


@pytest.fixture
def measured(tmp_path: Path, states: dict[int, np.ndarray]) -> RolloutStore:
    """The store of this module, with states that can be rendered."""
    store = make(tmp_path / "m.zarr", states)
    add_embedding(store, "pixels", ROWS, prefixes=True)
    for preset in ("paper", "binary"):
        reward_store(store.path, PRESETS[preset])
    return RolloutStore.open(store.path)


def make(
    path: Path, states: dict[int, np.ndarray], successes: tuple[int, ...] = SUCCESSES, seed: int = 0
) -> RolloutStore:
    """Without labels; episode 8 is not run."""
    attrs = {
        "suite": "libero_object",
        "tasks": [
            {"index": 2, "name": "salad_dressing", "instruction": "pick up the salad dressing"},
            {"index": 9, "name": "orange_juice", "instruction": NASTY},
        ],
        "look": "lite",
        "cameras": {"agentview": 64},
        "versions": {},
    }
    number = np.arange(len(TASK))
    store = RolloutStore.create(path, attrs, Plan(TASK, 10 + number, number, seed + number), Layout(8, 110, 4))
    for i in range(8):
        write(store, i, states[int(TASK[i])], i in successes)
    return store


def write(store: RolloutStore, index: int, state: np.ndarray, success: bool) -> None:
    """An episode that rests."""
    steps = int(STEPS[index])
    store.write(index, Episode(success, np.repeat(state[None], steps + 1, axis=0), np.zeros((steps, 7), np.float32)))


def add_embedding(store: RolloutStore, label: str, rows: np.ndarray, prefixes: bool = False, **attrs: Any) -> None:
    """rows (N, D) under `label`, as of the states that the store holds."""
    group = store.group.create_group(f"encode/{label}")
    group.create_array("embedding", data=rows.astype(np.float32))
    group.create_array("inputs", data=np.where(np.isfinite(rows).all(axis=1), 77, 0).astype(np.uint64))
    if prefixes:
        first = CENTRE + EARLIER[:, None] * [0.0, 0.6, 0.8]
        group.create_array("prefix", data=np.stack([first, rows], axis=1).astype(np.float32))
        group.create_array("prefix_step", data=np.stack([STEPS // 2, STEPS], axis=1))
    group.update_attributes(ENCODER | attrs)
