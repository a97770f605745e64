"""Advantages from progress curves, from a store to single queries."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.joined import open_rollouts
from data.store import RolloutStore
from stages.learning.advantages import AdvantageSettings, every_episode
from stages.learning.batch import Batch, build_batch, rollouts_digest, select
from stages.learning.curve import curve_advantages


def add_curves(path: Path, values: np.ndarray) -> RolloutStore:
    """Curves (N, 3) at the beginning, half way and the end of every episode."""
    store = RolloutStore.open(path, writable=True)
    store.group.create_array("reward/binary/curve", data=values)
    ends = np.round(np.linspace(0, 1, 3) * store.steps()[:, None]).astype(np.int64)
    store.group.create_array("reward/binary/curve_step", data=ends)
    return store


def batch_of(store: RolloutStore) -> Batch:
    return build_batch(store, select(store, "binary", AdvantageSettings(), every_episode))


def test_against_loops(tiny_policy, tiny_folder, made_up_store) -> None:
    values = np.random.default_rng(0).random((16, 3))
    store = add_curves(made_up_store(tiny_policy, tiny_folder), values)
    batch = batch_of(store)
    assert len(batch) == store.queries().sum(), "of all episodes"
    chunk, expected = tiny_policy.spec.chunk, []
    for i in range(16):
        steps, middle = int(store.steps()[i]), round(int(store.steps()[i]) / 2)
        for q in range(int(store.queries()[i])):
            at = []
            for t in (q * chunk, min((q + 1) * chunk, steps)):
                a, b = ((0, 0), (middle, 1)) if t <= middle else ((middle, 1), (steps, 2))
                share = (t - a[0]) / (b[0] - a[0]) if b[0] > a[0] else 1.0
                at.append(values[i, a[1]] + share * (values[i, b[1]] - values[i, a[1]]))
            expected.append(at[1] - at[0])
    credited, told = curve_advantages(batch, np.zeros(len(batch)), tiny_policy, AdvantageSettings(), 0)
    rise = np.array(expected)
    np.testing.assert_allclose(batch.rise, rise, atol=1e-6)
    np.testing.assert_allclose(credited.advantage, (rise - rise.mean()) / rise.std(), atol=1e-5)
    assert told == {"curve_rise": pytest.approx(rise.mean(), abs=1e-6)}


def test_curves_are_part_of_what_is_learnt_from(tiny_policy, tiny_folder, made_up_store) -> None:
    digests = set()
    for number in range(2):
        store = add_curves(made_up_store(tiny_policy, tiny_folder, f"{number}.zarr"), np.full((16, 3), number / 2))
        digests.add(rollouts_digest(store, select(store, "binary", AdvantageSettings())))
    assert len(digests) == 2


def test_stores_joined_keep_their_own_curves(tiny_policy, tiny_folder, made_up_store) -> None:
    paths = [made_up_store(tiny_policy, tiny_folder, f"{n}.zarr", seed=100 * n) for n in range(2)]
    stores = [add_curves(path, np.random.default_rng(n).random((16, 3))) for n, path in enumerate(paths)]
    alone = [batch_of(store).rise for store in stores]
    joined = open_rollouts(paths)
    together = build_batch(joined, select(joined, "binary", AdvantageSettings(), every_episode))
    np.testing.assert_array_equal(together.rise, np.concatenate(alone))


def test_without_curves_or_any_rise_it_is_refused(tiny_policy, tiny_folder, made_up_store) -> None:
    path = made_up_store(tiny_policy, tiny_folder)
    nothing = np.zeros(0)
    with pytest.raises(UserError, match="progress curves, which the reward has not: `srpo encode --set prefixes=16`"):
        curve_advantages(batch_of(RolloutStore.open(path)), nothing, tiny_policy, AdvantageSettings(), 0)
    level = add_curves(path, np.full((16, 3), 0.5))
    with pytest.raises(UserError, match="no progress curve rises or falls"):
        curve_advantages(batch_of(level), nothing, tiny_policy, AdvantageSettings(), 0)
