"""Success rates with their uncertainty."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from data.store import DONE, SKIPPED, RolloutStore

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a success probability (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    Args:
        successes: how many of `n` trials succeeded.
        n: trials; 0 gives (0, 1), as nothing is known.
        z: the normal quantile; the default gives 95 % coverage.

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        ValueError: not 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    if n == 0:
        return 0.0, 1.0
    share, weight = successes / n, z * z / n
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def rate(successes: int, n: int) -> dict[str, Any]:
    """n, successes, rate (None where n is 0: nothing is known) and its 95 % interval."""
    return {"n": n, "successes": successes, "rate": successes / n if n else None, "interval": wilson(successes, n)}


def store_rates(store: RolloutStore) -> dict[str, Any]:
    """Success over the finished episodes of a store, in all and per task.

    Returns:
        As `rate`, with `steps` (mean control steps an episode), `skipped` (episodes done without, in no rate) and
        `tasks`: a list of the same with index and name.
    """
    status = store.status()
    done, success, steps = status == DONE, store.success(), store.steps()

    def part(mask: Any) -> dict[str, Any]:
        n = int(mask.sum())
        return {**rate(int(success[mask].sum()), n), "steps": float(steps[mask].sum()) / max(n, 1)}

    tasks: list[Mapping[str, Any]] = store.attrs["tasks"]
    rows = [{**task, **part(done & (store.plan.task == task["index"]))} for task in tasks]
    return {**part(done), "skipped": int((status == SKIPPED).sum()), "tasks": rows}
