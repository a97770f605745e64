"""The fast engine: LIBERO tasks stepped exactly as robosuite 1.4.0 does, without its overhead.

The state (time, qpos, qvel) is the record. Images and proprioception are views of it: computed from the state as
stored, so that a stored row shows the same picture later. LIBERO's observations are older: its hand pose by two
substeps of 2 ms, its fingers by one; at most 3 mm on smooth random actions, and nothing where the state is equal.
"""

import mujoco
import numpy as np

from data.errors import UserError, unknown
from stages.sim.looks.drawing import Drawing, drawing, kinematics
from stages.sim.looks.render import LOOKS
from stages.sim.models.model import TaskModel, task_model
from stages.sim.physics import controller
from stages.sim.physics.stepping import control_step, halves
from stages.sim.tasks import Task, initial_state

SETTLE_STEPS = 10
NO_OP = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)


CONTROL_STEP = 0.05
"""seconds of a control step"""


class SimulationDivergedError(RuntimeError):
    """The physics blew up: an error, never a failed episode."""


def check_clock(task: Task, before: float, after: float) -> None:
    """Whether a control step went on from `before` (s): MuJoCo answers a state that is NaN or too large with a reset.

    Raises:
        SimulationDivergedError: it was reset.
    """
    if after < before + CONTROL_STEP - 1e-6:
        raise SimulationDivergedError(f"{task.name}: the physics diverged after {before:.2f} s")


class Simulator:
    """One simulation of a task; simulators of the same task in a process share its models."""

    def __init__(self, task: Task, look: str = "lite") -> None:
        """Raises UserError: unknown look, wrong versions, missing assets."""
        if look not in LOOKS:
            raise unknown("look", look, LOOKS)
        self.task = task
        self.look = look
        self.model: TaskModel = task_model(task)
        self.data = mujoco.MjData(self.model.physics)
        self._drawing: Drawing | None = None
        self._controller = self.model.controller.copy()
        self._current = False
        self._addresses = (*halves(), self.model.physics._address, self.data._address)
        self._arm = arm_views(self.model, self.data)

    def reset(self, init: int) -> None:
        """Restore recorded initial state `init` and let it settle for 10 no-op control steps (once a process)."""
        settled = self.model.settled.get(init)
        if settled is None:
            settled = self.model.settled[init] = self._settle(init)
        mujoco.mj_setState(self.model.physics, self.data, settled[0], mujoco.mjtState.mjSTATE_INTEGRATION)
        self._controller[:] = settled[1]
        self._current = False

    def _settle(self, init: int) -> tuple[np.ndarray, np.ndarray]:
        row = initial_state(self.task, init)
        mujoco.mj_resetData(self.model.physics, self.data)
        self.set_state(row)
        mujoco.mj_forward(self.model.physics, self.data)
        self._controller[:] = self.model.controller
        for _ in range(SETTLE_STEPS):
            self.step(np.array(NO_OP))
        size = mujoco.mj_stateSize(self.model.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        state = np.empty(size)
        mujoco.mj_getState(self.model.physics, self.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return state, self._controller.copy()

    def step(self, action: np.ndarray) -> bool:
        """One control step of 50 ms.

        Args:
            action: (7,) pose change in [-1, 1] (clipped) and gripper: -1 opens, +1 closes.

        Returns:
            Whether LIBERO's goal holds.

        Raises:
            ValueError: not seven finite numbers.
            SimulationDivergedError: the state became too large or NaN, and MuJoCo put the scene back to its start.
        """
        action = np.asarray(action, np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ValueError(f"an action is seven finite numbers, not {action}")
        before = self.data.time
        control_step(*self._addresses, self._controller, self.model.reset, action, self._arm)
        check_clock(self.task, before, self.data.time)
        self._current = False
        return self.model.goal(self.data)

    def state(self) -> np.ndarray:
        """(S,) f64: time, qpos, qvel."""
        return np.concatenate(([self.data.time], self.data.qpos, self.data.qvel))

    def set_state(self, row: np.ndarray) -> None:
        """Show a stored state (S,) (zero padding at its end is allowed); to continue an episode, `reset` instead.

        Raises:
            UserError: the row is shorter than this task's state.
        """
        size, nq = self.model.state_size, int(self.model.physics.nq)
        if len(row) < size:
            raise UserError(f"a state of {self.task.name} has {size} numbers, not {len(row)}")
        self.data.time = row[0]
        self.data.qpos[:] = row[1 : 1 + nq]
        self.data.qvel[:] = row[1 + nq : size]
        self._current = False

    def proprio(self) -> np.ndarray:
        """(8,) f32: gripper position 3 (m), hand orientation as axis-angle 3 (rad), finger positions 2 (m)."""
        self._refresh()
        position = self.data.site_xpos[self.model.site]
        turn = axis_angle(self.data.xquat[self.model.hand])
        fingers = self.data.qpos[controller.ARM : controller.ARM + 2]
        return np.concatenate((position, turn, fingers)).astype(np.float32)

    def render(self, camera: str, size: int) -> np.ndarray:
        """(size, size, 3) u8 of `agentview` or `robot0_eye_in_hand`, upright for a person."""
        if self._drawing is None:
            self._drawing = drawing(self.model, self.look)
        self._refresh()
        return self._drawing.render(self.data, camera, size)

    def close(self) -> None:
        """Let go of what it draws with, the largest thing it holds."""
        self._drawing = None

    def _refresh(self) -> None:
        """Kinematics of the present state: after a step they are still those of the last substep's start."""
        if not self._current:
            kinematics(self.model.physics, self.data)
            self._current = True


def arm_views(model: TaskModel, data: mujoco.MjData) -> controller.Arm:
    """What the controller reads and writes of `data`."""
    return controller.Arm(
        model.site, model.root, data.qpos, data.qvel, data.site_xpos, data.site_xmat, data.cdof, data.subtree_com,
        data.qM, data.qfrc_bias, model.physics.actuator_ctrlrange, data.ctrl,
    )  # fmt: skip


def axis_angle(quat: np.ndarray) -> np.ndarray:
    """Axis-angle (3,) of a quaternion (w, x, y, z), angle in [0, 2 pi]: robosuite's quat2axisangle, sign kept."""
    w = float(np.clip(quat[0], -1.0, 1.0))
    sine = np.sqrt(1.0 - w * w)
    return np.zeros(3) if sine == 0.0 else np.asarray(quat[1:4]) * (2.0 * np.arccos(w) / sine)
