"""What a world model is to the rest of srpo: frames of a trajectory in, one vector out; and which ones there are.

Legend: B clips, F frames a clip, H x W pixels (H = W = the encoder's size), D the length of the embedding.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import numpy as np

from data.errors import UserError, unknown

WORLD_MODELS = {"efficientnet-lite0": "frames", "pixels": "pixels"}
"""Name -> the module of this package whose `load(frames, size)` makes it."""


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder takes and gives."""

    name: str
    frames: int
    """F, frames a clip."""
    size: int
    """Pixels a side of each frame."""
    dim: int
    """D, length of the embedding."""
    pooling: str
    """How the frames become one vector, in words; stored with every embedding."""


class WorldModel(Protocol):
    """A frozen encoder of trajectories."""

    spec: EncoderSpec
    weights: str
    """Hash of the weights; empty where there are none."""

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Embed clips: (B, F, H, W, 3) uint8, frames in order of time, upright -> (B, D) float32."""
        ...


def load_world_model(name: str, frames: int | None = None, size: int | None = None) -> WorldModel:
    """The world model called `name`, with its own frame count and size unless told otherwise.

    Raises:
        UserError: no such world model, or a count or size it cannot take.
    """
    if name not in WORLD_MODELS:
        raise unknown("world model", name, WORLD_MODELS)
    for what, value in (("frames", frames), ("size", size)):
        if value is not None and value < 1:
            raise UserError(f"{what} of {name} must be at least 1, not {value}")
    model: WorldModel = import_module(f"stages.world_models.{WORLD_MODELS[name]}").load(frames, size)
    return model


def frame_indices(length: int, frames: int) -> np.ndarray:
    """Which of `length` moments to look at: (F,) int64, spread evenly over 0 .. length-1.

    Both ends are included (a single frame is the last one); a trajectory shorter than F repeats its nearest moment and
    never wraps around, so the clip always ends at the end.

    Raises:
        ValueError: `length` or `frames` below 1.
    """
    if length < 1 or frames < 1:
        raise ValueError(f"no frames to choose: {frames} of {length}")
    if frames == 1:
        return np.array([length - 1])
    steps = frames - 1
    return (2 * np.arange(frames) * (length - 1) + steps) // (2 * steps)


def check_clips(frames: np.ndarray, spec: EncoderSpec) -> None:
    """Refuse clips that are not (B, F, size, size, 3) uint8.

    Raises:
        ValueError: another shape or type.
    """
    wanted = (spec.frames, spec.size, spec.size, 3)
    if frames.ndim != 5 or frames.shape[1:] != wanted or frames.dtype != np.uint8:
        raise ValueError(f"{spec.name} takes clips of shape (B, *{wanted}) uint8, not {frames.shape} {frames.dtype}")
