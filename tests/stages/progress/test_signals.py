"""Signals of progress against loops written out: own ends, held-out references, paths, and where they end."""

import numpy as np
import pytest

from stages.progress.paths import PATH_DISTANCES, compare
from stages.progress.settings import RewardSettings
from stages.progress.signals import _compact, embedding_signal, path_signals, terminal_progress

N, K, D, M = 12, 4, 6, 5


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    """Two tasks of six episodes; task 1 has a single success."""
    random = np.random.default_rng(0)
    task = np.repeat([0, 1], 6)
    success = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    prefix = random.normal(size=(N, K, D)).cumsum(axis=1)
    return {"embedding": prefix[:, -1], "prefix": prefix, "success": success, "task": task}


EACH = RewardSettings(centre="each")


def test_held_out_is_the_nearest_other_success(batch: dict[str, np.ndarray]) -> None:
    signal = embedding_signal(**batch, settings=EACH, held_out=True)
    for i in range(N):
        others = [j for j in range(N) if j != i and batch["success"][j] and batch["task"][j] == batch["task"][i]]
        if not others:
            assert np.isnan(signal.end[i]) and np.isnan(signal.curve[i]).all()
            continue
        expected = [
            min(np.linalg.norm(batch["prefix"][i, k] - batch["embedding"][j]) for j in others) for k in range(K)
        ]
        np.testing.assert_allclose(signal.curve[i], expected, rtol=1e-9)
        assert signal.end[i] == pytest.approx(expected[-1])
    assert np.isnan(signal.end[6])


def test_own_end_is_zero_and_failures_are_as_held_out(batch: dict[str, np.ndarray]) -> None:
    own = embedding_signal(**batch, settings=RewardSettings(), held_out=False)
    other = embedding_signal(**batch, settings=RewardSettings(), held_out=True)
    won = batch["success"]
    assert (own.end[won] == 0).all() and (own.curve[won, -1] == 0).all()
    expected = np.linalg.norm(batch["prefix"][won] - batch["embedding"][won][:, None], axis=2)
    np.testing.assert_allclose(own.curve[won], expected, atol=1e-9)
    np.testing.assert_array_equal(own.end[~won], other.end[~won])
    centre = batch["embedding"][:3].mean(0)
    np.testing.assert_allclose(own.end[3:6], np.linalg.norm(batch["embedding"][3:6] - centre, axis=1))


def test_a_held_out_success_does_not_pull_its_own_centre(batch: dict[str, np.ndarray]) -> None:
    signal = embedding_signal(**batch, settings=RewardSettings(), held_out=True)
    for i in range(3):
        centre = batch["embedding"][[j for j in range(3) if j != i]].mean(0)  # nothing clusters: one centre of all
        np.testing.assert_allclose(signal.end[i], np.linalg.norm(batch["embedding"][i] - centre), rtol=1e-9)


def test_paths_are_cut_and_measured_against_other_successes(batch: dict[str, np.ndarray]) -> None:
    moments = np.random.default_rng(1).normal(size=(N, M, 40)).cumsum(axis=1)
    measure = PATH_DISTANCES["dtw"]
    signal = path_signals(moments, batch["success"], batch["task"], 2, {"dtw": measure})["dtw"]
    length = np.linalg.norm(np.diff(moments, axis=1), axis=2).sum(1)
    for i in (0, 4, 9):
        own = batch["success"] & (batch["task"] == batch["task"][i])
        others = np.flatnonzero(own & (np.arange(N) != i))
        scale = np.median(length[others]) / np.median(length[own])  # the task's scale is that of all its successes
        cut = moments[i].copy()
        cut[3:] = cut[2]
        for path, found in ((cut, signal.curve[i, 0]), (moments[i], signal.end[i])):
            expected = measure(compare(path[None], moments[others]))[0] * scale
            np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.isnan(signal.end[6])


def test_fewer_dimensions_hold_all_distances() -> None:
    paths = np.random.default_rng(2).normal(size=(3, 4, 100)).astype(np.float32)
    small = _compact(paths)
    assert small.shape == (3, 4, 12)
    flat, reduced = paths.reshape(12, 100).astype(float), small.reshape(12, 12)
    far = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(reduced[:, None] - reduced[None], axis=2), far, atol=1e-9)
    assert _compact(paths[:, :, :5]).shape == (3, 4, 5)


def test_terminal_progress_is_scaled_by_the_task(batch: dict[str, np.ndarray]) -> None:
    signal = embedding_signal(**batch, settings=EACH, held_out=True)
    progress = terminal_progress(signal, batch["task"])
    values = np.concatenate([signal.end[:6], signal.curve[:6].ravel()])
    expected = (values.max() - signal.end[:6]) / (values.max() - values.min())
    np.testing.assert_allclose(progress[:6], expected)
    assert np.isnan(progress[6]) and ((progress[7:] >= 0) & (progress[7:] <= 1)).all()
