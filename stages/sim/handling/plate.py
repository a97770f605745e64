"""Onto a plate: a bowl is grasped at its rim, carried over what is in the way and set down (libero_spatial)."""

import numpy as np

from stages.sim.handling.clearance import Clearance, turned
from stages.sim.handling.scene import Scene
from stages.sim.physics.goals import Spec

YAWS = np.radians([0, 15, -15, 30, -30, 45, -45, 60, -60, 75, -75])
"""How the gripper may be turned, in the order of preference."""
ROOM = 0.012
"""Of the open gripper, where it grasps and where it lets go; with so much a turn is not worth more."""
UNDER_RIM = 0.016
"""How deep the middle between the fingertips goes under the rim; the palm would touch the rim at 0.024."""
CLEARANCE, BESIDE = 0.05, 0.05
"""Of the bowl over what it is carried across; beside the bowl's own way, for the fingers."""
SUNK = 0.005
"""The bowl is let go so far under the plate's rim."""


class OntoPlate:
    """Handles the bowl of an `on_object` goal."""

    askew = 0.1

    def __init__(self, scene: Scene, goal: Spec) -> None:
        self._scene = scene
        self._bowl, self._plate = (scene.physics.body(goal[name]).id for name in ("upper", "lower"))
        self._rest = scene.solid(self._plate)
        self._clearance = Clearance(scene)
        self.begin()

    def begin(self) -> None:
        """Choose the side of the rim: where the gripper has room, turned as little as possible."""
        self._grip(*choose([(self._room(yaw, side), yaw, side) for yaw in YAWS for side in (1, -1)]))

    def grasp(self) -> np.ndarray:
        """(3,): astride the wall that lies farthest on the chosen side."""
        scene = self._scene
        lows, highs = scene.boxes(scene.object)
        return astride(lows, highs, self._side)

    def carry(self) -> float:
        """Over the highest thing between the bowl and the plate."""
        scene = self._scene
        lows, highs = scene.boxes(self._clearance.things)
        ends = np.stack([scene.low, scene.high, *scene.bounds(self._rest)])[:, :2]
        crossed = (lows[:, :2] < ends.max(0) + BESIDE).all(1) & (highs[:, :2] > ends.min(0) - BESIDE).all(1)
        return float(highs[crossed, 2].max() + CLEARANCE)

    def over(self) -> np.ndarray:
        """(3,): with the bowl's foot over the plate's."""
        return self._set_down(self._scene.hand)

    def release(self) -> float:
        """Just within the plate."""
        return float(self._scene.bounds(self._rest)[1][2] - SUNK)

    def _grip(self, yaw: float, side: int) -> None:
        self.facing = turned(yaw)
        self._side = side * np.array([-np.sin(yaw), np.cos(yaw)])

    def _room(self, yaw: float, side: int) -> float:
        """The gripper's room where it grasps and where it lets go."""
        self._grip(yaw, side)
        grasp = self.grasp()
        return min(self._clearance(point, self.facing) for point in (grasp, self._set_down(grasp)))

    def _set_down(self, point: np.ndarray) -> np.ndarray:
        """(3,): where a point (3,) that moves with the bowl is once the bowl stands on the plate."""
        data = self._scene.data
        return np.asarray(point + data.xpos[self._plate] - data.xpos[self._bowl])


def choose(grips: list[tuple[float, float, int]]) -> tuple[float, int]:
    """Yaw and side of the first of some (room, yaw, side) with the most room, where all above `ROOM` is as much.

    Sides of the same yaw stand next to each other.
    """
    _, yaw, side = max(grips, key=lambda grip: min(grip[0], ROOM))
    return yaw, side


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
