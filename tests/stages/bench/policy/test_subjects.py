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


def test_queries_are_padded_as_a_policy_pads_them(tiny: OpenVLASubject):
    inputs = tiny.queries(4, 1)
    assert inputs["length"].tolist() == [35, 32, 35, 32] and inputs["text"].shape == (4, 128)
    assert [text.index(2) for text in inputs["text"].tolist()] == [91, 88, 91, 88]
    assert set(inputs["text"][1, 89:].tolist()) == {32000}


def test_queries_have_the_keys_and_types_of_a_real_policys(released, tmp_path):
    policy = OpenVLAPolicy.load(released, torch.device("cpu"))
    from stages.policies.base import Observation

    seen = {name: np.zeros((2, 256, 256, 3), np.uint8) for name in policy.spec.cameras}
    real = policy.inputs(Observation(seen, np.zeros((2, 8), np.float32)), ["pick up", "pick up the milk"])
    made = OpenVLASubject(policy.module, (2,)).queries(2, 2)
    assert made.keys() == real.keys()
    assert all(made[key].dtype == real[key].dtype and made[key].dim() == real[key].dim() for key in real)
    assert made["pixels"].shape == real["pixels"].shape
