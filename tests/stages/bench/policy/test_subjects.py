"""What is measured is what policies are: sizes, queries, weights that behave."""

import numpy as np
import torch

from stages.bench.policy.random_weights import fill, outline
from stages.bench.policy.subjects import OpenVLASubject
from stages.policies.openvla_oft import OpenVLAPolicy


def test_the_default_is_the_released_size():
    network = outline("openvla-oft")
    assert sum(p.numel() for p in network.parameters()) == 7_541_237_184
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert all(p.is_meta for p in network.parameters())


def test_random_weights_are_the_same_again_and_leave_torchs_generator_alone(tiny: OpenVLASubject):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = outline("tiny")
    fill(again, torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(tiny.module.parameters(), again.parameters(), strict=True))


def test_random_logits_are_neither_flat_nor_certain(tiny: OpenVLASubject):
    with torch.inference_mode():
        logits = tiny.module(**tiny.queries(4, 2))
    assert logits.shape == (4, 56, 256)
    assert 0.5 < float(logits.std()) < 5
    probability = logits.softmax(-1)
    assert 1 < float(-(probability * probability.log()).sum(-1).mean()) < np.log(256)


def test_padded_queries_alone_are_as_a_policy_gives_them(tiny: OpenVLASubject):
    inputs = tiny.queries(4, 1, padded=True)
    assert inputs["mask"].sum(1).tolist() == [92, 89, 92, 89]
    alone, both = tiny.rows(inputs, 1, 2), tiny.rows(inputs, 0, 2)
    assert alone["text"].shape == (1, 89) and "mask" not in alone
    assert int(alone["text"][0, -1]) == 2 and int(inputs["text"][1, 89]) == 32000
    assert both["text"].shape == (2, 92) and not bool(both["mask"].all())
    assert "mask" not in tiny.queries(4, 1)


def test_queries_have_the_keys_and_types_of_a_real_policys(released, tmp_path):
    policy = OpenVLAPolicy.load(released, torch.device("cpu"))
    from stages.policies.base import Observation

    seen = {name: np.zeros((2, 256, 256, 3), np.uint8) for name in policy.spec.cameras}
    real = policy.inputs(Observation(seen, np.zeros((2, 8), np.float32)), ["pick up", "pick up the milk"])
    made = OpenVLASubject(policy.module, (2,)).queries(2, 2, padded=True)
    assert made.keys() == real.keys()
    assert all(made[key].dtype == real[key].dtype and made[key].dim() == real[key].dim() for key in real)
    assert made["pixels"].shape == real["pixels"].shape
