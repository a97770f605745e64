"""Both engines by name, and what they have in common."""

from typing import Protocol

import numpy as np

from data.errors import unknown
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task

ENGINES = ("fast", "libero")


class Engine(Protocol):
    """What both engines do; see `Simulator` for shapes."""

    task: Task

    def reset(self, init: int) -> None: ...
    def step(self, action: np.ndarray) -> bool: ...
    def state(self) -> np.ndarray: ...
    def set_state(self, row: np.ndarray) -> None: ...
    def proprio(self) -> np.ndarray: ...
    def render(self, camera: str, size: int) -> np.ndarray: ...
    def close(self) -> None: ...


def make_simulator(task: Task, look: str = "lite", engine: str = "fast") -> Engine:
    """The fast engine, or LIBERO's own (slow, the independent truth).

    Raises:
        UserError: unknown engine or look.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine == "fast":
        return Simulator(task, look)
    from stages.sim.engine_libero import LiberoEngine

    return LiberoEngine(task, look)
