"""A task as it is drawn: one model and renderer for each look, shared by the task's simulators in this process."""

from functools import partial
from weakref import finalize

import mujoco
import numpy as np

from stages.sim.looks.render import Renderer
from stages.sim.looks.variation import Variation
from stages.sim.models.memory import give_back
from stages.sim.models.model import TaskModel
from stages.sim.models.palette import BURNER_OFF, BURNER_ON
from stages.sim.models.shared import Shared

KEPT = {"lite": 12, "full": 2}
"""Drawings kept in a process beside those in use; one takes some 3 MB in `lite`, 0.8 GB in `full`."""


class Drawing:
    """Draws states of a task in one look. It belongs to the thread that made it, as OpenGL contexts do."""

    def __init__(self, task: TaskModel, look: str) -> None:
        self._lite = look == "lite"
        self._model = task.physics if self._lite else task.compile_full()
        self._posed = None if self._lite else mujoco.MjData(self._model)
        self._renderer = Renderer(self._model, look)
        finalize(self, _free, self._renderer, self._lite).atexit = False
        self._burners = [
            (int(task.physics.joint(burner["joint"]).qposadr[0]), burner["threshold"], self._sites(burner["sites"]))
            for burner in task.numbers["burners"]
        ]

    def _sites(self, names: list[str]) -> list[int]:
        return [self._model.site(name).id for name in names]

    def render(self, data: mujoco.MjData, camera: str, size: int, variation: Variation | None = None) -> np.ndarray:
        """(size, size, 3) u8 of the reduced model's `data`, whose kinematics are current; upright for a person.

        Raises:
            UserError: unknown camera or impossible size.
        """
        self._light_burners(data.qpos)
        return self._renderer.render(self._pose(data), camera, size, variation)

    def _light_burners(self, qpos: np.ndarray) -> None:
        """LIBERO shows a burner's site while the stove is on; `lite` shows it dark otherwise."""
        for address, threshold, sites in self._burners:
            lit = bool(qpos[address] >= threshold)
            if self._lite:
                self._model.site_rgba[sites] = BURNER_ON if lit else BURNER_OFF
            else:
                self._model.site_rgba[sites, 3] = float(lit)

    def _pose(self, data: mujoco.MjData) -> mujoco.MjData:
        """The same pose in the model that is drawn."""
        if self._posed is None:
            return data
        posed = self._posed
        posed.qpos[:], posed.qvel[:], posed.time = data.qpos, data.qvel, data.time
        kinematics(self._model, posed)
        return posed


def _free(renderer: Renderer, lite: bool) -> None:
    """Not left to MuJoCo, which would free by number in whatever OpenGL context is current then."""
    renderer.close()
    if not lite:
        give_back()


def kinematics(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """What drawing needs of a state: where bodies, cameras and lights are."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)


_drawings: dict[str, Shared[TaskModel, Drawing]] = {
    look: Shared(partial(Drawing, look=look), keep) for look, keep in KEPT.items()
}


def drawing(model: TaskModel, look: str) -> Drawing:
    """The drawing of a task in a look; whoever holds it keeps it alive."""
    return _drawings[look].get(model)
