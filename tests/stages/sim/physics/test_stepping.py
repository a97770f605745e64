"""The compiled control step against the obvious loop over MuJoCo's Python functions, and that it lets threads run."""

import threading

import mujoco
import numpy as np
import pytest

from stages.sim.physics import controller
from stages.sim.replay import smooth_actions
from stages.sim.simulator import SimulationDivergedError, Simulator
from stages.sim.tasks import suite_tasks


@pytest.fixture(scope="module")
def task():
    return suite_tasks("libero_object")[2]


def test_equal_to_a_loop_of_halves(task) -> None:
    fast, slow = Simulator(task), Simulator(task)
    fast.reset(0)
    slow.reset(0)
    physics, data, reset = slow.model.physics, slow.data, slow.model.reset
    for action in smooth_actions(3, 30):
        fast.step(action)
        for i in range(25):
            mujoco.mj_step1(physics, data)
            controller.substep(slow._controller, reset, action, i == 0, slow._arm)
            mujoco.mj_step2(physics, data)
        np.testing.assert_array_equal(fast.state(), slow.state())
        np.testing.assert_array_equal(fast.data.ctrl, data.ctrl)
        np.testing.assert_array_equal(fast._controller, slow._controller)


@pytest.mark.parametrize("value", [np.nan, 1e12])
def test_a_state_that_blows_up_is_an_error(task, value: float) -> None:
    simulator = Simulator(task)
    simulator.reset(0)
    simulator.data.qvel[3] = value
    with pytest.raises(SimulationDivergedError, match="diverged after 0.50 s"):
        simulator.step(np.zeros(7))


def test_other_threads_run_meanwhile(task) -> None:
    simulator = Simulator(task)
    simulator.reset(0)
    counts, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counts[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    begun = counts[0]
    for action in smooth_actions(0, 40):
        simulator.step(action)
    stop.set()
    thread.join()
    assert counts[0] - begun > 1000
