"""A frame drawn and read back: ours in both looks, and LIBERO's own renderer (`env.sim.render`), taking turns.

All draw the same moments of one trajectory; each brings its kinematics up to date and turns the picture upright.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data.watching import Tick
from stages.bench.child import Child
from stages.bench.measure import evenly_chosen, timed
from stages.bench.medians import median
from stages.bench.settings import RenderSettings
from stages.sim.engine_libero import LiberoEngine
from stages.sim.engines import Engine
from stages.sim.looks.render import CAMERAS
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task, select_tasks

SIZES = {"lite": (64, 96, 128, 256), "full": (128, 256)}
"""Pixels a side; LIBERO draws those of full."""
APART = 8
"""Control steps between two moments, as between two queries."""
Shot = tuple[str, str, int]
"""look or `libero`, camera, pixels a side"""


def bench_render(settings: RenderSettings, tick: Tick | None = None) -> dict[str, Any]:
    """Milliseconds a frame.

    Args:
        settings: what is drawn.
        tick: told of every task done.

    Returns:
        JSON-able: suite, tasks (numbers), frames (a task) and rows: look (`libero` among them), camera, size, ms (a
        `medians.median` over all frames of all tasks) and, where LIBERO draws that size too, ratio: LIBERO's time over
        this one, the median over the moments.
    """
    tasks = evenly_chosen(select_tasks(settings.suite, settings.tasks), settings.libero_tasks)
    found: dict[Shot, list[float]] = {}
    for i, task in enumerate(tasks):
        with Child("stages.bench.render:FrameTimer") as child:
            for shot, times in child.call("measure", task, settings.looks, settings.frames).items():
                found.setdefault(shot, []).extend(times)
        if tick:
            tick(i + 1, len(tasks), task.instruction)
    rows = [_row(shot, times, found.get(("libero", *shot[1:]))) for shot, times in found.items()]
    numbers = [task.index for task in tasks]
    return {"suite": settings.suite, "tasks": numbers, "frames": settings.frames, "rows": rows}


def _row(shot: Shot, times: list[float], libero: list[float] | None) -> dict[str, Any]:
    row = dict(zip(("look", "camera", "size"), shot, strict=True)) | {"ms": median(times, 1e3)}
    return row if libero is None else row | {"ratio": float(np.median(np.divide(libero, times)))}


class FrameTimer:
    """Times frames; lives in a `Child`."""

    def measure(self, task: Task, looks: tuple[str, ...], frames: int) -> dict[Shot, list[float]]:
        """Seconds of every frame."""
        engines: dict[str, Engine] = {"libero": LiberoEngine(task), **{look: Simulator(task, look) for look in looks}}
        sizes = SIZES | {"libero": SIZES["full"]}
        shots = [(name, camera, size) for name in engines for camera in CAMERAS for size in sizes[name]]
        found: dict[Shot, list[float]] = {shot: [] for shot in shots}
        engines["libero"].reset(0)
        for i, state in enumerate(_moments(task, frames + 1)):
            for name, camera, size in shots:
                engines[name].set_state(state)
                seconds = timed(engines[name].render, camera, size)
                if i:  # the first frame makes buffers
                    found[name, camera, size].append(seconds)
        return found


def _moments(task: Task, count: int) -> Iterator[np.ndarray]:
    """States (S,) of smooth random actions."""
    simulator = Simulator(task)
    simulator.reset(0)
    for t, action in enumerate(smooth_actions(0, count * APART)):
        if t % APART == 0:
            yield simulator.state()
        simulator.step(action)
