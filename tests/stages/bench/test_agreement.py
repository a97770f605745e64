"""The comparison with LIBERO: what it finds, that it would find a difference, and the bars on tasks of every suite."""

import numpy as np
import pytest

from data.errors import UserError
from stages.bench import agreement as a
from stages.bench.pair import Pair, Run
from stages.bench.scenarios import Scenario, find_scenarios
from stages.sim.physics.controller import R_REST
from stages.sim.physics.stepping import SUBSTEPS
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import N_INITS, SUITES, initial_states, suite_tasks

GOAL = suite_tasks("libero_goal")


@pytest.fixture(scope="module")
def pair():
    pair = Pair(GOAL[7])
    yield pair
    pair.close()


def test_same_states_and_controls(pair: Pair) -> None:
    """Torques to rounding from the first substep on, states over half a second, proprioception of the same state."""
    assert pair.reset(5) < 1e-9
    run = pair.run(smooth_actions(3, 10))
    assert run.positions[-1] < 1e-9
    assert run.arm[0] <= run.arm[-1] <= run.positions[-1]
    assert not (run.ours | run.libero).any()
    before = pair.libero.controller(), pair.libero.state()
    assert pair.controls(np.array([0.5, -1.2, 0.1, 0.3, -0.2, 0.1, 1.0])) < 1e-9
    np.testing.assert_array_equal(pair.libero.controller(), before[0])
    np.testing.assert_array_equal(pair.libero.state(), before[1])
    assert pair.proprio() < 1e-7


def test_a_difference_is_found(pair: Pair) -> None:
    """Another rest posture of the controller, and another threshold of the goal."""
    pair.reset(5)
    pair.ours.model.reset[R_REST] += 1e-3
    try:
        assert pair.controls(np.zeros(7)) > 1e-4
        assert pair.run(smooth_actions(3, 5)).positions[-1] > 1e-8
    finally:
        pair.ours.model.reset[R_REST] -= 1e-3
    knob = 1 + int(pair.ours.model.physics.joint("flat_stove_1_button").qposadr[0])
    row = pair.ours.state()
    row[knob] = 0.6
    pair.put(row)
    goal, pair.ours.model.goal = pair.ours.model.goal, lambda data: False
    try:
        run = pair.run(np.zeros((2, 7)))
    finally:
        pair.ours.model.goal = goal
    assert run.libero.all()
    assert not run.ours.any()


def test_scenarios_flip_the_flag() -> None:
    simulator = Simulator(GOAL[7])
    found = find_scenarios(simulator, 3, 1, ("misses", "enters"))
    assert [scenario.kind for scenario in found] == ["misses", "enters"]
    flags = [_flags(simulator, scenario) for scenario in found]
    assert not flags[0].any()
    assert not flags[1][0]
    assert flags[1].any()
    simulator.reset(8)
    settled = simulator.state()
    start = found[1].start(settled)
    knob = 1 + int(simulator.model.physics.joint("flat_stove_1_button").qposadr[0])
    assert start[knob] == found[1].row[knob] != settled[knob]
    np.testing.assert_array_equal(start[1:8], settled[1:8])


def _flags(simulator: Simulator, scenario: Scenario) -> np.ndarray:
    simulator.reset(3)
    simulator.set_state(scenario.row)
    return np.array([simulator.step(action) for action in scenario.actions])


def _row(task: int, differences: float, equal: int) -> dict:
    state = {str(n): {"arm": differences, "all": differences} for n in a.MARKS}
    counts = {"success_steps": 10, "success_disagreements": 0, "predicate_disagreements": 0, "success_flips": task}
    paired = {"n": 4, "equal": equal, "ours": 2, "libero": 2}
    exact = {"task": task, "torque": 1e-12, "first_torque": 0.0, "proprio": 0.0, "lag": {"mm": 0.5 + task}}
    return exact | counts | {"state": state, "paired": paired}


