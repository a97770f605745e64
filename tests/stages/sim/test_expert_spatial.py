"""The scripted expert sets the bowls of libero_spatial on their plates."""

import numpy as np
import pytest

from data.errors import UserError
from stages.demo import DemoSettings, demonstrate
from stages.sim.expert import MAX_TURN, Phase, ScriptedExpert, check_task
from stages.sim.milestones import Milestones
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_spatial")
HORIZON = 160


def run(simulator: Simulator, init: int) -> tuple[bool, np.ndarray, list[Phase]]:
    """Success, actions and phases of an episode."""
    simulator.reset(init)
    expert = ScriptedExpert(simulator)
    actions, phases, success = [], [], False
    while not success and len(actions) < HORIZON:
        actions.append(expert.action())
        phases.append(expert.phase)
        success = simulator.step(actions[-1])
    return success, np.stack(actions), phases


@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task.index))
def test_sets_the_bowl_on_the_plate_in_smooth_actions(task) -> None:
    success, actions, phases = run(Simulator(task), 7 * task.index % 50)
    assert success and len(actions) < 130
    assert actions.dtype == np.float32 and actions.shape[1:] == (7,)
    assert np.abs(actions).max() <= 1 and np.abs(actions[:, 3:6]).max() <= MAX_TURN
    order = list(Phase)
    assert phases == sorted(phases, key=order.index) and Phase.LOWER in phases


def test_the_same_state_gives_the_same_actions() -> None:
    simulator = Simulator(TASKS[4])
    np.testing.assert_array_equal(run(simulator, 5)[1], run(simulator, 5)[1])


@pytest.mark.parametrize("index", [0, 4, 5, 9])
def test_a_noisy_demonstration_passes_every_milestone(index: int) -> None:
    shown = demonstrate(TASKS[index], 3, 0, DemoSettings(noise=0.3), HORIZON)
    progress = Milestones(TASKS[index])(shown.state)
    assert shown.success and progress.steps[-1] == 5
    assert {1, 2, 3, 4, 5} <= set(np.floor(progress.steps))


def test_a_demonstration_with_a_mistake_fails() -> None:
    wrong = demonstrate(TASKS[7], 0, 3, DemoSettings(noise=0.1, mistakes=1.0), HORIZON)
    assert not wrong.success and wrong.steps == HORIZON
    assert Milestones(TASKS[7])(wrong.state).furthest < 5


@pytest.mark.parametrize(("suite", "index"), [("libero_goal", 0), ("libero_goal", 4), ("libero_10", 3)])
def test_other_tasks_are_refused(suite: str, index: int) -> None:
    with pytest.raises(UserError, match=r"cannot '.*'; it knows every task of libero_object and libero_spatial"):
        check_task(suite_tasks(suite)[index])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task.index))
def test_solves_every_initial_state(task) -> None:
    simulator = Simulator(task)
    failed = [init for init in range(50) if not run(simulator, init)[0]]
    assert not failed
