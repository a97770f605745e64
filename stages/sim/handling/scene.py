"""What is where in a simulator: the gripper, the object, and boxes around any geoms. Metres, world frame, z up."""

import mujoco
import numpy as np

from stages.sim.simulator import Simulator


class Scene:
    """A simulator as the expert sees it.

    Attributes:
        hand: (3,) where the gripper site is.
        low, high: (3,) corners of the axis-aligned box around the object.
        object: its geoms that can collide.
    """

    def __init__(self, simulator: Simulator, body: str) -> None:
        """Of the object whose body is named."""
        self.simulator = simulator
        self.physics, self.data = simulator.model.physics, simulator.data
        self.object = self.solid(self.physics.body(body).id)
        self.look()

    def look(self) -> None:
        """Bring all of it up to date."""
        self.simulator.proprio()  # brings the kinematics up to date
        self.hand = self.data.site_xpos[self.simulator.model.site].copy()
        self.low, self.high = self.bounds(self.object)

    def turn(self, facing: np.ndarray) -> np.ndarray:
        """(3,): the rotation from the gripper's orientation to `facing` (3, 3), as axis x sine of the angle."""
        now = self.data.site_xmat[self.simulator.model.site].reshape(3, 3)
        return np.asarray(0.5 * np.cross(now, facing, axis=0).sum(1))

    def solid(self, body: int) -> np.ndarray:
        """The geoms of a body that can collide."""
        return np.flatnonzero((self.physics.geom_bodyid == body) & (self.physics.geom_contype > 0))

    def movable(self) -> np.ndarray:
        """The geoms that can collide of bodies that move freely, without the object."""
        physics = self.physics
        movable = np.isin(physics.geom_bodyid, physics.jnt_bodyid[physics.jnt_type == mujoco.mjtJoint.mjJNT_FREE])
        return np.setdiff1d(np.flatnonzero(movable & (physics.geom_contype > 0)), self.object)

    def bounds(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the axis-aligned box around some geoms, (3,) each."""
        lows, highs = self.boxes(geoms)
        return lows.min(0), highs.max(0)

    def boxes(self, geoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners of the axis-aligned boxes around G geoms, (G, 3) each."""
        data, boxes = self.data, self.physics.geom_aabb[geoms]
        turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
        centre = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", turns, boxes[:, :3])
        half = np.einsum("gij,gj->gi", np.abs(turns), boxes[:, 3:])
        return centre - half, centre + half
