"""How much room the open gripper has at a pose. Metres, world frame, z up."""

import mujoco
import numpy as np

from stages.sim.handling.scene import Scene

DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
"""Orientation of the gripper site: pointing down, fingers opening along y."""
PALM = "gripper0_right_gripper"
ROBOT = ("robot0", "gripper0", "mount0")
FAR = 0.03
"""Room beyond which more does not count."""


def turned(yaw: float) -> np.ndarray:
    """(3, 3): `DOWN` turned by an angle in radians about the vertical."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.asarray(np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]) @ DOWN)


class Clearance:
    """Measures the room of the gripper as open as it is when this is made, at poses where it is not."""

    def __init__(self, scene: Scene) -> None:
        physics, data = scene.physics, scene.data
        self._scene = scene
        owners = [physics.body(body).name for body in physics.geom_bodyid]
        solid = (physics.geom_contype > 0) | (physics.geom_conaffinity > 0)
        gripper = np.array([owner.startswith("gripper0") for owner in owners])
        thing = np.array([not owner.startswith(ROBOT) for owner in owners])
        bounded = physics.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
        self._gripper = np.flatnonzero(solid & gripper)
        self.things = np.setdiff1d(np.flatnonzero(solid & thing & bounded), scene.object)
        """the geoms of everything but the robot, the floor and the object"""
        own = data.site_xmat[scene.simulator.model.site].reshape(3, 3).T
        self._places = (data.geom_xpos[self._gripper] - scene.hand) @ own.T
        self._turns = own @ data.geom_xmat[self._gripper].reshape(-1, 3, 3)

    def __call__(self, point: np.ndarray, facing: np.ndarray) -> float:
        """From the gripper, its site at `point` (3,) and turned to `facing` (3, 3), to the nearest thing; `FAR` at most."""
        data, gripper = self._scene.data, self._gripper
        before = data.geom_xpos[gripper].copy(), data.geom_xmat[gripper].copy()
        data.geom_xpos[gripper] = point + self._places @ facing.T
        data.geom_xmat[gripper] = (facing @ self._turns).reshape(-1, 9)
        room = min((self._room(geom) for geom in gripper), default=FAR)
        data.geom_xpos[gripper], data.geom_xmat[gripper] = before
        return room

    def _room(self, geom: int) -> float:
        """From a geom of the gripper to the nearest thing."""
        physics, data = self._scene.physics, self._scene.data
        apart = np.linalg.norm(data.geom_xpos[self.things] - data.geom_xpos[geom], axis=1)
        near = self.things[apart < physics.geom_rbound[self.things] + physics.geom_rbound[geom] + FAR]
        return min((mujoco.mj_geomDistance(physics, data, geom, other, FAR, None) for other in near), default=FAR)
