"""Into a container: the object is grasped across its middle, carried over the rim and dropped (libero_object)."""

import numpy as np

from stages.sim.handling.clearance import DOWN, PALM
from stages.sim.handling.scene import Scene
from stages.sim.physics.goals import Spec

HOVER, CLEARANCE = 0.09, 0.03
"""Heights: gripper over the object's top before it descends; object over the basket's rim while it is carried."""
UNDER_TOP, OVER_FLOOR = 0.030, 0.012
"""Where to grasp: so far under the object's top, where the palm clears it, but not lower over its bottom."""
EDGE, ROOM = 0.015, 0.006
"""Along x: from the object's end to the middle of the fingers at least; between the palm and a neighbour."""


class IntoBasket:
    """Handles the object of an `in_site` goal."""

    facing, askew = DOWN, np.inf

    def __init__(self, scene: Scene, goal: Spec) -> None:
        self._scene = scene
        self._basket = scene.physics.site(goal["site"]).id
        self._walls = scene.solid(scene.physics.site_bodyid[self._basket])
        self._palm = scene.solid(scene.physics.body(PALM).id)
        self._others = scene.movable()

    def begin(self) -> None:
        """Nothing: every grasp is along y, and follows from where things are."""

    def grasp(self) -> np.ndarray:
        """(3,): in the object's middle, or off it along x where the palm would hit a neighbour."""
        scene = self._scene
        hand, low, high, palm = scene.hand, scene.low, scene.high, scene.bounds(self._palm)
        height = max(low[2] + OVER_FLOOR, high[2] - UNDER_TOP)
        middle = (low + high) / 2
        before, behind = palm[0] - hand - ROOM, palm[1] - hand + ROOM
        lows, highs = scene.boxes(self._others)
        near = (highs[:, 2] > height + before[2]) & (highs[:, 1] > middle[1] + before[1])
        near &= lows[:, 1] < middle[1] + behind[1]
        right = near & (lows[:, 0] + highs[:, 0] > 2 * middle[0])
        most = np.min(lows[right, 0], initial=np.inf) - behind[0]
        least = np.max(highs[near & ~right, 0], initial=-np.inf) - before[0]
        reach = max(0.0, (high - low)[0] / 2 - EDGE)
        aside = np.clip(np.clip(0.0, least - middle[0], most - middle[0]), -reach, reach)
        return np.array([middle[0] + aside, middle[1], height])

    def hover(self) -> float:
        """Over the object."""
        return float(self._scene.high[2]) + HOVER

    def carry(self) -> float:
        """Over the rim."""
        return float(self._scene.bounds(self._walls)[1][2] + CLEARANCE)

    def over(self) -> np.ndarray:
        """(3,): with the object's middle over the basket's."""
        scene = self._scene
        return np.asarray(scene.data.site_xpos[self._basket] + scene.hand - (scene.low + scene.high) / 2)

    def release(self) -> float:
        """From wherever it is."""
        return np.inf
