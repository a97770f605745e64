"""The scripted expert against the tasks themselves."""

from types import SimpleNamespace

import numpy as np
import pytest

from data.errors import UserError
from stages.sim import expert as expert_module
from stages.sim.expert import MAX_TURN, Phase, ScriptedExpert, check_task
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_object")
HORIZON = TASKS[0].horizon


def run(simulator, init, disturb=lambda expert, action: action, horizon=HORIZON):
    """Success, actions and phases of an episode in which the expert acts."""
    simulator.reset(init)
    expert = ScriptedExpert(simulator)
    actions, phases, success = [], [], False
    while not success and len(actions) < horizon:
        action = expert.action()
        actions.append(action)
        phases.append(expert.phase)
        success = simulator.step(disturb(expert, action))
    return success, np.stack(actions), phases


@pytest.mark.parametrize(("task", "init"), [(2, 0), (9, 27), (1, 13)])
def test_solves_in_smooth_actions(task, init):
    success, actions, phases = run(Simulator(TASKS[task]), init)
    assert success
    assert len(actions) < 130
    assert actions.dtype == np.float32
    assert actions.shape[1:] == (7,)
    assert np.abs(actions).max() <= 1
    assert np.abs(actions[:, 3:6]).max() <= MAX_TURN
    assert set(np.unique(actions[:, 6])) == {-1.0, 1.0}
    order = list(Phase)
    assert phases == sorted(phases, key=order.index), "an undisturbed episode never goes back"


def test_the_same_state_gives_the_same_actions():
    simulator = Simulator(TASKS[2])
    first, second = run(simulator, 5)[1], run(simulator, 5)[1]
    np.testing.assert_array_equal(first, second)


def test_grasps_beside_a_neighbour_that_the_palm_would_rest_on():
    simulator = Simulator(TASKS[1])
    physics, data = simulator.model.physics, simulator.data
    palm = physics.geom("gripper0_hand_collision").id
    own = {i for i in range(physics.ngeom) if physics.geom(i).name.startswith(("gripper0", "robot0", "cream_cheese"))}
    touched = set()

    def watch(_, action):
        touched.update(int(g) for pair in data.contact.geom if palm in pair for g in pair)
        return action

    assert run(simulator, 3, watch)[0]
    assert not touched - own


def test_picks_a_lost_object_up_again():
    simulator = Simulator(TASKS[9])
    dropped = []

    def drop_once(expert, action):
        if expert.phase is Phase.LIFT and len(dropped) < 8:
            dropped.append(1)
            action = action.copy()
            action[6] = -1.0
        return action

    success, _, phases = run(simulator, 27, drop_once)
    assert len(dropped) == 8
    first_lift = phases.index(Phase.LIFT)
    assert Phase.APPROACH in phases[first_lift:]
    assert success


@pytest.mark.parametrize(
    "goal",
    [
        [{"kind": "on_site", "body": "a", "site": "b"}],
        [{"kind": "in_site", "body": "a", "site": "b"}, {"kind": "in_site", "body": "c", "site": "b"}],
    ],
)
def test_refuses_other_goals(monkeypatch, goal):
    monkeypatch.setattr(expert_module, "task_model", lambda task: SimpleNamespace(numbers={"goal": goal}))
    with pytest.raises(UserError, match=r"only puts one object into a container.*libero_object"):
        check_task(TASKS[0])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_solves_every_task_from_the_training_states():
    solved = {task.index: [run(Simulator(task), init)[0] for init in range(40)] for task in TASKS}
    rates = {index: np.mean(successes) for index, successes in solved.items()}
    assert min(rates.values()) >= 0.95, rates
