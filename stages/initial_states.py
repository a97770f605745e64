"""Which initial states the groups of an iteration start from: all alike, or more of those that teach.

A group whose episodes all end alike teaches nothing. Once most tasks are solved, most groups are such; a task that the
imitation start hardly solves, meanwhile, has the few episodes that everyone has. A hard draw gives every task one group
and shares the others out by how often tasks are expected to be failed; within a task it prefers initial states from
which some succeed and some fail. From a state that two or more of eight episodes failed the next group was mixed in
half of the cases or more, from one that all solved in a fifth; where states never solved came first, nothing was learnt
of them (docs/findings.md). Prioritised level replay (arXiv 2010.03934) draws levels by what can be learnt
from them; DAPO (arXiv 2503.14476) rolls out more groups and drops those without variance.

Shapes: K tasks, I initial states of a task, G groups. A start is a task and one of its initial states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.joined import Rollouts
from data.store import DONE, Plan
from stages.sim.tasks import draw_inits

DECAY = 0.8
"""what an episode counts for an iteration later: the policy changes"""
REMEMBERED = 15
"""iterations before; the oldest counts a twentieth"""
PRIOR = 2.0
"""episodes that an initial state is given which went as its task's did"""
HARD, REFILL = 2, 1
"""tell the generators of hard draws, and of a refill's tasks, from those of even draws"""


@dataclass(frozen=True)
class Draw:
    """What is drawn from: tasks (K), their initial states (I), alike for all, and the seed that decides."""

    tasks: Sequence[int]
    inits: Sequence[int]
    seed: int

    def evenly(self, counts: np.ndarray, begun: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Task and initial state (G,) of `counts` (K,) groups, after `begun` (K,) that were drawn already.

        A task's states are drawn without replacement by a generator of (seed, task): other tasks do not change them.
        """
        generators = [np.random.default_rng([self.seed, task]) for task in self.tasks]
        draws = [
            draw_inits(rng, self.inits, start + count)[start:]
            for rng, start, count in zip(generators, begun.tolist(), counts.tolist(), strict=True)
        ]
        return np.repeat(self.tasks, counts), np.concatenate(draws)

    def hard(self, counts: np.ndarray, rate: np.ndarray, begun: Sequence[Plan]) -> tuple[np.ndarray, np.ndarray]:
        """Task and initial state (G,) of `counts` (K,) groups, or fewer where a task has no more states: none is drawn
        twice, nor after one of the plans before. A task's first is drawn evenly, the others, and all those of a refill,
        in proportion to the square of p(1 - p).

        Args:
            rate: p, (K, I) in (0, 1), as of `failure_rates`. begun: plans of the rounds before a refill.
        """
        starts: list[tuple[int, int]] = []
        for task, count, p in zip(self.tasks, counts.tolist(), rate, strict=True):
            rng = np.random.default_rng([self.seed, task, len(begun), HARD])
            drawn = [] if begun else draw_inits(rng, self.inits, 1).tolist()
            before = np.concatenate([drawn, *(plan.init_state[plan.task == task] for plan in begun)])
            weight = np.where(np.isin(self.inits, before), 0, (p * (1 - p)) ** 2)
            more = min(count - len(drawn), np.count_nonzero(weight))
            drawn += rng.choice(self.inits, more, replace=False, p=weight / weight.sum()).tolist() if more else []
            starts += [(task, init) for init in drawn]
        tasks, inits = np.array(starts, int).reshape(-1, 2).T
        return tasks, inits

    def failure_rates(self, earlier: Sequence[Rollouts]) -> np.ndarray:
        """How often an episode from each start is expected to fail: (K, I) in (0, 1).

        A start's own episodes count, and `PRIOR` more that went as its task's did; a task's count, and two more of
        which one failed (Laplace's rule). Where nothing is known it is 1/2.

        Args:
            earlier: the rollouts of the iterations before, oldest first.
        """
        failed, seen = np.zeros((2, len(self.tasks), len(self.inits)))
        for age, store in enumerate(reversed(earlier[-REMEMBERED:])):
            plan, done = store.plan, store.status() == DONE
            known = done & np.isin(plan.task, self.tasks) & np.isin(plan.init_state, self.inits)
            at = self._at(plan.task[known], plan.init_state[known])
            np.add.at(seen, at, DECAY**age)
            np.add.at(failed, at, DECAY**age * ~store.success()[known])
        task = (failed.sum(1, keepdims=True) + 1) / (seen.sum(1, keepdims=True) + 2)
        return (failed + PRIOR * task) / (seen + PRIOR)

    def _at(self, task: np.ndarray, init: np.ndarray) -> tuple[list[int], list[int]]:
        """Row and column of starts in a (K, I) array."""
        return [self.tasks.index(t) for t in task.tolist()], [self.inits.index(i) for i in init.tolist()]


def starts_left(begun: Sequence[Plan], tasks: Sequence[int], inits: Sequence[int]) -> int:
    """How many starts of `tasks` and `inits` no plan of `begun` holds."""
    known = {(int(task), int(init)) for plan in begun for task, init in zip(plan.task, plan.init_state, strict=True)}
    return sum((task, init) not in known for task in tasks for init in inits)


def share_by_weight(groups: int, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Groups of each task, (K,) int: its share of `groups` by `weight` (K,) >= 0, rounded down or up at random so that
    it is expected exactly (systematic resampling, Kitagawa 1996)."""
    places = (rng.random() + np.arange(groups)) * weight.sum() / groups
    return np.bincount(np.searchsorted(weight.cumsum()[:-1], places, "right"), minlength=len(weight))


def share_out(groups: int, weight: np.ndarray, most: int) -> np.ndarray:
    """Groups of each task, (K,) int: one each, and the others of `groups` in proportion to `weight` (K,) > 0.

    What does not divide goes one by one to the task that is furthest below its share (the first of equals); no task
    gets more than `most`.
    """
    counts = np.ones(len(weight), int)
    share = (groups - len(weight)) * weight / weight.sum()
    for _ in range(groups - len(weight)):
        behind = np.where(counts < most, share - (counts - 1), -np.inf)
        if not np.isfinite(behind).any():
            break
        counts[behind.argmax()] += 1
    return counts
