"""Purposeful episodes end alike in both engines."""

import numpy as np
import pytest

from stages.sim.expert import ScriptedExpert
from stages.sim.replay import replay
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks


@pytest.mark.slow
@pytest.mark.parametrize(("task", "init"), [(2, 0), (5, 11), (9, 33)])
def test_success_at_the_same_step_as_libero(task: int, init: int) -> None:
    chosen = suite_tasks("libero_object")[task]
    simulator = Simulator(chosen)
    simulator.reset(init)
    expert, actions, done = ScriptedExpert(simulator), [], False
    while not done and len(actions) < chosen.horizon:
        actions.append(expert.action())
        done = simulator.step(actions[-1])
    assert done
    truth = replay(chosen, init, np.array(actions), "libero")
    assert np.flatnonzero(truth.success)[0] == len(actions) - 1
    assert np.abs(truth.states[-1] - simulator.state())[1 : 1 + int(simulator.model.physics.nq)].max() < 1e-5
