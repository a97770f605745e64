"""The network against a slow forward pass written from the published description."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.learning.activations import Activations, activations_of
from stages.policies.openvla_oft import OpenVLAPolicy
from stages.policies.openvla_oft.network import linear_f32
from stages.policies.openvla_oft.prompt import padded_length
from tests.stages.policies.openvla_oft import slow
from tests.stages.policies.openvla_oft.tiny import PROPRIO

CPU = torch.device("cpu")
TEXTS = ["pick up the milk", "open the top drawer of the milk", "pick up"]
MILK = [1, *range(300, 309), 311, 312, 305, 313, 309, 310, 301, 29871]
"""BOS, In : What action should the robot take to, pick up the milk, ? Out :, the lone space"""


def state_of(policy: OpenVLAPolicy) -> dict[str, torch.Tensor]:
    return {key: value.detach().double() for key, value in policy.module.state_dict().items()}


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("proprio", [False, True])
def test_logits_of_a_padded_batch(checkpoint, observe, images: int, proprio: bool):
    policy = OpenVLAPolicy.load(checkpoint(images, proprio), CPU)
    observation = observe(policy, 3)
    inputs = policy.inputs(observation, TEXTS)
    assert len(set(inputs["length"].tolist())) == 3 and inputs["pixels"].shape == (3, images, 6, 56, 56)
    with torch.no_grad():
        fast = policy.module(**inputs)
    assert fast.shape == (3, 56, 256) and fast.dtype == torch.float32
    low, high = np.array(PROPRIO["q01"]), np.array(PROPRIO["q99"])
    felt = np.clip(2 * (observation.proprio - low) / (high - low + 1e-8) - 1, -1, 1)
    for row in range(3):
        ids = inputs["text"][row, : inputs["length"][row]].tolist()
        given = torch.tensor(felt[row]) if proprio else None
        exact = slow.logits(state_of(policy), inputs["pixels"][row].double(), ids, given)
        torch.testing.assert_close(fast[row].double(), exact, rtol=0, atol=1e-5)


def test_features_are_the_mean_of_what_the_head_reads(policy, observe):
    observation = observe(policy, 2)
    inputs = policy.inputs(observation, TEXTS[:2])
    with torch.no_grad():
        found = policy.features(observation, TEXTS[:2])
    for row in range(2):
        ids = inputs["text"][row, : inputs["length"][row]].tolist()
        exact = slow.read(state_of(policy), inputs["pixels"][row].double(), ids, None).mean(0)
        torch.testing.assert_close(found[row].double(), exact, rtol=0, atol=1e-5)


def test_a_query_is_the_same_whatever_else_is_in_the_batch(policy, observe):
    """In bf16 a longer text would round otherwise."""
    observation = observe(policy, 3)
    together = policy.inputs(observation, TEXTS)
    for row in range(3):
        alone = policy.inputs(observation.rows(slice(row, row + 1)), TEXTS[row : row + 1])
        assert all(torch.equal(alone[name][0], together[name][row]) for name in together)


def test_logits_are_f32_whatever_the_weights_and_autocast_say():
    x, weight = torch.randn(5, 64).bfloat16(), torch.randn(9, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_f32(x, weight)
    torch.testing.assert_close(found.double(), x.double() @ weight.double().T, rtol=1e-6, atol=1e-5)


def test_causal_attention_is_a_setting(released: Path, observe, policy):
    causal = OpenVLAPolicy.load(released, CPU, attention="causal")
    inputs = causal.inputs(observe(causal, 2), TEXTS[:2])
    with torch.no_grad():
        fast, other = causal.module(**inputs), policy.module(**inputs)
    exact = slow.logits(
        state_of(causal), inputs["pixels"][0].double(), causal._prompts.ids(TEXTS[0]), None, causal=True
    )
    assert (fast[0] - exact).abs().max() < 1e-5
    assert (fast - other).abs().max() > 1e-2


def test_stop_token_and_padding(policy, observe):
    """Every position sees </s>; none sees the padding."""
    inputs = policy.inputs(observe(policy, 3), TEXTS)
    with torch.no_grad():
        before = policy.module(**inputs)
        words = policy.module.language_model.model.embed_tokens.weight
        words[32000] += 1
        assert torch.equal(policy.module(**inputs), before)
        words[2] += 1
        assert (policy.module(**inputs) - before).abs().max() > 1e-3


def test_prompt(policy):
    ids = policy._prompts.ids("Pick up THE milk")
    assert ids == MILK
    batch = policy._prompts.batch(["pick up the milk", "pick up"], CPU)
    longer, shorter = batch["length"].tolist()
    assert (longer, shorter) == (len(ids), len(ids) - 2)
    assert batch["text"].shape == (2, 128)
    assert batch["text"][1, shorter + 56 :].tolist() == [2, *[32000] * (71 - shorter)]
    assert [padded_length(prompt) for prompt in (7, 8, 71, 72)] == [64, 128, 128, 192]


@pytest.mark.parametrize("how", ["recompute", "offload"])
def test_what_waits_for_the_backward_pass_changes_no_gradient(released: Path, observe, how: Activations):
    gradients = []
    for activations in ("keep", how):
        policy = OpenVLAPolicy.load(released, CPU)
        with activations_of(policy.module, policy.blocks(), activations):
            policy.module(**policy.inputs(observe(policy, 2), TEXTS[:2])).square().mean().backward()
        named = dict(policy.module.named_parameters())
        assert [key for key, p in named.items() if p.requires_grad and p.grad is None] == []
        gradients.append(torch.cat([p.grad.flatten() for p in named.values() if p.grad is not None]))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-7)


def test_blocks_are_the_layers_of_llama_and_of_both_towers(policy):
    count = Counter(type(policy.module.get_submodule(name)).__name__ for name in policy.blocks())
    assert count == {"LlamaDecoderLayer": 2, "Block": 6}


def test_collection_and_learning_agree(policy, observe):
    observation = observe(policy, 3)
    tokens, recorded, actions = policy.act(observation, TEXTS, 1.6, np.random.default_rng(0).random((3, 56)))
    again, entropy = policy.logprob(observation, TEXTS, tokens, 1.6)
    assert np.abs(again.detach().numpy() - recorded).max() < 1e-5
    assert entropy.requires_grad and actions.shape == (3, 8, 7)
    assert np.array_equal(actions, policy.decode_tokens(tokens))


@pytest.mark.parametrize("temperature", [0.0, 1.6])
def test_rows_at_once_change_rounding_only(policy, observe, temperature: float):
    """On a GPU many queries go through one pass; on the CPU each goes alone."""
    observation, noise = observe(policy, 3), np.random.default_rng(0).random((3, 56))
    assert policy.rows_at_once == 1
    alone = policy.act(observation, TEXTS, temperature, noise)
    policy.rows_at_once = 2
    together = policy.act(observation, TEXTS, temperature, noise)
    assert np.array_equal(alone[0], together[0])
    assert np.abs(alone[1] - together[1]).max() < 1e-4
    assert np.array_equal(alone[2], together[2])


def test_bf16_acts_and_learns_through_the_same_pass(released: Path, observe):
    policy = OpenVLAPolicy.load(released, CPU, precision="bf16")
    policy.rows_at_once, observation = 3, observe(policy, 3)
    tokens, recorded, _ = policy.act(observation, TEXTS, 1.6, np.random.default_rng(0).random((3, 56)))
    again, _ = policy.logprob(observation, TEXTS, tokens, 1.6)
    assert again.dtype == torch.float32 and again.requires_grad
    assert np.abs(again.detach().numpy() - recorded).max() < 1e-6
