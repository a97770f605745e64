"""The look at the first frame: what it tells, what it refuses, and that it can be left out."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.query import Query
from stages.policies.acting import Actor
from stages.policies.base import Observation
from stages.policies.openvla_oft import OpenVLAPolicy
from stages.policies.openvla_oft.preflight import check_scene

TEXT = "pick up the milk"


def sure(policy: OpenVLAPolicy) -> OpenVLAPolicy:
    """Its action tokens are the likeliest by far."""
    with torch.no_grad():
        policy.module.language_model.lm_head.weight[31744:32000] *= 50
    return policy


def test_an_untrained_head_is_refused(policy: OpenVLAPolicy, observe) -> None:
    with pytest.raises(UserError, match=r"only \d+ % of the likeliest tokens.*srpo.images \(1\).*preflight=false") as e:
        policy.first_look(observe(policy, 2), [TEXT] * 2)
    assert "\n" not in str(e.value)


def test_a_trained_head_tells_its_figures(policy: OpenVLAPolicy, observe) -> None:
    figures = sure(policy).first_look(observe(policy, 2), [TEXT] * 2)
    assert figures["action_argmax"] > 0.95 and 0.9 < figures["action_mass"] <= 1


def test_next_tokens_are_the_logits_and_all_others(policy: OpenVLAPolicy, observe) -> None:
    inputs = policy.inputs(observe(policy, 2), [TEXT, "pick up"])
    with torch.no_grad():
        whole = policy.module.next_tokens(**inputs)
        torch.testing.assert_close(whole[..., 31744:32000], policy.module(**inputs), rtol=0, atol=1e-5)
    assert whole.shape == (2, 56, 32064)


@pytest.mark.parametrize("key", ["libero_goal", "libero_goal_no_noops", "libero_130", "mine"])
def test_statistics_of_the_suite_or_of_no_suite(key: str) -> None:
    check_scene(key, "libero_goal", "full")


@pytest.mark.parametrize(
    ("key", "suite", "look", "message"),
    [
        ("libero_object_no_noops", "libero_spatial", "full", "scaled for libero_object .*suite is libero_spatial"),
        ("libero_long", "libero_90", "full", "scaled for libero_10 "),
        ("libero_goal", "libero_goal", "lite", "not the look lite; take the look full"),
    ],
)
def test_wrong_scenes(key: str, suite: str, look: str, message: str) -> None:
    with pytest.raises(UserError, match=f"{message}.*preflight=false"):
        check_scene(key, suite, look)


def test_a_policy_knows_its_suite(policy: OpenVLAPolicy) -> None:
    policy.check_scene("libero_object", "full")
    with pytest.raises(UserError, match="suite is libero_goal"):
        policy.check_scene("libero_goal", "full")


def test_an_actor_looks_once(policy: OpenVLAPolicy, observe) -> None:
    looked: list[Sequence[str]] = []

    def look(observation: Observation, instructions: Sequence[str]) -> dict[str, float]:
        looked.append(instructions)
        return {"share": float(len(observation))}

    seen = observe(policy, 1)
    query = Query(0, 0, {name: image[0] for name, image in seen.images.items()}, seen.proprio[0])
    actor = Actor(policy, [TEXT], np.array([3]), 1.0, look)
    assert actor.figures == {}
    answers = [actor([query, query])[0], actor([query])[0]]
    assert looked == [[TEXT, TEXT]] and actor.figures == {"share": 2.0}
    assert np.array_equal(answers[0].record["tokens"], answers[1].record["tokens"])
