"""Small policies and made-up rollouts of them, for the tests of learning."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data.store import Episode, Layout, Plan, RolloutStore
from stages.policies.base import Observation
from stages.policies.loading import weights_digest
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.policies.noise import query_noise

TINY = MiniConfig(
    cameras={"agentview": 32, "robot0_eye_in_hand": 16},
    chunk=3,
    bins=5,
    channels=(4, 6, 8),
    keypoints=4,
    words=16,
    language=8,
    hidden=24,
)
INSTRUCTIONS = {0: "pick up the milk", 3: "pick up the butter"}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_policy() -> MiniPolicy:
    return MiniPolicy(TINY, seed=7)


@pytest.fixture
def tiny_folder(tmp_path: Path, tiny_policy: MiniPolicy) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    tiny_policy.save(folder)
    return folder


def random_queries(policy: MiniPolicy, count: int, rng: np.random.Generator) -> Observation:
    images = {n: rng.integers(0, 256, (count, s, s, 3), dtype=np.uint8) for n, s in policy.spec.cameras.items()}
    return Observation(images, rng.normal(size=(count, policy.spec.proprio)).astype(np.float32))


def made_up_episode(policy: MiniPolicy, text: str, steps: int, success: bool, temperature: float, seed: int) -> Episode:
    """An episode of random pictures in which everything about the policy is true."""
    rng = np.random.default_rng(seed)
    queries = -(-steps // policy.spec.chunk)
    observation = random_queries(policy, queries, rng)
    noise = np.stack([query_noise(seed, k, policy.spec.tokens) for k in range(queries)])
    tokens, logprob, actions = policy.act(observation, [text] * queries, temperature, noise)
    return Episode(
        success=success,
        state=rng.normal(size=(steps + 1, 5)),
        action=actions.reshape(-1, 7)[:steps],
        images=observation.images,
        proprio=observation.proprio,
        tokens=tokens,
        logprob=logprob,
    )


@pytest.fixture
def made_up_store(tmp_path: Path, one_thread: None) -> Callable[..., Path]:
    """A function that collects nothing but writes what `srpo collect` and `srpo reward` would have."""

    def make(
        policy: MiniPolicy,
        folder: Path,
        name: str = "rollouts.zarr",
        groups: int = 4,
        samples: int = 4,
        temperature: float = 0.8,
        rewards: np.ndarray | None = None,
        seed: int = 100,
    ) -> Path:
        n = groups * samples
        rng = np.random.default_rng(11)
        group = np.repeat(np.arange(groups), samples)
        task = np.array(sorted(INSTRUCTIONS))[group % 2]
        plan = Plan(task, group, group, np.arange(n) + seed)
        attrs = {
            "suite": "libero_object",
            "tasks": [{"index": i, "name": f"task_{i}", "instruction": t} for i, t in INSTRUCTIONS.items()],
            "policy": {"id": folder.name, "weights": weights_digest(folder)},
            "look": "lite",
            "cameras": policy.spec.cameras,
            "seed": 0,
            "temperature": temperature,
        }
        layout = Layout(10, 5, policy.spec.chunk, policy.spec.proprio, policy.spec.cameras, tokens=True)
        store = RolloutStore.create(tmp_path / name, attrs, plan, layout)
        success = rng.random(n) < 0.4
        for i in range(n):
            steps = int(rng.integers(1, 10)) if success[i] else 10
            text = INSTRUCTIONS[int(task[i])]
            store.write(i, made_up_episode(policy, text, steps, bool(success[i]), temperature, int(plan.seed[i])))
        values = success.astype(np.float64) if rewards is None else rewards
        store.group.create_array("reward/binary/reward", data=values)
        store.group["reward/binary"].update_attributes({"inputs": "x"})
        return tmp_path / name

    return make
