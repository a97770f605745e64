"""A task's models and all that is shared by its simulators in this process."""

from typing import Any

import mujoco
import numpy as np

from data.errors import UserError
from stages.sim.models import lite
from stages.sim.models.entries import load_entry
from stages.sim.models.memory import compile_lean
from stages.sim.models.settled import SettledStates
from stages.sim.models.shared import Shared
from stages.sim.physics.controller import initial_state
from stages.sim.physics.goals import Goal
from stages.sim.tasks import Task

GRIP_SITE, HAND_BODY = "gripper0_grip_site", "robot0_right_hand"
KEPT_MODELS = 12
"""Reduced models (about 4 MB each) kept in a process for the next simulator, beside those in use."""


class TaskModel:
    """The reduced model of a task, and what goes with it.

    Attributes:
        physics: every simulator steps this one, whatever its look.
        numbers: see build.Built.
        reset: (117,) f64, see controller.py.
        settled: initial state -> (MuJoCo integration state, controller state) after the settling no-ops.
    """

    def __init__(self, task: Task) -> None:
        entry = load_entry(task)
        self.task = task
        self.physics = entry.physics
        self.numbers: dict[str, Any] = entry.numbers
        self._xml = entry.xml
        self.reset = np.array(self.numbers["reset"])
        self.controller = initial_state(self.reset)
        self.goal = Goal(self.numbers["goal"], self.physics)
        self.site = self.physics.site(GRIP_SITE).id
        self.hand = self.physics.body(HAND_BODY).id
        self.root = int(self.physics.body_rootid[self.physics.site_bodyid[self.site]])
        size = mujoco.mj_stateSize(self.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        self.settled = SettledStates(entry.folder, (size, len(self.controller)))

    @property
    def state_size(self) -> int:
        """S: time, qpos and qvel."""
        return 1 + int(self.physics.nq) + int(self.physics.nv)

    def compile_full(self) -> mujoco.MjModel:
        """LIBERO's own model with every mesh and texture: about 270 MB, and a second or two.

        Raises:
            UserError: an asset is missing or damaged.
        """
        try:
            model = compile_lean(self._xml)
        except ValueError as error:
            line = " ".join(str(error).split())
            raise UserError(f"{self.task.name}: cannot load the full look ({line}); check LIBERO_ASSETS") from error
        lite.place_bodies(model, self.numbers)
        return model


_models: Shared[Task, TaskModel] = Shared(TaskModel, KEPT_MODELS)


def task_model(task: Task) -> TaskModel:
    """The model of a task, from this process, from the cache folder, or built (seconds) and cached.

    Raises:
        UserError: wrong versions, missing assets, or an unknown goal.
    """
    return _models.get(task)


def forget_models() -> None:
    """Load every model anew from now on; those in use stay as they are."""
    _models.clear()
