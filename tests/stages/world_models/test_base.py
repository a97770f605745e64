"""Frame choice against values worked by hand, and the registry."""

import numpy as np
import pytest

from data.errors import UserError
from stages.world_models.base import WORLD_MODELS, frame_indices, load_world_model


@pytest.mark.parametrize(
    ("length", "frames", "expected"),
    [
        (1, 1, [0]),
        (7, 1, [6]),
        (1, 5, [0, 0, 0, 0, 0]),
        (2, 5, [0, 0, 1, 1, 1]),
        (3, 5, [0, 1, 1, 2, 2]),
        (5, 5, [0, 1, 2, 3, 4]),
        (101, 5, [0, 25, 50, 75, 100]),
        (10, 4, [0, 3, 6, 9]),
        (11, 4, [0, 3, 7, 10]),
    ],
)
def test_frame_indices_by_hand(length: int, frames: int, expected: list[int]) -> None:
    assert frame_indices(length, frames).tolist() == expected


@pytest.mark.parametrize("length", [1, 2, 3, 40, 63, 64, 65, 100, 513])
@pytest.mark.parametrize("frames", [2, 5, 16, 64])
def test_frame_indices_are_the_nearest_moments_and_never_cyclic(length: int, frames: int) -> None:
    chosen = frame_indices(length, frames)
    wanted = np.linspace(0, length - 1, frames)
    assert chosen[0] == 0
    assert chosen[-1] == length - 1
    assert (np.diff(chosen) >= 0).all()
    assert np.abs(chosen - wanted).max() <= 0.5 + 1e-9
    assert len(set(chosen.tolist())) == min(length, frames)


def test_frame_indices_refuse_nothing() -> None:
    with pytest.raises(ValueError, match="no frames"):
        frame_indices(0, 5)
    with pytest.raises(ValueError, match="no frames"):
        frame_indices(5, 0)


def test_unknown_world_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean 'pixels'.*known: efficientnet-lite0, pixels"):
        load_world_model("pixel")


@pytest.mark.parametrize("name", WORLD_MODELS)
@pytest.mark.parametrize(("frames", "size"), [(0, None), (None, 0), (None, 50), (-1, 64)])
def test_impossible_frames_and_sizes_are_refused(name: str, frames: int | None, size: int | None) -> None:
    with pytest.raises(UserError, match=name):
        load_world_model(name, frames, size)
