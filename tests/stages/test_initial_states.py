"""Groups shared out by how often tasks were failed: rates and shares by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.store import DONE, Plan
from stages.collect import CollectSettings, make_plan
from stages.initial_states import DECAY, failure_rates, share_out
from stages.sim.tasks import suite_tasks


@dataclass
class Rollouts:
    """What of a store counts here: (task, success) of every episode; none: not finished."""

    episodes: Sequence[tuple[int, bool | None]]

    @property
    def plan(self) -> Plan:
        task, zeros = np.array([number for number, _ in self.episodes]), np.zeros(len(self.episodes), int)
        return Plan(task, zeros, zeros, zeros)

    def success(self) -> np.ndarray:
        return np.array([bool(won) for _, won in self.episodes])

    def status(self) -> np.ndarray:
        return np.array([0 if won is None else DONE for _, won in self.episodes])


def test_nothing_is_known_at_first() -> None:
    assert failure_rates([2, 5], []).tolist() == [0.5, 0.5]


def test_failures_are_counted_and_forgotten() -> None:
    """Task 5: lately 1 of 2 failed, before that 3 of 3, one unfinished: (1 + 1 + 3 d) / (2 + 2 + 3 d)."""
    before = Rollouts([(5, False), (5, False), (5, False), (2, True), (5, None)])
    lately = Rollouts([(5, True), (5, False), (9, False)])
    found = failure_rates([2, 5], [before, lately])  # type: ignore[list-item]
    np.testing.assert_allclose(found, [1 / (2 + DECAY), (2 + 3 * DECAY) / (4 + 3 * DECAY)])


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
    stores = [Rollouts([(2, True)] * 40 + [(9, False)] * 40)] * 8
    plan = make_plan(tasks, settings, stores)  # type: ignore[arg-type]
    assert len(plan) == 40
    assert (plan.task == 9).sum() == 36
    for group in range(10):
        rows = plan.group == group
        assert rows.sum() == 4
        assert len(set(zip(plan.task[rows], plan.init_state[rows], strict=True))) == 1
    assert len(set(plan.init_state[plan.task == 9].tolist())) == 9
    assert make_plan(tasks, settings).same(make_plan(tasks, CollectSettings(groups=5, samples=4)))
