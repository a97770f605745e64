"""From a store to queries: masks, advantages, and what is refused."""

import numpy as np
import pytest

from data.errors import UserError
from data.joined import open_rollouts
from data.rates import store_rates
from data.store import RolloutStore
from stages.learning.advantages import AdvantageSettings, successes_only
from stages.learning.batch import build_batch, executed, rollouts_digest, select


def test_executed_tokens():
    assert executed(8, 1, 8).all()
    mask = executed(11, 2, 8)
    assert mask.shape == (2, 56)
    assert mask.sum() == 11 * 7
    assert mask[1].reshape(8, 7).any(1).tolist() == [True, True, True] + [False] * 5
    assert (mask[1].reshape(8, 7).any(1) == mask[1].reshape(8, 7).all(1)).all()


def test_rows_belong_together(tiny_policy, tiny_folder, made_up_store):
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder))
    selection = select(store, "binary", AdvantageSettings())
    batch = build_batch(store, selection)
    assert len(batch) == store.queries()[selection.kept].sum()
    assert batch.mask.sum() == store.steps()[selection.kept].sum() * 7
    row = 0
    for i in np.flatnonzero(selection.kept):
        episode = store.read(int(i))
        for k in range(len(episode.tokens)):
            assert batch.episode[row] == i
            assert np.array_equal(batch.tokens[row], episode.tokens[k])
            assert np.array_equal(batch.logprob[row], episode.logprob[k])
            assert np.array_equal(batch.observation.proprio[row], episode.proprio[k])
            for camera, images in episode.images.items():
                assert np.array_equal(batch.observation.images[camera][row], images[k])
            assert batch.advantage[row] == np.float32(selection.advantage[i])
            assert ("milk" in batch.instructions[row]) == (store.plan.task[i] == 0)
            row += 1
    assert row == len(batch)


def test_groups_without_variance_are_dropped(tiny_policy, tiny_folder, made_up_store):
    rewards = np.array([0.0] * 4 + [1.0] * 4 + [0, 0, 1, 0] + [0.1, 0.2, 0.3, 0.1])
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder, rewards=rewards))
    selection = select(store, "binary", AdvantageSettings())
    assert (selection.groups, selection.groups_kept) == (4, 2)
    assert selection.kept.tolist() == [False] * 8 + [True] * 8


def test_groups_that_tell_are_those_where_an_episode_counts_more(tiny_policy, tiny_folder, made_up_store):
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder))
    mixed = [0 < store.success()[store.plan.group == group].sum() < 4 for group in range(4)]
    assert select(store, "binary", AdvantageSettings()).groups_kept == sum(mixed)
    assert select(store, "binary", AdvantageSettings(), successes_only).groups_kept == sum(mixed)


def test_a_joined_batch_is_the_stores_one_after_the_other(tiny_policy, tiny_folder, made_up_store):
    rng = np.random.default_rng(5)
    paths = [
        made_up_store(tiny_policy, tiny_folder, f"{i}.zarr", rewards=rng.random(16), seed=100 * i) for i in range(2)
    ]
    stores = [RolloutStore.open(path) for path in paths]
    joined = open_rollouts(paths)
    selection = select(joined, "binary", AdvantageSettings())
    alone = [select(store, "binary", AdvantageSettings()) for store in stores]
    np.testing.assert_array_equal(selection.advantage, np.concatenate([part.advantage for part in alone]))
    assert (selection.groups, selection.groups_kept) == (8, 8)
    batch, parts = build_batch(joined, selection), [build_batch(*part) for part in zip(stores, alone, strict=True)]
    np.testing.assert_array_equal(batch.tokens, np.concatenate([part.tokens for part in parts]))
    np.testing.assert_array_equal(batch.advantage, np.concatenate([part.advantage for part in parts]))
    np.testing.assert_array_equal(batch.episode, np.concatenate([parts[0].episode, parts[1].episode + 16]))
    assert batch.instructions == parts[0].instructions + parts[1].instructions
    wide = select(joined, "binary", AdvantageSettings(scale="batch"))
    assert np.mean(wide.advantage**2) == pytest.approx(1, abs=1e-4), "one deviation for both stores"
    RolloutStore.open(paths[1], writable=True).mark_error(2)
    with pytest.raises(UserError, match=r"1 of 16 episodes of .*1\.zarr"):
        select(open_rollouts(paths), "binary", AdvantageSettings())


def test_refusals(tiny_policy, tiny_folder, made_up_store):
    path = made_up_store(tiny_policy, tiny_folder)
    store = RolloutStore.open(path, writable=True)
    with pytest.raises(UserError, match="did you mean 'binary'"):
        select(store, "binray", AdvantageSettings())
    store.group["reward/binary/reward"][3] = np.nan
    with pytest.raises(UserError, match="misses 1 episodes"):
        select(store, "binary", AdvantageSettings())
    store.mark_error(2)
    with pytest.raises(UserError, match="1 of 16 episodes"):
        select(store, "binary", AdvantageSettings())


def test_skipped_episodes_are_in_no_group(tiny_policy, tiny_folder, made_up_store):
    rewards = np.array([0, 1, 0, 1, 0.2, 0.2, 0.8, 0.2, 0, 1, 1, 1, 0, 0, 0, 1.0])
    path = made_up_store(tiny_policy, tiny_folder, rewards=rewards)
    store = RolloutStore.open(path, writable=True)
    whole = select(store, "binary", AdvantageSettings())
    for index in (1, 6):
        store.mark_error(index, skip=True)
        store.group["reward/binary/reward"][index] = np.nan
    selection = select(store, "binary", AdvantageSettings())
    left = np.array([0, 1, 0]) - 1 / 3
    np.testing.assert_allclose(selection.advantage[[0, 3, 2]], left / np.sqrt(left.var() + 1e-6))
    assert not selection.kept[[1, 4, 5, 6, 7]].any(), "what is left of the second group is all alike"
    assert not selection.advantage[[1, 6]].any()
    np.testing.assert_array_equal(selection.advantage[8:], whole.advantage[8:])
    assert set(build_batch(store, selection).episode) == {0, 2, 3, *range(8, 16)}
    assert (store_rates(store)["n"], store_rates(store)["skipped"]) == (14, 2)


def test_digest_sees_what_is_learned_from(tiny_policy, tiny_folder, made_up_store):
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder), writable=True)
    selection = select(store, "binary", AdvantageSettings())
    kept = int(np.flatnonzero(selection.kept)[0])
    seen = [rollouts_digest(store, selection)]
    assert rollouts_digest(store, selection) == seen[0]
    for name in ("query/tokens", "query/logprob", "query/proprio", "step/state"):
        row = store.group[name][kept]
        row.reshape(-1)[0] += 1
        store.group[name][kept] = row
        seen.append(rollouts_digest(store, selection))
    other = select(store, "binary", AdvantageSettings(negative_scale=0.5))
    seen.append(rollouts_digest(store, other))
    assert len(set(seen)) == len(seen)
