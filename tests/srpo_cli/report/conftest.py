"""A store of eight episodes of two real tasks, half of them rewarded by hand, and a run around it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.rates import rate
from data.store import Episode, Layout, Plan, RolloutStore
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks
from tests.srpo_cli.report.measured import NASTY, measured

TASKS = (2, 9)
TASK = np.repeat(TASKS, 4)
SUCCESS = np.array([1, 0, 1, 0, 0, 0, 0, 1], bool)
STEPS = np.array([5, 8, 3, 8, 8, 8, 8, 6])
REWARD = np.array([1, 0.2, 1, 0.6, np.nan, 0.3, 0.1, 1])
__all__ = ["measured"]


@pytest.fixture(scope="session")
def states() -> dict[int, np.ndarray]:
    """Task -> (S,) its first settled state."""
    found = {}
    for task in TASKS:
        simulator = Simulator(suite_tasks("libero_object")[task], "lite")
        simulator.reset(0)
        found[task] = simulator.state().copy()
    return found


@pytest.fixture
def store(tmp_path: Path, states: dict[int, np.ndarray]) -> RolloutStore:
    """Episode 4 is in error, all others are done; groups of two."""
    number = np.arange(8)
    attrs = {
        "suite": "libero_object",
        "tasks": [
            {"index": 2, "name": "salad_dressing", "instruction": "pick up the salad dressing"},
            {"index": 9, "name": "orange_juice", "instruction": NASTY},
        ],
        "policy": {"id": "mini", "weights": "abc"},
        "look": "lite",
        "cameras": {"agentview": 64},
        "seed": 3,
        "temperature": 0.6,
        "inits": "train",
        "versions": {"mujoco": "3.3.2"},
    }
    plan = Plan(TASK, number // 2, number // 2, number + 100)
    made = RolloutStore.create(tmp_path / "a.zarr", attrs, plan, Layout(8, 110, 4, tokens=True))
    for i in range(8):
        made.mark_error(i) if i == 4 else write(made, i, states[int(TASK[i])])
    add_reward(made, "paper", REWARD)
    return RolloutStore.open(tmp_path / "a.zarr")


def write(store: RolloutStore, index: int, state: np.ndarray) -> None:
    rng = np.random.default_rng(index)
    steps = int(STEPS[index])
    rows = np.repeat(state[None], steps + 1, axis=0)
    rows[:, 1:8] += 0.05 * rng.normal(size=(steps + 1, 7)).cumsum(axis=0)
    queries = -(-steps // 4)
    episode = Episode(
        success=bool(SUCCESS[index]),
        state=rows,
        action=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
        tokens=np.zeros((queries, 28), np.int16),
        logprob=rng.uniform(-3, 0, (queries, 28)).astype(np.float32),
    )
    store.write(index, episode)


def add_reward(store: RolloutStore, label: str, values: np.ndarray) -> None:
    group = store.group.create_group(f"reward/{label}")
    group.create_array("reward", data=values)
    group.create_array("distance", data=np.where(values == 1, np.nan, 10 * (1 - values)))
    group.create_array("reference", data=np.where(values == 1, -1, 0))
    group.create_array("is_reference", data=values == 1)
    group.update_attributes({"settings": {"alpha": 0.5}, "embedding": "pixels", "inputs": "x", "tasks": []})


def metrics() -> list[dict[str, object]]:
    """A start and three iterations; the second has no failure and no update."""
    lines: list[dict[str, object]] = [
        {"iteration": 0, "stage": "sft", "seconds": 40.0},
        {"iteration": 0, "stage": "eval", "seconds": 4.0, **rate(4, 20), "inits": "heldout", "temperature": 0.0},
    ]
    for i, won in enumerate((16, 64, 48), start=1):
        tasks = [{"index": t, "name": f"task_{t}", **rate(won // 2, 32)} for t in TASKS]
        lines.append({"iteration": i, "stage": "collect", "seconds": 9.0, **rate(won, 64), "tasks": tasks})
        rewarded = [
            {"task": 2, "failures": 30, "failure_reward": [0.1, 0.3, 0.5]},
            {"task": 9, "failures": 10, "failure_reward": [0.2, 0.7, 0.79]},
            {"task": 4, "failures": 0, "failure_reward": None},
        ]
        lines.append({"iteration": i, "stage": "reward", "seconds": 0.1, "tasks": rewarded if i != 2 else []})
        if i != 2:
            health = {"approx_kl": 0.01 * i, "clip_fraction": 0.1, "entropy": 0.5}
            lines.append(
                {"iteration": i, "stage": "update", "seconds": 5.0, "groups": 8, "groups_kept": 6, "health": health}
            )
    return lines


@pytest.fixture
def run(tmp_path: Path, store: RolloutStore) -> Path:
    """A run of three iterations whose last rollouts are `store`."""
    folder = tmp_path / "my-run"
    for number in range(4):
        (folder / "policies" / f"{number:03d}").mkdir(parents=True)
    shutil.copytree(store.path, folder / "rollouts" / "002.zarr")
    (folder / "run.toml").write_text('[collect]\nsuite = "libero_object"\ntasks = "2,9"\n')
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics()))
    return folder
