"""Control steps side by side: ours, bare physics, and LIBERO's env.step without cameras.

Bare physics is `mj_step(physics, data, 25)` of the same model, from the same integration state, under the torques that
our step ended with. The two alternate which goes first; LIBERO's steps, over the same actions, come in short blocks in
between. So what else runs on the machine falls on all alike.
"""

from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import numpy as np

from stages.bench.child import Child
from stages.bench.measure import timed
from stages.bench.medians import median
from stages.sim.engine_libero import LiberoEngine
from stages.sim.physics.stepping import SUBSTEPS
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task

RESETS = range(1, 6)
STATE = mujoco.mjtState.mjSTATE_INTEGRATION
BLOCK = 9
"""Steps between two turns of LIBERO; odd, so that ours and bare physics are first after it equally often."""


def bench_step(
    tasks: Sequence[Task], libero: Sequence[Task], steps: int, progress: Callable[[Task], None]
) -> dict[str, Any]:
    """Milliseconds a control step.

    Args:
        tasks: what to measure.
        libero: the tasks of them on which LIBERO steps too.
        steps: control steps a task, of smooth random actions from initial state 0.
        progress: told of every task done.

    Returns:
        srpo, bare, libero (ms), ratio_bare (srpo / bare), ratio_libero (libero / srpo), reset (ms, of an initial state
        that this process has settled before) and settle (ms, the first time), each as `medians.median` over the tasks'
        medians; rows: one a task.
    """
    rows = []
    with Child("stages.bench.step:StepTimer") as child:
        for task in tasks:
            rows.append(_row(task, child.call("measure", task, steps, task in libero)))
            progress(task)
    with_libero = [row for row in rows if "libero_ms" in row]
    return {
        "srpo": median([row["srpo_ms"] for row in rows]),
        "bare": median([row["bare_ms"] for row in rows]),
        "libero": median([row["libero_ms"] for row in with_libero]),
        "ratio_bare": median([row["ratio"] for row in rows]),
        "ratio_libero": median([row["libero_ms"] / row["srpo_ms"] for row in with_libero]),
        "reset": median([row["reset_ms"] for row in rows]),
        "settle": median([row["settle_ms"] for row in rows]),
        "steps": steps,
        "rows": rows,
    }


def _row(task: Task, seconds: dict[str, np.ndarray]) -> dict[str, Any]:
    """A task's medians over its steps; the ratio is that of each pair of steps."""
    ratio = median(seconds["srpo"] / seconds["bare"])
    row = {"task": task.index, "instruction": task.instruction, "ratio": ratio["median"], "interval": ratio["interval"]}
    return row | {f"{who}_ms": 1e3 * float(np.median(times)) for who, times in seconds.items()}


class StepTimer:
    """Times steps; lives in a `Child`."""

    def measure(self, task: Task, steps: int, with_libero: bool) -> dict[str, np.ndarray]:
        """Seconds a step (steps,) by who took it: srpo, bare and, if asked for, libero; and of reset and settle."""
        pair = _Pair(task, smooth_actions(0, steps))
        resets = pair.resets()
        if not with_libero:
            return pair.run(range(steps)) | resets
        engine = LiberoEngine(task)
        try:
            return _with_libero(pair, engine) | resets
        finally:
            engine.close()


def _with_libero(pair: "_Pair", engine: LiberoEngine) -> dict[str, np.ndarray]:
    engine.reset(0)
    blocks = []
    for start in range(0, len(pair.actions), BLOCK):
        turn = range(start, min(start + BLOCK, len(pair.actions)))
        times = [timed(engine.step, pair.actions[t]) for t in turn]
        blocks.append(pair.run(turn) | {"libero": np.array(times)})
    return {who: np.concatenate([block[who] for block in blocks]) for who in blocks[0]}


class _Pair:
    """Ours and bare physics along one trajectory, which ours has gone through once before."""

    def __init__(self, task: Task, actions: np.ndarray) -> None:
        self.actions = actions
        self._simulator = Simulator(task)
        self._physics, self._data = self._simulator.model.physics, self._simulator.data
        self._other = mujoco.MjData(self._physics)
        self._states = np.empty((len(actions), mujoco.mj_stateSize(self._physics, STATE)))
        self._controls = np.empty((len(actions), self._physics.nu))
        self._rehearse()

    def _rehearse(self) -> None:
        """Note the state before and the torques after each step, then go back to the start."""
        self._simulator.reset(0)
        for t, action in enumerate(self.actions):
            mujoco.mj_getState(self._physics, self._data, self._states[t], STATE)
            self._simulator.step(action)
            self._controls[t] = self._data.ctrl
        self._simulator.reset(0)

    def resets(self) -> dict[str, np.ndarray]:
        """Seconds to settle initial states that are new to this process, and to restore them again."""
        times = np.array([[timed(self._simulator.reset, init) for init in RESETS] for _ in range(2)])
        self._simulator.reset(0)
        return {"settle": times[0], "reset": times[1]}

    def run(self, turn: range) -> dict[str, np.ndarray]:
        """Seconds of the steps `turn`, which go on where the last ones ended."""
        both = np.array([self._times(t) for t in turn])
        return {"srpo": both[:, 0], "bare": both[:, 1]}

    def _times(self, t: int) -> tuple[float, float]:
        mujoco.mj_setState(self._physics, self._other, self._states[t], STATE)
        self._other.ctrl[:] = self._controls[t]
        if t % 2:
            ours = timed(self._simulator.step, self.actions[t])
            return ours, timed(mujoco.mj_step, self._physics, self._other, SUBSTEPS)
        bare = timed(mujoco.mj_step, self._physics, self._other, SUBSTEPS)
        return timed(self._simulator.step, self.actions[t]), bare
