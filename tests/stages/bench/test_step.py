"""Control steps: that both sides step the same moments, and what ours may cost."""

import numpy as np
import pytest

from stages.bench.step import StepTimer, _Pair, bench_step
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import select_tasks, suite_tasks

TASK = suite_tasks("libero_object")[2]


def test_ours_goes_along_the_trajectory_and_bare_steps_its_moments() -> None:
    actions = smooth_actions(0, 12)
    pair = _Pair(TASK, actions)
    pair.run(range(5))
    pair.run(range(5, 12))
    plain = Simulator(TASK)
    plain.reset(0)
    for action in actions:
        plain.step(action)
    np.testing.assert_array_equal(pair._simulator.state(), plain.state())
    assert pair._other.time == plain.data.time
    moved = np.abs(pair._states[-1][1:8] - plain.data.qpos[:7]).max()
    assert np.abs(pair._other.qpos[:7] - plain.data.qpos[:7]).max() < 0.3 * moved


def test_every_task_has_a_row() -> None:
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.bench.step.Child", InProcess)
        found = bench_step(select_tasks("libero_object", "0,2"), [TASK], 6, seen.append)
    assert [row["task"] for row in found["rows"]] == [0, 2] == [task.index for task in seen]
    assert found["rows"][0]["ratio"] == pytest.approx(1.5)
    assert found["ratio_bare"]["median"] == pytest.approx(1.5)
    assert (found["srpo"]["median"], found["bare"]["median"]) == pytest.approx((3.0, 2.0))
    assert found["libero"] == {"median": pytest.approx(30.0), "n": 1, "interval": None}
    assert found["ratio_libero"]["median"] == pytest.approx(10.0)


class InProcess:
    """Stands in for a child: ours 3 ms, bare 2 ms, LIBERO 30 ms a step."""

    def __init__(self, kind: str) -> None:
        assert kind == "stages.bench.step:StepTimer"

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, task: object, steps: int, with_libero: bool) -> dict[str, np.ndarray]:
        assert method == "measure"
        times = {"srpo": 3e-3, "bare": 2e-3, "reset": 1e-5, "settle": 2e-2} | ({"libero": 3e-2} if with_libero else {})
        return {who: np.full(steps, seconds) for who, seconds in times.items()}


def test_resets_are_cheaper_the_second_time() -> None:
    times = StepTimer().measure(suite_tasks("libero_object")[4], 4, with_libero=False)
    assert len(times["srpo"]) == len(times["bare"]) == 4
    assert np.median(times["reset"]) < np.median(times["settle"])


@pytest.mark.slow
def test_libero_steps_in_between() -> None:
    times = StepTimer().measure(TASK, 20, with_libero=True)
    assert len(times["libero"]) == len(times["srpo"]) == 20
    assert np.median(times["libero"]) > 2 * np.median(times["srpo"])


@pytest.mark.slow
@pytest.mark.parametrize("task", [0, 2, 9])
def test_a_control_step_costs_little_more_than_bare_physics(task: int) -> None:
    times = StepTimer().measure(suite_tasks("libero_object")[task], 300, with_libero=False)
    assert np.median(times["srpo"] / times["bare"]) <= 1.3
