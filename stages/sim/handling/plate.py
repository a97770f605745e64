"""Onto a plate: a bowl is grasped at its rim, carried over what is in the way and set down (libero_spatial)."""

import numpy as np

from stages.sim.handling.clearance import Clearance, turned
from stages.sim.handling.scene import Scene
from stages.sim.physics.goals import Spec

YAWS = np.radians([0, 15, -15, 30, -30, 45, -45, 60, -60, 75, -75])
"""How the gripper may be turned, in the order of preference."""
SIDES = (-1, 1)
"""Of the bowl, seen from the gripper turned so."""
BASE = "robot0_base"
ROOM, REACH = 0.006, 0.81
"""Of the open gripper, where it grasps and where it lets go; from the robot's base (`reach`): farther out the elbow is
nearly straight, and the arm comes to rest beside or above where it should. With so much of both a turn is not worth
more."""
ASKEW = 0.1
"""Sine of the angle off the chosen turn up to which the gripper may descend."""
UNDER_RIM = 0.016
"""How deep the middle between the fingertips goes under the rim; the palm would touch the rim at 0.024."""
CLEARANCE, BOWL = 0.05, 0.075
"""Of the bowl over what it is carried across: whatever comes so near to the way of its middle."""
HOVER = 0.06
"""Of the gripper over the bowl before it descends; higher, the cabinet's top is out of reach."""
OVERFLIGHT, GRIPPER = 0.03, 0.11
"""Of the gripper over what it passes as near as that on its way to the bowl."""
DROP = 0.01
"""The bowl is let go so far over the plate's rim."""


class OntoPlate:
    """Handles the bowl of an `on_object` goal."""

    askew = ASKEW

    def __init__(self, scene: Scene, goal: Spec) -> None:
        self._scene = scene
        self._bowl, self._plate = (scene.physics.body(goal[name]).id for name in ("upper", "lower"))
        self._rest = scene.solid(self._plate)
        self._base = scene.physics.body(BASE).id
        self._clearance = Clearance(scene)
        self.begin()

    def begin(self) -> None:
        """Choose the side of the rim: where the gripper has room, near enough, and turned as little as possible."""
        grips = [(yaw, side) for yaw in YAWS for side in SIDES]
        self._grip(*max(grips, key=lambda grip: self._ease(*grip)))

    def grasp(self) -> np.ndarray:
        """(3,): astride the wall that lies farthest on the chosen side."""
        scene = self._scene
        lows, highs = scene.boxes(scene.object)
        return astride(lows, highs, self._side)

    def hover(self) -> float:
        """Over the bowl, and over the highest thing between the gripper and the grasp."""
        scene = self._scene
        return max(float(scene.high[2]) + HOVER, self._crossed(scene.hand, self.grasp(), GRIPPER) + OVERFLIGHT)

    def carry(self) -> float:
        """Over the highest thing between the bowl and the plate."""
        places = self._scene.data.xpos
        return self._crossed(places[self._bowl], places[self._plate], BOWL) + CLEARANCE

    def over(self) -> np.ndarray:
        """(3,): with the bowl's foot over the plate's."""
        return self._set_down(self._scene.hand)

    def release(self) -> float:
        """Just over the plate."""
        return float(self._scene.bounds(self._rest)[1][2]) + DROP

    def _grip(self, yaw: float, side: int) -> None:
        self.facing = turned(yaw)
        self._side = side * np.array([-np.sin(yaw), np.cos(yaw)])

    def _ease(self, yaw: float, side: int) -> float:
        """How easy it is both to grasp and to let go like this: metres of room, at most `ROOM`, less those too far."""
        self._grip(yaw, side)
        grasp, base = self.grasp(), self._scene.data.xpos[self._base]
        points = (grasp, self._set_down(grasp))
        room = min(ROOM, *(self._clearance(point, self.facing) for point in points))
        return room - max(0.0, *(reach(point - base) - REACH for point in points))

    def _crossed(self, start: np.ndarray, end: np.ndarray, beside: float) -> float:
        """Height of the highest thing that comes as near as `beside` to the way between two points, in the plane."""
        lows, highs = self._scene.boxes(self._clearance.things)
        near = crossed(lows, highs, np.linspace(start[:2], end[:2], 12), beside)
        return float(highs[near, 2].max(initial=-np.inf))

    def _set_down(self, point: np.ndarray) -> np.ndarray:
        """(3,): where a point (3,) that moves with the bowl is once the bowl stands on the plate."""
        data = self._scene.data
        return np.asarray(point + data.xpos[self._plate] - data.xpos[self._bowl])


def reach(apart: np.ndarray) -> float:
    """How far a point (3,) is for the arm, from the robot's base: across, and a third of the height.

    Measured where the elbow comes to its limit with the gripper pointing down: 0.74 m across at a height of 0.25 m,
    over 0.80 m at the height of the base.
    """
    return float(np.hypot(apart[0], apart[1]) + apart[2] / 3)


def crossed(lows: np.ndarray, highs: np.ndarray, way: np.ndarray, beside: float) -> np.ndarray:
    """Which boxes, by their corners (G, 3) each, come as near as `beside` to some of the points (N, 2): (G,) bool."""
    apart = np.maximum(np.maximum(lows[:, None, :2] - way, way - highs[:, None, :2]), 0.0)
    return np.asarray((np.linalg.norm(apart, axis=2) < beside).any(1))


def astride(lows: np.ndarray, highs: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Where to grasp a rim.

    Args:
        lows, highs: (G, 3) corners of the boxes that the wall consists of.
        side: (2,) unit vector from the middle to the chosen side of the rim.

    Returns:
        (3,): over the outermost box on that side, straight out from the middle.
    """
    middle = (lows.min(0) + highs.max(0))[:2] / 2
    out = ((lows + highs)[:, :2] / 2 - middle) @ side
    wall = np.argmax(out)
    return np.array([*(middle + out[wall] * side), highs[wall, 2] - UNDER_RIM])
