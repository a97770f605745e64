"""How long the iterations of a run take, from those behind it."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from data.runs import ITERATION_STAGES

LAST = 5
"""iterations that are looked at"""


def pace(metrics: Sequence[dict[str, Any]], done: int, iterations: int, every: int) -> dict[str, Any] | None:
    """Seconds of an iteration by stage, and of what is left.

    Args:
        metrics: the lines of metrics.jsonl. done: iterations behind. iterations: in all.
        every: iterations between two evaluations; 0: there are none.

    Returns:
        stages: {stage: median seconds in the last iterations, the pause before it included}; iteration (their sum,
        without evaluation); evaluation (seconds of one; absent before there was one); left, in seconds. None before
        the first iteration is done.
    """
    seconds: dict[str, list[float]] = {}
    for record in metrics:
        if 1 <= record["iteration"] <= done or record["stage"] == "eval":
            seconds.setdefault(record["stage"], []).append(record["seconds"] + record.get("pause", 0.0))
    stages = {stage: median(seconds[stage][-LAST:]) for stage in ITERATION_STAGES if stage in seconds}
    if "update" not in stages:
        return None
    iteration = sum(stages.values())
    result: dict[str, Any] = {"stages": stages, "iteration": iteration}
    left = max(iterations - done, 0)
    total = left * iteration
    if "eval" in seconds and every:
        result["evaluation"] = median(seconds["eval"][-LAST:])
        total += result["evaluation"] * sum(n % every == 0 or n == iterations for n in range(done + 1, iterations + 1))
    return result | {"left": total}
