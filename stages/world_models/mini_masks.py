"""What the context encoder of `mini` does not see: blocks of the picture, hidden at every time of the clip.

Multi-block masks of V-JEPA (arXiv 2404.08471, section 3.2): the union of a few blocks of random place and shape is
masked through all of time, so that nothing can be copied from the frame before.

Legend: B clips, G cells a side, P = G * G cells, T tubelets a clip, N = T * P tokens in the order time, row, column;
v and h visible and hidden tokens of a clip, v + h = N.
"""

import math

import numpy as np

ASPECT = (0.75, 1.5)
"""of a block, height to width (section 3.2)"""


def block_masks(
    batch: int, grid: int, depth: int, share: float, blocks: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens of each clip the context encoder sees, and which are to be predicted.

    Args:
        batch, grid, depth: B, G and T.
        share: of the P cells that is hidden, rounded to whole cells; at least one is hidden and one seen.
        blocks: into how many blocks the hidden cells fall, about; more are drawn where they overlap.

    Returns:
        (B, v) and (B, h) int64, each in ascending order.
    """
    hidden = hidden_cells(grid, share)
    cells = np.stack([_hide(grid, hidden, blocks, rng) for _ in range(batch)])
    tokens = np.tile(cells, (1, depth))
    return np.nonzero(~tokens)[1].reshape(batch, -1), np.nonzero(tokens)[1].reshape(batch, -1)


def hidden_cells(grid: int, share: float) -> int:
    """How many of the G * G cells are hidden."""
    return min(max(round(share * grid * grid), 1), grid * grid - 1)


def _hide(grid: int, count: int, blocks: int, rng: np.random.Generator) -> np.ndarray:
    """Cells (P,) bool of which `count` are True: blocks, the last of them cut to size cell by cell."""
    cells = np.zeros((grid, grid), bool)
    while (missing := count - int(cells.sum())) > 0:
        block = np.argwhere(_block(grid, count / blocks, rng) & ~cells)
        chosen = block[rng.permutation(len(block))[:missing]] if len(block) > missing else block
        cells[tuple(chosen.T)] = True
    return cells.ravel()


def _block(grid: int, area: float, rng: np.random.Generator) -> np.ndarray:
    """A rectangle of about `area` cells somewhere in the picture: (G, G) bool."""
    aspect = math.exp(rng.uniform(*np.log(ASPECT)))
    height, width = (min(max(round(math.sqrt(area * ratio)), 1), grid) for ratio in (aspect, 1 / aspect))
    top, left = rng.integers(grid - height + 1), rng.integers(grid - width + 1)
    cells = np.zeros((grid, grid), bool)
    cells[top : top + height, left : left + width] = True
    return cells