def test_summary_takes_the_worst() -> None:
    rows = [_row(0, 1e-9, 4), _row(1, 2e-5, 3)]
    summary = a.summarise(rows)
    assert summary["state"]["50"]["all"] == 2e-5
    assert summary["bars"] == {"positions_50": False, "arm_130": True, "success": True, "paired": False}
    assert summary["lag"] == {"mm": 1.5}
    assert summary["success_flips"] == 1
    assert summary["never_flipped"] == [0]
    assert summary["paired"]["share"] == 7 / 8
    assert summary["paired"]["interval"][0] < 7 / 8 < summary["paired"]["interval"][1]
    assert a.summarise([_row(0, 1e-3, 4)])["bars"]["arm_130"] is False


def test_lag_is_the_worst_of_each_part() -> None:
    lag = np.zeros((3, 8))
    lag[1, 2], lag[2, 4], lag[0, 7] = -1e-3, 2e-3, 3e-4
    assert a._lag(lag) == pytest.approx({"mm": 1.0, "rad": 2e-3, "finger_mm": 0.3})


def test_runs_are_joined() -> None:
    def part(arm: list[float], flag: bool) -> Run:
        steps = len(arm) - 1
        return Run(np.array(arm), np.array(arm), np.full(steps, flag), np.full(steps, flag), 1, np.zeros((steps, 8)))

    run = a._joined([part([0, 1, 3], False), part([2, 2, 4], True)])
    assert run.arm.tolist() == [0, 1, 3, 3, 4]
    assert run.ours.tolist() == [False, False, True, True]
    assert run.predicates == 2


def test_impossible_requests() -> None:
    with pytest.raises(UserError, match="libero_goal"):
        a.check_suite("libero_gaol")
    with pytest.raises(UserError, match="0-9"):
        a.check_suite("libero_goal", "12")
    with pytest.raises(UserError, match="-1"):
        a.check_suite("libero_goal", "0", -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "tasks"),
    [("libero_spatial", "0"), ("libero_object", "4"), ("libero_goal", "0"), ("libero_10", "3"), ("libero_90", "39")],
)
def test_bars(suite: str, tasks: str) -> None:
    """The whole check on a task of each suite, with two paired episodes."""
    told = []
    result = a.check_suite(suite, tasks, 2, progress=lambda *args: told.append(args))
    assert told == [(0, 1, result["tasks"][0]["instruction"])]
    row, summary = result["tasks"][0], result["summary"]
    assert summary["torque"] < 1e-9
    assert summary["proprio"] < 1e-6
    assert all(summary["bars"].values()), summary
    assert row["success_flips"] > 0
    assert row["predicate_disagreements"] == 0
    assert "enters" in row["scenarios"]
    assert row["paired"]["n"] == row["paired"]["equal"] == 2
    assert 0 < row["lag"]["mm"] < 3


@pytest.mark.slow
def test_what_libero_observes_is_two_substeps_old(pair: Pair) -> None:
    """The 24th substep's kinematics: of the state before it; fingers of the state after it."""
    pair.reset(2)
    engine = pair.libero
    simulator = Simulator(GOAL[7])
    states: list[np.ndarray] = []
    step = engine._env.sim.step

    def recorded(*args, **kwargs) -> None:
        step(*args, **kwargs)
        states.append(engine.state())

    engine._env.sim.step = recorded
    for action in smooth_actions(0, 6):
        states.clear()
        engine.step(action)
        assert len(states) == SUBSTEPS
        felt = []
        for state in (states[SUBSTEPS - 3], states[SUBSTEPS - 2]):
            simulator.set_state(state)
            felt.append(simulator.proprio())
        np.testing.assert_allclose(engine.observed()[:6], felt[0][:6], atol=1e-7)
        np.testing.assert_allclose(engine.observed()[6:], felt[1][6:], atol=1e-7)
    engine._env.sim.step = step


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_every_task_resets_from_every_state(suite: str) -> None:
    """The recorded states fit the model, and a step from each works."""
    for task in suite_tasks(suite):
        simulator = Simulator(task)
        assert initial_states(task).shape == (N_INITS, simulator.model.state_size)
        for init in range(N_INITS):
            simulator.reset(init)
            assert simulator.step(np.zeros(7)) in (True, False)
            assert np.isfinite(simulator.state()).all()
