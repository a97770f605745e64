"""How much room the open gripper has at a pose. Metres, world frame, z up."""

import mujoco
import numpy as np

from stages.sim.handling.scene import Scene

DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
"""Orientation of the gripper site: pointing down, fingers opening along y."""
PALM = "gripper0_right_gripper"
PADS = ("gripper0_finger1_pad_collision", "gripper0_finger2_pad_collision")
CLOSING = (0.7, 0.45, 0.2)
"""Shares of the opening at which the pads are looked at besides: nothing but the object may be between them."""
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
        gripper = np.flatnonzero(solid & [owner.startswith("gripper0") for owner in owners])
        things = solid & [not owner.startswith(ROBOT) for owner in owners]
        bounded = physics.geom_type != mujoco.mjtGeom.mjGEOM_PLANE
        self.things = np.setdiff1d(np.flatnonzero(things & bounded), scene.object)
        """the geoms of everything but the robot, the floor and the object"""
        own = data.site_xmat[scene.simulator.model.site].reshape(3, 3).T
        places, turns = (data.geom_xpos[gripper] - scene.hand) @ own.T, own @ data.geom_xmat[gripper].reshape(-1, 3, 3)
        pads = [k for k, geom in enumerate(gripper) if physics.geom(geom).name in PADS]
        closing = [places[pads] * [share, 1.0, 1.0] for share in CLOSING]
        self._gripper = np.concatenate((gripper, *[gripper[pads]] * len(CLOSING)))
        self._places = np.concatenate((places, *closing))
        self._turns = np.concatenate((turns, *[turns[pads]] * len(CLOSING)))

    def __call__(self, point: np.ndarray, facing: np.ndarray) -> float:
        """From the gripper to the nearest thing, also while its fingers close; `FAR` at most.

        Args:
            point: (3,) where its site would be.
            facing: (3, 3) orientation of its site.
        """
        data, gripper = self._scene.data, self._gripper
        before = data.geom_xpos[gripper].copy(), data.geom_xmat[gripper].copy()
        places, turns = point + self._places @ facing.T, (facing @ self._turns).reshape(-1, 9)
        room = min(self._room(*pose) for pose in zip(gripper, places, turns, strict=True))
        data.geom_xpos[gripper], data.geom_xmat[gripper] = before
        return room

    def _room(self, geom: int, place: np.ndarray, turn: np.ndarray) -> float:
        """From a geom of the gripper, put at a pose, to the nearest thing."""
        physics, data = self._scene.physics, self._scene.data
        data.geom_xpos[geom], data.geom_xmat[geom] = place, turn
        apart = np.linalg.norm(data.geom_xpos[self.things] - place, axis=1)
        near = self.things[apart < physics.geom_rbound[self.things] + physics.geom_rbound[geom] + FAR]
        return min([FAR, *(mujoco.mj_geomDistance(physics, data, geom, other, FAR, None) for other in near)])
