"""An expert that errs on purpose: it fails where it says, at the pace it says, and its failures get to every stage."""

import numpy as np
import pytest

from stages.demo import DemoSettings, demonstrate
from stages.sim.expert import Phase, ScriptedExpert
from stages.sim.mistakes import KINDS, LATEST, SLOWEST, ErringExpert, Mistake, draw_mistake, draw_pace
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

TASK = suite_tasks("libero_object")[2]


def run(mistake: Mistake | None, steps: int, pace: float = 1.0) -> tuple[list[np.ndarray], Simulator, bool]:
    simulator = Simulator(TASK)
    simulator.reset(0)
    expert = ErringExpert(ScriptedExpert(simulator), mistake, pace)
    actions, success = [], False
    for _ in range(steps):
        actions.append(expert.action())
        success = simulator.step(actions[-1])
        if success:
            break
    return actions, simulator, success


def test_without_a_mistake_it_is_the_expert() -> None:
    simulator = Simulator(TASK)
    simulator.reset(0)
    expert = ScriptedExpert(simulator)
    actions, _, success = run(None, 200)
    for action in actions:
        np.testing.assert_array_equal(action, expert.action())
        simulator.step(action)
    assert success


def test_a_slower_pace_takes_longer() -> None:
    quick, _, won = run(None, 280)
    slow, _, won_slowly = run(None, 280, pace=0.5)
    assert won and won_slowly
    assert len(slow) > 1.25 * len(quick)


@pytest.mark.parametrize("kind", ["stall", "astray", "drop"])
def test_what_goes_wrong_while_it_carries(kind: str) -> None:
    actions, simulator, success = run(Mistake(Phase.CARRY, 3, kind, 0.0), 160)
    assert not success and len(actions) == 160
    last = actions[-1]
    assert not last[:6].any()
    assert last[6] == (-1.0 if kind == "drop" else 1.0)
    height = simulator.data.body(simulator.model.numbers["goal"][0]["body"]).xpos[2]
    held = height > 0.15
    assert held == (kind != "drop")


def test_a_miss_closes_beside_the_object() -> None:
    actions, simulator, success = run(Mistake(Phase.DESCEND, 0, "miss", 0.0), 120)
    fingers = simulator.data.qpos[7:9]
    assert not success
    assert any(action[6] == 1.0 for action in actions)
    assert np.abs(fingers).max() < 0.005  # closed on nothing


def test_draws_cover_everything_and_follow_from_the_generator() -> None:
    mistakes = [draw_mistake(np.random.default_rng(i)) for i in range(300)]
    seen = {(m.phase, m.kind) for m in mistakes}
    assert seen == {(phase, kind) for phase, kinds in KINDS.items() for kind in kinds}
    assert all(0 <= m.after < LATEST[m.phase] for m in mistakes)
    assert mistakes[7] == draw_mistake(np.random.default_rng(7))


def test_paces_cover_their_range() -> None:
    paces = [draw_pace(np.random.default_rng(i)) for i in range(300)]
    assert SLOWEST <= min(paces) < SLOWEST + 0.02 and 0.98 < max(paces) <= 1


def test_demonstrations_with_mistakes_fail_and_repeat() -> None:
    wrong = demonstrate(TASK, 0, 3, DemoSettings(noise=0.1, mistakes=1.0), 160)
    again = demonstrate(TASK, 0, 3, DemoSettings(noise=0.1, mistakes=1.0), 160)
    assert not wrong.success and wrong.steps == 160
    np.testing.assert_array_equal(wrong.action, again.action)
    assert demonstrate(TASK, 0, 3, DemoSettings(noise=0.1), 280).success
    with pytest.raises(Exception, match="mistakes must be between"):
        DemoSettings(mistakes=1.5)
