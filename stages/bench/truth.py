"""LIBERO's own engine with its insides open: controls before a step, each predicate, and what `env.step` returned.

It has no renderer, which no state depends on, and which would cost seconds and hundreds of megabytes a reset.
"""

import atexit
from typing import Any

import numpy as np

from stages.sim.engine_libero import NO_LIMIT, LiberoEngine, proprio_of
from stages.sim.physics import controller as layout
from stages.sim.provider import import_libero, quiet
from stages.sim.tasks import Task


class Truth(LiberoEngine):
    """As `LiberoEngine`, but draws nothing; what is read here changes no later step."""

    def __init__(self, task: Task) -> None:
        """Raises UserError: wrong versions or missing assets."""
        super().__init__(task)
        self._observation: dict[str, np.ndarray] = {}

    def _make(self, task: Task) -> Any:
        import_libero()
        from libero.libero.envs.env_wrapper import ControlEnv

        options = {"use_camera_obs": False, "has_offscreen_renderer": False, "horizon": NO_LIMIT}
        with quiet():
            return ControlEnv(bddl_file_name=str(task.bddl_file), **options)

    def close(self) -> None:
        """End the environment; the engine is of no use afterwards."""
        atexit.unregister(self.close)
        if self._env is not None:
            self._env.close()
            self._env = None

    def render(self, camera: str, size: int) -> np.ndarray:
        """Raises RuntimeError: there is no renderer."""
        raise RuntimeError("this engine draws nothing; use LiberoEngine")

    def _reset_env(self) -> None:
        self._reset_seeded()

    def step(self, action: np.ndarray) -> bool:
        """As `LiberoEngine.step`; keeps the observation."""
        self._observation, _, success, _ = self._env.step(np.asarray(action, np.float64))
        return bool(success)

    def observed(self) -> np.ndarray:
        """(8,) f32: proprioception in the observation that the last `env.step` returned, as a policy would get it."""
        return proprio_of(self._observation)

    def predicates(self) -> list[bool]:
        """Each predicate of the goal, by LIBERO's own code."""
        problem = self._env.env
        return [bool(problem._eval_predicate(predicate)) for predicate in problem.parsed_problem["goal_state"]]

    def controller(self) -> np.ndarray:
        """(15,) f64: robosuite's controller in the layout of stages/sim/physics/controller.py."""
        robot = self._env.robots[0]
        state = np.zeros(layout.STATE)
        state[layout.GOAL_POS : layout.GOAL_ORI] = robot.controller.goal_pos
        state[layout.GOAL_ORI : layout.GRIP] = np.ravel(robot.controller.goal_ori)
        state[layout.GRIP : layout.STALE] = robot.gripper.current_action
        state[layout.STALE] = float(not robot.controller.new_update)
        return state

    def controls(self, action: np.ndarray) -> np.ndarray:
        """(U,) f64: what the first substep of `action` (7,) would write into ctrl, in the present state."""
        robot, sim = self._env.robots[0], self._env.sim
        saved = _values(robot.controller), np.array(robot.gripper.current_action), sim.data.ctrl.copy()
        sim.forward()
        self._env.env._pre_action(np.asarray(action, np.float64), True)
        controls = np.array(sim.data.ctrl)
        vars(robot.controller).update(saved[0])
        robot.gripper.current_action = saved[1]
        sim.data.ctrl[:] = saved[2]
        return controls


def _values(thing: Any) -> dict[str, Any]:
    """The numbers among an object's attributes, arrays copied."""
    return {
        name: np.array(value) if isinstance(value, np.ndarray) else value
        for name, value in vars(thing).items()
        if value is None or isinstance(value, np.ndarray | bool | int | float)
    }
