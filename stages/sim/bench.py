"""How long things take: a control step against bare physics and LIBERO's own step, drawing, and starting."""

import subprocess
import sys
import time
from typing import Any

import mujoco
import numpy as np

from stages.sim.engine_libero import LiberoEngine
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.stepping import SUBSTEPS
from stages.sim.tasks import Task, select_tasks

STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def bench_step(suite: str = "libero_object", task: int = 2, steps: int = 200, libero: bool = True) -> dict[str, Any]:
    """Milliseconds a control step: ours, bare `mj_step` x 25, and LIBERO's env.step without cameras.

    Ours and bare alternate and start from the same state, so that other load falls on both alike.

    Returns:
        suite, task, steps, ours_ms, bare_ms, ratio (of medians), controller_ms; with `libero` also libero_ms, speedup.
    """
    chosen = select_tasks(suite, str(task))[0]
    actions = smooth_actions(0, steps)
    ours, bare = _paired(chosen, actions)
    ours_ms, bare_ms = 1e3 * float(np.median(ours)), 1e3 * float(np.median(bare))
    result = {"suite": suite, "task": task, "steps": steps, "ours_ms": ours_ms, "bare_ms": bare_ms}
    result |= {"ratio": ours_ms / bare_ms, "controller_ms": 1e3 * float(np.median(ours - bare))}
    if libero:
        libero_ms = 1e3 * float(np.median(_libero_times(chosen, actions)))
        result |= {"libero_ms": libero_ms, "speedup": libero_ms / ours_ms}
    return result


def _paired(task: Task, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds a step (T,) of ours and of bare physics, which starts from the same state with the same controls."""
    simulator = Simulator(task)
    physics, data = simulator.model.physics, simulator.data
    other = mujoco.MjData(physics)
    before = np.empty(mujoco.mj_stateSize(physics, STATE))
    simulator.reset(0)
    simulator.step(actions[0])
    simulator.reset(0)
    ours, bare = np.empty(len(actions)), np.empty(len(actions))
    for t, action in enumerate(actions):
        mujoco.mj_getState(physics, data, before, STATE)
        start = time.perf_counter()
        simulator.step(action)
        ours[t] = time.perf_counter() - start
        mujoco.mj_setState(physics, other, before, STATE)
        other.ctrl[:] = data.ctrl
        start = time.perf_counter()
        mujoco.mj_step(physics, other, SUBSTEPS)
        bare[t] = time.perf_counter() - start
    return ours, bare


def _libero_times(task: Task, actions: np.ndarray) -> np.ndarray:
    engine = LiberoEngine(task)
    engine.reset(0)
    times = np.empty(len(actions))
    for t, action in enumerate(actions):
        start = time.perf_counter()
        engine.step(action)
        times[t] = time.perf_counter() - start
    engine.close()
    return times


def bench_render(suite: str = "libero_object", task: int = 2, frames: int = 100) -> dict[str, Any]:
    """Milliseconds a frame, drawn and read back: {look: {"camera size": ms}}, the arm moving between frames."""
    chosen = select_tasks(suite, str(task))[0]
    result: dict[str, Any] = {"suite": suite, "task": task, "frames": frames}
    for look, shots in (
        ("lite", (("agentview", 96), ("agentview", 128), ("robot0_eye_in_hand", 64))),
        ("full", (("agentview", 256),)),
    ):
        simulator = Simulator(chosen, look)
        count = frames if look == "lite" else max(frames // 10, 3)
        result[look] = {f"{camera} {size}": _frame_ms(simulator, camera, size, count) for camera, size in shots}
    return result


def _frame_ms(simulator: Simulator, camera: str, size: int, frames: int) -> float:
    simulator.reset(0)
    simulator.render(camera, size)
    times = []
    for action in smooth_actions(0, frames):
        simulator.step(action)
        start = time.perf_counter()
        simulator.render(camera, size)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def bench_start(suite: str = "libero_object", task: int = 2) -> dict[str, float]:
    """Seconds until a fresh process has its first settled state, everything cached: imports, models, settling."""
    program = (
        "import time; t = time.perf_counter()\n"
        "from stages.sim.simulator import Simulator\n"
        "from stages.sim.tasks import select_tasks\n"
        f"s = Simulator(select_tasks({suite!r}, '{task}')[0]); s.reset(0); print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", program]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    return {"first_s": times[0], "cached_s": min(times[1:])}
