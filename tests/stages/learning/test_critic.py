"""The critic that is fitted on the batch it judges: it foresees what can be foreseen, and never its own episode."""

import numpy as np
import torch

from data.store import RolloutStore
from stages.learning.advantages import AdvantageSettings
from stages.learning.batch import build_batch, select
from stages.learning.critic import FOLDS, crossfit_values, explained_variance, policy_features


def made_up(episodes: int = 80, queries: int = 6, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Episodes whose first half says nothing, and whose second half shows how they will end."""
    rng = np.random.default_rng(seed)
    success = rng.random(episodes) < 0.5
    features = rng.normal(size=(episodes, queries, 8)).astype(np.float32)
    features[:, queries // 2 :, 0] += 4 * success[:, None] - 2
    episode = np.repeat(np.arange(episodes), queries)
    return torch.from_numpy(features.reshape(-1, 8)), success[episode].astype(float), episode


def test_it_foresees_what_shows_and_nothing_else() -> None:
    features, outcome, episode = made_up()
    value = crossfit_values(features, outcome, episode, seed=1).reshape(-1, 6)
    outcome = outcome.reshape(-1, 6)
    assert ((value > 0) & (value < 1)).all()
    assert explained_variance(value[:, 3:], outcome[:, 3:]) > 0.7
    assert explained_variance(value[:, :3], outcome[:, :3]) < 0.1


def test_an_episodes_outcome_does_not_change_what_is_said_of_it() -> None:
    features, outcome, episode = made_up(episodes=12)
    before = crossfit_values(features, outcome, episode, seed=2)
    for changed in range(12):
        own = episode == changed
        after = crossfit_values(features, np.where(own, 1 - outcome, outcome), episode, seed=2)
        np.testing.assert_array_equal(after[own], before[own])
        assert (after != before).any()


def test_it_repeats_itself_and_leaves_torchs_generator_alone() -> None:
    features, outcome, episode = made_up(episodes=8)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = crossfit_values(features, outcome, episode, seed=3)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(crossfit_values(features, outcome, episode, seed=3), first)


def test_fewer_episodes_than_folds() -> None:
    features, outcome, episode = made_up(episodes=FOLDS - 2)
    assert np.isfinite(crossfit_values(features, outcome, episode, seed=0)).all()


def test_features_are_the_policys_own_row_by_row(tiny_policy, tiny_folder, made_up_store) -> None:
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder))
    batch = build_batch(store, select(store, "binary", AdvantageSettings()))
    features = policy_features(tiny_policy, batch)
    assert features.shape == (len(batch), tiny_policy.config.hidden)
    logits = tiny_policy.module.head(features[:3]).view(3, -1, tiny_policy.config.bins)
    whole = tiny_policy.module(**tiny_policy.inputs(batch.observation.rows(slice(0, 3)), batch.instructions[:3]))
    torch.testing.assert_close(logits[:, 0], whole[:, 0])
