"""`pixels`: the frames themselves, made small; no network and no weights.

The weak baseline beside which arXiv 2511.15605 puts its world model (Table 3, Fig. 4): two trajectories are near when
their pictures are, moment by moment.
Legend: F frames, S pixels a side, G = 16 cells a side.
"""

import numpy as np

from data.errors import UserError
from stages.world_models.base import EncoderOptions, ImageEncoder, Pooling, check_plain, pooled_spec

FRAMES, SIZE = 5, 64
GRID = 16


class Pixels(ImageEncoder):
    """Every frame averaged to 16 x 16 RGB cells in [0, 1]."""

    weights = ""

    def __init__(self, frames: int, size: int, pooling: Pooling) -> None:
        self.pooling = pooling
        self.spec = pooled_spec("pixels", frames, size, GRID * GRID * 3, "16x16 RGB cells", pooling)

    def features(self, frames: np.ndarray) -> np.ndarray:
        """(n, S, S, 3) uint8 -> (n, G * G * 3) float32 in [0, 1]."""
        cell = self.spec.size // GRID
        cells = frames.reshape(len(frames), GRID, cell, GRID, cell, 3).mean(axis=(2, 4))
        return (cells / 255).reshape(len(frames), -1).astype(np.float32)


def load(name: str, options: EncoderOptions) -> Pixels:
    """The baseline for clips of 5 frames of 64 pixels, or as the options say.

    Raises:
        UserError: a size that 16 cells do not divide; options that it does not have.
    """
    check_plain(name, options)
    size = options.size or SIZE
    if size % GRID:
        raise UserError(f"{name} takes frames whose size is a multiple of {GRID}, not {size}")
    return Pixels(options.frames or FRAMES, size, options.pooling or "frames")
