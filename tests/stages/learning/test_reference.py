"""What a reference policy says of a batch."""

from dataclasses import replace

import numpy as np
import pytest

from data.errors import UserError
from data.store import RolloutStore
from stages.learning.advantages import AdvantageSettings
from stages.learning.batch import build_batch, select
from stages.learning.reference import with_reference
from stages.learning.settings import TrainerSettings


@pytest.fixture
def batch(tiny_policy, tiny_folder, made_up_store):
    store = RolloutStore.open(made_up_store(tiny_policy, tiny_folder))
    return build_batch(store, select(store, "binary", AdvantageSettings()))


def test_the_policy_itself_says_what_was_recorded(tiny_policy, tiny_folder, batch):
    settings = TrainerSettings(microbatch=7)
    itself = with_reference(batch, tiny_folder, tiny_policy, 0.8, settings).reference
    np.testing.assert_allclose(itself, batch.logprob, atol=1e-5)


def test_another_policy_row_by_row(tiny_policy, batch, tmp_path):
    other = type(tiny_policy)(tiny_policy.config, seed=8)
    other.save(tmp_path)
    sampled = with_reference(batch, tmp_path, tiny_policy, 0.8, TrainerSettings()).reference
    every = with_reference(batch, tmp_path, tiny_policy, 0.8, TrainerSettings(kl_estimator="exact")).reference
    assert sampled.shape == batch.tokens.shape and every.shape == (*batch.tokens.shape, tiny_policy.config.bins)
    np.testing.assert_allclose(np.exp(every).sum(-1), 1, atol=1e-5)
    assert np.abs(sampled - batch.logprob).max() > 0.01
    for row in (0, len(batch) - 1):
        seen = batch.observation.rows(slice(row, row + 1))
        want, _ = other.logprob(seen, [batch.instructions[row]], batch.tokens[row : row + 1], 0.8)
        np.testing.assert_allclose(sampled[row], want[0].detach(), atol=1e-5)
        np.testing.assert_allclose(every[row][np.arange(len(want[0])), batch.tokens[row]], want[0].detach(), atol=1e-5)


def test_a_policy_that_says_other_things_is_refused(tiny_policy, batch, tmp_path):
    type(tiny_policy)(replace(tiny_policy.config, bins=7)).save(tmp_path)
    with pytest.raises(UserError, match="sees or says other things"):
        with_reference(batch, tmp_path, tiny_policy, 0.8, TrainerSettings())
