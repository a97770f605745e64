"""`srpo bench sim`: the whole simulator of a suite beside LIBERO and bare physics, in one run.

Control steps, whole episodes, memory, start, and threads against processes; see the modules of the same names.
"""

import math
from collections.abc import Sequence
from typing import Any

from data.watching import Tick
from stages.bench.episodes import Schedule, bench_episodes
from stages.bench.measure import evenly_chosen
from stages.bench.memory import bench_memory
from stages.bench.meter import Meter
from stages.bench.parallel import ROUNDS, bench_parallel
from stages.bench.settings import SimSettings
from stages.bench.start import bench_collect_start, bench_worker_start
from stages.bench.step import bench_step
from stages.bench.stub import LOOKS
from stages.sim.tasks import select_tasks

STARTS = 3
LOADED = {"full": 3, "lite": 10}
"""Tasks that the worker holds whose memory is measured."""

LEGEND = {
    "step_ms": "milliseconds a control step of 50 ms, nothing drawn; median over tasks",
    "episode_s": "seconds an episode: the wall time of many, run by all workers side by side, divided by their number",
    "ratio_bare": "srpo's step_ms over bare physics', median over tasks",
    "ratio_step": "LIBERO's step_ms over srpo's, median over the tasks that LIBERO stepped",
    "ratio_episode": "LIBERO's episode_s over srpo's: how many times as many episodes srpo runs with as many workers",
    "interval": "95 %, from order statistics of n samples; null below six",
    "how": "whether LIBERO's episodes were run whole, or their time composed of what was measured of them",
}


def bench_sim(settings: SimSettings, collect: Sequence[str], tick: Tick | None = None) -> dict[str, Any]:
    """Measure everything.

    Args:
        settings: what and how much.
        collect: the command line of `srpo collect`, whose start is timed.
        tick: told how far it is, in planned seconds.

    Returns:
        JSON-able: suite, look, cameras, workers, horizon; libero, srpo, bare: `step_ms`, the first two also `episode_s`
        (with `workers` processes, in `look`); ratio_bare, ratio_step, ratio_episode; legend, what these mean; step,
        episodes, memory, start, parallel: what the functions of those names return.

    Raises:
        UserError: what LIBERO, drawing or a fresh `srpo collect` needs is missing.
    """
    tasks = select_tasks(settings.suite, settings.tasks)
    some = evenly_chosen(tasks, settings.libero_tasks)
    plan = Schedule(
        tasks=evenly_chosen(tasks, settings.episode_tasks),
        workers=settings.counts(),
        looks=settings.looks,
        episodes=settings.episodes,
        horizon=settings.horizon or tasks[0].horizon,
        seconds=settings.seconds or math.inf,
    )
    meter = Meter(tick)
    stepping = meter.plan(len(tasks), 1.0 + 12.0 * len(some) / len(tasks))
    running = meter.plan(plan.rounds, _round_seconds(plan))
    holding = meter.plan(len(settings.looks), 8.0)
    starting = meter.plan(STARTS + 2, 6.0)
    racing = meter.plan(ROUNDS, 2.0)
    steps = bench_step(tasks, some, settings.steps, lambda task: stepping(f"task {task.index}, control steps"))
    episodes = bench_episodes(plan, running)
    memory = {look: bench_memory(evenly_chosen(tasks, LOADED[look]), look, holding) for look in settings.looks}
    middle = evenly_chosen(tasks, 1)[0]
    start = {"worker_s": bench_worker_start(middle, STARTS)}
    starting("start of a worker")
    start |= bench_collect_start(collect, middle, STARTS, starting)
    parallel = bench_parallel(middle, max(plan.workers), settings.steps, racing)
    found = {"step": steps, "episodes": episodes, "memory": memory, "start": start, "parallel": parallel}
    return _headline(settings, plan, steps, episodes[-1]) | found


def _headline(settings: SimSettings, plan: Schedule, steps: dict[str, Any], episodes: dict[str, Any]) -> dict[str, Any]:
    """The figures that sum it up: with all workers, in the first look."""
    look = settings.looks[0]
    ours = episodes[look]
    libero = {"step_ms": steps["libero"]["median"]} | {k: episodes["libero"][k] for k in ("episode_s", "how")}
    return {
        "suite": settings.suite,
        "look": look,
        "cameras": LOOKS[look],
        "workers": episodes["workers"],
        "horizon": plan.horizon,
        "libero": libero,
        "srpo": {"step_ms": steps["srpo"]["median"], "episode_s": ours["episode_s"]},
        "bare": {"step_ms": steps["bare"]["median"]},
        "ratio_episode": ours["ratio"],
        "ratio_bare": steps["ratio_bare"]["median"],
        "ratio_step": steps["ratio_libero"]["median"],
        "legend": LEGEND,
    }


def _round_seconds(plan: Schedule) -> float:
    """What a round of `bench_episodes` takes on two slow cores, on average."""
    steps = plan.episodes * plan.horizon
    libero = 6 + min(plan.seconds, 0.25 * plan.horizon)
    ours = sum({"full": 6 + 0.02 * steps, "lite": 2 + 0.004 * steps}[look] for look in plan.looks)
    return len(plan.tasks) * (10 + len(plan.workers) * (libero + ours)) / plan.rounds
