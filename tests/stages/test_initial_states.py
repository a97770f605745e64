"""Starts drawn by how often they were failed: rates by hand, draws by what they must be and how often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.store import DONE, Plan
from stages.collect import CollectSettings, make_plan
from stages.initial_states import DECAY, PRIOR, Draw, equal_shares
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
    found = Draw([2, 5], [0, 1, 7], 0).failure_rates([before, lately])  # type: ignore[list-item]
    two, five = 1 / (2 + DECAY), (2 + 3 * DECAY) / (4 + 3 * DECAY)
    np.testing.assert_allclose(found[0], [PRIOR * two / (PRIOR + DECAY), two, two])
    one, seven = (3 * DECAY + PRIOR * five) / (3 * DECAY + PRIOR), (1 + PRIOR * five) / (2 + PRIOR)
    np.testing.assert_allclose(found[1], [five, one, seven])


def test_a_hard_draw_is_one_group_a_task_and_others_by_the_square_of_the_rate() -> None:
    rate = np.array([[0.1, 0.1, 0.1, 0.1], [0.1, 0.3, 0.0, 0.5]])
    extra, first = np.zeros((2, 4)), np.zeros((2, 4))
    for seed in range(3000):
        draw = Draw([4, 7], [0, 1, 2, 3], seed)
        own = draw.evenly(np.ones(2, int), np.zeros(2, int))
        task, init = draw.hard(3, rate, 1, [])
        starts = list(zip(task.tolist(), init.tolist(), strict=True))
        assert task.tolist() == sorted(task) and len(set(starts)) == 3
        (left,) = set(starts) - set(zip(*(part.tolist() for part in own), strict=True))
        extra[left[0] // 7, left[1]] += 1
        for t, i in zip(*own, strict=True):
            first[t // 7, i] += 1
    np.testing.assert_allclose(first / 3000, 0.25, atol=0.04)
    assert extra[1, 2] == 0
    wanted = np.zeros((2, 4))
    for a in range(4):
        for b in range(4):
            weight = rate**2
            weight[0, a] = weight[1, b] = 0
            wanted += weight / weight.sum() / 16
    np.testing.assert_allclose(extra / 3000, wanted, atol=0.03)


def test_a_hard_draw_ends_where_no_start_is_left() -> None:
    draw, rate = Draw([4, 7], [0, 1, 2], 0), np.full((2, 3), 0.5)
    task, init = draw.hard(50, rate, 1, [])
    assert sorted(zip(task, init, strict=True)) == [(t, i) for t in (4, 7) for i in range(3)]
    drawn = Rollouts([(4, 1, True), (7, 0, False), (4, 2, True), (7, 2, True)])
    task, init = draw.hard(50, rate, 0, [drawn])  # type: ignore[list-item]
    assert sorted(zip(task, init, strict=True)) == [(4, 0), (7, 1)]


def test_equal_shares() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([equal_shares(7, 3, rng) for _ in range(3000)])
    assert (drawn.sum(1) == 7).all() and set(drawn.ravel().tolist()) == {2, 3}
    np.testing.assert_allclose(drawn.mean(0), 7 / 3, atol=0.03)


def test_a_plan_follows_what_happened() -> None:
    """Task 2 was solved, task 9 was failed: of ten groups it gets nearly all, but for one."""
    tasks = [suite_tasks("libero_object")[i] for i in (2, 9)]
    settings = CollectSettings(groups=5, samples=4, draw="hard")
    stores = [Rollouts([(task, i, task == 2) for task in (2, 9) for i in range(40)])] * 8
    plan = make_plan(tasks, settings, stores)  # type: ignore[arg-type]
    assert len(plan) == 40
    assert (plan.task == 9).sum() == 36
    for group in range(10):
        rows = plan.group == group
        assert rows.sum() == 4
        assert len(set(zip(plan.task[rows], plan.init_state[rows], strict=True))) == 1
    assert len(set(plan.init_state[plan.task == 9].tolist())) == 9
    assert make_plan(tasks, settings).same(make_plan(tasks, CollectSettings(groups=5, samples=4)))
