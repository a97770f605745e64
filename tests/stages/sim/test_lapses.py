"""Lapses: they last for a while, the object is missed or lost, the labels stay the expert's, and it still succeeds."""

import numpy as np
import pytest

from data.errors import UserError
from stages.demo import DemoSettings, demonstrate
from stages.sim.expert import CLOSING, Phase, ScriptedExpert
from stages.sim.lapses import ASIDE, LATEST, MISSES, OPENING, Lapse, LapsingExpert, draw_lapse
from stages.sim.milestones import Milestones
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

TASK = suite_tasks("libero_object")[2]


def run(lapse: Lapse) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """meant (t, 7), executed (t, 7), progress (t+1,) and success of an episode without noise."""
    simulator = Simulator(TASK)
    simulator.reset(0)
    expert, success = ScriptedExpert(simulator), False
    lapsing = LapsingExpert(expert, lapse)
    meant, executed, states = [], [], [simulator.state()]
    while not success and len(meant) < 250:
        meant.append(expert.action())
        executed.append(lapsing.executed(meant[-1]))
        success = simulator.step(executed[-1])
        states.append(simulator.state())
    return np.stack(meant), np.stack(executed), Milestones(TASK)(np.stack(states)).steps, success


def test_a_miss_closes_beside_the_object_and_is_made_up_for() -> None:
    meant, executed, progress, success = run(Lapse("miss", Phase.DESCEND, 2, (0.25, 0.0)))
    wrong = np.flatnonzero((meant != executed).any(1))
    assert success and len(wrong)
    assert (executed[wrong, 6] > 0).sum() >= 9
    assert progress[: wrong[-1] + 1].max() < 3, "it was not lifted"
    assert (meant[wrong[-1] + 1 : wrong[-1] + 4, 6] < 0).all(), "the next thing it means is to open the gripper"
    closings = np.flatnonzero(np.diff(executed[:, 6]) > 0)
    assert (meant[closings[0] + 1 : closings[0] + 1 + CLOSING, 6] > 0).all(), "until it has closed it means to close"
    assert len(closings) == 2


def test_what_was_let_go_is_picked_up_again() -> None:
    meant, executed, progress, success = run(Lapse("drop", Phase.CARRY, 3, (0.0, 0.0)))
    wrong = np.flatnonzero((meant != executed).any(1))
    assert success and 0 < len(wrong) <= OPENING
    np.testing.assert_array_equal(meant[:, :6], executed[:, :6])
    assert progress[: wrong[0] + 1].max() >= 3 > 2 > progress[wrong[0] : wrong[0] + 25].min()


def test_lapses_are_drawn_in_all_ways() -> None:
    lapses = [draw_lapse(np.random.default_rng(i)) for i in range(400)]
    assert {lapse.phase for lapse in lapses} == set(LATEST)
    assert np.mean([lapse.kind == "miss" for lapse in lapses]) == pytest.approx(MISSES, abs=0.07)
    assert all((lapse.kind == "miss") == (lapse.phase is Phase.DESCEND) for lapse in lapses)
    assert all(0 <= lapse.after < LATEST[lapse.phase] for lapse in lapses)
    assert all(ASIDE[0] <= np.hypot(*lapse.aside) <= ASIDE[1] for lapse in lapses)
    assert lapses[7] == draw_lapse(np.random.default_rng(7))


def test_demonstrations_with_lapses_succeed_and_repeat() -> None:
    usual = demonstrate(TASK, 0, 3, DemoSettings(noise=0.1), 280)
    lapsed = demonstrate(TASK, 0, 3, DemoSettings(noise=0.1, lapses=1.0), 280)
    again = demonstrate(TASK, 0, 3, DemoSettings(noise=0.1, lapses=1.0), 280)
    assert lapsed.success and len(lapsed.action) > len(usual.action) + 10
    np.testing.assert_array_equal(lapsed.action, again.action)
    np.testing.assert_array_equal(lapsed.label, again.label)
    with pytest.raises(UserError, match="lapses must be between"):
        DemoSettings(lapses=1.5)
    with pytest.raises(UserError, match="ask for one of them"):
        DemoSettings(lapses=0.5, mistakes=0.5)
