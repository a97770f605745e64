"""Imitation: labels, losses and augmentation against loops, and that it learns."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.learning.imitation import (
    Demonstrations,
    ImitationSettings,
    chunks,
    imitate,
    minibatches,
    shifted,
    token_losses,
)
from stages.policies.base import MASKED, Observation

SETTINGS = ImitationSettings(
    steps=60, batch=8, lr=1e-2, weight_decay=0.0, shift=1, smoothing=0.0, precision="fp32", seed=0
)


def test_chunks():
    actions = np.arange(5 * 7, dtype=np.float32).reshape(5, 7)
    labels, mask = chunks(actions, 3, np.zeros(5, bool))
    for t in range(5):
        for c in range(3):
            assert np.array_equal(labels[t, c], actions[min(t + c, 4)])
            assert mask[t, c] == (t + c < 5)


def test_chunks_end_before_a_departure():
    _, mask = chunks(np.zeros((6, 7), np.float32), 3, np.array([0, 0, 0, 1, 0, 1], bool))
    assert mask.astype(int).tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]]


def test_token_losses_against_loops():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 14, 5))
    logits.reshape(3, 2, 7, 5)[:, :, 6, 1:4] = MASKED
    target = rng.integers(0, 5, (3, 14))
    target.reshape(3, 2, 7)[:, :, 6] = rng.choice([0, 4], (3, 2))
    log_p = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    for smoothing in (0.0, 0.2):
        got = token_losses(torch.from_numpy(logits), torch.from_numpy(target), smoothing)
        for b in range(3):
            for j in range(14):
                k, row = target[b, j], log_p[b, j]
                s = 0.0 if j % 7 == 6 else smoothing
                want = -((1 - s) * row[k] + s / 2 * row[max(k - 1, 0)] + s / 2 * row[min(k + 1, 4)])
                assert got[b, j].item() == pytest.approx(want, abs=1e-5)


def test_minibatches_go_through_permutations():
    rows = np.concatenate(list(minibatches(10, 4, 10, np.random.default_rng(0))))
    assert len(rows) == 40
    for start in range(0, 40, 10):
        assert sorted(rows[start : start + 10]) == list(range(10))
    assert [len(r) for r in minibatches(3, 64, 2, np.random.default_rng(0))] == [3, 3]


def test_shifted_moves_each_picture_by_itself():
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (20, 9, 9, 3), dtype=np.uint8)
    moved = shifted(Observation({"a": image}, np.zeros((20, 1), np.float32)), 2, np.random.default_rng(5)).images["a"]
    offsets = np.random.default_rng(5).integers(-2, 3, (20, 2))
    assert len(np.unique(offsets, axis=0)) > 5
    for i, (dy, dx) in enumerate(offsets):
        for y in range(9):
            for x in range(9):
                assert np.array_equal(moved[i, y, x], image[i, min(max(y + dy, 0), 8), min(max(x + dx, 0), 8)])


@pytest.fixture
def demonstrations(tiny_policy) -> Demonstrations:
    """Two things to do, told apart by the instruction only."""
    rng = np.random.default_rng(0)
    images = {n: np.full((40, s, s, 3), 90, np.uint8) for n, s in tiny_policy.spec.cameras.items()}
    one, other = (np.sign(rng.normal(size=(3, 7))).astype(np.float32) for _ in range(2))
    actions = np.stack([one if i % 2 else other for i in range(40)])
    mask = np.ones((40, 3), bool)
    mask[::4, 2] = False
    texts = ["pick up the milk" if i % 2 else "open the drawer" for i in range(40)]
    return Demonstrations(Observation(images, np.zeros((40, 8), np.float32)), texts, actions, mask)


def test_learns_what_the_instruction_asks_for(tiny_policy, demonstrations, one_thread):
    seen = []
    figures = imitate(
        tiny_policy, demonstrations, replace(SETTINGS, steps=150), lambda done, total, note: seen.append((done, total))
    )
    assert seen[-1] == (150, 150)
    assert figures["accuracy"] > 0.99
    assert figures["loss"] < 0.2
    noise = np.zeros((40, tiny_policy.spec.tokens))
    actions = tiny_policy.act(demonstrations.observation, demonstrations.instructions, 0, noise)[2]
    assert np.array_equal(actions, demonstrations.actions)


def test_same_seed_same_weights_and_masked_actions_do_not_matter(tiny_policy, demonstrations, one_thread):
    settings = replace(SETTINGS, steps=8)
    changed = replace(
        demonstrations, actions=np.where(demonstrations.mask[..., None], demonstrations.actions, -1).astype(np.float32)
    )
    assert not np.array_equal(changed.actions, demonstrations.actions)
    weights = []
    for moments, seed in ((demonstrations, 0), (changed, 0), (demonstrations, 1)):
        policy = copy.deepcopy(tiny_policy)
        imitate(policy, moments, replace(settings, seed=seed))
        weights.append(policy.module.head.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_its_own_settings_decide_its_precision(tiny_policy, demonstrations, one_thread, monkeypatch):
    """Not an Accelerate config, which is for the updates of a loop."""
    weights = []
    for config, precision in (("no", "fp32"), ("bf16", "fp32"), ("no", "bf16")):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", config)
        policy = copy.deepcopy(tiny_policy)
        imitate(policy, demonstrations, replace(SETTINGS, steps=3, precision=precision))
        weights.append(policy.module.head.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_loss_that_is_not_finite_names_the_step(tiny_policy, demonstrations):
    with pytest.raises(FloatingPointError, match=r"at step 2 of 60"):
        imitate(tiny_policy, demonstrations, replace(SETTINGS, lr=1e30))
