"""Failures that are cuts of a demonstration, so that how far each got is known."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.store import Episode, Layout, Plan, RolloutStore
from srpo_cli.__main__ import run as srpo
from srpo_cli.report.failures import STAGES, failure_facts
from stages.demo import DemoSettings, demonstrate
from stages.sim.milestones import Milestones
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_object")
INITS = np.array([7, 7, 4, 4, 4, 7, 0])


def cuts() -> list[Episode]:
    """A success, and episodes that end when a milestone (none, the first, ... the fourth) has just been reached."""
    shown = demonstrate(TASKS[2], 7, 0, DemoSettings(noise=0.1), 280)
    progress = Milestones(TASKS[2])(shown.state).steps
    ends = [3, *(int(np.argmax(progress >= milestone)) for milestone in (1, 2, 3, 4))]
    failures = [Episode(success=False, state=shown.state[: end + 1], action=shown.action[:end]) for end in ends]
    return [Episode(success=True, state=shown.state, action=shown.action), *failures]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RolloutStore:
    """Six episodes of task 2 in the order of `cuts`, and one of task 9 that was never run."""
    episodes, task = cuts(), np.array([2] * 6 + [9])
    attrs = {"suite": "libero_object", "tasks": []}
    made = RolloutStore.create(
        tmp_path_factory.mktemp("failures") / "a.zarr",
        attrs,
        Plan(task, INITS, np.arange(7), np.arange(7)),
        Layout(len(episodes[0].action), episodes[0].state.shape[1], 1),
    )
    for i, episode in enumerate(episodes):
        made.write(i, episode)
    return made


def test_failures_by_the_last_milestone(store: RolloutStore) -> None:
    ticks: list[tuple[int, int]] = []
    facts = failure_facts(store, lambda done, total, note="": ticks.append((done, total)))
    assert facts["reached"] == dict.fromkeys(STAGES, 1)
    assert (facts["n"], facts["successes"]) == (6, 1)
    (task,) = facts["tasks"]
    assert (task["index"], task["n"], task["reached"]) == (2, 6, facts["reached"])
    assert task["states"] == [
        {"init_state": 4, "n": 3, "successes": 0},
        {"init_state": 7, "n": 3, "successes": 1},
    ]
    assert ticks == [(k, 5) for k in range(1, 6)]


def test_the_table(store: RolloutStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert srpo(["inspect", store.path, "--failures"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (*STAGES[:4], "above", "16.7 %", "4: 0/3, 7: 1/3"):
        assert words in text


def test_nothing_to_tell(tmp_path: Path) -> None:
    plan = Plan(*(np.zeros(1, int) for _ in range(4)))
    empty = RolloutStore.create(tmp_path / "a.zarr", {"suite": "libero_object", "tasks": []}, plan, Layout(8, 110, 1))
    with pytest.raises(UserError, match="no finished episode"):
        failure_facts(empty, lambda *_: None)
