"""The rounds of an iteration: its rollouts, then further groups in place of those that teach nothing.

A group whose rewards do not differ has no advantages; without it the batch is smaller and its gradient noisier. Dynamic
sampling (DAPO, arXiv 2503.14476, section 3.2) samples on until the batch is full. Here a round collects as many groups
as are lacking, in a store of its own; all rounds are rewarded as one batch and learnt from as one. Nothing that teaches
is left out: a later round's successes may tell earlier failures apart, so that a batch can end fuller than asked.
"""

from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from data.joined import open_rollouts
from data.rates import rate
from data.runs import Run
from data.store import RolloutStore
from stages.collect import ASKED_GROUPS
from stages.initial_states import starts_left
from stages.learning.algorithms import ALGORITHMS
from stages.learning.batch import select
from stages.learning.settings import UpdateSettings
from stages.recipe import Recipe
from stages.sim.tasks import select_inits, select_tasks


def rounds_of(run: Run, n: int) -> list[Path]:
    """The stores of iteration n: the first round's, and those of further rounds that are there."""
    further = (run.rollouts(n, number) for number in count(1))
    return [run.rollouts(n), *takewhile(RolloutStore.exists, further)]


def groups_lacking(rounds: Sequence[Path], reward_label: str, settings: UpdateSettings) -> int:
    """How many groups the update will drop, less those that later rounds brought; 0 where the batch is full.

    Args:
        rounds: the stores of an iteration, the first one first, all rewarded.
    """
    joined = open_rollouts(rounds)
    wanted = len(np.unique(joined.parts[0].plan.group))
    selection = select(joined, reward_label, settings, ALGORITHMS[settings.algorithm].rule)
    return max(0, wanted - len(np.unique(joined.plan.group[selection.kept])))


def groups_of_round(path: Path, before: Sequence[Path], recipe: Recipe) -> int:
    """How many groups a further round at `path` is of: what it was begun for, or what the rounds before it lack, as far
    as there are initial states that a hard draw has not taken.

    Rewards change with the round's own successes, so that what a store was begun for is not counted again.
    """
    if RolloutStore.exists(path):
        return int(RolloutStore.open(path).attrs[ASKED_GROUPS])
    lacking = groups_lacking(before, recipe.reward_preset, recipe.update)
    if recipe.collect.draw != "hard":
        return lacking
    settings, begun = recipe.collect, [RolloutStore.open(store).plan for store in before]
    tasks = [task.index for task in select_tasks(settings.suite, settings.tasks)]
    return min(lacking, starts_left(begun, tasks, select_inits(settings.inits)))


def round_figures(collected: Sequence[dict[str, Any]], lacking: int) -> dict[str, Any]:
    """What further rounds came to, for metrics.jsonl: rounds, groups_lacking (still), and over their episodes n,
    successes, rate, interval, collected (now) and up_to_date."""
    total = {key: sum(result[key] for result in collected) for key in ("n", "successes", "collected")}
    return {
        "rounds": len(collected),
        "groups_lacking": lacking,
        **rate(total["successes"], total["n"]),
        "collected": total["collected"],
        "up_to_date": total["collected"] == 0,
    }
