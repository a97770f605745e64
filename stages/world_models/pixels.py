"""`pixels`: the frames themselves, made small; no network and no weights.

The weak baseline beside which arXiv 2511.15605 puts its world model (Table 3, Fig. 4): two trajectories are near when
their pictures are, moment by moment.
Legend: B clips, F frames, S pixels a side, G = 16 cells a side, D = F * G * G * 3.
"""

import numpy as np

from data.errors import UserError
from stages.world_models.base import EncoderSpec, check_clips

FRAMES, SIZE = 5, 64
GRID = 16


class Pixels:
    """Every frame averaged to 16 x 16 RGB cells in [0, 1], the frames one after the other."""

    weights = ""

    def __init__(self, frames: int = FRAMES, size: int = SIZE) -> None:
        self.spec = EncoderSpec("pixels", frames, size, frames * GRID * GRID * 3, "16x16 RGB cells of every frame")

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """(B, F, S, S, 3) uint8 -> (B, D) float32 in [0, 1]."""
        check_clips(frames, self.spec)
        clips, cell = len(frames), self.spec.size // GRID
        cells = frames.reshape(clips, self.spec.frames, GRID, cell, GRID, cell, 3).mean(axis=(3, 5))
        return (cells / 255).reshape(clips, self.spec.dim).astype(np.float32)


def load(frames: int | None = None, size: int | None = None) -> Pixels:
    """The baseline for clips of `frames` frames (5) of `size` pixels (64).

    Raises:
        UserError: a size that 16 cells do not divide.
    """
    size = size or SIZE
    if size % GRID:
        raise UserError(f"pixels takes frames whose size is a multiple of {GRID}, not {size}")
    return Pixels(frames or FRAMES, size)
