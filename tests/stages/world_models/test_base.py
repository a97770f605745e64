"""Frame choice and pooling against values worked by hand."""

import numpy as np
import pytest

from stages.world_models.base import POOLINGS, ImageEncoder, Pooling, frame_indices, pooled_spec


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


class Levels(ImageEncoder):
    """A frame's vector is its first red and green value."""

    weights = ""

    def __init__(self, pooling: Pooling) -> None:
        self.pooling = pooling
        self.spec = pooled_spec("levels", 3, 4, 2, "two values", pooling)

    def features(self, frames: np.ndarray) -> np.ndarray:
        return frames[:, 0, 0, :2].astype(np.float32)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [2, 20]), ("mean+last", [2, 20, 6, 60]), ("frames", [1, 10, 2, 20, 3, 30])],
)
def test_poolings_by_hand(pooling: Pooling, expected: list[float]) -> None:
    clip = np.zeros((3, 4, 4, 3), np.uint8)
    clip[:, :, :, 0], clip[:, :, :, 1] = np.array([1, 2, 3])[:, None, None], np.array([10, 20, 30])[:, None, None]
    model = Levels(pooling)
    assert model.encode(np.stack([clip, clip])).tolist() == [expected, expected]
    assert model.spec.dim == len(expected)
    assert model.spec.pooling == f"two values: {POOLINGS[pooling]}"
    assert model.moments(clip).tolist() == [[1, 10], [2, 20], [3, 30]]


def test_prefixes_are_the_embeddings_of_the_shorter_trajectory() -> None:
    """Of ten frames, ends at 1 and at 9: frames 0, 1, 1 and 0, 5, 9 (4.5 rounds up)."""
    frames = np.zeros((10, 4, 4, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(10)[:, None, None]
    prefixes = Levels("frames").prefixes(frames, [1, 9])
    assert prefixes[:, ::2].tolist() == [[0, 1, 1], [0, 5, 9]]
