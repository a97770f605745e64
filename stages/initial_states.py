"""Which initial states the groups of an iteration start from: all alike, or more of those that the policy fails from.

A group whose episodes all end alike teaches nothing. Once most tasks are solved, most groups are such; yet an initial
state from which two or more of eight episodes failed gives a mixed group again in more than half of the cases, one from
which all succeeded in a fifth. A hard draw gives every task one group, and the others to states in proportion to the
square of how often they are expected to be failed. (Prioritised level replay, arXiv 2010.03934, draws levels by what
can be learnt from them; DAPO, arXiv 2503.14476, rolls out more groups and drops those without variance.)

Shapes: K tasks, I initial states of a task, G groups. A start is a task and one of its initial states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.store import DONE, RolloutStore
from stages.sim.tasks import draw_inits

DECAY = 0.8
"""what an episode counts for an iteration later: the policy changes"""
REMEMBERED = 15
"""iterations before; the oldest counts a thirtieth"""
PRIOR = 2.0
"""episodes that an initial state is given which went as its task's did"""
HARD, REFILL = 2, 1
"""tell the generators of hard starts, and of a refill's tasks, from those of a task's initial states"""


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

    def hard(
        self, groups: int, rate: np.ndarray, each: int, rounds: Sequence[RolloutStore]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Task and initial state (G,): `each` of every task, drawn evenly, and others until there are `groups`, or no
        start is left: none is drawn twice, nor after one of the `rounds` before.

        Args:
            rate: (K, I) in [0, 1], as of `failure_rates`.
        """
        task, init = self.evenly(np.full(len(self.tasks), each), np.zeros(len(self.tasks), int))
        weight = rate**2
        for drawn in [(task, init), *((store.plan.task, store.plan.init_state) for store in rounds)]:
            weight[self._at(*drawn)] = 0
        more = min(groups - len(task), int(np.count_nonzero(weight)))
        if more:
            rng = np.random.default_rng([self.seed, len(rounds), HARD])
            chosen = rng.choice(weight.size, more, replace=False, p=weight.ravel() / weight.sum())
            row, column = np.divmod(chosen, len(self.inits))
            task = np.concatenate([task, np.asarray(self.tasks)[row]])
            init = np.concatenate([init, np.asarray(self.inits)[column]])
        order = np.argsort(task, kind="stable")
        return task[order], init[order]

    def failure_rates(self, earlier: Sequence[RolloutStore]) -> np.ndarray:
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


def equal_shares(groups: int, tasks: int, rng: np.random.Generator) -> np.ndarray:
    """Groups of each of K tasks, (K,) int: equal, but for what does not divide, which goes to tasks drawn at random."""
    counts = np.full(tasks, groups // tasks)
    counts[rng.choice(tasks, groups % tasks, replace=False)] += 1
    return counts
