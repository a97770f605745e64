"""The slow engine: the same task through LIBERO's own OffScreenRenderEnv, as the independent truth.

Nothing of ours is in its way: the fixed seed, reset, set_init_state, ten no-op steps, env.step. Its camera observations
are off (images are drawn by its own renderer when asked for), which changes no state.
"""

import atexit
from typing import Any

import numpy as np

from data.errors import UserError
from stages.sim.looks.devices import drawing_environment
from stages.sim.looks.gl import gl_kind, release_gl
from stages.sim.looks.render import check_request
from stages.sim.provider import import_libero, quiet
from stages.sim.simulator import NO_OP, SETTLE_STEPS, axis_angle, check_clock
from stages.sim.tasks import FIXTURE_SEED, Task, initial_state

NO_LIMIT = 1_000_000


class LiberoEngine:
    """As `Simulator`, for comparison: seconds to make and to reset, about 10 ms a step, always LIBERO's full look."""

    def __init__(self, task: Task, look: str = "full") -> None:
        """Raises UserError: a look other than full, wrong versions, missing assets, or no OpenGL."""
        if look != "full":
            raise UserError(f"the libero engine draws LIBERO's own pixels only; --look full, not {look}")
        self.task = task
        self._env = self._make(task)
        atexit.register(release_gl)  # robosuite ends the display at exit: ours must go first, so be registered later
        atexit.register(self.close)

    def _make(self, task: Task) -> Any:
        import_libero()
        from libero.libero.envs import OffScreenRenderEnv

        with quiet(), drawing_environment(gl_kind()):
            return OffScreenRenderEnv(bddl_file_name=str(task.bddl_file), use_camera_obs=False, horizon=NO_LIMIT)

    def close(self) -> None:
        """Free its OpenGL context; the engine is of no use afterwards."""
        atexit.unregister(self.close)
        if self._env is not None:
            self._gl().make_current()
            self._env.close()
            self._env = None

    def reset(self, init: int) -> None:
        """LIBERO's reset with the fixed seed, the recorded initial state, and 10 no-op steps."""
        self.start(init)
        self.settle()

    def start(self, init: int) -> None:
        """The first part of `reset`, without the no-op steps."""
        self._reset_env()
        self._env.set_init_state(initial_state(self.task, init))

    def settle(self) -> None:
        """The no-op steps after `start`."""
        for _ in range(SETTLE_STEPS):
            self.step(np.array(NO_OP))

    def _reset_env(self) -> None:
        """LIBERO's hard reset makes a new renderer; the old one is freed in its own context."""
        old = self._env.sim._render_context_offscreen
        self._reset_seeded()
        old.gl_ctx.make_current()
        old.con.free()
        self._gl().make_current()

    def _reset_seeded(self) -> None:
        generator = np.random.get_state()  # noqa: NPY002  (LIBERO places fixtures with the global generator)
        try:
            with quiet():
                self._env.seed(FIXTURE_SEED)
                self._env.reset()
        finally:
            np.random.set_state(generator)  # noqa: NPY002

    def _gl(self) -> Any:
        return self._env.sim._render_context_offscreen.gl_ctx

    def step(self, action: np.ndarray) -> bool:
        """One control step of `action` (7,); whether LIBERO's goal holds. Raises SimulationDivergedError."""
        before = self._env.sim.data.time
        _, _, success, _ = self._env.step(np.asarray(action, np.float64))
        check_clock(self.task, before, self._env.sim.data.time)
        return bool(success)

    def state(self) -> np.ndarray:
        """(S,) f64: time, qpos, qvel."""
        return np.asarray(self._env.get_sim_state(), np.float64)

    def set_state(self, row: np.ndarray) -> None:
        """Show a stored state (S,), zero padding at its end allowed."""
        size = len(self.state())
        if len(row) < size:
            raise UserError(f"a state of {self.task.name} has {size} numbers, not {len(row)}")
        self._env.set_init_state(np.asarray(row[:size], np.float64))

    def proprio(self) -> np.ndarray:
        """(8,) f32 as LIBERO observes it, at the present state."""
        self._env.sim.forward()
        return proprio_of(self._env.env._get_observations(force_update=True))

    def render(self, camera: str, size: int) -> np.ndarray:
        """(size, size, 3) u8 by LIBERO's renderer, upright for a person (LIBERO's observation is upside down)."""
        check_request(camera, size)
        self._env.sim.forward()
        self._gl().make_current()
        return np.ascontiguousarray(self._env.sim.render(camera_name=camera, width=size, height=size)[::-1])


def proprio_of(observation: dict[str, np.ndarray]) -> np.ndarray:
    """(8,) f32 of a LIBERO observation: hand position, axis-angle of its quaternion (x, y, z, w), fingers."""
    turn = axis_angle(observation["robot0_eef_quat"][[3, 0, 1, 2]])
    parts = (observation["robot0_eef_pos"], turn, observation["robot0_gripper_qpos"])
    return np.concatenate(parts).astype(np.float32)
