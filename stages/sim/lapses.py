"""Lapses of the scripted expert, which it makes up for: demonstrations of a second try.

A policy that never saw one goes on with an empty gripper when a grasp failed. In a demonstration with a lapse, what is
executed differs from what the expert means for a while: it drifts aside on the way down, closes beside the object and
rises, or it lets go of the object on its way. The labels stay the expert's, which notices a miss as the empty gripper
rises, not before it has closed: the moments around a good grasp must not be labelled with opening. Then it opens the
gripper and tries again (errors injected while the supervisor corrects: DART, arXiv 1703.09327).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.sim.expert import CLOSING, Phase, ScriptedExpert

MISSES = 0.75
"""share of the lapses that are a miss"""
ASIDE = (0.1, 0.25)
"""of an action, sideways, in every control step of a miss on its way down"""
LATEST = {Phase.DESCEND: 4, Phase.LIFT: 6, Phase.CARRY: 12}
"""control steps of a phase after which it happens at the latest"""
RISING, OPENING = 8, 6
"""control steps: of rising after a miss, of an open gripper"""


@dataclass(frozen=True)
class Lapse:
    """What goes wrong for a while."""

    kind: Literal["miss", "drop"]
    phase: Phase
    after: int
    """control steps of the phase that still go well"""
    aside: tuple[float, float]
    """x and y of a miss, in units of an action"""


def draw_lapse(rng: np.random.Generator) -> Lapse:
    """Where, when and which way it goes wrong."""
    miss = rng.random() < MISSES
    phase = Phase.DESCEND if miss else (Phase.LIFT, Phase.CARRY)[rng.integers(2)]
    size, direction = rng.uniform(*ASIDE), rng.uniform(0, 2 * np.pi)
    aside = (float(size * np.cos(direction)), float(size * np.sin(direction)))
    return Lapse("miss" if miss else "drop", phase, int(rng.integers(LATEST[phase])), aside)


class LapsingExpert:
    """What is executed of an expert's actions in an episode with a lapse."""

    def __init__(self, expert: ScriptedExpert, lapse: Lapse) -> None:
        self._expert, self._lapse = expert, lapse
        self._well = 0
        """control steps of the lapse's phase so far"""
        self._since = 0
        """control steps since the gripper closed beside the object, or let it go"""

    def executed(self, meant: np.ndarray) -> np.ndarray:
        """(7,) f32: instead of `meant`, which the expert has just said."""
        lapse, phase = self._lapse, self._expert.phase
        if not self._since and phase is lapse.phase:
            self._well += 1
        if self._well <= lapse.after:
            return meant.copy()
        return self._miss(meant, phase) if lapse.kind == "miss" else self._drop(meant)

    def _miss(self, meant: np.ndarray, phase: Phase) -> np.ndarray:
        action = meant.copy()
        if not self._since and phase is Phase.DESCEND:
            action[:2] = self._lapse.aside
        elif self._since < CLOSING + RISING:
            self._since += 1
            if self._since == CLOSING + 1:
                self._expert.restart()
            action[:] = 0.0
            action[2], action[6] = 0.4 if self._since > CLOSING else 0.0, 1.0
        return action

    def _drop(self, meant: np.ndarray) -> np.ndarray:
        action, self._since = meant.copy(), self._since + 1
        if self._since <= OPENING:
            action[6] = -1.0
        return action
