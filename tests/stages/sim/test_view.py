"""Stored states look like the simulator looked when they were stored."""

import numpy as np
import pytest

from data.errors import UserError
from stages.sim.looks.drawing import KEPT
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks
from stages.sim.view import StateView


def test_a_stored_state_shows_what_the_episode_showed() -> None:
    simulator = Simulator(suite_tasks("libero_object")[2], "lite")
    simulator.reset(3)
    states, pictures = [], []
    rng = np.random.default_rng(0)
    for _ in range(4):
        for _ in range(5):
            simulator.step(np.append(rng.uniform(-1, 1, 6), 1.0))
        states.append(simulator.state().copy())
        pictures.append(simulator.render("agentview", 64))
    padded = np.pad(np.array(states), ((0, 0), (0, 7)))
    frames = StateView("libero_object", "lite").frames(2, padded, "agentview", 64)
    np.testing.assert_array_equal(frames, pictures)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 20


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(UserError, match="tasks 0 to 9, not 10"):
        StateView("libero_object", "lite").frames(10, np.zeros((1, 200)), "agentview", 64)


def test_keeps_the_tasks_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KEPT, "lite", 2)
    made: list[int] = []
    view = StateView("libero_object", "lite")
    monkeypatch.setattr(view._simulators, "_make", lambda task: made.append(task) or view._make(task))
    rows = {task: Simulator(suite_tasks("libero_object")[task]).state()[None] for task in (2, 4, 9)}
    for task in (2, 4, 2, 9, 2, 4):
        view.frames(task, rows[task], "agentview", 32)
    assert made == [2, 4, 9, 4]


def test_unknown_look() -> None:
    with pytest.raises(UserError, match="lite"):
        StateView("libero_object", "light")
