"""What is read of a reward label, and which embedding's prefixes go with it."""

import numpy as np
import pytest

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.report.rewarded import prefix_label, read_reward
from tests.srpo_cli.report.measured import CENTRE, ENCODER, ROWS, add_embedding


def writable(store: RolloutStore) -> RolloutStore:
    return RolloutStore.open(store.path, writable=True)


def test_arrays_of_a_label(measured: RolloutStore) -> None:
    rewarded = read_reward(measured, "paper")
    assert rewarded.success.tolist() == [True] * 3 + [False] * 6
    assert rewarded.done.tolist() == [True] * 8 + [False]
    assert np.flatnonzero(np.isnan(rewarded.reward)).tolist() == [8]
    assert rewarded.init_state.tolist() == list(range(10, 19))
    assert [rewarded.members(task).tolist() for task in (2, 9, 4)] == [[0, 1, 2, 3, 4, 5], [6, 7], []]
    np.testing.assert_allclose(rewarded.centres_of(2), [CENTRE], atol=1e-7)
    assert rewarded.centres_of(9).shape == (0, 3)
    assert rewarded.embedding is not None
    np.testing.assert_array_equal(rewarded.embedding, ROWS.astype(np.float32))


def test_a_label_that_read_no_embedding(measured: RolloutStore) -> None:
    rewarded = read_reward(measured, "binary")
    assert rewarded.embedding is None
    assert rewarded.centres.size == 0
    assert len(rewarded.centres_of(2)) == 0


def test_an_embedding_that_is_gone_is_none(measured: RolloutStore) -> None:
    del writable(measured).group["encode/pixels"]
    rewarded = read_reward(RolloutStore.open(measured.path), "paper")
    assert rewarded.embedding is None
    assert len(rewarded.centres) == 1


def test_labels_that_are_not_there(measured: RolloutStore, store: RolloutStore) -> None:
    with pytest.raises(UserError, match=r"unknown reward of .*'papre'; did you mean 'paper'\? known: binary, paper"):
        read_reward(measured, "papre")
    del writable(store).group["reward/paper"]
    with pytest.raises(UserError, match=r"no reward yet; run `srpo encode .*` and `srpo reward`"):
        read_reward(RolloutStore.open(store.path), "paper")


def test_prefixes_are_of_the_label_itself_or_of_one_made_alike(measured: RolloutStore) -> None:
    store = writable(measured)
    assert prefix_label(store, "pixels") == "pixels"
    assert prefix_label(store, None) is None
    assert prefix_label(store, "gone") is None
    alike = ENCODER["settings"] | {"prefixes": 0, "moments": 16}
    add_embedding(store, "plain", ROWS, settings=alike)
    add_embedding(store, "larger", ROWS, settings=alike | {"size": 128})
    add_embedding(store, "retrained", ROWS, settings=alike, weights="def")
    assert prefix_label(store, "plain") == "pixels"
    assert prefix_label(store, "larger") is None
    assert prefix_label(store, "retrained") is None
