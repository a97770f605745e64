"""Varied pictures: as before without a variation, the same for the same seed, visibly others, all in view."""

import mujoco
import numpy as np
import pytest

from data.errors import UserError
from stages.sim.looks import render
from stages.sim.looks.drawing import kinematics
from stages.sim.looks.render import CAMERAS, Renderer
from stages.sim.looks.variation import Variation, add_noise, draw_variation, moved_camera
from stages.sim.models.model import task_model
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks
from stages.sim.view import StateView

TASK = suite_tasks("libero_object")[2]


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    simulator = Simulator(TASK)
    simulator.reset(3)
    rows = [simulator.state()]
    for step, action in enumerate(smooth_actions(1, 20)):
        simulator.step(action)
        if step % 10 == 9:
            rows.append(simulator.state())
    return np.stack(rows)


@pytest.fixture(scope="module")
def view() -> StateView:
    return StateView("libero_object", "lite")


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_what_varies_nothing_changes_no_bit(view: StateView, states: np.ndarray) -> None:
    for camera in CAMERAS:
        before = view.frames(2, states, camera, 96)
        np.testing.assert_array_equal(view.frames(2, states, camera, 96, Variation()), before)
        assert difference(view.frames(2, states, camera, 96, draw_variation(1)), before) > 2
        np.testing.assert_array_equal(view.frames(2, states, camera, 96), before)


def test_other_renderers_of_the_model_see_nothing_of_it(view: StateView, states: np.ndarray) -> None:
    simulator = Simulator(TASK)
    simulator.set_state(states[1])
    before = simulator.render("agentview", 64)
    view.frames(2, states, "agentview", 64, draw_variation(1))
    np.testing.assert_array_equal(simulator.render("agentview", 64), before)


def test_seeds(view: StateView, states: np.ndarray) -> None:
    pictures = [view.frames(2, states, "agentview", 96, draw_variation(seed)) for seed in range(6)]
    np.testing.assert_array_equal(view.frames(2, states, "agentview", 96, draw_variation(3)), pictures[3])
    np.testing.assert_array_equal(view.frames(2, states[1:2], "agentview", 96, draw_variation(3)), pictures[3][1:2])
    plain = view.frames(2, states, "agentview", 96)
    for i, one in enumerate(pictures):
        for other in (plain, *pictures[:i]):
            assert 2 < difference(one, other) < 60


def test_each_part_does_what_it_says(view: StateView, states: np.ndarray) -> None:
    row = states[:1]
    plain = view.frames(2, row, "agentview", 96)[0].astype(int)

    def varied(**parts: object) -> np.ndarray:
        return view.frames(2, row, "agentview", 96, Variation(**parts))[0].astype(int)

    assert 0.4 < varied(gain=0.5).mean() / plain.mean() < 0.7
    reddish = varied(colour=(1.0, 0.7, 0.7)).mean(axis=(0, 1)) / plain.mean(axis=(0, 1))
    assert reddish[0] == 1 and (reddish[1:] < 0.9).all()
    noise = varied(noise=4.0) - plain
    inside = (plain > 20) & (plain < 235)
    assert noise[inside].std() == pytest.approx(4.0, rel=0.05) and abs(noise[inside].mean()) < 0.1
    assert _centre(varied(turn=(0, 3.0, 0)), plain) == pytest.approx((6.3, 0), abs=1.5)  # 96 px * 3 deg / 45 deg
    assert _centre(varied(shift=(-0.05, 0, 0)), plain) == pytest.approx((5.6, 0), abs=2)  # 96 * 0.05 m / (1 m * 0.83)


def _centre(moved: np.ndarray, plain: np.ndarray) -> tuple[float, float]:
    """By how many pixels, right and down, the strongly coloured things moved: the shift that correlates best."""
    one, other = ((p.max(axis=2) - p.min(axis=2) > 60).astype(float) for p in (plain, moved))
    power = np.fft.ifft2(np.conj(np.fft.fft2(one)) * np.fft.fft2(other)).real
    down, right = np.unravel_index(power.argmax(), power.shape)
    return (float(right) + 48) % 96 - 48, (float(down) + 48) % 96 - 48


def test_noise_is_another_at_another_moment_and_never_wraps_around() -> None:
    picture = np.full((8, 8, 3), 250, np.uint8)
    variation = Variation(noise=30, seed=5)
    first = add_noise(picture, variation, 1.0)
    np.testing.assert_array_equal(first, add_noise(picture, variation, 1.0))
    assert (first != add_noise(picture, variation, 1.05)).any()
    assert first.min() > 100 and first.max() == 255


def test_the_camera_on_the_hand_stays(view: StateView, states: np.ndarray) -> None:
    for camera, moves in (("agentview", True), ("robot0_eye_in_hand", False)):
        plain = view.frames(2, states[:1], camera, 64)
        moved = view.frames(2, states[:1], camera, 64, Variation(shift=(0.05, 0, 0), turn=(0, 2, 0)))
        assert (difference(moved, plain) > 1) == moves


@pytest.mark.parametrize("suite", ["libero_object", "libero_spatial"])
def test_objects_and_targets_stay_in_view(suite: str) -> None:
    slope = np.tan(np.deg2rad(45 / 2))
    for task in suite_tasks(suite)[::3]:
        simulator = Simulator(task)
        simulator.reset(7)
        simulator.proprio()
        physics, data, goal = simulator.model.physics, simulator.data, simulator.model.numbers["goal"][0]
        points = np.array([data.body(goal[k]).xpos for k in ("body", "upper", "lower") if k in goal])
        if "site" in goal:
            points = np.concatenate([points, [data.site(goal["site"]).xpos]])
        camera = physics.camera("agentview").id
        for seed in range(100):
            with moved_camera(data, camera, draw_variation(seed)):
                place = (points - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
            assert np.abs(place[:, :2] / place[:, 2:]).max() < slope


def test_values_that_cannot_be() -> None:
    with pytest.raises(UserError, match="cannot be below 0"):
        Variation(noise=-1)


@pytest.mark.slow
def test_full_look_leaves_out_only_what_the_moved_camera_does_not_see(
    monkeypatch: pytest.MonkeyPatch, states: np.ndarray
) -> None:
    """Varied and plain in turn from one renderer, against one that draws every triangle."""
    model = task_model(TASK).compile_full()
    pose = mujoco.MjData(model)
    culled = Renderer(model, "full")
    culled.render(pose, "agentview", 128)
    if culled._culling is None:
        pytest.skip("a GPU draws: nothing is culled")
    monkeypatch.setattr(render, "applies", lambda *_: False)
    whole = Renderer(model, "full")
    for row in states[[0, 0, 1, 2]]:
        pose.time, pose.qpos[:] = row[0], row[1 : 1 + model.nq]
        kinematics(model, pose)
        for variation in (draw_variation(0), None, draw_variation(1)):
            for camera in CAMERAS:
                pictures = [r.render(pose, camera, 128, variation) for r in (culled, whole)]
                np.testing.assert_array_equal(*pictures)
