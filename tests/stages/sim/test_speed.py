"""What a control step may cost, and that purposeful episodes end alike in both engines."""

import numpy as np
import pytest

from stages.sim.bench import bench_render, bench_step
from stages.sim.expert import ScriptedExpert
from stages.sim.replay import replay
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks


@pytest.mark.slow
@pytest.mark.parametrize("task", [0, 2, 9])
def test_control_step_costs_little_more_than_bare_physics(task: int) -> None:
    assert bench_step("libero_object", task, 300, libero=False)["ratio"] <= 1.3


def test_bench_reports_every_figure() -> None:
    step = bench_step(steps=10, libero=False)
    assert set(step) == {"suite", "task", "steps", "ours_ms", "bare_ms", "ratio", "controller_ms"}
    assert 0 < step["bare_ms"] < 100
    drawn = bench_render(frames=3)
    assert drawn["lite"]["agentview 96"] < drawn["full"]["agentview 256"]


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
