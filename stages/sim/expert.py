"""A scripted expert that picks one object up and puts it into a container or onto a plate.

It reads the simulator's privileged state (poses of the object, its collision geoms, the target and the gripper) and
chooses nothing at random: the episode so far decides its actions. Where it grasps, carries and lets go is the business
of a `stages.sim.handling`, one for each kind of goal. Lengths in metres, world frame (z up).
"""

from collections.abc import Callable
from enum import Enum

import numpy as np

from data.errors import UserError
from data.lineage import digest
from stages.sim.handling import Handling
from stages.sim.handling.basket import IntoBasket
from stages.sim.handling.plate import OntoPlate
from stages.sim.handling.scene import Scene
from stages.sim.models.model import task_model
from stages.sim.physics.goals import Spec
from stages.sim.simulator import Simulator
from stages.sim.tasks import SUITES, Task

RECIPES = dict.fromkeys(SUITES, 1)
"""Of each suite, raised whenever the expert's actions in its tasks change."""
STEP, TURN = 0.05, 0.5
"""What an action of 1 asks for in a control step: metres and radians (robosuite's OSC_POSE)."""
GAIN, SIDE_GAIN, DESCENT_GAIN = 1.6, 3.0, 1.2
"""Part of the way to the target asked for in a control step: in general; across and down while descending."""
TURN_GAIN, MAX_TURN = 1.2, 0.3
"""The same for the orientation, and the largest action that turns."""
ABOVE, TOO_LOW, ARRIVED, NEARLY, LIFTED, OVER_TARGET = 0.012, 0.03, 0.004, 0.02, 0.02, 0.02
"""How near is near enough. Before descending: across, in height; before closing: in height, at once and after waiting;
before carrying: in height; before setting down: across."""
CLOSING, STALLED, GIVEN_UP, DROPPED = 9, 18, 50, 25
"""Control steps: until the fingers have closed; until a way down that nearly arrived is good enough, and until it
starts anew; until an object that was let go but is not where it should be is picked up again."""
PRESS = 0.02
"""The way down to the target aims so far under where the object is let go: the arm comes to rest above its aim."""
LOST = 0.02
"""A gripper so far outside the object's box does not hold it."""


class Phase(Enum):
    """What the expert is about to do."""

    APPROACH = "approach"
    DESCEND = "descend"
    CLOSE = "close"
    LIFT = "lift"
    CARRY = "carry"
    LOWER = "lower"
    OPEN = "open"


HELD = (Phase.LIFT, Phase.CARRY, Phase.LOWER)
"""The object is in the gripper."""


def expert_digest(suite: str) -> str:
    """Identifies the expert of a suite in a store, as a policy's weights do."""
    return digest("scripted-expert", RECIPES[suite])


def check_task(task: Task) -> None:
    """Raises UserError: the task is not to put one object into a container or one bowl onto a plate."""
    _handling(task)


def _handling(task: Task) -> Callable[[Scene, Spec], Handling]:
    """How the expert handles the object of a task."""
    goal = task_model(task).numbers["goal"]
    if len(goal) == 1 and goal[0]["kind"] == "in_site":
        return IntoBasket
    if len(goal) == 1 and goal[0]["kind"] == "on_object" and "bowl" in goal[0]["upper"] and "plate" in goal[0]["lower"]:
        return OntoPlate
    raise UserError(
        "the scripted expert only puts one object into a container or a bowl onto a plate, it cannot"
        f" '{task.instruction}'; it knows every task of libero_object and libero_spatial; for others give a policy to"
        " start from"
    )


class ScriptedExpert:
    """Acts for one episode of a simulator, from its reset on."""

    def __init__(self, simulator: Simulator) -> None:
        """Raises UserError: as `check_task`."""
        handling, goal = _handling(simulator.task), simulator.model.numbers["goal"][0]
        self.phase = Phase.APPROACH
        self._scene = Scene(simulator, goal.get("body") or goal["upper"])
        self._handling = handling(self._scene, goal)
        self._elapsed = 0

    def restart(self) -> None:
        """Begin again with the approach, whatever the phase."""
        self.phase, self._elapsed = Phase.APPROACH, 0
        self._handling.begin()

    def action(self) -> np.ndarray:
        """The action for the present state: (7,) float32 in [-1, 1]."""
        self._scene.look()
        while (following := self._next()) is not self.phase:
            self.phase, self._elapsed = following, 0
            if following is Phase.APPROACH:
                self._handling.begin()
        self._elapsed += 1
        gain = np.array([SIDE_GAIN, SIDE_GAIN, DESCENT_GAIN]) if self.phase in (Phase.DESCEND, Phase.CLOSE) else GAIN
        move = np.clip(gain * (self._target() - self._scene.hand) / STEP, -1.0, 1.0)
        turn = np.clip(TURN_GAIN * self._scene.turn(self._handling.facing) / TURN, -MAX_TURN, MAX_TURN)
        grip = 1.0 if self.phase in (Phase.CLOSE, *HELD) else -1.0
        return np.concatenate((move, turn, (grip,))).astype(np.float32)

    def _next(self) -> Phase:
        """The phase that the state asks for."""
        hand, target = self._scene.hand, self._target()
        near = np.abs(target - hand)
        arrived = bool(near[2] < ARRIVED or (self._elapsed >= STALLED and near[2] < NEARLY))
        if self.phase is Phase.APPROACH and np.hypot(*near[:2]) < ABOVE and hand[2] > target[2] - TOO_LOW:
            return Phase.DESCEND if self._faces() else Phase.APPROACH
        if self.phase is Phase.DESCEND and arrived:
            return Phase.CLOSE
        if self.phase is Phase.DESCEND and self._elapsed >= GIVEN_UP:
            return Phase.APPROACH
        if self.phase is Phase.CLOSE and self._elapsed >= CLOSING:
            return Phase.LIFT
        if self.phase in HELD and self._lost():
            return Phase.APPROACH
        if self.phase is Phase.LIFT and near[2] < LIFTED:
            return Phase.CARRY
        if self.phase is Phase.CARRY and np.hypot(*near[:2]) < OVER_TARGET:
            return Phase.LOWER
        if self.phase is Phase.LOWER and (self._scene.low[2] <= self._handling.release() or arrived):
            return Phase.OPEN
        if self.phase is Phase.OPEN and self._elapsed >= DROPPED:
            return Phase.APPROACH if self._lost() else Phase.CLOSE
        return self.phase

    def _target(self) -> np.ndarray:
        """(3,): where the gripper should be in this phase."""
        hand, low = self._scene.hand, self._scene.low
        if self.phase in (Phase.APPROACH, Phase.DESCEND, Phase.CLOSE):
            grasp = self._handling.grasp()
            return grasp if self.phase is not Phase.APPROACH else np.array([*grasp[:2], self._handling.hover()])
        if self.phase is Phase.LIFT:
            return np.array([*hand[:2], self._handling.carry() + hand[2] - low[2]])
        over = self._handling.over()[:2]
        if self.phase is Phase.CARRY:
            return np.array([*over, self._handling.carry() + hand[2] - low[2]])
        down = self._handling.release() - PRESS - low[2]
        return np.array([*over, hand[2] if self.phase is Phase.OPEN else hand[2] + down])

    def _faces(self) -> bool:
        """Whether the gripper is turned as it should be to descend."""
        return bool(np.linalg.norm(self._scene.turn(self._handling.facing)) < self._handling.askew)

    def _lost(self) -> bool:
        """Whether the gripper is not in the object's box, with some room to spare."""
        scene = self._scene
        return bool((scene.hand < scene.low - LOST).any() or (scene.hand > scene.high + LOST).any())
