"""Starts drawn by how often they were failed: rates by hand, draws by what they must be and how often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.store import DONE, Plan
from stages.collect import CollectSettings, plan_rollouts
from stages.initial_states import DECAY, PRIOR, Draw, share_out
from stages.sim.tasks import suite_tasks


@dataclass
class Rollouts:
    """What of a store counts here: (task, initial state, success) of every episode; none: not finished."""

    episodes: Sequence[tuple[int, int, bool | None]]

    @property
    def plan(self) -> Plan:
        task, init = np.array([episode[:2] for episode in self.episodes]).T
        return Plan(task, init, np.zeros(len(task), int), np.zeros(len(task), int))

    def success(self) -> np.ndarray:
        return np.array([bool(won) for *_, won in self.episodes])

    def status(self) -> np.ndarray:
        return np.array([0 if won is None else DONE for *_, won in self.episodes])


def test_nothing_is_known_at_first() -> None:
    assert Draw([2, 5], [0, 1, 7], 0).failure_rates([]).tolist() == [[0.5] * 3] * 2


def test_failures_are_counted_and_forgotten() -> None:
    """Task 5: lately 1 of 2 failed, from state 7; before that 3 of 3 from state 1; one is unfinished."""
    before = Rollouts([(5, 1, False), (5, 1, False), (5, 1, False), (2, 0, True), (5, 7, None)])
    lately = Rollouts([(5, 7, True), (5, 7, False), (9, 0, False), (5, 3, False)])
    found = Draw([2, 5], [0, 1, 7], 0).failure_rates([before, lately])
    two, five = 1 / (2 + DECAY), (2 + 3 * DECAY) / (4 + 3 * DECAY)
    np.testing.assert_allclose(found[0], [PRIOR * two / (PRIOR + DECAY), two, two])
    one, seven = (3 * DECAY + PRIOR * five) / (3 * DECAY + PRIOR), (1 + PRIOR * five) / (2 + PRIOR)
    np.testing.assert_allclose(found[1], [five, one, seven])


def test_a_hard_draw_is_one_state_of_a_task_and_others_that_are_open() -> None:
    """Of four states a second one by the square of p(1 - p), which is 9, 9, 16 and 0 hundredths: 81 to 81 to 256."""
    rate = np.array([[0.1, 0.9, 0.2, 1.0], [0.5, 0.5, 0.5, 0.5]])
    first, second = np.zeros(4), np.zeros(4)
    for seed in range(4000):
        task, init = Draw([4, 7], [10, 11, 12, 13], seed).hard(np.array([2, 1]), rate, [])
        assert task.tolist() == [4, 4, 7] and init[0] != init[1]
        first[init[0] - 10] += 1
        second[init[1] - 10] += 1
    np.testing.assert_allclose(first / 4000, 0.25, atol=0.03)
    wanted, weight = np.zeros(4), np.array([81.0, 81, 256, 0])
    for drawn in range(4):
        left = np.where(np.arange(4) == drawn, 0, weight)
        wanted += left / left.sum() / 4
    np.testing.assert_allclose(second / 4000, wanted, atol=0.03)


def test_a_hard_draw_ends_where_no_state_is_left() -> None:
    draw, rate = Draw([4, 7], [0, 1, 2], 0), np.full((2, 3), 0.5)
    task, init = draw.hard(np.array([5, 1]), rate, [])
    assert task.tolist() == [4, 4, 4, 7] and sorted(init[:3].tolist()) == [0, 1, 2]
    drawn = Rollouts([(4, 1, True), (7, 0, False), (4, 2, True), (7, 2, True)]).plan
    task, init = draw.hard(np.array([3, 3]), rate, [drawn])
    assert list(zip(task.tolist(), init.tolist(), strict=True)) == [(4, 0), (7, 1)]
    assert [len(part) for part in draw.hard(np.array([0, 0]), rate, [drawn])] == [0, 0]


def test_groups_follow_the_weights() -> None:
    """Ten groups, four tasks: one each, six by 3:1:1:1 are 3, 1, 1, 1."""
    assert share_out(10, np.array([3.0, 1, 1, 1]), most=40).tolist() == [4, 2, 2, 2]
    assert share_out(10, np.array([3.0, 1, 1, 1]), most=3).tolist() == [3, 3, 2, 2]
    assert share_out(10, np.array([3.0, 1, 1, 1]), most=2).tolist() == [2, 2, 2, 2]
    assert share_out(4, np.array([3.0, 1, 1, 1]), most=40).tolist() == [1, 1, 1, 1]
    rng = np.random.default_rng(0)
    for _ in range(50):
        weight = rng.random(7) + 0.01
        counts = share_out(21, weight, most=40)
        assert counts.sum() == 21
        assert (np.abs(counts - 1 - 14 * weight / weight.sum()) < 1).all()


def test_a_plan_follows_what_happened() -> None:
    """Task 2 was solved, task 9 was failed: of ten groups it gets nearly all, but for one."""
    tasks = [suite_tasks("libero_object")[i] for i in (2, 9)]
    settings = CollectSettings(groups=5, samples=4, draw="hard")
    stores = [Rollouts([(task, i, task == 2) for task in (2, 9) for i in range(40)])] * 8
    plan = plan_rollouts(tasks, settings, stores)
    assert len(plan) == 40
    assert (plan.task == 9).sum() == 36
    for group in range(10):
        rows = plan.group == group
        assert rows.sum() == 4
        assert len(set(zip(plan.task[rows], plan.init_state[rows], strict=True))) == 1
    assert len(set(plan.init_state[plan.task == 9].tolist())) == 9
    assert plan_rollouts(tasks, settings).same(plan_rollouts(tasks, CollectSettings(groups=5, samples=4)))
