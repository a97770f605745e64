"""Several stores as one batch: episodes one after the other, groups apart, and what is no batch."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.joined import Joined, join_groups, open_rollouts
from data.store import Episode, Layout, Plan, RolloutStore


def make(path: Path, tasks: tuple[int, ...], seed: int = 0, **changes: object) -> Path:
    """A store of two finished episodes a task: the first one a success, the other not."""
    task = np.repeat(tasks, 2)
    group = np.repeat(np.arange(len(tasks)), 2)
    attrs = {"suite": "libero_object", "temperature": 0.6, "policy": {"id": "p", "weights": "w"}} | changes
    attrs["tasks"] = [{"index": t, "name": f"task_{t}"} for t in tasks]
    store = RolloutStore.create(path, attrs, Plan(task, group, group, np.arange(len(task)) + seed), Layout(4, 3, 4))
    for i in range(len(task)):
        store.write(i, Episode(i % 2 == 0, np.full((3, 3), float(task[i])), np.zeros((2, 7), np.float32)))
    return path


def test_it_reads_as_one_store(tmp_path: Path) -> None:
    joined = open_rollouts([make(tmp_path / "a.zarr", (2, 9)), make(tmp_path / "b.zarr", (5,))])
    assert isinstance(joined, Joined)
    assert joined.plan.task.tolist() == [2, 2, 9, 9, 5, 5]
    assert joined.plan.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert joined.success().tolist() == [True, False] * 3
    assert joined.done().tolist() == list(range(len(joined))) == list(range(6))
    assert [joined.read(i).state[0, 0] for i in range(6)] == [2, 2, 9, 9, 5, 5]
    assert [task["index"] for task in joined.attrs["tasks"]] == [2, 5, 9]


def test_one_store_is_itself(tmp_path: Path) -> None:
    store = open_rollouts([make(tmp_path / "a.zarr", (2,))])
    assert isinstance(store, RolloutStore)
    assert store.parts == [store]


def test_groups_of_different_stores_are_different() -> None:
    assert join_groups([np.array([3, 3, 0]), np.array([0, 1]), np.array([0])]).tolist() == [3, 3, 0, 4, 5, 6]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 1.0}, "b.zarr is of temperature 1.0, .*a.zarr of 0.6"),
        ({"policy": {"id": "p", "weights": "x"}}, "b.zarr is of policy x, .*a.zarr of w"),
        ({"suite": "libero_10"}, "of suite libero_10"),
    ],
)
def test_stores_that_are_no_batch(tmp_path: Path, change: dict[str, object], message: str) -> None:
    first = make(tmp_path / "a.zarr", (2,))
    with pytest.raises(UserError, match=message):
        open_rollouts([first, make(tmp_path / "b.zarr", (2,), **change)])


def test_an_episode_counts_once(tmp_path: Path) -> None:
    first = make(tmp_path / "a.zarr", (2,))
    with pytest.raises(UserError, match="2 episodes of .*a.zarr are in a store before it too"):
        open_rollouts([first, tmp_path / "." / "a.zarr"])
    assert len(open_rollouts([first, make(tmp_path / "b.zarr", (2,), seed=2)])) == 4
    with pytest.raises(UserError, match="1 episodes of .*c.zarr .* with different --seed"):
        open_rollouts([first, make(tmp_path / "c.zarr", (2,), seed=1)])
