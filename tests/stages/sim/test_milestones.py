"""True progress of scripted episodes that stop, drop or fumble where we say, and against LIBERO's own verdict."""

import itertools
from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from data.errors import UserError
from stages.demo import DemoSettings, demonstrate
from stages.sim.expert import Phase, ScriptedExpert
from stages.sim.milestones import ALMOST, DROP, LIFTED, OPENING, REACHED, Milestones, _progress, _Scene
from stages.sim.simulator import NO_OP, Simulator
from stages.sim.tasks import suite_tasks

OBJECT, SPATIAL = suite_tasks("libero_object"), suite_tasks("libero_spatial")
Change = Callable[[ScriptedExpert, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def milestones() -> Milestones:
    return Milestones(OBJECT[2])


def episode(change: Change, steps: int = 110, task: int = 2) -> tuple[np.ndarray, list[Phase], list[bool]]:
    """States, the expert's phases and LIBERO's verdicts of an episode in which its actions are changed."""
    simulator = Simulator(OBJECT[task])
    simulator.reset(0)
    expert = ScriptedExpert(simulator)
    states, phases, verdicts = [simulator.state()], [], []
    for _ in range(steps):
        action = change(expert, expert.action())
        phases.append(expert.phase)
        verdicts.append(simulator.step(action))
        states.append(simulator.state())
    return np.stack(states), phases, verdicts


def stop_at(phase: Phase) -> Change:
    """Stand still, with the gripper as it was, once a phase begins."""
    last = [np.array(NO_OP)]

    def change(expert: ScriptedExpert, action: np.ndarray) -> np.ndarray:
        if expert.phase is phase:
            expert._next = lambda: phase
            return np.append(np.zeros(6), last[0][6])
        last[0] = action
        return action

    return change


@pytest.mark.parametrize("task", [0, 2, 6, 7, 9])
def test_a_demonstration_passes_all_five_in_order(task: int) -> None:
    shown = demonstrate(OBJECT[task], 3, 0, DemoSettings(noise=0.2), 280)
    progress = Milestones(OBJECT[task])(shown.state)
    assert shown.success and progress.steps.shape == (len(shown.state),)
    first = [int(np.argmax(progress.steps >= n)) for n in range(1, 6)]
    assert 0 < first[0] < first[1] < first[2] < first[3] < first[4] == len(shown.state) - 1
    assert progress.steps[0] == 0 and progress.steps[-1] == progress.furthest == 5
    reached = progress.steps[first[0] : first[3]]
    assert (np.diff(np.floor(reached)) >= 0).all()


@pytest.mark.parametrize(
    ("phase", "least", "most"),
    [(Phase.DESCEND, 0.5, 1), (Phase.CLOSE, 1.5, 2), (Phase.LIFT, 2, 2.5), (Phase.CARRY, 3, 3.3), (Phase.OPEN, 4, 5)],
)
def test_an_episode_that_stops_has_got_that_far(
    milestones: Milestones, phase: Phase, least: float, most: float
) -> None:
    states, phases, _ = episode(stop_at(phase))
    assert phases[-1] is phase
    progress = milestones(states)
    assert least <= progress.steps[-1] < most
    assert least <= progress.furthest < most


def test_a_gripper_that_never_closes_never_grasps(milestones: Milestones) -> None:
    progress = milestones(episode(lambda _, action: np.append(action[:6], -1.0))[0])
    assert 1 < progress.furthest < 2


def test_a_closed_gripper_that_goes_elsewhere_has_not_reached(milestones: Milestones) -> None:
    progress = milestones(episode(lambda *_: np.array([0.3, -0.5, 0.3, 0, 0, 0, 1.0]), 60)[0])
    assert progress.furthest < 0.5


def test_a_drop_lowers_progress_but_not_the_furthest(milestones: Milestones) -> None:
    dropping = []

    def drop(expert: ScriptedExpert, action: np.ndarray) -> np.ndarray:
        dropping.extend([1] if expert.phase is Phase.CARRY else [])
        return np.append(np.zeros(6), -1.0) if dropping else action

    progress = milestones(episode(drop)[0])
    assert progress.steps[-1] < 2
    assert 3 <= progress.furthest < 4


def test_carried_away_is_less_far_than_carried_near(milestones: Milestones) -> None:
    near, _, _ = episode(stop_at(Phase.OPEN))
    away, _, _ = episode(lambda e, a: np.append([-0.3, -0.6, 0], a[3:]) if e.phase is Phase.CARRY else a, 85)
    held = milestones(near).steps
    carried = held[(held >= 3) & (held < 4)]
    assert (np.diff(carried) > -1e-3).all() and carried[-1] > 3.9
    progress = milestones(away)
    assert 3 <= progress.steps[-1] < 3.05


@pytest.mark.parametrize("task", [2, 9])
def test_placed_is_libero_s_verdict_at_every_step(task: int) -> None:
    """Past the first success as well, where the object falls, tumbles and rests."""

    def stir(expert: ScriptedExpert, action: np.ndarray) -> np.ndarray:
        return action + np.append(0.3 * np.sin(13 * np.arange(6) + expert._elapsed), 0)

    states, _, verdicts = episode(stir, 150, task)
    assert 0 < sum(verdicts) < len(verdicts)
    np.testing.assert_array_equal(Milestones(OBJECT[task])(states).steps[1:] == 5, verdicts)


def test_padding_changes_nothing_and_order_counts_for_the_start_alone(milestones: Milestones) -> None:
    states, _, _ = episode(lambda _, action: action, 60)
    steps = milestones(states).steps
    np.testing.assert_array_equal(milestones(np.pad(states, ((0, 0), (0, 9)))).steps, steps)
    order = [0, *range(60, 0, -1)]
    np.testing.assert_array_equal(milestones(states[order]).steps, steps[order])


def test_contacts_are_those_of_a_whole_forward_pass(milestones: Milestones) -> None:
    states, _, _ = episode(stop_at(Phase.CARRY), 70)
    physics, data = milestones._physics, mujoco.MjData(milestones._physics)
    for row in states[::10]:
        milestones._show(row)
        data.qpos[:] = milestones._data.qpos
        mujoco.mj_forward(physics, data)
        np.testing.assert_array_equal(milestones._data.contact.geom, data.contact.geom)


def test_distances_to_the_object_box_by_box(milestones: Milestones) -> None:
    states, _, _ = episode(stop_at(Phase.CARRY), 70)
    milestones._show(states[-1])
    physics, data = milestones._physics, milestones._data
    boxes = []
    for geom in milestones._object:
        turn, (centre, half) = data.geom_xmat[geom].reshape(3, 3), np.split(physics.geom_aabb[geom], 2)
        boxes.append((data.geom_xpos[geom] + turn @ centre, turn, half))
    corners = [c + r @ (h * s) for c, r, h in boxes for s in itertools.product((-1, 1), repeat=3)]
    assert milestones._measure().bottom == pytest.approx(min(corner[2] for corner in corners))
    for point in np.mean(corners, axis=0) + np.random.default_rng(0).normal(0, 0.1, (50, 3)):
        nearest = [c + r @ np.clip(r.T @ (point - c), -h, h) for c, r, h in boxes]
        assert milestones._distance(point) == pytest.approx(min(np.linalg.norm(point - n) for n in nearest), abs=1e-12)


def test_a_long_box_jammed_between_open_fingers_is_not_held() -> None:
    simulator, read = Simulator(OBJECT[8]), Milestones(OBJECT[8])
    simulator.reset(0)
    states, data = [simulator.state()], simulator.data
    simulator.proprio()
    hand = data.site_xpos[simulator.model.site].copy()
    joint = simulator.model.physics.body(simulator.model.numbers["goal"][0]["body"]).jntadr[0]
    box = data.qpos[simulator.model.physics.jnt_qposadr[joint] :][:7]
    box[:7] = *hand, np.sqrt(0.5), 0, 0, np.sqrt(0.5)  # its long side along the fingers' way
    for half in (0.0395, 0.0375):
        data.qpos[7:9] = half, -half
        states.append(simulator.state())
    read._show(states[1])
    found = read._measure()
    assert found.touched and found.bottom > 0.1
    flat = _Scene(**{**found.__dict__, "bottom": 0.0})
    assert 1 < _progress(flat, flat) < 2
    read._show(states[2])
    assert 2 <= _progress(_Scene(**{**read._measure().__dict__, "bottom": 0.0}), flat) < 3


START = _Scene(way=0.32, bottom=0.0, across=0.4, above=0.0, over=False, gap=0.3, touched=False, opening=0.05)


@pytest.mark.parametrize(
    ("now", "progress"),
    [
        ({}, 0),
        ({"way": 0.5}, 0),
        ({"way": 0.17}, 0.5),
        ({"way": REACHED, "gap": OPENING / 4}, 1.75),
        ({"way": 0.0, "gap": 0.2}, 1),
        ({"way": 0.0, "touched": True, "bottom": LIFTED / 3}, 2 + 1 / 3),
        ({"way": 0.0, "touched": True, "bottom": -0.01}, 2),
        ({"way": 0.0, "touched": True, "opening": 0.079, "gap": 0.0}, 1 + ALMOST),
        ({"way": 0.0, "touched": True, "opening": 0.08, "bottom": LIFTED, "across": 0.1}, 3.75),
        ({"way": 0.0, "touched": True, "bottom": 0.2, "across": 0.5}, 3),
        ({"way": 0.0, "touched": False, "bottom": 0.2, "gap": 0.02}, 1.75),
        ({"over": True, "across": 0.0, "above": DROP / 4}, 4.75),
        ({"over": True, "across": 0.0, "above": 0.0}, 4 + ALMOST),
    ],
)
def test_progress_by_hand(now: dict, progress: float) -> None:
    assert _progress(_Scene(**{**START.__dict__, **now}), START) == pytest.approx(progress)


@pytest.mark.parametrize("task", SPATIAL, ids=lambda task: str(task.index))
def test_a_bowl_above_and_on_its_plate(task) -> None:
    """The bowl as it stands, hung over the plate, let go, and put down beside it."""
    simulator, read = Simulator(task), Milestones(task)
    simulator.reset(0)
    start = simulator.state()
    physics, data, goal = simulator.model.physics, simulator.data, simulator.model.numbers["goal"][0]
    simulator.proprio()
    bowl = data.qpos[physics.jnt_qposadr[physics.body(goal["upper"]).jntadr[0]] :][:7]
    bowl[:3] = data.body(goal["lower"]).xpos + np.array([0.01, 0.01, 0.15])
    hung = simulator.state()
    bowl[:2] += 0.05
    beside = simulator.state()
    bowl[:2] -= 0.05
    mujoco.mj_forward(physics, data)
    rows = [start, start, hung, beside]
    for _ in range(40):
        for _ in range(25):
            mujoco.mj_step(physics, data)
        rows.append(simulator.state())
    steps = read(np.stack(rows)).steps
    assert steps[0] == steps[1] == 0
    assert 4 < steps[2] < 4.7
    assert steps[3] < 1
    assert steps[-1] == 5


@pytest.mark.parametrize(("suite", "index"), [("libero_goal", 0), ("libero_10", 3)])
def test_other_tasks_are_refused(suite: str, index: int) -> None:
    with pytest.raises(UserError, match=r"not known.*libero_object and libero_spatial"):
        Milestones(suite_tasks(suite)[index])


def test_bad_states_are_refused(milestones: Milestones) -> None:
    with pytest.raises(UserError, match="at least one row"):
        milestones(np.zeros((0, 100)))
    with pytest.raises(UserError, match="numbers, not 5"):
        milestones(np.zeros((2, 5)))
