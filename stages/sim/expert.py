"""A scripted expert for the libero_object tasks: picks the object up and drops it into the basket.

It reads the simulator's privileged state (poses of the object, its collision geoms, the basket and the gripper) and
chooses nothing at random: the episode so far decides its actions. Lengths in metres, world frame (z up, floor at 0).
"""

from enum import Enum

import mujoco
import numpy as np

from data.errors import UserError
from data.lineage import digest
from stages.sim.models.model import task_model
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task

RECIPE = 1
"""Raised whenever the expert's actions change."""
STEP, TURN = 0.05, 0.5
"""What an action of 1 asks for in a control step: metres and radians (robosuite's OSC_POSE)."""
GAIN, SIDE_GAIN, DESCENT_GAIN = 1.6, 3.0, 1.2
"""Part of the way to the target asked for in a control step: in general; across and down while descending."""
TURN_GAIN, MAX_TURN = 1.2, 0.3
"""The same for the orientation, and the largest action that turns."""
HOVER, CLEARANCE = 0.09, 0.03
"""Heights: gripper over the object's top before it descends; object over the basket's rim while it is carried."""
UNDER_TOP, OVER_FLOOR = 0.030, 0.012
"""Where to grasp: so far under the object's top, where the palm clears it, but not lower over its bottom."""
EDGE, ROOM = 0.015, 0.006
"""Along x: from the object's end to the middle of the fingers at least; between the palm and a neighbour."""
ABOVE, TOO_LOW, ARRIVED, NEARLY, LIFTED, OVER_BASKET = 0.012, 0.03, 0.004, 0.02, 0.02, 0.02
"""How near is near enough. Before descending: across, in height; before closing: in height, at once and after waiting;
before carrying: in height; before opening: across."""
CLOSING, STALLED, GIVEN_UP, DROPPED = 9, 18, 50, 25
"""Control steps: until the fingers have closed; until a descent that nearly arrived is good enough, and until it starts
anew; until an object that was let go but is not in the basket is picked up again."""
LOST = 0.02
"""A gripper so far outside the object's box does not hold it."""
PALM = "gripper0_right_gripper"
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
        self._palm = self._solid(physics.body(PALM).id)
        movable = np.isin(physics.geom_bodyid, physics.jnt_bodyid[physics.jnt_type == mujoco.mjtJoint.mjJNT_FREE])
        self._others = np.setdiff1d(np.flatnonzero(movable & (physics.geom_contype > 0)), self._geoms)
        self._elapsed = 0
        self._look()

    def action(self) -> np.ndarray:
        """The action for the present state: (7,) float32 in [-1, 1]."""
        self._look()
        while (following := self._next()) is not self.phase:
            self.phase, self._elapsed = following, 0
        self._elapsed += 1
        gain = np.array([SIDE_GAIN, SIDE_GAIN, DESCENT_GAIN]) if self.phase in (Phase.DESCEND, Phase.CLOSE) else GAIN
        move = np.clip(gain * (self._target() - self._hand) / STEP, -1.0, 1.0)
        grip = 1.0 if self.phase in (Phase.CLOSE, Phase.LIFT, Phase.CARRY) else -1.0
        return np.concatenate((move, self._turn(), (grip,))).astype(np.float32)

    def _look(self) -> None:
        """Where the gripper is, and the corners of the object's box: (3,) each."""
        self._simulator.proprio()  # brings the kinematics up to date
        self._hand = self._simulator.data.site_xpos[self._simulator.model.site].copy()
        self._low, self._high = self._bounds(self._geoms)

    def _next(self) -> Phase:
        """The phase that the state asks for."""
        hand, target = self._hand, self._target()
        near = np.abs(target - hand)
        if self.phase is Phase.APPROACH and np.hypot(*near[:2]) < ABOVE and hand[2] > target[2] - TOO_LOW:
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
        hand, low, high = self._hand, self._low, self._high
        if self.phase in (Phase.APPROACH, Phase.DESCEND, Phase.CLOSE):
            grasp = self._grasp()
            return grasp if self.phase is not Phase.APPROACH else np.array([*grasp[:2], high[2] + HOVER])
        height = self._bounds(self._walls)[1][2] + CLEARANCE + hand[2] - low[2]
        if self.phase is Phase.LIFT:
            return np.array([*hand[:2], height])
        over = self._simulator.data.site_xpos[self._basket] + hand - (low + high) / 2
        return np.array([*over[:2], height if self.phase is Phase.CARRY else hand[2]])

    def _grasp(self) -> np.ndarray:
        """(3,): where to grasp the object: in its middle, or off it along x where the palm would hit a neighbour."""
        hand, low, high, palm = self._hand, self._low, self._high, self._bounds(self._palm)
        height = max(low[2] + OVER_FLOOR, high[2] - UNDER_TOP)
        middle = (low + high) / 2
        before, behind = palm[0] - hand - ROOM, palm[1] - hand + ROOM
        lows, highs = self._boxes(self._others)
        near = (highs[:, 2] > height + before[2]) & (highs[:, 1] > middle[1] + before[1])
        near &= lows[:, 1] < middle[1] + behind[1]
        right = near & (lows[:, 0] + highs[:, 0] > 2 * middle[0])
        most = np.min(lows[right, 0], initial=np.inf) - behind[0]
        least = np.max(highs[near & ~right, 0], initial=-np.inf) - before[0]
        reach = max(0.0, (high - low)[0] / 2 - EDGE)
        aside = np.clip(np.clip(0.0, least - middle[0], most - middle[0]), -reach, reach)
        return np.array([middle[0] + aside, middle[1], height])

    def _lost(self) -> bool:
        """Whether the gripper is not in the object's box, with some room to spare."""
        return bool((self._hand < self._low - LOST).any() or (self._hand > self._high + LOST).any())

    def _solid(self, body: int) -> np.ndarray:
        """The geoms of a body that can collide."""
        physics = self._simulator.model.physics
        return np.flatnonzero((physics.geom_bodyid == body) & (physics.geom_contype > 0))

    def _bounds(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the axis-aligned box around some geoms, (3,) each."""
        lows, highs = self._boxes(geoms)
        return lows.min(0), highs.max(0)

    def _boxes(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the axis-aligned boxes around G geoms, (G, 3) each."""
        data, boxes = self._simulator.data, self._simulator.model.physics.geom_aabb[geoms]
        turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
        centre = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", turns, boxes[:, :3])
        half = np.einsum("gij,gj->gi", np.abs(turns), boxes[:, 3:])
        return centre - half, centre + half

    def _turn(self) -> np.ndarray:
        """(3,): rotation back to `DOWN`, as an axis-angle action."""
        now = self._simulator.data.site_xmat[self._simulator.model.site].reshape(3, 3)
        error = 0.5 * np.cross(now, DOWN, axis=0).sum(1)
        return np.clip(TURN_GAIN * error / TURN, -MAX_TURN, MAX_TURN)
