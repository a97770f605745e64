"""The training of `mini`: schedules by hand, the clips it draws, what it refuses, and that it learns the same again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.world_models.mini import Jepa, MiniShape
from stages.world_models.mini_training import (
    CollapseError,
    TrainingSettings,
    _groups,
    augment,
    diversity,
    draw_clips,
    effective_rank,
    learning_rate,
    momentum,
    train,
)

TINY = MiniShape(size=16, patch=4, frames=4, width=24, layers=2, heads=2, predictor_width=12, predictor_layers=1)
SETTINGS = TrainingSettings(
    steps=8,
    batch=4,
    lr=2e-3,
    warmup=0.25,
    weight_decay=0.05,
    ema=0.9,
    masked=0.5,
    blocks=2,
    shift=1,
    brightness=0.1,
    seed=3,
)


def moving_squares(episodes: int = 12, moments: int = 8) -> np.ndarray:
    """A bright square that wanders over a grey picture, its own way in each episode: (E, M, 16, 16, 3) uint8."""
    random = np.random.default_rng(0)
    frames = np.full((episodes, moments, 16, 16, 3), 90, np.uint8)
    for episode in frames:
        row, column, down = *random.integers(0, 8, 2), random.integers(0, 2)
        colour = random.integers(128, 256, 3)
        for t, picture in enumerate(episode):
            picture[row + down * t // 2 : row + down * t // 2 + 5, column : column + 5] = colour
    return frames


def silent(done: int, total: int, note: str) -> None:
    pass


def test_the_learning_rate_at_points_worked_by_hand() -> None:
    """8 steps, 2 of them warm, then 6 along half a cosine."""
    half = 0.5
    expected = {0: half, 1: 1.0, 2: 1.0, 4: 0.75, 5: half, 6: 0.25}
    for step, share in expected.items():
        assert learning_rate(step, SETTINGS) == pytest.approx(2e-3 * share)
    assert learning_rate(0, replace(SETTINGS, warmup=0.0)) == pytest.approx(2e-3)
    assert 0 < learning_rate(7, SETTINGS) < 2e-4


def test_the_momentum_rises_to_1() -> None:
    assert [momentum(step, SETTINGS) for step in (0, 2, 4, 8)] == pytest.approx([0.9, 0.925, 0.95, 1.0])


def test_clips_are_stretches_of_one_episode_in_order_of_time() -> None:
    numbers = np.arange(5 * 10, dtype=np.uint8).reshape(5, 10, 1, 1, 1) * np.ones((2, 2, 3), np.uint8)
    clips = draw_clips(numbers, 400, 4, np.random.default_rng(1))[..., 0, 0, 0].astype(int)
    assert clips.shape == (400, 4)
    assert (clips // 10 == clips[:, :1] // 10).all()
    assert (np.diff(clips) >= 1).all()
    gaps = np.diff(clips)
    assert gaps.max() - gaps.min() == 2 and (np.ptp(gaps, axis=1) <= 1).all()
    moments = clips % 10
    assert moments.min() == 0 and moments.max() == 9
    assert set(clips[:, 0] // 10) == set(range(5))


def test_a_clip_moves_as_a_whole_and_gets_brighter_as_a_whole() -> None:
    clips = np.random.default_rng(2).integers(60, 200, (6, 3, 8, 8, 3), dtype=np.uint8)
    rng = np.random.default_rng(3)
    found = augment(clips, replace(SETTINGS, shift=2, brightness=0.2), rng).numpy()
    padded = np.pad(clips, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)), mode="edge") / 255
    for i in range(6):
        moves = [padded[i][:, r : r + 8, c : c + 8] for r in range(5) for c in range(5)]
        ratios = [found[i] / moved for moved in moves]
        steady = [ratio for ratio in ratios if np.ptp(ratio) < 1e-5]
        assert len(steady) == 1
        assert 0.8 <= steady[0].mean() <= 1.2


def test_without_augmentation_the_clips_stay() -> None:
    clips = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    found = augment(clips, replace(SETTINGS, shift=0, brightness=0.0), np.random.default_rng(0))
    np.testing.assert_allclose(found.numpy(), clips / 255, atol=1e-6)


def test_matrices_decay_and_vectors_do_not() -> None:
    jepa = Jepa(TINY, 0)
    decaying, steady = _groups(list(jepa.model.parameters()), 0.1)
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in jepa.model.named_parameters()}
    of = [{names[id(p)] for p in group["params"]} for group in (decaying, steady)]  # type: ignore[attr-defined]
    assert not of[0] & of[1] and len(of[0] | of[1]) == len(names)
    assert "predictor.embeddings.mask_tokens" in of[1]
    assert all(name.endswith("weight") and "norm" not in name for name in of[0])
    assert all(name.endswith("bias") or "norm" in name or "mask_tokens" in name for name in of[1])


def test_the_effective_rank_of_known_matrices() -> None:
    assert effective_rank(torch.eye(5).double()) == pytest.approx(5.0)
    assert effective_rank(torch.ones(4, 3).double()) == pytest.approx(1.0)
    shares = np.array([3, 1]) / 4
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0])).double()) == pytest.approx(expected)
    assert effective_rank(torch.zeros(3, 3).double()) == 0.0


@pytest.mark.usefixtures("one_thread")
def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    frames = moving_squares()
    first, again, other = (train(frames, TINY, replace(SETTINGS, seed=seed), silent)[0] for seed in (3, 3, 4))
    ours, theirs, different = (jepa.state_dict() for jepa in (first, again, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], different[name]) for name in ours)


@pytest.mark.usefixtures("one_thread")
def test_it_learns_and_tells_how_far_it_is() -> None:
    told: list[tuple[int, int, str]] = []
    settings = replace(SETTINGS, steps=80, batch=8)
    jepa, figures = train(moving_squares(), TINY, settings, lambda *args: told.append(args))
    assert [done for done, _, _ in told] == list(range(1, 81))
    losses = [float(note.removeprefix("loss ")) for _, _, note in told]
    assert figures["loss_first"] == pytest.approx(np.mean(losses[:8]), abs=1e-3)
    assert figures["loss"] == pytest.approx(np.mean(losses[-8:]), abs=1e-3)
    assert figures["loss"] < 0.8 * figures["loss_first"]
    assert figures["effective_rank"] > 2
    assert not any(parameter.requires_grad for parameter in jepa.target.parameters())


def test_clips_that_all_look_alike_are_a_collapse() -> None:
    with pytest.raises(CollapseError, match="alike"):
        train(np.full((4, 4, 16, 16, 3), 90, np.uint8), TINY, replace(SETTINGS, steps=1), silent)


def test_one_direction_only_is_a_collapse() -> None:
    """Episodes that differ by one number: their features lie along one line, about."""
    jepa, frames = Jepa(TINY, 0), moving_squares()
    assert diversity(jepa, frames, 4)[1] > 2
    frames[1:] = frames[:1]
    frames[1] = 255 - frames[1]
    assert diversity(jepa, frames, 4)[1] == pytest.approx(1.0, abs=1e-3)


def test_a_loss_that_is_not_finite_ends_it() -> None:
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step \d+ of 8"):
        train(moving_squares(), TINY, replace(SETTINGS, lr=1e30), silent)
