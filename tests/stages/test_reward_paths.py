"""The reward stage on paths of moments: a store's, a file's, and those of an earlier store."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.store import RolloutStore
from stages.progress.settings import PRESETS
from stages.reward import reward_file, reward_store
from tests.stages.progress import slow
from tests.stages.test_reward import N, add_embedding, make_store, written


def test_paths_of_a_store_and_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    add_embedding(make_store(path))
    store = RolloutStore.open(path, writable=True)
    with pytest.raises(UserError, match=r"'pixels' of .* has no moments.*--set moments=16"):
        reward_store(path, PRESETS["path"])
    paths = np.random.default_rng(3).normal(size=(N, 5, 3)).cumsum(axis=1).astype(np.float32)
    store.group["encode/pixels"].create_array("moments", data=paths, chunks=(1, 5, 3))
    reward_store(path, PRESETS["path"])
    success, task = store.success(), store.plan.task
    found = written(path, "path")
    assert found["centres"].shape == (success.sum(), 5, 3)
    for t in range(3):
        expected = slow.path_reward(paths[task == t].astype(float), success[task == t])
        np.testing.assert_allclose(found["reward"][:][task == t], expected, atol=1e-9)
    np.savez(tmp_path / "mine.npz", moments=paths, success=success, task=task)
    out = reward_file(tmp_path / "mine.npz", None, PRESETS["path"])["out"]
    with np.load(out) as again:
        np.testing.assert_array_equal(again["reward"], found["reward"][:])


def test_remembered_paths(tmp_path: Path) -> None:
    """A task without a success is measured against the paths of an earlier store's."""
    stores = []
    for seed, losing in ((1, ()), (2, (1,))):
        store = make_store(tmp_path / f"{seed}.zarr", seed, losing=losing)
        add_embedding(store, seed=seed)
        paths = np.random.default_rng(seed).normal(size=(N, 4, 2)).cumsum(axis=1).astype(np.float32)
        store.group["encode/pixels"].create_array("moments", data=paths, chunks=(1, 4, 2))
        stores.append((store, paths))
    (earlier, remembered), (store, paths) = stores
    reward_store(store.path, PRESETS["path"], earlier=[earlier.path])
    mine, theirs = store.plan.task == 1, (earlier.plan.task == 1) & earlier.success()
    both = np.concatenate([remembered[theirs], paths[mine]]).astype(float)
    expected = slow.path_reward(both, np.arange(len(both)) < theirs.sum())[theirs.sum() :]
    np.testing.assert_allclose(written(Path(store.path), "path")["reward"][:][mine], expected, atol=1e-9)
