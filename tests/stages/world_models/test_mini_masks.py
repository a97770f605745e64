"""Masks of `mini`: how much is hidden, where, and that nothing is lost."""

import numpy as np
import pytest

from stages.world_models.mini_masks import ASPECT, _block, block_masks, hidden_cells


@pytest.mark.parametrize(("grid", "share", "expected"), [(8, 0.8, 51), (6, 0.75, 27), (4, 0.01, 1), (4, 0.99, 15)])
def test_so_many_cells_are_hidden(grid: int, share: float, expected: int) -> None:
    assert hidden_cells(grid, share) == expected
    context, hidden = block_masks(3, grid, 2, share, 4, np.random.default_rng(0))
    assert hidden.shape == (3, 2 * expected)
    assert context.shape == (3, 2 * (grid * grid - expected))
    assert context.dtype == hidden.dtype == np.int64


def test_seen_and_hidden_are_all_tokens_once_and_in_order() -> None:
    context, hidden = block_masks(5, 6, 3, 0.7, 3, np.random.default_rng(1))
    for seen, unseen in zip(context, hidden, strict=True):
        assert sorted([*seen, *unseen]) == list(range(6 * 6 * 3))
        assert (np.diff(seen) > 0).all() and (np.diff(unseen) > 0).all()


def test_the_same_cells_are_hidden_at_every_time() -> None:
    _, hidden = block_masks(4, 5, 3, 0.6, 2, np.random.default_rng(2))
    for tokens in hidden:
        time, cell = np.divmod(tokens, 25)
        cells = [cell[time == t].tolist() for t in range(3)]
        assert cells[0] == cells[1] == cells[2] and len(cells[0]) == 15


def test_clips_differ_and_follow_from_the_seed() -> None:
    first, again, other = (block_masks(4, 8, 2, 0.8, 4, np.random.default_rng(seed))[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({tokens.tobytes() for tokens in first}) == 4


def test_a_block_is_a_rectangle_of_about_the_area() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        rows, columns = np.nonzero(_block(12, 24, rng))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        assert 16 <= len(rows) <= 32
        assert ASPECT[0] / 1.35 <= height / width <= ASPECT[1] * 1.35


def test_what_is_hidden_is_in_blocks() -> None:
    """A hidden cell has more hidden neighbours than where as many cells are hidden one by one."""
    _, hidden = block_masks(64, 8, 1, 0.5, 2, np.random.default_rng(4))
    maps = np.zeros((64, 64), bool)
    np.put_along_axis(maps, hidden, True, 1)
    scattered = np.random.default_rng(5).permuted(maps, axis=1)

    def together(cells: np.ndarray) -> float:
        square = cells.reshape(-1, 8, 8)
        return float((square[:, 1:] & square[:, :-1]).mean())

    assert together(maps) > 1.4 * together(scattered)
