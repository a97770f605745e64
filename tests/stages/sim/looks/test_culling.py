"""What is left out of a picture leaves no trace in it: geometry against slow tests, pictures against all of it."""

import mujoco
import numpy as np
import pytest

from stages.sim.looks import render
from stages.sim.looks.culling import Culling, is_mirrored, is_outside, traces
from stages.sim.looks.drawing import kinematics
from stages.sim.looks.render import CAMERAS, Renderer
from stages.sim.models.model import task_model
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

SAMPLES = np.array([[0.375, 0.125], [0.875, 0.375], [0.125, 0.625], [0.625, 0.875]])


def _covered(corners: np.ndarray, slope: float, size: int) -> bool:
    """Whether a front-facing triangle covers any sample point, by trying every one of them."""
    focal = size / (2 * slope)
    points = np.stack([size / 2 + focal * corners[:, k] / -corners[:, 2] for k in (0, 1)], axis=1)
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 1, 2)
    places = (pixels + SAMPLES).reshape(-1, 2)
    inside = np.ones(len(places), bool)
    for i in range(3):
        edge, to = points[(i + 1) % 3] - points[i], places - points[i]
        inside &= edge[0] * to[:, 1] - edge[1] * to[:, 0] >= 0
    return bool(inside.any())


def test_no_triangle_that_covers_a_sample_is_left_out() -> None:
    random = np.random.default_rng(0)
    centres = random.uniform([-0.6, -0.6, -1.5], [0.6, 0.6, -0.5], (600, 3))
    corners = centres[:, None] + random.normal(0, 1, (600, 3, 3)) * random.choice([0.002, 0.01, 0.1], (600, 1, 1))
    kept = traces(corners, 0.4, 32, SAMPLES)
    covered = np.array([_covered(c, 0.4, 32) for c in corners])
    assert covered.sum() > 20 and not (covered & ~kept).any()
    assert kept.mean() < 0.6


def test_behind_the_eye_is_kept_in_doubt() -> None:
    assert traces(np.array([[[0.0, 0, 0.1], [0.1, 0, -1], [0, 0.1, -1]]]), 0.4, 32, SAMPLES).all()


def test_a_ball_outside_the_view_shows_none_of_its_points() -> None:
    random = np.random.default_rng(1)
    outside = 0
    for _ in range(300):
        place, radius, slope = random.uniform(-1, 1, 3), random.uniform(0.01, 0.3), random.uniform(0.2, 1.0)
        if is_outside(place, radius, slope):
            outside += 1
            points = _ball(random, place, radius)
            seen = (points[:, 2] < 0) & (np.abs(points[:, :2]) < -slope * points[:, 2:]).all(axis=1)
            assert not seen.any()
    assert 50 < outside < 300
    assert not is_outside(np.array([0.0, 0.0, -1.0]), 0.1, 0.4)


def test_a_ball_not_in_the_mirror_has_no_point_whose_reflection_shows() -> None:
    """By shooting rays from the eye over the mirror's top to every point of the ball."""
    random = np.random.default_rng(2)
    size, hidden = np.array([0.1, 0.2, 0.02]), 0
    for _ in range(300):
        eye, centre = random.uniform([-1, -1, -0.2], [1, 1, 1]), random.uniform([-1, -1, -0.2], [1, 1, 1])
        radius = random.uniform(0.01, 0.2)
        if not is_mirrored(eye, centre, radius, size):
            hidden += 1
            points = _ball(random, centre, radius)
            up, over = eye[2] - size[2], points[:, 2] - size[2]
            share = up / np.maximum(up + over, 1e-9)
            hit = eye[:2] + share[:, None] * (points[:, :2] - eye[:2])
            shown = (up > 0) & (over > 0) & (np.abs(hit) < size[:2]).all(axis=1)
            assert not shown.any()
    assert 50 < hidden < 300
    assert is_mirrored(np.array([0.0, 0, 1]), np.array([0.0, 0, 0.5]), 0.05, size)


def _ball(random: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    way = random.normal(0, 1, (200, 3))
    return centre + radius * random.uniform(0, 1, (200, 1)) * way / np.linalg.norm(way, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "index"), [("libero_object", 2), ("libero_goal", 7), ("libero_spatial", 0), ("libero_10", 5)]
)
def test_pictures_stay_the_same(suite: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both cameras, two sizes, the arm moving; the stove of goal and spatial has a mirror."""
    task = suite_tasks(suite)[index]
    simulator, model = Simulator(task), task_model(task).compile_full()
    pose = mujoco.MjData(model)
    simulator.reset(0)
    calls = []
    monkeypatch.setattr(Culling, "_compile", lambda *a, f=Culling._compile: calls.append(1) or f(*a))
    culled = Renderer(model, "full")
    culled.render(pose, CAMERAS[0], 256)
    if not calls:
        pytest.skip("a GPU draws: nothing is culled")
    monkeypatch.setattr(render, "applies", lambda *_: False)
    whole = Renderer(model, "full")
    for step, action in enumerate(smooth_actions(5, 60)):
        simulator.step(action)
        if step % 8 == 0:
            pose.qpos[:] = simulator.data.qpos
            kinematics(model, pose)
            for camera in CAMERAS:
                for size in (256, 128):
                    np.testing.assert_array_equal(culled.render(pose, camera, size), whole.render(pose, camera, size))
