"""Weights of tokens against means of means, written as loops."""

import numpy as np
import pytest

from stages.learning.averaging import token_weights


def made_up(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = rng.random((12, 5)) < 0.6
    mask[:, 0] = True
    return rng.normal(size=(12, 5)), mask, rng.permutation(np.repeat([2, 3, 7], [1, 4, 7]))


def slow(loss: np.ndarray, mask: np.ndarray, episode: np.ndarray, average: str) -> float:
    """The mean over every part's executed tokens, then over parts."""
    rows = range(len(loss))
    parts = {
        "token": [list(rows)],
        "query": [[i] for i in rows],
        "episode": [[i for i in rows if episode[i] == e] for e in sorted(set(episode))],
    }[average]
    means = []
    for part in parts:
        tokens = [loss[i, j] for i in part for j in range(loss.shape[1]) if mask[i, j]]
        means.append(sum(tokens) / len(tokens))
    return sum(means) / len(means)


@pytest.mark.parametrize("average", ["token", "query", "episode"])
@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_mean_of_a_batch_is_the_mean_of_its_parts(average, seed):
    loss, mask, episode = made_up(seed)
    weight = token_weights(mask, episode, average)[:, None] * mask
    assert (weight * loss).sum() / weight.sum() == pytest.approx(slow(loss, mask, episode, average), abs=1e-12)


def test_of_an_episode_a_minibatch_counts_the_share_that_is_there():
    mask = np.array([[True, True], [True, True], [True, False]])
    weight = token_weights(mask, np.array([0, 1, 1]), "episode")
    assert weight.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 3])
    rows = [0, 2]
    share = weight[rows] * mask[rows].sum(1)
    assert share.tolist() == pytest.approx([1, 1 / 3])
