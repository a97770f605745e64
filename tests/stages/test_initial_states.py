"""Initial states drawn where a policy sometimes succeeds: estimates by hand, draws by counting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from data.store import DONE, Plan
from stages.collect import CollectSettings, make_plan
from stages.initial_states import even_draw, expected_success, mixed_draw
from stages.sim.tasks import suite_tasks


@dataclass
class Rollouts:
    """What of a store counts here: (task, initial state, success) of every episode; none: not finished."""

    episodes: Sequence[tuple[int, int, bool | None]]

    @property
    def plan(self) -> Plan:
        task, init, _ = zip(*self.episodes, strict=True)
        zeros = np.zeros(len(task), int)
        return Plan(np.array(task), np.array(init), zeros, zeros)

    def success(self) -> np.ndarray:
        return np.array([bool(won) for _, _, won in self.episodes])

    def status(self) -> np.ndarray:
        return np.array([0 if won is None else DONE for _, _, won in self.episodes])


def test_nothing_is_known_at_first() -> None:
    np.testing.assert_array_equal(expected_success([2, 5], [0, 1, 7], []), np.full((2, 3), 0.5))


def test_a_state_is_judged_by_itself_and_by_its_task() -> None:
    """Task 5: 3 of 4 episodes of state 7, so (3 + 2) / (4 + 4) = 0.625 for the task; state 7: (3 + 2.5) / 8."""
    store = Rollouts([(5, 7, True), (5, 7, True), (5, 7, False), (5, 7, True), (5, 9, True), (5, 1, None)])
    found = expected_success([2, 5], [0, 1, 7], [store])  # type: ignore[list-item]
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.5], [0.625, 0.625, 5.5 / 8]])


def test_older_iterations_count_less() -> None:
    """0.8 of a success and one failure: the task (0.8 + 2) / (1.8 + 4); the state (0.8 + 4 task) / (1.8 + 4)."""
    stores = [Rollouts([(2, 0, True)]), Rollouts([(2, 0, False)])]
    task = 2.8 / 5.8
    found = expected_success([2], [0, 1], stores)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, [[(0.8 + 4 * task) / 5.8, task]])


def test_states_are_drawn_by_how_mixed_they_are() -> None:
    """p(1-p) of 0.25, 0.09 and 0.01: one draw of each thousand seeds, within four standard deviations."""
    solved = np.array([[0.5, 0.9], [0.99, 0.01]])
    weight = np.array([0.25, 0.09, 0.0099, 0.0099])
    counts = Counter()
    for seed in range(3000):
        rows, columns = mixed_draw(solved[:1], groups=1, seed=seed)
        assert len(rows) == len(columns) == 1
        counts[int(columns[0])] += 1
    share = weight[0] / weight[:2].sum()
    assert abs(counts[0] / 3000 - share) < 4 * np.sqrt(share * (1 - share) / 3000)


def test_no_state_twice_and_tasks_together() -> None:
    rows, columns = mixed_draw(np.full((3, 5), 0.5), groups=4, seed=1)
    assert len(set(zip(rows, columns, strict=True))) == 12
    assert (np.diff(rows) >= 0).all()
    assert len(mixed_draw(np.full((2, 3), 0.5), groups=9, seed=0)[0]) == 6


def test_an_even_draw_gives_every_task_as_many() -> None:
    task, init = even_draw([4, 1], range(40), groups=3, seed=0)
    assert task.tolist() == [4, 4, 4, 1, 1, 1]
    assert len(set(init[:3])) == 3


def test_a_plan_follows_what_happened() -> None:
    """Task 2 is solved, task 9 is not always: most groups are of task 9, each with all its samples."""
    tasks = [suite_tasks("libero_object")[i] for i in (2, 9)]
    settings = CollectSettings(groups=5, samples=4, draw="mixed")
    always, sometimes = [(2, k, True) for k in range(40)], [(9, k, k % 2 == 0) for k in range(40)]
    stores = [Rollouts(always + sometimes)] * 8
    plan = make_plan(tasks, settings, stores)  # type: ignore[arg-type]
    assert len(plan) == 40
    assert (plan.task == 9).sum() >= 28
    for group in range(10):
        rows = plan.group == group
        assert rows.sum() == 4
        assert len(set(zip(plan.task[rows], plan.init_state[rows], strict=True))) == 1
    assert plan.same(make_plan(tasks, settings, stores))  # type: ignore[arg-type]
    assert not plan.same(make_plan(tasks, replace(settings, seed=1), stores))  # type: ignore[arg-type]
    first = make_plan(tasks, settings)
    assert np.bincount(first.task)[[2, 9]].tolist() == [20, 20]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_first_iteration_is_even(seed: int) -> None:
    tasks = suite_tasks("libero_object")[:3]
    even, mixed = (make_plan(tasks, CollectSettings(groups=2, seed=seed, draw=draw)) for draw in ("even", "mixed"))
    assert even.same(mixed)
