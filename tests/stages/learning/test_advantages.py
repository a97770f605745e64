"""Group advantages against loops over single numbers; the worked examples are in the progress tests."""

import math

import numpy as np
import pytest

from data.errors import UserError
from stages.learning.advantages import AdvantageSettings, group_advantages, scaled, step_advantages


def slow(reward: np.ndarray, group: np.ndarray, estimator: str, eps: float) -> list[float]:
    result = []
    for r, g in zip(reward, group, strict=True):
        peers = [float(x) for x, h in zip(reward, group, strict=True) if h == g]
        mean = sum(peers) / len(peers)
        squares = sum((x - mean) ** 2 for x in peers)
        if max(peers) == min(peers):
            result.append(0.0)
        elif estimator == "population":
            result.append((r - mean) / math.sqrt(squares / len(peers) + eps))
        else:
            result.append((r - mean) / (math.sqrt(squares / (len(peers) - 1)) + eps))
    return result


@pytest.mark.parametrize("estimator", ["population", "sample"])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.1])
def test_against_loops(estimator: str, eps: float) -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(12, size=80)
    reward = np.where(rng.random(80) < 0.3, 1.0, 0.8 * rng.random(80))
    reward[group == 3] = 0.25
    advantage, kept = group_advantages(reward, group, AdvantageSettings(estimator, eps))
    np.testing.assert_allclose(advantage, slow(reward, group, estimator, eps), atol=1e-12)
    np.testing.assert_array_equal(kept, group != 3)


def test_groups_without_variance_are_dropped() -> None:
    reward = np.array([1.0, 1, 0, 0, 0.4, 0.4 + 1e-12, 1, 0, 0.7])
    group = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    advantage, kept = group_advantages(reward, group)
    np.testing.assert_array_equal(kept, group == 3)
    assert (advantage[group != 3] == 0).all()


def test_a_shift_or_scale_of_rewards_changes_next_to_nothing() -> None:
    rng = np.random.default_rng(1)
    reward, group = rng.random(32), np.arange(32) // 8
    for settings in (AdvantageSettings(), AdvantageSettings("sample")):
        once, _ = group_advantages(reward, group, settings)
        again, _ = group_advantages(5 * reward + 3, group, settings)
        np.testing.assert_allclose(once, again, atol=1e-4)
        assert once.reshape(4, 8).sum(axis=1) == pytest.approx(np.zeros(4), abs=1e-12)


def test_one_deviation_for_the_batch_keeps_small_differences_small() -> None:
    """Less their group's mean: +-0.5 and +-0.1; the root of the mean of 0.25, 0.25, 0.01, 0.01 is the root of 0.13."""
    reward, group = np.array([1.0, 0, 0.1, 0.3, 0.2, 0.2]), np.array([0, 0, 1, 1, 2, 2])
    found, kept = group_advantages(reward, group, AdvantageSettings(eps=0.0, scale="batch", negative_scale=0.5))
    root = np.sqrt(0.13)
    np.testing.assert_allclose(found, [0.5 / root, -0.25 / root, -0.05 / root, 0.1 / root, 0, 0])
    assert kept.tolist() == [True, True, True, True, False, False]
    assert not group_advantages(reward[4:], group[4:], AdvantageSettings(scale="batch"))[1].any()


def test_negative_advantages_can_count_less() -> None:
    reward, group = np.array([1.0, 0, 0, 0.5]), np.zeros(4, int)
    full, _ = group_advantages(reward, group)
    half, kept = group_advantages(reward, group, AdvantageSettings(negative_scale=0.5))
    np.testing.assert_allclose(half, np.where(full < 0, full / 2, full))
    assert kept.all()


@pytest.mark.parametrize(
    ("reward", "group"), [([1.0, 0], [0]), ([[1.0, 0]], [[0, 0]]), ([1.0, np.nan], [0, 0]), ([np.inf, 0], [0, 0])]
)
def test_wrong_arrays(reward: list[float], group: list[int]) -> None:
    with pytest.raises(ValueError, match="reward"):
        group_advantages(np.array(reward), np.array(group))


def test_impossible_settings() -> None:
    with pytest.raises(UserError, match="eps"):
        AdvantageSettings(eps=-1.0)
    with pytest.raises(UserError, match="negative_scale"):
        AdvantageSettings(negative_scale=-0.5)


def slow_step_advantages(value, outcome, episode, lam):
    """The definition, written out: A_t = sum over k of lam^k delta_(t+k)."""
    found = []
    for t in range(len(value)):
        last = max(i for i in range(len(value)) if episode[i] == episode[t])
        total = 0.0
        for k in range(last - t + 1):
            after = outcome[t] if t + k == last else value[t + k + 1]
            total += lam**k * (after - value[t + k])
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_step_advantages_against_the_definition(lam):
    rng = np.random.default_rng(3)
    episode = np.repeat([4, 0, 9, 2], [5, 1, 3, 7])
    value, outcome = rng.random(16), rng.random(10)[episode]
    found = step_advantages(value, outcome, episode, lam)
    np.testing.assert_allclose(found, slow_step_advantages(value, outcome, episode, lam), atol=1e-12)
    if lam == 1.0:
        np.testing.assert_allclose(found, outcome - value, atol=1e-12)


def test_step_advantages_by_hand():
    # One success foreseen ever better: 0.5 -> 0.75 -> 1; half of the last step's surprise goes to the one before.
    found = step_advantages(np.array([0.5, 0.75]), np.array([1.0, 1.0]), np.array([0, 0]), 0.5)
    assert found.tolist() == [0.375, 0.25]


def test_scaled_advantages():
    found = scaled(np.array([3.0, -4.0]), AdvantageSettings(eps=0.0, negative_scale=0.5))
    np.testing.assert_allclose(found, [3 / 12.5**0.5, -2 / 12.5**0.5])
