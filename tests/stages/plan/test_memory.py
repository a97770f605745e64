"""Foreseen memory against measured memory: of updates on this CPU, and of those of docs/gpu.md."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from stages.bench.policy.random_weights import outline
from stages.bench.policy.subjects import PROMPT, OpenVLASubject
from stages.learning.activations import FRUGAL
from stages.plan.live import LiveBytes
from stages.plan.memory import step_memory
from stages.policies.base import Observation, PolicySpec, blocks_of
from stages.policies.loading import load_policy, outline_policy
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.policies.openvla_oft.network import SLOTS
from tests.stages.plan import measured
from tests.stages.policies.openvla_oft import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mini/ and openvla/, two policies."""
    folder = tmp_path_factory.mktemp("policies")
    (folder / "mini").mkdir()
    MiniPolicy(MiniConfig()).save(folder / "mini")
    tiny.make(folder / "openvla")
    return folder


def test_storages_count_once_and_until_they_are_freed() -> None:
    with LiveBytes() as live:
        kept = torch.ones(100)
        view = kept.view(10, 10)[2:]
        temporary = kept + 1
        assert live.now == 800
        del temporary
        assert (live.now, live.peak) == (400, 800)
        del kept
        assert live.now == 400
        del view
    assert live.now == 0


def test_a_step_keeps_what_adamw_keeps() -> None:
    policy = MiniPolicy(MiniConfig())
    policy.module.to("meta")
    small, large = (step_memory(policy, queries, ["pick up the milk"]) for queries in (256, 1024))
    weights = 4 * sum(parameter.numel() for parameter in policy.module.parameters())
    assert small.gradients == weights and 2 * weights < small.optimizer < 2.01 * weights
    assert weights <= small.weights < 1.01 * weights
    assert large.activations == pytest.approx(4 * small.activations, rel=0.1)
    assert all(parameter.is_meta and parameter.grad is None for parameter in policy.module.parameters())


def test_nothing_without_values_is_left_in_what_a_policy_keeps(folder: Path) -> None:
    policy = outline_policy(folder / "openvla")
    assert all(parameter.is_meta for parameter in policy.module.parameters())
    step_memory(policy, 2, ["pick up the milk", "open the top drawer of the milk"])
    real = load_policy(folder / "openvla")
    batch = measured.made_up(real, 1)
    assert all(type(value) is torch.Tensor for value in real.inputs(batch.observation, batch.instructions).values())


def test_frozen_weights_have_neither_gradients_nor_state(folder: Path) -> None:
    policy = outline_policy(folder / "openvla")
    adapters = OpenVLASubject(policy.module, (1,)).trainable(4)
    step = step_memory(policy, 2, ["pick up the milk"])
    assert step.gradients == 4 * sum(value.numel() for value in adapters.values())


class Row:
    """As much of a policy as a step needs: a row of blocks, each with one wide layer."""

    spec = PolicySpec({}, 8, 1, 4)
    layers, width = 8, 64

    def __init__(self) -> None:
        with torch.device("meta"):
            row = [torch.nn.Sequential(*self.block()) for _ in range(self.layers)]
            self.module = torch.nn.Module()
            self.module.row, self.module.head = torch.nn.ModuleList(row), torch.nn.Linear(self.width, 28)
        self.module.forward = partial(self.forward, self.module)

    def block(self) -> list[torch.nn.Module]:
        return [
            torch.nn.Linear(self.width, 4 * self.width),
            torch.nn.Tanh(),
            torch.nn.Linear(4 * self.width, self.width),
        ]

    @staticmethod
    def forward(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        for block in module.row:
            x = block(x)
        return module.head(x).view(-1, 7, 4)

    def blocks(self) -> list[str]:
        return blocks_of(self.module)

    def inputs(self, observation: Observation, instructions: Sequence[str]) -> dict[str, torch.Tensor]:
        return {"x": torch.zeros(len(observation), self.width)}


def test_what_a_step_keeps() -> None:
    """Recomputing, the inputs of all blocks and what is within one; offloading, only the latter."""
    queries, policy = 10_000, Row()
    one = 4 * queries * policy.width
    keep, again, away = (step_memory(policy, queries, [""], how).activations for how in FRUGAL)
    assert keep - again == pytest.approx((policy.layers - 1) * 4 * one, rel=0.05)
    assert again - away == pytest.approx((policy.layers - 1) * one, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "micro"), [("mini", 256), ("mini", 1024), ("openvla", 32), ("openvla", 128)])
def test_the_peak_is_that_of_a_real_update(folder: Path, kind: str, micro: int) -> None:
    command = [sys.executable, measured.__file__, str(folder / kind), str(micro)]
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["model"] == pytest.approx(found["real"], rel=0.15)


class RealSize:
    """As much of a policy as a step needs: OpenVLA-OFT's network in its real size, prompts as in the measurement."""

    spec = PolicySpec({"agentview": 224}, 8, 8, 256)

    def __init__(self) -> None:
        self.module = outline("openvla-oft")

    def blocks(self) -> list[str]:
        return blocks_of(self.module)

    def inputs(self, observation: Observation, instructions: Sequence[str]) -> dict[str, torch.Tensor]:
        n, text = len(observation), PROMPT + SLOTS + 1
        with torch.device("meta"):
            return {
                "pixels": torch.empty(n, 1, 6, 224, 224),
                "text": torch.zeros(n, text, dtype=torch.int64),
                "length": torch.full((n,), PROMPT),
            }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queries", "again", "peak_gb"),
    [(4, True, 17.5), (8, True, 18.4), (16, True, 20.1), (32, True, 23.6), (8, False, 41.4)],
)
def test_the_peaks_measured_on_an_h200(queries: int, again: bool, peak_gb: float) -> None:
    policy = RealSize()
    OpenVLASubject(policy.module, (1,)).trainable(32)
    step = step_memory(policy, queries, [""], "recompute" if again else "keep")
    assert step.peak / 1e9 == pytest.approx(peak_gb, rel=0.03)
