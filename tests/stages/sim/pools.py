"""What the tests of the pool share: a plan of six short episodes, made-up actions, and comparing stores."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data.children import child_command
from data.query import Answer, Query
from data.store import Layout, Plan, RolloutStore
from stages.sim.tasks import suite_tasks
from stages.sim.workers import handle
from stages.sim.workers.messages import Job, Start

TASKS = {index: suite_tasks("libero_object")[index] for index in (2, 9)}
CAMERAS = {"agentview": 32, "robot0_eye_in_hand": 16}
CHUNK, HORIZON = 8, 20
PLAN = Plan(np.array([2, 2, 9, 9, 2, 2]), np.array([0, 0, 1, 1, 4, 4]), np.arange(6) // 2, np.arange(6))
STARTS = [Start(i, int(task), int(init)) for i, (task, init) in enumerate(zip(PLAN.task, PLAN.init_state, strict=True))]


def decide(queries: Sequence[Query]) -> list[Answer]:
    """Random actions that depend on the episode and the query alone."""
    return [answer(query.episode, query.number) for query in queries]


def answer(episode: int, number: int) -> Answer:
    generator = np.random.default_rng([episode, number])
    record = {"tokens": generator.integers(0, 41, CHUNK * 7), "logprob": -generator.random(CHUNK * 7)}
    return Answer(generator.uniform(-1, 1, (CHUNK, 7)).astype(np.float32), record)


def before_workers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have every worker process that is started from now on run `code` first."""

    def command(module: str, *arguments: object) -> list[str]:
        *python, program = child_command(module, *arguments)
        start = f"from {module} import main"
        assert start in program
        return [*python, program.replace(start, f"{code}\n{start}")]

    monkeypatch.setattr(handle, "child_command", command)


def new_job(path: Path, horizon: int = HORIZON, look: str = "lite") -> Job:
    layout = Layout(horizon, 110, CHUNK, proprio=8, images=CAMERAS, tokens=True)
    RolloutStore.create(path, {"tasks": []}, PLAN, layout)
    return Job(str(path), TASKS, horizon, CAMERAS, look)


def arrays(path: Path) -> dict[str, np.ndarray]:
    members = RolloutStore.open(path).group.members(max_depth=None)
    return {name: item[:] for name, item in members if hasattr(item, "shape")}


def assert_same(path: Path, other: Path) -> None:
    left, right = arrays(path), arrays(other)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def gone(pid: int, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
