"""Simulators between two episodes: a few tasks' are kept for the next one, the rest are let go with all they hold."""

from collections import OrderedDict
from collections.abc import Container

from stages.sim.engines import Engine, make_simulator
from stages.sim.looks.drawing import KEPT
from stages.sim.tasks import Task

Key = tuple[Task, str, str]
"""Task, look and engine."""


class IdleSimulators:
    """Simulators that nobody uses at the moment, of at most `drawing.KEPT` tasks a look."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Key, list[Engine]] = OrderedDict()

    def has(self, key: Key) -> bool:
        """Whether one is idle."""
        return bool(self._idle.get(key))

    def take(self, key: Key) -> Engine:
        """One that is idle, or a new one."""
        idle = self._idle.get(key)
        return idle.pop() if idle else make_simulator(*key)

    def give(self, key: Key, simulator: Engine) -> None:
        """Keep one; if that is a task too many, let go of the task used longest ago."""
        self._idle.setdefault(key, []).append(simulator)
        self._idle.move_to_end(key)
        look = [other for other in self._idle if other[1] == key[1]]
        for other in look[: -KEPT[key[1]]]:
            self._drop(other)

    def keep(self, keys: Container[Key]) -> None:
        """Let go of every other."""
        for key in list(self._idle):
            if key not in keys:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        for simulator in self._idle.pop(key):
            simulator.close()
