"""Pictures of stored states: what the world model, `inspect` and the report look at.

Legend: n moments, S size of a stored state row (time, qpos, qvel, zero-padded), H = W = the size asked for.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np

from data.errors import UserError, unknown
from stages.sim.looks.drawing import KEPT, drawing, kinematics
from stages.sim.looks.variation import Variation
from stages.sim.models.shared import Shared
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks


class StateView:
    """Renders rows of `step/state` of one suite in one look; keeps a simulator of the tasks seen last.

    OpenGL contexts belong to a thread: use a view in the thread that made it.
    """

    def __init__(self, suite: str, look: str) -> None:
        if look not in KEPT:
            raise unknown("look", look, KEPT)
        self._tasks = suite_tasks(suite)
        self._suite, self._look = suite, look
        self._simulators = Shared(self._make, KEPT[look])

    def frames(
        self, task: int, states: np.ndarray, camera: str, size: int, variation: Variation | None = None
    ) -> np.ndarray:
        """States (n, S) of task number `task` -> upright pictures (n, size, size, 3) uint8, varied if so asked.

        Raises:
            UserError: the suite has no such task.
        """
        if not 0 <= task < len(self._tasks):
            raise UserError(f"{self._suite} has tasks 0 to {len(self._tasks) - 1}, not {task}")
        simulator = self._simulators.get(task)
        shown = self._render if variation is None else partial(self._render_varied, variation)
        return np.stack(list(shown(simulator, states, camera, size)))

    def _make(self, task: int) -> Simulator:
        return Simulator(self._tasks[task], self._look)

    def _render(self, simulator: Simulator, states: np.ndarray, camera: str, size: int) -> Iterable[np.ndarray]:
        for row in states:
            simulator.set_state(row)
            yield simulator.render(camera, size)

    def _render_varied(
        self, variation: Variation, simulator: Simulator, states: np.ndarray, camera: str, size: int
    ) -> Iterable[np.ndarray]:
        shared = drawing(simulator.model, self._look)
        for row in states:
            simulator.set_state(row)
            kinematics(simulator.model.physics, simulator.data)
            yield shared.render(simulator.data, camera, size, variation)
