"""The plane of a task's embeddings against an eigen-decomposition, and the nearest rows against a double loop."""

from dataclasses import replace

import numpy as np
import pytest

from data.store import RolloutStore
from srpo_cli.report.maps import nearest_rows, principal_plane, task_map
from srpo_cli.report.rewarded import read_reward
from tests.srpo_cli.report.measured import CENTRE, ROWS

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(12, 5), (4, 30), (3, 2)])
def test_plane_is_that_of_the_covariance(shape: tuple[int, int]) -> None:
    rows = RNG.normal(size=shape) * np.linspace(3, 0.5, shape[1]) + 7
    plane = principal_plane(rows)
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    np.testing.assert_allclose(plane.share, values[::-1][:2] / values.sum(), rtol=1e-9)
    for axis, vector in zip(plane.axes, vectors.T[::-1][:2], strict=True):
        np.testing.assert_allclose(np.abs(axis @ vector), 1, rtol=1e-9)
        assert axis[np.abs(axis).argmax()] > 0
    points = plane.points(rows)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[::-1][:2], rtol=1e-9)


def test_points_of_a_plane_keep_their_distances() -> None:
    """Rows that lie in a plane: the map shows them undistorted."""
    rows = RNG.normal(size=(9, 2)) @ np.linalg.qr(RNG.normal(size=(6, 2)))[0].T
    points = principal_plane(rows).points(rows)
    for i in range(9):
        np.testing.assert_allclose(np.linalg.norm(points - points[i], axis=1), np.linalg.norm(rows - rows[i], axis=1))


def test_rows_that_do_not_vary_have_no_share() -> None:
    plane = principal_plane(np.ones((3, 4)))
    assert plane.share.tolist() == [0, 0]
    assert plane.points(np.ones((3, 4))).tolist() == [[0, 0]] * 3


def slow_distance(a: np.ndarray, b: np.ndarray, distance: str) -> float:
    square = float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    if distance == "cosine":
        return float(1 - sum(a * b) / np.sqrt(sum(a * a) * sum(b * b)))
    return square if distance == "l2_squared" else float(np.sqrt(square))


@pytest.mark.parametrize("distance", ["l2", "l2_squared", "cosine"])
def test_nearest_rows_are_those_of_a_double_loop(distance: str) -> None:
    rows, others = (RNG.normal(size=(n, 6)) * RNG.uniform(0.1, 5, (n, 1)) for n in (11, 7))
    index, far = nearest_rows(rows.astype(np.float32), others.astype(np.float32), distance)
    for i, row in enumerate(rows):
        table = [slow_distance(row, other, distance) for other in others]
        assert index[i] == np.argmin(table)
        assert far[i] == pytest.approx(min(table), rel=1e-4)


def test_map_of_a_task(measured: RolloutStore) -> None:
    rewarded = read_reward(measured, "paper")
    found = task_map(rewarded, 2)
    assert found is not None
    assert found["episodes"] == [0, 1, 2, 3, 4, 5]
    plane = principal_plane(ROWS[:6])
    np.testing.assert_allclose(found["points"], plane.points(ROWS[:6]), atol=1e-5)
    np.testing.assert_allclose(found["centres"], plane.points(CENTRE[None]), atol=1e-5)
    np.testing.assert_allclose(np.mean(found["points"][:2], axis=0), found["centres"][0], atol=1e-5)


def test_a_task_without_centres_has_a_map_without_them(measured: RolloutStore) -> None:
    found = task_map(read_reward(measured, "paper"), 9)
    assert found is not None
    assert found["centres"] == []
    assert found["share"] == pytest.approx([1, 0])


def test_what_cannot_be_placed_is_left_out(measured: RolloutStore) -> None:
    rewarded = read_reward(measured, "paper")
    assert rewarded.embedding is not None
    rows = rewarded.embedding.copy()
    rows[[1, 6]] = np.nan
    holed = replace(rewarded, embedding=rows)
    found = task_map(holed, 2)
    assert found is not None
    assert found["episodes"] == [0, 2, 3, 4, 5]
    assert task_map(holed, 9) is None
    assert task_map(replace(rewarded, embedding=rewarded.embedding[:, :1]), 2) is None
    assert task_map(replace(rewarded, embedding=None), 2) is None
