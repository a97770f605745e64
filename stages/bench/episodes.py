"""Whole episodes: LIBERO's loop against ours in both looks, with the same number of processes, side by side.

For every task and number W of workers, one after the other: LIBERO's loop in W processes; ours, through the pool, with
W warm workers (models loaded) into a real store. Horizon, initial states and actions are the same, and every process,
LIBERO's too, has one thread.

LIBERO takes about a minute an episode, so its loop may be stopped before its end. Its episode is then composed of what
was measured: reset + settling + horizon x mean step; `how` says which it is. Ours are always run whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.bench.child import Child, children
from stages.bench.measure import timed
from stages.bench.medians import median
from stages.bench.stub import LOOKS, STARTUP, Stub, request, stub_actions
from stages.sim.tasks import Task
from stages.sim.workers.filling import fill
from stages.sim.workers.pool import Pool

SLOTS = 3
"""Episodes under way in each of our workers, as `srpo collect` has it."""
WHOLE, COMPOSED = "whole episodes", "reset + settling + horizon x mean step"


@dataclass(frozen=True)
class Schedule:
    """What is run."""

    tasks: Sequence[Task]
    workers: Sequence[int]
    """numbers of processes"""
    looks: Sequence[str]
    episodes: int
    """of ours, a worker"""
    horizon: int
    seconds: float
    """after which LIBERO's steps are stopped, in every process; infinity: never"""

    @property
    def rounds(self) -> int:
        """How often `progress` is called."""
        return len(self.tasks) * (1 + len(self.workers) * (1 + len(self.looks)))


def bench_episodes(plan: Schedule, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Seconds an episode: with W workers the wall time for E episodes, divided by E.

    Returns:
        For every number of workers: workers; libero (see `_libero`), and each look with cameras, episode_s and ratio
        (LIBERO's seconds over ours), means over tasks, and task_ratios, a `medians.median` of them; by_task: each task.
    """
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in plan.workers}
    for task in plan.tasks:
        with children("stages.bench.libero:LiberoLoop", max(plan.workers)) as loops:
            make = _make(loops, task, plan.horizon)
            progress(f"task {task.index}, LIBERO's environments made")
            for workers in plan.workers:
                row = {"task": task.index, "libero": _libero(loops[:workers], plan) | {"make_s": make}}
                progress(f"task {task.index}, {workers} workers, LIBERO's loop")
                for look in plan.looks:
                    row[look] = _ours(task, workers, look, plan)
                    progress(f"task {task.index}, {workers} workers, {look}")
                found[workers].append(row)
    return [_summary(workers, rows, plan.looks) for workers, rows in found.items()]


def _make(loops: Sequence[Child], task: Task, horizon: int) -> float:
    for loop in loops:
        loop.begin("make", task, horizon)
    return float(np.mean([loop.end() for loop in loops]))


def _libero(loops: Sequence[Child], plan: Schedule) -> dict[str, Any]:
    """One episode in each process at once.

    Returns:
        episode_s and how it came about; reset_s, settle_s; step (ms, both cameras drawn) as `medians.median`;
        resident_mb of a process.
    """
    for i, loop in enumerate(loops):
        loop.begin("episode", i, stub_actions(i, plan.horizon), plan.seconds)
    told = [loop.end() for loop in loops]
    whole = all(one["whole"] for one in told)
    seconds = np.mean([_episode(one, plan.horizon) for one in told])
    means = {name: float(np.mean([one[name] for one in told])) for name in ("reset_s", "settle_s", "resident_mb")}
    steps = median(np.concatenate([one["steps"] for one in told]), 1e3)
    return {"episode_s": float(seconds) / len(loops), "how": WHOLE if whole else COMPOSED, "step": steps, **means}


def _episode(one: dict[str, Any], horizon: int) -> float:
    """Seconds of one process's episode, composed where it was stopped."""
    steps = one["steps"]
    return float(one["reset_s"] + one["settle_s"] + (steps.sum() if one["whole"] else horizon * steps.mean()))


def _ours(task: Task, workers: int, look: str, plan: Schedule) -> dict[str, Any]:
    """A run of the pool: episodes, seconds from asking for the store to its last episode, start_s of the pool."""
    with TemporaryDirectory(prefix="srpo-bench-") as folder, Pool(workers, SLOTS) as pool:
        start = timed(_fill, Path(folder) / "warm.zarr", task, workers * SLOTS, STARTUP, look, pool)
        count = workers * plan.episodes
        seconds = timed(_fill, Path(folder) / "timed.zarr", task, count, plan.horizon, look, pool)
    return {"episode_s": seconds / count, "episodes": count, "seconds": seconds, "start_s": start}


def _fill(path: Path, task: Task, episodes: int, horizon: int, look: str, pool: Pool) -> None:
    fill(path, request([task], episodes, horizon, look), Stub(horizon, episodes), pool)


def _summary(workers: int, rows: list[dict[str, Any]], looks: Sequence[str]) -> dict[str, Any]:
    seconds = {who: float(np.mean([row[who]["episode_s"] for row in rows])) for who in ("libero", *looks)}
    hows = {row["libero"]["how"] for row in rows}
    steps = median([row["libero"]["step"]["median"] for row in rows])
    libero = {"episode_s": seconds["libero"], "how": " or ".join(sorted(hows)), "step_ms": steps["median"]}
    means = ("make_s", "reset_s", "settle_s", "resident_mb")
    libero |= {name: float(np.mean([row["libero"][name] for row in rows])) for name in means}
    ours = {}
    for look in looks:
        ratios = median([row["libero"]["episode_s"] / row[look]["episode_s"] for row in rows])
        ours[look] = {"cameras": LOOKS[look], "episode_s": seconds[look]}
        ours[look] |= {"ratio": seconds["libero"] / seconds[look], "task_ratios": ratios}
    return {"workers": workers, "libero": libero, **ours, "by_task": rows}
