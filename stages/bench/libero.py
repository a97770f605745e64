"""LIBERO's own loop as published evaluations drive it, in a process of its own.

As in openvla's experiments/robot/libero (run_libero_eval.py, libero_utils.py): an OffScreenRenderEnv a task with both
camera observations at 256 pixels and seed 0; an episode is reset, set_init_state, ten no-op steps, then env.step for
every action, which draws every camera. The policy costs nothing, and what it would see is not even turned upright.
"""

import time
from typing import Any

import numpy as np

from stages.bench.measure import resident, timed
from stages.bench.stub import LOOKS
from stages.sim.provider import import_libero, quiet
from stages.sim.simulator import NO_OP, SETTLE_STEPS
from stages.sim.tasks import Task, initial_state

CAMERAS = LOOKS["full"]


class LiberoLoop:
    """Runs episodes of one task; lives in a `Child`."""

    def make(self, task: Task, horizon: int) -> float:
        """Seconds to import LIBERO and make the task's environment."""
        self._task = task
        return timed(self._make, horizon)

    def _make(self, horizon: int) -> None:
        import_libero()
        from libero.libero.envs import OffScreenRenderEnv

        (size,) = set(CAMERAS.values())
        with quiet():
            self._env = OffScreenRenderEnv(
                bddl_file_name=str(self._task.bddl_file),
                camera_names=list(CAMERAS),
                camera_heights=size,
                camera_widths=size,
                horizon=horizon + SETTLE_STEPS + 1,
            )
            self._env.seed(0)

    def episode(self, init: int, actions: np.ndarray, seconds: float) -> dict[str, Any]:
        """One episode of `actions` (T, 7): until its end, or success, or until its steps have taken `seconds`.

        Returns:
            reset_s, settle_s; steps: (t,) seconds of each step; whole: whether it came to its end; resident_mb.
        """
        with quiet():
            reset = timed(self._reset, init)
            settle = timed(self._settle)
            steps, done = self._steps(actions, seconds)
        whole = done or len(steps) == len(actions)
        return {"reset_s": reset, "settle_s": settle, "steps": steps, "whole": whole, "resident_mb": resident()}

    def _reset(self, init: int) -> None:
        self._env.reset()
        self._env.set_init_state(initial_state(self._task, init))

    def _settle(self) -> None:
        for _ in range(SETTLE_STEPS):
            self._env.step(np.array(NO_OP))

    def _steps(self, actions: np.ndarray, seconds: float) -> tuple[np.ndarray, bool]:
        steps, done, end = [], False, time.perf_counter() + seconds
        for action in actions:
            start = time.perf_counter()
            _, _, done, _ = self._env.step(action)
            steps.append(time.perf_counter() - start)
            if done or time.perf_counter() > end:
                break
        return np.array(steps), bool(done)
