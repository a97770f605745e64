"""Acting, ratios and learning of a tiny network."""

import math

import pytest
import torch

from stages.bench.policy import acting, timing
from stages.bench.policy.acting import act, ratio
from stages.bench.policy.learning import learn
from stages.bench.policy.subjects import OpenVLASubject, WholeSubject, part_of
from stages.policies.mini import MiniConfig, MiniPolicy

CPU = torch.device("cpu")
MINI = MiniConfig(cameras={"agentview": 16}, channels=(4, 4, 4), keypoints=2, hidden=16)


def test_acting(tiny: OpenVLASubject):
    found = act(tiny, 2, 1, 6)
    low, high = found["ms_query"]["interval"]
    assert 0 < low <= found["ms_query"]["median"] <= high
    assert found["tokens_s"] == pytest.approx(56 / (found["ms_query"]["median"] / 1e3))
    assert found["finite"]


def test_an_equal_batch_gives_a_ratio_of_exactly_1(tiny: OpenVLASubject):
    assert set(ratio(tiny, 1, 4, 4).values()) == {0.0}


def test_ratios_see_a_batch_that_matters(tiny: OpenVLASubject, monkeypatch: pytest.MonkeyPatch):
    def shifted(inputs, rows):
        part = part_of(inputs, rows)
        return part | {"pixels": part["pixels"] + (0.0 if len(part["pixels"]) == 4 else 0.1)}

    monkeypatch.setattr(acting, "part_of", shifted)
    found = ratio(tiny, 1, 4, 2)
    assert 0 < found["mean"] < found["p99"] <= found["max"]
    assert math.log1p(found["max"]) <= found["max_logprob_gap"] * (1 + 1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_update_changes_only_adapters(tiny: OpenVLASubject, checkpointing: bool):
    pytest.importorskip("peft")
    trained = tiny.trainable(2)
    assert all("language_model" in name and "lora_" in name for name in trained)
    assert len(trained) == 2 * 2 * 7
    assert {p.dtype for p in trained.values()} == {torch.float32}
    before = {name: value.clone() for name, value in tiny.module.state_dict().items()}
    found = learn(tiny, trained, 1, 40, checkpointing)
    changed = {name for name, value in tiny.module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(trained)
    assert found["queries"] == 120 and found["queries_s"] == pytest.approx(120 / found["seconds"]["median"])
    assert found["max_ratio"][0] == 0 < found["max_ratio"][1]
    assert abs(found["loss"][0]) < 1e-6
    assert all(math.isfinite(value) for key in ("loss", "grad_norm", "max_ratio") for value in found[key])
    assert all(p.grad is None for p in tiny.module.parameters())


def test_checkpointing_gives_the_same_gradient(tiny: OpenVLASubject):
    pytest.importorskip("peft")
    trained = tiny.trainable(2)
    start = {name: value.detach().clone() for name, value in trained.items()}
    norms = []
    for checkpointing in (False, True):
        with torch.no_grad():
            for name, value in trained.items():
                value.copy_(start[name])
        norms.append(learn(tiny, trained, 1, 60, checkpointing)["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_the_mini_policy_trains_whole():
    subject = WholeSubject(MiniPolicy(MINI))
    trained = subject.trainable(32)
    found = learn(subject, trained, 1, 60, False)
    assert trained.keys() == dict(subject.module.named_parameters()).keys()
    assert found["max_ratio"][0] == 0 < found["grad_norm"][0]
    assert set(ratio(subject, 1, 3, 3).values()) == {0.0}


def test_an_error_is_a_row_of_one_line():
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate " + 300 * "x")

    row = timing.measured({"batch": 8}, fails, CPU)
    assert row["batch"] == 8 and row["error"].startswith("OutOfMemoryError: CUDA out of memory. Tried")
    assert "\n" not in row["error"] and len(row["error"]) < 250
    assert timing.measured({"batch": 8}, lambda: {"a": 1}, CPU) == {"batch": 8, "a": 1, "peak_gb": None}


def test_warm_calls_are_not_counted():
    calls: list[int] = []
    assert len(timing.timings(lambda: calls.append(1), CPU, 2, 3)) == 3
    assert len(calls) == 5
