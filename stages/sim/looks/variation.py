"""Pictures under another camera, light and sensor: what a progress signal should not mind.

States stay as they are, and so do the models, which other renderers share: the camera moves in the `MjData` while a
picture is drawn, the lights change in the scene made for it, the noise comes last. In the ranges drawn from, what a
pick-and-place task is about stays in view: the middle of the object and of its target, at the least.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import mujoco
import numpy as np

from data.errors import UserError

FIXED_CAMERA = "agentview"
"""The camera that moves; the one on the hand is part of the robot."""
SHIFT, TURN = (0.02, 0.05), (1.0, 3.0)
"""How far the camera moves, in metres, and turns, in degrees; it is a metre away, and sees 45 degrees."""
GAIN, TINT, NOISE = (0.7, 1.3), 0.15, (2.0, 10.0)
"""Brightness of the lights; the most that a colour channel of theirs loses; grey levels of noise."""


@dataclass(frozen=True)
class Variation:
    """One way in which pictures differ; the default is none."""

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """metres by which the camera moves, to its right, up and back"""
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """degrees by which the camera then turns, about an axis in its own frame (right, up, back)"""
    gain: float = 1.0
    """times as bright, all lights"""
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """of the light: what is left of its red, green and blue"""
    noise: float = 0.0
    """standard deviation of the noise on each value of a picture, in grey levels"""
    seed: int = 0
    """draws the noise, anew for each moment"""

    def __post_init__(self) -> None:
        if self.gain < 0 or min(self.colour) < 0 or self.noise < 0 or self.seed < 0:
            raise UserError(f"gain, colour, noise and seed of a variation cannot be below 0: {self}")


def draw_variation(seed: int | Sequence[int]) -> Variation:
    """A variation drawn evenly from the ranges above; the way of the move and the axis of the turn are any.

    Args:
        seed: a number or several, such as of a benchmark and of an episode in it.
    """
    rng = np.random.default_rng(seed)
    gain, colour = np.exp(rng.uniform(*np.log(GAIN))), 1 - rng.uniform(0, TINT, 3)
    shift, turn = (_any_way(rng) * rng.uniform(*limits) for limits in (SHIFT, TURN))
    noise, noise_seed = float(rng.uniform(*NOISE)), int(rng.integers(2**32))
    return Variation(_three(shift), _three(turn), float(gain), _three(colour), noise, noise_seed)


@contextmanager
def moved_camera(data: mujoco.MjData, camera: int, variation: Variation) -> Iterator[None]:
    """A camera (its number) stands elsewhere in `data`, kinematics current, until the block ends."""
    place, frame = data.cam_xpos[camera].copy(), data.cam_xmat[camera].copy()
    axes = frame.reshape(3, 3)
    data.cam_xpos[camera] = place + axes @ np.array(variation.shift)
    data.cam_xmat[camera] = (axes @ _rotation(np.deg2rad(variation.turn))).ravel()
    try:
        yield
    finally:
        data.cam_xpos[camera], data.cam_xmat[camera] = place, frame


def change_lights(scene: mujoco.MjvScene, variation: Variation) -> None:
    """Change the lights of a scene that was just updated."""
    factor = variation.gain * np.array(variation.colour)
    for light in scene.lights[: scene.nlight]:
        for part in (light.ambient, light.diffuse, light.specular):
            part[:] = part * factor


def add_noise(picture: np.ndarray, variation: Variation, time: float) -> np.ndarray:
    """Gaussian noise on a picture (H, W, 3) uint8 of a moment (seconds): the same there, another elsewhere."""
    if not variation.noise:
        return picture
    rng = np.random.default_rng([variation.seed, round(1000 * time)])
    noise = variation.noise * rng.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def _any_way(rng: np.random.Generator) -> np.ndarray:
    way = rng.standard_normal(3)
    return way / np.linalg.norm(way)


def _three(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = values.tolist()
    return a, b, c


def _rotation(turn: np.ndarray) -> np.ndarray:
    """The matrix (3, 3) of an axis-angle vector in radians."""
    angle, quat, matrix = float(np.linalg.norm(turn)), np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quat, turn / angle if angle else np.array([1.0, 0.0, 0.0]), angle)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)
