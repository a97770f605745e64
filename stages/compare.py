"""Two policies on the very same episodes: the same tasks, initial states and seeds, so that luck of the draw cancels.

Each policy's episodes are in a store of their own, named by its weights, so that a folder of them serves any number of
comparisons and every evaluation in it goes on where it stopped.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.paired import paired
from data.store import RolloutStore
from data.watching import Watch
from stages.evaluate import EvalSettings, Outcomes, evaluate, planned
from stages.policies.loading import identity, load_policy
from stages.sim.settings import make_pool
from stages.sim.tasks import Task, task_names

LEVEL = 0.05
"""A p-value below it is called a difference."""


def compare(
    policy: str | Path, against: str | Path, settings: EvalSettings, watch: Watch, out: str | Path | None = None
) -> dict[str, Any]:
    """Evaluate A = `policy` and B = `against` on the same episodes and pair these.

    Args:
        policy: folder or Hub id of A.
        against: folder or Hub id of B.
        settings: on what.
        watch: shows the progress of each.
        out: folder of the two stores, `WEIGHTS.zarr` each, made or gone on with; none keeps nothing.

    Returns:
        a and b (as `evaluate`, with folder and store, none where it is not kept), same (whether both are the same
        policy), skipped (pairs in which an episode was done without; they are left out), what `data.paired.paired`
        says of all pairs, tasks (a list of the same with index, name and instruction), verdict.

    Raises:
        UserError: as `evaluate`, or `out` is itself a store.
        Exception: as `Pool.run`.
    """
    weights = identity(policy)["weights"], identity(against)["weights"]
    tasks, plan = planned(settings)
    if out is not None and RolloutStore.exists(out):
        raise UserError(f"{out} is a store of one policy; --against keeps one a policy: name a folder for them")
    load_policy(against, "auto")  # what it lacks is told now, not after A's episodes
    with ExitStack() as stack:
        pool = stack.enter_context(make_pool(settings, len(plan)))
        place = out or stack.enter_context(tempfile.TemporaryDirectory(prefix="srpo-eval-"))

        def side(name: str, folder: str | Path, weights: str) -> tuple[dict[str, Any], Outcomes]:
            store = f"{str(place).rstrip('/')}/{weights}.zarr"
            with watch(f"eval {name}", "episodes") as tick:
                result, outcomes = evaluate(folder, settings, store, pool, tick)
            return {**result, "folder": str(folder), "store": store if out else None}, outcomes

        a, of_a = side("A", policy, weights[0])
        b, of_b = side("B", against, weights[1])
    told = compared(of_a, of_b, tasks)
    return {"a": a, "b": b, "same": weights[0] == weights[1], **told, "verdict": verdict(told, "A", "B")}


def compared(a: Outcomes, b: Outcomes, tasks: list[Task]) -> dict[str, Any]:
    """The pairs of two policies, in all and per task: see `compare`."""
    finished = a.done & b.done

    def part(mask: np.ndarray) -> dict[str, Any]:
        return paired(a.success[mask], b.success[mask])

    rows = [{**row, **part(finished & (a.task == row["index"]))} for row in task_names(tasks)]
    return {**part(finished), "skipped": int((~finished).sum()), "tasks": rows}


def verdict(pairs: dict[str, Any], a: str, b: str) -> str:
    """One sentence on what `data.paired.paired` found, which says no more than the test does.

    The exact test is careful; where the interval alone would tell a difference, that is said and not decided.
    """
    n, low, high = pairs["n"], *(100 * bound for bound in pairs["interval"])
    if n == 0:
        return "nothing can be told: no pair of episodes was finished"
    sure = f"{p_words(pairs['p'])}, n = {n}"
    span = f"{a} - {b} is {100 * pairs['difference']:+.1f} points (95 %: {low:+.1f} to {high:+.1f})"
    if pairs["p"] < LEVEL:
        better, worse = (a, b) if pairs["difference"] > 0 else (b, a)
        return f"{better} succeeds more often than {worse}: {sure}; {span}"
    borderline = "; borderline, for the interval leaves 0 out" if low > 0 or high < 0 else ""
    return f"no difference can be told: {sure}; {span}{borderline}"


def p_words(p: float) -> str:
    """`p = 0.343`, `p < 0.0001`."""
    return f"p {p_cell(p)}" if p < 1e-4 else f"p = {p_cell(p)}"


def p_cell(p: float) -> str:
    """`0.343`, `< 0.0001`: three digits that count."""
    return "< 0.0001" if p < 1e-4 else f"{p:.3g}"
