"""Which initial states an iteration starts from: all alike, or rather those where a policy sometimes succeeds.

A group whose episodes all end alike teaches nothing, and the better a policy gets, the more groups do. `mixed` draws
initial states by p(1-p), p being how often a state is expected to be solved, from the iterations before; a state seen
seldom is judged by its task. (The idea of prioritised level replay, arXiv 2010.03934; DAPO, arXiv 2503.14476, rolls out
more groups and drops those without variance instead.)

Shapes: K tasks, I initial states, G groups.
"""

from collections.abc import Sequence

import numpy as np

from data.store import DONE, RolloutStore
from stages.sim.tasks import draw_inits

DECAY = 0.8
"""what an episode counts for an iteration later: the policy changes"""
REMEMBERED = 20
"""iterations before, of which the oldest counts a hundredth"""
PRIOR = 4.0
"""episodes that a state's task counts for in its estimate, and 0.5 for in its task's"""


def even_draw(tasks: Sequence[int], inits: Sequence[int], groups: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(G,) tasks and (G,) initial states: for every task `groups` states, without replacement.

    The states of a task come from a generator of (seed, task): other tasks do not change them.
    """
    draws = [draw_inits(np.random.default_rng([seed, task]), inits, groups) for task in tasks]
    return np.repeat(tasks, groups), np.concatenate(draws)


def mixed_draw(solved: np.ndarray, groups: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(G,) rows and (G,) columns of `solved` (K, I), drawn by p(1-p) without replacement, G = K x groups at most K x I.

    Sorted, so that the episodes of a task lie together.
    """
    weight = (solved * (1 - solved)).ravel()
    count = min(len(solved) * groups, weight.size)
    drawn = np.sort(np.random.default_rng([seed, len(solved)]).choice(weight.size, count, False, weight / weight.sum()))
    return np.divmod(drawn, solved.shape[1])


def expected_success(tasks: Sequence[int], inits: Sequence[int], earlier: Sequence[RolloutStore]) -> np.ndarray:
    """How often each initial state is expected to be solved: (K, I) in (0, 1).

    Args:
        earlier: the rollouts of the iterations before, oldest first.
    """
    won, seen = np.zeros((len(tasks), len(inits))), np.zeros((len(tasks), len(inits)))
    row, column = ({number: place for place, number in enumerate(numbers)} for numbers in (tasks, inits))
    for store in earlier[-REMEMBERED:]:
        won, seen = DECAY * won, DECAY * seen
        plan, success = store.plan, store.success()
        for i in np.flatnonzero(store.status() == DONE):
            task, init = int(plan.task[i]), int(plan.init_state[i])
            if task in row and init in column:
                won[row[task], column[init]] += success[i]
                seen[row[task], column[init]] += 1
    of_task = (won.sum(1, keepdims=True) + 0.5 * PRIOR) / (seen.sum(1, keepdims=True) + PRIOR)
    return (won + PRIOR * of_task) / (seen + PRIOR)
