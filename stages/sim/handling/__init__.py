"""How the scripted expert handles things: where it grasps an object, how it carries it and where it lets it go."""

from typing import Protocol

import numpy as np


class Handling(Protocol):
    """One way to pick an object up and put it down. Metres, world frame, z up."""

    facing: np.ndarray
    """(3, 3): orientation of the gripper site for this grasp"""
    askew: float
    """sine of the angle off `facing` up to which the gripper may descend"""

    def begin(self) -> None:
        """Decide how to grasp; called whenever an approach begins."""

    def grasp(self) -> np.ndarray:
        """(3,): where the gripper closes."""

    def hover(self) -> float:
        """Height of the gripper before it descends."""

    def carry(self) -> float:
        """Height of the object's lowest point while it is carried."""

    def over(self) -> np.ndarray:
        """(3,): where the gripper is when the object is over its target; x and y count."""

    def release(self) -> float:
        """Height of the object's lowest point from which it is let go."""
