"""Whole episodes: that ours are what the stub asked for, LIBERO's really LIBERO's, and the sums right."""

from pathlib import Path

import numpy as np
import pytest

from data.store import DONE, RolloutStore
from stages.bench import episodes
from stages.bench.episodes import COMPOSED, WHOLE, Schedule, bench_episodes
from stages.bench.libero import LiberoLoop
from stages.bench.stub import CHUNK, LOOKS, Stub, request, stub_actions
from stages.sim.replay import replay
from stages.sim.tasks import select_tasks, suite_tasks
from stages.sim.workers.filling import fill
from stages.sim.workers.pool import Pool

TASKS = select_tasks("libero_object", "2,9")


def test_the_pool_runs_the_stubs_actions(tmp_path: Path) -> None:
    horizon = CHUNK + 3
    with Pool(1) as pool:
        store, _ = fill(tmp_path / "s.zarr", request(TASKS, 4, horizon, "lite"), Stub(horizon, 4), pool)
    assert store.plan.task.tolist() == [2, 9, 2, 9]
    assert store.plan.init_state.tolist() == [0, 0, 1, 1]
    assert set(store.status()) == {DONE}
    for i in range(4):
        episode = RolloutStore.open(store.path).read(i)
        np.testing.assert_array_equal(episode.action, stub_actions(i, CHUNK * 2)[:horizon])
        assert episode.images["agentview"].shape == (2, 96, 96, 3)


class Loop:
    """Stands in for a child with LIBERO's loop: reset 3 s, settling 2 s, then 0.5 s a step, the first one 1.5 s."""

    def __init__(self, steps: int) -> None:
        self.steps, self.asked = steps, []

    def begin(self, method: str, *arguments: object) -> None:
        self.asked.append((method, arguments))

    def end(self) -> object:
        method, arguments = self.asked[-1]
        if method == "make":
            return 9.0
        times = np.array([1.5, *[0.5] * (self.steps - 1)])
        whole = self.steps == len(arguments[1])
        return {"reset_s": 3.0, "settle_s": 2.0, "steps": times, "whole": whole, "resident_mb": 900.0}


def test_whole_and_composed_seconds() -> None:
    plan = Schedule(TASKS[:1], [2], ["lite"], 3, 10, 5.0)
    whole = episodes._libero([Loop(10), Loop(10)], plan)
    assert whole["how"] == WHOLE
    assert whole["episode_s"] == pytest.approx((3 + 2 + 1.5 + 9 * 0.5) / 2)
    stopped = episodes._libero([Loop(4)], plan)
    assert stopped["how"] == COMPOSED
    assert stopped["episode_s"] == pytest.approx(3 + 2 + 10 * (1.5 + 3 * 0.5) / 4)
    assert stopped["step"]["median"] == pytest.approx(500)


def test_each_number_of_workers_and_look(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = [Loop(4), Loop(4)]
    monkeypatch.setattr(episodes, "children", lambda kind, count: Given(loops[:count]))
    monkeypatch.setattr(episodes, "_ours", lambda task, workers, look, plan: {"episode_s": 0.25 / workers})
    plan, told = Schedule(TASKS, [1, 2], ["full", "lite"], 3, 10, 5.0), []
    one, two = bench_episodes(plan, told.append)
    assert len(told) == plan.rounds
    assert (one["workers"], two["workers"]) == (1, 2)
    assert one["libero"]["episode_s"] == pytest.approx(12.5) == 2 * two["libero"]["episode_s"]
    assert (one["lite"]["cameras"], one["lite"]["episode_s"]) == (LOOKS["lite"], 0.25)
    assert one["lite"]["ratio"] == one["lite"]["task_ratios"]["median"] == pytest.approx(50)
    assert two["full"]["ratio"] == pytest.approx(50)
    assert [row["task"] for row in one["by_task"]] == [2, 9]
    assert len([1 for method, _ in loops[1].asked if method == "episode"]) == 2  # a task with two workers each


class Given:
    """A context of something that is there already."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __enter__(self) -> object:
        return self._value

    def __exit__(self, *_: object) -> None:
        pass


def test_ours_are_timed_whole() -> None:
    found = episodes._ours(TASKS[0], 1, "lite", Schedule(TASKS[:1], [1], ["lite"], 2, 9, 5.0))
    assert found["episodes"] == 2
    assert found["episode_s"] == pytest.approx(found["seconds"] / 2)
    assert 0 < found["seconds"] < found["start_s"]


@pytest.mark.slow
def test_liberos_loop_is_liberos() -> None:
    task, actions = suite_tasks("libero_object")[2], stub_actions(3, 6)
    loop = LiberoLoop()
    assert loop.make(task, 6) > 0
    found = loop.episode(3, actions, 1e9)
    assert found["whole"] and len(found["steps"]) == 6
    ours = replay(task, 3, actions).states[-1]
    assert np.abs(np.asarray(loop._env.get_sim_state()) - ours)[: len(ours)].max() < 1e-5
    observation = loop._env.env._get_observations()
    assert observation["agentview_image"].shape == observation["robot0_eye_in_hand_image"].shape == (256, 256, 3)
    stopped = loop.episode(3, actions, 0.0)
    assert not stopped["whole"] and len(stopped["steps"]) == 1
