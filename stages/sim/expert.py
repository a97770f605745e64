"""A scripted expert for the libero_object tasks: picks the object up and drops it into the basket.

It reads the simulator's privileged state (poses of the object, its collision geoms, the basket and the gripper) and
chooses nothing at random, so the states alone decide its actions. Lengths in metres, world frame (z up, floor at 0).
"""

from enum import Enum

import numpy as np

from data.errors import UserError
from data.lineage import digest
from stages.sim.model import task_model
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task

RECIPE = 1
"""Raised whenever the expert's actions change."""
STEP, TURN = 0.05, 0.5
"""What an action of 1 asks for in a control step: metres and radians (robosuite's OSC_POSE)."""
GAIN, DESCENT_GAIN, SIDE_GAIN, TURN_GAIN, MAX_TURN = 1.6, 1.2, 3.0, 1.2, 0.3
HOVER, CLEARANCE = 0.09, 0.03
"""Heights: gripper over the object's top before it descends; object over the basket's rim while it is carried."""
ABOVE, OVER_BASKET, ARRIVED, LIFTED = 0.012, 0.02, 0.004, 0.02
"""How near is near enough: across, before descending and before opening; in height, before closing and carrying."""
NEARLY, CLOSING, STALLED, GIVEN_UP, DROPPED = 0.02, 9, 18, 50, 25
"""Control steps: until the fingers have closed; until a descent that does not arrive counts as done; until an object
that was let go and is not in the basket is picked up again."""
UNDER_TOP, OVER_FLOOR = 0.030, 0.012
LOST = 0.02
"""An object whose box is so far from the gripper has not been grasped."""
DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
"""Orientation of the gripper site: pointing down, fingers opening along y."""


class Phase(Enum):
    """What the expert is about to do."""

    APPROACH = "approach"
    DESCEND = "descend"
    CLOSE = "close"
    LIFT = "lift"
    CARRY = "carry"
    OPEN = "open"


def expert_digest() -> str:
    """Identifies the expert in a store, as a policy's weights do."""
    return digest("scripted-expert", RECIPE)


def check_task(task: Task) -> None:
    """Raises UserError: the task is not to put one object into a container."""
    goal = task_model(task).numbers["goal"]
    if len(goal) != 1 or goal[0]["kind"] != "in_site":
        raise UserError(
            f"the scripted expert only puts one object into a container, it cannot '{task.instruction}'; "
            "it knows every task of libero_object"
        )


class ScriptedExpert:
    """Acts for one episode of a simulator, from its reset on."""

    def __init__(self, simulator: Simulator) -> None:
        """Raises UserError: as `check_task`."""
        check_task(simulator.task)
        physics, goal = simulator.model.physics, simulator.model.numbers["goal"][0]
        self.phase = Phase.APPROACH
        self._simulator = simulator
        self._basket = physics.site(goal["site"]).id
        self._walls = self._solid(physics.site_bodyid[self._basket])
        self._geoms = self._solid(physics.body(goal["body"]).id)
        self._elapsed = 0

    def action(self) -> np.ndarray:
        """The action for the present state: (7,) float32 in [-1, 1]."""
        self._simulator.proprio()
        while (following := self._next()) is not self.phase:
            self.phase, self._elapsed = following, 0
        self._elapsed += 1
        gain = np.array([SIDE_GAIN, SIDE_GAIN, DESCENT_GAIN]) if self.phase in (Phase.DESCEND, Phase.CLOSE) else GAIN
        move = np.clip(gain * (self._target() - self._hand()) / STEP, -1.0, 1.0)
        grip = 1.0 if self.phase in (Phase.CLOSE, Phase.LIFT, Phase.CARRY) else -1.0
        return np.concatenate((move, self._turn(), (grip,))).astype(np.float32)

    def _next(self) -> Phase:
        """The phase that the state asks for."""
        hand, target = self._hand(), self._target()
        near = np.abs(target - hand)
        if self.phase is Phase.APPROACH and np.hypot(*near[:2]) < ABOVE:
            return Phase.DESCEND
        if self.phase is Phase.DESCEND and (near[2] < ARRIVED or (self._elapsed >= STALLED and near[2] < NEARLY)):
            return Phase.CLOSE
        if self.phase is Phase.DESCEND and self._elapsed >= GIVEN_UP:
            return Phase.APPROACH
        if self.phase is Phase.CLOSE and self._elapsed >= CLOSING:
            return Phase.LIFT
        if self.phase in (Phase.LIFT, Phase.CARRY) and self._lost():
            return Phase.APPROACH
        if self.phase is Phase.LIFT and near[2] < LIFTED:
            return Phase.CARRY
        if self.phase is Phase.CARRY and np.hypot(*near[:2]) < OVER_BASKET:
            return Phase.OPEN
        if self.phase is Phase.OPEN and self._elapsed >= DROPPED:
            return Phase.APPROACH if self._lost() else Phase.CLOSE
        return self.phase

    def _target(self) -> np.ndarray:
        """(3,): where the gripper should be in this phase."""
        hand, (low, high) = self._hand(), self._bounds(self._geoms)
        centre = (low + high) / 2
        if self.phase is Phase.APPROACH:
            return np.array([*centre[:2], high[2] + HOVER])
        if self.phase in (Phase.DESCEND, Phase.CLOSE):
            grasp = max(low[2] + OVER_FLOOR, high[2] - UNDER_TOP)
            return np.array([*centre[:2], grasp])
        carry = self._bounds(self._walls)[1][2] + CLEARANCE + hand[2] - low[2]
        where = hand if self.phase is Phase.LIFT else self._simulator.data.site_xpos[self._basket]
        return np.array([*where[:2], hand[2] if self.phase is Phase.OPEN else carry])

    def _lost(self) -> bool:
        """Whether the gripper is not in the object's box, with some room to spare."""
        low, high = self._bounds(self._geoms)
        hand = self._hand()
        return bool((hand < low - LOST).any() or (hand > high + LOST).any())

    def _hand(self) -> np.ndarray:
        return self._simulator.data.site_xpos[self._simulator.model.site].copy()

    def _solid(self, body: int) -> np.ndarray:
        """The geoms of a body that can collide."""
        physics = self._simulator.model.physics
        return np.flatnonzero((physics.geom_bodyid == body) & (physics.geom_contype > 0))

    def _bounds(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the axis-aligned box around some geoms, (3,) each."""
        data, boxes = self._simulator.data, self._simulator.model.physics.geom_aabb[geoms]
        turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
        centre = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", turns, boxes[:, :3])
        half = np.einsum("gij,gj->gi", np.abs(turns), boxes[:, 3:])
        return (centre - half).min(0), (centre + half).max(0)

    def _turn(self) -> np.ndarray:
        """(3,): rotation back to `DOWN`, as an axis-angle action."""
        now = self._simulator.data.site_xmat[self._simulator.model.site].reshape(3, 3)
        error = 0.5 * np.cross(now, DOWN, axis=0).sum(1)
        return np.clip(TURN_GAIN * error / TURN, -MAX_TURN, MAX_TURN)
