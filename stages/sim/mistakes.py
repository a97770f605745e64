"""A scripted expert that errs on purpose: failures that got to a known stage, to judge progress signals by.

What goes wrong, and when, is drawn from a seed: the gripper stalls, goes astray, lets go, or misses the object. Its
pace varies too, so that how long an episode takes says nothing about how far it got.
"""

from dataclasses import dataclass

import numpy as np

from stages.sim.expert import Phase, ScriptedExpert

KINDS = {
    Phase.APPROACH: ("stall", "astray"),
    Phase.DESCEND: ("stall", "astray", "miss"),
    Phase.CLOSE: ("stall",),
    Phase.LIFT: ("stall", "astray", "drop"),
    Phase.CARRY: ("stall", "astray", "drop"),
}
"""What can go wrong in a phase."""
LATEST = {Phase.APPROACH: 12, Phase.DESCEND: 8, Phase.CLOSE: 8, Phase.LIFT: 6, Phase.CARRY: 12}
"""Control steps of a phase after which it goes wrong at the latest."""
SLOWEST = 0.5
"""Of the expert's speed, the least."""
ASTRAY, MISSING, CLOSING, RISING = 40, 14, 9, 12
"""Control steps: of going astray; of a miss: down beside the object, closing, and up again; rising after a drop."""


@dataclass(frozen=True)
class Mistake:
    """What goes wrong in an episode."""

    phase: Phase
    after: int
    """control steps of the phase that still go well"""
    kind: str
    direction: float
    """radians about the vertical: where astray, and on which side a miss"""


def draw_pace(rng: np.random.Generator) -> float:
    """A share of the expert's speed, between `SLOWEST` and 1."""
    return float(rng.uniform(SLOWEST, 1.0))


def draw_mistake(rng: np.random.Generator) -> Mistake:
    """A mistake, every phase equally likely."""
    phase = list(KINDS)[rng.integers(len(KINDS))]
    kind = str(rng.choice(KINDS[phase]))
    return Mistake(phase, int(rng.integers(LATEST[phase])), kind, float(rng.uniform(0, 2 * np.pi)))


class ErringExpert:
    """Acts as the expert does, at another pace, until it makes its mistake; from then on it stands by it."""

    def __init__(self, expert: ScriptedExpert, mistake: Mistake | None, pace: float) -> None:
        self._expert, self._mistake, self._pace = expert, mistake, pace
        self._well = 0
        """control steps of the mistake's phase so far"""
        self._since = 0
        """control steps since the mistake"""
        self._grip = -1.0

    def action(self) -> np.ndarray:
        """The action for the present state: (7,) float32 in [-1, 1]."""
        mistake = self._mistake
        if mistake and self._since:
            return self._wrong(mistake)
        action = self._expert.action()
        self._grip = float(action[6])
        if mistake and self._expert.phase is mistake.phase:
            self._well += 1
            if self._well > mistake.after:
                return self._wrong(mistake)
        action[:3] *= self._pace
        return action

    def _wrong(self, mistake: Mistake) -> np.ndarray:
        """(7,): what is done instead."""
        step, self._since = self._since, self._since + 1
        side = np.array([np.cos(mistake.direction), np.sin(mistake.direction), 0.0])
        move, grip = np.zeros(3), self._grip
        if mistake.kind == "astray" and step < ASTRAY:
            move = 0.4 * side
        elif mistake.kind == "drop":
            move, grip = np.array([0.0, 0.0, 0.4 if step < RISING else 0.0]), -1.0
        elif mistake.kind == "miss":
            down, closed = step < MISSING, step < MISSING + CLOSING
            rises = not closed and step < MISSING + CLOSING + RISING
            move = 0.4 * side - [0.0, 0.0, 0.3] if down else np.array([0.0, 0.0, 0.4 if rises else 0.0])
            grip = -1.0 if down else 1.0
        return np.array([*move * self._pace, 0.0, 0.0, 0.0, grip], np.float32)
