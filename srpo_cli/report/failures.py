"""What the failures of a store are made of: how far they truly got, and from which initial states they come."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from data.errors import UserError
from data.store import RolloutStore
from data.watching import Tick
from srpo_cli.console import out, percent, table
from stages.sim.milestones import MILESTONES, Milestones
from stages.sim.tasks import suite_tasks

STAGES = ("nothing", *MILESTONES[:-1])
"""The last milestone of a failure; `nothing`: the gripper never was at the object."""
WORST = 4
"""initial states of a task that the table names"""


def failure_facts(store: RolloutStore, tick: Tick) -> dict[str, Any]:
    """A store's failures by the last milestone that they reached (`stages.sim.milestones`), and by initial state.

    Args:
        tick: called as `tick(done, total)` after every failure.

    Returns:
        path, suite, n, successes, reached (stage -> failures), tasks: index, instruction, n, successes, reached and
        states (those with a failure, the worst first: init_state, n, successes).

    Raises:
        UserError: no finished episode, or a suite whose milestones are not known.
    """
    done, success, plan = store.done(), store.success(), store.plan
    if not len(done):
        raise UserError(f"{store.path} has no finished episode")
    tasks = suite_tasks(store.attrs["suite"])
    read = cache(lambda number: Milestones(tasks[number]))
    failed = [int(i) for i in done if not success[i]]
    furthest = np.zeros(len(store), int)
    for k, i in enumerate(failed):
        furthest[i] = int(read(int(plan.task[i]))(store.states(i)).furthest)
        tick(k + 1, len(failed))
    rows = []
    for number in np.unique(plan.task[done]):
        own = done[plan.task[done] == number]
        rows.append(
            {
                "index": int(number),
                "instruction": tasks[number].instruction,
                **_counts(own, success, furthest),
                "states": _states(plan.init_state[own], success[own]),
            }
        )
    whole = {"path": store.path, "suite": store.attrs["suite"], **_counts(done, success, furthest)}
    return {**whole, "tasks": rows}


def _counts(episodes: np.ndarray, success: np.ndarray, furthest: np.ndarray) -> dict[str, Any]:
    stages = Counter(STAGES[furthest[i]] for i in episodes if not success[i])
    reached = {stage: stages[stage] for stage in STAGES}
    return {"n": len(episodes), "successes": int(success[episodes].sum()), "reached": reached}


def _states(inits: np.ndarray, success: np.ndarray) -> list[dict[str, int]]:
    """The initial states that failed, those with the lowest success first."""
    rows = []
    for init in np.unique(inits):
        own = success[inits == init]
        rows.append({"init_state": int(init), "n": len(own), "successes": int(own.sum())})
    failing = [row for row in rows if row["successes"] < row["n"]]
    return sorted(failing, key=lambda row: row["successes"] / row["n"])


def show_failures(facts: Mapping[str, Any]) -> None:
    """A row a task: its success and how far its failures got; then its worst initial states."""
    rows = [[str(task["index"]), *_cells(task)] for task in facts["tasks"]]
    if len(rows) > 1:
        rows.append(["all", *_cells(facts)])
    columns = ["task", "n", "success", *(stage.removesuffix(" target") for stage in STAGES)]
    caption = f"from `{STAGES[0]}` on: failures by the last milestone that they reached"
    out.print(table(f"failures of {facts['path']}", columns, rows, caption))
    worst = [
        [str(task["index"]), task["instruction"], _worst(task["states"])] for task in facts["tasks"] if task["states"]
    ]
    if worst:
        out.print(table("initial states", ["task", "instruction", "worst"], worst, "state: successes/episodes"))


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["n"]),
        percent(row["successes"] / row["n"]),
        *(str(count or "") for count in row["reached"].values()),
    ]


def _worst(states: list[dict[str, int]]) -> str:
    named = [f"{row['init_state']}: {row['successes']}/{row['n']}" for row in states[:WORST]]
    return ", ".join([*named, f"{len(states) - WORST} more"] if len(states) > WORST else named)
