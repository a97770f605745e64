"""Every algorithm's rule and token loss against loops, and which settings it does without."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from data.errors import UserError
from stages.learning.advantages import AdvantageSettings, group_advantages
from stages.learning.algorithms import ALGORITHMS, unused_settings
from stages.learning.objectives import ObjectiveSettings
from stages.learning.settings import UpdateSettings


def slow(name: str, new: float, old: float, a: float) -> tuple[float, bool]:
    if name == "bc":
        return -new, False
    if name.startswith("awr"):
        weight = min(math.exp(a / 0.5), 3.0)
        return -weight * new, math.exp(a / 0.5) >= 3.0
    ratio = math.exp(new - old)
    stopped = (a > 0 and ratio > 1.3) or (a < 0 and ratio < 0.9)
    return -min(ratio * a, min(max(ratio, 0.9), 1.3) * a), stopped


@pytest.mark.parametrize("name", ALGORITHMS)
def test_token_losses_against_loops(name):
    rng = np.random.default_rng(6)
    old = -rng.exponential(2, (6, 9))
    new, a = old + rng.normal(0, 0.6, (6, 9)), rng.normal(size=(6, 1))
    settings = ObjectiveSettings(clip_low=0.1, clip_high=0.3, awr_temperature=0.5, awr_clip=3.0)
    logprob, before, advantage = (torch.from_numpy(x) for x in (new, old, a))
    loss, acts = ALGORITHMS[name].loss(logprob, before, advantage, settings)
    assert loss.shape == acts.shape == (6, 9)
    assert name == "bc" or (acts.any() and not acts.all())
    for i in range(6):
        for j in range(9):
            want, stopped = slow(name, new[i, j], old[i, j], a[i, 0])
            assert loss[i, j].item() == pytest.approx(want, abs=1e-12)
            assert acts[i, j].item() == stopped


def test_rules():
    reward, success = np.array([0.2, 1.0, 0.7, 0.7, 1.0, 1.0]), np.array([0, 1, 0, 0, 1, 1], bool)
    group, settings = np.array([0, 0, 1, 1, 2, 2]), AdvantageSettings(negative_scale=0.5)
    for name in ("grpo", "ppo", "awr"):
        advantage, kept = ALGORITHMS[name].rule(reward, success, group, settings)
        assert kept.tolist() == [True, True, False, False, False, False]
        np.testing.assert_array_equal(advantage, group_advantages(reward, group, settings)[0])
    advantage, kept = ALGORITHMS["awr-step"].rule(reward, success, group, settings)
    assert kept.all() and advantage.tolist() == reward.tolist()
    advantage, kept = ALGORITHMS["bc"].rule(reward, success, group, settings)
    assert kept.tolist() == success.tolist()
    assert advantage.tolist() == [0, 1, 0, 0, 1, 1]


def test_settings_that_an_algorithm_does_not_use_are_refused():
    known = {f.name for f in fields(UpdateSettings)}
    assert all(algorithm.settings <= known for algorithm in ALGORITHMS.values())
    assert unused_settings("grpo") == {"gae_lambda", "awr_temperature", "awr_clip"}
    UpdateSettings(algorithm="bc", negative_scale=1.0, average="episode")
    for algorithm, change in (
        ("grpo", {"gae_lambda": 0.5}),
        ("ppo", {"scale": "batch"}),
        ("awr", {"clip_high": 0.2}),
        ("bc", {"negative_scale": 0.3}),
    ):
        (name,) = change
        with pytest.raises(UserError, match=f"{name} changes nothing with algorithm={algorithm}; leave it at"):
            UpdateSettings(algorithm=algorithm, **change)
    with pytest.raises(UserError, match="did you mean 'grpo'"):
        UpdateSettings(algorithm="grop")
