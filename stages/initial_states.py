"""How many groups each task of an iteration gets: all alike, or more where the policy fails.

A group whose episodes all end alike teaches nothing. Once most tasks are solved, most groups are such; a task that the
imitation start hardly solves, meanwhile, has the few episodes that everyone has. `hard` gives every task one group and
shares the others out by how often it was failed lately. (Prioritised level replay, arXiv 2010.03934, draws levels by
what can be learnt from them; DAPO, arXiv 2503.14476, rolls out more groups and drops those without variance.)

Shapes: K tasks.
"""

from collections.abc import Sequence

import numpy as np

from data.store import DONE, RolloutStore

DECAY = 0.7
"""what an episode counts for an iteration later: the policy changes"""
REMEMBERED = 10
"""iterations before; the oldest counts a thirtieth"""


def failure_rates(tasks: Sequence[int], earlier: Sequence[RolloutStore]) -> np.ndarray:
    """How often each task is expected to be failed: (K,) in (0, 1); 1/2 where nothing is known (Laplace's rule).

    Args:
        earlier: the rollouts of the iterations before, oldest first.
    """
    failed, seen = np.ones(len(tasks)), np.full(len(tasks), 2.0)
    for age, store in enumerate(reversed(earlier[-REMEMBERED:])):
        done, won, task = store.status() == DONE, store.success(), store.plan.task
        for row, number in enumerate(tasks):
            own = done & (task == number)
            failed[row] += DECAY**age * (own & ~won).sum()
            seen[row] += DECAY**age * own.sum()
    return failed / seen


def spread(groups: int, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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
