"""What rests is drawn once: pictures against those drawn whole, and the geometry of what may show through glass."""

import mujoco
import numpy as np
import pytest

from stages.sim.looks.drawing import kinematics
from stages.sim.looks.layers import Layers, is_behind
from stages.sim.looks.render import CAMERAS, Renderer
from stages.sim.models.model import task_model
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks


def test_a_ball_not_behind_another_has_no_point_seen_through_it() -> None:
    """By rays from the eye to points of the ball: none of them passes through the other one first."""
    random = np.random.default_rng(0)
    apart = 0
    for _ in range(400):
        centre, glass = random.uniform(-1, 1, 3), random.uniform(-1, 1, 3)
        radius, size = random.uniform(0.02, 0.3, 2)
        if is_behind(centre, radius, glass, size):
            continue
        apart += 1
        way = random.normal(size=(300, 3))
        points = centre + radius * way / np.linalg.norm(way, axis=1, keepdims=True)
        along = np.clip((points @ glass) / np.square(points).sum(1), 0, 1)
        nearest = np.linalg.norm(points * along[:, None] - glass, axis=1)
        assert (nearest > size).all()
    assert 100 < apart < 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "index"), [("libero_object", 2), ("libero_goal", 8), ("libero_spatial", 5), ("libero_10", 5)]
)
def test_pictures_are_those_drawn_whole(suite: str, index: int) -> None:
    """Two simulations in turn, as in a worker; a mirror in spatial, a mirror and glass in goal. Layers were used."""
    task = suite_tasks(suite)[index]
    model = task_model(task).compile_full()
    pose, layered, whole = mujoco.MjData(model), Renderer(model, "full"), Renderer(model, "full")
    simulators = [Simulator(task), Simulator(task)]
    for number, simulator in enumerate(simulators):
        simulator.reset(number)
    layered.render(pose, CAMERAS[0], 256)
    if layered._layers is None:
        pytest.skip("a GPU draws, or shadows are cast: there are no layers")
    whole.render(pose, CAMERAS[0], 256)
    whole._layers = None
    off = values = 0
    for step, action in enumerate(smooth_actions(5, 64)):
        for simulator in simulators:
            simulator.step(action)
            if step % 8:
                continue
            pose.qpos[:] = simulator.data.qpos
            kinematics(model, pose)
            for camera, size in ((CAMERAS[0], 256), (CAMERAS[1], 256), (CAMERAS[0], 128)):
                ours, expected = (r.render(pose, camera, size).astype(int) for r in (layered, whole))
                off += int((np.abs(ours - expected) > 2).sum())
                values += ours.size
    assert off <= 1e-4 * values
    held = [layer.resting.sum() for layer in layered._layers._layers]
    assert len(held) >= 2 and min(held) > 10  # for both sizes at least
    layered.close()


@pytest.mark.slow
def test_a_thing_that_moves_leaves_its_layer() -> None:
    """An object pushed aside is where it is, not where it rested; back at rest it is in a layer again."""
    task = suite_tasks("libero_object")[2]
    model = task_model(task).compile_full()
    pose, layered, whole = mujoco.MjData(model), Renderer(model, "full"), Renderer(model, "full")
    simulator = Simulator(task)
    simulator.reset(0)
    pose.qpos[:] = simulator.data.qpos
    body = task_model(task).numbers["goal"][0]["body"]
    address = int(model.joint(int(model.body(body).jntadr[0])).qposadr[0])
    layered.render(pose, CAMERAS[0], 128)
    whole.render(pose, CAMERAS[0], 128)
    if layered._layers is None:
        pytest.skip("no layers here")
    whole._layers = None
    for shift in (0.0, 0.0, 0.0, 0.02, 0.04, 0.04, 0.04, 0.0, 0.0):
        pose.qpos[address] = simulator.data.qpos[address] + shift
        kinematics(model, pose)
        ours, expected = (r.render(pose, CAMERAS[0], 128).astype(int) for r in (layered, whole))
        assert (np.abs(ours - expected) > 2).mean() <= 1e-4


def test_layers_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    task = suite_tasks("libero_object")[2]
    model = task_model(task).compile_full()
    renderer, pose = Renderer(model, "full"), mujoco.MjData(model)
    kinematics(model, pose)
    for _ in range(3):
        renderer.render(pose, CAMERAS[0], 64)
    layers = renderer._layers
    if layers is None:
        pytest.skip("no layers here")
    assert isinstance(layers, Layers) and layers._layers
    renderer.close()
    assert not layers._layers
